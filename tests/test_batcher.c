/* The batcher's two queues take turns: what is bulk does not make a query wait for its end, queries do not make bulk
 * wait for ever, and a turn of bulk is short. Encoding is a stand-in: what is told is the order. */
#include "support.h"

#include "batcher.h"

#include <pthread.h>
#include <string.h>

enum { MOST = 16, TASKS = 200, DIMENSION = 2 };

static size_t batch; /* that is being encoded: how many there are in it; the batcher's thread alone looks */

static void count_batch(model_sense sense, size_t n) {
    (void)sense;
    batch = n;
}

/* Of pictures: bytes become a vector of their number; none at all are refused. */
magpie_status model_encode_files(const model_encoder *encoder, const magpie_media *files, size_t n,
                                 float *out, magpie_outcome *outcomes) {
    for (size_t i = 0; i < n; i++) {
        outcomes[i] = (magpie_outcome){.status = files[i].bytes.size ? MAGPIE_OK : MAGPIE_E_INPUT};
        for (size_t j = 0; j < encoder->dimension; j++)
            out[i * encoder->dimension + j] = (float)files[i].bytes.size;
    }
    return MAGPIE_OK;
}

typedef struct tally {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool open; /* the first task's `done` waits for that: until then all others are handed in */
    size_t done;
    size_t order[TASKS];   /* of tasks, as they were done */
    size_t batches[TASKS]; /* how many there were in each one's */
    encode_task tasks[TASKS];
    float vectors[TASKS][DIMENSION];
} tally;

static void be_done(encode_task *task) {
    tally *t = task->owner;
    pthread_mutex_lock(&t->lock);
    while (!t->open) pthread_cond_wait(&t->changed, &t->lock);
    t->batches[task - t->tasks] = batch;
    t->order[t->done++] = (size_t)(task - t->tasks);
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->lock);
}

/* Task 0, and when that is being encoded all others; `bulk` says which are. */
static void run(tally *t, size_t n, bool (*bulk)(size_t i)) {
    static const char bytes[TASKS];
    const model_encoder encoder = {.dimension = DIMENSION, .threads = 1};
    const batcher_options options = {.most = MOST, .batched = count_batch};
    batcher *b;
    *t = (tally){.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    assert_int_equal(batcher_create(&encoder, SENSE_IMAGE, &options, &b), MAGPIE_OK);
    for (size_t i = 0; i < n; i++) {
        t->tasks[i] = (encode_task){.sense = SENSE_IMAGE,
                                    .media.bytes = {bytes, i},
                                    .out = t->vectors[i],
                                    .bulk = bulk(i),
                                    .done = be_done,
                                    .owner = t};
        batcher_submit(b, &t->tasks[i]);
        while (!i && batcher_depth(b)) sched_yield();
    }
    pthread_mutex_lock(&t->lock);
    t->open = true;
    pthread_cond_broadcast(&t->changed);
    while (t->done < n) pthread_cond_wait(&t->changed, &t->lock);
    pthread_mutex_unlock(&t->lock);
    batcher_free(b);
}

static bool all_but_the_last(size_t i) { return i < TASKS - 1; }

static void test_query_goes_before_bulk(void **state) {
    tally t;
    (void)state;
    run(&t, TASKS, all_but_the_last);
    assert_int_equal(t.order[0], 0);
    assert_int_equal(t.order[1], TASKS - 1);
}

static bool every_other(size_t i) { return i % 2; }

/* While both queues have something, no more than a batch of queries and a turn of bulk come one after the other. */
static void test_both_get_on(void **state) {
    tally t;
    size_t row = 0;
    (void)state;
    run(&t, TASKS, every_other);
    const model_encoder one = {.threads = 1};
    const size_t a_turn = encode_turn_cost(&one) / encode_task_cost(&t.tasks[0]);
    assert_in_range(a_turn, 1, MOST - 1);
    for (size_t i = 1, left[2] = {TASKS / 2 - 1, TASKS / 2}; i < TASKS && left[0] && left[1]; i++) {
        const bool bulk = t.tasks[t.order[i]].bulk;
        row = i > 1 && t.tasks[t.order[i - 1]].bulk == bulk ? row + 1 : 1;
        assert_in_range(row, 1, bulk ? a_turn : MOST);
        assert_in_range(t.batches[t.order[i]], 1, bulk ? a_turn : MOST);
        left[bulk]--;
    }
}

/* Each is answered with its own, in whatever company; in the order of its queue. */
static void test_each_gets_its_own(void **state) {
    tally t;
    size_t last[2] = {0};
    (void)state;
    run(&t, TASKS, every_other);
    for (size_t i = 0; i < TASKS; i++) {
        assert_int_equal(t.tasks[i].outcome.status, i ? MAGPIE_OK : MAGPIE_E_INPUT);
        for (size_t j = 0; j < DIMENSION; j++) assert_float_equal(t.vectors[i][j], (float)i, 0);
        const size_t next = t.order[i], bulk = next % 2;
        assert_true(!i || next > last[bulk]);
        last[bulk] = next;
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_query_goes_before_bulk),
                                       cmocka_unit_test(test_both_get_on),
                                       cmocka_unit_test(test_each_gets_its_own)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
