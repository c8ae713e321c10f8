/* resnet.c - residual networks: which tensors they have, and in which order the operations run. */
#include "resnet.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* torch.nn.BatchNorm2d's default, which no file of this family says. */
static const double batch_norm_epsilon = 1e-5;

enum { STEM_MAX = 3, MAPS = 4 };

/* Places in a calibration: those of the stem, then four a block, the last of them the shortcut's; 0 where
 * there is no such convolution. Recording and loading both find them by block_place. */
enum { BLOCK_PLACES = 4, SHORTCUT = 3 };

typedef struct area {
    size_t height, width;
} area;

typedef struct block {
    size_t stage, index;   /* within the stage */
    size_t in, inner, out; /* channels */
    bool bottleneck;
    size_t stride;
    area input, output;
    ops_conv *convs[3]; /* two in a basic block */
    ops_conv *shortcut; /* NULL: the identity */
} block;

struct resnet {
    const ops_table *ops;
    ops_device *device;
    resnet_config config;
    const safetensors *file;
    const char *prefix;                    /* of the tensors' names */
    const resnet_calibration *calibration; /* while being made; NULL: not of int8 */
    ops_conv *stem[STEM_MAX];
    size_t stem_count;
    block *blocks;
    size_t count;
    area last;                                /* of the last map */
    ops_linear *pooling_qkv, *pooling_output; /* clip */
    const tensor *position;                   /* clip: [1 + places of the last map, channels], in the file */
};

struct resnet_lane {
    resnet *network;
    ops_lane *lane;
    ops_map maps[MAPS];
    float *largest;          /* [resnet_ranges], the caller's; NULL: nobody asks */
    size_t *starts, *firsts; /* clip: rows of each image, and its first; one block that begins at starts */
    ops_tensor rows, qkv, context, first, embedded; /* clip */
};

/* ---- areas ---- */

static area windows(area side, size_t kernel, size_t stride, size_t padding) {
    return (area){ops_windows(side.height, kernel, stride, padding),
                  ops_windows(side.width, kernel, stride, padding)};
}

static size_t places_of(area side) { return side.height * side.width; }

static size_t elements(size_t images, size_t channels, area side) {
    return ops_map_elements(images, channels, side.height, side.width);
}

/* ---- names ---- */

static magpie_status find(const resnet *net, size_t rank, const size_t *shape, const tensor **out,
                          const char *format, ...) MAGPIE_PRINTF(5, 6);

static magpie_status find(const resnet *net, size_t rank, const size_t *shape, const tensor **out,
                          const char *format, ...) {
    char name[256];
    int used = snprintf(name, sizeof name, "%s", net->prefix);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(name + used, sizeof name - (size_t)used, format, arguments);
    va_end(arguments);
    return safetensors_expect(net->file, name, rank, shape, out);
}

/* Where a convolution and its norm are: "conv1" and "bn1", or "X.convolution" and "X.normalization". */
typedef struct conv_names {
    char conv[96], norm[96];
} conv_names;

static conv_names stem_names(const resnet *net, size_t i) {
    conv_names n;
    if (net->config.naming == RESNET_HUGGING_FACE)
        return (conv_names){"embedder.embedder.convolution", "embedder.embedder.normalization"};
    snprintf(n.conv, sizeof n.conv, "conv%zu", i + 1);
    snprintf(n.norm, sizeof n.norm, "bn%zu", i + 1);
    return n;
}

static conv_names block_names(const resnet *net, const block *b, size_t i) {
    conv_names n;
    if (net->config.naming == RESNET_HUGGING_FACE) {
        snprintf(n.conv, sizeof n.conv, "encoder.stages.%zu.layers.%zu.layer.%zu.convolution", b->stage,
                 b->index, i);
        snprintf(n.norm, sizeof n.norm, "encoder.stages.%zu.layers.%zu.layer.%zu.normalization", b->stage,
                 b->index, i);
    } else {
        snprintf(n.conv, sizeof n.conv, "layer%zu.%zu.conv%zu", b->stage + 1, b->index, i + 1);
        snprintf(n.norm, sizeof n.norm, "layer%zu.%zu.bn%zu", b->stage + 1, b->index, i + 1);
    }
    return n;
}

