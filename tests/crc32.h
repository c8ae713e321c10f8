/* crc32.h - PNG's checksum, for tests that forge chunks. */
#ifndef MAGPIE_TESTS_CRC32_H
#define MAGPIE_TESTS_CRC32_H

#include <stddef.h>
#include <stdint.h>

static inline uint32_t crc32_of(const uint8_t *p, size_t size) {
    uint32_t crc = 0xFFFFFFFF;
    for (size_t i = 0; i < size; i++) {
        crc ^= p[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (0xEDB88320 & (0 - (crc & 1)));
    }
    return ~crc;
}

#endif
