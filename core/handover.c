/* handover.c - writing what was computed, to a file or a disk, takes a few percent of the time that computing it
 * takes; done between two encodings it would leave all other cores idle that long. */
#include "core.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct magpie_handover {
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t changed;
    void *block; /* being worked on; NULL: none */
    bool ending;
    magpie_status status; /* the first failure */
    char *why;            /* a message belongs to its thread, so it is carried over */
    magpie_handover_task task;
    void *context;
    pthread_t thread;
};

static void *work(void *argument) {
    magpie_handover *h = argument;
    pthread_mutex_lock(&h->lock);
    for (;;) {
        while (!h->block && !h->ending) pthread_cond_wait(&h->changed, &h->lock);
        if (!h->block) break;
        if (h->status == MAGPIE_OK) {
            pthread_mutex_unlock(&h->lock);
            magpie_status status = h->task(h->context, h->block);
            pthread_mutex_lock(&h->lock);
            h->status = status;
            if (status != MAGPIE_OK) h->why = strdup(magpie_error());
        }
        h->block = NULL;
        pthread_cond_broadcast(&h->changed);
    }
    pthread_mutex_unlock(&h->lock);
    return NULL;
}

magpie_status magpie_handover_start(magpie_handover_task task, void *context, magpie_handover **out) {
    magpie_handover *h = magpie_alloc(1, sizeof *h);
    if (!h) return MAGPIE_E_NO_MEMORY;
    h->task = task;
    h->context = context;
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->changed, NULL);
    int error = pthread_create(&h->thread, NULL, work, h);
    if (error) {
        free(h);
        return magpie_fail_errno(error, "cannot start a thread");
    }
    *out = h;
    return MAGPIE_OK;
}

/* With the lock held. */
static magpie_status outcome(const magpie_handover *h) {
    return h->status == MAGPIE_OK
               ? MAGPIE_OK
               : magpie_fail(h->status, "%s", h->why ? h->why : magpie_status_name(h->status));
}

/* With the lock held. */
static void wait_until_idle(magpie_handover *h) {
    while (h->block) pthread_cond_wait(&h->changed, &h->lock);
}

magpie_status magpie_handover_give(magpie_handover *h, void *block) {
    pthread_mutex_lock(&h->lock);
    wait_until_idle(h);
    h->block = block;
    pthread_cond_broadcast(&h->changed);
    magpie_status status = outcome(h);
    pthread_mutex_unlock(&h->lock);
    return status;
}

bool magpie_handover_idle(magpie_handover *h) {
    pthread_mutex_lock(&h->lock);
    const bool idle = !h->block;
    pthread_mutex_unlock(&h->lock);
    return idle;
}

magpie_status magpie_handover_wait(magpie_handover *h) {
    pthread_mutex_lock(&h->lock);
    wait_until_idle(h);
    magpie_status status = outcome(h);
    pthread_mutex_unlock(&h->lock);
    return status;
}

magpie_status magpie_handover_end(magpie_handover *h) {
    if (!h) return MAGPIE_OK;
    pthread_mutex_lock(&h->lock);
    h->ending = true;
    pthread_cond_broadcast(&h->changed);
    pthread_mutex_unlock(&h->lock);
    pthread_join(h->thread, NULL);
    magpie_status status = outcome(h);
    pthread_cond_destroy(&h->changed);
    pthread_mutex_destroy(&h->lock);
    free(h->why);
    free(h);
    return status;
}
