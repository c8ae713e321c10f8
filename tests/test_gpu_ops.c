/* test_gpu_ops.c - every operation of the backend for GPUs is the reference backend's, over random shapes, in each
 * precision, on every GPU that test_gpu.h means. Results are poisoned before, and what lies behind them is looked
 * at afterwards. MAGPIE_KERNEL_CHECKS: how many shapes an operation (100; some seconds by PoCL). */
#include "test_gpu.h"

#include "device/ops_gpu.h"

#include <math.h>

/* A table of operations with a device and a lane, anew every so often: their memory only grows. */
typedef struct side {
    const ops_table *ops;
    ops_device *device;
    ops_lane *lane;
} side;

typedef struct pair {
    side reference, gpu;
    magpie_precision precision;
    random_state dice;
    const char *name; /* of the operation */
    size_t check;
    bool twice;   /* rounded, too, before the bias (up to 1) and a GELU, of slope 1.13 at most */
    double added; /* 0, or: rounded, too, before numbers up to this were added */
} pair;

enum { GUARD_ROWS = 3, POISON = 0xff /* bytes that are NaN in f32, bf16 and f16 */, A_LANE = 64 };

/* ---- numbers ---- */

static size_t below(pair *p, size_t n) { return random_u64(&p->dice) % n; }

/* 0, 1, what is about a tile or a group, or anything up to `most`. */
static size_t any_size(pair *p, size_t most) {
    static const size_t edges[] = {0, 1, 2, 7, 8, 9, 31, 32, 33, 63, 64, 65, 127, 128, 129};
    const size_t edge = edges[below(p, sizeof edges / sizeof *edges)];
    return below(p, 3) == 0 && edge <= most ? edge : below(p, most + 1);
}

/* At least 1. */
static size_t some_size(pair *p, size_t most) { return 1 + any_size(p, most - 1); }

/* Multiples of 1/64 up to 1: all precisions have them, and their products' sums are exact in f32. */
static float *numbers(pair *p, size_t n) {
    float *values = malloc((n + 1) * sizeof *values);
    assert_non_null(values);
    for (size_t i = 0; i < n; i++) values[i] = (float)((int)below(p, 129) - 64) / 64;
    return values;
}

/* `stored`: the result was rounded to the device's precision. */
static void assert_near(const pair *p, const float *got, const float *want, size_t n, bool stored) {
    const double step = !stored || p->precision == MAGPIE_PRECISION_F32 ? 0
                        : p->precision == MAGPIE_PRECISION_BF16         ? 0x1p-8
                                                                        : 0x1p-11;
    for (size_t i = 0; i < n; i++) {
        const double wanted = (double)want[i], error = fabs((double)got[i] - wanted);
        if (isinf(want[i])
                ? got[i] != want[i]
                : !(error <= 2e-5 * fmax(1, fabs(wanted)) + step * (p->twice   ? 2.13 * fabs(wanted) + 1.7
                                                                    : p->added ? 2 * fabs(wanted) + p->added
                                                                               : fabs(wanted))))
            fail_msg("%s in %s, check %zu, element %zu of %zu: %.9g instead of %.9g", p->name,
                     magpie_precision_name(p->precision), p->check, i, n, (double)got[i], wanted);
    }
}

/* ---- memory ---- */

static void poison(pair *p, const void *handle) {
    assert_ok(p->gpu.device->driver->fill(p->gpu.lane->queue, ops_gpu_buffer(handle), POISON));
}

/* Nothing was written behind the first `used` bytes. */
static void assert_guarded(pair *p, const void *handle, size_t used) {
    const gpu_buffer buffer = ops_gpu_buffer(handle);
    unsigned char *rest = malloc(buffer.bytes - used + 1);
    assert_non_null(rest);
    assert_ok(p->gpu.device->driver->read(p->gpu.lane->queue, buffer, used, rest, buffer.bytes - used));
    for (size_t i = 0; i < buffer.bytes - used; i++)
        if (rest[i] != POISON)
            fail_msg("%s, check %zu: byte %zu behind the result was written", p->name, p->check, i);
    free(rest);
}

