/* dnnl_conv.c - see dnnl_conv.h. */
#include "dnnl_conv.h"

#include "dnnl_winograd.h"

#include <math.h>
#include <stdlib.h>

/* What the packed layout of weights is chosen for. */
enum { PACKING_IMAGES = 1 };

/* Weights as an algorithm wants them. */
typedef struct packing {
    dnnl_alg_kind_t algorithm;
    md_t md;
    dnnl_memory_t memory;
} packing;

struct conv_weights {
    onednn_device *device;
    size_t in, out, kernel, stride, padding;
    bool relu, residual;
    ops_range in_range, out_range, residual_range;
    float *scales;       /* int8: [2, out], of sums to steps of y, then to values; NULL otherwise */
    packing packings[2]; /* the faster first; the last one fits everywhere */
    size_t count;
    dnnl_memory_t bias;
    winograd_weights *winograd; /* ours instead of these; NULL: oneDNN's */
};

/* A convolution or a pooling, compiled for one shape of its input. */
typedef struct step {
    const conv_weights *weights; /* NULL: a pooling */
    dnnl_memory_t packed;        /* of the weights, for the algorithm that was compiled */
    conv_pooling pooling;
    size_t images, channels, height, width; /* of the input */
    bool negative;
    onednn_compiled compiled;
} step;

struct conv_lane {
    onednn_queue *queue;
    winograd_lane *winograd; /* made when first needed */
    step *steps;
    size_t count, capacity;
};

/* ---- descriptors ---- */

/* A picture or a spectrogram, not a network's own map. */
static bool is_input(const ops_map *map) { return map->channels <= 3; }

size_t conv_map_block(const onednn_device *device, const ops_map *map) {
    if (onednn_int8(device)) return map->channels;
    return is_input(map) ? 1 : onednn_channel_block();
}

static dnnl_data_type_t range_type(ops_range range) { return range.negative ? dnnl_s8 : dnnl_u8; }

static dnnl_status_t describe_map(const onednn_device *device, size_t images, const ops_map *m, md_t *out) {
    const dnnl_dims_t dims = {(dnnl_dim_t)images, (dnnl_dim_t)m->channels, (dnnl_dim_t)m->height,
                              (dnnl_dim_t)m->width};
    if (onednn_int8(device)) return onednn_describe(out, 4, dims, range_type(m->range), dnnl_nhwc);
    dnnl_format_tag_t blocked = onednn_channel_block() == 16 ? dnnl_nChw16c : dnnl_nChw8c;
    return onednn_describe(out, 4, dims, onednn_type(device), is_input(m) ? dnnl_nchw : blocked);
}

static void shape_of_conv(const conv_weights *c, const ops_map *x, ops_map *y) {
    ops_map_shape(y, c->out, ops_windows(x->height, c->kernel, c->stride, c->padding),
                  ops_windows(x->width, c->kernel, c->stride, c->padding));
    y->range = c->out_range;
}

static void shape_of_pooling(conv_pooling p, const ops_map *x, ops_map *y) {
    const ops_pool_window *w = &p.window;
    ops_map_shape(y, x->channels, ops_windows(x->height, w->height, w->stride_down, w->border),
                  ops_windows(x->width, w->width, w->stride_across, w->border));
    y->range = x->range;
}

static dnnl_status_t append_post_ops(dnnl_post_ops_t operations, const conv_weights *w) {
    dnnl_status_t status = dnnl_success;
#if DNNL_VERSION_MAJOR >= 3
    if (w->residual) status = dnnl_post_ops_append_sum(operations, 1, 0, dnnl_data_type_undef);
    if (status == dnnl_success && w->relu)
        status = dnnl_post_ops_append_eltwise(operations, dnnl_eltwise_relu, 0, 0);
#else
    if (w->residual && onednn_int8(w->device))
        status = dnnl_post_ops_append_sum_v2(operations,
                                             ops_range_step(w->residual_range) / ops_range_step(w->out_range),
                                             range_type(w->residual_range));
    else if (w->residual)
        status = dnnl_post_ops_append_sum(operations, 1);
    if (status == dnnl_success && w->relu)
        status = dnnl_post_ops_append_eltwise(operations, 1, dnnl_eltwise_relu, 0, 0);
#endif
    return status;
}

