/* audio_vgg.c - musicnn's VGG (Pons and Serra 2019, "musicnn: Pre-trained convolutional neural networks
 * for music audio tagging"): five times a convolution of 3 x 3, ReLU, batch norm and a pooling, then one
 * dense layer that tells tags.
 *
 *     config.json   {"model_type": "musicnn-vgg", "num_filters": 128, "batch_norm_eps": 0.001, "id2label": {"0": ...}}
 *
 * Tensors, as scripts/musicnn-to-safetensors writes them: input_norm, conv1 to conv5, norm1 to norm5,
 * output. The vector is what the dense layer is given: the last map, place by place. The map is time down,
 * frequency across. Batch norm comes behind the ReLU here and so cannot be folded into the convolution
 * before it; nor into the one behind it, whose border is zeros after the norm. */
#include "audio_architecture.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CONVS = 5, FILTERS_MAX = 4096, TAGS_MAX = 65536 };

static const ops_pool_window pools[CONVS] = {
    {4, 1, 2, 2, 0}, {2, 2, 2, 2, 0}, {2, 2, 2, 2, 0}, {2, 2, 2, 2, 0}, {4, 4, 4, 4, 0}};

typedef struct audio_vgg_model {
    audio_model base;
    size_t filters;
    double epsilon;
    size_t heights[CONVS + 1],
        widths[CONVS + 1]; /* of the input of each convolution, and behind the last pooling */
    const safetensors *file;
    const ops_table *ops; /* NULL until the weights are packed */
    ops_device *device;
    float input_scale, input_offset; /* batch norm of the input */
    ops_conv *convs[CONVS];
    ops_linear *output;
} audio_vgg_model;

struct audio_lane {
    audio_vgg_model *model;
    ops_lane *lane;
    ops_map maps[2];
    float *input;              /* [windows, frames, bands] */
    ops_tensor vector, logits; /* [1, dimension], [1, tags] */
};

/* ---- opening ---- */

static magpie_status read_tags(const model_json *config, audio_model *base) {
    const json_t *labels = json_object_get(config->root, "id2label");
    size_t n = json_object_size(labels);
    if (n == 0 || n > TAGS_MAX)
        return magpie_fail(MAGPIE_E_CORRUPT, "%s: \"id2label\" should have 1 to %d names of tags",
                           config->path, TAGS_MAX);
    base->tag = magpie_alloc(n, sizeof *base->tag);
    if (!base->tag) return MAGPIE_E_NO_MEMORY;
    for (base->tags = 0; base->tags < n; base->tags++) {
        char key[32];
        snprintf(key, sizeof key, "%zu", base->tags);
        const char *name = json_string_value(json_object_get(labels, key));
        if (!name) return magpie_fail(MAGPIE_E_CORRUPT, "%s: \"id2label\" has no \"%s\"", config->path, key);
        if (!(base->tag[base->tags] = strdup(name))) return magpie_fail(MAGPIE_E_NO_MEMORY, "out of memory");
    }
    return MAGPIE_OK;
}

static void close_model(audio_model *base) {
    audio_vgg_model *m = (audio_vgg_model *)base;
    for (size_t i = 0; i < CONVS && m->ops; i++) m->ops->conv_free(m->convs[i]);
    if (m->ops) m->ops->linear_free(m->output);
    for (size_t i = 0; i < base->tags; i++) free(base->tag[i]);
    free(base->tag);
    free(m);
}

/* False where a window is too small for one of the poolings. */
static bool plan_areas(audio_vgg_model *m, const spectrogram_config *spectrogram) {
    m->heights[0] = spectrogram->frames;
    m->widths[0] = spectrogram_bands(spectrogram);
    for (size_t i = 0; i < CONVS; i++) {
        const ops_pool_window *w = &pools[i];
        if (m->heights[i] < w->height || m->widths[i] < w->width) return false;
        m->heights[i + 1] = ops_windows(m->heights[i], w->height, w->stride_down, 0);
        m->widths[i + 1] = ops_windows(m->widths[i], w->width, w->stride_across, 0);
    }
    return true;
}

