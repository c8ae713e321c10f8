/* matmul_bench.c - what oneDNN reaches in the products of a sentence encoder: the limit that text_bench's
 * figures are fractions of. Every thread runs its own products, as the encoder's batches do. Usage:
 * matmul_bench [f32|bf16] [threads]; one JSON line a height of the matrix, for the four products of a MiniLM
 * layer together. */
#include "dnnl_matmul.h"

#include <stdlib.h>

enum { SHAPES = 4, REPEATS = 200, ROUNDS = 7 };

/* in, out: query-key-value, attention output, up, down */
static const size_t shapes[SHAPES][2] = {{384, 1152}, {384, 384}, {384, 1536}, {1536, 384}};

typedef struct setup {
    onednn_device *device;
    matmul_weights *weights[SHAPES];
    size_t rows;
} setup;

static void die(void) {
    fprintf(stderr, "matmul_bench: %s\n", magpie_error());
    exit(1);
}

static magpie_status run_products(void *context, size_t task, unsigned worker) {
    const setup *s = context;
    (void)task;
    (void)worker;
    onednn_queue *queue;
    matmul_lane *lane = NULL;
    magpie_status status = onednn_queue_create(s->device, 1, &queue);
    if (status != MAGPIE_OK) return status;
    status = matmul_lane_create(queue, &lane);
    float *x = magpie_alloc(s->rows * 1536, sizeof *x), *y = magpie_alloc(s->rows * 1536, sizeof *y);
    if (!x || !y) status = MAGPIE_E_NO_MEMORY;
    for (size_t r = 0; r < REPEATS && status == MAGPIE_OK; r++)
        status = matmul_run(lane, s->weights[r % SHAPES], x, s->rows, y);
    free(y);
    free(x);
    matmul_lane_free(lane);
    onednn_queue_free(queue);
    return status;
}

static double measure(setup *s, magpie_pool *pool) {
    double best = 0, flop = 0;
    for (size_t i = 0; i < SHAPES; i++)
        flop += 2.0 * (double)(s->rows * shapes[i][0] * shapes[i][1]) * REPEATS / SHAPES;
    for (int round = 0; round < ROUNDS; round++) {
        double start = magpie_seconds();
        if (magpie_pool_run(pool, magpie_pool_threads(pool), run_products, s) != MAGPIE_OK) die();
        double rate = flop * magpie_pool_threads(pool) / (magpie_seconds() - start) * 1e-9;
        if (rate > best) best = rate;
    }
    return best;
}

int main(int argc, char **argv) {
    magpie_precision precision = MAGPIE_PRECISION_F32;
    magpie_pool *pool;
    setup s;
    if (argc > 1 && magpie_precision_parse(argv[1], &precision) != MAGPIE_OK) die();
    if (magpie_pool_create(argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 0, &pool) != MAGPIE_OK) die();
    if (onednn_device_create(precision == MAGPIE_PRECISION_BF16, false, &s.device) != MAGPIE_OK) die();
    float *weights = magpie_alloc(1536 * 384, sizeof *weights), *bias = magpie_alloc(1536, sizeof *bias);
    if (!weights || !bias) die();
    for (size_t i = 0; i < SHAPES; i++)
        if (matmul_weights_create(s.device, shapes[i][1], shapes[i][0], weights, bias, OPS_IDENTITY,
                                  i % 2 == 1, &s.weights[i]) != MAGPIE_OK)
            die();
    for (s.rows = 64; s.rows <= 512; s.rows *= 2)
        printf("{\"bench\": \"matmul\", \"precision\": \"%s\", \"rows\": %zu, \"threads\": %u, "
               "\"gflop_per_s\": %.1f}\n",
               magpie_precision_name(precision), s.rows, magpie_pool_threads(pool), measure(&s, pool));
    for (size_t i = 0; i < SHAPES; i++) matmul_weights_free(s.weights[i]);
    free(bias);
    free(weights);
    onednn_device_free(s.device);
    magpie_pool_free(pool);
    return 0;
}
