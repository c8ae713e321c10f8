/* writer.c - see writer.h. */
#include "writer.h"
#include "server.h"
#include "write_round.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* What a write costs, in units of some 40 microseconds: those of an item are mostly encoding. */
enum {
    ROUND_COST_MAX = WRITE_ROUND_MOST, /* a write costs 1 at least */
    ROUND_COST_MIN = 256,              /* below, disks would have nothing to do together */
    SLICE_COST = 256,
    TEXT_COST_MAX = 128, /* an encoder reads so much of a text, and no more */
    TEXT_BYTES_A_UNIT = 8,
    TASKS_MOST = 1024,
    BYTES_MOST = 64 << 20
};

static const unsigned costs[] = {
    [WRITE_PUT] = 16, [WRITE_PATCH] = 4, [WRITE_DELETE] = 4, [WRITE_INTERACTION] = 1, [WRITE_FORGET] = 16};
static const unsigned media_costs[WRITE_MEDIA] = {192, 512};

static const double round_seconds = 0.05;

struct writer {
    access_log *log;
    pthread_t thread, sweeper;
    bool writes, sweeps; /* they have been started */
    int64_t started;     /* seconds since 1970 */
    atomic_bool ending;
    pthread_mutex_t lock; /* guards the next six */
    pthread_cond_t arrived;
    write_task *first, **last;
    size_t tasks, bytes;
    char **lost; /* [lost_n]: files that were found to be nobody's */
    size_t lost_n;
    /* The thread's own. */
    write_round round;
    size_t cost, cost_most; /* of the round */
    write_task *finished;   /* with it */
};

/* ---- the queue ----------------------------------------------------------------------------------------- */

static void append_task(writer *w, write_task *task) {
    task->next = NULL;
    *w->last = task;
    w->last = &task->next;
}

static write_task *take_first(writer *w) {
    write_task *task = w->first;
    if (!(w->first = task->next)) w->last = &w->first;
    return task;
}

static bool give(writer *w, write_task *task) {
    pthread_mutex_lock(&w->lock);
    const bool fits = !atomic_load(&w->ending) &&
                      (task->goes_on || (w->tasks < TASKS_MOST && w->bytes + task->bytes <= BYTES_MOST));
    if (fits) {
        append_task(w, task);
        w->tasks++;
        w->bytes += task->bytes;
        pthread_cond_signal(&w->arrived);
    }
    pthread_mutex_unlock(&w->lock);
    return fits;
}

size_t writer_depth(writer *w) {
    pthread_mutex_lock(&w->lock);
    const size_t depth = w->tasks;
    pthread_mutex_unlock(&w->lock);
    return depth;
}

static void resume(write_task *task) { http_resume(task->owner); }

static void submit(http_request *r) {
    if (give(r->server->writer, r->waiting_for)) return;
    http_error(r, MHD_HTTP_TOO_MANY_REQUESTS, NULL, NULL, "too many writes wait: try again later");
    http_resume(r);
}

http_outcome writer_wait(http_request *r, write_task *task) {
    task->done = resume;
    task->owner = r;
    r->waiting_for = task;
    r->submit = submit;
    return HTTP_WAIT;
}

static size_t cost_of(const write_one *one) {
    size_t cost = costs[one->kind];
    if (one->kind != WRITE_PUT) return cost;
    const size_t text = one->line.size / TEXT_BYTES_A_UNIT;
    cost += text < TEXT_COST_MAX ? text : TEXT_COST_MAX;
    for (unsigned m = 0; m < WRITE_MEDIA; m++)
        if (*one->media[m].reference) cost += media_costs[m];
    return cost;
}

/* Under the lock. */
static void begin_round(writer *w) {
    w->round.count = w->cost = 0;
    w->finished = NULL;
    while (w->first && w->cost < w->cost_most) {
        write_task *task = take_first(w);
        for (size_t slice = 0; task->taken < task->count && slice < SLICE_COST && w->cost < w->cost_most;) {
            write_one *one = &task->ones[task->taken++];
            if (one->status != MAGPIE_OK) continue;
            slice += cost_of(one);
            w->cost += cost_of(one);
            w->round.ones[w->round.count++] = one;
        }
        if (task->taken < task->count) {
            append_task(w, task);
        } else {
            w->tasks--;
            w->bytes -= task->bytes;
            task->next = w->finished;
            w->finished = task;
        }
    }
}

/* ---- the thread ---------------------------------------------------------------------------------------- */