static void take_tensors(pair *p, size_t rows, size_t columns, ops_storage storage, ops_tensor *a,
                         ops_tensor *b) {
    assert_ok(p->reference.ops->tensor_create(p->reference.lane, rows + GUARD_ROWS, columns, storage, a));
    assert_ok(p->gpu.ops->tensor_create(p->gpu.lane, rows + GUARD_ROWS, columns, storage, b));
    poison(p, b->handle);
}

static float *load_tensors(pair *p, size_t rows, size_t columns, ops_storage storage, ops_tensor *a,
                           ops_tensor *b) {
    float *values = numbers(p, rows * columns);
    take_tensors(p, rows, columns, storage, a, b);
    assert_ok(p->reference.ops->rows_load(p->reference.lane, values, rows, a));
    assert_ok(p->gpu.ops->rows_load(p->gpu.lane, values, rows, b));
    return values;
}

/* Rows of a tensor, each as if it were a text, pooled by its first. */
static float *rows_of(const side *s, const ops_tensor *x, size_t rows) {
    size_t *starts = malloc((rows + 1) * sizeof *starts);
    float *out = malloc((rows * x->columns + 1) * sizeof *out);
    assert_true(starts && out);
    for (size_t i = 0; i <= rows; i++) starts[i] = i;
    assert_ok(s->ops->pool(s->lane, x, starts, rows, OPS_POOL_FIRST, false, out));
    free(starts);
    return out;
}

static size_t bytes_of(const pair *p, const ops_tensor *x, size_t rows) {
    return rows * x->columns * (x->storage == OPS_SUM ? sizeof(float) : gpu_stream_bytes(p->precision));
}

static void assert_same_rows(pair *p, const ops_tensor *a, const ops_tensor *b, size_t rows) {
    float *want = rows_of(&p->reference, a, rows), *got = rows_of(&p->gpu, b, rows);
    assert_near(p, got, want, rows * a->columns, a->storage == OPS_STREAM);
    assert_guarded(p, b->handle, bytes_of(p, b, rows));
    free(want);
    free(got);
}

/* Texts of 1 to `longest` rows, `rows` together at most; starts [texts + 1], to be freed. */
static size_t *texts_of(pair *p, size_t most, size_t longest, size_t *texts) {
    const size_t n = any_size(p, most);
    size_t *starts = calloc(n + 1, sizeof *starts);
    assert_non_null(starts);
    for (size_t i = 0; i < n; i++) starts[i + 1] = starts[i] + some_size(p, longest);
    *texts = n;
    return starts;
}

/* ---- rows ---- */

static void check_linear(pair *p) {
    const size_t rows = any_size(p, 150), in = some_size(p, 150), out = some_size(p, 150);
    const bool transposed = below(p, 2), has_bias = below(p, 4);
    const ops_storage storage = below(p, 2) ? OPS_SUM : OPS_STREAM;
    ops_tensor x[2], y[2];
    float *weight = numbers(p, in * out), *bias = numbers(p, out),
          *values = load_tensors(p, rows, in, OPS_STREAM, &x[0], &x[1]);
    const tensor w = transposed ? tensor_of(weight, in, out) : tensor_of(weight, out, in),
                 b = tensor_of(bias, out, 0);
    const ops_linear_source source = {.parts = 1,
                                      .weight = {&w},
                                      .bias = {has_bias ? &b : NULL},
                                      .transposed = transposed,
                                      .activation = (ops_activation)below(p, 4),
                                      .output = storage};
    ops_linear *linear[2];
    take_tensors(p, rows, out, storage, &y[0], &y[1]);
    for (int i = 0; i < 2; i++) {
        const side *s = i ? &p->gpu : &p->reference;
        assert_ok(s->ops->linear_create(s->device, &source, &linear[i]));
        assert_ok(s->ops->linear(s->lane, linear[i], &x[i], rows, &y[i]));
        s->ops->linear_free(linear[i]);
    }
    p->twice = p->gpu.device->driver->product && source.activation >= OPS_GELU;
    assert_same_rows(p, &y[0], &y[1], rows);
    p->twice = false;
    free(weight);
    free(bias);
    free(values);
}

