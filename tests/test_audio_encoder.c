/* test_audio_encoder.c - every kind of audio network, on seeded weights, against the framework's values,
 * and musicnn with its own weights; the backends against each other; and an encoder against itself: a file
 * is its samples, many sounds are what each is alone. One group of tests a model, so that its folder is
 * written once. */
#include "test_gpu.h"

#include "golden_vectors.h"
#include "test_sounds.h"

/* The framework's own f32 is within 1e-6 of its f64. */
#define F32_TOLERANCE 2e-5

static json_t *golden; /* audio_features.json */

typedef struct subject {
    const json_t *entry, *features;
    char *folder;
    size_t dimension, rate;
    magpie_audio_encoder *cpu; /* f32; opened by the first test that wants it */
} subject;

static const char *chosen; /* for the setup of a group, which takes no arguments */

static int subject_create(void **state) {
    subject *s = calloc(1, sizeof *s);
    assert_non_null(s);
    s->entry = json_object_get(golden, chosen);
    assert_non_null(s->entry);
    s->features = json_object_get(s->entry, "features");
    s->dimension = (size_t)json_integer_value(json_object_get(s->entry, "dimension"));
    s->rate = (size_t)json_integer_value(json_object_get(s->entry, "sample_rate"));
    s->folder = seeded_model(s->entry);
    *state = s;
    return 0;
}

static int subject_free(void **state) {
    subject *s = *state;
    magpie_audio_encoder_close(s->cpu);
    seeded_remove(s->folder);
    free(s);
    return 0;
}

static magpie_audio_encoder *open_encoder(const subject *s, magpie_encoder_options options) {
    magpie_audio_encoder *encoder;
    assert_ok(magpie_audio_encoder_open(s->folder, &options, &encoder));
    return encoder;
}

static magpie_audio_encoder *open_raw(const subject *s, magpie_backend backend, magpie_precision precision) {
    return open_encoder(
        s, (magpie_encoder_options){.device = {backend, 0}, .precision = precision, .raw = true});
}

static magpie_audio_encoder *cpu_of(subject *s) {
    if (!s->cpu) s->cpu = open_raw(s, MAGPIE_BACKEND_CPU, MAGPIE_PRECISION_F32);
    return s->cpu;
}

/* ---- sounds ---- */

static size_t sounds_of(const subject *s) { return json_array_size(s->features); }

static size_t samples_of(const subject *s, size_t i) {
    return (size_t)json_integer_value(json_object_get(json_array_get(s->features, i), "samples"));
}

static const char *name_of(const subject *s, size_t i) {
    return json_string_value(json_object_get(json_array_get(s->features, i), "sound"));
}

/* The vectors of all golden sounds, to be freed. */
static float *encode(const subject *s, magpie_audio_encoder *encoder) {
    float *out = calloc(sounds_of(s), s->dimension * sizeof *out);
    assert_non_null(out);
    for (size_t i = 0; i < sounds_of(s); i++) {
        float *samples = seeded_sound_samples(name_of(s, i), samples_of(s, i));
        assert_ok(
            magpie_audio_encoder_encode_samples(encoder, samples, samples_of(s, i), out + i * s->dimension));
        free(samples);
    }
    return out;
}

/* Files of them in a folder of their own. */
typedef struct files {
    char folder[64];
    char **paths;
    magpie_media *media;
    size_t n;
} files;

static files write_files(const subject *s) {
    files f = {.folder = "/tmp/magpie-sounds-XXXXXX", .n = sounds_of(s)};
    assert_non_null(mkdtemp(f.folder));
    f.paths = calloc(f.n, sizeof *f.paths);
    f.media = calloc(f.n, sizeof *f.media);
    assert_true(f.paths && f.media);
    for (size_t i = 0; i < f.n; i++) {
        char name[32];
        size_t count = samples_of(s, i);
        int16_t *samples = malloc(count * sizeof *samples);
        assert_non_null(samples);
        seeded_sound(name_of(s, i), samples, count);
        snprintf(name, sizeof name, "%zu.wav", i);
        f.paths[i] = magpie_path_join(f.folder, name);
        write_wav(f.paths[i], samples, count, (uint32_t)s->rate);
        f.media[i].path = f.paths[i];
        free(samples);
    }
    return f;
}

static void remove_files(files *f) {
    for (size_t i = 0; i < f->n; i++) {
        unlink(f->paths[i]);
        free(f->paths[i]);
    }
    assert_int_equal(rmdir(f->folder), 0);
    free(f->paths);
    free(f->media);
}

