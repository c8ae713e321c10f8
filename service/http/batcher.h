/* batcher.h - many requests' texts, pictures or sounds, encoded together.
 *
 * An encoder computes a batch of short texts in little more time than one of them, for it is reading the
 * weights that takes it. So while one batch is being computed, what comes meanwhile makes the next; and where
 * others are on their way, up to `wait` is given them to join. A batch answers what the single call answers:
 * the encoders see to that.
 *
 * BULK. Whoever has much to encode must not make a short query wait for the end of it. What is bulk has a queue of
 * its own, takes turns with the other one, and a turn of it is short: what keeps every thread busy for some tens
 * of milliseconds, for larger batches are no faster. Its owner hands in no more than a turn at a time (things.c),
 * so that several of them get on alike. */
#ifndef MAGPIE_BATCHER_H
#define MAGPIE_BATCHER_H

#include <stdatomic.h>

#include "model.h"

typedef struct batcher batcher;

/* One thing to encode. It is its owner's, and untouched by them from submission to `done`. */
typedef struct encode_task {
    model_sense sense;
    magpie_string text; /* valid UTF-8 of at most MAGPIE_TEXT_MAX bytes */
    magpie_text_role role;
    const int32_t *ids; /* [count], of a text that is tokens already, and fine; NULL: it is `text` */
    size_t count;
    magpie_media media; /* of a picture or sound */
    bool bulk;
    float *out; /* [dimension] */
    magpie_outcome outcome;
    double queued, encoded;                 /* seconds that it waited, and that its batch took */
    void (*done)(struct encode_task *task); /* on the batcher's thread: brief */
    void *owner;
    struct encode_task *next;
    double submitted;
} encode_task;

/* What it costs to encode, in tokens of a text, roughly. */
size_t encode_task_cost(const encode_task *task);
/* What a turn of bulk costs at most, or one task. */
size_t encode_turn_cost(const model_encoder *encoder);

typedef struct batcher_options {
    unsigned most; /* tasks of a batch; what it costs is bounded too */
    double wait;   /* seconds that the first of a batch waits at most for others */
    /* How many requests are being read, and may come to this: while that is 0, waiting is in vain. NULL: not
     * known. */
    const atomic_size_t *coming;
    void (*batched)(model_sense sense, size_t n); /* of every batch; NULL: nobody counts */
} batcher_options;

MAGPIE_CHECK_RESULT magpie_status batcher_create(const model_encoder *encoder, model_sense sense,
                                                 const batcher_options *options, batcher **out);
/* After its tasks are done. */
void batcher_free(batcher *b);
void batcher_submit(batcher *b, encode_task *task);
size_t batcher_depth(batcher *b); /* tasks that wait */

#endif