/* Of a product by the driver. The reference: a linear whose weight is the identity. */
static void check_bias_activate(pair *p) {
    const size_t rows = any_size(p, 150), columns = some_size(p, 300), elements = rows * columns;
    const ops_storage storage = below(p, 2) ? OPS_SUM : OPS_STREAM;
    const ops_activation activation = (ops_activation)below(p, 4);
    ops_tensor x[2], y[2];
    gpu_buffer device_bias;
    float *identity = calloc(columns * columns, sizeof *identity), *bias = numbers(p, columns),
          *values = load_tensors(p, rows, columns, storage, &x[0], &x[1]);
    assert_non_null(identity);
    for (size_t i = 0; i < columns; i++) identity[i * columns + i] = 1;
    const tensor w = tensor_of(identity, columns, columns), b = tensor_of(bias, columns, 0);
    const ops_linear_source source = {
        .parts = 1, .weight = {&w}, .bias = {&b}, .activation = activation, .output = storage};
    ops_linear *linear;
    take_tensors(p, rows, columns, storage, &y[0], &y[1]);
    assert_ok(p->reference.ops->linear_create(p->reference.device, &source, &linear));
    assert_ok(p->reference.ops->linear(p->reference.lane, linear, &x[0], rows, &y[0]));
    p->reference.ops->linear_free(linear);
    assert_ok(ops_gpu_upload(p->gpu.device, bias, columns, false, &device_bias));
    assert_ok(OPS_GPU_RUN(p->gpu.lane, GPU_bias_activate, 0, ops_gpu_blocks(elements, 2048), 1, 1,
                          gpu_at(ops_gpu_buffer(x[1].handle)), gpu_at(device_bias), gpu_uint(elements),
                          gpu_uint(columns), gpu_uint(activation), gpu_uint(storage)));
    assert_same_rows(p, &y[0], &x[1], rows);
    free(identity);
    free(bias);
    free(values);
}

static void check_add_norm(pair *p) {
    const size_t rows = any_size(p, 60), columns = 2 + any_size(p, 400);
    const bool has_residual = below(p, 3), in_place = below(p, 2);
    const ops_storage residual_storage = below(p, 2) ? OPS_SUM : OPS_STREAM,
                      storage = below(p, 2) ? OPS_SUM : OPS_STREAM;
    ops_tensor x[2], residual[2], y[2];
    float *gamma = numbers(p, columns), *beta = numbers(p, columns),
          *values = load_tensors(p, rows, columns, OPS_SUM, &x[0], &x[1]),
          *more = load_tensors(p, rows, columns, residual_storage, &residual[0], &residual[1]);
    const tensor g = tensor_of(gamma, columns, 0), b = tensor_of(beta, columns, 0);
    take_tensors(p, rows, columns, storage, &y[0], &y[1]);
    for (int i = 0; i < 2; i++) {
        const side *s = i ? &p->gpu : &p->reference;
        ops_norm *norm;
        if (in_place && has_residual) y[i] = residual[i];
        assert_ok(s->ops->norm_create(s->device, &g, &b, 1e-5f, &norm));
        assert_ok(s->ops->add_norm(s->lane, norm, &x[i], has_residual ? &residual[i] : NULL, rows, &y[i]));
        s->ops->norm_free(norm);
    }
    assert_same_rows(p, &y[0], &y[1], rows);
    if (!(in_place && has_residual)) assert_same_rows(p, &x[0], &x[1], rows);
    p->gpu.device->count = 0; /* gamma and beta are no tensors of a file that stays */
    free(gamma);
    free(beta);
    free(values);
    free(more);
}

