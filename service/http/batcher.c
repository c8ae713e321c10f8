/* batcher.c - see batcher.h. */
#include "batcher.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    BATCH_COST = 16 << 10, /* which a batch of short texts never reaches */
    /* A thread's; the encoder's own batches have as much. With 512 a query beside 1,024 texts took 65 ms in place
     * of 31 (two CPUs, bf16), and these got on 5% faster at most. */
    TURN_COST = 256,
    BYTES_A_TOKEN = 4
};

static const size_t media_cost[SENSES] = {[SENSE_IMAGE] = 128, [SENSE_AUDIO] = 256};

typedef enum kind { PASSAGES = MAGPIE_PASSAGE, QUERIES = MAGPIE_QUERY, TOKENS, KINDS } kind; /* of texts */

typedef struct queue {
    encode_task *first, **last;
} queue;

struct batcher {
    const model_encoder *encoder;
    model_sense sense;
    batcher_options options;
    pthread_t thread;
    pthread_mutex_t lock; /* guards the next five */
    pthread_cond_t arrived;
    queue queues[2]; /* [bulk] */
    bool was_bulk;   /* the last batch */
    size_t depth;
    bool ending;
    /* Of the batch at hand: [most] */
    encode_task **tasks;
    size_t *of; /* those of one kind */
    magpie_string *texts;
    size_t *starts; /* [most + 1], in ids */
    int32_t *ids;   /* grows */
    size_t ids_capacity;
    magpie_media *media;
    magpie_outcome *outcomes;
    float *vectors; /* [most, dimension] */
};

/* ---- what makes a batch -------------------------------------------------------------------------------- */

size_t encode_task_cost(const encode_task *task) {
    if (task->sense != SENSE_TEXT) return media_cost[task->sense];
    return task->ids ? task->count : task->text.size / BYTES_A_TOKEN;
}

size_t encode_turn_cost(const model_encoder *encoder) { return (size_t)TURN_COST * encoder->threads; }

static bool others_are_coming(const batcher *b) {
    return b->options.coming && atomic_load_explicit(b->options.coming, memory_order_relaxed);
}

/* With the lock held, and a task in a queue. Where bulk waits there is better to do. */
static void wait_for_others(batcher *b) {
    if (b->queues[true].first) return;
    const double until = b->queues[false].first->submitted + b->options.wait;
    for (double now; b->depth < b->options.most && others_are_coming(b) && !b->ending;) {
        if ((now = magpie_seconds()) >= until) return;
        struct timespec at;
        clock_gettime(CLOCK_MONOTONIC, &at);
        const double left = until - now;
        at.tv_nsec += (long)(left * 1e9);
        at.tv_sec += at.tv_nsec / 1000000000;
        at.tv_nsec %= 1000000000;
        pthread_cond_clockwait(&b->arrived, &b->lock, CLOCK_MONOTONIC, &at);
    }
}

/* With the lock held. */
static size_t take_batch(batcher *b) {
    const bool bulk = !b->queues[false].first || (b->queues[true].first && !b->was_bulk);
    const size_t most = bulk ? encode_turn_cost(b->encoder) : BATCH_COST;
    queue *q = &b->queues[bulk];
    size_t n = 0, cost = 0;
    while (q->first && n < b->options.most && (!n || cost + encode_task_cost(q->first) <= most)) {
        encode_task *task = q->first;
        cost += encode_task_cost(task);
        b->tasks[n++] = task;
        if (!(q->first = task->next)) q->last = &q->first;
        b->depth--;
    }
    b->was_bulk = bulk;
    return n;
}

/* ---- encoding ------------------------------------------------------------------------------------------ */

static void set_outcome(encode_task *task, magpie_status status) {
    task->outcome.status = status;
    if (status != MAGPIE_OK)
        snprintf(task->outcome.reason, sizeof task->outcome.reason, "%s", magpie_error());
}

static kind kind_of(const encode_task *task) { return task->ids ? TOKENS : (kind)task->role; }

static magpie_status encode_tokens(batcher *b, const size_t *of, size_t n) {
    size_t size = 0;
    for (size_t i = 0; i < n; i++) size += b->tasks[of[i]]->count;
    magpie_status status = magpie_grow((void **)&b->ids, &b->ids_capacity, size, sizeof *b->ids);
    if (status != MAGPIE_OK) return status;
    b->starts[0] = 0;
    for (size_t i = 0; i < n; i++) {
        const encode_task *task = b->tasks[of[i]];
        memcpy(b->ids + b->starts[i], task->ids, task->count * sizeof *b->ids);
        b->starts[i + 1] = b->starts[i] + task->count;
    }
    return magpie_text_encoder_encode_tokens(b->encoder->text, b->ids, b->starts, n, b->vectors);
}

/* Texts of one kind, tasks[of[0]] ... tasks[of[n - 1]]. */
static void encode_texts(batcher *b, const size_t *of, size_t n, kind kind) {
    const size_t d = b->encoder->dimension;
    for (size_t i = 0; i < n; i++) b->texts[i] = b->tasks[of[i]]->text;
    const magpie_status status =
        kind == TOKENS
            ? encode_tokens(b, of, n)
            : magpie_text_encoder_encode(b->encoder->text, b->texts, n, (magpie_text_role)kind, b->vectors);
    if (status != MAGPIE_OK && n > 1) { /* one of them may be at fault */
        for (size_t i = 0; i < n; i++) encode_texts(b, of + i, 1, kind);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        encode_task *task = b->tasks[of[i]];
        set_outcome(task, status);
        if (status == MAGPIE_OK) memcpy(task->out, b->vectors + i * d, d * sizeof *task->out);
    }
}

