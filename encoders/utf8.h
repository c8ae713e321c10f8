/* utf8.h - code points out of UTF-8 and into it, for text that magpie_utf8_check has passed. Private to
 * encoders/. */
#ifndef MAGPIE_UTF8_H
#define MAGPIE_UTF8_H

#include <stddef.h>
#include <stdint.h>

enum { UTF8_BYTES_MAX = 4 };

/* The code point at `s`, *size set to its bytes. `s` must be valid: nothing is checked. */
static inline uint32_t utf8_decode(const char *s, size_t *size) {
    const unsigned char *b = (const unsigned char *)s;
    if (b[0] < 0x80) return *size = 1, b[0];
    if (b[0] < 0xE0) return *size = 2, (b[0] & 0x1Fu) << 6 | (b[1] & 0x3Fu);
    if (b[0] < 0xF0) return *size = 3, (b[0] & 0x0Fu) << 12 | (b[1] & 0x3Fu) << 6 | (b[2] & 0x3Fu);
    return *size = 4, (b[0] & 0x07u) << 18 | (b[1] & 0x3Fu) << 12 | (b[2] & 0x3Fu) << 6 | (b[3] & 0x3Fu);
}

/* Writes `c` to out [UTF8_BYTES_MAX]; returns how many bytes that took. */
static inline size_t utf8_encode(uint32_t c, char *out) {
    if (c < 0x80) return out[0] = (char)c, 1;
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--, c >>= 6) out[i] = (char)(0x80 | (c & 0x3F));
    out[0] = (char)((0xF00 >> n & 0xFF) | c);
    return n;
}

/* Bytes 10xxxxxx only go on with a character. */
static inline int utf8_is_continuation(char byte) { return ((unsigned char)byte & 0xC0) == 0x80; }

#endif