static void check_embed(pair *p) {
    const size_t vocabulary = some_size(p, 50), positions = 40, columns = 2 + any_size(p, 200);
    const bool has_norm = below(p, 2), has_type = below(p, 2);
    size_t texts, *starts = texts_of(p, 20, positions, &texts);
    const size_t rows = starts[texts];
    float *word = numbers(p, vocabulary * columns), *position = numbers(p, positions * columns),
          *type = numbers(p, columns), *gamma = numbers(p, columns), *beta = numbers(p, columns);
    const tensor w = tensor_of(word, vocabulary, columns), l = tensor_of(position, positions, columns),
                 t = tensor_of(type, 1, columns), g = tensor_of(gamma, columns, 0),
                 b = tensor_of(beta, columns, 0);
    int32_t *ids = malloc((rows + 1) * sizeof *ids);
    assert_non_null(ids);
    for (size_t i = 0; i < rows; i++) ids[i] = (int32_t)below(p, vocabulary);
    ops_tensor y[2];
    take_tensors(p, rows, columns, has_norm ? OPS_STREAM : OPS_SUM, &y[0], &y[1]);
    for (int i = 0; i < 2; i++) {
        const side *s = i ? &p->gpu : &p->reference;
        ops_norm *norm = NULL;
        if (has_norm) assert_ok(s->ops->norm_create(s->device, &g, &b, 1e-12f, &norm));
        const ops_embedding embedding = {&w, &l, has_type ? &t : NULL, norm};
        assert_ok(s->ops->embed(s->lane, &embedding, ids, starts, texts, &y[i]));
        if (norm) s->ops->norm_free(norm);
    }
    assert_same_rows(p, &y[0], &y[1], rows);
    p->gpu.device->count = 0;
    free(word), free(position), free(type), free(gamma), free(beta);
    free(ids);
    free(starts);
}

static void check_attention(pair *p) {
    const size_t heads = some_size(p, 5), d = some_size(p, 64), hidden = heads * d;
    const bool causal = below(p, 2);
    size_t texts, *starts = texts_of(p, 12, below(p, 4) ? 20 : 130, &texts);
    const size_t rows = starts[texts];
    ops_tensor qkv[2], y[2];
    float *values = load_tensors(p, rows, 3 * hidden, OPS_STREAM, &qkv[0], &qkv[1]);
    take_tensors(p, rows, hidden, OPS_STREAM, &y[0], &y[1]);
    for (int i = 0; i < 2; i++) {
        const side *s = i ? &p->gpu : &p->reference;
        assert_ok(s->ops->attention(s->lane, &qkv[i], starts, texts, heads, causal, &y[i]));
    }
    assert_same_rows(p, &y[0], &y[1], rows);
    free(values);
    free(starts);
}

static void check_gather(pair *p) {
    const size_t rows = some_size(p, 100), columns = some_size(p, 200), count = any_size(p, 100);
    const ops_storage storage = below(p, 2) ? OPS_SUM : OPS_STREAM;
    ops_tensor x[2], y[2];
    float *values = load_tensors(p, rows, columns, storage, &x[0], &x[1]);
    size_t *wanted = malloc((count + 1) * sizeof *wanted);
    assert_non_null(wanted);
    for (size_t i = 0; i < count; i++) wanted[i] = below(p, rows);
    take_tensors(p, count, columns, storage, &y[0], &y[1]);
    for (int i = 0; i < 2; i++) {
        const side *s = i ? &p->gpu : &p->reference;
        assert_ok(s->ops->gather(s->lane, &x[i], wanted, count, &y[i]));
    }
    assert_same_rows(p, &y[0], &y[1], count);
    free(values);
    free(wanted);
}

static void check_pool(pair *p) {
    const size_t columns = some_size(p, 300);
    const bool mean = below(p, 2), unit = below(p, 2);
    size_t texts, *starts = texts_of(p, 30, 20, &texts);
    ops_tensor x[2];
    float *out[2],
        *values = load_tensors(p, starts[texts], columns, below(p, 2) ? OPS_SUM : OPS_STREAM, &x[0], &x[1]);
    for (int i = 0; i < 2; i++) {
        const side *s = i ? &p->gpu : &p->reference;
        out[i] = malloc((texts * columns + 1) * sizeof *out[i]);
        assert_non_null(out[i]);
        assert_ok(
            s->ops->pool(s->lane, &x[i], starts, texts, mean ? OPS_POOL_MEAN : OPS_POOL_FIRST, unit, out[i]));
    }
    assert_near(p, out[1], out[0], texts * columns, false);
    free(out[0]);
    free(out[1]);
    free(values);
    free(starts);
}

