/* fuzz_audio.h - what the targets for sounds share: seeds that libsndfile writes at start, and decoders that
 * hear all inputs, so that what a broken sound leaves behind meets the next one. */
#ifndef MAGPIE_FUZZ_AUDIO_H
#define MAGPIE_FUZZ_AUDIO_H

#include "audio_decode.h"
#include "fuzz.h"
#include "sounds.h"

/* Half a tone and half noise, at -1 to 1, and short: an input is heard some thousand times a second. */
static inline void fuzz_make_seed(size_t seed, int format, int rate, int channels, size_t frames) {
    enum { SAMPLES_MAX = 8192 };
    static float samples[SAMPLES_MAX];
    uint64_t noise = seed + 1;
    for (size_t i = 0; i < frames * (size_t)channels && i < SAMPLES_MAX; i++) {
        noise = noise * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        samples[i] = (float)(0.4 * sin((double)i * 0.07) + 0.4 * ((double)(noise >> 40) * 0x1p-24 - 0.5));
    }
    magpie_string file = sound_write(format, rate, channels, samples, frames);
    if (!file.data) abort();
    fuzz_seeds[seed] = (fuzz_seed){file.data, file.size};
}

/* Hears at most a quarter of a second, so that neither a rate nor a length that was mutated makes an input
 * slow, and resamples. A failure has to be one of a sound, with words; *hash is of the samples. */
static inline magpie_status fuzz_listen(audio_decoder *decoder, const magpie_media *sound, size_t block,
                                        uint64_t *hash) {
    enum { BLOCK_MAX = 1024, COUNT_MAX = 16000 / 4 + 1000 };
    const double seconds = 0.25;
    float samples[BLOCK_MAX];
    size_t got = 1, count = 0;
    magpie_status status = audio_decoder_open(decoder, sound, seconds);
    for (*hash = 0; status == MAGPIE_OK && got; count += got) {
        status = audio_decoder_read(decoder, samples, block, &got);
        for (size_t i = 0; i < got; i++) {
            uint32_t bits;
            memcpy(&bits, &samples[i], sizeof bits);
            *hash = *hash * 31 + bits;
            if (!isfinite(samples[i])) abort();
        }
    }
    if (status == MAGPIE_OK) {
        if (count > COUNT_MAX) abort();
    } else if ((status != MAGPIE_E_INPUT && status != MAGPIE_E_TOO_LARGE && status != MAGPIE_E_UNSUPPORTED) ||
               strlen(magpie_error()) < 8) {
        abort();
    }
    return status;
}

/* Twice, in other blocks, by two decoders that have heard other things: the same. */
static inline void fuzz_hear(const uint8_t *data, size_t size) {
    static audio_decoder *first, *second;
    uint64_t a, b;
    magpie_media sound = {.bytes = {(const char *)data, size}};
    if (!first && (audio_decoder_create(16000, &first) != MAGPIE_OK ||
                   audio_decoder_create(16000, &second) != MAGPIE_OK))
        abort();
    magpie_status status = fuzz_listen(first, &sound, 1024, &a);
    if (fuzz_listen(second, &sound, 77, &b) != status || a != b) abort();
}

#endif
