/* fusion_device.c - heads on a GPU, by the table of operations (ops.h), in f32.
 *
 * The square root of the input's dimension is multiplied into the matrix, so that rows go up as they are. A residual
 * head computes its outer product twice, as it is and with GELU behind it: a third of its work, and no operation that this
 * head alone would want. */
#include "fusion.h"
#include "ops.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>

enum { ROWS = 1024 /* projected at a time */ };

struct fusion_device {
    const ops_table *ops;
    ops_device *device;
    pthread_mutex_t lock; /* of the lane */
    ops_lane *lane;
    struct device_head {
        ops_linear *outer, *gelu, *inner; /* the last two: NULL where not residual */
        size_t input;
        ops_tensor x; /* [ROWS, input] */
    } head[MAGPIE_MODALITIES];
    size_t dimension;
    ops_tensor y, activated, residual; /* [ROWS, dimension] */
};

/* ---- opening ---- */

static magpie_status create_linear(fusion_device *f, const float *matrix, const float *bias, size_t input,
                                   ops_activation activation, ops_storage output, ops_linear **out) {
    const size_t d = f->dimension;
    const tensor w = {.type = TENSOR_F32,
                      .rank = 2,
                      .shape = {d, input},
                      .elements = d * input,
                      .data = matrix},
                 b = {.type = TENSOR_F32, .rank = 1, .shape = {d}, .elements = d, .data = bias};
    const ops_linear_source source = {
        .parts = 1, .weight = {&w}, .bias = {&b}, .activation = activation, .output = output};
    return f->ops->linear_create(f->device, &source, out);
}

static magpie_status create_outer(fusion_device *f, const fusion_head *head, struct device_head *out) {
    const size_t elements = f->dimension * head->input;
    const float scale = sqrtf((float)head->input);
    float *scaled = magpie_alloc(elements, sizeof *scaled);
    if (!scaled) return MAGPIE_E_NO_MEMORY;
    for (size_t i = 0; i < elements; i++) scaled[i] = scale * head->matrix[i];
    magpie_status status =
        create_linear(f, scaled, head->bias, head->input, OPS_IDENTITY, OPS_SUM, &out->outer);
    if (status == MAGPIE_OK && head->inner)
        status = create_linear(f, scaled, head->bias, head->input, OPS_GELU, OPS_STREAM, &out->gelu);
    free(scaled);
    return status;
}

static magpie_status create_head(fusion_device *f, const fusion_head *head, struct device_head *out) {
    if (!head->matrix) return MAGPIE_OK;
    out->input = head->input;
    magpie_status status = create_outer(f, head, out);
    if (status == MAGPIE_OK && head->inner)
        status =
            create_linear(f, head->inner, head->inner_bias, f->dimension, OPS_IDENTITY, OPS_SUM, &out->inner);
    return status == MAGPIE_OK ? f->ops->tensor_create(f->lane, ROWS, head->input, OPS_STREAM, &out->x)
                               : status;
}

static magpie_status create_all(fusion_device *f, const fusion_heads *heads) {
    const size_t d = f->dimension = heads->dimension;
    magpie_status status = f->ops->lane_create(f->device, 1, &f->lane);
    if (status == MAGPIE_OK) status = f->ops->tensor_create(f->lane, ROWS, d, OPS_SUM, &f->y);
    if (status == MAGPIE_OK) status = f->ops->tensor_create(f->lane, ROWS, d, OPS_STREAM, &f->activated);
    if (status == MAGPIE_OK) status = f->ops->tensor_create(f->lane, ROWS, d, OPS_SUM, &f->residual);
    for (magpie_modality m = 0; m < MAGPIE_MODALITIES && status == MAGPIE_OK; m++)
        status = create_head(f, &heads->head[m], &f->head[m]);
    return status;
}

magpie_status fusion_device_open(const fusion_heads *heads, magpie_device device, fusion_device **out) {
    bool any = false;
    *out = NULL;
    for (magpie_modality m = 0; m < MAGPIE_MODALITIES; m++) any |= heads->head[m].matrix != NULL;
    if (device.backend == MAGPIE_BACKEND_AUTO) device = magpie_device_choose();
    const bool is_gpu = device.backend == MAGPIE_BACKEND_OPENCL || device.backend == MAGPIE_BACKEND_CUDA;
    if (!any || !is_gpu) return MAGPIE_OK;
    fusion_device *f = magpie_alloc(1, sizeof *f);
    if (!f) return MAGPIE_E_NO_MEMORY;
    pthread_mutex_init(&f->lock, NULL);
    magpie_status status = ops_open(&device, MAGPIE_PRECISION_F32, &f->ops, &f->device);
    if (status == MAGPIE_OK) status = create_all(f, heads);
    if (status == MAGPIE_OK)
        *out = f;
    else
        fusion_device_close(f);
    return status;
}

void fusion_device_close(fusion_device *f) {
    if (!f) return;
    for (magpie_modality m = 0; m < MAGPIE_MODALITIES && f->device; m++) {
        f->ops->linear_free(f->head[m].outer);
        f->ops->linear_free(f->head[m].gelu);
        f->ops->linear_free(f->head[m].inner);
    }
    if (f->lane) f->ops->lane_free(f->lane);
    if (f->device) f->ops->device_free(f->device);
    pthread_mutex_destroy(&f->lock);
    free(f);
}

/* ---- projecting ---- */

static magpie_status project_rows(fusion_device *f, struct device_head *head, const float *features,
                                  size_t rows, float *out) {
    const ops_table *ops = f->ops;
    magpie_status status = ops->rows_load(f->lane, features, rows, &head->x);
    if (status == MAGPIE_OK) status = ops->linear(f->lane, head->outer, &head->x, rows, &f->y);
    if (status == MAGPIE_OK && head->inner) {
        status = ops->linear(f->lane, head->gelu, &head->x, rows, &f->activated);
        if (status == MAGPIE_OK)
            status = ops->linear(f->lane, head->inner, &f->activated, rows, &f->residual);
    }
    if (status != MAGPIE_OK) return status;
    return ops->unit_rows(f->lane, &f->y, head->inner ? &f->residual : NULL, rows, out);
}

magpie_status fusion_device_project(fusion_device *f, magpie_modality modality, const float *features,
                                    size_t n, float *out) {
    struct device_head *head = &f->head[modality];
    magpie_status status = MAGPIE_OK;
    pthread_mutex_lock(&f->lock);
    for (size_t i = 0; i < n && status == MAGPIE_OK; i += ROWS)
        status = project_rows(f, head, features + i * head->input, n - i < ROWS ? n - i : ROWS,
                              out + i * f->dimension);
    pthread_mutex_unlock(&f->lock);
    return status;
}
