/* test_gpu_spectrogram.c - frames by kernels/spectrogram.cl are those of the formula, over random
 * definitions, on every device of test_gpu.h. MAGPIE_KERNEL_CHECKS: how many (60; some seconds by PoCL). */
#include "test_gpu.h"

#include "device/ops_gpu.h"
#include "device/ops_gpu_spectrogram.h"

#include <math.h>

/* Of a frame's loudest bin: what f32 has of the others. Of a logarithm's value, besides. */
#define BIN_ERROR 1e-6
#define LOG_ERROR 2e-6

static size_t even(random_state *dice, size_t most) { return 2 * (2 + random_below(dice, most / 2 - 1)); }

/* Lengths from the smallest on, powers of two (some of them too long for local memory) and others; no
 * frame is longer than the formula has time for. */
static spectrogram_config any_definition(random_state *dice) {
    const bool power = random_below(dice, 2);
    spectrogram_config c = {.rate = 16000,
                            .n_fft = power ? (size_t)4 << random_below(dice, 12) : even(dice, 1200)};
    const size_t longest = c.n_fft < 600 ? c.n_fft : 600;
    c.window = random_below(dice, 3) ? 2 + random_below(dice, longest - 1) : longest;
    c.hop = 1 + random_below(dice, c.n_fft < 400 ? c.n_fft : 400);
    c.symmetric = random_below(dice, 2);
    c.magnitude = random_below(dice, 2);
    c.remove_dc = random_below(dice, 2);
    c.preemphasis = random_below(dice, 2) ? random_unit(dice) : 0;
    c.mels = random_below(dice, 3) ? 1 + random_below(dice, 130) : 0;
    c.f_min = random_below(dice, 2) ? 300 * random_unit(dice) : 0;
    c.f_max = 1000 + 7000 * random_unit(dice);
    c.scale = (mel_scale)random_below(dice, 3);
    c.area_norm = random_below(dice, 2);
    c.log = (spectrogram_log)random_below(dice, 4);
    c.log_scale = random_below(dice, 2) ? 1 : 1000 * random_unit(dice);
    c.log_offset = random_below(dice, 2) ? random_unit(dice) : 0;
    c.log_floor = random_below(dice, 2) ? 1e-10 : 1e-3;
    c.deviation = 1;
    c.frames = 10;
    return c;
}

/* The plan, and what belongs to it: the bins themselves, and bands without a logarithm. */
typedef struct plans {
    spectrogram_plan *asked, *bins, *linear;
} plans;

static plans make_plans(const spectrogram_config *config) {
    plans p;
    spectrogram_config bins = *config, linear = *config;
    bins.mels = 0;
    bins.log = linear.log = SPECTROGRAM_LINEAR;
    assert_ok(spectrogram_plan_create(config, &p.asked));
    assert_ok(spectrogram_plan_create(&bins, &p.bins));
    assert_ok(spectrogram_plan_create(&linear, &p.linear));
    return p;
}

static void free_plans(plans *p) {
    spectrogram_plan_free(p->asked);
    spectrogram_plan_free(p->bins);
    spectrogram_plan_free(p->linear);
}

/* How far band b, whose value is `linear`, may be off: its bins' errors, and what the logarithm makes of
 * them. */
static double allowed(const spectrogram_plan *plan, size_t b, double loudest, double linear, double wanted) {
    const spectrogram_config *c = &plan->config;
    double share = plan->filters ? 0 : 1;
    for (size_t i = 0; plan->filters && i < plan->filters[b].count; i++)
        share += (double)plan->filters[b].weights[i];
    const double error = BIN_ERROR * loudest * share + LOG_ERROR * fabs(linear);
    if (c->log == SPECTROGRAM_LINEAR) return error;
    const double inside = fmax(c->log_scale * linear + c->log_offset, c->log_floor);
    return fabs((double)plan->log_factor) * (c->log_scale * error / inside + LOG_ERROR) +
           LOG_ERROR * fabs(wanted);
}

