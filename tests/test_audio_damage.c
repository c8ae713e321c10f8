/* test_audio_damage.c - every way in which a sound can be wrong: refused in words, or heard as far as it
 * goes; nothing printed, nothing left open, and the next sound as if nothing had been. */
#include "audio_decode.h"
#include "sounds.h"
#include "support.h"

#include <dirent.h>
#include <fcntl.h>
#include <malloc.h>
#include <math.h>
#include <ogg/ogg.h>
#include <stdio.h>
#include <sys/stat.h>

enum { PATH_BYTES = 4096, RATE = 16000 };

static audio_decoder *decoder; /* one for all: what a broken sound leaves behind meets the next one */
static char folder[PATH_BYTES];

static int open_all(void **state) {
    (void)state;
    const char *parent = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/magpie-damage-XXXXXX", parent ? parent : "/tmp");
    return mkdtemp(folder) && audio_decoder_create(RATE, &decoder) == MAGPIE_OK ? 0 : -1;
}

static int close_all(void **state) {
    (void)state;
    audio_decoder_free(decoder);
    return rmdir(folder);
}

/* ---- hearing ---- */

enum { HEARD_MAX = 1 << 16 };

static float heard_samples[HEARD_MAX];
static size_t heard_count;

/* All of it, of which the first HEARD_MAX samples are kept. */
static magpie_status hear(magpie_media sound, double seconds) {
    static float block[1000];
    size_t got = 1;
    magpie_status status = audio_decoder_open(decoder, &sound, seconds);
    for (heard_count = 0; status == MAGPIE_OK && got; heard_count += got) {
        status = audio_decoder_read(decoder, block, 1000, &got);
        if (status != MAGPIE_OK) assert_int_equal(got, 0);
        for (size_t i = 0; i < got && heard_count + i < HEARD_MAX; i++)
            heard_samples[heard_count + i] = block[i];
    }
    return status;
}

/* Of bytes in memory of their exact size. */
static magpie_status hear_bytes(const void *bytes, size_t size) {
    char *exact = malloc(size ? size : 1);
    assert_non_null(exact);
    if (size) memcpy(exact, bytes, size);
    magpie_status status = hear((magpie_media){.bytes = {exact, size}}, INFINITY);
    free(exact);
    return status;
}

static void expect_refused(const void *bytes, size_t size, magpie_status expected, const char *words) {
    magpie_status status = hear_bytes(bytes, size);
    if (status != expected || !strstr(magpie_error(), words))
        fail_msg("%s: %s; expected %s with \"%s\"", magpie_status_name(status), magpie_error(),
                 magpie_status_name(expected), words);
}

static void release(magpie_string bytes) { free((char *)(uintptr_t)bytes.data); }

static void put(char *to, uint64_t value, size_t bytes, bool big) {
    for (size_t i = 0; i < bytes; i++) to[i] = (char)(value >> 8 * (big ? bytes - 1 - i : i));
}

enum { FRAMES = 12000 }; /* three blocks of a FLAC */

/* FRAMES of noise in one channel, or of zeros, at RATE. */
static magpie_string make(int format, bool silent) {
    static float samples[FRAMES];
    random_state random = {1};
    for (size_t i = 0; i < FRAMES; i++)
        samples[i] = silent ? 0 : (float)((double)random_below(&random, 256) / 128 - 1) / 2;
    magpie_string file = sound_write(format, RATE, 1, samples, FRAMES);
    assert_non_null(file.data);
    return file;
}

static char *bytes_of(magpie_string file) { return (char *)(uintptr_t)file.data; }

static const struct {
    const char *name;
    int format;
} kinds[] = {{"WAV", SF_FORMAT_WAV | SF_FORMAT_PCM_16},
             {"WAV of 8 bits", SF_FORMAT_WAV | SF_FORMAT_PCM_U8},
             {"WAVEX", SF_FORMAT_WAVEX | SF_FORMAT_FLOAT},
             {"RF64", SF_FORMAT_RF64 | SF_FORMAT_PCM_24},
             {"RIFX", SF_FORMAT_WAV | SF_FORMAT_PCM_16 | SF_ENDIAN_BIG},
             {"AIFF", SF_FORMAT_AIFF | SF_FORMAT_PCM_16},
             {"AIFF-C", SF_FORMAT_AIFF | SF_FORMAT_FLOAT},
             {"FLAC", SF_FORMAT_FLAC | SF_FORMAT_PCM_16},
             {"Vorbis", SF_FORMAT_OGG | SF_FORMAT_VORBIS},
             {"Opus", SF_FORMAT_OGG | SF_FORMAT_OPUS},
             {"MP3", SF_FORMAT_MPEG | SF_FORMAT_MPEG_LAYER_III}};
enum { KINDS = sizeof kinds / sizeof *kinds };

/* ---- what is no sound ---- */

