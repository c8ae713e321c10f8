/* test_spectrogram.c - spectrograms against torchaudio's, librosa's and transformers' values, the kernels
 * of every level against the formula, and a sound in pieces against the sound as one. */
#include "support.h"

#include "seeded_sounds.h"
#include "spectrogram_kernels.h"

#include <math.h>
#include <stdio.h>

/* Of the logarithms; what the frameworks' own f32 are apart. */
#define TOLERANCE 1e-4

static const spectrogram_config torchaudio = {.rate = 16000,
                                              .n_fft = 512,
                                              .window = 400,
                                              .hop = 160,
                                              .center = true,
                                              .reflect = true,
                                              .mels = 64,
                                              .f_max = 8000,
                                              .log = SPECTROGRAM_LN,
                                              .log_scale = 1,
                                              .log_floor = 1e-10,
                                              .frames = 10,
                                              .repeat = true};

static spectrogram_plan *plan_of(const spectrogram_config *config) {
    spectrogram_plan *plan;
    assert_ok(spectrogram_plan_create(config, &plan));
    return plan;
}

/* All frames of a sound that is pushed in pieces of `piece` samples, to be freed. */
static float *frames_of(const spectrogram_plan *plan, const float *samples, size_t n, size_t piece,
                        size_t *count) {
    spectrogram *s;
    size_t ready;
    assert_ok(spectrogram_create(plan, &s));
    for (size_t i = 0; i < n; i += piece)
        assert_ok(spectrogram_push(s, samples + i, n - i < piece ? n - i : piece));
    assert_ok(spectrogram_finish(s));
    const float *frames = spectrogram_ready(s, &ready);
    float *copy = malloc((ready + 1) * plan->bands * sizeof *copy);
    assert_non_null(copy);
    memcpy(copy, frames, ready * plan->bands * sizeof *copy);
    spectrogram_free(s);
    *count = ready;
    return copy;
}

static float *noise(size_t n, uint64_t seed) {
    random_state random = {seed};
    float *samples = malloc((n + 1) * sizeof *samples);
    assert_non_null(samples);
    for (size_t i = 0; i < n; i++) samples[i] = (float)(2 * random_unit(&random) - 1);
    return samples;
}

/* What a preprocessor_config.json of this text says. */
static magpie_status read_text(const char *text, spectrogram_config *out) {
    char folder[] = "/tmp/magpie-spectrogram-XXXXXX";
    assert_non_null(mkdtemp(folder));
    char *path = magpie_path_join(folder, "preprocessor_config.json");
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    magpie_status status = spectrogram_config_read(folder, out);
    unlink(path);
    rmdir(folder);
    free(path);
    return status;
}

/* ---- ../shared/golden ---- */

enum { WAVES = 3, SAMPLES = 48000, FRAMES = 301, MELS = 64 };

/* The frameworks compute in f32 and are a millionth of a frame's loudest band off; of a band that is as
 * quiet, the logarithm is noise. (Of a chirp, NumPy's f64 is 0.13 from torchaudio in bands of 1e-14.) So
 * much is left to them, and no more. */
static double allowed(double golden, double loudest) { return TOLERANCE + 1e-6 * loudest / golden; }

static void check_shared(const char *name, const spectrogram_config *config, const int16_t *wave) {
    char *path = shared_golden(name);
    assert_non_null(path);
    float *wanted = read_npy(path, (size_t)WAVES * MELS * FRAMES), samples[SAMPLES];
    spectrogram_plan *plan = plan_of(config);
    double worst = 0;
    size_t literally = 0;
    for (size_t w = 0; w < WAVES; w++) {
        size_t count;
        for (size_t i = 0; i < SAMPLES; i++) samples[i] = (float)wave[w * SAMPLES + i] / 32768;
        float *frames = frames_of(plan, samples, SAMPLES, 1000, &count);
        assert_int_equal(count, FRAMES);
        for (size_t t = 0; t < FRAMES; t++) {
            double golden[MELS], loudest = 0;
            for (size_t b = 0; b < MELS; b++) {
                golden[b] = fmax((double)wanted[(w * MELS + b) * FRAMES + t], config->log_floor);
                loudest = fmax(loudest, golden[b]);
            }
            for (size_t b = 0; b < MELS; b++) {
                double difference = fabs((double)frames[t * MELS + b] - log(golden[b]));
                worst = fmax(worst, difference / allowed(golden[b], loudest));
                literally += difference <= TOLERANCE;
            }
        }
        free(frames);
    }
    print_message("%s: at most %.2f of what is allowed; %.1f%% within %g whatever the band\n", name, worst,
                  100.0 * (double)literally / (WAVES * FRAMES * MELS), TOLERANCE);
    assert_true(worst <= 1);
    spectrogram_plan_free(plan);
    free(wanted);
    free(path);
}

