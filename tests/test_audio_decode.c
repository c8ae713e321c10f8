/* test_audio_decode.c - sounds that the test itself has written come back: lossless ones to the bit, lossy
 * ones as libsndfile decodes them and near to what was written; resampled ones as soxr does it at once. */
#include "audio_decode.h"
#include "sounds.h"
#include "support.h"

#include <math.h>
#include <pthread.h>
#include <soxr.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

enum { PATH_BYTES = 4096 };

static char folder[PATH_BYTES];

static int open_all(void **state) {
    (void)state;
    const char *parent = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/magpie-sounds-XXXXXX", parent ? parent : "/tmp");
    return mkdtemp(folder) ? 0 : -1;
}

static int close_all(void **state) {
    (void)state;
    audio_decoder_free(NULL);
    return rmdir(folder);
}

/* ---- writing and hearing ---- */

typedef struct heard {
    magpie_status status;
    float *samples; /* to be freed */
    size_t count;
} heard;

/* All of a sound, `block` samples at a time. */
static heard hear_with(audio_decoder *decoder, const magpie_media *sound, double seconds, size_t block) {
    heard h = {.status = audio_decoder_open(decoder, sound, seconds)};
    size_t capacity = 0, got = 1;
    while (h.status == MAGPIE_OK && got) {
        assert_ok(magpie_grow((void **)&h.samples, &capacity, h.count + block, sizeof *h.samples));
        h.status = audio_decoder_read(decoder, h.samples + h.count, block, &got);
        h.count += got;
        assert_true(got <= block);
    }
    if (h.status == MAGPIE_OK) { /* the end stays the end */
        float beyond;
        assert_ok(audio_decoder_read(decoder, &beyond, 1, &got));
        assert_int_equal(got, 0);
    }
    return h;
}

static heard hear(magpie_string bytes, size_t rate) {
    audio_decoder *decoder;
    assert_ok(audio_decoder_create(rate, &decoder));
    heard h = hear_with(decoder, &(magpie_media){.bytes = bytes}, INFINITY, 1000);
    audio_decoder_free(decoder);
    return h;
}

/* As audio_decode.h has it. */
static float *mean_of(const float *samples, size_t frames, size_t channels) {
    float *mono = malloc((frames + 1) * sizeof *mono);
    assert_non_null(mono);
    for (size_t i = 0; i < frames; i++) {
        float sum = 0;
        for (size_t c = 0; c < channels; c++) sum += samples[i * channels + c];
        mono[i] = sum / (float)channels;
    }
    return mono;
}

static void expect_samples(const char *what, const heard *h, const float *samples, size_t count) {
    if (h->status != MAGPIE_OK) fail_msg("%s: %s", what, magpie_error());
    if (h->count != count) fail_msg("%s: %zu samples, not %zu", what, h->count, count);
    for (size_t i = 0; i < count; i++)
        if (memcmp(&h->samples[i], &samples[i], sizeof(float)) != 0)
            fail_msg("%s: sample %zu of %zu is %.9g, not %.9g", what, i, count, (double)h->samples[i],
                     (double)samples[i]);
}

static void release(magpie_string bytes) { free((char *)(uintptr_t)bytes.data); }

/* [frames, channels], multiples of 2^(1 - bits), -1 to below 1. */
static float *noise(size_t frames, size_t channels, int bits, uint64_t seed) {
    random_state random = {seed};
    float *samples = malloc((frames * channels + 1) * sizeof *samples);
    assert_non_null(samples);
    double steps = ldexp(1, (bits == 0 || bits > 24 ? 24 : bits) - 1);
    for (size_t i = 0; i < frames * channels; i++)
        samples[i] = (float)((floor(random_unit(&random) * 2 * steps) - steps) / steps);
    return samples;
}

/* Three tones that wax and wane, below 2 kHz: what a lossy codec keeps. */
static float *melody(size_t frames, size_t channels, double rate) {
    float *samples = malloc((frames * channels + 1) * sizeof *samples);
    assert_non_null(samples);
    for (size_t i = 0; i < frames; i++)
        for (size_t c = 0; c < channels; c++) {
            double t = (double)i / rate, swell = 0.6 + 0.4 * sin(11 * t + (double)c);
            samples[i * channels + c] = (float)(swell * (0.3 * sin(2 * M_PI * 441 * t) +
                                                         0.2 * sin(2 * M_PI * 1130 * t * (1 + 0.1 * t)) +
                                                         0.1 * sin(2 * M_PI * 1930 * t)));
        }
    return samples;
}

static char *in_folder(const char *name) {
    char *path = magpie_path_join(folder, name);
    assert_non_null(path);
    return path;
}

static char *write_file(const char *name, const void *bytes, size_t size) {
    char *path = in_folder(name);
    FILE *stream = fopen(path, "wb");
    assert_non_null(stream);
    assert_int_equal(fwrite(bytes, 1, size, stream), size);
    assert_int_equal(fclose(stream), 0);
    return path;
}

static void remove_file(char *path) {
    assert_int_equal(unlink(path), 0);
    free(path);
}

/* ---- lossless ---- */

