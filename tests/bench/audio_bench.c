/* audio_bench.c - what the parts of an audio encoder reach, one JSON line a figure.
 *
 *     audio_bench mel CLIPS [reps]                           log-mel of 10 s clips, on one thread, as
 *                                                            ../shared/bench/audio_bench.py measures its peers (and on
 *                                                            its data: int16, 160,000 samples a clip)
 *     audio_bench MODEL [f32|bf16] [threads] [reps]          windows through a model, sound already in memory: one
 *                                                            after another, each by all threads; "seeded:NAME" makes
 *                                                            the weights of an entry of audio_features.json */
#include "encoders.h"
#include "seeded_model.h"
#include "spectrogram.h"

enum { CLIP = 160000, RATE = 16000, PIECE = 8192 };

static void die(void) {
    fprintf(stderr, "audio_bench: %s\n", magpie_error());
    exit(1);
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t n) {
    qsort(values, n, sizeof *values, by_value);
    return values[n / 2];
}

/* ---- log-mel ---- */

static void hear(spectrogram *s, const float *samples) {
    spectrogram_begin(s);
    for (size_t i = 0; i < CLIP; i += PIECE)
        if (spectrogram_push(s, samples + i, CLIP - i < PIECE ? CLIP - i : PIECE) != MAGPIE_OK) die();
    if (spectrogram_finish(s) != MAGPIE_OK) die();
}

static void measure_mel(const char *path, size_t reps) {
    const spectrogram_config config = {.rate = RATE,
                                       .n_fft = 512,
                                       .window = 400,
                                       .hop = 160,
                                       .center = true,
                                       .reflect = true,
                                       .mels = 64,
                                       .f_max = RATE / 2.0,
                                       .log = SPECTROGRAM_LN,
                                       .log_scale = 1,
                                       .log_floor = 1e-10,
                                       .frames = 1};
    spectrogram_plan *plan;
    spectrogram *s;
    magpie_map map;
    if (magpie_map_open(path, &map) != MAGPIE_OK || spectrogram_plan_create(&config, &plan) != MAGPIE_OK ||
        spectrogram_create(plan, &s) != MAGPIE_OK)
        die();
    size_t clips = map.size / (CLIP * sizeof(int16_t));
    float *samples = malloc((clips * CLIP + 1) * sizeof *samples);
    double *seconds = malloc(reps * sizeof *seconds);
    if (!samples || !seconds || !clips) exit(1);
    for (size_t i = 0; i < clips * CLIP; i++) samples[i] = (float)((const int16_t *)map.data)[i] / 32768;
    hear(s, samples);
    for (size_t r = 0; r < reps; r++) {
        double start = magpie_seconds();
        for (size_t i = 0; i < clips; i++) hear(s, samples + i * CLIP);
        seconds[r] = magpie_seconds() - start;
    }
    printf("{\"bench\": \"audio\", \"peer\": \"magpie\", \"workload\": \"10 s clips\", \"metric\": "
           "\"clips_per_s\", "
           "\"value\": %.1f, \"threads\": 1}\n",
           (double)clips / median(seconds, reps));
    free(seconds);
    free(samples);
    spectrogram_free(s);
    spectrogram_plan_free(plan);
    magpie_map_close(&map);
}

/* ---- networks ---- */

static void measure_network(const char *model, const magpie_encoder_options *options, size_t reps) {
    enum { WINDOWS = 4 };
    magpie_audio_encoder *encoder;
    if (magpie_audio_encoder_open(model, options, &encoder) != MAGPIE_OK) die();
    const magpie_audio_encoder_info *info = magpie_audio_encoder_get_info(encoder);
    /* A little more than the windows: what is at the ends of a spectrogram differs. */
    size_t n = (size_t)((WINDOWS + 0.1) * info->window_seconds * (double)info->sample_rate);
    float *samples = malloc(n * sizeof *samples), *out = malloc(info->dimension * sizeof *out);
    double *seconds = malloc(reps * sizeof *seconds);
    if (!samples || !out || !seconds) exit(1);
    random_state random = {7};
    for (size_t i = 0; i < n; i++) samples[i] = (float)random_unit(&random) - 0.5f;
    if (magpie_audio_encoder_encode_samples(encoder, samples, n, out) != MAGPIE_OK) die();
    for (size_t r = 0; r < reps; r++) {
        double start = magpie_seconds();
        if (magpie_audio_encoder_encode_samples(encoder, samples, n, out) != MAGPIE_OK) die();
        seconds[r] = magpie_seconds() - start;
    }
    printf("{\"bench\": \"audio\", \"peer\": \"magpie-%s\", \"workload\": \"%s\", \"metric\": "
           "\"windows_per_s\", "
           "\"value\": %.2f, \"window_s\": %.3f, \"threads\": %u}\n",
           magpie_precision_name(info->precision), info->architecture, WINDOWS / median(seconds, reps),
           info->window_seconds, info->threads);
    free(seconds);
    free(samples);
    free(out);
    magpie_audio_encoder_close(encoder);
}

int main(int argc, char **argv) {
    magpie_encoder_options options = {.precision = MAGPIE_PRECISION_AUTO};
    if (argc < 2 || (strcmp(argv[1], "mel") == 0 && argc < 3)) {
        fprintf(stderr,
                "usage: audio_bench mel CLIPS [reps] | MODEL|seeded:NAME [f32|bf16] [threads] [reps]\n");
        return 2;
    }
    if (strcmp(argv[1], "mel") == 0) {
        measure_mel(argv[2], argc > 3 ? strtoul(argv[3], NULL, 10) : 5);
        return 0;
    }
    if (argc > 2 && magpie_precision_parse(argv[2], &options.precision) != MAGPIE_OK) die();
    options.threads = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : 0;
    size_t reps = argc > 4 ? strtoul(argv[4], NULL, 10) : 5;
    if (strncmp(argv[1], "seeded:", 7) != 0) {
        measure_network(argv[1], &options, reps);
        return 0;
    }
    json_t *entry = seeded_audio_entry(argv[1] + 7);
    char *folder = seeded_model(entry);
    measure_network(folder, &options, reps);
    seeded_remove(folder);
    json_decref(entry);
    return 0;
}