static void check_near(const char *what, size_t i, const float *got, const float *wanted, size_t n) {
    double difference = relative_difference(got, wanted, n);
    if (!(difference < 1e-5)) fail_msg("%s, sound %zu: off by %.2g", what, i, difference);
}

/* ---- golden values ---- */

static void check_golden(const subject *s, magpie_audio_encoder *encoder, double tolerance) {
    float *got = encode(s, encoder);
    for (size_t i = 0; i < sounds_of(s); i++)
        check_vector(name_of(s, i), i, json_array_get(s->features, i), got + i * s->dimension, s->dimension,
                     tolerance);
    free(got);
}

static void check_tags(const json_t *wanted, const float *tags, size_t n, double tolerance) {
    double worst = 0;
    assert_int_equal(json_array_size(wanted), n);
    for (size_t i = 0; i < n; i++)
        worst = fmax(worst, fabs((double)tags[i] - json_number_value(json_array_get(wanted, i))));
    print_message("tags off by %.1e\n", worst);
    assert_true(worst < tolerance);
}

static void golden_tags(const subject *s, magpie_audio_encoder *encoder) {
    files f = write_files(s);
    size_t n = magpie_audio_encoder_get_info(encoder)->tags;
    float *tags = calloc(n, sizeof *tags);
    assert_non_null(tags);
    for (size_t i = 0; i < f.n; i++) {
        assert_ok(magpie_audio_encoder_tags(encoder, &f.media[i], tags));
        check_tags(json_object_get(json_array_get(s->features, i), "tags"), tags, n, 1e-4);
    }
    free(tags);
    remove_files(&f);
}

static void golden_f32(void **state) {
    subject *s = *state;
    check_golden(s, cpu_of(s), F32_TOLERANCE);
    if (magpie_audio_encoder_get_info(cpu_of(s))->tags) golden_tags(s, cpu_of(s));
}

static void golden_bf16(void **state) {
    subject *s = *state;
    magpie_audio_encoder *encoder = open_raw(s, MAGPIE_BACKEND_CPU, MAGPIE_PRECISION_BF16);
    assert_int_equal(magpie_audio_encoder_get_info(encoder)->precision, MAGPIE_PRECISION_BF16);
    check_golden(s, encoder, 0);
    magpie_audio_encoder_close(encoder);
}

/* The same values on OpenCL, in both precisions; of a network that takes PoCL 10 s a sound, the first. */
static void golden_gpu(void **state) {
    enum { LARGE = 768 /* dimension */ };
    static const magpie_precision precisions[] = {MAGPIE_PRECISION_F32, MAGPIE_PRECISION_BF16};
    subject s = **(subject **)state;
    need_gpu();
    json_t *first = json_pack("[O]", json_array_get(s.features, 0));
    assert_non_null(first);
    if (s.dimension >= LARGE) s.features = first;
    for (int i = 0; i < 2; i++) {
        magpie_audio_encoder *encoder = open_raw(&s, tested_gpu(), precisions[i]);
        check_golden(&s, encoder, i ? 0 : F32_TOLERANCE);
        if (!i && magpie_audio_encoder_get_info(encoder)->tags) golden_tags(&s, encoder);
        magpie_audio_encoder_close(encoder);
    }
    json_decref(first);
}

static const json_t *labels_of(const subject *s) {
    const json_t *config = json_object_get(json_object_get(s->entry, "files"), "config.json");
    bool tags = strcmp(json_string_value(json_object_get(config, "model_type")), "musicnn-vgg") == 0;
    return tags ? json_object_get(config, "id2label") : NULL;
}

static void describes_itself(void **state) {
    subject *s = *state;
    const magpie_audio_encoder_info *info = magpie_audio_encoder_get_info(cpu_of(s));
    const struct {
        const char *key;
        size_t value;
    } sizes[] = {{"dimension", info->dimension},
                 {"sample_rate", info->sample_rate},
                 {"bands", info->bands},
                 {"frames", info->frames},
                 {"layers", info->layers}};
    assert_string_equal(info->architecture, json_string_value(json_object_get(s->entry, "architecture")));
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        assert_int_equal(sizes[i].value, json_integer_value(json_object_get(s->entry, sizes[i].key)));
    assert_true(info->threads > 0 && info->parameters > 0 && info->fingerprint[0]);
    assert_int_equal(info->tags, json_object_size(labels_of(s)));
    assert_true(info->audio_seconds == MAGPIE_AUDIO_SECONDS);
    magpie_model_senses senses;
    assert_ok(magpie_model_get_senses(s->folder, &senses));
    assert_true(senses.audio && !senses.text && !senses.image);
}