static const struct {
    const char *name;
    int format;
} lossless[] = {{"WAV 8", SF_FORMAT_WAV | SF_FORMAT_PCM_U8},
                {"WAV 16", SF_FORMAT_WAV | SF_FORMAT_PCM_16},
                {"WAV 24", SF_FORMAT_WAV | SF_FORMAT_PCM_24},
                {"WAV 32", SF_FORMAT_WAV | SF_FORMAT_PCM_32},
                {"WAV float", SF_FORMAT_WAV | SF_FORMAT_FLOAT},
                {"WAV double", SF_FORMAT_WAV | SF_FORMAT_DOUBLE},
                {"RIFX 16", SF_FORMAT_WAV | SF_FORMAT_PCM_16 | SF_ENDIAN_BIG},
                {"RIFX float", SF_FORMAT_WAV | SF_FORMAT_FLOAT | SF_ENDIAN_BIG},
                {"WAVEX 16", SF_FORMAT_WAVEX | SF_FORMAT_PCM_16},
                {"WAVEX 24", SF_FORMAT_WAVEX | SF_FORMAT_PCM_24},
                {"WAVEX float", SF_FORMAT_WAVEX | SF_FORMAT_FLOAT},
                {"RF64 16", SF_FORMAT_RF64 | SF_FORMAT_PCM_16},
                {"RF64 double", SF_FORMAT_RF64 | SF_FORMAT_DOUBLE},
                {"AIFF 8", SF_FORMAT_AIFF | SF_FORMAT_PCM_S8},
                {"AIFF-C 8 raw", SF_FORMAT_AIFF | SF_FORMAT_PCM_U8},
                {"AIFF 16", SF_FORMAT_AIFF | SF_FORMAT_PCM_16},
                {"AIFF 24", SF_FORMAT_AIFF | SF_FORMAT_PCM_24},
                {"AIFF 32", SF_FORMAT_AIFF | SF_FORMAT_PCM_32},
                {"AIFF-C sowt", SF_FORMAT_AIFF | SF_FORMAT_PCM_16 | SF_ENDIAN_LITTLE},
                {"AIFF-C twos", SF_FORMAT_AIFF | SF_FORMAT_PCM_16 | SF_ENDIAN_BIG},
                {"AIFF-C float", SF_FORMAT_AIFF | SF_FORMAT_FLOAT},
                {"AIFF-C double", SF_FORMAT_AIFF | SF_FORMAT_DOUBLE},
                {"FLAC 8", SF_FORMAT_FLAC | SF_FORMAT_PCM_S8},
                {"FLAC 16", SF_FORMAT_FLAC | SF_FORMAT_PCM_16},
                {"FLAC 24", SF_FORMAT_FLAC | SF_FORMAT_PCM_24}};

static void test_lossless(void **state) {
    (void)state;
    enum { FRAMES = 9002 }; /* even: libsndfile counts the byte that pads an AIFF's chunk among its samples */
    static const int channels[] = {1, 2, 3, 8}, rates[] = {8000, 11025, 44100, 48000, 96000, 192000};
    for (size_t f = 0; f < sizeof lossless / sizeof *lossless; f++)
        for (size_t c = 0; c < sizeof channels / sizeof *channels; c++) {
            int format = lossless[f].format, rate = rates[(f + c) % (sizeof rates / sizeof *rates)];
            float *samples = noise(FRAMES, (size_t)channels[c], sound_bits(format), 100 * f + c);
            float *mono = mean_of(samples, FRAMES, (size_t)channels[c]);
            magpie_string file = sound_write(format, rate, channels[c], samples, FRAMES);
            assert_non_null(file.data);
            heard h = hear(file, (size_t)rate);
            expect_samples(lossless[f].name, &h, mono, FRAMES);
            release(file);
            free(h.samples);
            free(samples);
            free(mono);
        }
}

/* Every rate, from a file and from memory. */
static void test_files(void **state) {
    (void)state;
    enum { FRAMES = 5000 };
    static const int rates[] = {1000, 8000, 22050, 44100, 192000, 768000};
    for (size_t r = 0; r < sizeof rates / sizeof *rates; r++) {
        float *samples = noise(FRAMES, 1, 16, r);
        magpie_string file = sound_write(SF_FORMAT_WAV | SF_FORMAT_PCM_16, rates[r], 1, samples, FRAMES);
        char *path = write_file("sound", file.data, file.size);
        audio_decoder *decoder;
        assert_ok(audio_decoder_create((size_t)rates[r], &decoder));
        heard h = hear_with(decoder, &(magpie_media){.path = path}, INFINITY, 77);
        expect_samples("a file", &h, samples, FRAMES);
        free(h.samples);
        h = hear_with(decoder, &(magpie_media){.bytes = file}, INFINITY, 77);
        expect_samples("memory", &h, samples, FRAMES);
        free(h.samples);
        audio_decoder_free(decoder);
        remove_file(path);
        release(file);
        free(samples);
    }
}

/* What libsndfile makes of the same file, its own parsers of headers included. */
static void expect_as_libsndfile(const char *what, magpie_string file) {
    SF_INFO info;
    size_t frames;
    float *samples = sound_read(file, &info, &frames);
    assert_non_null(samples);
    float *mono = mean_of(samples, frames, (size_t)info.channels);
    heard h = hear(file, (size_t)info.samplerate);
    expect_samples(what, &h, mono, frames);
    free(h.samples);
    free(mono);
    free(samples);
}

