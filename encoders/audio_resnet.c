/* audio_resnet.c - a residual network over a spectrogram, the picture's by another input, and a projection
 * behind it: the shape of Wav2CLIP (Wu et al. 2021, "Wav2CLIP: Learning Robust Audio Representations From
 * CLIP").
 *
 *     config.json   {"model_type": "audio-resnet", "depth": 18, "projection": [512, 512]}
 *
 * depth is torchvision's 18, 34, 50, 101 or 152; "hidden_sizes" the widths of its four stages (absent:
 * torchvision's); projection the sizes of the linear layers, with ReLU between them (absent: none). Tensors
 * are named as in Wav2CLIP's checkpoint: audio_encoder.conv1.weight and on (or conv1.weight and on),
 * audio_transform.sequential.0, .3, .6 ... The map is frequency down, time across. */
#include "audio_architecture.h"
#include "resnet.h"

#include <stdlib.h>

enum { PROJECTIONS_MAX = 8, WIDTH_MAX = 16384 };

typedef struct audio_resnet_model {
    audio_model base;
    resnet_config config;
    const safetensors *file;
    size_t projections, widths[PROJECTIONS_MAX];
    const ops_table *ops;
    resnet *network;
    ops_linear *projection[PROJECTIONS_MAX];
} audio_resnet_model;

struct audio_lane {
    audio_resnet_model *model;
    resnet_lane *lane;
    float *turned;                     /* [windows, bands, frames] */
    float *pooled;                     /* [windows, resnet_dimension] */
    size_t *rows;                      /* 0 .. windows */
    ops_tensor x[PROJECTIONS_MAX + 1]; /* [windows, ...], in front of each projection and behind the last */
};

static magpie_status read_projection(const model_json *config, audio_resnet_model *m) {
    const json_t *array = json_object_get(config->root, "projection");
    m->projections = json_array_size(array);
    bool fine = !array || json_is_array(array);
    for (size_t i = 0; i < m->projections && i < PROJECTIONS_MAX && fine; i++) {
        json_int_t width = json_integer_value(json_array_get(array, i));
        fine = width >= 1 && width <= WIDTH_MAX;
        m->widths[i] = (size_t)width;
    }
    if (fine && m->projections <= PROJECTIONS_MAX) return MAGPIE_OK;
    return magpie_fail(MAGPIE_E_CORRUPT, "%s: \"projection\" should be an array of up to %d sizes of 1 to %d",
                       config->path, PROJECTIONS_MAX, WIDTH_MAX);
}

static void close_model(audio_model *base) {
    audio_resnet_model *m = (audio_resnet_model *)base;
    for (size_t i = 0; m->ops && i < m->projections; i++) m->ops->linear_free(m->projection[i]);
    resnet_free(m->network);
    free(m);
}

static magpie_status open_model(const model_json *config, const spectrogram_config *spectrogram,
                                const safetensors *file, audio_model **out) {
    enum { SIDE_LEAST = 32 };
    size_t depth, bands = spectrogram_bands(spectrogram);
    magpie_status status = model_json_size(config, "depth", true, 1, 1000, &depth);
    if (status != MAGPIE_OK) return status;
    if (bands < SIDE_LEAST || spectrogram->frames < SIDE_LEAST)
        return magpie_fail(MAGPIE_E_UNSUPPORTED, "%s: a window of %zu bands and %zu frames; %d are the least",
                           config->path, bands, spectrogram->frames, SIDE_LEAST);
    audio_resnet_model *m = magpie_alloc(1, sizeof *m);
    if (!m) return MAGPIE_E_NO_MEMORY;
    if (!resnet_config_of_depth(depth, &m->config))
        status =
            magpie_fail(MAGPIE_E_UNSUPPORTED, "%s: a \"depth\" of %zu; 18, 34, 50, 101 and 152 are supported",
                        config->path, depth);
    if (status == MAGPIE_OK) status = resnet_config_read_widths(config, &m->config);
    if (status == MAGPIE_OK) status = read_projection(config, m);
    if (status != MAGPIE_OK) {
        free(m);
        return status;
    }
    m->file = file;
    m->config.inputs = 1;
    m->config.height = bands;
    m->config.width = spectrogram->frames;
    m->base.layers = resnet_layers(&m->config);
    m->base.dimension = m->projections ? m->widths[m->projections - 1] : resnet_dimension(&m->config);
    *out = &m->base;
    return MAGPIE_OK;
}