/* ---- an encoder against itself and the reference ---- */

static void cpu_is_reference(void **state) {
    subject *s = *state;
    magpie_audio_encoder *reference = open_raw(s, MAGPIE_BACKEND_REFERENCE, MAGPIE_PRECISION_F32);
    float *wanted = encode(s, reference), *got = encode(s, cpu_of(s));
    for (size_t i = 0; i < sounds_of(s); i++)
        check_near("reference", i, got + i * s->dimension, wanted + i * s->dimension, s->dimension);
    free(got);
    free(wanted);
    magpie_audio_encoder_close(reference);
}

/* From a path and from memory, alone and with others, whatever the threads; two runs give the same bytes. */
static void files_are_samples(void **state) {
    subject *s = *state;
    files f = write_files(s);
    const size_t d = s->dimension;
    const magpie_encoder_options all[] = {
        {.precision = MAGPIE_PRECISION_F32, .raw = true, .threads = 1},
        {.precision = MAGPIE_PRECISION_F32, .raw = true, .threads = 3, .defer_weights = true},
        {.precision = MAGPIE_PRECISION_F32},
    };
    float *wanted = encode(s, cpu_of(s)), *got = calloc(f.n, d * sizeof *got),
          *again = calloc(f.n, d * sizeof *got);
    magpie_outcome *outcomes = calloc(f.n, sizeof *outcomes);
    char *bytes;
    size_t size;
    assert_true(got && again && outcomes);
    for (size_t k = 0; k < sizeof all / sizeof *all; k++) {
        magpie_audio_encoder *encoder = open_encoder(s, all[k]);
        assert_ok(magpie_audio_encoder_encode(encoder, f.media, f.n, got, outcomes));
        assert_ok(magpie_audio_encoder_encode(encoder, f.media, f.n, again, NULL));
        assert_memory_equal(got, again, f.n * d * sizeof *got);
        for (size_t i = 0; i < f.n; i++) {
            assert_int_equal(outcomes[i].status, MAGPIE_OK);
            assert_ok(magpie_file_read(f.paths[i], 1 << 24, &bytes, &size));
            assert_ok(magpie_audio_encoder_encode(encoder, &(magpie_media){.bytes = {bytes, size}}, 1,
                                                  again + i * d, NULL));
            check_near("from memory", i, again + i * d, got + i * d, d);
            free(bytes);
            if (!all[k].raw) assert_true(fabs(length(got + i * d, d) - 1) < 1e-5);
            float scale = all[k].raw ? 1 : (float)length(wanted + i * d, d);
            for (size_t j = 0; j < d; j++) got[i * d + j] *= scale;
            check_near("from a path", i, got + i * d, wanted + i * d, d);
        }
        magpie_audio_encoder_close(encoder);
    }
    free(outcomes);
    free(again);
    free(got);
    free(wanted);
    remove_files(&f);
}

/* A bad sound has its reason and zeros, and the others know nothing of it. */
static void a_bad_sound_is_alone(void **state) {
    subject *s = *state;
    files f = write_files(s);
    const size_t d = s->dimension, n = f.n + 2;
    magpie_media *media = calloc(n, sizeof *media);
    float *wanted = calloc(f.n, d * sizeof *wanted), *got = calloc(n, d * sizeof *got);
    magpie_outcome *outcomes = calloc(n, sizeof *outcomes);
    assert_true(media && wanted && got && outcomes);
    media[0].bytes = string_of("no sound at all");
    media[1].path = "/nonexistent/sound.wav";
    memcpy(media + 2, f.media, f.n * sizeof *media);
    for (size_t j = 0; j < n * d; j++) got[j] = NAN;
    assert_ok(magpie_audio_encoder_encode(cpu_of(s), f.media, f.n, wanted, NULL));
    assert_ok(magpie_audio_encoder_encode(cpu_of(s), media, n, got, outcomes));
    for (size_t i = 0; i < 2; i++) {
        assert_int_not_equal(outcomes[i].status, MAGPIE_OK);
        assert_true(outcomes[i].reason[0]);
        for (size_t j = 0; j < d; j++) assert_true(got[i * d + j] == 0);
    }
    assert_non_null(strstr(outcomes[1].reason, media[1].path));
    assert_memory_equal(got + 2 * d, wanted, f.n * d * sizeof *got);
    assert_int_not_equal(magpie_audio_encoder_encode(cpu_of(s), media, n, got, NULL), MAGPIE_OK);
    free(outcomes);
    free(got);
    free(wanted);
    free(media);
    remove_files(&f);
}