static conv_names shortcut_names(const resnet *net, const block *b) {
    conv_names n;
    if (net->config.naming == RESNET_HUGGING_FACE) {
        snprintf(n.conv, sizeof n.conv, "encoder.stages.%zu.layers.%zu.shortcut.convolution", b->stage,
                 b->index);
        snprintf(n.norm, sizeof n.norm, "encoder.stages.%zu.layers.%zu.shortcut.normalization", b->stage,
                 b->index);
    } else {
        snprintf(n.conv, sizeof n.conv, "layer%zu.%zu.downsample.0", b->stage + 1, b->index);
        snprintf(n.norm, sizeof n.norm, "layer%zu.%zu.downsample.1", b->stage + 1, b->index);
    }
    return n;
}

/* ---- ranges ---- */

static size_t stem_convs(const resnet_config *config) { return config->family == RESNET_CLIP ? 3 : 1; }

static size_t block_place(const resnet *net, const block *b, size_t conv) {
    return net->stem_count + (size_t)(b - net->blocks) * BLOCK_PLACES + conv;
}

static size_t last_conv(const block *b) { return b->bottleneck ? 2 : 1; }

static ops_range range_at(const resnet *net, size_t place) {
    return (ops_range){.largest = net->calibration ? net->calibration->largest[place] : 0};
}

static ops_range stem_input(const resnet *net, size_t i) {
    if (i > 0) return range_at(net, i - 1);
    return net->calibration ? net->calibration->picture : (ops_range){0};
}

static ops_range block_input(const resnet *net, const block *b) {
    return b == net->blocks ? range_at(net, net->stem_count - 1)
                            : range_at(net, block_place(net, b - 1, last_conv(b - 1)));
}

/* Only a shortcut with weights of its own is not cut off at zero: option A copies what was. */
static ops_range shortcut_output(const resnet *net, const block *b) {
    ops_range range = range_at(net, block_place(net, b, SHORTCUT));
    range.negative = net->config.family != RESNET_CIFAR;
    return range;
}

static bool has_shortcut(const block *b) { return b->stride != 1 || b->in != b->out; }

/* ---- weights ---- */

/* Batch norm after a convolution is a scale and an offset of its outputs (Ioffe and Szegedy 2015,
 * algorithm 2):
 *     w' = w gamma / sqrt(variance + epsilon),  b' = beta - mean gamma / sqrt(variance + epsilon) */
static magpie_status fold(const resnet *net, const char *norm, size_t out, size_t per_channel, float *weight,
                          float *bias) {
    static const char *const parts[] = {"weight", "bias", "running_mean", "running_var"};
    const tensor *t[4];
    float value[4];
    magpie_status status = MAGPIE_OK;
    for (int p = 0; p < 4 && status == MAGPIE_OK; p++)
        status = find(net, 1, &out, &t[p], "%s.%s", norm, parts[p]);
    for (size_t o = 0; o < out && status == MAGPIE_OK; o++) {
        for (int p = 0; p < 4; p++) tensor_read_f32(t[p], o, 1, &value[p]);
        double scale = (double)value[0] / sqrt((double)value[3] + batch_norm_epsilon);
        for (size_t i = 0; i < per_channel; i++)
            weight[o * per_channel + i] = (float)((double)weight[o * per_channel + i] * scale);
        bias[o] = (float)((double)value[1] - (double)value[2] * scale);
        if (!isfinite(scale) || !isfinite(bias[o]))
            return magpie_fail(MAGPIE_E_CORRUPT, "%s: %s%s is not finite or has a negative variance",
                               safetensors_path(net->file), net->prefix, norm);
    }
    return status;
}

