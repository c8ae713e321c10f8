/* fusion.c - every modality into one space, and out of it again: heads, sums, shares (encoders.h, "one
 * space").
 *
 * Sums over coordinates are double: a share is a part of a score whose terms may cancel, and 1e-5 is asked
 * of it. */
#include "fusion.h"
#include "model_files.h"
#include "simd.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

enum { ROWS = 16 /* of features that are projected at a time */ };

/* What is shorter has no direction that would mean anything. */
static const double shortest = 1e-6;

struct magpie_fusion {
    magpie_fusion_info info; /* points into what follows */
    char *name;
    fusion_heads heads;
    uint64_t trained; /* hash of all but the weights */
    const fusion_kernels *kernels;
    const simd_table *simd;
    fusion_device *device; /* NULL: none */
};

const char *magpie_modality_name(magpie_modality modality) {
    static const char *const names[] = {"text", "image", "audio"};
    return names[modality];
}

extern const fusion_kernels fusion_kernels_base;
#ifdef MAGPIE_SIMD_X86
extern const fusion_kernels fusion_kernels_v3, fusion_kernels_v4;
#endif

const fusion_kernels *fusion_kernels_level(size_t i) {
    const fusion_kernels *levels[3];
    size_t n = 0;
#ifdef MAGPIE_SIMD_X86
    if (simd_runs_v4()) levels[n++] = &fusion_kernels_v4;
    if (simd_runs_v3()) levels[n++] = &fusion_kernels_v3;
#endif
    levels[n++] = &fusion_kernels_base;
    return i < n ? levels[i] : NULL;
}

/* ---- heads ---- */

static void lay_out(fusion_heads *heads, magpie_block *block) {
    size_t d = heads->dimension;
    for (magpie_modality m = 0; m < MAGPIE_MODALITIES; m++) {
        fusion_head *head = &heads->head[m];
        if (head->kind < FUSION_LINEAR) continue;
        head->matrix = magpie_carve(block, d * head->input, sizeof *head->matrix);
        head->bias = magpie_carve(block, d, sizeof *head->bias);
        if (head->kind < FUSION_RESIDUAL) continue;
        head->inner = magpie_carve(block, d * d, sizeof *head->inner);
        head->inner_bias = magpie_carve(block, d, sizeof *head->inner_bias);
    }
}

magpie_status fusion_heads_alloc(fusion_heads *heads) {
    lay_out(heads, &heads->block);
    magpie_status status = magpie_block_alloc(&heads->block);
    if (status == MAGPIE_OK) lay_out(heads, &heads->block);
    return status;
}

void fusion_heads_free(fusion_heads *heads) { magpie_block_free(&heads->block); }

static uint64_t hash_heads(const fusion_heads *heads) {
    XXH3_state_t state;
    XXH3_64bits_reset(&state);
    XXH3_64bits_update(&state, &heads->dimension, sizeof heads->dimension);
    for (magpie_modality m = 0; m < MAGPIE_MODALITIES; m++) {
        const fusion_head *h = &heads->head[m];
        const uint64_t kind[] = {m, h->kind, h->input};
        size_t d = heads->dimension;
        XXH3_64bits_update(&state, kind, sizeof kind);
        XXH3_64bits_update(&state, h->encoder, sizeof h->encoder);
        if (h->matrix) XXH3_64bits_update(&state, h->matrix, d * h->input * sizeof *h->matrix);
        if (h->bias) XXH3_64bits_update(&state, h->bias, d * sizeof *h->bias);
        if (h->inner) XXH3_64bits_update(&state, h->inner, d * d * sizeof *h->inner);
        if (h->inner_bias) XXH3_64bits_update(&state, h->inner_bias, d * sizeof *h->inner_bias);
    }
    return XXH3_64bits_digest(&state);
}

/* The only head, where it is an identity, and so the fused vector is its source's whatever it weighs. */
static const fusion_head *only_identity(const fusion_heads *heads) {
    const fusion_head *only = NULL;
    for (magpie_modality m = 0; m < MAGPIE_MODALITIES; m++) {
        if (heads->head[m].kind == FUSION_NONE) continue;
        if (only || heads->head[m].kind != FUSION_IDENTITY) return NULL;
        only = &heads->head[m];
    }
    return only;
}