static void shared_definitions(void **state) {
    (void)state;
    char *path = shared_golden("mel.wave_i16.npy"), *bytes;
    size_t size;
    if (!path) {
        skip_loudly("no ../shared/golden beside the repository");
        return;
    }
    assert_ok(magpie_file_read(path, 1 << 20, &bytes, &size));
    int16_t *wave = malloc((size_t)WAVES * SAMPLES * sizeof *wave);
    assert_non_null(wave);
    assert_true(size > WAVES * SAMPLES * sizeof *wave);
    memcpy(wave, bytes + size - WAVES * SAMPLES * sizeof *wave, WAVES * SAMPLES * sizeof *wave);
    spectrogram_config whisper = torchaudio, librosa = torchaudio;
    whisper.n_fft = 400;
    librosa.reflect = false;
    librosa.scale = MEL_SLANEY;
    librosa.area_norm = true;
    check_shared("mel.htk_fft512.npy", &torchaudio, wave);
    check_shared("mel.htk_fft400.npy", &whisper, wave);
    check_shared("mel.slaney_fft512.npy", &librosa, wave);
    free(wave);
    free(bytes);
    free(path);
}

/* ---- spectrograms.json: what libraries make, in f64, of every definition ---- */

static spectrogram_config config_of(const json_t *content) {
    spectrogram_config config;
    char *text = json_dumps(content, 0);
    assert_non_null(text);
    assert_ok(read_text(text, &config));
    free(text);
    return config;
}

static void check_case(const json_t *c) {
    const char *name = json_string_value(json_object_get(c, "name"));
    const char *sound = json_string_value(json_object_get(c, "sound"));
    size_t samples = (size_t)json_integer_value(json_object_get(c, "samples")), count, kept = 0;
    size_t every = (size_t)json_integer_value(json_object_get(c, "every"));
    const spectrogram_config config = config_of(json_object_get(c, "config"));
    const json_t *values = json_object_get(c, "values");
    spectrogram_plan *plan = plan_of(&config);
    float *wave = seeded_sound_samples(sound, samples), *frames = frames_of(plan, wave, samples, 999, &count);
    float *window = calloc(config.frames * plan->bands, sizeof *window);
    assert_non_null(window);
    assert_int_equal(count, json_integer_value(json_object_get(c, "frames")));
    assert_int_equal(plan->bands, json_integer_value(json_object_get(c, "bands")));
    spectrogram_window(plan, frames, count, window);
    double worst = 0;
    for (size_t t = 0; t < count; t += every, kept++)
        for (size_t b = 0; b < plan->bands; b++) {
            double golden = json_number_value(json_array_get(json_array_get(values, kept), b));
            worst = fmax(worst, fabs((double)window[t * plan->bands + b] - golden) / fmax(1, fabs(golden)));
        }
    assert_int_equal(kept, json_array_size(values));
    print_message("%s of %zu samples of %s: at most %.1e apart\n", name, samples, sound, worst);
    /* A single bin may all but vanish; nobody's f32 has its logarithm then, and "noise" is how far off the
     * library's is. */
    assert_true(worst <= fmax(TOLERANCE, json_number_value(json_object_get(c, "noise"))));
    free(window);
    free(frames);
    free(wave);
    spectrogram_plan_free(plan);
}

