/* dnnl_winograd.c - see dnnl_winograd.h. */
#include "dnnl_winograd.h"

#include "winograd.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

/* Below, products are too small, or read more weights than pixels: measured at 512 channels and 16 tiles. */
enum { LEAST_CHANNELS = 64, LEAST_TILES = 48 };
/* What a band has at most: 0.8 MB of products at 64 channels. */
enum { MOST_TILES = 196 };

struct winograd_weights {
    onednn_device *device;
    size_t in, out;
    bool relu, residual;
    md_t md;
    dnnl_memory_t packed; /* [WINOGRAD_PLACES, in, out] */
    float *bias;          /* [out] */
};

/* The products of a band, compiled. */
typedef struct product {
    size_t in, out, tiles;
    onednn_compiled compiled;
} product;

/* What one thread has to itself. */
typedef struct worker {
    onednn_queue *queue;
    product *products;
    size_t count, capacity;
    void *memory; /* what goes into the products, and what comes out */
    size_t bytes;
    size_t chosen; /* of the products, for this run */
    magpie_status status;
} worker;

struct winograd_lane {
    onednn_device *device;
    size_t threads;
    worker *workers; /* [threads] */
};

static size_t halves(size_t n) { return (n + 1) / 2; }

bool winograd_suits(const onednn_device *device, const ops_conv_source *source) {
    return onednn_type(device) == dnnl_bf16 && !onednn_int8(device) && onednn_vector_bf16() &&
           source->kernel == 3 && source->stride == 1 && source->padding == 1 &&
           source->in % WINOGRAD_BLOCK == 0 && source->out % WINOGRAD_BLOCK == 0 &&
           source->in >= LEAST_CHANNELS && source->out >= LEAST_CHANNELS &&
           halves(source->height) * halves(source->width) >= LEAST_TILES;
}

/* ---- weights ---- */

/* One dimension of G g G^T: n numbers of three to four, `from` apart and `to` apart. */
static void expand(const double *g, size_t from, double *u, size_t to) {
    const double sum = g[0] + g[2 * from], middle = g[from];
    u[0] = g[0];
    u[to] = (sum + middle) / 2;
    u[2 * to] = (sum - middle) / 2;
    u[3 * to] = g[2 * from];
}

/* u [WINOGRAD_PLACES, in, out] of weight [out, in, 3, 3] */
static void transform_weights(const ops_conv_source *source, float *u) {
    const size_t n = source->in * source->out;
    for (size_t o = 0; o < source->out; o++)
        for (size_t i = 0; i < source->in; i++) {
            double g[9], down[4][3], both[4][4];
            for (size_t k = 0; k < 9; k++) g[k] = source->weight[(o * source->in + i) * 9 + k];
            for (size_t j = 0; j < 3; j++) expand(g + j, 3, &down[0][j], 3);
            for (size_t k = 0; k < 4; k++) expand(down[k], 1, both[k], 1);
            for (size_t p = 0; p < WINOGRAD_PLACES; p++)
                u[p * n + i * source->out + o] = (float)both[p / 4][p % 4];
        }
}

/* `packed` NULL: in whatever layout of the weights oneDNN likes best. */
static dnnl_status_t describe(onednn_device *device, size_t in, size_t out, size_t tiles, const md_t *packed,
                              dnnl_primitive_desc_t *made) {
    const dnnl_dims_t x_dims = {WINOGRAD_PLACES, (dnnl_dim_t)tiles, (dnnl_dim_t)in};
    const dnnl_dims_t w_dims = {WINOGRAD_PLACES, (dnnl_dim_t)in, (dnnl_dim_t)out};
    const dnnl_dims_t y_dims = {WINOGRAD_PLACES, (dnnl_dim_t)tiles, (dnnl_dim_t)out};
    md_t x = {0}, w = {0}, y = {0};
    dnnl_primitive_attr_t attributes = NULL;
    dnnl_status_t status = onednn_describe(&x, 3, x_dims, dnnl_bf16, dnnl_abc);
    if (status == dnnl_success && !packed)
        status = onednn_describe(&w, 3, w_dims, dnnl_bf16, dnnl_format_tag_any);
    if (status == dnnl_success) status = onednn_describe(&y, 3, y_dims, dnnl_f32, dnnl_abc);
    if (status == dnnl_success) status = onednn_make_attributes(NULL, &attributes);
    if (status == dnnl_success)
        status =
            onednn_describe_matmul(onednn_engine(device), x, packed ? *packed : w, NULL, y, attributes, made);
    dnnl_primitive_attr_destroy(attributes);
    MD_FREE(x);
    if (!packed) MD_FREE(w);
    MD_FREE(y);
    return status;
}

