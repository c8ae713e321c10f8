/* intake.h - what an ingest of a file and one of lines that come one by one share: what fills the spaces, what
 * is to become of an item, and the transaction. Private to ingest/. */
#ifndef MAGPIE_INTAKE_H
#define MAGPIE_INTAKE_H

#include "ingest.h"
#include "media.h"
#include "pending.h"
#include "vector_line.h"

typedef struct magpie_intake { /* all zero is a valid empty one */
    magpie_store *store;
    const magpie_ingest_options *options; /* vectors and labels alone are looked at */
    magpie_space_model text;              /* what fills the text space; dimension 0: nothing does */
    magpie_text_encoder *text_encoder;    /* NULL: none, or the vectors come with the lines */
    uint64_t text_salt;                   /* another prefix gives other vectors */
    magpie_medium media[MAGPIE_MEDIA];
    const magpie_fusion *fusion; /* NULL: nothing fills the fused space */
    magpie_fusion *own_fusion;   /* where the caller gave none */
    magpie_store_stats bound;    /* the spaces' models, from the binding on */
    magpie_snapshot *snapshot;   /* in which items are compared; NULL: to be opened */
    magpie_pending pending;
    magpie_batch *batch;
} magpie_intake;

/* Takes in what there is to work with, and checks that it fits together and to the store. Nothing is written. */
MAGPIE_CHECK_RESULT magpie_status magpie_intake_begin(magpie_intake *in, magpie_store *store,
                                                      const magpie_ingest_encoders *encoders,
                                                      const magpie_ingest_options *options);
/* Binds the spaces, after which items can be taken in. */
MAGPIE_CHECK_RESULT magpie_status magpie_intake_bind(magpie_intake *in);
/* Of what decides the outcome besides the catalogue. */
uint64_t magpie_intake_salt(const magpie_intake *in);
MAGPIE_CHECK_RESULT magpie_status magpie_intake_renew_snapshot(magpie_intake *in);

static inline bool magpie_same_content(const magpie_item *a, const magpie_item *b) {
    return a->content_hash[0] == b->content_hash[0] && a->content_hash[1] == b->content_hash[1];
}

/* What is to become of an item whose line was parsed; sets its hashes and problems to what they will be.
 *     given    the vectors that the line has, in place of encoders; NULL: there are encoders
 *     stored   what the snapshot has under its id; NULL: nothing
 *     same     the store has what would come of it, and there is nothing to do */
MAGPIE_CHECK_RESULT magpie_status magpie_intake_plan(magpie_intake *in, magpie_item *item,
                                                     const magpie_origin *origin,
                                                     const magpie_line_vectors *given,
                                                     const magpie_item *stored, magpie_vector_plan *plan,
                                                     bool *same);
/* The same for an item that differs in its attributes alone, whatever has become of what its vectors are made
 * of: they all stay. */
MAGPIE_CHECK_RESULT magpie_status magpie_intake_plan_kept(magpie_intake *in, magpie_item *item,
                                                          const magpie_origin *origin,
                                                          const magpie_item *stored, magpie_vector_plan *plan,
                                                          bool *same);

/* Encodes what is pending, and makes a transaction of it in in->batch. The pending items stay. */
MAGPIE_CHECK_RESULT magpie_status magpie_intake_encode(magpie_intake *in, const magpie_pending_hooks *hooks);
/* Commits that, with what `seal` (NULL: nothing) adds to the batch when all else is in it, twice where the
 * transaction has to be made anew. No hook is called: it may be done while a twin takes in what comes next. */
MAGPIE_CHECK_RESULT magpie_status magpie_intake_commit(
    magpie_intake *in, magpie_status (*seal)(void *context, magpie_batch *batch), void *context);
/* Another one that works with the same, items and transaction aside; `in` outlives it. */
MAGPIE_CHECK_RESULT magpie_status magpie_intake_twin(const magpie_intake *in, magpie_intake *out);
void magpie_intake_free(magpie_intake *in);

#endif
