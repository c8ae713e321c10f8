/* test_fused.h - what the tests of fused vectors share: small heads of a seed, and the formula. */
#ifndef TEST_FUSED_H
#define TEST_FUSED_H

#include "support.h"

#include <math.h>
#include <sys/stat.h>

#include "fusion.h"
#include "index.h"

enum { FUSED_D = 32 };

/* What an encoder of the modality fills. */
static const magpie_space space_of[MAGPIE_MODALITIES] = {MAGPIE_SPACE_TEXT, MAGPIE_SPACE_IMAGE,
                                                         MAGPIE_SPACE_AUDIO};

static inline void fill_flat(random_state *r, float *out, size_t n) {
    for (size_t i = 0; i < n; i++) out[i] = (float)(random_unit(r) - 0.5);
}

/* Linear heads over these sources, each of a weight of its own; written into a new folder below `base`. */
static inline magpie_fusion *make_fusion(const char *base, uint64_t seed,
                                         const magpie_modality_source sources[MAGPIE_MODALITIES]) {
    random_state r = {seed};
    fusion_heads heads = {.dimension = FUSED_D, .temperature = 0.05F};
    magpie_fusion *fusion;
    char name[32];
    for (magpie_modality m = 0; m < MAGPIE_MODALITIES; m++) {
        if (!sources[m].dimension) continue;
        heads.head[m] = (fusion_head){
            .kind = FUSION_LINEAR, .input = sources[m].dimension, .weight = 1 - 0.25F * (float)m};
        strcpy(heads.head[m].encoder, sources[m].fingerprint);
    }
    assert_ok(fusion_heads_alloc(&heads));
    for (magpie_modality m = 0; m < MAGPIE_MODALITIES; m++) {
        fusion_head *head = &heads.head[m];
        if (head->matrix) fill_flat(&r, head->matrix, FUSED_D * head->input);
        if (head->bias) fill_flat(&r, head->bias, FUSED_D);
    }
    snprintf(name, sizeof name, "heads %u", (unsigned)seed);
    char *folder = magpie_path_join(base, name);
    assert_ok(fusion_files_write(folder, &heads, false));
    assert_ok(magpie_fusion_open(folder, &fusion));
    fusion_heads_free(&heads);
    free(folder);
    return fusion;
}

/* The weighted sum of the projected vectors that the item at `row` has, as encoders.h has the formula;
 * false: there is none. */
static inline bool fused_by_formula(magpie_snapshot *snapshot, uint64_t row, const magpie_fusion *fusion,
                                    double *out) {
    const magpie_fusion_info *info = magpie_fusion_get_info(fusion);
    double square = 0;
    bool any = false;
    memset(out, 0, info->dimension * sizeof *out);
    float *z = malloc(info->dimension * sizeof *z);
    for (magpie_modality m = 0; m < MAGPIE_MODALITIES; m++) {
        const float *feature;
        assert_ok(magpie_snapshot_vector(snapshot, space_of[m], row, &feature));
        if (!feature || !info->kind[m] || info->weights[m] <= 0) continue;
        any = true;
        assert_ok(magpie_fusion_project(fusion, m, feature, 1, z));
        for (size_t i = 0; i < info->dimension; i++) out[i] += (double)info->weights[m] * (double)z[i];
    }
    for (size_t i = 0; i < info->dimension; i++) square += out[i] * out[i];
    for (size_t i = 0; i < info->dimension && any; i++) out[i] /= sqrt(square);
    free(z);
    return any;
}

typedef struct fused_check {
    magpie_snapshot *snapshot;
    const magpie_fusion *fusion;
    size_t fused, missing; /* items with a fused vector, and those that want one */
} fused_check;

static inline magpie_status check_fused_item(void *context, const magpie_item *item) {
    fused_check *c = context;
    size_t dimension = magpie_fusion_get_info(c->fusion)->dimension;
    double *expected = malloc(dimension * sizeof *expected);
    const float *stored;
    bool any = fused_by_formula(c->snapshot, item->row, c->fusion, expected);
    assert_ok(magpie_snapshot_vector(c->snapshot, MAGPIE_SPACE_FUSED, item->row, &stored));
    if (stored && !any)
        fail_msg("item \"%.*s\" has a fused vector of nothing", (int)item->id.size, item->id.data);
    c->fused += stored != NULL;
    c->missing += any && !stored;
    for (size_t i = 0; stored && i < dimension; i++)
        if (!(fabs(expected[i] - (double)stored[i]) < 1e-5))
            fail_msg("item \"%.*s\": its fused vector is not the formula's", (int)item->id.size,
                     item->id.data);
    free(expected);
    return MAGPIE_OK;
}

/* Every fused vector that is there is what this fusion makes of the item's others. */
static inline fused_check check_fused(magpie_store *store, const magpie_fusion *fusion) {
    fused_check c = {.fusion = fusion};
    magpie_space_binding binding;
    assert_ok(magpie_snapshot_open(store, &c.snapshot));
    assert_ok(magpie_snapshot_get_binding(c.snapshot, MAGPIE_SPACE_FUSED, &binding));
    assert_string_equal(binding.fingerprint, magpie_fusion_get_info(fusion)->fingerprint);
    assert_ok(magpie_snapshot_each(c.snapshot, 0, check_fused_item, &c));
    magpie_snapshot_close(c.snapshot);
    return c;
}

/* ... and none is missing. */
static inline void assert_fused(magpie_store *store, const magpie_fusion *fusion, size_t expected) {
    fused_check c = check_fused(store, fusion);
    assert_int_equal(c.missing, 0);
    assert_int_equal(c.fused, expected);
}

#endif