static void test_as_libsndfile(void **state) {
    (void)state;
    enum { FRAMES = 4000 };
    static const int laws[] = {SF_FORMAT_WAV | SF_FORMAT_ULAW,   SF_FORMAT_WAV | SF_FORMAT_ALAW,
                               SF_FORMAT_WAVEX | SF_FORMAT_ULAW, SF_FORMAT_RF64 | SF_FORMAT_ALAW,
                               SF_FORMAT_AIFF | SF_FORMAT_ULAW,  SF_FORMAT_AIFF | SF_FORMAT_ALAW};
    float *samples = melody(FRAMES, 2, 16000);
    for (size_t i = 0; i < sizeof laws / sizeof *laws; i++) {
        magpie_string file = sound_write(laws[i], 16000, 2, samples, FRAMES);
        expect_as_libsndfile("A-law or mu-law", file);
        release(file);
    }
    for (size_t i = 0; i < sizeof lossless / sizeof *lossless; i++) {
        magpie_string file = sound_write(lossless[i].format, 22050, 2, samples, FRAMES);
        expect_as_libsndfile(lossless[i].name, file);
        release(file);
    }
    free(samples);
}

/* ---- lossy ---- */

/* The best correlation of two sounds, b shifted against a by up to `most` samples. */
static double correlation(const float *a, const float *b, size_t count, size_t most) {
    double best = 0;
    for (size_t shift = 0; shift <= 2 * most; shift++) {
        double ab = 0, aa = 0, bb = 0;
        for (size_t i = most; i + most < count; i++) {
            double x = a[i], y = b[i + shift - most];
            ab += x * y;
            aa += x * x;
            bb += y * y;
        }
        if (ab / sqrt(aa * bb) > best) best = ab / sqrt(aa * bb);
    }
    return best;
}

static void test_lossy(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int format, rate, channels;
    } cases[] = {{"Vorbis", SF_FORMAT_OGG | SF_FORMAT_VORBIS, 44100, 1},
                 {"Vorbis, stereo", SF_FORMAT_OGG | SF_FORMAT_VORBIS, 22050, 2},
                 {"Vorbis, 5 channels", SF_FORMAT_OGG | SF_FORMAT_VORBIS, 48000, 5},
                 {"Opus", SF_FORMAT_OGG | SF_FORMAT_OPUS, 48000, 1},
                 {"Opus, stereo", SF_FORMAT_OGG | SF_FORMAT_OPUS, 48000, 2},
                 {"Opus, 8 channels", SF_FORMAT_OGG | SF_FORMAT_OPUS, 24000, 8},
                 {"Opus, 16 kHz", SF_FORMAT_OGG | SF_FORMAT_OPUS, 16000, 1},
                 {"Opus, 12 kHz", SF_FORMAT_OGG | SF_FORMAT_OPUS, 12000, 1},
                 {"Opus, 8 kHz", SF_FORMAT_OGG | SF_FORMAT_OPUS, 8000, 2},
                 {"MP3", SF_FORMAT_MPEG | SF_FORMAT_MPEG_LAYER_III, 44100, 2},
                 {"MP3, mono", SF_FORMAT_MPEG | SF_FORMAT_MPEG_LAYER_III, 22050, 1},
                 {"MP3, 8 kHz", SF_FORMAT_MPEG | SF_FORMAT_MPEG_LAYER_III, 8000, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t frames = (size_t)cases[i].rate / 2 + 77;
        float *samples = melody(frames, (size_t)cases[i].channels, cases[i].rate);
        float *mono = mean_of(samples, frames, (size_t)cases[i].channels);
        magpie_string file = sound_write(cases[i].format, cases[i].rate, cases[i].channels, samples, frames);
        assert_non_null(file.data);
        expect_as_libsndfile(cases[i].name, file);
        heard h = hear(file, (size_t)cases[i].rate);
        if (h.count != frames) fail_msg("%s: %zu samples, not %zu", cases[i].name, h.count, frames);
        double c = correlation(mono, h.samples, frames, 50);
        if (c < 0.99) fail_msg("%s: correlation %.4f", cases[i].name, c);
        free(h.samples);
        release(file);
        free(mono);
        free(samples);
    }
}

/* Nothing that an encoder writes is taken for a bomb: every quality, and the rates with books of their
 * own. */
static void test_vorbis_books(void **state) {
    (void)state;
    static const int rates[] = {8000, 11025, 16000, 22050, 32000, 44100, 48000, 96000, 192000};
    float *samples = melody(4000, 2, 8000);
    for (size_t r = 0; r < sizeof rates / sizeof *rates; r++)
        for (int channels = 1; channels <= 2; channels++)
            for (int quality = 0; quality <= 10; quality++) {
                sound_memory memory = {0};
                SF_INFO info = {
                    .samplerate = rates[r], .channels = channels, .format = SF_FORMAT_OGG | SF_FORMAT_VORBIS};
                SNDFILE *file = sf_open_virtual(&sound_calls, SFM_WRITE, &info, &memory);
                double level = quality / 10.0;
                assert_non_null(file);
                sf_command(file, SFC_SET_VBR_ENCODING_QUALITY, &level, sizeof level);
                assert_int_equal(sf_writef_float(file, samples, 2000), 2000);
                sf_close(file);
                heard h = hear((magpie_string){(char *)memory.data, memory.size}, (size_t)rates[r]);
                if (h.status != MAGPIE_OK)
                    fail_msg("%d Hz, quality %.1f: %s", rates[r], level, magpie_error());
                assert_int_equal(h.count, 2000);
                free(h.samples);
                free(memory.data);
            }
    free(samples);
}