static magpie_status make_conv(const resnet *net, const conv_names *names, ops_conv_source source,
                               ops_conv **made) {
    const size_t shape[] = {source.out, source.in, source.kernel, source.kernel};
    size_t per_channel = source.in * source.kernel * source.kernel;
    const tensor *t;
    magpie_status status = find(net, 4, shape, &t, "%s.weight", names->conv);
    if (status != MAGPIE_OK) return status;
    float *weight = magpie_alloc(source.out * per_channel, sizeof *weight);
    float *bias = magpie_alloc(source.out, sizeof *bias);
    if (!weight || !bias) status = MAGPIE_E_NO_MEMORY;
    if (status == MAGPIE_OK) {
        tensor_read_f32(t, 0, t->elements, weight);
        status = fold(net, names->norm, source.out, per_channel, weight, bias);
    }
    source.weight = weight, source.bias = bias;
    if (status == MAGPIE_OK) status = net->ops->conv_create(net->device, &source, made);
    free(weight);
    free(bias);
    return status;
}

/* Option A: every second pixel, new channels zero at both ends. As a convolution with one weight of 1 for
 * each old channel, it needs no operation of its own and is exact in every precision. */
static magpie_status make_option_a(const resnet *net, const block *b, ops_conv_source source,
                                   ops_conv **made) {
    float *weight = magpie_alloc(b->out * b->in, sizeof *weight);
    float *bias = magpie_alloc(b->out, sizeof *bias);
    magpie_status status = weight && bias ? MAGPIE_OK : MAGPIE_E_NO_MEMORY;
    for (size_t c = 0; c < b->in && status == MAGPIE_OK; c++)
        weight[((b->out - b->in) / 2 + c) * b->in + c] = 1;
    source.weight = weight, source.bias = bias;
    if (status == MAGPIE_OK) status = net->ops->conv_create(net->device, &source, made);
    free(weight);
    free(bias);
    return status;
}

static magpie_status make_shortcut(const resnet *net, block *b) {
    if (!has_shortcut(b)) return MAGPIE_OK;
    bool clip = net->config.family == RESNET_CLIP; /* there a mean does the stride's work, before */
    area side = clip ? b->output : b->input;
    ops_conv_source source = {.in = b->in,
                              .out = b->out,
                              .kernel = 1,
                              .stride = clip ? 1 : b->stride,
                              .height = side.height,
                              .width = side.width,
                              .range_in = block_input(net, b),
                              .range_out = shortcut_output(net, b)};
    if (net->config.family == RESNET_CIFAR) return make_option_a(net, b, source, &b->shortcut);
    conv_names names = shortcut_names(net, b);
    return make_conv(net, &names, source, &b->shortcut);
}

/* A task of the pool: blocks are packed side by side. */
static magpie_status make_block(void *context, size_t i, unsigned worker) {
    (void)worker;
    const resnet *net = context;
    const resnet_config *c = &net->config;
    block *b = &net->blocks[i];
    size_t in = b->in;
    area side = b->input;
    ops_range range = block_input(net, b);
    /* The convolution that has the stride; in clip's, a mean behind the 3 x 3 does its work. */
    size_t strided = c->bottleneck && !c->stride_in_first ? 1 : 0;
    magpie_status status = make_shortcut(net, b);
    for (size_t k = 0; k <= last_conv(b) && status == MAGPIE_OK; k++) {
        bool last = k == last_conv(b);
        size_t kernel = !c->bottleneck || k == 1 ? 3 : 1;
        size_t stride = k == strided && c->family != RESNET_CLIP ? b->stride : 1;
        ops_conv_source source = {.in = in,
                                  .out = last ? b->out : b->inner,
                                  .kernel = kernel,
                                  .stride = stride,
                                  .padding = kernel / 2,
                                  .height = side.height,
                                  .width = side.width,
                                  .relu = true,
                                  .residual = last,
                                  .range_in = range,
                                  .range_out = range_at(net, block_place(net, b, k))};
        if (last) source.range_residual = has_shortcut(b) ? shortcut_output(net, b) : block_input(net, b);
        conv_names names = block_names(net, b, k);
        status = make_conv(net, &names, source, &b->convs[k]);
        in = source.out;
        range = source.range_out;
        if (k == strided) side = b->output;
    }
    return status;
}

