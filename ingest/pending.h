/* pending.h - items on their way from the catalogue into one transaction. Private to ingest/. */
#ifndef MAGPIE_PENDING_H
#define MAGPIE_PENDING_H

#include "ingest.h"
#include "rejects.h"

typedef struct magpie_pending_item {
    magpie_catalogue_line line; /* owned */
    size_t number;              /* of the line */
    size_t start_size;
    char start[MAGPIE_REJECT_START]; /* of the line, for the rejects file */
    bool keeps_vectors;              /* those that the store has are right */
    bool encoded;                    /* `vector` says where */
    bool refused;                    /* found bad on its way, and reported: to be passed over */
    size_t vector;
} magpie_pending_item;

typedef struct magpie_pending { /* all zero is a valid empty one */
    magpie_pending_item *items; /* [count] */
    size_t count, capacity;
    size_t bytes;     /* of their strings: a batch is bounded by these too */
    size_t dimension; /* of a vector; set by the first encode */
    float *vectors;   /* [vectors_used, dimension] */
    size_t vectors_used, vectors_capacity;
} magpie_pending;

/* Takes the line over. */
MAGPIE_CHECK_RESULT magpie_status magpie_pending_add(magpie_pending *pending, magpie_catalogue_line *line,
                                                     const magpie_line *source, bool keeps_vectors);
/* NULL where it is not among them. Looks at each: to be asked only where there is reason to. */
const magpie_pending_item *magpie_pending_find(const magpie_pending *pending, magpie_string id);
void magpie_pending_clear(magpie_pending *pending);
void magpie_pending_free(magpie_pending *pending);

/* What encoding and storing tell the job. */
typedef struct magpie_pending_hooks {
    /* magpie_error() says why `item` was refused. */
    magpie_status (*refused)(void *context, magpie_pending_item *item);
    /* Between two blocks of texts; any status but MAGPIE_OK stops the encoding. */
    magpie_status (*encoded)(void *context);
    void *context;
} magpie_pending_hooks;

/* Computes the vectors that are needed and not there yet. */
MAGPIE_CHECK_RESULT magpie_status magpie_pending_encode(magpie_pending *pending, magpie_text_encoder *encoder,
                                                        const magpie_pending_hooks *hooks);
/* Adds them all to `batch`. */
MAGPIE_CHECK_RESULT magpie_status magpie_pending_put(magpie_pending *pending, magpie_batch *batch,
                                                     const magpie_pending_hooks *hooks);

#endif