static dnnl_status_t pack(winograd_weights *w, const float *u) {
    const dnnl_dims_t dims = {WINOGRAD_PLACES, (dnnl_dim_t)w->in, (dnnl_dim_t)w->out};
    dnnl_primitive_desc_t descriptor = NULL;
    dnnl_memory_t plain = NULL;
    md_t plain_md = {0};
    dnnl_status_t status = describe(w->device, w->in, w->out, MOST_TILES, NULL, &descriptor);
    if (status == dnnl_success) status = onednn_clone_weights_md(descriptor, &w->md);
    if (status == dnnl_success) status = onednn_describe(&plain_md, 3, dims, dnnl_f32, dnnl_abc);
    if (status == dnnl_success)
        status =
            dnnl_memory_create(&plain, MD_ARGUMENT(plain_md), onednn_engine(w->device), (void *)(uintptr_t)u);
    if (status == dnnl_success) status = onednn_weights_memory(w->device, w->md, &w->packed);
    if (status == dnnl_success) status = onednn_reorder(w->device, plain, plain_md, w->packed, w->md);
    if (plain) dnnl_memory_destroy(plain);
    MD_FREE(plain_md);
    if (descriptor) dnnl_primitive_desc_destroy(descriptor);
    return status;
}

magpie_status winograd_weights_create(onednn_device *device, const ops_conv_source *source,
                                      winograd_weights **out) {
    winograd_weights *w = magpie_alloc(1, sizeof *w);
    float *u = magpie_alloc(WINOGRAD_PLACES * source->in * source->out, sizeof *u);
    magpie_status status = w && u ? MAGPIE_OK : MAGPIE_E_NO_MEMORY;
    if (status == MAGPIE_OK) {
        *w = (winograd_weights){.device = device,
                                .in = source->in,
                                .out = source->out,
                                .relu = source->relu,
                                .residual = source->residual};
        w->bias = magpie_alloc(w->out, sizeof *w->bias);
        if (!w->bias) status = MAGPIE_E_NO_MEMORY;
    }
    if (status == MAGPIE_OK) {
        memcpy(w->bias, source->bias, w->out * sizeof *w->bias);
        transform_weights(source, u);
        int before = onednn_use_threads(1); /* as in matmul_weights_create */
        dnnl_status_t packed = pack(w, u);
        (void)onednn_use_threads(before);
        if (packed != dnnl_success) status = onednn_fail(packed, "packing the weights of a convolution");
    }
    free(u);
    if (status == MAGPIE_OK)
        *out = w;
    else
        winograd_weights_free(w);
    return status;
}

void winograd_weights_free(winograd_weights *w) {
    if (!w) return;
    if (w->packed) dnnl_memory_destroy(w->packed);
    MD_FREE(w->md);
    free(w->bias);
    free(w);
}

/* ---- lanes ---- */

magpie_status winograd_lane_create(onednn_device *device, unsigned threads, winograd_lane **out) {
    winograd_lane *lane = magpie_alloc(1, sizeof *lane);
    if (!lane) return MAGPIE_E_NO_MEMORY;
    *lane = (winograd_lane){.device = device, .threads = threads};
    lane->workers = magpie_alloc(threads, sizeof *lane->workers);
    if (!lane->workers) {
        winograd_lane_free(lane);
        return MAGPIE_E_NO_MEMORY;
    }
    *out = lane;
    return MAGPIE_OK;
}

void winograd_lane_free(winograd_lane *lane) {
    if (!lane) return;
    for (size_t t = 0; lane->workers && t < lane->threads; t++) {
        worker *w = &lane->workers[t];
        for (size_t i = 0; i < w->count; i++) onednn_compiled_free(&w->products[i].compiled);
        onednn_queue_free(w->queue);
        free(w->products);
        free(w->memory);
    }
    free(lane->workers);
    free(lane);
}

/* ---- running ---- */

/* What the threads of one run share. */
typedef struct job {
    const winograd_weights *weights;
    const uint16_t *x;
    uint16_t *y;
    size_t height, width;
    size_t rows, bands; /* of tiles a band, and how many a picture has */
    size_t tiles;       /* a band */
} job;

static size_t divided_up(size_t n, size_t by) { return (n + by - 1) / by; }

