/* workers.h - threads for requests that wait: for the disk, for a turn of an encoder. */
#ifndef MAGPIE_WORKERS_H
#define MAGPIE_WORKERS_H

#include "http.h"

typedef struct workers workers;

/* `work` is called with each request, on one of `threads` threads. At most `most` wait. */
MAGPIE_CHECK_RESULT magpie_status workers_start(unsigned threads, size_t most, void (*work)(http_request *r),
                                                workers **out);
/* After what is queued has been done. */
void workers_stop(workers *w);
/* false: too many wait already. */
bool workers_give(workers *w, http_request *r);
size_t workers_depth(workers *w);

#endif
