/* gpu_bench.c - what a GPU reaches: kernels, operation by operation, in bf16, and encoders in each
 * precision. One JSON line a figure. Usage: gpu_bench cuda|opencl[:N] TEXT_MODEL [titles] [pictures]
 *
 * Operations are those of MiniLM on 4,096 titles of 12 tokens and of ResNet-50 on 256 pictures, unless
 * fewer are asked for. A figure is the median of ten runs, each of as many operations in the queue as take
 * some milliseconds; bytes and flops are those of kernel_report, and so is the bound: an H100's, whatever
 * the device. Encoders are measured from texts and pixels in the host's memory to vectors there, tokenising
 * included. */
#include "device/ops_gpu.h"
#include "encoders.h"
#include "seeded_model.h"
#include "test_gpu.h"

#define H100_MEMORY 3.35e12 /* bytes/s and flop/s: NVIDIA's data sheet of the H100 SXM */
#define H100_TENSOR 989e12
#define H100_F32 67e12

enum { RUNS = 10, TOKENS = 12, HIDDEN = 384, INNER = 1536, HEADS = 12, SIDE = 14, CHANNELS = 256 };

static void die(void) {
    fprintf(stderr, "gpu_bench: %s\n", magpie_error());
    exit(1);
}

static void must(magpie_status status) {
    if (status != MAGPIE_OK) die();
}

static void *need(void *memory) {
    if (!memory) die();
    return memory;
}

static int by_value(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values) {
    qsort(values, RUNS, sizeof *values, by_value);
    return (values[RUNS / 2 - 1] + values[RUNS / 2]) / 2;
}

/* ---- operations ---- */

typedef struct bench {
    const ops_table *ops;
    ops_device *device;
    ops_lane *lane;
    size_t titles, rows, pictures;
    size_t *starts;
    ops_tensor x, wide, inner,
        sum; /* [rows, HIDDEN], [rows, 3 HIDDEN], [rows, INNER]; a sum [rows, HIDDEN] */
    ops_linear *qkv, *gelu, *output;
    ops_norm *norm;
    ops_conv *conv, *narrow, *residual; /* 3 x 3 of CHANNELS; 1 x 1 from and to four times as many */
    ops_map narrow_map, other_map, wide_map;
} bench;

static magpie_status run_qkv(bench *b) { return b->ops->linear(b->lane, b->qkv, &b->x, b->rows, &b->wide); }
static magpie_status run_gelu(bench *b) {
    return b->ops->linear(b->lane, b->gelu, &b->x, b->rows, &b->inner);
}
static magpie_status run_output(bench *b) {
    return b->ops->linear(b->lane, b->output, &b->inner, b->rows, &b->sum);
}
static magpie_status run_attention(bench *b) {
    return b->ops->attention(b->lane, &b->wide, b->starts, b->titles, HEADS, false, &b->x);
}
static magpie_status run_norm(bench *b) {
    return b->ops->add_norm(b->lane, b->norm, &b->sum, &b->x, b->rows, &b->x);
}
static magpie_status run_conv(bench *b) {
    return b->ops->conv(b->lane, b->conv, &b->narrow_map, b->pictures, &b->other_map);
}
static magpie_status run_narrow(bench *b) {
    return b->ops->conv(b->lane, b->narrow, &b->wide_map, b->pictures, &b->narrow_map);
}
static magpie_status run_residual(bench *b) {
    return b->ops->conv(b->lane, b->residual, &b->narrow_map, b->pictures, &b->wide_map);
}

static double seconds_of(bench *b, magpie_status (*run)(bench *), size_t times) {
    const double start = magpie_seconds();
    for (size_t i = 0; i < times; i++) must(run(b));
    must(b->device->driver->finish(b->lane->queue));
    return magpie_seconds() - start;
}

static void measure(bench *b, const char *name, magpie_status (*run)(bench *), double bytes, double flops,
                    double peak) {
    double seconds[RUNS];
    (void)seconds_of(b, run, 1); /* loads kernels, chooses algorithms */
    const double one = seconds_of(b, run, 1);
    const size_t times = one < 5e-3 ? (size_t)(5e-3 / (one + 1e-6)) + 1 : 1;
    for (int r = 0; r < RUNS; r++) seconds[r] = seconds_of(b, run, times) / (double)times;
    const double took = median(seconds), by_memory = bytes / H100_MEMORY, by_flops = flops / peak,
                 bound = by_memory > by_flops ? by_memory : by_flops;
    printf("{\"bench\": \"gpu\", \"operation\": \"%s\", \"us\": %.1f, \"gb_per_s\": %.0f, \"tflop_per_s\": "
           "%.2f, "
           "\"of_h100_bound\": %.3f}\n",
           name, took * 1e6, bytes / took * 1e-9, flops / took * 1e-12, bound / took);
    fflush(stdout);
}

static void make_linear(bench *b, const float *values, size_t in, size_t out, ops_activation activation,
                        ops_storage output, ops_linear **made) {
    const tensor weight = tensor_of(values, out, in), bias = tensor_of(values, out, 0);
    const ops_linear_source source = {
        .parts = 1, .weight = {&weight}, .bias = {&bias}, .activation = activation, .output = output};
    must(b->ops->linear_create(b->device, &source, made));
}

