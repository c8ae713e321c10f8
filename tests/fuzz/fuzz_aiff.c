/* fuzz_aiff.c - any bytes as an AIFF: refused in words, or the same samples each time. */
#include "fuzz_audio.h"

static const struct {
    int format, rate, channels;
} seeds[] = {{SF_FORMAT_AIFF | SF_FORMAT_PCM_16, 16000, 1},
             {SF_FORMAT_AIFF | SF_FORMAT_PCM_S8, 8000, 2},
             {SF_FORMAT_AIFF | SF_FORMAT_FLOAT, 44100, 1},
             {SF_FORMAT_AIFF | SF_FORMAT_PCM_24 | SF_ENDIAN_LITTLE, 22050, 3},
             {SF_FORMAT_AIFF | SF_FORMAT_DOUBLE, 11025, 1},
             {SF_FORMAT_AIFF | SF_FORMAT_ALAW, 8000, 1}};
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