/* Without the frame that says how long it is: libsndfile would guess from the first frame's bitrate. */
static void test_mp3_without_length(void **state) {
    (void)state;
    enum { RATE = 44100, FRAMES = 2 * RATE };
    float *samples = melody(FRAMES, 1, RATE);
    for (size_t i = RATE; i < FRAMES; i++) samples[i] = 0; /* few bits at first, if its bitrate varies */
    magpie_string file = sound_write(SF_FORMAT_MPEG | SF_FORMAT_MPEG_LAYER_III, RATE, 1, samples, FRAMES);
    const char *second = file.data;
    while (memcmp(second, "Xing", 4) != 0 && memcmp(second, "Info", 4) != 0) second++;
    do second++;
    while ((unsigned char)second[0] != 0xFF || ((unsigned char)second[1] & 0xE0) != 0xE0);
    heard h = hear((magpie_string){second, file.size - (size_t)(second - file.data)}, RATE);
    assert_int_equal(h.status, MAGPIE_OK);
    assert_true(h.count >= FRAMES && h.count < FRAMES + 4 * 1152);
    free(h.samples);
    release(file);
    free(samples);
}

/* ---- what stands around the samples ---- */

static void put_le(uint8_t *to, uint64_t value, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) to[i] = (uint8_t)(value >> 8 * i);
}

static void put_be(uint8_t *to, uint64_t value, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) to[i] = (uint8_t)(value >> 8 * (bytes - 1 - i));
}

static void append_chunk(magpie_text *text, const char *name, size_t size, bool big) {
    uint8_t length[4];
    if (big)
        put_be(length, size, 4);
    else
        put_le(length, size, 4);
    magpie_text_append(text, name, 4);
    magpie_text_append(text, length, 4);
    for (size_t i = 0; i < size + (size & 1); i++) magpie_text_append(text, "d", 1); /* as of "data" inside */
}

static void expect_same(const char *what, const magpie_text *text, size_t rate, const float *samples,
                        size_t count) {
    assert_ok(magpie_text_status(text));
    heard h = hear((magpie_string){text->data, text->size}, rate);
    expect_samples(what, &h, samples, count);
    free(h.samples);
}

/* Chunks of all kinds before, between and behind; the samples before their description. */
static void test_chunks(void **state) {
    (void)state;
    enum { FRAMES = 1001, RATE = 16000 };
    static const char *const names[] = {"LIST", "bext", "cart", "smpl", "cue ", "PEAK", "id3 ", "JUNK",
                                        "iXML", "MARK", "INST", "COMT", "APPL", "ANNO", "CHAN", "\0\1\2\3"};
    float *samples = noise(FRAMES, 1, 24, 1);
    magpie_string wav = sound_write(SF_FORMAT_WAV | SF_FORMAT_PCM_24, RATE, 1, samples, FRAMES);
    magpie_string aiff = sound_write(SF_FORMAT_AIFF | SF_FORMAT_PCM_24, RATE, 1, samples, FRAMES);
    enum { FORM = 12, FMT = 24, COMM = 26, DATA = 8 + 3 * FRAMES + 1 };
    assert_int_equal(wav.size, FORM + FMT + DATA);
    assert_memory_equal(wav.data + FORM + FMT, "data", 4);
    assert_memory_equal(aiff.data + FORM, "COMM", 4);
    assert_memory_equal(aiff.data + FORM + COMM, "SSND", 4);
    for (int big = 0; big < 2; big++) {
        const char *file = big ? aiff.data : wav.data;
        size_t first = big ? COMM : FMT, second = (big ? aiff.size : wav.size) - FORM - first;
        magpie_text text = {0};
        for (int order = 0; order < 2; order++) {
            magpie_text_clear(&text);
            magpie_text_append(&text, file, FORM);
            for (size_t i = 0; i < sizeof names / sizeof *names; i++)
                append_chunk(&text, names[i], i * 7, big);
            magpie_text_append(&text, file + FORM + (order ? first : 0), order ? second : first);
            append_chunk(&text, "LIST", 70000, big);
            magpie_text_append(&text, file + FORM + (order ? 0 : first), order ? first : second);
            append_chunk(&text, "LIST", 10, big);
            expect_same(big ? "AIFF" : "WAV", &text, RATE, samples, FRAMES);
        }
        magpie_text_free(&text);
    }
    release(wav);
    release(aiff);
    free(samples);
}