static void make_conv(bench *b, const float *values, size_t in, size_t out, size_t kernel, bool residual,
                      ops_conv **made) {
    const ops_conv_source source = {.weight = values,
                                    .bias = values,
                                    .in = in,
                                    .out = out,
                                    .kernel = kernel,
                                    .stride = 1,
                                    .padding = kernel / 2,
                                    .height = SIDE,
                                    .width = SIDE,
                                    .relu = true,
                                    .residual = residual};
    must(b->ops->conv_create(b->device, &source, made));
}

/* Small numbers: what is computed stays finite, however often. */
static void make_inputs(bench *b) {
    const size_t largest =
        9 * CHANNELS * CHANNELS > INNER * HIDDEN ? 9 * CHANNELS * CHANNELS : INNER * HIDDEN;
    float *values =
        need(magpie_alloc(largest > b->rows * HIDDEN ? largest : b->rows * HIDDEN, sizeof *values));
    random_state random = {3};
    for (size_t i = 0; i < largest; i++)
        values[i] = (float)(random_u64(&random) % 65) / 65536 - 32.0f / 65536;
    make_linear(b, values, HIDDEN, 3 * HIDDEN, OPS_IDENTITY, OPS_STREAM, &b->qkv);
    make_linear(b, values, HIDDEN, INNER, OPS_GELU, OPS_STREAM, &b->gelu);
    make_linear(b, values, INNER, HIDDEN, OPS_IDENTITY, OPS_SUM, &b->output);
    make_conv(b, values, CHANNELS, CHANNELS, 3, false, &b->conv);
    make_conv(b, values, 4 * CHANNELS, CHANNELS, 1, false, &b->narrow);
    make_conv(b, values, CHANNELS, 4 * CHANNELS, 1, true, &b->residual);
    must(b->ops->tensor_create(b->lane, b->rows, HIDDEN, OPS_STREAM, &b->x));
    must(b->ops->tensor_create(b->lane, b->rows, 3 * HIDDEN, OPS_STREAM, &b->wide));
    must(b->ops->tensor_create(b->lane, b->rows, INNER, OPS_STREAM, &b->inner));
    must(b->ops->tensor_create(b->lane, b->rows, HIDDEN, OPS_SUM, &b->sum));
    const size_t places = b->pictures * SIDE * SIDE;
    must(b->ops->map_create(b->lane, places * CHANNELS, &b->narrow_map));
    must(b->ops->map_create(b->lane, places * CHANNELS, &b->other_map));
    must(b->ops->map_create(b->lane, places * 4 * CHANNELS, &b->wide_map));
    must(b->device->driver->fill(b->lane->queue, ops_gpu_buffer(b->wide_map.handle), 0));
    ops_map_shape(&b->wide_map, 4 * CHANNELS, SIDE, SIDE);
    for (size_t i = 0; i < b->rows * HIDDEN; i++) values[i] = (float)(random_u64(&random) % 65) / 32 - 1;
    must(b->ops->rows_load(b->lane, values, b->rows, &b->x));
    const tensor gamma = tensor_of(values, HIDDEN, 0);
    must(b->ops->norm_create(b->device, &gamma, &gamma, 1e-12f, &b->norm));
    free(values);
}

static void measure_operations(magpie_device where, size_t titles, size_t pictures) {
    bench b = {.titles = titles, .rows = titles * TOKENS, .pictures = pictures};
    must(ops_open(&where, MAGPIE_PRECISION_BF16, &b.ops, &b.device));
    must(b.ops->lane_create(b.device, 1, &b.lane));
    b.starts = need(magpie_alloc(titles + 1, sizeof *b.starts));
    for (size_t t = 0; t <= titles; t++) b.starts[t] = t * TOKENS;
    make_inputs(&b);
    const double rows = (double)b.rows, h = HIDDEN, n = INNER, places = (double)pictures * SIDE * SIDE,
                 c = CHANNELS;
    measure(&b, "query, key, value", run_qkv, 2 * (rows * h + 3 * h * h + 3 * rows * h), 6 * rows * h * h,
            H100_TENSOR);
    measure(&b, "attention", run_attention, 2 * rows * h * (2 + 2 * (64.0 + TOKENS) / 64),
            4 * rows * TOKENS * h, H100_F32);
    measure(&b, "intermediate, bias, GELU", run_gelu, 2 * (rows * h + h * n + 3 * rows * n), 2 * rows * h * n,
            H100_TENSOR);
    measure(&b, "output", run_output, 2 * (rows * n + h * n + 2 * rows * h), 2 * rows * h * n, H100_TENSOR);
    measure(&b, "residual, norm", run_norm, 8 * rows * h, 10 * rows * h, H100_F32);
    measure(&b, "1 x 1, 1024 > 256", run_narrow, 2 * (5 * places * c + 4 * c * c), 8 * places * c * c,
            H100_TENSOR);
    measure(&b, "3 x 3, 256", run_conv, 2 * (2 * places * c + 9 * c * c), 18 * places * c * c, H100_TENSOR);
    measure(&b, "1 x 1, 256 > 1024, residual", run_residual, 2 * (9 * places * c + 4 * c * c),
            8 * places * c * c, H100_TENSOR);
    b.ops->linear_free(b.qkv), b.ops->linear_free(b.gelu), b.ops->linear_free(b.output);
    b.ops->conv_free(b.conv), b.ops->conv_free(b.narrow), b.ops->conv_free(b.residual);
    b.ops->norm_free(b.norm);
    b.ops->lane_free(b.lane);
    b.ops->device_free(b.device);
    free(b.starts);
}