/* Of sums of whole numbers to the steps of y; onednn_check_int8 keeps v3, which takes them at run time, from here. */
static dnnl_status_t set_scales(dnnl_primitive_attr_t attributes, const conv_weights *w) {
#if DNNL_VERSION_MAJOR >= 3
    (void)attributes, (void)w;
    return dnnl_unimplemented;
#else
    return dnnl_primitive_attr_set_output_scales(attributes, (dnnl_dim_t)w->out, 1 << 1, w->scales);
#endif
}

static dnnl_status_t make_attributes(const conv_weights *w, dnnl_primitive_attr_t *out) {
    dnnl_post_ops_t operations = NULL;
    dnnl_primitive_attr_t attributes = NULL;
    dnnl_status_t status = dnnl_post_ops_create(&operations);
    if (status == dnnl_success) status = append_post_ops(operations, w);
    if (status == dnnl_success) status = onednn_make_attributes(operations, &attributes);
    if (status == dnnl_success && w->scales) status = set_scales(attributes, w);
    dnnl_post_ops_destroy(operations);
    if (status == dnnl_success)
        *out = attributes;
    else
        dnnl_primitive_attr_destroy(attributes);
    return status;
}

static dnnl_status_t conv_descriptor(const conv_weights *c, dnnl_alg_kind_t algorithm, md_t x, md_t w, md_t b,
                                     md_t y, dnnl_primitive_attr_t attributes, dnnl_primitive_desc_t *out) {
    const dnnl_dims_t strides = {(dnnl_dim_t)c->stride, (dnnl_dim_t)c->stride};
    const dnnl_dims_t padding = {(dnnl_dim_t)c->padding, (dnnl_dim_t)c->padding};
    dnnl_engine_t engine = onednn_engine(c->device);
#if DNNL_VERSION_MAJOR >= 3
    const dnnl_dims_t dilation = {0, 0};
    return dnnl_convolution_forward_primitive_desc_create(out, engine, dnnl_forward_inference, algorithm, x,
                                                          w, b, y, strides, dilation, padding, padding,
                                                          attributes);
#else
    dnnl_convolution_desc_t operation;
    dnnl_status_t status = dnnl_convolution_forward_desc_init(&operation, dnnl_forward_inference, algorithm,
                                                              &x, &w, &b, &y, strides, padding, padding);
    if (status != dnnl_success) return status;
    return dnnl_primitive_desc_create(out, &operation, attributes, engine, NULL);
#endif
}

static dnnl_status_t pooling_descriptor(const onednn_device *device, conv_pooling p, md_t x, md_t y,
                                        dnnl_primitive_attr_t attributes, dnnl_primitive_desc_t *out) {
    const ops_pool_window *window = &p.window;
    const dnnl_dims_t kernel = {(dnnl_dim_t)window->height, (dnnl_dim_t)window->width};
    const dnnl_dims_t strides = {(dnnl_dim_t)window->stride_down, (dnnl_dim_t)window->stride_across};
    const dnnl_dims_t padding = {(dnnl_dim_t)window->border, (dnnl_dim_t)window->border};
    dnnl_alg_kind_t kind = p.mean ? dnnl_pooling_avg_exclude_padding : dnnl_pooling_max;
    dnnl_engine_t engine = onednn_engine(device);
#if DNNL_VERSION_MAJOR >= 3
    const dnnl_dims_t dilation = {0, 0};
    return dnnl_pooling_forward_primitive_desc_create(out, engine, dnnl_forward_inference, kind, x, y,
                                                      strides, kernel, dilation, padding, padding,
                                                      attributes);
#else
    dnnl_pooling_desc_t operation;
    dnnl_status_t status = dnnl_pooling_forward_desc_init(&operation, dnnl_forward_inference, kind, &x, &y,
                                                          strides, kernel, padding, padding);
    if (status != dnnl_success) return status;
    return dnnl_primitive_desc_create(out, &operation, attributes, engine, NULL);
#endif
}