/* ID3 tags in front of anything, one with a foot and one with padding behind it; a FLAC's other metadata. */
static void test_metadata(void **state) {
    (void)state;
    enum { FRAMES = 3000, RATE = 16000 };
    static const char first_tag[] = "ID3\4\0\20\0\0\1\5";   /* 133 bytes and a foot */
    static const char second_tag[] = "ID3\3\0\0\0\0\0\144"; /* 100 bytes */
    static const int formats[] = {SF_FORMAT_WAV | SF_FORMAT_PCM_16, SF_FORMAT_FLAC | SF_FORMAT_PCM_16,
                                  SF_FORMAT_MPEG | SF_FORMAT_MPEG_LAYER_III};
    float *samples = noise(FRAMES, 1, 16, 1);
    char zeros[200] = {0};
    for (size_t f = 0; f < sizeof formats / sizeof *formats; f++) {
        magpie_string file = sound_write(formats[f], RATE, 1, samples, FRAMES);
        bool mp3 = (formats[f] & SF_FORMAT_TYPEMASK) == SF_FORMAT_MPEG;
        heard plain = hear(file, RATE);
        magpie_text text = {0};
        magpie_text_append(&text, first_tag, 10);
        magpie_text_append(&text, zeros, 133 + 10);
        magpie_text_append(&text, second_tag, 10);
        magpie_text_append(&text, zeros, 100);
        if (mp3) magpie_text_append(&text, zeros, 77);
        magpie_text_append(&text, file.data, file.size);
        assert_int_equal(plain.status, MAGPIE_OK);
        expect_same("behind tags", &text, RATE, plain.samples, plain.count);
        if (!mp3) assert_int_equal(plain.count, FRAMES);
        magpie_text_free(&text);
        free(plain.samples);
        release(file);
    }
    magpie_string flac = sound_write(SF_FORMAT_FLAC | SF_FORMAT_PCM_16, RATE, 1, samples, FRAMES);
    magpie_text text = {0};
    magpie_text_append(&text, flac.data, 42);
    text.data[4] = 0; /* not the last block */
    for (uint8_t type = 1; type <= 126; type++) {
        uint8_t head[4] = {type};
        put_be(head + 1, type == 6 ? 1 << 20 : sizeof zeros, 3);
        magpie_text_append(&text, head, 4);
        for (size_t i = 0; i < (type == 6 ? 1 << 20 : sizeof zeros); i++)
            magpie_text_append(&text, "\xFF", 1);
    }
    magpie_text_append(&text, flac.data + 42, flac.size - 42);
    expect_same("FLAC with pictures", &text, RATE, samples, FRAMES);
    magpie_text_free(&text);
    release(flac);
    free(samples);
}

/* ---- resampling ---- */

static float *resample_at_once(const float *samples, size_t count, double from, double to,
                               size_t *out_count) {
    size_t most = (size_t)ceil((double)count * to / from) + 100, used;
    float *out = malloc(most * sizeof *out);
    assert_non_null(out);
    soxr_quality_spec_t quality = soxr_quality_spec(SOXR_HQ, 0);
    assert_null(soxr_oneshot(from, to, 1, samples, count, &used, out, most, out_count, NULL, &quality, NULL));
    assert_int_equal(used, count);
    return out;
}

static void test_resampled(void **state) {
    (void)state;
    static const size_t blocks[] = {1, 7, 4096, 1 << 20};
    static const int rates[][2] = {{48000, 16000},  {44100, 16000}, {8000, 48000},  {22050, 44100},
                                   {192000, 22050}, {11025, 44100}, {16000, 44100}, {1000, 16000},
                                   {768000, 1000},  {44100, 44101}, {44100, 48000}, {767999, 16000},
                                   {16001, 767993}};
    for (size_t r = 0; r < sizeof rates / sizeof *rates; r++) {
        size_t frames = 20011, expected;
        float *samples = noise(frames, 2, 16, r), *mono = mean_of(samples, frames, 2);
        magpie_string file = sound_write(SF_FORMAT_WAV | SF_FORMAT_PCM_16, rates[r][0], 2, samples, frames);
        float *once = resample_at_once(mono, frames, rates[r][0], rates[r][1], &expected);
        audio_decoder *decoder;
        assert_ok(audio_decoder_create((size_t)rates[r][1], &decoder));
        for (size_t b = 0; b < sizeof blocks / sizeof *blocks; b++) {
            heard h = hear_with(decoder, &(magpie_media){.bytes = file}, INFINITY, blocks[b]);
            char what[100];
            snprintf(what, sizeof what, "%d to %d Hz in blocks of %zu", rates[r][0], rates[r][1], blocks[b]);
            expect_samples(what, &h, once, expected);
            free(h.samples);
        }
        audio_decoder_free(decoder);
        release(file);
        free(once);
        free(mono);
        free(samples);
    }
}

/* Not a byte beyond what was asked for is touched: libsoxr 0.1.3 would read eight. */
static void test_end_of_a_page(void **state) {
    (void)state;
    size_t page = (size_t)sysconf(_SC_PAGESIZE), got;
    char *pages = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(pages, MAP_FAILED);
    assert_int_equal(mprotect(pages + page, page, PROT_NONE), 0);
    float *last = (float *)(void *)(pages + page) - 1, *samples = noise(3000, 1, 16, 1);
    magpie_string file = sound_write(SF_FORMAT_WAV | SF_FORMAT_PCM_16, 22050, 1, samples, 3000);
    audio_decoder *decoder;
    for (size_t rate = 16000; rate <= 22050; rate += 6050) {
        assert_ok(audio_decoder_create(rate, &decoder));
        assert_ok(audio_decoder_open(decoder, &(magpie_media){.bytes = file}, INFINITY));
        do assert_ok(audio_decoder_read(decoder, last, 1, &got));
        while (got);
        audio_decoder_free(decoder);
    }
    assert_int_equal(munmap(pages, 2 * page), 0);
    release(file);
    free(samples);
}