/* What follows from the weights. */
static void describe_weights(magpie_fusion *f) {
    const fusion_head *only = only_identity(&f->heads);
    for (magpie_modality m = 0; m < MAGPIE_MODALITIES; m++) f->info.weights[m] = f->heads.head[m].weight;
    if (only && *only->encoder) {
        memcpy(f->info.fingerprint, only->encoder, sizeof f->info.fingerprint);
        return;
    }
    snprintf(f->info.fingerprint, sizeof f->info.fingerprint, "%016llx",
             (unsigned long long)XXH3_64bits_withSeed(f->info.weights, sizeof f->info.weights, f->trained));
}

static void describe(magpie_fusion *f) {
    f->info.name = f->name;
    f->info.dimension = f->heads.dimension;
    f->info.temperature = f->heads.temperature;
    for (magpie_modality m = 0; m < MAGPIE_MODALITIES; m++) {
        const fusion_head *head = &f->heads.head[m];
        f->info.kind[m] = fusion_kind_name(head->kind);
        if (head->kind == FUSION_NONE) continue;
        f->info.source[m] = (magpie_modality_source){head->input, *head->encoder ? head->encoder : NULL};
    }
    f->kernels = fusion_kernels_level(0);
    f->simd = simd_kernels();
    f->trained = hash_heads(&f->heads);
    describe_weights(f);
}

magpie_status magpie_fusion_open(const char *directory, magpie_fusion **out) {
    magpie_fusion *f = magpie_alloc(1, sizeof *f);
    if (!f) return MAGPIE_E_NO_MEMORY;
    magpie_status status = fusion_files_read(directory, &f->heads);
    if (status == MAGPIE_OK) status = model_name(directory, &f->name);
    if (status != MAGPIE_OK) {
        magpie_fusion_close(f);
        return status;
    }
    describe(f);
    *out = f;
    return MAGPIE_OK;
}

static magpie_status take_sources(const magpie_modality_source *sources, fusion_heads *heads) {
    for (magpie_modality m = 0; m < MAGPIE_MODALITIES; m++) {
        size_t dimension = sources[m].dimension;
        const char *fingerprint = sources[m].fingerprint ? sources[m].fingerprint : "";
        if (!dimension) continue;
        if (heads->dimension && heads->dimension != dimension)
            return magpie_fail(
                MAGPIE_E_MISMATCH,
                "vectors of %zu and of %zu numbers cannot be compared: without a fusion model all "
                "modalities are one model's",
                heads->dimension, dimension);
        if (dimension > FUSION_DIMENSION_MAX || strlen(fingerprint) >= MAGPIE_FINGERPRINT_MAX)
            return magpie_fail(MAGPIE_E_ARGUMENT, "a source of %zu dimensions, \"%.60s\"", dimension,
                               fingerprint);
        heads->dimension = dimension;
        heads->head[m] = (fusion_head){.kind = FUSION_IDENTITY, .input = dimension, .weight = 1};
        strcpy(heads->head[m].encoder, fingerprint);
    }
    return heads->dimension ? MAGPIE_OK : magpie_fail(MAGPIE_E_ARGUMENT, "a fusion of nothing");
}

magpie_status magpie_fusion_create_identity(const magpie_modality_source sources[MAGPIE_MODALITIES],
                                            magpie_fusion **out) {
    magpie_fusion *f = magpie_alloc(1, sizeof *f);
    if (!f) return MAGPIE_E_NO_MEMORY;
    f->heads.temperature = 1;
    magpie_status status = take_sources(sources, &f->heads);
    if (status == MAGPIE_OK && !(f->name = strdup("identity")))
        status = magpie_fail(MAGPIE_E_NO_MEMORY, "out of memory");
    if (status != MAGPIE_OK) {
        magpie_fusion_close(f);
        return status;
    }
    describe(f);
    *out = f;
    return MAGPIE_OK;
}

void magpie_fusion_close(magpie_fusion *fusion) {
    if (!fusion) return;
    fusion_device_close(fusion->device);
    fusion_heads_free(&fusion->heads);
    free(fusion->name);
    free(fusion);
}

const magpie_fusion_info *magpie_fusion_get_info(const magpie_fusion *fusion) { return &fusion->info; }

