/* fuzz_mp3.c - any bytes as an MP3: refused in words, or the same samples each time. */
#include "fuzz_audio.h"

static const struct { int rate, channels; } seeds[] = {{8000, 1}, {16000, 2}, {22050, 1}, {44100, 2}};
enum { COUNT = sizeof seeds / sizeof *seeds };

fuzz_seed fuzz_seeds[COUNT];
const size_t fuzz_seed_count = COUNT;

__attribute__((constructor)) static void make_seeds(void) {
    for (size_t i = 0; i < COUNT; i++)
        fuzz_make_seed(i, SF_FORMAT_MPEG | SF_FORMAT_MPEG_LAYER_III, seeds[i].rate, seeds[i].channels, 2000);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_hear(data, size);
    return 0;
}