/* Sounds of one window and of more than a batch has, and what is no sound, one behind the other: on a GPU
 * their windows are run together, and the vectors are the CPU's, and those of each alone. */
static void gpu_batches(void **state) {
    subject *s = *state;
    need_gpu();
    enum { SOUNDS = 20, LONG = 7, BAD = 3, WINDOWS = 19 };
    files f = write_files(s);
    const size_t d = s->dimension;
    const magpie_audio_encoder_info *info = magpie_audio_encoder_get_info(cpu_of(s));
    const size_t n = (size_t)(WINDOWS * info->window_seconds * (double)s->rate);
    magpie_media media[SOUNDS];
    magpie_outcome outcomes[SOUNDS];
    float *wanted = calloc(SOUNDS, d * sizeof *wanted), *got = calloc(SOUNDS, d * sizeof *got),
          *alone = calloc(d, sizeof *alone);
    char path[] = "/tmp/magpie-long-XXXXXX";
    int16_t *samples = malloc(n * sizeof *samples);
    assert_true(wanted && got && alone && samples);
    seeded_sound("noise", samples, n);
    close(mkstemp(path));
    write_wav(path, samples, n, (uint32_t)s->rate);
    for (size_t i = 0; i < SOUNDS; i++) media[i] = f.media[i % f.n];
    media[LONG] = (magpie_media){.path = path};
    media[BAD] = (magpie_media){.path = "/nonexistent/sound.wav"};
    assert_ok(magpie_audio_encoder_encode(cpu_of(s), media, SOUNDS, wanted, outcomes));
    for (size_t j = 0; j < SOUNDS * d; j++) got[j] = NAN;
    for (unsigned threads = 1; threads <= 3; threads += 2) {
        magpie_audio_encoder *gpu =
            open_encoder(s, (magpie_encoder_options){.device = {tested_gpu(), 0},
                                                     .precision = MAGPIE_PRECISION_F32,
                                                     .raw = true,
                                                     .threads = threads});
        assert_ok(magpie_audio_encoder_encode(gpu, media, SOUNDS, got, outcomes));
        for (size_t i = 0; i < SOUNDS; i++) {
            assert_int_equal(outcomes[i].status == MAGPIE_OK, i != BAD);
            if (i == BAD) {
                for (size_t j = 0; j < d; j++) assert_true(got[i * d + j] == 0);
                continue;
            }
            check_near("a batch", i, got + i * d, wanted + i * d, d);
            if (i > LONG) continue;
            assert_ok(magpie_audio_encoder_encode(gpu, &media[i], 1, alone, NULL));
            assert_memory_equal(alone, got + i * d, d * sizeof *alone);
        }
        magpie_audio_encoder_close(gpu);
    }
    unlink(path);
    free(samples);
    free(alone);
    free(got);
    free(wanted);
    remove_files(&f);
}

/* The mean over whole windows; what is behind them, or beyond the limit, is not heard. */
static void long_sounds_are_windows(void **state) {
    subject *s = *state;
    const magpie_audio_encoder_info *info = magpie_audio_encoder_get_info(cpu_of(s));
    const size_t d = s->dimension, window = (size_t)(info->window_seconds * (double)s->rate + 0.5);
    const size_t n = 3 * window + window / 2;
    char path[] = "/tmp/magpie-long-XXXXXX";
    float *samples = seeded_sound_samples("noise", n), *whole = calloc(2, d * sizeof *whole),
          *half = whole + d;
    int16_t *values = malloc(n * sizeof *values);
    assert_true(whole && values);
    seeded_sound("noise", values, n);
    close(mkstemp(path));
    write_wav(path, values, n, (uint32_t)s->rate);
    assert_ok(magpie_audio_encoder_encode_samples(cpu_of(s), samples, n, whole));
    assert_ok(magpie_audio_encoder_encode_samples(cpu_of(s), samples, n - window / 4, half));
    check_near("a shorter tail", 0, half, whole, d);

    magpie_audio_encoder *limited = open_encoder(
        s, (magpie_encoder_options){
               .precision = MAGPIE_PRECISION_F32, .raw = true, .audio_seconds = 1.5 * info->window_seconds});
    size_t heard = (size_t)(1.5 * info->window_seconds * (double)s->rate + 0.5);
    assert_ok(magpie_audio_encoder_encode(limited, &(magpie_media){.path = path}, 1, half, NULL));
    assert_ok(magpie_audio_encoder_encode_samples(cpu_of(s), samples, heard, whole));
    check_near("the limit", 0, half, whole, d);
    magpie_audio_encoder_close(limited);
    unlink(path);
    free(values);
    free(whole);
    free(samples);
}

