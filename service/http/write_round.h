/* write_round.h - some writes, committed together: items that are put and patched in one transaction, all
 * else in another. Each fares by itself, but for what keeps all of them from being written. */
#ifndef MAGPIE_WRITE_ROUND_H
#define MAGPIE_WRITE_ROUND_H

#include "serving.h"
#include "write_task.h"

enum { WRITE_ROUND_MOST = 1024 /* writes */ };

/* A file that an item had when a round began, or was to get by it. */
typedef struct former_medium {
    magpie_string id; /* the one's */
    char reference[STORE_MEDIA_REFERENCE];
} former_medium;

/* All zero, but for its source, is one that has done nothing yet. Belongs to one thread. */
typedef struct write_round {
    serving_source *source;
    write_one *ones[WRITE_ROUND_MOST]; /* [count]: to be written */
    size_t count;
    serving view; /* the store and the models of the session; no index */
    magpie_ingest_session *session;
    magpie_batch *batch;
    former_medium *formers; /* [formers_n] */
    size_t formers_n, formers_capacity;
} write_round;

/* With the models that requests have now. */
void write_round_run(write_round *r);
/* Lets go of models that have been replaced. */
void write_round_renew(write_round *r);
/* Lets go of store and models; it can be run again. */
void write_round_let_go(write_round *r);
void write_round_free(write_round *r);

#endif
