/* test_sounds.h - sounds and a model out of nothing: WAV files, and a folder of an audio network with seeded
 * weights. */
#ifndef TEST_SOUNDS_H
#define TEST_SOUNDS_H

#include "encoders.h"
#include "seeded_sounds.h"

/* ---- WAV ---- */

static inline void write_wav_number(unsigned char *at, uint32_t value, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) at[i] = (unsigned char)(value >> 8 * i);
}

/* A RIFF WAVE file of 16-bit PCM, one channel. */
static inline void write_wav(const char *path, const int16_t *samples, size_t count, uint32_t rate) {
    unsigned char header[44] = "RIFF....WAVEfmt ....";
    const uint32_t size = (uint32_t)(count * sizeof *samples);
    write_wav_number(header + 4, 36 + size, 4);
    write_wav_number(header + 16, 16, 4);       /* bytes of the format */
    write_wav_number(header + 20, 1, 2);        /* PCM */
    write_wav_number(header + 22, 1, 2);        /* channels */
    write_wav_number(header + 24, rate, 4);     /* Hz */
    write_wav_number(header + 28, 2 * rate, 4); /* bytes a second */
    write_wav_number(header + 32, 2, 2);        /* bytes a sample of all channels */
    write_wav_number(header + 34, 16, 2);       /* bits */
    memcpy(header + 36, "data", 4);
    write_wav_number(header + 40, size, 4);
    FILE *file = fopen(path, "wb");
    if (!file) fail_msg("%s cannot be written", path);
    assert_int_equal(fwrite(header, 1, sizeof header, file), sizeof header);
    for (size_t i = 0; i < count; i++) {
        unsigned char sample[2];
        write_wav_number(sample, (uint16_t)samples[i], 2);
        assert_int_equal(fwrite(sample, 1, sizeof sample, file), sizeof sample);
    }
    assert_int_equal(fclose(file), 0);
}

/* A second or so of noise at 16 kHz; each seed has its own. */
static inline void write_sound(const char *path, unsigned seed, double seconds) {
    const uint32_t rate = 16000;
    const size_t count = (size_t)(seconds * rate);
    random_state random = {seed};
    int16_t *samples = malloc((count + 1) * sizeof *samples);
    assert_non_null(samples);
    for (size_t i = 0; i < count; i++) samples[i] = (int16_t)random_u64(&random);
    write_wav(path, samples, count, rate);
    free(samples);
}

/* ---- a model ---- */

/* Makes `folder` with the model `name` of tests/golden/audio_features.json in it; each seed has its own
 * weights. */
static inline void write_seeded_audio_model(const char *folder, const char *name, unsigned seed) {
    json_t *entry = seeded_audio_entry(name);
    seeded_write_as(folder, entry, seed);
    json_decref(entry);
}

/* The smallest without tags. */
static inline void write_audio_model(const char *folder, unsigned seed) {
    write_seeded_audio_model(folder, "ast-small", seed);
}

static inline magpie_audio_encoder *open_audio_model(const char *folder) {
    magpie_audio_encoder *encoder;
    const magpie_encoder_options options = {.precision = MAGPIE_PRECISION_F32, .threads = 2};
    assert_ok(magpie_audio_encoder_open(folder, &options, &encoder));
    return encoder;
}

#endif