static void check_frame(const plans *p, const float *samples, const float *got, size_t check) {
    const spectrogram_config *c = &p->asked->config;
    double *wanted = malloc(p->asked->bands * sizeof *wanted),
           *linear = malloc(p->asked->bands * sizeof *linear), *bins = malloc(p->bins->bands * sizeof *bins),
           loudest = 0;
    assert_true(wanted && linear && bins);
    assert_ok(spectrogram_reference(p->asked, samples, wanted));
    assert_ok(spectrogram_reference(p->linear, samples, linear));
    assert_ok(spectrogram_reference(p->bins, samples, bins));
    for (size_t k = 0; k < p->bins->bands; k++) loudest = fmax(loudest, bins[k]);
    for (size_t i = 0; i < c->window; i++) { /* of a few samples less their mean little may be left */
        const double sample = fabs((double)samples[i]);
        loudest = fmax(loudest, c->magnitude ? sample : sample * sample);
    }
    for (size_t b = 0; b < p->asked->bands; b++)
        if (!(fabs((double)got[b] - wanted[b]) <= allowed(p->asked, b, loudest, linear[b], wanted[b])))
            fail_msg(
                "check %zu: n_fft %zu, window %zu, %zu mels, logarithm %d: band %zu is %.9g instead of %.9g",
                check, c->n_fft, c->window, c->mels, (int)c->log, b, (double)got[b], wanted[b]);
    free(wanted);
    free(linear);
    free(bins);
}

enum { GUARD = 64 /* bytes */, POISON = 0xff };

static void poison(ops_lane *lane, gpu_buffer *buffer, size_t bytes) {
    assert_ok(ops_gpu_room(lane, buffer, bytes + GUARD));
    assert_ok(lane->device->driver->fill(lane->queue, *buffer, POISON));
}

/* Nothing was written behind the first `used` bytes. */
static void assert_guarded(ops_lane *lane, gpu_buffer buffer, size_t used, size_t check) {
    unsigned char *rest = malloc(buffer.bytes - used);
    assert_non_null(rest);
    assert_ok(lane->device->driver->read(lane->queue, buffer, used, rest, buffer.bytes - used));
    for (size_t i = 0; i < buffer.bytes - used; i++)
        if (rest[i] != POISON) fail_msg("check %zu: byte %zu behind the result was written", check, i);
    free(rest);
}

static void run_check(ops_lane *lane, random_state *dice, size_t check) {
    const spectrogram_config config = any_definition(dice);
    plans p = make_plans(&config);
    const size_t frames = random_below(dice, config.n_fft < 300 ? 20 : 3), bands = p.asked->bands,
                 count = frames ? (frames - 1) * config.hop + config.window : 0;
    float *samples = malloc((count + 1) * sizeof *samples), *out = malloc((frames * bands + 1) * sizeof *out);
    assert_true(samples && out);
    for (size_t i = 0; i < count; i++) samples[i] = (float)(2 * random_unit(dice) - 1);
    for (size_t i = 0; i < frames * bands; i++) out[i] = NAN;
    poison(lane, &lane->result, frames * bands * sizeof *out);
    poison(lane, &lane->spectrogram.bins, frames * p.asked->bins * sizeof(float));
    assert_ok(ops_gpu_spectrogram(lane, p.asked, samples, frames, out));
    for (size_t t = 0; t < frames; t++) check_frame(&p, samples + t * config.hop, out + t * bands, check);
    assert_guarded(lane, lane->result, frames * bands * sizeof *out, check);
    assert_guarded(lane, lane->spectrogram.bins, frames * p.asked->bins * sizeof(float), check);
    free(samples);
    free(out);
    free_plans(&p);
}

static void is_the_formula(void **state) {
    (void)state;
    const size_t devices = need_gpu(), checks = test_gpu_checks(60);
    for (size_t index = 0; index < devices; index++) {
        random_state dice = {29};
        ops_device *device;
        ops_lane *lane;
        magpie_device which = {tested_gpu(), index};
        const ops_table *ops;
        assert_ok(ops_open(&which, MAGPIE_PRECISION_BF16, &ops, &device));
        assert_ok(ops->lane_create(device, 1, &lane));
        for (size_t check = 0; check < checks; check++) run_check(lane, &dice, check);
        ops->lane_free(lane);
        ops->device_free(device);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(is_the_formula)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