/* Bands of even height, small enough for the cache and enough for all threads. */
static void plan_bands(job *j, size_t threads, size_t images) {
    const size_t down = halves(j->height), across = halves(j->width);
    size_t bands = divided_up(down * across, MOST_TILES), each = divided_up(threads, images);
    if (bands < each) bands = each;
    j->rows = bands < down ? divided_up(down, bands) : 1;
    j->bands = divided_up(down, j->rows);
    j->tiles = j->rows * across;
}

static magpie_status choose_product(const winograd_weights *weights, size_t tiles, worker *w) {
    for (w->chosen = 0; w->chosen < w->count; w->chosen++) {
        const product *p = &w->products[w->chosen];
        if (p->in == weights->in && p->out == weights->out && p->tiles == tiles) return MAGPIE_OK;
    }
    product made = {weights->in, weights->out, tiles, {0}};
    dnnl_primitive_desc_t descriptor = NULL;
    magpie_status status =
        magpie_grow((void **)&w->products, &w->capacity, w->count + 1, sizeof *w->products);
    if (status != MAGPIE_OK) return status;
    dnnl_status_t described = describe(weights->device, made.in, made.out, tiles, &weights->md, &descriptor);
    if (described != dnnl_success) return onednn_fail(described, "describing the products of a convolution");
    status = onednn_compile(w->queue, descriptor, "compiling the products of a convolution", &made.compiled);
    if (status == MAGPIE_OK) w->products[w->count++] = made;
    return status;
}

static size_t input_bytes(const job *j) {
    return WINOGRAD_PLACES * j->tiles * j->weights->in * sizeof(uint16_t); /* a multiple of 64 */
}

static magpie_status prepare(const winograd_lane *lane, const job *j, worker *w) {
    const size_t bytes = input_bytes(j) + WINOGRAD_PLACES * j->tiles * j->weights->out * sizeof(float);
    magpie_status status = MAGPIE_OK;
    if (!w->queue) status = onednn_queue_create(lane->device, 1, &w->queue);
    if (status == MAGPIE_OK) status = choose_product(j->weights, j->tiles, w);
    if (status != MAGPIE_OK || bytes <= w->bytes) return status;
    free(w->memory);
    w->bytes = 0;
    w->memory = magpie_alloc(bytes, 1);
    if (!w->memory) return MAGPIE_E_NO_MEMORY;
    w->bytes = bytes;
    return MAGPIE_OK;
}

static void run_band(const job *j, size_t image, size_t first, worker *w) {
    const winograd_weights *weights = j->weights;
    const size_t places = j->height * j->width, left = halves(j->height) - first;
    winograd_band band = {.height = j->height,
                          .width = j->width,
                          .channels = weights->in,
                          .first = first,
                          .rows = left < j->rows ? left : j->rows,
                          .tiles = j->tiles};
    uint16_t *v = w->memory;
    float *m = (float *)(void *)((unsigned char *)w->memory + input_bytes(j));
    winograd_forward(j->x + image * places * weights->in, &band, v);
    w->status = onednn_run(w->queue, &w->products[w->chosen].compiled, weights->packed, NULL, v, m,
                           "the products of a convolution");
    band.channels = weights->out;
    const winograd_end end = {weights->bias, weights->relu, weights->residual};
    winograd_inverse(m, &band, &end, j->y + image * places * weights->out);
}

magpie_status winograd_run(winograd_lane *lane, const winograd_weights *weights, const ops_map *x,
                           size_t images, ops_map *y) {
    ops_map_shape(y, weights->out, x->height, x->width);
    job j = {.weights = weights, .x = x->handle, .y = y->handle, .height = x->height, .width = x->width};
    plan_bands(&j, lane->threads, images);
    const size_t tasks = images * j.bands, threads = tasks < lane->threads ? tasks : lane->threads;
    magpie_status status = MAGPIE_OK;
    int before = onednn_use_threads(1); /* a product is one thread's */
    for (size_t t = 0; t < threads && status == MAGPIE_OK; t++) status = prepare(lane, &j, &lane->workers[t]);
    if (status == MAGPIE_OK && tasks > 0) {
#pragma omp parallel for num_threads((int)threads) schedule(static)
        for (size_t i = 0; i < tasks; i++) {
            worker *w = &lane->workers[omp_get_thread_num()];
            if (w->status == MAGPIE_OK) run_band(&j, i / j.bands, i % j.bands * j.rows, w);
        }
    }
    (void)onednn_use_threads(before);
    for (size_t t = 0; t < threads; t++) {
        if (lane->workers[t].status != MAGPIE_OK)
            status = magpie_fail(lane->workers[t].status, "oneDNN: the products of a convolution failed");
        lane->workers[t].status = MAGPIE_OK;
    }
    return status;
}