/* What takes longer than it should, for models and machines differ, is less the next time. */
static void run_round(writer *w) {
    const double start = magpie_seconds();
    write_round_run(&w->round);
    const double seconds = magpie_seconds() - start;
    if (seconds < round_seconds && w->cost < w->cost_most) return;
    double fits = (double)w->cost * round_seconds / seconds;
    if (fits > 2 * (double)w->cost_most) fits = 2 * (double)w->cost_most;
    w->cost_most = fits < ROUND_COST_MIN   ? ROUND_COST_MIN
                   : fits > ROUND_COST_MAX ? ROUND_COST_MAX
                                           : (size_t)fits;
}

static void end_round(writer *w) {
    while (w->finished) {
        write_task *task = w->finished; /* is its owner's with the next call */
        w->finished = task->next;
        task->done(task);
    }
}

static void remove_lost(writer *w, char **lost, size_t n) {
    for (size_t i = 0; i < n; i++) {
        store_media_remove_lost(lost[i], w->started);
        free(lost[i]);
    }
    free(lost);
}

/* Models that were replaced are not kept by a writer that has nothing to do. */
static void wait_for_tasks(writer *w) {
    struct timespec until;
    while (!w->first && !w->lost && !atomic_load(&w->ending)) {
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec++;
        pthread_cond_clockwait(&w->arrived, &w->lock, CLOCK_MONOTONIC, &until);
        if (w->first || !w->round.view.models) continue;
        pthread_mutex_unlock(&w->lock);
        write_round_renew(&w->round);
        pthread_mutex_lock(&w->lock);
    }
}

static void *run(void *argument) {
    writer *w = argument;
    pthread_mutex_lock(&w->lock);
    for (;;) {
        wait_for_tasks(w);
        if (!w->first && !w->lost) break;
        char **lost = w->lost;
        w->lost = NULL;
        begin_round(w);
        pthread_mutex_unlock(&w->lock);
        if (lost) remove_lost(w, lost, w->lost_n);
        if (w->round.count) run_round(w);
        end_round(w);
        pthread_mutex_lock(&w->lock);
    }
    pthread_mutex_unlock(&w->lock);
    write_round_let_go(&w->round);
    return NULL;
}

static void *sweep(void *argument) {
    writer *w = argument;
    serving view;
    char **lost;
    size_t n;
    serving_take(w->round.source, &view);
    magpie_store *store = view.store; /* which lasts longer than we do */
    serving_give_back(&view);
    magpie_status status = store_media_find_lost(store, w->started, &w->ending, &lost, &n);
    if (status != MAGPIE_OK && status != MAGPIE_E_CANCELLED)
        access_log_message(w->log, "error", magpie_error());
    if (!n) return free(lost), NULL;
    pthread_mutex_lock(&w->lock);
    w->lost = lost;
    w->lost_n = n;
    pthread_cond_signal(&w->arrived);
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

magpie_status writer_start(serving_source *source, access_log *log, writer **out) {
    writer *w = magpie_alloc(1, sizeof *w);
    if (!w) return MAGPIE_E_NO_MEMORY;
    w->round.source = source;
    w->log = log;
    w->last = &w->first;
    w->cost_most = ROUND_COST_MAX / 2;
    w->started = magpie_unix_millis() / 1000 - 1; /* a file's time may be that of a clock's last tick */
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->arrived, NULL);
    magpie_status status = magpie_batch_create(&w->round.batch);
    if (status == MAGPIE_OK) {
        const int error = pthread_create(&w->thread, NULL, run, w);
        w->writes = !error;
        if (error) status = magpie_fail_errno(error, "cannot start a thread");
    }
    if (status == MAGPIE_OK) w->sweeps = pthread_create(&w->sweeper, NULL, sweep, w) == 0;
    if (status == MAGPIE_OK)
        *out = w;
    else
        writer_stop(w);
    return status;
}

void writer_stop(writer *w) {
    if (!w) return;
    pthread_mutex_lock(&w->lock);
    atomic_store(&w->ending, true);
    pthread_cond_broadcast(&w->arrived);
    pthread_mutex_unlock(&w->lock);
    if (w->sweeps) pthread_join(w->sweeper, NULL);
    if (w->writes) pthread_join(w->thread, NULL);
    if (w->lost) remove_lost(w, w->lost, w->lost_n);
    write_round_free(&w->round);
    pthread_cond_destroy(&w->arrived);
    pthread_mutex_destroy(&w->lock);
    free(w);
}