static magpie_status read_config(const model_json *config, const spectrogram_config *spectrogram,
                                 audio_vgg_model *m) {
    const json_t *epsilon = json_object_get(config->root, "batch_norm_eps");
    magpie_status status = model_json_size(config, "num_filters", true, 4, FILTERS_MAX, &m->filters);
    if (status == MAGPIE_OK) status = read_tags(config, &m->base);
    if (status != MAGPIE_OK) return status;
    m->epsilon = epsilon ? json_number_value(epsilon) : 1e-3; /* TensorFlow's */
    if (!(m->epsilon > 0 && m->epsilon < 1))
        return magpie_fail(MAGPIE_E_CORRUPT, "%s: \"batch_norm_eps\" should be a number between 0 and 1",
                           config->path);
    if (!plan_areas(m, spectrogram))
        return magpie_fail(MAGPIE_E_UNSUPPORTED,
                           "%s: a window of %zu frames and %zu bands is too small for this network",
                           config->path, m->heights[0], m->widths[0]);
    m->base.layers = CONVS + 1;
    m->base.dimension = m->heights[CONVS] * m->widths[CONVS] * m->filters;
    return MAGPIE_OK;
}

static magpie_status open_model(const model_json *config, const spectrogram_config *spectrogram,
                                const safetensors *file, audio_model **out) {
    audio_vgg_model *m = magpie_alloc(1, sizeof *m);
    if (!m) return MAGPIE_E_NO_MEMORY;
    m->file = file;
    magpie_status status = read_config(config, spectrogram, m);
    if (status == MAGPIE_OK)
        *out = &m->base;
    else
        close_model(&m->base);
    return status;
}

/* ---- weights ---- */

/* A batch norm as scale and offset, [n] each (Ioffe and Szegedy 2015, algorithm 2). */
static magpie_status read_norm(const audio_vgg_model *m, const char *norm, size_t n, float *scale,
                               float *offset) {
    static const char *const parts[] = {"weight", "bias", "running_mean", "running_var"};
    const tensor *t[4];
    magpie_status status = MAGPIE_OK;
    for (int p = 0; p < 4 && status == MAGPIE_OK; p++) {
        char name[64];
        snprintf(name, sizeof name, "%s.%s", norm, parts[p]);
        status = safetensors_expect(m->file, name, 1, &n, &t[p]);
    }
    for (size_t i = 0; i < n && status == MAGPIE_OK; i++) {
        float value[4];
        for (int p = 0; p < 4; p++) tensor_read_f32(t[p], i, 1, &value[p]);
        double by = (double)value[0] / sqrt((double)value[3] + m->epsilon);
        scale[i] = (float)by;
        offset[i] = (float)((double)value[1] - (double)value[2] * by);
        if (!isfinite(scale[i]) || !isfinite(offset[i]))
            return magpie_fail(MAGPIE_E_CORRUPT, "%s: %s is not finite or has a negative variance",
                               safetensors_path(m->file), norm);
    }
    return status;
}

static magpie_status make_conv(audio_vgg_model *m, size_t i) {
    size_t in = i ? m->filters : 1, n = m->filters, weights = n * in * 9;
    const size_t shape[] = {n, in, 3, 3};
    const tensor *weight, *bias;
    char name[64];
    snprintf(name, sizeof name, "conv%zu.weight", i + 1);
    magpie_status status = safetensors_expect(m->file, name, 4, shape, &weight);
    snprintf(name, sizeof name, "conv%zu.bias", i + 1);
    if (status == MAGPIE_OK) status = safetensors_expect(m->file, name, 1, shape, &bias);
    if (status != MAGPIE_OK) return status;
    float *values = magpie_alloc(weights + 3 * n, sizeof *values);
    if (!values) return MAGPIE_E_NO_MEMORY;
    float *biases = values + weights, *scale = biases + n, *offset = scale + n;
    tensor_read_f32(weight, 0, weights, values);
    tensor_read_f32(bias, 0, n, biases);
    snprintf(name, sizeof name, "norm%zu", i + 1);
    status = read_norm(m, name, n, scale, offset);
    const ops_conv_source source = {.weight = values,
                                    .bias = biases,
                                    .scale = scale,
                                    .offset = offset,
                                    .in = in,
                                    .out = n,
                                    .kernel = 3,
                                    .stride = 1,
                                    .padding = 1,
                                    .height = m->heights[i],
                                    .width = m->widths[i],
                                    .relu = true};
    if (status == MAGPIE_OK) status = m->ops->conv_create(m->device, &source, &m->convs[i]);
    free(values);
    return status;
}