static void odd_samples(void **state) {
    subject *s = *state;
    float *out = calloc(s->dimension, sizeof *out), silence[4000] = {0};
    assert_non_null(out);
    assert_ok(magpie_audio_encoder_encode_samples(cpu_of(s), silence, 4000, out));
    for (size_t j = 0; j < s->dimension; j++) assert_true(isfinite(out[j]));
    assert_ok(magpie_audio_encoder_encode_samples(cpu_of(s), silence, 1, out));
    assert_int_equal(magpie_audio_encoder_encode_samples(cpu_of(s), silence, 0, out), MAGPIE_E_INPUT);
    silence[17] = NAN;
    assert_int_equal(magpie_audio_encoder_encode_samples(cpu_of(s), silence, 4000, out), MAGPIE_E_INPUT);
    assert_non_null(strstr(magpie_error(), "17"));
    float tags[1];
    if (!labels_of(s))
        assert_int_equal(magpie_audio_encoder_tags(cpu_of(s), &(magpie_media){.path = "x.wav"}, tags),
                         MAGPIE_E_UNSUPPORTED);
    free(out);
}

/* ---- musicnn ---- */

/* The folder that scripts/fetch-audio-model makes, or NULL. */
static const char *musicnn_folder(void) {
    static char path[4096];
    const char *given = getenv("MAGPIE_AUDIO_MODEL_DIR"), *home = getenv("HOME");
    snprintf(path, sizeof path, "%s/.cache/magpie/models/musicnn-mtt-vgg", home ? home : "");
    if (given) return given;
    return magpie_path_exists(path) ? path : NULL;
}

static void musicnn_tells_tags(void **state) {
    (void)state;
    const char *folder = musicnn_folder();
    if (!folder) {
        skip_loudly("no model of music: scripts/fetch-audio-model fetches it");
        return;
    }
    json_t *clips = json_load_file(MAGPIE_SOURCE_DIR "/tests/golden/musicnn.json", 0, NULL), *clip;
    size_t i;
    assert_non_null(clips);
    for (int bf16 = 0; bf16 < 2; bf16++) {
        magpie_audio_encoder *encoder;
        const magpie_encoder_options options = {
            .precision = bf16 ? MAGPIE_PRECISION_BF16 : MAGPIE_PRECISION_F32, .raw = true};
        assert_ok(magpie_audio_encoder_open(folder, &options, &encoder));
        const magpie_audio_encoder_info *info = magpie_audio_encoder_get_info(encoder);
        assert_string_equal(info->architecture, "musicnn-vgg");
        assert_string_equal(magpie_audio_encoder_tag(encoder, 0), "guitar");
        float *tags = calloc(info->tags, sizeof *tags), *vector = calloc(info->dimension, sizeof *vector);
        assert_true(tags && vector);
        json_array_foreach(json_object_get(clips, "sounds"), i, clip) {
            char path[] = "/tmp/magpie-clip-XXXXXX";
            size_t count = (size_t)json_integer_value(json_object_get(clip, "samples"));
            const char *name = json_string_value(json_object_get(clip, "name"));
            int16_t *samples = malloc(count * sizeof *samples);
            assert_non_null(samples);
            seeded_sound(name, samples, count);
            close(mkstemp(path));
            write_wav(path, samples, count, (uint32_t)info->sample_rate);
            assert_ok(magpie_audio_encoder_tags(encoder, &(magpie_media){.path = path}, tags));
            check_tags(json_object_get(clip, "tags"), tags, info->tags, bf16 ? 0.03 : 1e-4);
            assert_ok(magpie_audio_encoder_encode(encoder, &(magpie_media){.path = path}, 1, vector, NULL));
            check_vector(name, i, json_object_get(clip, "vector"), vector, info->dimension,
                         bf16 ? 0 : F32_TOLERANCE);
            unlink(path);
            free(samples);
        }
        free(vector);
        free(tags);
        magpie_audio_encoder_close(encoder);
    }
    json_decref(clips);
}