magpie_status magpie_fusion_set_weights(magpie_fusion *fusion, const float weights[MAGPIE_MODALITIES]) {
    bool counts = false;
    for (magpie_modality m = 0; m < MAGPIE_MODALITIES; m++) {
        bool has_head = fusion->heads.head[m].kind != FUSION_NONE;
        if (!(isfinite(weights[m]) && weights[m] >= 0))
            return magpie_fail(MAGPIE_E_ARGUMENT, "the weight of %s should be a number, 0 or more, not %g",
                               magpie_modality_name(m), (double)weights[m]);
        counts = counts || (has_head && weights[m] > 0);
    }
    if (!counts)
        return magpie_fail(MAGPIE_E_ARGUMENT,
                           "%s: one weight at least should be above 0 where there is a head", fusion->name);
    for (magpie_modality m = 0; m < MAGPIE_MODALITIES; m++)
        fusion->heads.head[m].weight = fusion->heads.head[m].kind != FUSION_NONE ? weights[m] : 0;
    describe_weights(fusion);
    return MAGPIE_OK;
}

magpie_status magpie_fusion_use_device(magpie_fusion *fusion, magpie_device device) {
    fusion_device_close(fusion->device);
    fusion->device = NULL;
    return fusion_device_open(&fusion->heads, device, &fusion->device);
}

static magpie_status check_head(const magpie_fusion *fusion, magpie_modality modality) {
    if (fusion->heads.head[modality].kind != FUSION_NONE) return MAGPIE_OK;
    return magpie_fail(MAGPIE_E_MISMATCH, "%s: the fusion model has no head for %s", fusion->name,
                       magpie_modality_name(modality));
}

magpie_status magpie_fusion_check(const magpie_fusion *fusion, magpie_modality modality,
                                  const magpie_modality_source *source) {
    const magpie_modality_source *wanted = &fusion->info.source[modality];
    magpie_status status = check_head(fusion, modality);
    if (status != MAGPIE_OK) return status;
    if (source->dimension != wanted->dimension)
        return magpie_fail(MAGPIE_E_MISMATCH,
                           "%s: its head for %s takes %zu numbers, and the model gives %zu", fusion->name,
                           magpie_modality_name(modality), wanted->dimension, source->dimension);
    if (!wanted->fingerprint || !source->fingerprint || strcmp(wanted->fingerprint, source->fingerprint) == 0)
        return MAGPIE_OK;
    return magpie_fail(MAGPIE_E_MISMATCH,
                       "%s: its head for %s was trained on the model %s, and this one is %s", fusion->name,
                       magpie_modality_name(modality), wanted->fingerprint, source->fingerprint);
}

/* ---- into the space ---- */

/* x [n, input] and inner [n, dimension] are scratch; n is at most ROWS. */
static void project(const magpie_fusion *f, const fusion_head *head, const float *features, size_t n,
                    float *x, float *inner, float *out) {
    size_t d = f->heads.dimension;
    float scale = sqrtf((float)head->input);
    for (size_t i = 0; i < n * head->input; i++) x[i] = scale * features[i];
    f->kernels->product(x, n, head->matrix, head->bias, head->input, d, out);
    if (head->kind == FUSION_RESIDUAL) {
        float *p = inner + n * d;
        memcpy(p, out, n * d * sizeof *out);
        for (size_t i = 0; i < n; i++) f->simd->gelu(p + i * d, d, false);
        f->kernels->product(p, n, head->inner, head->inner_bias, d, d, inner);
        for (size_t i = 0; i < n * d; i++) out[i] += inner[i];
    }
    for (size_t i = 0; i < n; i++) f->simd->unit(out + i * d, d);
}

magpie_status magpie_fusion_project(const magpie_fusion *fusion, magpie_modality modality,
                                    const float *features, size_t n, float *out) {
    const fusion_head *head = &fusion->heads.head[modality];
    size_t d = fusion->heads.dimension, step = n < ROWS ? n : ROWS;
    magpie_status status = check_head(fusion, modality);
    if (status != MAGPIE_OK) return status;
    if (head->kind == FUSION_IDENTITY) {
        memcpy(out, features, n * d * sizeof *out);
        return MAGPIE_OK;
    }
    if (fusion->device && n >= FUSION_DEVICE_ROWS)
        return fusion_device_project(fusion->device, modality, features, n, out);
    float *scratch = magpie_alloc(step * (head->input + 2 * d), sizeof *scratch);
    if (!scratch) return MAGPIE_E_NO_MEMORY;
    for (size_t i = 0; i < n; i += step) {
        size_t rows = n - i < step ? n - i : step;
        project(fusion, head, features + i * head->input, rows, scratch, scratch + step * head->input,
                out + i * d);
    }
    free(scratch);
    return MAGPIE_OK;
}