static magpie_status make_stem(resnet *net) {
    const resnet_config *c = &net->config;
    bool clip = c->family == RESNET_CLIP;
    size_t in = c->inputs;
    area side = {c->height, c->width};
    magpie_status status = MAGPIE_OK;
    for (size_t i = 0; i < net->stem_count && status == MAGPIE_OK; i++) {
        size_t kernel = c->family == RESNET_PLAIN ? 7 : 3;
        ops_conv_source source = {.in = in,
                                  .out = clip && i < 2 ? c->stem / 2 : c->stem,
                                  .kernel = kernel,
                                  .stride = i == 0 && c->family != RESNET_CIFAR ? 2 : 1,
                                  .padding = kernel / 2,
                                  .height = side.height,
                                  .width = side.width,
                                  .relu = true,
                                  .range_in = stem_input(net, i),
                                  .range_out = range_at(net, i)};
        conv_names names = stem_names(net, i);
        status = make_conv(net, &names, source, &net->stem[i]);
        side = windows(side, kernel, source.stride, source.padding);
        in = source.out;
    }
    return status;
}

/* Attention pooling's products: NAME.weight [out, in] and NAME.bias [out]. */
static magpie_status make_pooling(resnet *net) {
    static const char *const names[] = {"q_proj", "k_proj", "v_proj", "c_proj"};
    size_t n = net->config.channels[net->config.stages - 1];
    const size_t position[] = {1 + places_of(net->last), n};
    ops_linear_source qkv = {.parts = 3, .output = OPS_STREAM}, output = {.parts = 1, .output = OPS_SUM};
    magpie_status status = find(net, 2, position, &net->position, "attnpool.positional_embedding");
    for (int p = 0; p < 4 && status == MAGPIE_OK; p++) {
        ops_linear_source *source = p < 3 ? &qkv : &output;
        const size_t shape[] = {p < 3 ? n : net->config.embed, n};
        status = find(net, 2, shape, &source->weight[p % 3], "attnpool.%s.weight", names[p]);
        if (status == MAGPIE_OK)
            status = find(net, 1, shape, &source->bias[p % 3], "attnpool.%s.bias", names[p]);
    }
    if (status == MAGPIE_OK) status = net->ops->linear_create(net->device, &qkv, &net->pooling_qkv);
    if (status == MAGPIE_OK) status = net->ops->linear_create(net->device, &output, &net->pooling_output);
    return status;
}

/* ---- shapes ---- */

size_t resnet_layers(const resnet_config *config) {
    size_t blocks = 0;
    for (size_t s = 0; s < config->stages; s++) blocks += config->blocks[s];
    return 2 + blocks * (config->bottleneck ? 3 : 2);
}

size_t resnet_ranges(const resnet_config *config) {
    size_t blocks = 0;
    for (size_t s = 0; s < config->stages; s++) blocks += config->blocks[s];
    return stem_convs(config) + blocks * BLOCK_PLACES;
}

size_t resnet_dimension(const resnet_config *config) {
    return config->family == RESNET_CLIP ? config->embed : config->channels[config->stages - 1];
}

static area halved(const resnet *net, area side) {
    return net->config.family == RESNET_CLIP ? windows(side, 2, 2, 0) : windows(side, 3, 2, 1);
}