static void encode_kind(batcher *b, size_t n, kind kind) {
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        if (kind_of(b->tasks[i]) == kind) b->of[count++] = i;
    if (count) encode_texts(b, b->of, count, kind);
}

static void encode_files(batcher *b, size_t n) {
    for (size_t i = 0; i < n; i++) b->media[i] = b->tasks[i]->media;
    magpie_status status = model_encode_files(b->encoder, b->media, n, b->vectors, b->outcomes);
    for (size_t i = 0; i < n; i++) {
        encode_task *task = b->tasks[i];
        if (status == MAGPIE_OK)
            task->outcome = b->outcomes[i];
        else
            set_outcome(task, status);
        memcpy(task->out, b->vectors + i * b->encoder->dimension, b->encoder->dimension * sizeof *task->out);
    }
}

static void run_batch(batcher *b, size_t n) {
    const double start = magpie_seconds();
    if (b->sense != SENSE_TEXT) encode_files(b, n);
    for (unsigned kind = 0; kind < KINDS && b->sense == SENSE_TEXT; kind++) encode_kind(b, n, kind);
    const double took = magpie_seconds() - start;
    if (b->options.batched) b->options.batched(b->sense, n);
    for (size_t i = 0; i < n; i++) {
        encode_task *task = b->tasks[i];
        task->queued = start - task->submitted;
        task->encoded = took;
        task->done(task); /* it may be gone after that */
    }
}

static void *work(void *argument) {
    batcher *b = argument;
    pthread_mutex_lock(&b->lock);
    for (;;) {
        while (!b->depth && !b->ending) pthread_cond_wait(&b->arrived, &b->lock);
        if (!b->depth) break;
        wait_for_others(b);
        const size_t n = take_batch(b);
        pthread_mutex_unlock(&b->lock);
        run_batch(b, n);
        pthread_mutex_lock(&b->lock);
    }
    pthread_mutex_unlock(&b->lock);
    return NULL;
}

/* ---- the batcher --------------------------------------------------------------------------------------- */

static void free_buffers(batcher *b) {
    pthread_cond_destroy(&b->arrived);
    pthread_mutex_destroy(&b->lock);
    free(b->tasks);
    free(b->of);
    free(b->texts);
    free(b->starts);
    free(b->ids);
    free(b->media);
    free(b->outcomes);
    free(b->vectors);
    free(b);
}

magpie_status batcher_create(const model_encoder *encoder, model_sense sense, const batcher_options *options,
                             batcher **out) {
    batcher *b = magpie_alloc(1, sizeof *b);
    if (!b) return MAGPIE_E_NO_MEMORY;
    b->encoder = encoder;
    b->sense = sense;
    b->options = *options;
    for (unsigned i = 0; i < 2; i++) b->queues[i].last = &b->queues[i].first;
    pthread_mutex_init(&b->lock, NULL);
    pthread_cond_init(&b->arrived, NULL);
    const size_t most = options->most;
    b->tasks = magpie_alloc(most, sizeof(encode_task *));
    b->of = magpie_alloc(most, sizeof *b->of);
    b->texts = magpie_alloc(most, sizeof *b->texts);
    b->starts = magpie_alloc(most + 1, sizeof *b->starts);
    b->media = magpie_alloc(most, sizeof *b->media);
    b->outcomes = magpie_alloc(most, sizeof *b->outcomes);
    b->vectors = magpie_alloc(most * encoder->dimension, sizeof *b->vectors);
    const bool got = b->tasks && b->of && b->texts && b->starts && b->media && b->outcomes && b->vectors;
    magpie_status status = got ? MAGPIE_OK : MAGPIE_E_NO_MEMORY;
    int error = status == MAGPIE_OK ? pthread_create(&b->thread, NULL, work, b) : 0;
    if (error) status = magpie_fail_errno(error, "cannot start a thread");
    if (status == MAGPIE_OK)
        *out = b;
    else
        free_buffers(b);
    return status;
}

void batcher_free(batcher *b) {
    if (!b) return;
    pthread_mutex_lock(&b->lock);
    b->ending = true;
    pthread_cond_signal(&b->arrived);
    pthread_mutex_unlock(&b->lock);
    pthread_join(b->thread, NULL);
    free_buffers(b);
}

void batcher_submit(batcher *b, encode_task *task) {
    task->submitted = magpie_seconds();
    task->next = NULL;
    pthread_mutex_lock(&b->lock);
    queue *q = &b->queues[task->bulk];
    *q->last = task;
    q->last = &task->next;
    b->depth++;
    pthread_cond_signal(&b->arrived);
    pthread_mutex_unlock(&b->lock);
}

size_t batcher_depth(batcher *b) {
    pthread_mutex_lock(&b->lock);
    const size_t depth = b->depth;
    pthread_mutex_unlock(&b->lock);
    return depth;
}