static void libraries_values(void **state) {
    (void)state;
    json_t *golden = json_load_file(MAGPIE_SOURCE_DIR "/tests/golden/spectrograms.json", 0, NULL), *c;
    size_t i;
    assert_non_null(golden);
    assert_true(json_array_size(json_object_get(golden, "cases")) > 0);
    json_array_foreach(json_object_get(golden, "cases"), i, c) check_case(c);
    json_decref(golden);
}

/* ---- kernels and formula ---- */

/* Every kind of definition, of odd sizes too. */
static size_t definitions(spectrogram_config out[]) {
    size_t n = 0;
    out[n++] = torchaudio;
    spectrogram_config c = torchaudio;
    c.n_fft = c.window = 400, c.mels = 80, c.scale = MEL_SLANEY, c.area_norm = true,
    c.log = SPECTROGRAM_LOG10;
    out[n++] = c;
    c = torchaudio;
    c.center = false, c.symmetric = true, c.remove_dc = true, c.preemphasis = 0.97, c.mels = 128;
    c.scale = MEL_KALDI, c.f_min = 20, c.log_floor = 1.1920929e-7;
    out[n++] = c;
    c = torchaudio;
    c.mels = 0, c.hop = 353, c.window = 512, c.log_floor = 0, c.log_offset = 1e-7;
    out[n++] = c;
    c = torchaudio;
    c.magnitude = true, c.log = SPECTROGRAM_DB, c.n_fft = 1000, c.window = 777, c.hop = 1001;
    out[n++] = c;
    c = torchaudio;
    c.n_fft = 6, c.window = 3, c.hop = 2, c.mels = 0, c.log = SPECTROGRAM_LINEAR;
    out[n++] = c;
    c = torchaudio;
    c.n_fft = 254, c.window = 250, c.hop = 1, c.mels = 33, c.log_scale = 10000, c.log_offset = 1;
    c.log = SPECTROGRAM_LOG10, c.f_min = 100, c.f_max = 3000, c.reflect = false;
    out[n++] = c;
    return n;
}

static void kernels_follow_the_formula(void **state) {
    (void)state;
    spectrogram_config configs[16];
    size_t n = definitions(configs);
    for (size_t i = 0; i < n; i++) {
        spectrogram_plan *plan = plan_of(&configs[i]);
        const spectrogram_config *c = &plan->config;
        enum { MOST = 16 };
        float *samples = noise(c->window + MOST * c->hop, i);
        double *wanted = malloc(plan->bands * sizeof *wanted);
        float *out = malloc(MOST * plan->bands * sizeof *out);
        assert_non_null(wanted);
        assert_non_null(out);
        for (size_t level = 0; spectrogram_kernels_level(level); level++) {
            plan->kernels = spectrogram_kernels_level(level);
            void *kernel_state = magpie_alloc(plan->kernels->size(plan), 1);
            assert_non_null(kernel_state);
            plan->kernels->begin(plan, kernel_state);
            double worst = 0;
            for (size_t frames = 1; frames <= plan->kernels->lanes; frames++) {
                for (size_t k = 0; k < MOST * plan->bands; k++) out[k] = NAN;
                plan->kernels->run(plan, kernel_state, samples, frames, out);
                for (size_t t = 0; t < frames; t++) {
                    double largest = 1;
                    assert_ok(spectrogram_reference(plan, samples + t * c->hop, wanted));
                    for (size_t b = 0; b < plan->bands; b++) largest = fmax(largest, fabs(wanted[b]));
                    for (size_t b = 0; b < plan->bands; b++) {
                        double difference = fabs((double)out[t * plan->bands + b] - wanted[b]);
                        worst = fmax(worst, isfinite(difference) ? difference / largest : INFINITY);
                    }
                }
                for (size_t k = frames * plan->bands; k < MOST * plan->bands; k++) assert_true(isnan(out[k]));
            }
            print_message("definition %zu, %s: %.2g\n", i, plan->kernels->name, worst);
            assert_true(worst < 3e-5);
            free(kernel_state);
        }
        free(out);
        free(wanted);
        free(samples);
        spectrogram_plan_free(plan);
    }
}