static void test_formats(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
        magpie_status status;
        const char *words;
    } cases[] = {
        {"", 0, MAGPIE_E_INPUT, "empty"},
        {"\0", 1, MAGPIE_E_INPUT, "not a sound"},
        {"\x37\x91\xC4\x02\x13\x9F\x88\x21\x77\x00", 10, MAGPIE_E_INPUT, "not a sound"},
        {"Not a sound at all, but words.\n", 31, MAGPIE_E_UNSUPPORTED, "a text"},
        {"Gr\xC3\xBC\xC3\x9F Gott!\n", 13, MAGPIE_E_UNSUPPORTED, "a text"},
        {"\xFF\xFEH\0e\0l\0l\0o\0", 12, MAGPIE_E_UNSUPPORTED, "UTF-16"},
        {"\0\0\0\x20"
         "ftypM4A \0\0\0\0",
         16, MAGPIE_E_UNSUPPORTED, "M4A"},
        {"\x30\x26\xB2\x75\x8E\x66\xCF\x11\xA6\xD9\0\xAA\0\x62\xCE\x6C", 16, MAGPIE_E_UNSUPPORTED, "WMA"},
        {"#!AMR\n", 6, MAGPIE_E_UNSUPPORTED, "AMR"},
        {"MThd\0\0\0\6", 8, MAGPIE_E_UNSUPPORTED, "MIDI"},
        {"caff\0\1\0\0", 8, MAGPIE_E_UNSUPPORTED, "CAF"},
        {".snd\0\0\0\x18", 8, MAGPIE_E_UNSUPPORTED, "AU"},
        {"\xFF\xF1\x50\x80\x02\x1F\xFC", 7, MAGPIE_E_UNSUPPORTED, "AAC"},
        {"\xFF\xD8\xFF\xE0\0\x10JFIF", 10, MAGPIE_E_UNSUPPORTED, "JPEG"},
        {"\x89PNG\r\n\x1A\n", 8, MAGPIE_E_UNSUPPORTED, "PNG"},
        {"RIFF\x10\0\0\0WEBPVP8 ", 16, MAGPIE_E_UNSUPPORTED, "WebP"},
        {"RIFF\x10\0\0\0AVI LIST", 16, MAGPIE_E_UNSUPPORTED, "AVI"},
        {"FORM\0\0\0\x10"
         "8SVXVHDR",
         16, MAGPIE_E_UNSUPPORTED, "8SVX"},
        {"RIFF\x10\0\0\0WAVE", 12, MAGPIE_E_INPUT, "WAV"},
        {"RF64\xFF\xFF\xFF\xFFWAVE", 12, MAGPIE_E_INPUT, "WAV"},
        {"FORM\0\0\0\4AIFF", 12, MAGPIE_E_INPUT, "AIFF"},
        {"fLaC", 4, MAGPIE_E_INPUT, "FLAC"},
        {"OggS", 4, MAGPIE_E_INPUT, "Ogg"},
        {"\xFF\xFB\x90\x64", 4, MAGPIE_E_INPUT, "MP3"},
        {"\xFF\xFB\xF0\x64", 4, MAGPIE_E_INPUT, "not a sound"}, /* no such bitrate */
        {"\xFF\xFB\x9C\x64", 4, MAGPIE_E_INPUT, "not a sound"}, /* no such rate */
        {"\xFF\xEB\x90\x64", 4, MAGPIE_E_INPUT, "not a sound"}, /* no such version */
        {"ID3\3\0\0\0\0\0\12", 10, MAGPIE_E_INPUT, "empty"},
        {"ID3\3\0\0\0\0\0\12..............................", 40, MAGPIE_E_UNSUPPORTED, "a text"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_refused(cases[i].bytes, cases[i].size, cases[i].status, cases[i].words);
}

/* Half a megabyte of anything is not MP3, though it has thousands of its sync words. */
static void test_noise(void **state) {
    (void)state;
    enum { SIZE = 1 << 12, TIMES = 200 };
    static uint8_t bytes[SIZE];
    random_state random = {7};
    for (size_t n = 0; n < TIMES; n++) {
        for (size_t i = 0; i < SIZE; i++) bytes[i] = (uint8_t)random_u64(&random);
        if (n % 2) memcpy(bytes, "\xFF\xFB\x90\x64", 4);
        assert_int_not_equal(hear_bytes(bytes, SIZE), MAGPIE_OK);
    }
}

static void expect_file(const char *path, magpie_status expected, const char *words) {
    magpie_status status = hear((magpie_media){.path = path}, INFINITY);
    if (status != expected || strncmp(magpie_error(), path, strlen(path)) != 0 ||
        !strstr(magpie_error(), words))
        fail_msg("%s: %s: %s; expected %s with \"%s\"", path, magpie_status_name(status), magpie_error(),
                 magpie_status_name(expected), words);
}

static char *in_folder(const char *name) {
    char *path = magpie_path_join(folder, name);
    assert_non_null(path);
    return path;
}

static void write_file(const char *path, const void *bytes, size_t size) {
    FILE *stream = fopen(path, "wb");
    assert_non_null(stream);
    assert_int_equal(fwrite(bytes, 1, size, stream), size);
    assert_int_equal(fclose(stream), 0);
}

static void test_files(void **state) {
    (void)state;
    char *fifo = in_folder("fifo"), *missing = in_folder("missing"), *text = in_folder("text.wav");
    expect_file(missing, MAGPIE_E_NOT_FOUND, "No such file");
    expect_file(folder, MAGPIE_E_INPUT, "not a regular file");
    assert_int_equal(mkfifo(fifo, 0600), 0);
    expect_file(fifo, MAGPIE_E_INPUT, "not a regular file");
    expect_file("/dev/zero", MAGPIE_E_INPUT, "not a regular file");
    write_file(text, "a text by the name of text.wav", 30);
    expect_file(text, MAGPIE_E_UNSUPPORTED, "a text");
    write_file(text, "", 0);
    expect_file(text, MAGPIE_E_INPUT, "empty");
    /* A failure in the middle has the path too. */
    float samples[9000] = {0};
    samples[8000] = NAN;
    magpie_string file = sound_write(SF_FORMAT_WAV | SF_FORMAT_FLOAT, RATE, 1, samples, 9000);
    write_file(text, file.data, file.size);
    expect_file(text, MAGPIE_E_INPUT, "0.500000 s");
    release(file);
    assert_int_equal(unlink(text), 0);
    assert_int_equal(unlink(fifo), 0);
    free(fifo);
    free(missing);
    free(text);
}

/* A file that shrinks while it is heard breaks off. */
static void test_shrinking(void **state) {
    (void)state;
    static float samples[100000];
    char *path = in_folder("shrinking.wav");
    magpie_string file = sound_write(SF_FORMAT_WAV | SF_FORMAT_PCM_16, RATE, 1, samples, 100000);
    write_file(path, file.data, file.size);
    size_t got;
    assert_ok(audio_decoder_open(decoder, &(magpie_media){.path = path}, INFINITY));
    assert_ok(audio_decoder_read(decoder, heard_samples, 5000, &got));
    assert_int_equal(got, 5000);
    assert_int_equal(truncate(path, 44 + 2 * 50000), 0);
    assert_ok(audio_decoder_read(decoder, heard_samples, HEARD_MAX, &got));
    assert_int_equal(got, 45000);
    assert_int_equal(unlink(path), 0);
    release(file);
    free(path);
}

/* ---- samples ---- */

static void test_not_finite(void **state) {
    (void)state;
    static const struct {
        float value;
        bool fine;
        const char *words;
    } cases[] = {{NAN, false, "not a finite number"},
                 {INFINITY, false, "not a finite number"},
                 {-INFINITY, false, "not a finite number"},
                 {3e38f, false, "beyond measure"},
                 {-1e10f, false, "beyond measure"},
                 {2147483648.0f, true, ""},
                 {-32768.0f, true, ""}};
    static const size_t places[] = {0, 1, 4095, 4096, 12345};
    static float samples[2 * 12346];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t p = 0; p < sizeof places / sizeof *places; p++)
            for (int channel = 0; channel < 2; channel++)
                for (int kind = 0; kind < 3; kind++) {
                    int format = kind == 0   ? SF_FORMAT_WAV | SF_FORMAT_FLOAT
                                 : kind == 1 ? SF_FORMAT_RF64 | SF_FORMAT_DOUBLE
                                             : SF_FORMAT_AIFF | SF_FORMAT_FLOAT;
                    memset(samples, 0, sizeof samples);
                    samples[2 * places[p] + (size_t)channel] = cases[i].value;
                    magpie_string file = sound_write(format, 8000, 2, samples, 12346);
                    magpie_media sound = {.bytes = file};
                    magpie_status status = hear(sound, INFINITY);
                    char place[40];
                    snprintf(place, sizeof place, " %.6f s ", (double)places[p] / 8000);
                    if (status != (cases[i].fine ? MAGPIE_OK : MAGPIE_E_INPUT))
                        fail_msg("%g", (double)cases[i].value);
                    if (!cases[i].fine &&
                        (!strstr(magpie_error(), cases[i].words) || !strstr(magpie_error(), place)))
                        fail_msg("%s: no \"%s\", no \"%s\"", magpie_error(), cases[i].words, place);
                    /* What is behind the part that is asked for is not looked at. */
                    if (places[p] > 0) assert_ok(hear(sound, (double)places[p] / 8000));
                    release(file);
                }
}

