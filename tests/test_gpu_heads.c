/* test_gpu_heads.c - heads on a GPU are the CPU's: random heads, inputs, dimensions and weights, and items that have
 * some of the modalities. Results are poisoned before. MAGPIE_KERNEL_CHECKS: how many (30; some seconds by PoCL). */
#include "test_fusion.h"
#include "test_gpu.h"

enum { INPUT_MOST = 150, DIMENSION_LEAST = 8, DIMENSION_MOST = 150, GUARD = 16 };

static float *floats(size_t n) {
    float *x = malloc((n + GUARD) * sizeof *x);
    assert_non_null(x);
    memset(x, 0xff, (n + GUARD) * sizeof *x);
    return x;
}

/* The CPU's tolerance in test_fusion.c, and nothing behind the last. */
static void assert_near(const float *got, const float *want, size_t n, size_t check) {
    for (size_t i = 0; i < n; i++)
        if (!(fabs((double)got[i] - (double)want[i]) < 2e-6))
            fail_msg("check %zu, number %zu of %zu: %.9g instead of %.9g", check, i, n, (double)got[i],
                     (double)want[i]);
    for (size_t i = n; i < n + GUARD; i++) assert_true(isnan(got[i]));
}

/* About where the device begins, about one of its passes, or any. */
static size_t any_rows(random_state *r) {
    static const size_t edges[] = {0, 1, 63, 64, 65, 127, 1023, 1024, 1025};
    return random_below(r, 2) ? edges[random_below(r, sizeof edges / sizeof *edges)] : random_below(r, 400);
}

static void random_kinds(random_state *r, fusion_heads *heads) {
    static const fusion_kind kinds[] = {FUSION_IDENTITY, FUSION_LINEAR, FUSION_RESIDUAL, FUSION_RESIDUAL};
    *heads = (fusion_heads){.dimension = DIMENSION_LEAST + random_below(r, DIMENSION_MOST - DIMENSION_LEAST),
                            .temperature = 1};
    for (magpie_modality m = 0; m < MAGPIE_MODALITIES; m++) {
        const fusion_kind kind = kinds[random_below(r, sizeof kinds / sizeof *kinds)];
        heads->head[m] = (fusion_head){
            .kind = kind,
            .input = kind == FUSION_IDENTITY ? heads->dimension : 1 + random_below(r, INPUT_MOST),
            .weight = m > 0 && random_below(r, 4) == 0 ? 0 : (float)(0.1 + random_unit(r))};
    }
    random_heads(r, heads);
}

/* One modality. */
static void check_project(random_state *r, const magpie_fusion *cpu, const magpie_fusion *gpu,
                          magpie_modality m, size_t check) {
    const magpie_fusion_info *info = magpie_fusion_get_info(cpu);
    const size_t n = any_rows(r), input = info->source[m].dimension, all = n * info->dimension;
    float *x = floats(n * input), *want = floats(all), *got = floats(all);
    random_rows(r, x, n, input);
    assert_ok(magpie_fusion_project(cpu, m, x, n, want));
    assert_ok(magpie_fusion_project(gpu, m, x, n, got));
    assert_near(got, want, all, check);
    free(x), free(want), free(got);
}

/* Items: many at once on the CPU are what they are one by one, to the bit, and on the GPU nearly. */
static void check_fuse(random_state *r, const magpie_fusion *cpu, const magpie_fusion *gpu, size_t check) {
    const magpie_fusion_info *info = magpie_fusion_get_info(cpu);
    const size_t n = any_rows(r), d = info->dimension;
    float *x[MAGPIE_MODALITIES], *one = floats(n * d), *want = floats(n * d), *got = floats(n * d);
    const float **features = calloc(n * MAGPIE_MODALITIES + 1, sizeof *features);
    bool *any = calloc(3 * n + 1, sizeof *any);
    assert_true(features && any);
    for (magpie_modality m = 0; m < MAGPIE_MODALITIES; m++) {
        const size_t input = info->source[m].dimension;
        x[m] = floats(n * input);
        random_rows(r, x[m], n, input);
        for (size_t i = 0; i < n; i++)
            if (random_below(r, 3)) features[i * MAGPIE_MODALITIES + m] = x[m] + i * input;
    }
    for (size_t i = 0; i < n; i++)
        assert_ok(magpie_fusion_fuse(cpu, features + i * MAGPIE_MODALITIES, one + i * d, any + i));
    assert_ok(magpie_fusion_fuse_many(cpu, features, n, want, any + n));
    assert_ok(magpie_fusion_fuse_many(gpu, features, n, got, any + 2 * n));
    assert_memory_equal(one, want, (n * d + GUARD) * sizeof *one);
    assert_memory_equal(any, any + n, n * sizeof *any);
    assert_memory_equal(any, any + 2 * n, n * sizeof *any);
    assert_near(got, want, n * d, check);
    for (int m = 0; m < MAGPIE_MODALITIES; m++) free(x[m]);
    free(one), free(want), free(got);
    free(features), free(any);
}

static void heads_are_the_cpus(void **state) {
    (void)state;
    char folder[] = "/tmp/magpie-heads-XXXXXX";
    const magpie_device device = test_gpu_device();
    assert_non_null(mkdtemp(folder));
    random_state r = {29};
    for (size_t check = 0; check < test_gpu_checks(30); check++) {
        fusion_heads heads;
        magpie_fusion *cpu, *gpu;
        random_kinds(&r, &heads);
        assert_ok(fusion_files_write(folder, &heads, false));
        assert_ok(magpie_fusion_open(folder, &cpu));
        assert_ok(magpie_fusion_open(folder, &gpu));
        assert_ok(magpie_fusion_use_device(gpu, device));
        for (magpie_modality m = 0; m < MAGPIE_MODALITIES; m++) check_project(&r, cpu, gpu, m, check);
        check_fuse(&r, cpu, gpu, check);
        magpie_fusion_close(cpu);
        magpie_fusion_close(gpu);
        fusion_heads_free(&heads);
    }
    remove_fusion(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(heads_are_the_cpus)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
