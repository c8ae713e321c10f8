/* seeded_sounds.h - the sounds that golden values are of, by whole numbers alone so that they are the same to
 * the bit everywhere; sound() of tests/golden/seeded.py is the same in Python. */
#ifndef MAGPIE_TESTS_SEEDED_SOUNDS_H
#define MAGPIE_TESTS_SEEDED_SOUNDS_H

#include "seeded_model.h"

enum { SEEDED_NOTE = 3200, SEEDED_BEAT = 8000 }; /* samples, 0.2 and 0.5 s at 16 kHz */

/* What is left of `level` after n samples: half of it after each `half`, straight lines between. */
static inline int64_t seeded_fade(int64_t level, int64_t n, int64_t half) {
    level >>= n / half < 40 ? n / half : 40;
    return level - level * (n % half) / (2 * half);
}

/* Frequencies are of 0.01 Hz at 16 kHz. From -level up to almost level. */
static inline int64_t seeded_triangle(int64_t n, int64_t frequency, int64_t level) {
    int64_t phase = n * frequency * 65536 / 1600000 & 65535;
    return ((phase < 32768 ? phase : 65535 - phase) * level >> 14) - level;
}

static inline int64_t seeded_square(int64_t n, int64_t frequency, int64_t level) {
    return n * 2 * frequency / 1600000 & 1 ? -level : level;
}

/* A string plucked anew at every note, the last four ringing on. */
static inline int64_t seeded_pluck(int64_t i) {
    static const int64_t melody[] = {22000, 26163, 32963, 44000, 39200, 32963, 26163, 32963,
                                     17461, 22000, 26163, 34923, 32963, 26163, 22000, 26163};
    int64_t x = 0;
    for (int64_t note = i / SEEDED_NOTE, last = note - 3; note >= 0 && note >= last; note--) {
        int64_t n = i - note * SEEDED_NOTE;
        int64_t frequency = melody[(size_t)note % (sizeof melody / sizeof *melody)];
        x += seeded_triangle(n, frequency, seeded_fade(2000, n, SEEDED_NOTE));
        x += seeded_square(n, 2 * frequency, seeded_fade(500, n, SEEDED_NOTE / 2));
        x += seeded_square(n, 3 * frequency, seeded_fade(250, n, SEEDED_NOTE / 4));
    }
    return x;
}

/* A low drum on every beat, a snare on every second, a cymbal on every half. `noise`: 16 bits. */
static inline int64_t seeded_drums(int64_t i, int64_t noise) {
    int64_t n = i % SEEDED_BEAT, level = seeded_fade(1200, i % (SEEDED_BEAT / 2), 200);
    if (i / SEEDED_BEAT % 2 == 1) level += seeded_fade(4000, n, 900);
    return (noise * level >> 15) - level + seeded_triangle(n, 5500, seeded_fade(6000, n, 1400));
}

/* The first `count` samples of "pluck", "drums", "noise" (white, as loud as can be) or "click" (silence
 * but for sample 37 and every 4,001st after it). A shorter sound is the start of a longer one. */
static inline void seeded_sound(const char *name, int16_t *out, size_t count) {
    random_state random = {fnv1a64(name)};
    for (size_t i = 0; i < count; i++) {
        const int64_t at = (int64_t)i, noise = (int64_t)(random_u64(&random) >> 48);
        if (strcmp(name, "pluck") == 0)
            out[i] = (int16_t)seeded_pluck(at);
        else if (strcmp(name, "drums") == 0)
            out[i] = (int16_t)seeded_drums(at, noise);
        else if (strcmp(name, "noise") == 0)
            out[i] = (int16_t)(noise - 32768);
        else if (strcmp(name, "click") == 0)
            out[i] = i % 4001 == 37 ? 16384 : 0;
        else
            fail_msg("there is no sound \"%s\"", name);
    }
}

/* The same as numbers of -1 to 1, as a decoder has them; to be freed. */
static inline float *seeded_sound_samples(const char *name, size_t count) {
    int16_t *whole = malloc((count ? count : 1) * sizeof *whole);
    float *samples = malloc((count ? count : 1) * sizeof *samples);
    assert_true(whole && samples);
    seeded_sound(name, whole, count);
    for (size_t i = 0; i < count; i++) samples[i] = (float)whole[i] / 32768;
    free(whole);
    return samples;
}

#endif
