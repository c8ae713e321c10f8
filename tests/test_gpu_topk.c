/* test_gpu_topk.c - the k best that a device finds are those of sorting all scores, to the last bit and in
 * order, over random shapes, in every precision, block by block. Numbers are small whole ones: sums are
 * exact, and many scores are alike, so rows decide. */
#include "test_gpu.h"

#include <math.h>

#include "device/topk.h"

enum { GUARD = 3 /* queries that there is room for, and that are not asked */ };

typedef struct found {
    float score;
    uint32_t row;
} found;

static int compare_found(const void *a, const void *b) {
    const found *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return x->row < y->row ? -1 : 1;
}

typedef struct check {
    gpu *device;
    gpu_queue *q;
    gpu_arena arena;
    size_t n, count, d, k, block;
    float *queries, *vectors; /* [n, d], [count, d] */
} check;

static float *numbers(random_state *r, size_t n) {
    float *x = calloc(n + 1, sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++) x[i] = (float)random_below(r, 7) - 3;
    return x;
}

/* Some sizes are 1, some at the edges of tiles and slices. */
static size_t a_size(random_state *r, size_t most) {
    static const size_t edges[] = {1, 7, 64, 65, 128, 256, 257, 1024};
    const size_t edge = edges[random_below(r, sizeof edges / sizeof *edges)];
    return random_below(r, 3) == 0 && edge <= most ? edge : 1 + random_below(r, most);
}

static gpu_buffer upload(check *c, const float *x, size_t n) {
    gpu_buffer values, streams;
    assert_ok(gpu_arena_take(&c->arena, n * sizeof *x, &values));
    assert_ok(gpu_arena_take(&c->arena, n * sizeof *x, &streams));
    assert_ok(gpu_driver_of(c->q)->write(c->q, values, 0, x, n * sizeof *x));
    assert_ok(GPU_RUN(c->q, GPU_rows_load, 0, (n + 127) / 128, 1, 1, gpu_at(values), gpu_at(streams),
                      gpu_uint(n), gpu_uint(0)));
    return streams;
}

/* What comes behind the first `from` bytes is still what it was filled with. */
static void assert_guarded(check *c, gpu_buffer buffer, size_t from) {
    unsigned char *bytes = malloc(buffer.bytes - from + 1);
    assert_non_null(bytes);
    assert_ok(gpu_driver_of(c->q)->read(c->q, buffer, from, bytes, buffer.bytes - from));
    for (size_t i = 0; i < buffer.bytes - from; i++) assert_int_equal(bytes[i], 0xff);
    free(bytes);
}

static void find(check *c, uint32_t *rows, float *scores) {
    gpu_topk search;
    const gpu_driver *driver = gpu_driver_of(c->q);
    size_t last = 0;
    assert_ok(gpu_topk_room(&c->arena, c->n + GUARD, c->block, c->k, &search));
    assert_ok(driver->fill(c->q, search.scores, 0xff));
    assert_ok(driver->fill(c->q, search.keys, 0xff));
    const gpu_buffer queries = upload(c, c->queries, c->n * c->d);
    assert_ok(gpu_topk_begin(c->q, &search));
    for (size_t first = 0; first < c->count; first += last) {
        last = c->count - first < c->block ? c->count - first : c->block;
        const gpu_buffer vectors = upload(c, c->vectors + first * c->d, last * c->d);
        assert_ok(gpu_topk_add(c->q, &search, queries, c->n, vectors, last, c->d, first));
    }
    assert_ok(gpu_topk_end(c->q, &search, c->n, rows, scores));
    assert_guarded(c, search.scores, c->n * (c->count < c->block ? c->count : c->block) * sizeof *scores);
    assert_guarded(c, search.keys, c->n * search.slices * c->k * sizeof(uint64_t));
}