static magpie_status plan_blocks(resnet *net) {
    const resnet_config *c = &net->config;
    size_t in = c->stem;
    area side = {c->height, c->width};
    if (c->family != RESNET_CIFAR) {
        side = windows(side, 3, 2, 1); /* of 7 x 7 with a border of 3, too */
        side = halved(net, side);
    }
    for (size_t s = 0; s < c->stages; s++) net->count += c->blocks[s];
    net->blocks = magpie_alloc(net->count, sizeof *net->blocks);
    if (!net->blocks) return MAGPIE_E_NO_MEMORY;
    block *b = net->blocks;
    for (size_t s = 0; s < c->stages; s++)
        for (size_t i = 0; i < c->blocks[s]; i++, b++) {
            size_t stride = i == 0 && (s > 0 || c->first_stage_halves) ? 2 : 1;
            area output = stride == 2 ? halved(net, side) : side;
            *b = (block){.stage = s,
                         .index = i,
                         .in = in,
                         .inner = c->bottleneck ? c->channels[s] / 4 : c->channels[s],
                         .out = c->channels[s],
                         .bottleneck = c->bottleneck,
                         .stride = stride,
                         .input = side,
                         .output = output};
            in = b->out;
            side = output;
        }
    net->last = side;
    return MAGPIE_OK;
}

magpie_status resnet_create(const ops_table *ops, ops_device *device, const resnet_config *config,
                            const safetensors *file, const resnet_calibration *calibration, magpie_pool *pool,
                            resnet **out) {
    resnet *net = magpie_alloc(1, sizeof *net);
    if (!net) return MAGPIE_E_NO_MEMORY;
    *net = (resnet){.ops = ops,
                    .device = device,
                    .config = *config,
                    .file = file,
                    .prefix = "",
                    .calibration = calibration,
                    .stem_count = stem_convs(config)};
    /* Saved with a classifier on it, Hugging Face's encoder carries its name. */
    if (config->naming == RESNET_HUGGING_FACE &&
        safetensors_find(file, "resnet.embedder.embedder.convolution.weight"))
        net->prefix = "resnet.";
    if (config->family == RESNET_CLIP) net->prefix = "visual.";
    if (config->inputs == 1 && safetensors_find(file, "audio_encoder.conv1.weight")) /* Wav2CLIP's */
        net->prefix = "audio_encoder.";
    magpie_status status = plan_blocks(net);
    if (status == MAGPIE_OK) status = make_stem(net);
    if (status == MAGPIE_OK) status = magpie_pool_run(pool, net->count, make_block, net);
    if (status == MAGPIE_OK && config->family == RESNET_CLIP) status = make_pooling(net);
    net->calibration = NULL;
    if (status == MAGPIE_OK)
        *out = net;
    else
        resnet_free(net);
    return status;
}

void resnet_free(resnet *net) {
    if (!net) return;
    for (size_t i = 0; i < STEM_MAX; i++) net->ops->conv_free(net->stem[i]);
    for (size_t i = 0; net->blocks && i < net->count; i++) {
        for (int k = 0; k < 3; k++) net->ops->conv_free(net->blocks[i].convs[k]);
        net->ops->conv_free(net->blocks[i].shortcut);
    }
    net->ops->linear_free(net->pooling_qkv);
    net->ops->linear_free(net->pooling_output);
    free(net->blocks);
    free(net);
}

const resnet_config *resnet_get_config(const resnet *net) { return &net->config; }

/* ---- lanes ---- */

/* Of the largest map. */
static size_t room(const resnet *net, size_t images) {
    const resnet_config *c = &net->config;
    area side = {c->height, c->width}, stem_side = c->family == RESNET_CIFAR ? side : windows(side, 3, 2, 1);
    size_t most = elements(images, c->inputs, side);
    size_t stem = elements(images, c->stem, stem_side);
    if (stem > most) most = stem;
    for (size_t i = 0; i < net->count; i++) {
        const block *b = &net->blocks[i];
        size_t inner = elements(images, b->inner, b->input);
        size_t out = elements(images, b->out, b->output);
        if (inner > most) most = inner;
        if (out > most) most = out;
    }
    return most;
}

size_t resnet_picture_bytes(const resnet *net) { return MAPS * room(net, 1) * sizeof(float); }

