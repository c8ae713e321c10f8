/* turns.h - callers of one encoder from several threads take turns, in the order in which they came. Private to
 * encoders/.
 *
 * A mutex alone would let others starve: who gives it up between two blocks of a long call has it again before
 * those who wait have woken. So each takes a number, as at a counter. */
#ifndef MAGPIE_TURNS_H
#define MAGPIE_TURNS_H

#include <pthread.h>
#include <stdint.h>

typedef struct turns {
    pthread_mutex_t lock;
    pthread_cond_t called;
    uint64_t taken, served; /* numbers */
} turns;

static inline void turns_init(turns *t) {
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->called, NULL);
    t->taken = t->served = 0;
}

static inline void turns_destroy(turns *t) {
    pthread_cond_destroy(&t->called);
    pthread_mutex_destroy(&t->lock);
}

static inline void turns_take(turns *t) {
    pthread_mutex_lock(&t->lock);
    for (uint64_t mine = t->taken++; mine != t->served;) pthread_cond_wait(&t->called, &t->lock);
    pthread_mutex_unlock(&t->lock);
}

static inline void turns_give(turns *t) {
    pthread_mutex_lock(&t->lock);
    t->served++;
    pthread_cond_broadcast(&t->called);
    pthread_mutex_unlock(&t->lock);
}

#endif