static void assert_best(const check *c, const uint32_t *rows, const float *scores) {
    found *all = calloc(c->count + 1, sizeof *all);
    assert_non_null(all);
    for (size_t i = 0; i < c->n; i++) {
        size_t there = 0;
        for (size_t row = 0; row < c->count; row++) {
            float sum = 0;
            for (size_t j = 0; j < c->d; j++) sum += c->queries[i * c->d + j] * c->vectors[row * c->d + j];
            if (!isnan(sum)) all[there++] = (found){sum, (uint32_t)row};
        }
        qsort(all, there, sizeof *all, compare_found);
        for (size_t j = 0; j < c->k; j++) {
            const found want = j < there ? all[j] : (found){-INFINITY, GPU_TOPK_NONE};
            if (rows[i * c->k + j] != want.row || scores[i * c->k + j] != want.score)
                fail_msg(
                    "%zu queries, %zu vectors by %zu of %zu, k %zu: number %zu of query %zu is %u (%g), not "
                    "%u (%g)",
                    c->n, c->count, c->block, c->d, c->k, j, i, rows[i * c->k + j],
                    (double)scores[i * c->k + j], want.row, (double)want.score);
        }
    }
    free(all);
}

static void check_once(gpu *device, random_state *r, size_t most) {
    check c = {.device = device, .arena = {.device = device}};
    c.n = most > 2000 ? 2 : a_size(r, random_below(r, 4) ? 8 : 70);
    c.count = random_below(r, 8) == 0 ? 0 : a_size(r, most);
    c.d = a_size(r, 70);
    c.k = a_size(r, GPU_TOPK_MAX);
    c.block = random_below(r, 2) ? c.count + 1 : 1 + c.count / (1 + random_below(r, 3));
    c.queries = numbers(r, c.n * c.d);
    c.vectors = numbers(r, c.count * c.d);
    for (size_t i = 0; i < 3 && c.count; i++) {
        static const float odd[] = {NAN, INFINITY, -INFINITY};
        c.vectors[random_below(r, c.count * c.d)] = odd[i];
    }
    uint32_t *rows[2];
    float *scores[2];
    assert_ok(gpu_base_of(device)->driver->queue_create(device, &c.q));
    for (int again = 0; again < 2; again++) {
        rows[again] = calloc(c.n * c.k, sizeof **rows);
        scores[again] = calloc(c.n * c.k, sizeof **scores);
        assert_true(rows[again] && scores[again]);
        find(&c, rows[again], scores[again]);
    }
    assert_best(&c, rows[0], scores[0]);
    assert_memory_equal(rows[0], rows[1], c.n * c.k * sizeof **rows);
    assert_memory_equal(scores[0], scores[1], c.n * c.k * sizeof **scores);
    for (int i = 0; i < 2; i++) {
        free(rows[i]);
        free(scores[i]);
    }
    gpu_driver_of(c.q)->queue_free(c.q);
    gpu_arena_free(&c.arena);
    free(c.queries);
    free(c.vectors);
}

static void the_best_of_all(void **state) {
    (void)state;
    random_state r = {31};
    for (int p = 0; p < 3; p++) {
        static const magpie_precision precisions[] = {MAGPIE_PRECISION_F32, MAGPIE_PRECISION_BF16,
                                                      MAGPIE_PRECISION_F16};
        gpu *device = test_gpu_open(precisions[p]);
        for (size_t i = test_gpu_checks(8); i-- > 0;) check_once(device, &r, i == 0 ? 20000 : 1200);
        gpu_base_of(device)->driver->close(device);
    }
}

static void what_is_asked_for(void **state) {
    (void)state;
    gpu *device = test_gpu_open(MAGPIE_PRECISION_F32);
    gpu_arena arena = {.device = device};
    gpu_topk search;
    assert_int_equal(gpu_topk_room(&arena, 1, 1, 0, &search), MAGPIE_E_ARGUMENT);
    assert_int_equal(gpu_topk_room(&arena, 1, 1, GPU_TOPK_MAX + 1, &search), MAGPIE_E_ARGUMENT);
    gpu_arena_free(&arena);
    gpu_base_of(device)->driver->close(device);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_best_of_all),
                                       cmocka_unit_test(what_is_asked_for)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
