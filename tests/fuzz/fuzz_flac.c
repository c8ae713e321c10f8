/* fuzz_flac.c - any bytes as a FLAC: refused in words, or the same samples each time.
 *
 * A frame has a checksum of its head, without which it is not looked at, and one of all of it: every other
 * input has them set right first, as far as the frames are still where one begins. */
#include "fuzz_audio.h"

static const struct {
    int format, rate, channels;
} seeds[] = {{SF_FORMAT_FLAC | SF_FORMAT_PCM_16, 16000, 1},
             {SF_FORMAT_FLAC | SF_FORMAT_PCM_S8, 8000, 2},
             {SF_FORMAT_FLAC | SF_FORMAT_PCM_24, 44100, 1},
             {SF_FORMAT_FLAC | SF_FORMAT_PCM_16, 12345, 8}};
enum { COUNT = sizeof seeds / sizeof *seeds };

fuzz_seed fuzz_seeds[COUNT];
const size_t fuzz_seed_count = COUNT;

__attribute__((constructor)) static void make_seeds(void) {
    for (size_t i = 0; i < COUNT; i++)
        fuzz_make_seed(i, seeds[i].format, seeds[i].rate, seeds[i].channels, 200);
}

static uint32_t crc_of(const uint8_t *bytes, size_t size, uint32_t polynomial, unsigned width) {
    uint32_t crc = 0, top = 1u << (width - 1);
    for (size_t i = 0; i < size; i++) {
        crc ^= (uint32_t)bytes[i] << (width - 8);
        for (unsigned bit = 0; bit < 8; bit++) crc = crc & top ? crc << 1 ^ polynomial : crc << 1;
    }
    return crc & ((top << 1) - 1);
}

/* Bytes of a frame's head: sync, sizes, a number as in UTF-8, then a size and a rate where they are no usual
 * ones. */
static size_t head_size(const uint8_t *frame) {
    unsigned size = frame[2] >> 4, rate = frame[2] & 15, number = 1;
    for (uint8_t first = frame[4]; first >= 0xC0 && number < 7; first = (uint8_t)(first << 1)) number++;
    return 4 + number +
           (size == 6   ? 1
            : size == 7 ? 2
                        : 0) +
           (rate == 12                 ? 1
            : rate == 13 || rate == 14 ? 2
                                       : 0);
}

static bool is_sync(const uint8_t *at) { return at[0] == 0xFF && (at[1] & 0xFE) == 0xF8; }

static void set_checksums(uint8_t *data, size_t size) {
    enum { SMALLEST = 20 };
    for (size_t at = 0, next; at + SMALLEST < size; at = next) {
        for (next = at + 1; next + 1 < size && !is_sync(data + next);) next++;
        if (next + 1 >= size) next = size;
        if (!is_sync(data + at) || next - at < SMALLEST) continue;
        size_t head = head_size(data + at);
        data[at + head] = (uint8_t)crc_of(data + at, head, 0x07, 8);
        uint32_t crc = crc_of(data + at, next - at - 2, 0x8005, 16);
        data[next - 2] = (uint8_t)(crc >> 8);
        data[next - 1] = (uint8_t)crc;
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