/* Whether a modality of an item counts. */
static bool counts(const magpie_fusion *f, const float *const *features, magpie_modality m) {
    return features[m] && f->heads.head[m].weight > 0;
}

static double product_of(const float *a, const float *b, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)a[i] * (double)b[i];
    return sum;
}

/* out [d] = the sum of what is there, weighted, and *length its length. Weights are taken relative to the
 * largest, so that none is too small or too large to be counted with. */
static void add_up(const magpie_fusion_part *parts, size_t n, size_t d, double *out, double *length) {
    double largest = 0, squares = 0;
    for (size_t i = 0; i < n; i++) largest = fmax(largest, fabs((double)parts[i].weight));
    memset(out, 0, d * sizeof *out);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < d; j++)
            out[j] += (double)parts[i].weight / largest * (double)parts[i].vector[j];
    for (size_t j = 0; j < d; j++) squares += out[j] * out[j];
    *length = sqrt(squares);
}

/* The unit sum; a single part of positive weight is itself. *any is false, and out zeros, where there is
 * none. */
static magpie_status unit_sum(const magpie_fusion_part *parts, size_t n, size_t d, float *out, bool *any) {
    double length;
    *any = n > 0;
    if (n == 1 && parts->weight > 0) {
        memcpy(out, parts->vector, d * sizeof *out);
        return MAGPIE_OK;
    }
    double *sum = magpie_alloc(d, sizeof *sum);
    if (!sum) return MAGPIE_E_NO_MEMORY;
    add_up(parts, n, d, sum, &length);
    *any = length > shortest;
    for (size_t j = 0; j < d; j++) out[j] = *any ? (float)(sum[j] / length) : 0;
    free(sum);
    return MAGPIE_OK;
}

/* The vectors of an item's modalities, one behind the other in `z`, as parts; of which modality each is. */
static magpie_status project_item(const magpie_fusion *f, const float *const *features, float *z,
                                  magpie_fusion_part parts[MAGPIE_MODALITIES],
                                  magpie_modality of[MAGPIE_MODALITIES], size_t *n) {
    *n = 0;
    for (magpie_modality m = 0; m < MAGPIE_MODALITIES; m++) {
        if (!counts(f, features, m)) continue;
        magpie_status status = magpie_fusion_project(f, m, features[m], 1, z);
        if (status != MAGPIE_OK) return status;
        of[*n] = m;
        parts[(*n)++] = (magpie_fusion_part){z, f->heads.head[m].weight};
        z += f->heads.dimension;
    }
    return MAGPIE_OK;
}

magpie_status magpie_fusion_fuse(const magpie_fusion *fusion, const float *const features[MAGPIE_MODALITIES],
                                 float *out, bool *any) {
    return magpie_fusion_fuse_many(fusion, features, 1, out, any);
}

/* A modality of items: those where it counts, projected side by side to z [up to n, dimension]. x [n, input] is
 * scratch. */
static magpie_status project_modality(const magpie_fusion *f, magpie_modality m, const float *const *features,
                                      size_t n, float *x, float *z) {
    size_t there = 0, input = f->heads.head[m].input;
    for (size_t i = 0; i < n; i++) {
        const float *const *item = features + i * MAGPIE_MODALITIES;
        if (counts(f, item, m)) memcpy(x + there++ * input, item[m], input * sizeof *x);
    }
    return there ? magpie_fusion_project(f, m, x, there, z) : MAGPIE_OK;
}

/* z: the next vector of each modality. */
static magpie_status sum_items(const magpie_fusion *f, const float *const *features, size_t n,
                               const float *z[MAGPIE_MODALITIES], float *out, bool *any) {
    magpie_status status = MAGPIE_OK;
    for (size_t i = 0; i < n && status == MAGPIE_OK; i++) {
        magpie_fusion_part parts[MAGPIE_MODALITIES];
        size_t count = 0, d = f->heads.dimension;
        for (magpie_modality m = 0; m < MAGPIE_MODALITIES; m++) {
            if (!counts(f, features + i * MAGPIE_MODALITIES, m)) continue;
            parts[count++] = (magpie_fusion_part){z[m], f->heads.head[m].weight};
            z[m] += d;
        }
        status = unit_sum(parts, count, d, out + i * d, &any[i]);
    }
    return status;
}