/* ---- folders that are wrong ---- */

static void wrong_folders(void **state) {
    (void)state;
    magpie_audio_encoder *encoder;
    const magpie_encoder_options int8 = {.precision = MAGPIE_PRECISION_INT8};
    assert_int_equal(magpie_audio_encoder_open("/nonexistent", NULL, &encoder), MAGPIE_E_NOT_FOUND);
    assert_int_equal(magpie_audio_encoder_open("/nonexistent", &int8, &encoder), MAGPIE_E_UNSUPPORTED);
    static const struct {
        const char *model, *file, *text, *word;
    } wrong[] = {
        {"audio-resnet-small", "config.json", "{\"model_type\": \"bert\"}", "bert"},
        {"audio-resnet-small", "config.json", "{\"model_type\": \"audio-resnet\", \"depth\": 19}", "depth"},
        {"audio-resnet-small", "config.json",
         "{\"model_type\": \"audio-resnet\", \"depth\": 18, \"hidden_sizes\": [64, 128]}", "hidden_sizes"},
        {"audio-resnet-small", "config.json",
         "{\"model_type\": \"audio-resnet\", \"depth\": 50, \"hidden_sizes\": [64, 128, 256, 510]}",
         "multiples of 4"},
        {"audio-resnet-small", "config.json",
         "{\"model_type\": \"audio-resnet\", \"depth\": 18, \"projection\": [0]}", "projection"},
        {"audio-resnet-small", "config.json",
         "{\"model_type\": \"audio-resnet\", \"depth\": 18, \"projection\": [129]}", "audio_transform"},
        {"audio-resnet-small", "config.json", "{\"model_type\": \"musicnn-vgg\", \"num_filters\": 8}",
         "id2label"},
        {"ast-small", "config.json",
         "{\"model_type\": \"audio-spectrogram-transformer\", \"num_mel_bins\": 64, \"max_length\": 127}",
         "preprocessor_config.json"},
        {"ast-small", "config.json",
         "{\"model_type\": \"audio-spectrogram-transformer\", \"num_mel_bins\": 64, \"max_length\": 128, "
         "\"hidden_size\": 60, \"num_attention_heads\": 4}",
         "embeddings"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char *folder = seeded_model(json_object_get(golden, wrong[i].model));
        char *path = magpie_path_join(folder, wrong[i].file);
        FILE *file = fopen(path, "w");
        assert_non_null(file);
        fputs(wrong[i].text, file);
        fclose(file);
        assert_int_not_equal(magpie_audio_encoder_open(folder, NULL, &encoder), MAGPIE_OK);
        if (!strstr(magpie_error(), wrong[i].word)) fail_msg("%zu: \"%s\"", i, magpie_error());
        seeded_remove(folder);
        free(path);
    }
}

int main(void) {
    golden = json_load_file(MAGPIE_SOURCE_DIR "/tests/golden/audio_features.json", 0, NULL);
    if (!golden) return 1;
    int failed = 0;
    /* How many of the tests below: for the large ones those against golden values; the reference is for
     * small ones. */
    enum { GOLDEN = 4, OWN = 9, ALL = 10 };
    const struct {
        const char *name;
        size_t tests;
    } models[] = {{"wav2clip", GOLDEN}, {"audio-resnet-small", OWN}, {"musicnn-small", ALL},
                  {"ast-small", ALL},   {"ast-classifier", GOLDEN},  {"ast", GOLDEN}};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        const struct CMUnitTest tests[] = {
            cmocka_unit_test(golden_f32),        cmocka_unit_test(golden_bf16),
            cmocka_unit_test(golden_gpu),        cmocka_unit_test(describes_itself),
            cmocka_unit_test(files_are_samples), cmocka_unit_test(a_bad_sound_is_alone),
            cmocka_unit_test(gpu_batches),       cmocka_unit_test(long_sounds_are_windows),
            cmocka_unit_test(odd_samples),       cmocka_unit_test(cpu_is_reference),
        };
        chosen = models[i].name;
        failed += _cmocka_run_group_tests(chosen, tests, models[i].tests, subject_create, subject_free);
    }
    const struct CMUnitTest others[] = {
        cmocka_unit_test(musicnn_tells_tags),
        cmocka_unit_test(wrong_folders),
    };
    failed += cmocka_run_group_tests(others, NULL, NULL);
    json_decref(golden);
    return failed;
}