static void test_no_samples(void **state) {
    (void)state;
    for (size_t k = 0; k < KINDS; k++) {
        float nothing = 0;
        magpie_string file = sound_write(kinds[k].format, RATE, 1, &nothing, 0);
        if (file.size) expect_refused(file.data, file.size, MAGPIE_E_INPUT, "");
        release(file);
        file = sound_write(kinds[k].format, RATE, 1, &nothing, 1);
        magpie_status status = hear_bytes(file.data, file.size);
        if (status != MAGPIE_OK || heard_count != 1)
            fail_msg("%s: %zu samples: %s", kinds[k].name, heard_count, magpie_error());
        release(file);
    }
}

static void test_limits(void **state) {
    (void)state;
    static const float samples[20 * 255];
    static const int nine[] = {SF_FORMAT_WAV | SF_FORMAT_PCM_16, SF_FORMAT_WAVEX | SF_FORMAT_FLOAT,
                               SF_FORMAT_AIFF | SF_FORMAT_PCM_24, SF_FORMAT_OGG | SF_FORMAT_VORBIS,
                               SF_FORMAT_OGG | SF_FORMAT_OPUS};
    for (size_t i = 0; i < sizeof nine / sizeof *nine; i++)
        for (int channels = 9; channels <= 255; channels += 246) {
            magpie_string file = sound_write(nine[i], 48000, channels, samples, 20);
            if (file.size) expect_refused(file.data, file.size, MAGPIE_E_UNSUPPORTED, "channels: 1 to 8");
            if (file.size || channels == 9) assert_non_null(file.data);
            release(file);
        }
    static const int rates[] = {1, 999, 768001, 2000000000};
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++)
        for (int kind = 0; kind < 2; kind++) {
            magpie_string file = sound_write((kind ? SF_FORMAT_AIFF : SF_FORMAT_WAV) | SF_FORMAT_PCM_16,
                                             rates[i], 1, samples, 20);
            expect_refused(file.data, file.size, MAGPIE_E_UNSUPPORTED, "Hz: 1000 to 768000");
            release(file);
        }
    magpie_string file = make(SF_FORMAT_WAV | SF_FORMAT_PCM_16, false);
    static const uint64_t wrong[] = {0, 0x80000000, 0xFFFFFFFF};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        put(bytes_of(file) + 24, wrong[i], 4, false);
        expect_refused(file.data, file.size, MAGPIE_E_UNSUPPORTED, "Hz");
    }
    put(bytes_of(file) + 24, RATE, 4, false);
    put(bytes_of(file) + 22, 0, 2, false);
    expect_refused(file.data, file.size, MAGPIE_E_UNSUPPORTED, "channels");
    release(file);
}