static void check_unit_rows(pair *p) {
    const size_t rows = any_size(p, 100), columns = some_size(p, 400);
    const bool has_residual = below(p, 2);
    ops_tensor x[2], residual[2];
    float *values = load_tensors(p, rows, columns, OPS_SUM, &x[0], &x[1]),
          *more = load_tensors(p, rows, columns, OPS_SUM, &residual[0], &residual[1]), *out[2];
    for (int i = 0; i < 2; i++) {
        const side *s = i ? &p->gpu : &p->reference;
        out[i] = malloc((rows * columns + 1) * sizeof *out[i]);
        assert_non_null(out[i]);
        memset(out[i], POISON, (rows * columns + 1) * sizeof *out[i]);
        assert_ok(s->ops->unit_rows(s->lane, &x[i], has_residual ? &residual[i] : NULL, rows, out[i]));
    }
    assert_near(p, out[1], out[0], rows * columns, false);
    assert_true(isnan(out[1][rows * columns]));
    assert_same_rows(p, &x[0], &x[1], rows);
    free(out[0]), free(out[1]);
    free(values), free(more);
}

/* ---- maps ---- */

typedef struct map_pair {
    ops_map of[2];
    size_t images;
} map_pair;

static map_pair take_maps(pair *p, size_t images, size_t channels, size_t height, size_t width) {
    map_pair m = {.images = images};
    const size_t room = ops_map_elements(images, channels, height, width) + 64;
    assert_ok(p->reference.ops->map_create(p->reference.lane, room, &m.of[0]));
    assert_ok(p->gpu.ops->map_create(p->gpu.lane, room, &m.of[1]));
    poison(p, m.of[1].handle);
    return m;
}

static float *read_map(const side *s, const ops_map *x, size_t images) {
    float *out = malloc((images * x->channels * x->height * x->width + 1) * sizeof *out);
    assert_non_null(out);
    assert_ok(s->ops->map_read(s->lane, x, images, out));
    return out;
}

static void assert_same_maps(pair *p, const map_pair *m) {
    const ops_map *a = &m->of[0], *b = &m->of[1];
    assert_int_equal(a->channels, b->channels);
    assert_int_equal(a->height, b->height);
    assert_int_equal(a->width, b->width);
    float *want = read_map(&p->reference, a, m->images), *got = read_map(&p->gpu, b, m->images);
    assert_near(p, got, want, m->images * a->channels * a->height * a->width, true);
    assert_guarded(p, b->handle,
                   m->images * ops_gpu_padded(b->channels) * b->height * b->width *
                       gpu_stream_bytes(p->precision));
    free(want);
    free(got);
}

/* A 1 x 1 convolution of one channel that was loaded: the way to a map of many. */
static map_pair random_maps(pair *p, size_t images, size_t channels, size_t height, size_t width) {
    map_pair one = take_maps(p, images, 1, height, width),
             many = take_maps(p, images, channels, height, width);
    float *values = numbers(p, images * height * width), *weight = numbers(p, channels),
          *bias = numbers(p, channels);
    const ops_conv_source source = {.weight = weight,
                                    .bias = bias,
                                    .in = 1,
                                    .out = channels,
                                    .kernel = 1,
                                    .stride = 1,
                                    .height = height,
                                    .width = width};
    for (int i = 0; i < 2; i++) {
        const side *s = i ? &p->gpu : &p->reference;
        ops_conv *conv;
        assert_ok(s->ops->conv_create(s->device, &source, &conv));
        assert_ok(s->ops->map_load(s->lane, values, images, height, width, &one.of[i]));
        assert_ok(s->ops->conv(s->lane, conv, &one.of[i], images, &many.of[i]));
        s->ops->conv_free(conv);
    }
    free(values), free(weight), free(bias);
    return many;
}

/* What the device stored, rounded, is what the reference goes on with. */
static void same_start(pair *p, map_pair *m) {
    ops_map *a = &m->of[0];
    const size_t places = a->height * a->width;
    float *stored = read_map(&p->gpu, &m->of[1], m->images), *to = a->handle;
    for (size_t i = 0; i < m->images; i++)
        for (size_t at = 0; at < places; at++)
            for (size_t c = 0; c < a->channels; c++)
                to[(i * a->channels + c) * places + at] = stored[(i * places + at) * a->channels + c];
    free(stored);
}

