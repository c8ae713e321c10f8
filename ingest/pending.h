/* pending.h - items on their way from the catalogue into one transaction. Private to ingest/. */
#ifndef MAGPIE_PENDING_H
#define MAGPIE_PENDING_H

#include "labelling.h"
#include "media.h"
#include "rejects.h"
#include "vector_line.h"

typedef enum magpie_vector_state {
    MAGPIE_VECTOR_NONE,   /* the item shall have none in this space */
    MAGPIE_VECTOR_KEPT,   /* what the store has is right, be it none */
    MAGPIE_VECTOR_WANTED, /* to be computed */
    MAGPIE_VECTOR_MADE    /* computed: `made` says where */
} magpie_vector_state;

/* What is to become of an item's vectors, and of its attributes. */
typedef struct magpie_vector_plan {
    uint64_t row;                             /* that the store has for the item; 0: it has none */
    magpie_vector_state state[MAGPIE_SPACES]; /* by space */
    /* The line's; or the store's, where the line is the same: with what was filled in. */
    magpie_string attributes;
} magpie_vector_plan;

typedef struct magpie_pending_item {
    magpie_catalogue_line line;          /* owned */
    size_t number;                       /* of the line, */
    const char *catalogue, *base;        /* and of which it is: see magpie_origin */
    magpie_member members[MAGPIE_MEDIA]; /* owned; what is not there is a file */
    size_t start_size;
    char start[MAGPIE_REJECT_START]; /* of the line, for the rejects file */
    magpie_vector_plan plan;
    size_t made[MAGPIE_SPACES]; /* which of the vectors that were computed for this space */
    bool fused;                 /* whether one came out of its others, where a fused one is wanted */
    char *problems;             /* owned; NULL: none came up in this run */
    bool refused;               /* found bad on its way, and reported: to be passed over */
} magpie_pending_item;

typedef struct magpie_pending {  /* all zero but the next and `dimensions` is a valid empty one */
    const magpie_fusion *fusion; /* NULL: there are no fused vectors */
    magpie_pending_item *items;  /* [count] */
    size_t count, capacity;
    size_t bytes;                     /* of their strings and members: a batch is bounded by these too */
    bool dry_run;                     /* what can be encoded counts as made, and has no vectors */
    bool new_rows;                    /* give every item a new row, even where its vectors stay */
    size_t dimensions[MAGPIE_SPACES]; /* of the store's spaces; 0: not bound */
    struct magpie_pending_vectors {
        float *data; /* [used, dimensions[space]] */
        size_t used, capacity;
    } vectors[MAGPIE_SPACES];
    const float **features; /* [fusing_capacity, MAGPIE_MODALITIES], of what is being fused */
    bool *any;              /* [fusing_capacity] */
    size_t fusing_capacity;
    magpie_labelling labelling;
    double seconds[MAGPIE_SPACES]; /* spent on encoding for each, in all */
} magpie_pending;

/* Takes over the line, and the origin's members. item.problems and plan->attributes may point into the
 * snapshot that magpie_pending_put will be given. */
MAGPIE_CHECK_RESULT magpie_status magpie_pending_add(magpie_pending *pending, magpie_catalogue_line *line,
                                                     const magpie_line *source, const magpie_origin *origin,
                                                     const magpie_vector_plan *plan);
/* The vector that was made for the item; NULL: none was. */
const float *magpie_pending_vector(const magpie_pending *pending, const magpie_pending_item *item,
                                   magpie_space space);
/* NULL where it is not among them. Looks at each: to be asked only where there is reason to. */
const magpie_pending_item *magpie_pending_find(const magpie_pending *pending, magpie_string id);
void magpie_pending_clear(magpie_pending *pending);
void magpie_pending_free(magpie_pending *pending);

/* What encoding and storing tell the job. */
typedef struct magpie_pending_hooks {
    /* magpie_error() says why `item` was refused, in words. It sets item->refused. */
    magpie_status (*refused)(void *context, magpie_pending_item *item, magpie_status why);
    /* The item goes on without its picture or sound, media[which]; item->line.item.problems says why. */
    magpie_status (*file_refused)(void *context, const magpie_pending_item *item, unsigned which);
    /* Between two blocks; any status but MAGPIE_OK stops the encoding. */
    magpie_status (*encoded)(void *context);
    void *context;
} magpie_pending_hooks;

/* What the line of the item that was added last has, in place of what would be computed. */
MAGPIE_CHECK_RESULT magpie_status magpie_pending_give(magpie_pending *pending,
                                                      const magpie_line_vectors *given,
                                                      const magpie_medium media[MAGPIE_MEDIA],
                                                      const magpie_pending_hooks *hooks);
/* Computes the vectors that are wanted and not there yet. `text` NULL: of texts none are wanted. */
MAGPIE_CHECK_RESULT magpie_status magpie_pending_encode(magpie_pending *pending, magpie_text_encoder *text,
                                                        const magpie_medium media[MAGPIE_MEDIA],
                                                        const magpie_pending_hooks *hooks);
/* Adds them all to `batch`, fused where their fused vector is wanted. Vectors that are kept come out of
 * `snapshot`, that in which their rows were found. */
MAGPIE_CHECK_RESULT magpie_status magpie_pending_put(magpie_pending *pending, magpie_snapshot *snapshot,
                                                     magpie_batch *batch, const magpie_pending_hooks *hooks);

#endif