static magpie_status pack(audio_model *base, const ops_table *ops, ops_device *device, magpie_pool *pool) {
    (void)pool;
    audio_vgg_model *m = (audio_vgg_model *)base;
    const size_t shape[] = {base->tags, base->dimension};
    ops_linear_source source = {.parts = 1, .activation = OPS_IDENTITY, .output = OPS_SUM};
    m->ops = ops;
    m->device = device;
    magpie_status status = read_norm(m, "input_norm", 1, &m->input_scale, &m->input_offset);
    for (size_t i = 0; i < CONVS && status == MAGPIE_OK; i++) status = make_conv(m, i);
    if (status == MAGPIE_OK)
        status = safetensors_expect(m->file, "output.weight", 2, shape, &source.weight[0]);
    if (status == MAGPIE_OK) status = safetensors_expect(m->file, "output.bias", 1, shape, &source.bias[0]);
    return status == MAGPIE_OK ? ops->linear_create(device, &source, &m->output) : status;
}

/* ---- running ---- */

static void lane_free(audio_lane *l) {
    if (!l) return;
    l->model->ops->lane_free(l->lane);
    free(l->input);
    free(l);
}

static magpie_status lane_create(audio_model *base, unsigned threads, size_t windows, audio_lane **out) {
    audio_vgg_model *m = (audio_vgg_model *)base;
    audio_lane *l = magpie_alloc(1, sizeof *l);
    if (!l) return MAGPIE_E_NO_MEMORY;
    l->model = m;
    l->input = magpie_alloc(windows, m->heights[0] * m->widths[0] * sizeof *l->input);
    magpie_status status = l->input ? m->ops->lane_create(m->device, threads, &l->lane) : MAGPIE_E_NO_MEMORY;
    size_t most = ops_map_elements(windows, m->filters, m->heights[0], m->widths[0]);
    for (int i = 0; i < 2 && status == MAGPIE_OK; i++)
        status = m->ops->map_create(l->lane, most, &l->maps[i]);
    if (status == MAGPIE_OK)
        status = m->ops->tensor_create(l->lane, 1, base->dimension, OPS_STREAM, &l->vector);
    if (status == MAGPIE_OK) status = m->ops->tensor_create(l->lane, 1, base->tags, OPS_SUM, &l->logits);
    if (status == MAGPIE_OK)
        *out = l;
    else
        lane_free(l);
    return status;
}

static magpie_status run(audio_lane *l, const float *windows, size_t n, float *out) {
    const audio_vgg_model *m = l->model;
    size_t values = n * m->heights[0] * m->widths[0];
    for (size_t i = 0; i < values; i++) l->input[i] = windows[i] * m->input_scale + m->input_offset;
    magpie_status status = m->ops->map_load(l->lane, l->input, n, m->heights[0], m->widths[0], &l->maps[0]);
    for (size_t i = 0; i < CONVS && status == MAGPIE_OK; i++) {
        status = m->ops->conv(l->lane, m->convs[i], &l->maps[0], n, &l->maps[1]);
        if (status == MAGPIE_OK) status = m->ops->max_pool(l->lane, &pools[i], &l->maps[1], n, &l->maps[0]);
    }
    return status == MAGPIE_OK ? m->ops->map_read(l->lane, &l->maps[0], n, out) : status;
}

static magpie_status tell(audio_lane *l, const float *vector, float *out) {
    const audio_vgg_model *m = l->model;
    magpie_status status = m->ops->rows_load(l->lane, vector, 1, &l->vector);
    if (status == MAGPIE_OK) status = m->ops->linear(l->lane, m->output, &l->vector, 1, &l->logits);
    if (status == MAGPIE_OK)
        status = m->ops->pool(l->lane, &l->logits, (const size_t[]){0, 1}, 1, OPS_POOL_FIRST, false, out);
    for (size_t i = 0; i < m->base.tags && status == MAGPIE_OK; i++) out[i] = 1 / (1 + expf(-out[i]));
    return status;
}

const audio_architecture audio_vgg = {.name = "musicnn-vgg",
                                      .model_type = "musicnn-vgg",
                                      .open = open_model,
                                      .close = close_model,
                                      .pack = pack,
                                      .lane_create = lane_create,
                                      .lane_free = lane_free,
                                      .run = run,
                                      .tell = tell};