static magpie_status make_projection(audio_resnet_model *m, ops_device *device, size_t i) {
    const size_t shape[] = {m->widths[i], i ? m->widths[i - 1] : resnet_dimension(&m->config)};
    ops_linear_source source = {.parts = 1,
                                .activation = i + 1 < m->projections ? OPS_RELU : OPS_IDENTITY,
                                .output = i + 1 < m->projections ? OPS_STREAM : OPS_SUM};
    char name[64];
    /* Linear, ReLU, dropout, linear: each third module of theirs has weights. */
    snprintf(name, sizeof name, "audio_transform.sequential.%zu.weight", 3 * i);
    magpie_status status = safetensors_expect(m->file, name, 2, shape, &source.weight[0]);
    snprintf(name, sizeof name, "audio_transform.sequential.%zu.bias", 3 * i);
    if (status == MAGPIE_OK) status = safetensors_expect(m->file, name, 1, shape, &source.bias[0]);
    return status == MAGPIE_OK ? m->ops->linear_create(device, &source, &m->projection[i]) : status;
}

static magpie_status pack(audio_model *base, const ops_table *ops, ops_device *device, magpie_pool *pool) {
    audio_resnet_model *m = (audio_resnet_model *)base;
    m->ops = ops;
    magpie_status status = resnet_create(ops, device, &m->config, m->file, NULL, pool, &m->network);
    for (size_t i = 0; i < m->projections && status == MAGPIE_OK; i++) status = make_projection(m, device, i);
    return status;
}

static void lane_free(audio_lane *l) {
    if (!l) return;
    resnet_lane_free(l->lane);
    free(l->turned);
    free(l->pooled);
    free(l->rows);
    free(l);
}

static magpie_status lane_create(audio_model *base, unsigned threads, size_t windows, audio_lane **out) {
    audio_resnet_model *m = (audio_resnet_model *)base;
    audio_lane *l = magpie_alloc(1, sizeof *l);
    if (!l) return MAGPIE_E_NO_MEMORY;
    l->model = m;
    l->turned = magpie_alloc(windows, m->config.height * m->config.width * sizeof *l->turned);
    l->pooled = magpie_alloc(windows, resnet_dimension(&m->config) * sizeof *l->pooled);
    l->rows = magpie_alloc(windows + 1, sizeof *l->rows);
    magpie_status status = l->turned && l->pooled && l->rows ? MAGPIE_OK : MAGPIE_E_NO_MEMORY;
    for (size_t i = 0; status == MAGPIE_OK && i <= windows; i++) l->rows[i] = i;
    if (status == MAGPIE_OK) status = resnet_lane_create(m->network, threads, windows, &l->lane);
    for (size_t i = 0; m->projections && i <= m->projections && status == MAGPIE_OK; i++)
        status = m->ops->tensor_create(resnet_lane_ops(l->lane), windows,
                                       i ? m->widths[i - 1] : resnet_dimension(&m->config),
                                       i < m->projections ? OPS_STREAM : OPS_SUM, &l->x[i]);
    if (status == MAGPIE_OK)
        *out = l;
    else
        lane_free(l);
    return status;
}

static magpie_status run(audio_lane *l, const float *windows, size_t n, float *out) {
    const audio_resnet_model *m = l->model;
    size_t bands = m->config.height, frames = m->config.width;
    ops_lane *lane = resnet_lane_ops(l->lane);
    for (size_t i = 0; i < n; i++) {
        const float *window = windows + i * frames * bands;
        float *turned = l->turned + i * frames * bands;
        for (size_t t = 0; t < frames; t++)
            for (size_t b = 0; b < bands; b++) turned[b * frames + t] = window[t * bands + b];
    }
    magpie_status status = resnet_run_values(l->lane, l->turned, n, m->projections ? l->pooled : out);
    if (!m->projections) return status;
    if (status == MAGPIE_OK) status = m->ops->rows_load(lane, l->pooled, n, &l->x[0]);
    for (size_t i = 0; i < m->projections && status == MAGPIE_OK; i++)
        status = m->ops->linear(lane, m->projection[i], &l->x[i], n, &l->x[i + 1]);
    return status == MAGPIE_OK
               ? m->ops->pool(lane, &l->x[m->projections], l->rows, n, OPS_POOL_FIRST, false, out)
               : status;
}

const audio_architecture audio_resnet = {.name = "audio-resnet",
                                         .model_type = "audio-resnet",
                                         .open = open_model,
                                         .close = close_model,
                                         .pack = pack,
                                         .lane_create = lane_create,
                                         .lane_free = lane_free,
                                         .run = run};
