/* fusion.h - the heads of a fusion model, and their folder. Private to encoders/fusion*. */
#ifndef MAGPIE_FUSION_H
#define MAGPIE_FUSION_H

#include "encoders.h"

enum { FUSION_DIMENSION_MAX = 16384 };

typedef enum fusion_kind { FUSION_NONE, FUSION_IDENTITY, FUSION_LINEAR, FUSION_RESIDUAL } fusion_kind;

const char *fusion_kind_name(fusion_kind kind); /* NULL for FUSION_NONE */

typedef struct fusion_head {
    fusion_kind kind;
    size_t input;
    float weight;
    char encoder[MAGPIE_FINGERPRINT_MAX]; /* empty: not known */
    float *matrix, *bias;                 /* [dimension, input], [dimension]; NULL: an identity */
    float *inner, *inner_bias;            /* [dimension, dimension], [dimension]; NULL where not residual */
} fusion_head;

typedef struct fusion_heads {
    size_t dimension;
    float temperature;
    fusion_head head[MAGPIE_MODALITIES];
    magpie_block block; /* holds the matrices */
} fusion_heads;

/* Room for the matrices that dimension, kinds and inputs ask for, zeroed. */
MAGPIE_CHECK_RESULT magpie_status fusion_heads_alloc(fusion_heads *heads);
void fusion_heads_free(fusion_heads *heads);

/* ---- the folder ---- */

/* *out is to be freed, whatever is returned. An error names the file, and the tensor or the head. */
MAGPIE_CHECK_RESULT magpie_status fusion_files_read(const char *directory, fusion_heads *out);
/* Makes the folder where there is none. Each file is the old one or the new one after a crash; config.json
 * holds the weights' fingerprint, so that two that do not belong together are an error and no result. With
 * `half` the tensors are f16, rounded to nearest; MAGPIE_E_INPUT for a number that is not finite or not
 * within f16. */
MAGPIE_CHECK_RESULT magpie_status fusion_files_write(const char *directory, const fusion_heads *heads,
                                                     bool half);

/* ---- arithmetic ---- */

/* Compiled once for each width of vector, as simd.h's kernels are. */
typedef struct fusion_kernels {
    const char *name;
    /* y [rows, out] = x [rows, in] w^T + b, w [out, in]. A row's numbers do not depend on the other rows. */
    void (*product)(const float *x, size_t rows, const float *w, const float *b, size_t in, size_t out,
                    float *y);
} fusion_kernels;

/* Of the levels that this CPU runs, number i, the widest first; NULL past them. */
const fusion_kernels *fusion_kernels_level(size_t i);

/* ---- on a GPU: fusion_device.c ---- */

typedef struct fusion_device fusion_device;

/* Fewer rows than this are the CPU's, which has them done in a millisecond; no GPU was measured. */
enum { FUSION_DEVICE_ROWS = 64 };

/* *out is NULL where `device` is the CPU, or all heads are identities. */
MAGPIE_CHECK_RESULT magpie_status fusion_device_open(const fusion_heads *heads, magpie_device device,
                                                     fusion_device **out);
void fusion_device_close(fusion_device *device);
/* As magpie_fusion_project, of a head that has a matrix. Thread-safe: one at a time. */
MAGPIE_CHECK_RESULT magpie_status fusion_device_project(fusion_device *device, magpie_modality modality,
                                                        const float *features, size_t n, float *out);

#endif