/* Of a convolution of x; `packed` NULL: in whatever layout of the weights oneDNN likes best. */
static dnnl_status_t describe_conv(const conv_weights *c, dnnl_alg_kind_t algorithm, size_t images,
                                   const ops_map *m, const md_t *packed, dnnl_primitive_desc_t *out) {
    const dnnl_dims_t weight_dims = {(dnnl_dim_t)c->out, (dnnl_dim_t)c->in, (dnnl_dim_t)c->kernel,
                                     (dnnl_dim_t)c->kernel};
    const dnnl_dims_t bias_dims = {(dnnl_dim_t)c->out};
    dnnl_data_type_t type = onednn_int8(c->device) ? dnnl_s8 : onednn_type(c->device);
    md_t x = {0}, w = {0}, b = {0}, y = {0};
    ops_map result;
    shape_of_conv(c, m, &result);
    dnnl_primitive_attr_t attributes = NULL;
    dnnl_status_t status = describe_map(c->device, images, m, &x);
    if (status == dnnl_success && !packed)
        status = onednn_describe(&w, 4, weight_dims, type, dnnl_format_tag_any);
    if (status == dnnl_success) status = onednn_describe(&b, 1, bias_dims, dnnl_f32, dnnl_x);
    if (status == dnnl_success) status = describe_map(c->device, images, &result, &y);
    if (status == dnnl_success) status = make_attributes(c, &attributes);
    if (status == dnnl_success)
        status = conv_descriptor(c, algorithm, x, packed ? *packed : w, b, y, attributes, out);
    dnnl_primitive_attr_destroy(attributes);
    MD_FREE(x);
    if (!packed) MD_FREE(w);
    MD_FREE(b);
    MD_FREE(y);
    return status;
}

static dnnl_status_t describe_pooling(const onednn_device *device, conv_pooling p, const ops_map *m,
                                      size_t images, dnnl_primitive_desc_t *out) {
    md_t x = {0}, y = {0};
    ops_map result;
    shape_of_pooling(p, m, &result);
    dnnl_primitive_attr_t attributes = NULL;
    dnnl_status_t status = describe_map(device, images, m, &x);
    if (status == dnnl_success) status = describe_map(device, images, &result, &y);
    if (status == dnnl_success) status = onednn_make_attributes(NULL, &attributes);
    if (status == dnnl_success) status = pooling_descriptor(device, p, x, y, attributes, out);
    dnnl_primitive_attr_destroy(attributes);
    MD_FREE(x);
    MD_FREE(y);
    return status;
}

/* ---- weights ---- */

/* `weight`: source->weight, or in int8 what has become of it. */
static dnnl_status_t pack(conv_weights *c, const ops_conv_source *source, const void *weight,
                          dnnl_alg_kind_t algorithm) {
    const ops_map example = {
        .channels = source->in, .height = source->height, .width = source->width, .range = source->range_in};
    const dnnl_dims_t dims = {(dnnl_dim_t)c->out, (dnnl_dim_t)c->in, (dnnl_dim_t)c->kernel,
                              (dnnl_dim_t)c->kernel};
    packing *p = &c->packings[c->count];
    dnnl_primitive_desc_t descriptor = NULL;
    dnnl_memory_t plain = NULL;
    md_t plain_md = {0};
    p->algorithm = algorithm;
    dnnl_status_t status = describe_conv(c, algorithm, PACKING_IMAGES, &example, NULL, &descriptor);
    if (status != dnnl_success) return status;
    c->count++;
    status = onednn_clone_weights_md(descriptor, &p->md);
    if (status == dnnl_success)
        status = onednn_describe(&plain_md, 4, dims, c->scales ? dnnl_s8 : dnnl_f32, dnnl_abcd);
    if (status == dnnl_success)
        status = dnnl_memory_create(&plain, MD_ARGUMENT(plain_md), onednn_engine(c->device),
                                    (void *)(uintptr_t)weight);
    if (status == dnnl_success) status = onednn_weights_memory(c->device, p->md, &p->memory);
    if (status == dnnl_success) status = onednn_reorder(c->device, plain, plain_md, p->memory, p->md);
    if (plain) dnnl_memory_destroy(plain);
    MD_FREE(plain_md);
    dnnl_primitive_desc_destroy(descriptor);
    return status;
}

/* Output channel o in steps of its own: the largest weight is 127 of them. */
static float quantize_channel(const float *weight, size_t n, int8_t *out) {
    ops_range range = {.negative = true};
    for (size_t i = 0; i < n; i++) range.largest = fmaxf(range.largest, fabsf(weight[i]));
    float step = ops_range_step(range);
    for (size_t i = 0; i < n; i++) out[i] = (int8_t)lrintf(weight[i] / step);
    return step;
}

