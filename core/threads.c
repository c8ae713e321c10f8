/* threads.c - a pool that shares out the tasks of one call.
 *
 * Tasks are taken one by one under the lock: they are meant to be some hundred microseconds or more, where a
 * lock is nothing, and one lock is simple enough to be seen to be right. The caller works too, so a pool of n
 * has n-1 threads. */
#include "core.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* CPUs' worth of time that the cgroup allows, rounded up; UINT32_MAX where there is no limit. */
static unsigned cgroup_cpus(void) {
    long long quota, period;
    FILE *file = fopen("/sys/fs/cgroup/cpu.max", "re");
    if (!file) return UINT32_MAX;
    int n = fscanf(file, "%lld %lld", &quota, &period); /* "max 100000" reads as none */
    fclose(file);
    return n == 2 && quota > 0 && period > 0 ? (unsigned)((quota + period - 1) / period) : UINT32_MAX;
}

unsigned magpie_cpu_count(void) {
    cpu_set_t set;
    unsigned n = sched_getaffinity(0, sizeof set, &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1;
    unsigned allowed = cgroup_cpus();
    if (allowed < n) n = allowed;
    return n ? n : 1;
}

enum { WATCHES = 4000 /* of some 40 cycles each */ };

struct magpie_pool {
    pthread_mutex_t turn; /* held by the one call that is running */
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t work, done;
    magpie_task task;
    void *context;
    size_t count, next;
    atomic_uint running; /* threads inside a task; changed with the lock held, looked at without it too */
    atomic_uint runs;    /* that were begun; the same */
    bool eager;
    size_t failed; /* the first task that did, and of it: */
    magpie_status status;
    char *message;
    bool closing;
    unsigned threads;
    struct worker {
        magpie_pool *pool;
        pthread_t thread;
        unsigned number;
    } * workers; /* [threads]; 0 is the caller */
};

/* Runs tasks while there are any. Enters and leaves with the lock held. */
static void work_off(magpie_pool *pool, unsigned worker) {
    while (pool->next < pool->count) {
        size_t task = pool->next++;
        pool->running++;
        pthread_mutex_unlock(&pool->lock);
        magpie_status status = pool->task(pool->context, task, worker);
        pthread_mutex_lock(&pool->lock);
        pool->running--;
        if (status != MAGPIE_OK && (pool->status == MAGPIE_OK || task < pool->failed)) {
            free(pool->message);
            pool->failed = task;
            pool->status = status;
            pool->message = strdup(magpie_error());
            pool->next = pool->count;
        }
    }
    if (!pool->running) pthread_cond_signal(&pool->done);
}

/* Some forty microseconds, as long as `number` is `value`. */
static void watch(atomic_uint *number, unsigned value) {
    for (int i = 0; i < WATCHES && atomic_load_explicit(number, memory_order_relaxed) == value; i++) {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
    }
}

/* Until there may be work. Enters and leaves with the lock held. */
static void wait_for_work(magpie_pool *pool) {
    unsigned runs = pool->runs;
    if (pool->eager) {
        pthread_mutex_unlock(&pool->lock);
        watch(&pool->runs, runs);
        pthread_mutex_lock(&pool->lock);
    }
    if (pool->runs == runs && !pool->closing) pthread_cond_wait(&pool->work, &pool->lock);
}

/* The same, until nobody works. */
static void wait_until_done(magpie_pool *pool) {
    for (unsigned running = pool->running; pool->eager && running; running = pool->running) {
        pthread_mutex_unlock(&pool->lock);
        watch(&pool->running, running);
        pthread_mutex_lock(&pool->lock);
        if (pool->running == running) break;
    }
    while (pool->running) pthread_cond_wait(&pool->done, &pool->lock);
}

static void *worker_main(void *argument) {
    struct worker *self = argument;
    magpie_pool *pool = self->pool;
    pthread_mutex_lock(&pool->lock);
    while (!pool->closing) {
        if (pool->next < pool->count)
            work_off(pool, self->number);
        else
            wait_for_work(pool);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

magpie_status magpie_pool_create(unsigned threads, magpie_pool **out) {
    if (!threads) threads = magpie_cpu_count();
    magpie_pool *pool = magpie_alloc(1, sizeof *pool);
    if (!pool) return MAGPIE_E_NO_MEMORY;
    /* It is held for some nanoseconds: a thread that finds it taken does better to look again than to sleep. */
    pthread_mutexattr_t kind;
    pthread_mutexattr_init(&kind);
    pthread_mutexattr_settype(&kind, PTHREAD_MUTEX_ADAPTIVE_NP);
    pthread_mutex_init(&pool->turn, NULL);
    pthread_mutex_init(&pool->lock, &kind);
    pthread_mutexattr_destroy(&kind);
    pthread_cond_init(&pool->work, NULL);
    pthread_cond_init(&pool->done, NULL);
    pool->threads = 1;
    pool->workers = magpie_alloc(threads, sizeof *pool->workers);
    for (unsigned i = 1; pool->workers && i < threads; i++) {
        struct worker *worker = &pool->workers[i];
        *worker = (struct worker){.pool = pool, .number = i};
        int error = pthread_create(&worker->thread, NULL, worker_main, worker);
        if (error) {
            magpie_pool_free(pool);
            return magpie_fail_errno(error, "cannot start thread %u of %u", i + 1, threads);
        }
        pool->threads = i + 1;
    }
    if (!pool->workers) {
        magpie_pool_free(pool);
        return MAGPIE_E_NO_MEMORY;
    }
    *out = pool;
    return MAGPIE_OK;
}

void magpie_pool_be_eager(magpie_pool *pool) {
    pthread_mutex_lock(&pool->lock);
    pool->eager = true;
    pthread_mutex_unlock(&pool->lock);
}

unsigned magpie_pool_threads(const magpie_pool *pool) { return pool->threads; }

magpie_status magpie_pool_run(magpie_pool *pool, size_t count, magpie_task task, void *context) {
    pthread_mutex_lock(&pool->turn);
    pthread_mutex_lock(&pool->lock);
    pool->task = task;
    pool->context = context;
    pool->status = MAGPIE_OK;
    pool->next = 0;
    pool->count = count;
    pool->runs++;
    if (count > 1) pthread_cond_broadcast(&pool->work);
    work_off(pool, 0);
    wait_until_done(pool);
    magpie_status status = pool->status;
    char *message = pool->message;
    pool->message = NULL;
    pthread_mutex_unlock(&pool->lock);
    pthread_mutex_unlock(&pool->turn);
    if (status != MAGPIE_OK) (void)magpie_fail(status, "%s", message ? message : magpie_status_name(status));
    free(message);
    return status;
}

void magpie_pool_free(magpie_pool *pool) {
    if (!pool) return;
    pthread_mutex_lock(&pool->lock);
    pool->closing = true;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->lock);
    for (unsigned i = 1; i < pool->threads; i++) pthread_join(pool->workers[i].thread, NULL);
    pthread_cond_destroy(&pool->work);
    pthread_cond_destroy(&pool->done);
    pthread_mutex_destroy(&pool->lock);
    pthread_mutex_destroy(&pool->turn);
    free(pool->workers);
    free(pool);
}
