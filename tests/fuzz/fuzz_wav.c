/* fuzz_wav.c - any bytes as a WAV: refused in words, or the same samples each time. */
#include "fuzz_audio.h"

static const struct {
    int format, rate, channels;
} seeds[] = {{SF_FORMAT_WAV | SF_FORMAT_PCM_16, 16000, 1},
             {SF_FORMAT_WAV | SF_FORMAT_PCM_U8, 8000, 2},
             {SF_FORMAT_WAV | SF_FORMAT_FLOAT, 44100, 1},
             {SF_FORMAT_WAV | SF_FORMAT_PCM_24 | SF_ENDIAN_BIG, 22050, 1},
             {SF_FORMAT_WAVEX | SF_FORMAT_PCM_32, 48000, 3},
             {SF_FORMAT_RF64 | SF_FORMAT_DOUBLE, 11025, 1},
             {SF_FORMAT_WAV | SF_FORMAT_ULAW, 8000, 1}};
enum { COUNT = sizeof seeds / sizeof *seeds };

fuzz_seed fuzz_seeds[COUNT];
const size_t fuzz_seed_count = COUNT;

__attribute__((constructor)) static void make_seeds(void) {
    for (size_t i = 0; i < COUNT; i++)
        fuzz_make_seed(i, seeds[i].format, seeds[i].rate, seeds[i].channels, 50);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_hear(data, size);
    return 0;
}