static void check_conv(pair *p) {
    const size_t images = any_size(p, 2), in = below(p, 5) ? some_size(p, 40) : 64 * some_size(p, 2),
                 out = some_size(p, below(p, 4) ? 40 : 300), side_of[] = {1, 3, 5, 7},
                 kernel = side_of[below(p, 4)], stride = some_size(p, 3), padding = below(p, kernel),
                 height = kernel + below(p, 12), width = kernel + below(p, 12);
    map_pair x = random_maps(p, images, in, height, width);
    same_start(p, &x);
    const size_t out_height = ops_windows(height, kernel, stride, padding),
                 out_width = ops_windows(width, kernel, stride, padding);
    const bool residual = below(p, 2), has_scale = below(p, 2);
    map_pair y = residual ? random_maps(p, images, out, out_height, out_width)
                          : take_maps(p, images, out, out_height, out_width);
    double largest = 0;
    if (residual) same_start(p, &y);
    for (size_t i = 0; residual && i < images * out * out_height * out_width; i++)
        largest = fmax(largest, fabs((double)((const float *)y.of[0].handle)[i]));
    float *weight = numbers(p, out * in * kernel * kernel), *bias = numbers(p, out), *scale = numbers(p, out),
          *offset = numbers(p, out);
    const ops_conv_source source = {.weight = weight,
                                    .bias = bias,
                                    .scale = has_scale ? scale : NULL,
                                    .offset = has_scale ? offset : NULL,
                                    .in = in,
                                    .out = out,
                                    .kernel = kernel,
                                    .stride = stride,
                                    .padding = padding,
                                    .height = height,
                                    .width = width,
                                    .relu = below(p, 2),
                                    .residual = residual};
    gpu_base *base = gpu_base_of(p->gpu.device->gpu);
    const size_t multiprocessors = base->hopper;
    if (multiprocessors && below(p, 2)) base->hopper = 1; /* so that small maps have the widest tiles too */
    for (int i = 0; i < 2; i++) {
        const side *s = i ? &p->gpu : &p->reference;
        ops_conv *conv;
        assert_ok(s->ops->conv_create(s->device, &source, &conv));
        assert_ok(s->ops->conv(s->lane, conv, &x.of[i], images, &y.of[i]));
        s->ops->conv_free(conv);
    }
    base->hopper = multiprocessors;
    /* cuBLASLt may round a product before it adds what is there. */
    p->added = p->gpu.device->driver->product && residual ? 1 + largest : 0;
    assert_same_maps(p, &y);
    p->added = 0;
    free(weight), free(bias), free(scale), free(offset);
}

static void check_image_load(pair *p) {
    const size_t images = any_size(p, 3), height = some_size(p, 40), width = some_size(p, 40),
                 n = images * height * width * 3;
    const float mean[3] = {0.5f, 0.25f, 0.375f}, std[3] = {0.25f, 0.5f, 0.2f};
    uint8_t *pixels = malloc(n + 1);
    assert_non_null(pixels);
    for (size_t i = 0; i < n; i++) pixels[i] = (uint8_t)below(p, 256);
    map_pair y = take_maps(p, images, 3, height, width);
    for (int i = 0; i < 2; i++) {
        const side *s = i ? &p->gpu : &p->reference;
        assert_ok(s->ops->image_load(s->lane, pixels, images, height, width, mean, std, &y.of[i]));
    }
    assert_same_maps(p, &y);
    free(pixels);
}