static void test_sine(void **state) {
    (void)state;
    enum { SECONDS = 2 };
    static const double rates[][2] = {{48000, 16000}, {8000, 44100}, {44100, 22050}, {96000, 48000}};
    const double hertz = 1000, amplitude = 0.5, edge = 0.1;
    for (size_t r = 0; r < sizeof rates / sizeof *rates; r++) {
        double from = rates[r][0], to = rates[r][1], s = 0, c = 0, rest = 0, n = 0;
        size_t frames = (size_t)(SECONDS * from);
        float *samples = malloc(frames * sizeof *samples);
        assert_non_null(samples);
        for (size_t i = 0; i < frames; i++)
            samples[i] = (float)(amplitude * sin(2 * M_PI * hertz * (double)i / from));
        magpie_string file = sound_write(SF_FORMAT_WAV | SF_FORMAT_FLOAT, (int)from, 1, samples, frames);
        heard h = hear(file, (size_t)to);
        assert_int_equal(h.status, MAGPIE_OK);
        assert_true(fabs((double)h.count - SECONDS * to) <= 1);
        /* The part of it that is the same tone, at the same time. */
        size_t first = (size_t)(edge * to), last = (size_t)((SECONDS - edge) * to);
        for (size_t i = first; i < last; i++, n++) {
            s += h.samples[i] * sin(2 * M_PI * hertz * (double)i / to);
            c += h.samples[i] * cos(2 * M_PI * hertz * (double)i / to);
        }
        s *= 2 / n;
        c *= 2 / n;
        for (size_t i = first; i < last; i++) {
            double tone = 2 * M_PI * hertz * (double)i / to, d = h.samples[i] - s * sin(tone) - c * cos(tone);
            rest += d * d;
        }
        assert_true(fabs(s - amplitude) < 1e-4 && fabs(c) < 1e-4 && sqrt(rest / n) < 1e-4);
        free(h.samples);
        release(file);
        free(samples);
    }
}

/* ---- how much ---- */

static void test_seconds(void **state) {
    (void)state;
    enum { FRAMES = 30000 };
    static const double limits[] = {1e-9, 0.00003, 0.1, 0.29, 0.57, 1.14, 2.3, 3, 1e9, 1e300, INFINITY};
    static const int formats[] = {SF_FORMAT_WAV | SF_FORMAT_PCM_16, SF_FORMAT_FLAC | SF_FORMAT_PCM_16,
                                  SF_FORMAT_OGG | SF_FORMAT_VORBIS, SF_FORMAT_OGG | SF_FORMAT_OPUS,
                                  SF_FORMAT_MPEG | SF_FORMAT_MPEG_LAYER_III};
    for (size_t f = 0; f < sizeof formats / sizeof *formats; f++)
        for (int rate = 8000; rate <= 24000; rate += 16000) {
            float *samples = melody(FRAMES, 1, rate);
            magpie_string file = sound_write(formats[f], rate, 1, samples, FRAMES);
            magpie_media sound = {.bytes = file};
            heard whole = hear(file, (size_t)rate);
            audio_decoder *same, *other;
            assert_ok(audio_decoder_create((size_t)rate, &same));
            assert_ok(audio_decoder_create(11025, &other));
            for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
                double exact = round(limits[i] * rate);
                size_t count = exact < 1                     ? 1
                               : exact < (double)whole.count ? (size_t)exact
                                                             : whole.count,
                       expected;
                heard h = hear_with(same, &sound, limits[i], 999);
                expect_samples("a part", &h, whole.samples, count);
                free(h.samples);
                float *once = resample_at_once(whole.samples, count, rate, 11025, &expected);
                h = hear_with(other, &sound, limits[i], 999);
                expect_samples("a part, resampled", &h, once, expected);
                free(h.samples);
                free(once);
            }
            assert_int_equal(audio_decoder_open(same, &sound, 0), MAGPIE_E_ARGUMENT);
            assert_int_equal(audio_decoder_open(same, &sound, -1), MAGPIE_E_ARGUMENT);
            assert_int_equal(audio_decoder_open(same, &sound, (double)NAN), MAGPIE_E_ARGUMENT);
            audio_decoder_free(same);
            audio_decoder_free(other);
            free(whole.samples);
            release(file);
            free(samples);
        }
}

static void test_rates_of_decoders(void **state) {
    (void)state;
    audio_decoder *decoder = NULL;
    assert_int_equal(audio_decoder_create(0, &decoder), MAGPIE_E_ARGUMENT);
    assert_int_equal(audio_decoder_create(MAGPIE_AUDIO_RATE_MAX + 1, &decoder), MAGPIE_E_ARGUMENT);
    assert_ok(audio_decoder_create(MAGPIE_AUDIO_RATE_MAX, &decoder));
    float sample;
    size_t count = 1;
    assert_ok(audio_decoder_read(decoder, &sample, 1, &count)); /* nothing is open */
    assert_int_equal(count, 0);
    audio_decoder_free(decoder);
}

static void test_silence(void **state) {
    (void)state;
    static const size_t lengths[] = {1, 2, 4095, 4096, 4097, 50000};
    float *zeros = calloc(50000 * 2, sizeof *zeros);
    assert_non_null(zeros);
    for (size_t f = 0; f < sizeof lossless / sizeof *lossless; f++)
        for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
            magpie_string file = sound_write(lossless[f].format, 22050, 2, zeros, lengths[i]);
            heard h = hear(file, 22050);
            expect_samples(lossless[f].name, &h, zeros, lengths[i]);
            free(h.samples);
            h = hear(file, 16000);
            assert_int_equal(h.status, MAGPIE_OK);
            assert_true(fabs((double)h.count - (double)lengths[i] * 16000 / 22050) <= 1);
            for (size_t n = 0; n < h.count; n++) assert_true(h.samples[n] == 0);
            free(h.samples);
            release(file);
        }
    free(zeros);
}