/* ---- headers ---- */

/* What libsndfile would go on to parse, and what nothing here does. */
static void test_codings(void **state) {
    (void)state;
    static const struct {
        int format;
        const char *words;
    } others[] = {{SF_FORMAT_WAV | SF_FORMAT_IMA_ADPCM, "IMA ADPCM"},
                  {SF_FORMAT_WAV | SF_FORMAT_MS_ADPCM, "Microsoft ADPCM"},
                  {SF_FORMAT_WAV | SF_FORMAT_GSM610, "GSM"},
                  {SF_FORMAT_WAV | SF_FORMAT_G721_32, "G.721"},
                  {SF_FORMAT_WAV | SF_FORMAT_NMS_ADPCM_16, "0x0038"},
                  {SF_FORMAT_AIFF | SF_FORMAT_IMA_ADPCM, "'ima4'"},
                  {SF_FORMAT_AIFF | SF_FORMAT_GSM610, "'GSM '"},
                  {SF_FORMAT_AIFF | SF_FORMAT_DWVW_16, "'DWVW'"},
                  {SF_FORMAT_CAF | SF_FORMAT_PCM_16, "CAF"},
                  {SF_FORMAT_AU | SF_FORMAT_PCM_16, "AU"},
                  {SF_FORMAT_W64 | SF_FORMAT_PCM_16, "Wave64"},
                  {SF_FORMAT_SVX | SF_FORMAT_PCM_16, "16SV"}};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        magpie_string file = make(others[i].format, false);
        expect_refused(file.data, file.size, MAGPIE_E_UNSUPPORTED, others[i].words);
        release(file);
    }
    magpie_string file = make(SF_FORMAT_WAV | SF_FORMAT_PCM_24, false);
    put(bytes_of(file) + 32, 4, 2, false);
    expect_refused(file.data, file.size, MAGPIE_E_UNSUPPORTED, "24 bits in four bytes");
    put(bytes_of(file) + 34, 40, 2, false);
    expect_refused(file.data, file.size, MAGPIE_E_UNSUPPORTED, "40 bits");
    put(bytes_of(file) + 34, 0, 2, false);
    expect_refused(file.data, file.size, MAGPIE_E_UNSUPPORTED, "0 bits");
    put(bytes_of(file) + 20, 0x55, 2, false);
    expect_refused(file.data, file.size, MAGPIE_E_UNSUPPORTED, "a WAV of MP3");
    release(file);
    file = make(SF_FORMAT_FLAC | SF_FORMAT_PCM_16, false);
    bytes_of(file)[20] = (char)(bytes_of(file)[20] & ~1); /* 20 bits in place of 16 */
    bytes_of(file)[21] = (char)((bytes_of(file)[21] & 15) | 3 << 4);
    bytes_of(file)[20] = (char)(bytes_of(file)[20] | 1);
    expect_refused(file.data, file.size, MAGPIE_E_UNSUPPORTED, "20 bits");
    release(file);
}

static void expect_count(magpie_string file, size_t count) {
    magpie_status status = hear_bytes(file.data, file.size);
    if (status != MAGPIE_OK || heard_count != count)
        fail_msg("%zu samples, not %zu: %s", heard_count, count, status == MAGPIE_OK ? "" : magpie_error());
}

/* Lengths that are not so: what there is, up to what is claimed. */
static void test_lengths_that_lie(void **state) {
    (void)state;
    static const uint64_t large[] = {2 * FRAMES + 1, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF};
    magpie_string file = make(SF_FORMAT_WAV | SF_FORMAT_PCM_16, false);
    for (size_t i = 0; i < sizeof large / sizeof *large; i++) {
        put(bytes_of(file) + 40, large[i], 4, false);
        put(bytes_of(file) + 4, large[sizeof large / sizeof *large - 1 - i], 4, false);
        expect_count(file, FRAMES);
    }
    put(bytes_of(file) + 40, 2 * 1000, 4, false);
    expect_count(file, 1000);
    put(bytes_of(file) + 40, 2 * 1000 + 1, 4, false);
    expect_count(file, 1000);
    put(bytes_of(file) + 40, 0, 4, false);
    expect_refused(file.data, file.size, MAGPIE_E_INPUT, "no samples");
    static const uint64_t unwritten[] = {0, 8, 35};
    for (size_t i = 0; i < sizeof unwritten / sizeof *unwritten; i++) {
        put(bytes_of(file) + 4, unwritten[i], 4, false);
        expect_count(file, FRAMES);
    }
    put(bytes_of(file) + 16, 0xFFFFFFFF, 4, false);
    expect_refused(file.data, file.size, MAGPIE_E_INPUT, "no samples");
    release(file);

    file = make(SF_FORMAT_RF64 | SF_FORMAT_PCM_16, false);
    assert_memory_equal(file.data + 12, "ds64", 4);
    put(bytes_of(file) + 28, UINT64_MAX, 8, false);
    expect_count(file, FRAMES);
    put(bytes_of(file) + 28, 500, 8, false);
    expect_count(file, 250);
    put(bytes_of(file) + 28, 0, 8, false);
    expect_count(file, FRAMES);
    release(file);

    file = make(SF_FORMAT_AIFF | SF_FORMAT_PCM_16, false);
    assert_memory_equal(file.data + 38, "SSND", 4);
    put(bytes_of(file) + 22, 0xFFFFFFFF, 4, true); /* frames, as COMM has it */
    expect_count(file, FRAMES);
    put(bytes_of(file) + 42, 0xFFFFFFFF, 4, true);
    expect_count(file, FRAMES);
    put(bytes_of(file) + 42, 8 + 2 * 700, 4, true);
    expect_count(file, 700);
    put(bytes_of(file) + 46, 2 * 100, 4, true); /* a gap before the first sample */
    expect_count(file, 600);
    put(bytes_of(file) + 46, 0xFFFFFFFF, 4, true);
    expect_refused(file.data, file.size, MAGPIE_E_INPUT, "no samples");
    put(bytes_of(file) + 42, 7, 4, true);
    expect_refused(file.data, file.size, MAGPIE_E_INPUT, "no samples");
    release(file);

    file = make(SF_FORMAT_FLAC | SF_FORMAT_PCM_16, false);
    put(bytes_of(file) + 22, 0xFFFFFFFF, 4, true);
    expect_count(file, FRAMES);
    put(bytes_of(file) + 22, 1234, 4, true);
    expect_count(file, 1234);
    put(bytes_of(file) + 22, 0, 4, true);
    expect_count(file, FRAMES);
    put(bytes_of(file) + 5, 35, 3, true);
    expect_refused(file.data, file.size, MAGPIE_E_INPUT, "FLAC");
    release(file);
}