static dnnl_status_t pack_int8(conv_weights *c, const ops_conv_source *source) {
    size_t per_channel = c->in * c->kernel * c->kernel;
    int8_t *weight = magpie_alloc(c->out * per_channel, 1);
    c->scales = magpie_alloc(2 * c->out, sizeof *c->scales);
    dnnl_status_t status = weight && c->scales ? dnnl_success : dnnl_out_of_memory;
    for (size_t o = 0; status == dnnl_success && o < c->out; o++) {
        float step =
            quantize_channel(source->weight + o * per_channel, per_channel, weight + o * per_channel);
        c->scales[c->out + o] = ops_range_step(c->in_range) * step;
        c->scales[o] = c->scales[c->out + o] / ops_range_step(c->out_range);
    }
    if (status == dnnl_success) status = pack(c, source, weight, dnnl_convolution_direct);
    free(weight);
    return status;
}

/* Winograd's algorithm (Lavin and Gray 2015) is up to twice as fast for f32's 3 x 3, where oneDNN has it; the layout
 * of its weights depends on the number of threads, so that another number may find it of no use. */
static dnnl_status_t pack_all(conv_weights *c, const ops_conv_source *source) {
    if (onednn_int8(c->device)) return pack_int8(c, source);
    if (c->kernel == 3 && c->stride == 1 && onednn_type(c->device) == dnnl_f32) {
        dnnl_status_t status = pack(c, source, source->weight, dnnl_convolution_winograd);
        if (status != dnnl_success && status != dnnl_unimplemented) return status;
    }
    return pack(c, source, source->weight, dnnl_convolution_direct);
}

static dnnl_status_t copy_bias(conv_weights *c, const float *bias) {
    const dnnl_dims_t dims = {(dnnl_dim_t)c->out};
    md_t md = {0};
    void *data = NULL;
    dnnl_status_t status = onednn_describe(&md, 1, dims, dnnl_f32, dnnl_x);
    if (status == dnnl_success) status = onednn_weights_memory(c->device, md, &c->bias);
    if (status == dnnl_success) status = dnnl_memory_get_data_handle(c->bias, &data);
    for (size_t o = 0; status == dnnl_success && o < c->out; o++)
        ((float *)data)[o] = c->scales ? bias[o] / c->scales[c->out + o] : bias[o];
    MD_FREE(md);
    return status;
}

magpie_status conv_weights_create(onednn_device *device, const ops_conv_source *source, conv_weights **out) {
    conv_weights *c = magpie_alloc(1, sizeof *c);
    if (!c) return MAGPIE_E_NO_MEMORY;
    *c = (conv_weights){.device = device,
                        .in = source->in,
                        .out = source->out,
                        .kernel = source->kernel,
                        .stride = source->stride,
                        .padding = source->padding,
                        .relu = source->relu,
                        .residual = source->residual,
                        .in_range = source->range_in,
                        .out_range = source->range_out,
                        .residual_range = source->range_residual};
    if (winograd_suits(device, source)) {
        magpie_status made = winograd_weights_create(device, source, &c->winograd);
        if (made == MAGPIE_OK)
            *out = c;
        else
            conv_weights_free(c);
        return made;
    }
    int before = onednn_use_threads(1); /* as in matmul_weights_create */
    dnnl_status_t status = pack_all(c, source);
    (void)onednn_use_threads(before);
    if (status == dnnl_success) status = copy_bias(c, source->bias);
    if (status != dnnl_success) {
        conv_weights_free(c);
        return onednn_fail(status, "packing the weights of a convolution");
    }
    *out = c;
    return MAGPIE_OK;
}

void conv_weights_free(conv_weights *c) {
    if (!c) return;
    for (size_t i = 0; i < c->count; i++) {
        if (c->packings[i].memory) dnnl_memory_destroy(c->packings[i].memory);
        MD_FREE(c->packings[i].md);
    }
    if (c->bias) dnnl_memory_destroy(c->bias);
    winograd_weights_free(c->winograd);
    free(c->scales);
    free(c);
}

/* ---- running ---- */

magpie_status conv_lane_create(onednn_queue *queue, conv_lane **out) {
    conv_lane *lane = magpie_alloc(1, sizeof *lane);
    if (!lane) return MAGPIE_E_NO_MEMORY;
    lane->queue = queue;
    *out = lane;
    return MAGPIE_OK;
}