/* ---- one decoder, many sounds; many decoders ---- */

/* Sounds of every kind, given up at any place, between them: each as from a decoder of its own. */
static void test_reuse(void **state) {
    (void)state;
    enum { FRAMES = 12000, SOUNDS = 8, ROUNDS = 200 };
    static const int formats[SOUNDS][2] = {
        {SF_FORMAT_WAV | SF_FORMAT_PCM_16, 16000},         {SF_FORMAT_WAV | SF_FORMAT_FLOAT, 44100},
        {SF_FORMAT_FLAC | SF_FORMAT_PCM_16, 44100},        {SF_FORMAT_OGG | SF_FORMAT_VORBIS, 22050},
        {SF_FORMAT_OGG | SF_FORMAT_OPUS, 48000},           {SF_FORMAT_MPEG | SF_FORMAT_MPEG_LAYER_III, 44100},
        {SF_FORMAT_MPEG | SF_FORMAT_MPEG_LAYER_III, 8000}, {SF_FORMAT_AIFF | SF_FORMAT_PCM_24, 22050}};
    magpie_string files[SOUNDS];
    heard alone[SOUNDS];
    audio_decoder *decoder;
    random_state random = {1};
    assert_ok(audio_decoder_create(16000, &decoder));
    for (size_t i = 0; i < SOUNDS; i++) {
        float *samples = melody(FRAMES, 2, formats[i][1]);
        files[i] = sound_write(formats[i][0], formats[i][1], 2, samples, FRAMES);
        alone[i] = hear(files[i], 16000);
        assert_int_equal(alone[i].status, MAGPIE_OK);
        free(samples);
    }
    for (size_t round = 0; round < ROUNDS; round++) {
        size_t i = random_below(&random, SOUNDS), got;
        magpie_media sound = {.bytes = files[i]};
        float some[5000];
        switch (random_below(&random, 3)) {
        case 0: /* given up */
            assert_ok(audio_decoder_open(decoder, &sound, INFINITY));
            assert_ok(audio_decoder_read(decoder, some, random_below(&random, 5000), &got));
            break;
        case 1: /* broken */
            sound.bytes.size = random_below(&random, sound.bytes.size);
            free(hear_with(decoder, &sound, 0.5, 1000).samples);
            break;
        default: {
            heard h = hear_with(decoder, &sound, INFINITY, 1 + random_below(&random, 5000));
            expect_samples("again", &h, alone[i].samples, alone[i].count);
            free(h.samples);
        }
        }
    }
    audio_decoder_free(decoder);
    for (size_t i = 0; i < SOUNDS; i++) {
        free(alone[i].samples);
        release(files[i]);
    }
}

enum { THREADS = 2, SHARED = 6 };

typedef struct listener {
    const magpie_string *files; /* [SHARED] */
    uint64_t sums[SHARED];
    bool ok;
} listener;

/* Without cmocka, which is one thread's. */
static void *listen(void *context) {
    listener *l = context;
    audio_decoder *decoder;
    float samples[1000];
    l->ok = audio_decoder_create(16000, &decoder) == MAGPIE_OK;
    if (!l->ok) return NULL;
    for (size_t round = 0; round < 5; round++)
        for (size_t i = 0; i < SHARED; i++) {
            magpie_media sound = {.bytes = l->files[i]};
            size_t got = 1;
            uint64_t sum = 0;
            magpie_status status = audio_decoder_open(decoder, &sound, INFINITY);
            while (status == MAGPIE_OK && got) {
                status = audio_decoder_read(decoder, samples, 1000, &got);
                for (size_t n = 0; n < got; n++) {
                    uint32_t bits;
                    memcpy(&bits, &samples[n], sizeof bits);
                    sum = sum * 31 + bits;
                }
            }
            if (status != MAGPIE_OK && i != SHARED - 1) l->ok = false;
            l->sums[i] = sum;
        }
    audio_decoder_free(decoder);
    return NULL;
}

static void test_threads(void **state) {
    (void)state;
    static const int formats[SHARED] = {
        SF_FORMAT_WAV | SF_FORMAT_PCM_16,          SF_FORMAT_FLAC | SF_FORMAT_PCM_16,
        SF_FORMAT_OGG | SF_FORMAT_VORBIS,          SF_FORMAT_OGG | SF_FORMAT_OPUS,
        SF_FORMAT_MPEG | SF_FORMAT_MPEG_LAYER_III, SF_FORMAT_FLAC | SF_FORMAT_PCM_16};
    magpie_string files[SHARED];
    listener listeners[THREADS + 1];
    pthread_t threads[THREADS];
    float *samples = melody(20000, 1, 24000);
    for (size_t i = 0; i < SHARED; i++) files[i] = sound_write(formats[i], 24000, 1, samples, 20000);
    size_t whole = files[SHARED - 1].size;
    files[SHARED - 1].size = 50; /* a failure among them */
    for (size_t t = 0; t <= THREADS; t++) listeners[t] = (listener){.files = files};
    for (size_t t = 0; t < THREADS; t++)
        assert_int_equal(pthread_create(&threads[t], NULL, listen, &listeners[t]), 0);
    for (size_t t = 0; t < THREADS; t++) pthread_join(threads[t], NULL);
    listen(&listeners[THREADS]);
    for (size_t t = 0; t <= THREADS; t++) {
        assert_true(listeners[t].ok);
        assert_memory_equal(listeners[t].sums, listeners[THREADS].sums, sizeof listeners[t].sums);
    }
    files[SHARED - 1].size = whole;
    for (size_t i = 0; i < SHARED; i++) release(files[i]);
    free(samples);
}