/* ---- pieces and ends ---- */

static void pieces_change_nothing(void **state) {
    (void)state;
    static const size_t pieces[] = {1, 7, 160, 511, 4096, 100000},
                        lengths[] = {1, 2, 99, 256, 257, 400, 5001};
    spectrogram_config configs[16];
    size_t n = definitions(configs);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < sizeof lengths / sizeof *lengths; k++) {
            spectrogram_plan *plan = plan_of(&configs[i]);
            size_t count, other;
            float *samples = noise(lengths[k], k),
                  *whole = frames_of(plan, samples, lengths[k], 1 << 20, &count);
            const spectrogram_config *c = &plan->config;
            if (c->center)
                assert_int_equal(count, 1 + lengths[k] / c->hop);
            else
                assert_int_equal(count, lengths[k] < c->window ? 1 : 1 + (lengths[k] - c->window) / c->hop);
            for (size_t p = 0; p < sizeof pieces / sizeof *pieces; p++) {
                float *frames = frames_of(plan, samples, lengths[k], pieces[p], &other);
                assert_int_equal(other, count);
                assert_memory_equal(frames, whole, count * plan->bands * sizeof *frames);
                free(frames);
            }
            free(whole);
            free(samples);
            spectrogram_plan_free(plan);
        }
}

/* A sound that was longer by what is made up at its ends, and has it in full, has the same frames in its
 * middle. */
static void ends_are_made_up(void **state) {
    (void)state;
    enum { N = 3000 };
    for (int reflect = 0; reflect < 2; reflect++) {
        spectrogram_config config = torchaudio, bare = torchaudio;
        config.reflect = reflect;
        size_t pad = config.n_fft / 2, inset = (config.n_fft - config.window) / 2, count, other;
        bare.center = false;
        float *samples = noise(N, 5), *longer = calloc(N + 2 * pad, sizeof *longer);
        assert_non_null(longer);
        memcpy(longer + pad, samples, N * sizeof *longer);
        for (size_t i = 0; i < pad && reflect; i++) {
            longer[pad - 1 - i] = samples[1 + i];
            longer[pad + N + i] = samples[N - 2 - i];
        }
        spectrogram_plan *plan = plan_of(&config), *without = plan_of(&bare);
        float *frames = frames_of(plan, samples, N, 777, &count);
        float *wanted = frames_of(without, longer + inset, N + 2 * pad - 2 * inset, N, &other);
        assert_int_equal(count, other);
        assert_memory_equal(frames, wanted, count * plan->bands * sizeof *frames);
        free(frames);
        free(wanted);
        free(longer);
        free(samples);
        spectrogram_plan_free(plan);
        spectrogram_plan_free(without);
    }
}

static void another_sound_knows_nothing_of_the_last(void **state) {
    (void)state;
    spectrogram_plan *plan = plan_of(&torchaudio);
    spectrogram *s;
    size_t count, ready;
    float *first = noise(5000, 1), *second = noise(3000, 2),
          *wanted = frames_of(plan, second, 3000, 3000, &count);
    assert_ok(spectrogram_create(plan, &s));
    assert_ok(spectrogram_push(s, first, 5000)); /* not even finished */
    spectrogram_begin(s);
    assert_ok(spectrogram_push(s, second, 3000));
    assert_ok(spectrogram_finish(s));
    assert_memory_equal(spectrogram_ready(s, &ready), wanted, count * plan->bands * sizeof *wanted);
    assert_int_equal(ready, count);
    spectrogram_begin(s);
    assert_ok(spectrogram_finish(s));
    (void)spectrogram_ready(s, &ready);
    assert_int_equal(ready, 0);
    spectrogram_free(s);
    free(wanted);
    free(first);
    free(second);
    spectrogram_plan_free(plan);
}

/* ---- windows ---- */