void conv_lane_free(conv_lane *lane) {
    if (!lane) return;
    for (size_t i = 0; i < lane->count; i++) onednn_compiled_free(&lane->steps[i].compiled);
    winograd_lane_free(lane->winograd);
    free(lane->steps);
    free(lane);
}

static bool same_step(const step *a, const step *b) {
    const ops_pool_window *v = &a->pooling.window, *w = &b->pooling.window;
    return a->weights == b->weights && a->pooling.mean == b->pooling.mean && v->height == w->height &&
           v->width == w->width && v->stride_down == w->stride_down && v->stride_across == w->stride_across &&
           v->border == w->border && a->images == b->images && a->channels == b->channels &&
           a->height == b->height && a->width == b->width && a->negative == b->negative;
}

/* By the first of the algorithms that takes these threads and this shape. */
static dnnl_status_t describe_any(const ops_map *x, step *s, dnnl_primitive_desc_t *out) {
    const conv_weights *w = s->weights;
    dnnl_status_t status = dnnl_unimplemented;
    for (size_t i = 0; i < w->count && status != dnnl_success; i++) {
        const packing *p = &w->packings[i];
        status = describe_conv(w, p->algorithm, s->images, x, &p->md, out);
        s->packed = p->memory;
    }
    return status;
}

static magpie_status compile(conv_lane *lane, const ops_map *x, step *s) {
    dnnl_primitive_desc_t descriptor = NULL;
    dnnl_status_t status = s->weights ? describe_any(x, s, &descriptor)
                                      : describe_pooling(onednn_queue_device(lane->queue), s->pooling, x,
                                                         s->images, &descriptor);
    if (status != dnnl_success) return onednn_fail(status, "describing a convolution or pooling");
    return onednn_compile(lane->queue, descriptor, "compiling a convolution or pooling", &s->compiled);
}

/* With more threads oneDNN cuts the sums of some of bf16's convolutions elsewhere, and the vector of a picture that a
 * team has to itself would not be that of a batch, where each thread has its own. */
enum { TEAM_MOST = 8 };

static int team_of(const conv_lane *lane) {
    const int threads = onednn_queue_threads(lane->queue);
    const bool is_bf16 = onednn_type(onednn_queue_device(lane->queue)) == dnnl_bf16;
    return is_bf16 && threads > TEAM_MOST ? TEAM_MOST : threads;
}

static magpie_status run(conv_lane *lane, step wanted, const ops_map *x, ops_map *y) {
    wanted.channels = x->channels, wanted.height = x->height, wanted.width = x->width;
    wanted.negative = x->range.negative;
    size_t i = 0;
    magpie_status status = MAGPIE_OK;
    int before = onednn_use_threads(team_of(lane));
    while (i < lane->count && !same_step(&lane->steps[i], &wanted)) i++;
    if (i == lane->count) {
        status = magpie_grow((void **)&lane->steps, &lane->capacity, lane->count + 1, sizeof *lane->steps);
        if (status == MAGPIE_OK) status = compile(lane, x, &wanted);
        if (status == MAGPIE_OK) lane->steps[lane->count++] = wanted;
    }
    if (status == MAGPIE_OK)
        status = onednn_run(lane->queue, &lane->steps[i].compiled, lane->steps[i].packed,
                            wanted.weights ? wanted.weights->bias : NULL, x->handle, y->handle,
                            "a convolution or pooling");
    (void)onednn_use_threads(before);
    return status;
}

magpie_status conv_run(conv_lane *lane, const conv_weights *weights, const ops_map *x, size_t images,
                       ops_map *y) {
    shape_of_conv(weights, x, y);
    if (!weights->winograd) return run(lane, (step){.weights = weights, .images = images}, x, y);
    magpie_status status = MAGPIE_OK;
    if (!lane->winograd)
        status = winograd_lane_create(onednn_queue_device(lane->queue),
                                      (unsigned)onednn_queue_threads(lane->queue), &lane->winograd);
    return status == MAGPIE_OK ? winograd_run(lane->winograd, weights->winograd, x, images, y) : status;
}

magpie_status conv_pool(conv_lane *lane, conv_pooling pooling, const ops_map *x, size_t images, ops_map *y) {
    shape_of_pooling(pooling, x, y);
    return run(lane, (step){.pooling = pooling, .images = images}, x, y);
}