/* ---- encoders ---- */

static void emit_encoder(const char *what, magpie_precision precision, size_t n, double *seconds) {
    printf(
        "{\"bench\": \"gpu\", \"encoder\": \"%s\", \"precision\": \"%s\", \"batch\": %zu, \"per_s\": %.0f}\n",
        what, magpie_precision_name(precision), n, (double)n / median(seconds));
    fflush(stdout);
}

/* Ten words that are a token each, and the two that every text has. */
static magpie_string *make_titles(size_t n, char *memory) {
    static const char *const words[] = {"red",   "blue",  "small", "large",  "wooden", "chair",
                                        "table", "lamp",  "house", "garden", "river",  "stone",
                                        "light", "green", "paper", "glass"};
    magpie_string *titles = need(magpie_alloc(n, sizeof *titles));
    random_state random = {5};
    for (size_t t = 0; t < n; t++) {
        titles[t].data = memory;
        for (int w = 0; w < TOKENS - 2; w++)
            memory += sprintf(memory, "%s ", words[random_u64(&random) % 16]);
        titles[t].size = (size_t)(memory - titles[t].data);
    }
    return titles;
}

static void measure_text(const char *model, magpie_device device, magpie_precision precision, size_t n) {
    const magpie_encoder_options options = {.device = device, .precision = precision};
    magpie_text_encoder *encoder;
    double seconds[RUNS];
    must(magpie_text_encoder_open(model, &options, &encoder));
    float *out = need(magpie_alloc(n * magpie_text_encoder_get_info(encoder)->dimension, sizeof *out));
    char *memory = need(magpie_alloc(n, 8 * TOKENS));
    magpie_string *titles = make_titles(n, memory);
    for (int r = -1; r < RUNS; r++) {
        const double start = magpie_seconds();
        must(magpie_text_encoder_encode(encoder, titles, n, MAGPIE_PASSAGE, out));
        if (r >= 0) seconds[r] = magpie_seconds() - start;
    }
    emit_encoder("MiniLM", precision, n, seconds);
    magpie_text_encoder_close(encoder);
    free(titles);
    free(memory);
    free(out);
}

static void measure_pictures(const char *model, magpie_device device, magpie_precision precision, size_t n) {
    const magpie_encoder_options options = {.device = device, .precision = precision};
    magpie_image_encoder *encoder;
    double seconds[RUNS];
    must(magpie_image_encoder_open(model, &options, &encoder));
    const magpie_image_encoder_info *info = magpie_image_encoder_get_info(encoder);
    const size_t bytes = n * info->input_size * info->input_size * 3;
    float *out = need(magpie_alloc(n * info->dimension, sizeof *out));
    uint8_t *pixels = need(magpie_alloc(bytes, 1));
    random_state random = {7};
    for (size_t i = 0; i < bytes; i++) pixels[i] = (uint8_t)random_u64(&random);
    for (int r = -1; r < RUNS; r++) {
        const double start = magpie_seconds();
        must(magpie_image_encoder_encode_pixels(encoder, pixels, n, out));
        if (r >= 0) seconds[r] = magpie_seconds() - start;
    }
    emit_encoder("ResNet-50", precision, n, seconds);
    magpie_image_encoder_close(encoder);
    free(pixels);
    free(out);
}

int main(int argc, char **argv) {
    static const magpie_precision precisions[] = {MAGPIE_PRECISION_BF16, MAGPIE_PRECISION_F16,
                                                  MAGPIE_PRECISION_F32};
    magpie_device device;
    if (argc < 3) {
        fprintf(stderr, "usage: gpu_bench cuda|opencl[:N] TEXT_MODEL [titles] [pictures]\n");
        return 2;
    }
    const size_t titles = argc > 3 ? strtoul(argv[3], NULL, 10) : 4096,
                 pictures = argc > 4 ? strtoul(argv[4], NULL, 10) : 256;
    must(magpie_device_parse(argv[1], &device));
    measure_operations(device, titles, pictures);
    for (int p = 0; p < 3; p++) measure_text(argv[2], device, precisions[p], titles);
    json_t *entry = seeded_entry("resnet50");
    char *folder = seeded_model(entry);
    for (int p = 0; p < 3; p++) measure_pictures(folder, device, precisions[p], pictures);
    seeded_remove(folder);
    json_decref(entry);
    return 0;
}