/* ---- memory ---- */

/* The most that was ever resident, in bytes. */
static size_t peak(void) {
    struct rusage usage;
    assert_int_equal(getrusage(RUSAGE_SELF, &usage), 0);
    return (size_t)usage.ru_maxrss * 1024;
}

static uint32_t crc_of(const uint8_t *bytes, size_t size, uint32_t polynomial, unsigned width) {
    uint32_t crc = 0, top = 1u << (width - 1);
    for (size_t i = 0; i < size; i++) {
        crc ^= (uint32_t)bytes[i] << (width - 8);
        for (unsigned bit = 0; bit < 8; bit++) crc = crc & top ? crc << 1 ^ polynomial : crc << 1;
    }
    return crc & ((top << 1) - 1);
}

/* Half an hour of 8 channels at 48 kHz, each frame of 4096 samples one number a channel: 1.2 MB. */
static magpie_text long_flac(size_t frames) {
    enum { CHANNELS = 8, SAMPLES = 4096 };
    uint8_t head[42] = {'f', 'L', 'a',          'C',           0x80,         0,
                        0,   34,  SAMPLES >> 8, SAMPLES & 255, SAMPLES >> 8, SAMPLES & 255};
    magpie_text text = {0};
    put_be(head + 18,
           (uint64_t)48000 << 44 | (uint64_t)(CHANNELS - 1) << 41 | (uint64_t)15 << 36 | frames * SAMPLES, 8);
    magpie_text_append(&text, head, sizeof head);
    for (size_t n = 0; n < frames; n++) {
        /* sync, fixed blocks; 4096 samples, 48 kHz; 8 channels, 16 bits; the frame's number as in UTF-8 */
        uint8_t frame[64] = {0xFF, 0xF8, 0xCA, (CHANNELS - 1) << 4 | 4 << 1};
        size_t size = 4;
        if (n < 0x80) {
            frame[size++] = (uint8_t)n;
        } else if (n < 0x800) {
            frame[size++] = (uint8_t)(0xC0 | n >> 6);
            frame[size++] = (uint8_t)(0x80 | (n & 63));
        } else {
            frame[size++] = (uint8_t)(0xE0 | n >> 12);
            frame[size++] = (uint8_t)(0x80 | (n >> 6 & 63));
            frame[size++] = (uint8_t)(0x80 | (n & 63));
        }
        frame[size] = (uint8_t)crc_of(frame, size, 0x07, 8);
        size++;
        for (size_t c = 0; c < CHANNELS; c++) { /* a constant */
            frame[size++] = 0;
            put_be(frame + size, (uint64_t)(1 + n % 1000), 2);
            size += 2;
        }
        put_be(frame + size, crc_of(frame, size, 0x8005, 16), 2);
        magpie_text_append(&text, frame, size + 2);
    }
    assert_ok(magpie_text_status(&text));
    return text;
}

static void test_memory_is_flat(void **state) {
    (void)state;
#ifdef __SANITIZE_ADDRESS__ /* slow, and it keeps freed memory aside */
    enum { MINUTES = 3 };
#else
    enum { MINUTES = 30 };
#endif
    enum { RATE = 48000, FLAC_FRAMES = MINUTES * 60 * RATE / 4096, BLOCK = 16000 };
    magpie_text flac = long_flac(FLAC_FRAMES);
    char *path = write_file("long.flac", flac.data, flac.size);
    magpie_text_free(&flac);
    audio_decoder *decoder;
    float *samples = malloc(BLOCK * sizeof *samples);
    size_t got = 1, count = 0, first_minute = 0;
    assert_non_null(samples);
    assert_ok(audio_decoder_create(16000, &decoder));
    assert_ok(audio_decoder_open(decoder, &(magpie_media){.path = path}, INFINITY));
    while (got) {
        assert_ok(audio_decoder_read(decoder, samples, BLOCK, &got));
        count += got;
        if (!first_minute && count >= 60 * 16000) first_minute = peak();
    }
    assert_true(fabs((double)count - (double)FLAC_FRAMES * 4096 / 3) <= 1);
    assert_true(peak() < first_minute + (1 << 20));
    audio_decoder_free(decoder);
    free(samples);
    remove_file(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lossless),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_as_libsndfile),
        cmocka_unit_test(test_lossy),
        cmocka_unit_test(test_vorbis_books),
        cmocka_unit_test(test_mp3_without_length),
        cmocka_unit_test(test_chunks),
        cmocka_unit_test(test_metadata),
        cmocka_unit_test(test_resampled),
        cmocka_unit_test(test_end_of_a_page),
        cmocka_unit_test(test_sine),
        cmocka_unit_test(test_seconds),
        cmocka_unit_test(test_rates_of_decoders),
        cmocka_unit_test(test_silence),
        cmocka_unit_test(test_reuse),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_memory_is_flat),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