static void windows_are_filled_and_normalised(void **state) {
    (void)state;
    enum { N = 4 };
    spectrogram_config c = torchaudio;
    c.mels = 5, c.frames = 10, c.normalize = SPECTROGRAM_FIXED, c.mean = 2, c.deviation = 4, c.padding = 6;
    float frames[N * 5], out[10 * 5];
    for (size_t i = 0; i < N * 5; i++) frames[i] = (float)i;
    for (int repeat = 0; repeat < 2; repeat++) {
        c.repeat = repeat;
        spectrogram_plan *plan = plan_of(&c);
        spectrogram_window(plan, frames, N, out);
        for (size_t t = 0; t < 10; t++)
            for (size_t b = 0; b < 5; b++) {
                double wanted = t < N || repeat ? (double)(t % N * 5 + b) : 6;
                assert_true(fabs((double)out[t * 5 + b] - (wanted - 2) / 4) < 1e-6);
            }
        spectrogram_plan_free(plan);
    }
    c.normalize = SPECTROGRAM_WINDOW;
    spectrogram_plan *plan = plan_of(&c);
    double sum = 0, squares = 0;
    spectrogram_window(plan, frames, N, out);
    for (size_t i = 0; i < 50; i++) sum += (double)out[i], squares += (double)out[i] * (double)out[i];
    assert_true(fabs(sum) < 1e-4);
    assert_true(fabs(squares / 49 - 1) < 1e-5);
    spectrogram_plan_free(plan);
}

/* ---- configurations ---- */

#define OWN "{\"feature_extractor_type\": \"MagpieSpectrogram\", \"sampling_rate\": 16000, \"n_fft\": 512, "

static void bad_configurations_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *text, *word; /* that the message has */
    } bad[] = {
        {"{}", "feature_extractor_type"},
        {"{\"feature_extractor_type\": \"WhisperFeatureExtractor\"}", "Whisper"},
        {OWN "\"hop_length\": 0, \"frames\": 1}", "hop_length"},
        {OWN "\"hop_length\": 160}", "frames"},
        {OWN "\"hop_length\": 160, \"frames\": 1, \"win_length\": 513}", "win_length"},
        {OWN "\"hop_length\": 160, \"frames\": 1, \"power\": 3}", "power"},
        {OWN "\"hop_length\": 160, \"frames\": 1, \"power\": 1.5}", "power"},
        {OWN "\"hop_length\": 160, \"frames\": 1, \"log_floor\": 0}", "log_floor"},
        {OWN "\"hop_length\": 160, \"frames\": 1, \"mel_scale\": \"bark\"}", "bark"},
        {OWN "\"hop_length\": 160, \"frames\": 1, \"n_mels\": 64, \"f_min\": 8000}", "f_min"},
        {OWN "\"hop_length\": 160, \"frames\": 1, \"normalize\": \"fixed\", \"std\": 0}", "std"},
        {OWN "\"hop_length\": 160, \"frames\": 1, \"std\": 0}", "std"},
        {OWN "\"hop_length\": 160, \"frames\": 1, \"log_offset\": \"x\"}", "log_offset"},
        {"{\"feature_extractor_type\": \"ASTFeatureExtractor\", \"num_mel_bins\": -1}", "num_mel_bins"},
        {"{\"feature_extractor_type\": \"ASTFeatureExtractor\", \"std\": 0}", "std"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        spectrogram_config c;
        assert_int_not_equal(read_text(bad[i].text, &c), MAGPIE_OK);
        if (!strstr(magpie_error(), bad[i].word)) fail_msg("%s: \"%s\"", bad[i].text, magpie_error());
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shared_definitions),
        cmocka_unit_test(libraries_values),
        cmocka_unit_test(kernels_follow_the_formula),
        cmocka_unit_test(pieces_change_nothing),
        cmocka_unit_test(ends_are_made_up),
        cmocka_unit_test(another_sound_knows_nothing_of_the_last),
        cmocka_unit_test(windows_are_filled_and_normalised),
        cmocka_unit_test(bad_configurations_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