magpie_status magpie_fusion_fuse_many(const magpie_fusion *fusion, const float *const *features, size_t n,
                                      float *out, bool *any) {
    const float *z[MAGPIE_MODALITIES];
    size_t d = fusion->heads.dimension, widest = 0;
    for (magpie_modality m = 0; m < MAGPIE_MODALITIES; m++)
        if (fusion->heads.head[m].input > widest) widest = fusion->heads.head[m].input;
    float *x = magpie_alloc(n, (widest + MAGPIE_MODALITIES * d) * sizeof *x);
    if (!x) return MAGPIE_E_NO_MEMORY;
    magpie_status status = MAGPIE_OK;
    for (magpie_modality m = 0; m < MAGPIE_MODALITIES && status == MAGPIE_OK; m++) {
        float *projected = x + n * (widest + m * d);
        status = project_modality(fusion, m, features, n, x, projected);
        z[m] = projected;
    }
    if (status == MAGPIE_OK) status = sum_items(fusion, features, n, z, out, any);
    free(x);
    return status;
}

/* ---- queries ---- */

static magpie_status check_parts(const magpie_fusion_part *parts, size_t n) {
    if (!n) return magpie_fail(MAGPIE_E_ARGUMENT, "a query of no parts");
    for (size_t i = 0; i < n; i++)
        if (!isfinite(parts[i].weight) || parts[i].weight == 0)
            return magpie_fail(MAGPIE_E_ARGUMENT,
                               "the weight of a query's part should be a number other than 0, not %g",
                               (double)parts[i].weight);
    return MAGPIE_OK;
}

magpie_status magpie_fusion_mix(const magpie_fusion *fusion, const magpie_fusion_part *parts, size_t n,
                                float *out) {
    bool any;
    magpie_status status = check_parts(parts, n);
    if (status == MAGPIE_OK) status = unit_sum(parts, n, fusion->heads.dimension, out, &any);
    if (status == MAGPIE_OK && !any)
        status = magpie_fail(MAGPIE_E_INPUT, "the parts of the query cancel out");
    return status;
}

/* The lengths of the sums of the query's and of the item's parts, in `sum`'s room: what shares are divided
 * by. */
static double scale_of(const magpie_fusion_part *parts, size_t n, size_t d, double *sum) {
    double length, largest = 0;
    for (size_t i = 0; i < n; i++) largest = fmax(largest, fabs((double)parts[i].weight));
    add_up(parts, n, d, sum, &length);
    return length > shortest ? 1 / (length * largest) : 0;
}

magpie_status magpie_fusion_explain(const magpie_fusion *fusion, const magpie_fusion_part *parts, size_t n,
                                    const float *const features[MAGPIE_MODALITIES], float *shares,
                                    float *score) {
    magpie_fusion_part item[MAGPIE_MODALITIES];
    magpie_modality of[MAGPIE_MODALITIES];
    size_t d = fusion->heads.dimension, count;
    magpie_status status = check_parts(parts, n);
    if (status != MAGPIE_OK) return status;
    double *sum = magpie_alloc(d, sizeof *sum + MAGPIE_MODALITIES * sizeof(float)), total = 0;
    if (!sum) return MAGPIE_E_NO_MEMORY;
    float *z = (float *)(sum + d);
    status = project_item(fusion, features, z, item, of, &count);
    if (status == MAGPIE_OK) {
        double scale = scale_of(parts, n, d, sum) * (count ? scale_of(item, count, d, sum) : 0);
        memset(shares, 0, n * MAGPIE_MODALITIES * sizeof *shares);
        for (size_t i = 0; i < n; i++)
            for (size_t k = 0; k < count; k++) {
                double share = scale * (double)parts[i].weight * (double)item[k].weight *
                               product_of(parts[i].vector, item[k].vector, d);
                shares[i * MAGPIE_MODALITIES + of[k]] = (float)share;
                total += share;
            }
        *score = (float)total;
    }
    free(sum);
    return status;
}