static magpie_status create_pooling(resnet_lane *l, size_t images) {
    const resnet *net = l->network;
    const ops_table *ops = net->ops;
    size_t n = net->config.channels[net->config.stages - 1], each = 1 + places_of(net->last);
    size_t rows = images * each;
    l->starts = magpie_alloc(2 * (images + 1), sizeof *l->starts);
    if (!l->starts) return MAGPIE_E_NO_MEMORY;
    l->firsts = l->starts + images + 1;
    for (size_t i = 0; i <= images; i++) l->starts[i] = i * each, l->firsts[i] = i;
    magpie_status status = ops->tensor_create(l->lane, rows, n, OPS_STREAM, &l->rows);
    if (status == MAGPIE_OK) status = ops->tensor_create(l->lane, rows, 3 * n, OPS_STREAM, &l->qkv);
    if (status == MAGPIE_OK) status = ops->tensor_create(l->lane, rows, n, OPS_STREAM, &l->context);
    if (status == MAGPIE_OK) status = ops->tensor_create(l->lane, images, n, OPS_STREAM, &l->first);
    if (status == MAGPIE_OK)
        status = ops->tensor_create(l->lane, images, net->config.embed, OPS_SUM, &l->embedded);
    return status;
}

magpie_status resnet_lane_create(resnet *net, unsigned threads, size_t images, resnet_lane **out) {
    resnet_lane *l = magpie_alloc(1, sizeof *l);
    if (!l) return MAGPIE_E_NO_MEMORY;
    l->network = net;
    magpie_status status = net->ops->lane_create(net->device, threads, &l->lane);
    for (int i = 0; i < MAPS && status == MAGPIE_OK; i++)
        status = net->ops->map_create(l->lane, room(net, images), &l->maps[i]);
    if (status == MAGPIE_OK && net->config.family == RESNET_CLIP) status = create_pooling(l, images);
    if (status == MAGPIE_OK)
        *out = l;
    else
        resnet_lane_free(l);
    return status;
}

void resnet_lane_free(resnet_lane *l) {
    if (!l) return;
    l->network->ops->lane_free(l->lane);
    free(l->starts);
    free(l);
}

void resnet_lane_record(resnet_lane *l, float *largest) { l->largest = largest; }

/* ---- running ---- */

static magpie_status run_conv(resnet_lane *l, const ops_conv *conv, size_t place, const ops_map *x,
                              size_t images, ops_map *y) {
    const ops_table *ops = l->network->ops;
    float largest = 0;
    magpie_status status = ops->conv(l->lane, conv, x, images, y);
    if (status != MAGPIE_OK || !l->largest) return status;
    status = ops->map_largest(l->lane, y, images, &largest);
    if (largest > l->largest[place]) l->largest[place] = largest;
    return status;
}

static magpie_status run_block_conv(resnet_lane *l, const block *b, size_t k, const ops_map *x, size_t images,
                                    ops_map *y) {
    return run_conv(l, k == SHORTCUT ? b->shortcut : b->convs[k], block_place(l->network, b, k), x, images,
                    y);
}

static void swap(ops_map **a, ops_map **b) {
    ops_map *keep = *a;
    *a = *b;
    *b = keep;
}

/* What a batch has in hand: x is the last result, the others are free. */
typedef struct hand {
    ops_map *x, *t, *u, *v;
} hand;

static const ops_pool_window stem_pool = {3, 3, 2, 2, 1};

static magpie_status run_stem(resnet_lane *l, size_t images, hand *m) {
    const resnet *net = l->network;
    const ops_table *ops = net->ops;
    magpie_status status = MAGPIE_OK;
    for (size_t i = 0; i < net->stem_count && status == MAGPIE_OK; i++) {
        status = run_conv(l, net->stem[i], i, m->x, images, m->t);
        swap(&m->x, &m->t);
    }
    if (status != MAGPIE_OK || net->config.family == RESNET_CIFAR) return status;
    status = net->config.family == RESNET_CLIP ? ops->average_pool(l->lane, m->x, images, m->t)
                                               : ops->max_pool(l->lane, &stem_pool, m->x, images, m->t);
    swap(&m->x, &m->t);
    return status;
}

