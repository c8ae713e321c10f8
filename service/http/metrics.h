/* metrics.h - what has happened, counted, in Prometheus' text format.
 *
 * Counting is an atomic addition. Histograms have buckets of 0.1 ms to 30 s in steps of about 2 to 2.5. */
#ifndef MAGPIE_METRICS_H
#define MAGPIE_METRICS_H

#include "http.h"

enum { METRICS_BUCKETS = 17 };

typedef struct metrics_histogram {
    atomic_uint_fast64_t buckets[METRICS_BUCKETS + 1]; /* the last: beyond all bounds */
    atomic_uint_fast64_t nanoseconds;
} metrics_histogram;

typedef struct metrics metrics;

MAGPIE_CHECK_RESULT magpie_status metrics_create(metrics **out);
void metrics_free(metrics *m);
/* A request that was answered; with the times of its stages. */
void metrics_request(metrics *m, const http_request *r, double seconds);
void metrics_batch(metrics *m, model_sense sense, size_t size);
void metrics_answer_cache(metrics *m, bool hit);
/* Everything that was counted, and what `view` tells of the store, its indexes and the process. */
MAGPIE_CHECK_RESULT magpie_status metrics_write(metrics *m, const serving *view, size_t in_flight,
                                                size_t queued, size_t connections, magpie_text *out);
/* Answered requests, and seconds since the start. */
uint64_t metrics_requests(const metrics *m);
double metrics_uptime(const metrics *m);
/* Bytes of memory that are resident; 0: not known. */
size_t metrics_resident(void);

#endif
