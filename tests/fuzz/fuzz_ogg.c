/* fuzz_ogg.c - any bytes as an Ogg Vorbis or Ogg Opus: refused in words, or the same samples each time.
 *
 * A page whose checksum is wrong is not there, which would end nearly every mutation in the framing: every
 * other input has its checksums set right first. */
#include "fuzz_audio.h"

#include <ogg/ogg.h>

static const struct {
    int format, rate, channels;
} seeds[] = {{SF_FORMAT_OGG | SF_FORMAT_VORBIS, 8000, 1},
             {SF_FORMAT_OGG | SF_FORMAT_VORBIS, 22050, 2},
             {SF_FORMAT_OGG | SF_FORMAT_OPUS, 8000, 1},
             {SF_FORMAT_OGG | SF_FORMAT_OPUS, 48000, 2},
             {SF_FORMAT_OGG | SF_FORMAT_OPUS, 24000, 6}};
enum { COUNT = sizeof seeds / sizeof *seeds };

fuzz_seed fuzz_seeds[COUNT];
const size_t fuzz_seed_count = COUNT;

__attribute__((constructor)) static void make_seeds(void) {
    for (size_t i = 0; i < COUNT; i++)
        fuzz_make_seed(i, seeds[i].format, seeds[i].rate, seeds[i].channels, 1200);
}

static void set_checksums(uint8_t *data, size_t size) {
    enum { HEAD = 27 };
    for (size_t at = 0; size - at >= HEAD && memcmp(data + at, "OggS", 4) == 0;) {
        size_t segments = data[at + HEAD - 1], body = 0;
        if (size - at - HEAD < segments) return;
        for (size_t i = 0; i < segments; i++) body += data[at + HEAD + i];
        if (size - at - HEAD - segments < body) return;
        ogg_page page = {data + at, (long)(HEAD + segments), data + at + HEAD + segments, (long)body};
        ogg_page_checksum_set(&page);
        at += HEAD + segments + body;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static bool as_it_is;
    uint8_t *copy = malloc(size ? size : 1);
    if (!copy) abort();
    memcpy(copy, data, size);
    as_it_is = !as_it_is;
    if (!as_it_is) set_checksums(copy, size);
    fuzz_hear(copy, size);
    free(copy);
    return 0;
}