/* The last convolution adds to what the shortcut left in its output: x itself where that is the identity. */
static magpie_status run_block(resnet_lane *l, const block *b, size_t images, hand *m) {
    const ops_table *ops = l->network->ops;
    bool means = l->network->config.family == RESNET_CLIP && b->stride > 1;
    magpie_status status = run_block_conv(l, b, 0, m->x, images, m->u);
    if (status == MAGPIE_OK && b->bottleneck) {
        status = run_block_conv(l, b, 1, m->u, images, m->t);
        swap(&m->u, &m->t);
    }
    if (status == MAGPIE_OK && means) {
        status = ops->average_pool(l->lane, m->u, images, m->t);
        swap(&m->u, &m->t);
        if (status == MAGPIE_OK) status = ops->average_pool(l->lane, m->x, images, m->v);
    }
    if (status == MAGPIE_OK && b->shortcut) {
        status = run_block_conv(l, b, SHORTCUT, means ? m->v : m->x, images, m->t);
        swap(&m->x, &m->t);
    }
    return status == MAGPIE_OK ? run_block_conv(l, b, last_conv(b), m->u, images, m->x) : status;
}

static magpie_status run_pooling(resnet_lane *l, const ops_map *x, size_t images, bool unit, float *out) {
    const resnet *net = l->network;
    const ops_table *ops = net->ops;
    magpie_status status = ops->map_rows(l->lane, x, images, net->position, &l->rows);
    if (status == MAGPIE_OK)
        status = ops->linear(l->lane, net->pooling_qkv, &l->rows, l->starts[images], &l->qkv);
    if (status == MAGPIE_OK)
        status = ops->attention(l->lane, &l->qkv, l->starts, images, net->config.heads, false, &l->context);
    if (status == MAGPIE_OK) status = ops->gather(l->lane, &l->context, l->starts, images, &l->first);
    if (status == MAGPIE_OK)
        status = ops->linear(l->lane, net->pooling_output, &l->first, images, &l->embedded);
    if (status == MAGPIE_OK)
        status = ops->pool(l->lane, &l->embedded, l->firsts, images, OPS_POOL_FIRST, unit, out);
    return status;
}

/* From the input, which is in the first map. */
static magpie_status run(resnet_lane *l, size_t images, bool unit, float *out) {
    const resnet *net = l->network;
    hand m = {&l->maps[0], &l->maps[1], &l->maps[2], &l->maps[3]};
    magpie_status status = run_stem(l, images, &m);
    for (size_t i = 0; i < net->count && status == MAGPIE_OK; i++)
        status = run_block(l, &net->blocks[i], images, &m);
    if (status != MAGPIE_OK) return status;
    return net->config.family == RESNET_CLIP ? run_pooling(l, m.x, images, unit, out)
                                             : net->ops->global_pool(l->lane, m.x, images, unit, out);
}

magpie_status resnet_run(resnet_lane *l, const uint8_t *pixels, size_t images,
                         const image_preprocess *preprocess, bool unit, float *out) {
    const resnet *net = l->network;
    magpie_status status =
        net->ops->image_load(l->lane, pixels, images, net->config.height, net->config.width, preprocess->mean,
                             preprocess->std, &l->maps[0]);
    return status == MAGPIE_OK ? run(l, images, unit, out) : status;
}

magpie_status resnet_run_pictures(resnet_lane *l, const image_packed *pictures, size_t images,
                                  const image_preprocess *preprocess, bool unit, float *out) {
    const resnet *net = l->network;
    magpie_status status = net->ops->pictures_load(l->lane, pictures, images, preprocess->geometry.side,
                                                   preprocess->mean, preprocess->std, &l->maps[0]);
    return status == MAGPIE_OK ? run(l, images, unit, out) : status;
}

magpie_status resnet_run_values(resnet_lane *l, const float *values, size_t images, float *out) {
    const resnet *net = l->network;
    magpie_status status =
        net->ops->map_load(l->lane, values, images, net->config.height, net->config.width, &l->maps[0]);
    return status == MAGPIE_OK ? run(l, images, false, out) : status;
}

ops_lane *resnet_lane_ops(const resnet_lane *l) { return l->lane; }
