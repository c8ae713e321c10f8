/* workers.c - see workers.h. */
#include "workers.h"

#include <pthread.h>
#include <stdlib.h>

struct workers {
    void (*work)(http_request *r);
    pthread_mutex_t lock; /* guards the next four */
    pthread_cond_t arrived;
    http_request *first, **last;
    size_t depth;
    bool ending;
    size_t most;
    unsigned count;
    pthread_t threads[];
};

static void *run(void *argument) {
    workers *w = argument;
    pthread_mutex_lock(&w->lock);
    for (;;) {
        while (!w->first && !w->ending) pthread_cond_wait(&w->arrived, &w->lock);
        http_request *r = w->first;
        if (!r) break;
        if (!(w->first = r->next)) w->last = &w->first;
        w->depth--;
        pthread_mutex_unlock(&w->lock);
        w->work(r);
        pthread_mutex_lock(&w->lock);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

magpie_status workers_start(unsigned threads, size_t most, void (*work)(http_request *r), workers **out) {
    workers *w = magpie_alloc(1, sizeof *w + threads * sizeof *w->threads);
    if (!w) return MAGPIE_E_NO_MEMORY;
    w->work = work;
    w->most = most;
    w->last = &w->first;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->arrived, NULL);
    for (; w->count < threads; w->count++) {
        int error = pthread_create(&w->threads[w->count], NULL, run, w);
        if (!error) continue;
        workers_stop(w);
        return magpie_fail_errno(error, "cannot start a thread");
    }
    *out = w;
    return MAGPIE_OK;
}

void workers_stop(workers *w) {
    if (!w) return;
    pthread_mutex_lock(&w->lock);
    w->ending = true;
    pthread_cond_broadcast(&w->arrived);
    pthread_mutex_unlock(&w->lock);
    for (unsigned i = 0; i < w->count; i++) pthread_join(w->threads[i], NULL);
    pthread_cond_destroy(&w->arrived);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

bool workers_give(workers *w, http_request *r) {
    pthread_mutex_lock(&w->lock);
    const bool fits = w->depth < w->most;
    if (fits) {
        r->next = NULL;
        *w->last = r;
        w->last = &r->next;
        w->depth++;
        pthread_cond_signal(&w->arrived);
    }
    pthread_mutex_unlock(&w->lock);
    return fits;
}

size_t workers_depth(workers *w) {
    pthread_mutex_lock(&w->lock);
    const size_t depth = w->depth;
    pthread_mutex_unlock(&w->lock);
    return depth;
}