/* Chunks or tags without end take neither time nor memory. */
static void test_endless_chunks(void **state) {
    (void)state;
    enum { CHUNKS = 1 << 20 };
    magpie_text text = {0};
    magpie_string wav = make(SF_FORMAT_WAV | SF_FORMAT_PCM_16, false);
    magpie_text_append(&text, wav.data, 12);
    for (size_t i = 0; i < CHUNKS; i++) magpie_text_append(&text, "LIST\0\0\0\0", 8);
    magpie_text_append(&text, wav.data + 12, wav.size - 12);
    assert_ok(magpie_text_status(&text));
    expect_refused(text.data, text.size, MAGPIE_E_INPUT, "broken WAV");
    magpie_text_clear(&text);
    for (size_t i = 0; i < CHUNKS; i++) magpie_text_append(&text, "ID3\3\0\0\0\0\0\0", 10);
    magpie_text_append(&text, wav.data, wav.size);
    assert_ok(magpie_text_status(&text));
    expect_refused(text.data, text.size, MAGPIE_E_INPUT, "not a sound");
    magpie_text_free(&text);
    release(wav);
}

/* ---- Ogg ---- */

typedef struct bit_writer {
    magpie_text text;
    unsigned char byte;
    int filled;
} bit_writer;

static void put_bits(bit_writer *w, uint64_t value, int count) {
    for (int i = 0; i < count; i++) {
        w->byte = (unsigned char)(w->byte | (value >> i & 1) << w->filled);
        if (++w->filled < 8) continue;
        magpie_text_append(&w->text, &w->byte, 1);
        w->byte = 0;
        w->filled = 0;
    }
}

static void append_pages(magpie_text *text, ogg_stream_state *stream) {
    ogg_page page;
    while (ogg_stream_flush(stream, &page)) {
        magpie_text_append(text, page.header, (size_t)page.header_len);
        magpie_text_append(text, page.body, (size_t)page.body_len);
    }
}

static void append_packet(magpie_text *text, ogg_stream_state *stream, const void *bytes, size_t size,
                          bool first, bool last, int64_t granule) {
    ogg_packet packet = {.packet = (unsigned char *)(uintptr_t)bytes,
                         .bytes = (long)size,
                         .b_o_s = first,
                         .e_o_s = last,
                         .granulepos = granule};
    assert_int_equal(ogg_stream_packetin(stream, &packet), 0);
    append_pages(text, stream);
}

/* A Vorbis file with `books` code books of that many words and dimensions, each said in a few bits
 * ("ordered", all of one length), and after them nothing that makes sense. */
static magpie_text vorbis_with_books(int books, long words, int length, int dimensions) {
    static const char head[] = "\1vorbis\0\0\0\0\1\x80\x3E\0\0\0\0\0\0\0\0\0\0\0\0\0\0\xB8\1";
    static const char comments[] = "\3vorbis\0\0\0\0\0\0\0\0\1";
    bit_writer setup = {0};
    magpie_text text = {0};
    ogg_stream_state stream;
    int bits = 0;
    while (words >> bits) bits++;
    for (const char *c = "\5vorbis"; *c; c++) put_bits(&setup, (unsigned char)*c, 8);
    put_bits(&setup, (uint64_t)(books - 1), 8);
    for (int i = 0; i < books; i++) {
        put_bits(&setup, 0x564342, 24);
        put_bits(&setup, (uint64_t)dimensions, 16);
        put_bits(&setup, (uint64_t)words, 24);
        put_bits(&setup, 1, 1);
        put_bits(&setup, (uint64_t)(length - 1), 5);
        put_bits(&setup, (uint64_t)words, bits);
        put_bits(&setup, 0, 4);
    }
    for (int i = 0; i < 40; i++) put_bits(&setup, 0, 8);
    assert_int_equal(ogg_stream_init(&stream, 1), 0);
    append_packet(&text, &stream, head, sizeof head - 1, true, false, 0);
    append_packet(&text, &stream, comments, sizeof comments - 1, false, false, 0);
    append_packet(&text, &stream, setup.text.data, setup.text.size, false, true, 0);
    ogg_stream_clear(&stream);
    magpie_text_free(&setup.text);
    assert_ok(magpie_text_status(&text));
    return text;
}