static void check_pools(pair *p) {
    const size_t images = any_size(p, 3), channels = some_size(p, 70), height = 2 + below(p, 20),
                 width = 2 + below(p, 20);
    const size_t tall = 1 + below(p, height > 3 ? 3 : height), wide = 1 + below(p, width > 3 ? 3 : width);
    const ops_pool_window window = {tall, wide, some_size(p, 2), some_size(p, 2),
                                    below(p, tall < wide ? tall : wide)};
    map_pair x = random_maps(p, images, channels, height, width),
             largest = take_maps(p, images, channels, height + 2, width + 2),
             mean = take_maps(p, images, channels, height, width);
    same_start(p, &x);
    float *pooled[2], found[2];
    const bool unit = below(p, 2);
    for (int i = 0; i < 2; i++) {
        const side *s = i ? &p->gpu : &p->reference;
        pooled[i] = malloc((images * channels + 1) * sizeof *pooled[i]);
        assert_non_null(pooled[i]);
        assert_ok(s->ops->max_pool(s->lane, &window, &x.of[i], images, &largest.of[i]));
        assert_ok(s->ops->average_pool(s->lane, &x.of[i], images, &mean.of[i]));
        assert_ok(s->ops->global_pool(s->lane, &x.of[i], images, unit, pooled[i]));
        assert_ok(s->ops->map_largest(s->lane, &x.of[i], images, &found[i]));
    }
    assert_same_maps(p, &largest);
    assert_same_maps(p, &mean);
    assert_near(p, pooled[1], pooled[0], images * channels, false);
    assert_near(p, &found[1], &found[0], 1, false);
    free(pooled[0]);
    free(pooled[1]);
}

static void check_map_rows(pair *p) {
    const size_t images = any_size(p, 3), channels = some_size(p, 70), height = some_size(p, 8),
                 width = some_size(p, 8), rows = images * (1 + height * width);
    map_pair x = random_maps(p, images, channels, height, width);
    same_start(p, &x);
    float *position = numbers(p, (1 + height * width) * channels);
    const tensor table = tensor_of(position, 1 + height * width, channels);
    ops_tensor y[2];
    take_tensors(p, rows, channels, OPS_STREAM, &y[0], &y[1]);
    for (int i = 0; i < 2; i++) {
        const side *s = i ? &p->gpu : &p->reference;
        assert_ok(s->ops->map_rows(s->lane, &x.of[i], images, &table, &y[i]));
    }
    assert_same_rows(p, &y[0], &y[1], rows);
    p->gpu.device->count = 0;
    free(position);
}

/* ---- all of them ---- */

static void open_side(side *s, magpie_backend backend, magpie_precision precision, size_t index) {
    magpie_device device = {backend, index};
    assert_ok(ops_open(&device, precision, &s->ops, &s->device));
    assert_ok(s->ops->lane_create(s->device, 1, &s->lane));
}

static void close_side(side *s) {
    s->ops->lane_free(s->lane);
    s->ops->device_free(s->device);
}

static void check_all(void (*check)(pair *), const char *name) {
    const size_t checks = test_gpu_checks(100);
    static const magpie_precision precisions[] = {MAGPIE_PRECISION_F32, MAGPIE_PRECISION_BF16,
                                                  MAGPIE_PRECISION_F16};
    const size_t devices = need_gpu();
    for (size_t device = 0; device < devices; device++)
        for (int k = 0; k < 3; k++) {
            pair p = {.precision = precisions[k], .dice = {19}, .name = name};
            for (; p.check < checks; p.check++) {
                if (p.check % A_LANE == 0) {
                    if (p.check) close_side(&p.gpu), close_side(&p.reference);
                    open_side(&p.reference, MAGPIE_BACKEND_REFERENCE, MAGPIE_PRECISION_F32, 0);
                    open_side(&p.gpu, tested_gpu(), p.precision, device);
                }
                check(&p);
            }
            if (checks) close_side(&p.gpu), close_side(&p.reference);
        }
}

#define CHECK(name)                                                                                          \
    static void name(void **state) {                                                                         \
        (void)state;                                                                                         \
        check_all(check_##name, #name);                                                                      \
    }
CHECK(linear)
CHECK(bias_activate)
CHECK(add_norm)
CHECK(embed)
CHECK(attention)
CHECK(gather)
CHECK(pool)
CHECK(unit_rows)
CHECK(conv)
CHECK(image_load)
CHECK(pools)
CHECK(map_rows)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linear),     cmocka_unit_test(bias_activate), cmocka_unit_test(add_norm),
        cmocka_unit_test(embed),      cmocka_unit_test(attention),     cmocka_unit_test(gather),
        cmocka_unit_test(pool),       cmocka_unit_test(unit_rows),     cmocka_unit_test(conv),
        cmocka_unit_test(image_load), cmocka_unit_test(pools),         cmocka_unit_test(map_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