/* What libvorbis would allocate on the stack, or 256 times on the heap; libvorbis 1.3.7 dies of the first. */
static void test_vorbis_bombs(void **state) {
    (void)state;
    static const struct {
        int books;
        long words;
        int length, dimensions;
        magpie_status status;
        const char *words_of_error;
    } cases[] = {{1, (1 << 23) - 1, 23, 1, MAGPIE_E_TOO_LARGE, "8388607 words"},
                 {256, (1 << 23) - 1, 23, 1, MAGPIE_E_TOO_LARGE, "8388607 words"},
                 {1, 1 << 21, 21, 1, MAGPIE_E_TOO_LARGE, "2097152 words"},
                 {256, 1 << 15, 15, 127, MAGPIE_E_TOO_LARGE, "32768 words of 127"},
                 {1, 256, 8, 0, MAGPIE_E_INPUT, "code book 0 is none"},
                 {3, 256, 8, 2, MAGPIE_E_INPUT, "setup header"},
                 {1, 1 << 15, 15, 1, MAGPIE_E_INPUT, "setup header"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        magpie_text text =
            vorbis_with_books(cases[i].books, cases[i].words, cases[i].length, cases[i].dimensions);
        expect_refused(text.data, text.size, cases[i].status, cases[i].words_of_error);
        magpie_text_free(&text);
    }
}

/* The same file with a second packet, its comments, of `size` bytes. */
static magpie_text with_comments(magpie_string whole, const char *magic, size_t size) {
    magpie_text text = {0};
    char *comments = calloc(size, 1);
    ogg_sync_state sync;
    ogg_stream_state in, out;
    ogg_page page;
    ogg_packet packet;
    assert_non_null(comments);
    memcpy(comments, magic, strlen(magic));
    ogg_sync_init(&sync);
    memcpy(ogg_sync_buffer(&sync, (long)whole.size), whole.data, whole.size);
    assert_int_equal(ogg_sync_wrote(&sync, (long)whole.size), 0);
    assert_int_equal(ogg_stream_init(&out, 7), 0);
    for (int n = 0; ogg_sync_pageout(&sync, &page) == 1;) {
        if (n == 0) assert_int_equal(ogg_stream_init(&in, ogg_page_serialno(&page)), 0);
        assert_int_equal(ogg_stream_pagein(&in, &page), 0);
        for (; ogg_stream_packetout(&in, &packet) == 1; n++)
            append_packet(&text, &out, n == 1 ? (void *)comments : packet.packet,
                          n == 1 ? size : (size_t)packet.bytes, n == 0, packet.e_o_s, packet.granulepos);
    }
    ogg_stream_clear(&in);
    ogg_stream_clear(&out);
    ogg_sync_clear(&sync);
    free(comments);
    assert_ok(magpie_text_status(&text));
    return text;
}

/* A packet without an end is not kept without an end: AUDIO_ALLOWANCE is between the two. */
static void test_endless_packet(void **state) {
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        magpie_string whole = make(SF_FORMAT_OGG | (kind ? SF_FORMAT_OPUS : SF_FORMAT_VORBIS), false);
        const char *magic = kind ? "OpusTags" : "\3vorbis";
        magpie_text text = with_comments(whole, magic, 25 << 20);
        assert_int_equal(hear_bytes(text.data, text.size), MAGPIE_OK);
        assert_int_equal(heard_count, FRAMES);
        magpie_text_free(&text);
        text = with_comments(whole, magic, 35 << 20);
        expect_refused(text.data, text.size, MAGPIE_E_INPUT, "a header is missing");
        magpie_text_free(&text);
        release(whole);
    }
}

/* Of streams one behind the other, here of one serial number, the first is heard. */
static void test_chained(void **state) {
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        magpie_string whole = make(SF_FORMAT_OGG | (kind ? SF_FORMAT_OPUS : SF_FORMAT_VORBIS), false);
        magpie_text text = {0};
        for (int i = 0; i < 3; i++) magpie_text_append(&text, whole.data, whole.size);
        assert_ok(magpie_text_status(&text));
        assert_int_equal(hear_bytes(text.data, text.size), MAGPIE_OK);
        assert_int_equal(heard_count, FRAMES);
        magpie_text_free(&text);
        release(whole);
    }
}

static void test_ogg_of_others(void **state) {
    (void)state;
    static const struct {
        const char *packet;
        size_t size;
        const char *words;
    } cases[] = {{"\x7F"
                  "FLAC\1\0\0\1fLaC",
                  13, "Ogg of FLAC"},
                 {"Speex   1.2", 11, "Speex"},
                 {"\x80theora\3\2\1", 10, "Theora"},
                 {"fishead\0\3\0", 10, "several streams"},
                 {"something else", 14, "not known"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        magpie_text text = {0};
        ogg_stream_state stream;
        assert_int_equal(ogg_stream_init(&stream, 1), 0);
        append_packet(&text, &stream, cases[i].packet, cases[i].size, true, false, 0);
        ogg_stream_clear(&stream);
        expect_refused(text.data, text.size, MAGPIE_E_UNSUPPORTED, cases[i].words);
        magpie_text_free(&text);
    }
}

/* Positions of an Opus file's last two pages that are none. Of the first pair libsndfile 1.2 makes half a day
 * of silence, in an allocation of 8 GiB. */
static void test_opus_positions(void **state) {
    (void)state;
    static const int64_t huge = (int64_t)1 << 40;
    const int64_t positions[][2] = {{huge, huge - ((int64_t)1 << 31) - 1000},
                                    {0, 0},
                                    {1, 1},
                                    {0, INT64_MAX},
                                    {INT64_MAX, INT64_MAX},
                                    {INT64_MAX, 0},
                                    {-1, -1},
                                    {-2, -2},
                                    {-2, 4000},
                                    {INT64_MIN, INT64_MIN},
                                    {INT64_MIN, INT64_MAX}};
    static const float samples[3 * 48000];
    magpie_string whole = sound_write(SF_FORMAT_OGG | SF_FORMAT_OPUS, 48000, 1, samples, 3 * 48000);
    for (size_t i = 0; i < sizeof positions / sizeof *positions; i++)
        for (int from = 2; from <= 3; from++) { /* the page behind the headers, or the one after it */
            magpie_text text = {0};
            ogg_sync_state sync;
            ogg_page page;
            ogg_sync_init(&sync);
            memcpy(ogg_sync_buffer(&sync, (long)whole.size), whole.data, whole.size);
            assert_int_equal(ogg_sync_wrote(&sync, (long)whole.size), 0);
            while (ogg_sync_pageout(&sync, &page) == 1) {
                bool last = ogg_page_eos(&page);
                if (last || ogg_page_pageno(&page) >= from)
                    put((char *)page.header + 6, (uint64_t)positions[i][last], 8, false);
                ogg_page_checksum_set(&page);
                magpie_text_append(&text, page.header, (size_t)page.header_len);
                magpie_text_append(&text, page.body, (size_t)page.body_len);
            }
            ogg_sync_clear(&sync);
            magpie_status status = hear_bytes(text.data, text.size);
            assert_true(status == MAGPIE_OK || status == MAGPIE_E_INPUT);
            assert_true(heard_count <= (3 * 48000 + 2880) / 3);
            magpie_text_free(&text);
        }
    release(whole);
}

/* ---- damage ---- */

/* Cut off anywhere: refused, or the beginning of what was there. */
static void test_truncated(void **state) {
    (void)state;
    static float whole[FRAMES + 4096];
    for (size_t k = 0; k < KINDS; k++) {
        magpie_string file = make(kinds[k].format, false);
        assert_ok(hear((magpie_media){.bytes = file}, INFINITY));
        size_t count = heard_count, most = 0;
        assert_true(count <= FRAMES + 4096);
        memcpy(whole, heard_samples, count * sizeof *whole);
        for (size_t size = 0; size < file.size; size += 1 + size / 300) {
            magpie_status status = hear_bytes(file.data, size);
            if (status != MAGPIE_OK && status != MAGPIE_E_INPUT)
                fail_msg("%s: cut to %zu of %zu bytes: %s", kinds[k].name, size, file.size, magpie_error());
            if (status != MAGPIE_OK) continue;
            if (heard_count < most || heard_count > count + 1152)
                fail_msg("%s: cut to %zu of %zu bytes: %zu samples", kinds[k].name, size, file.size,
                         heard_count);
            most = heard_count;
            for (size_t i = 0; i < heard_count && i < count; i++)
                if (heard_samples[i] != whole[i])
                    fail_msg("%s: cut to %zu of %zu bytes: sample %zu of %zu differs", kinds[k].name, size,
                             file.size, i, heard_count);
        }
        bool one_page =
            (kinds[k].format & SF_FORMAT_TYPEMASK) == SF_FORMAT_OGG; /* which is whole or is not there */
        if (most < count / 2 && !one_page) fail_msg("%s: %zu of %zu samples", kinds[k].name, most, count);
        release(file);
    }
}

/* Bytes anywhere: refused in words, or heard; then a sound sounds as before. Nothing is printed. */
static void test_damaged(void **state) {
    (void)state;
    enum { TIMES = 300 };
    random_state random = {5};
    char *printed = in_folder("printed");
    int to = open(printed, O_CREAT | O_RDWR | O_TRUNC, 0600), out = dup(1), err = dup(2);
    assert_true(to >= 0 && out >= 0 && err >= 0);
    fflush(stdout);
    bool fine = true;
    magpie_string sound = make(SF_FORMAT_FLAC | SF_FORMAT_PCM_16, false);
    dup2(to, 1);
    dup2(to, 2);
    for (size_t k = 0; k < KINDS && fine; k++) {
        magpie_string file = make(kinds[k].format, false);
        for (size_t n = 0; n < TIMES && fine; n++) {
            char *copy = malloc(file.size);
            if (!copy) abort();
            memcpy(copy, file.data, file.size);
            for (size_t i = 1 + random_below(&random, 20); i; i--)
                copy[random_below(&random, random_below(&random, 2) ? file.size : 200)] =
                    (char)random_u64(&random);
            magpie_status status = hear((magpie_media){.bytes = {copy, file.size}}, 2);
            fine = status == MAGPIE_OK || ((status == MAGPIE_E_INPUT || status == MAGPIE_E_UNSUPPORTED ||
                                            status == MAGPIE_E_TOO_LARGE) &&
                                           strlen(magpie_error()) > 8);
            free(copy);
        }
        fine = fine && hear((magpie_media){.bytes = sound}, INFINITY) == MAGPIE_OK && heard_count == FRAMES;
        release(file);
    }
    fflush(stdout);
    dup2(out, 1);
    dup2(err, 2);
    struct stat info;
    assert_int_equal(fstat(to, &info), 0);
    assert_int_equal(info.st_size, 0);
    assert_true(fine);
    close(to);
    close(out);
    close(err);
    assert_int_equal(unlink(printed), 0);
    free(printed);
    release(sound);
}

/* The same status and samples, whatever malloc gives. (Where a sanitizer has its own malloc, this says
 * nothing; there the fuzz targets do, which hear everything twice.) */
static void expect_heap_does_not_matter(const char *what, size_t number, const void *bytes, size_t size) {
    static float before[HEARD_MAX];
    magpie_media sound = {.bytes = {bytes, size}};
    (void)mallopt(M_PERTURB, 0x41);
    magpie_status status = hear(sound, 2);
    size_t count = heard_count;
    memcpy(before, heard_samples, sizeof before);
    (void)mallopt(M_PERTURB, 0xBE);
    if (hear(sound, 2) != status || heard_count != count ||
        memcmp(before, heard_samples, (count < HEARD_MAX ? count : HEARD_MAX) * sizeof *before) != 0)
        fail_msg("%s, damage %zu: other samples from another heap", what, number);
    (void)mallopt(M_PERTURB, 0);
}

/* Nothing is read that has not been written. */
static void test_heap_does_not_matter(void **state) {
    (void)state;
    enum { TIMES = 100, SHORT = 4000, FOUND = 1297 };
    static float samples[2 * SHORT];
    random_state random = {11};
    for (size_t i = 0; i < 2 * SHORT; i++) samples[i] = (float)sin((double)(i * i) * 1e-5) / 2;
    for (size_t k = 0; k < KINDS; k++) {
        magpie_string file = sound_write(kinds[k].format, RATE, 2, samples, SHORT);
        char *copy = malloc(file.size);
        assert_non_null(copy);
        for (size_t n = 0; n < TIMES; n++) {
            memcpy(copy, file.data, file.size);
            for (size_t i = 1 + random_below(&random, 8); i; i--)
                copy[random_below(&random, file.size)] = (char)random_u64(&random);
            expect_heap_does_not_matter(kinds[k].name, n, copy, file.size);
        }
        free(copy);
        release(file);
    }
    /* Found by fuzzing: libmpg123 1.31 as it comes gives what was on the heap. */
    char mp3[FOUND] = "\xFF\xF3\x88";
    memcpy(mp3 + 21, "Xing", 4);
    memcpy(mp3 + 288, "\xFF\xF3\x98\0\0\x09\x58", 7);
    memcpy(mp3 + 301, "\x10\xD8\0\xD2\xA9\xBF\0\xFF", 8);
    memcpy(mp3 + 441, "\x7C\xFE\x27\0\xF5\xFF", 6);
    expect_heap_does_not_matter("MP3", 0, mp3, FOUND);
    assert_true(heard_count > 0);
}

/* A FLAC with a bit wrong in the middle of its frames: its first frames are heard as they were. */
static void test_heard_up_to_there(void **state) {
    (void)state;
    enum { LONG = 40000 };
    static float samples[LONG];
    static const int formats[] = {SF_FORMAT_FLAC | SF_FORMAT_PCM_16, SF_FORMAT_OGG | SF_FORMAT_OPUS,
                                  SF_FORMAT_OGG | SF_FORMAT_VORBIS,
                                  SF_FORMAT_MPEG | SF_FORMAT_MPEG_LAYER_III};
    random_state random = {1};
    for (size_t i = 0; i < LONG; i++) samples[i] = (float)((double)random_below(&random, 256) / 128 - 1) / 2;
    for (size_t f = 0; f < sizeof formats / sizeof *formats; f++) {
        magpie_string file = sound_write(formats[f], RATE, 1, samples, LONG);
        static float whole[LONG + 4096];
        assert_ok(hear((magpie_media){.bytes = file}, INFINITY));
        memcpy(whole, heard_samples, heard_count * sizeof *whole);
        char *bytes = bytes_of(file);
        for (size_t i = 0; i < 200; i++)
            bytes[file.size * 3 / 4 + i] = (char)(bytes[file.size * 3 / 4 + i] ^ 0x55);
        assert_ok(hear((magpie_media){.bytes = file}, INFINITY));
        assert_true(heard_count > LONG / 3);
        assert_memory_equal(heard_samples, whole, LONG / 3 * sizeof *whole);
        release(file);
    }
}

static size_t open_files(void) {
    DIR *directory = opendir("/proc/self/fd");
    size_t count = 0;
    assert_non_null(directory);
    while (readdir(directory)) count++;
    closedir(directory);
    return count;
}

/* Sounds that failed, or were given up, or came to their end leave no file open. */
static void test_no_file_is_left_open(void **state) {
    (void)state;
    char *path = in_folder("sound");
    size_t before = open_files(), got;
    float samples[100];
    for (size_t k = 0; k < KINDS; k++) {
        magpie_string file = make(kinds[k].format, false);
        for (size_t size = file.size; size > 20; size /= 2) {
            write_file(path, file.data, size);
            magpie_media sound = {.path = path};
            if (audio_decoder_open(decoder, &sound, INFINITY) == MAGPIE_OK)
                assert_ok(audio_decoder_read(decoder, samples, 100, &got));
            (void)hear(sound, INFINITY);
            assert_int_equal(open_files(), before);
        }
        release(file);
    }
    assert_int_equal(unlink(path), 0);
    free(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_formats),
        cmocka_unit_test(test_noise),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_shrinking),
        cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_no_samples),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_codings),
        cmocka_unit_test(test_lengths_that_lie),
        cmocka_unit_test(test_endless_chunks),
        cmocka_unit_test(test_vorbis_bombs),
        cmocka_unit_test(test_endless_packet),
        cmocka_unit_test(test_chained),
        cmocka_unit_test(test_ogg_of_others),
        cmocka_unit_test(test_opus_positions),
        cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_heap_does_not_matter),
        cmocka_unit_test(test_heard_up_to_there),
        cmocka_unit_test(test_no_file_is_left_open),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
