/* bitmap.h - a set of the ordinals 0 .. size-1, one bit each. Private to index/.
 *
 * Words of 64 bits, whose bytes are on a little-endian machine just what FAISS's IDSelectorBitmap wants (bit
 * i % 8 of byte i / 8). Bits from `size` on are always zero, so that words can be counted and compared whole.
 */
#ifndef MAGPIE_BITMAP_H
#define MAGPIE_BITMAP_H

#include <stdlib.h>
#include <string.h>

#include "core.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "FAISS reads a bitmap by bytes, and we write it by words");

typedef struct magpie_bitmap {
    uint64_t *words; /* [magpie_bitmap_words(size)] */
    size_t size;
} magpie_bitmap;

static inline size_t magpie_bitmap_words(size_t size) { return size / 64 + (size % 64 != 0); }

/* All zero; to be freed with magpie_bitmap_free. */
static inline magpie_status magpie_bitmap_make(size_t size, magpie_bitmap *out) {
    *out = (magpie_bitmap){magpie_alloc(magpie_bitmap_words(size), sizeof(uint64_t)), size};
    return out->words ? MAGPIE_OK : MAGPIE_E_NO_MEMORY;
}

static inline void magpie_bitmap_free(magpie_bitmap *bitmap) {
    free(bitmap->words);
    *bitmap = (magpie_bitmap){0};
}

static inline bool magpie_bitmap_get(const magpie_bitmap *b, size_t i) {
    return b->words[i / 64] >> (i % 64) & 1;
}
static inline void magpie_bitmap_set(magpie_bitmap *b, size_t i) {
    b->words[i / 64] |= UINT64_C(1) << (i % 64);
}
static inline void magpie_bitmap_clear(magpie_bitmap *b, size_t i) {
    b->words[i / 64] &= ~(UINT64_C(1) << (i % 64));
}

/* The bits that the last word may use. */
static inline uint64_t magpie_bitmap_tail(size_t size) {
    return size % 64 ? (UINT64_C(1) << (size % 64)) - 1 : UINT64_MAX;
}

static inline void magpie_bitmap_fill(magpie_bitmap *b) {
    size_t n = magpie_bitmap_words(b->size);
    memset(b->words, 0xff, n * sizeof *b->words);
    if (n) b->words[n - 1] &= magpie_bitmap_tail(b->size);
}

static inline void magpie_bitmap_and(magpie_bitmap *b, const magpie_bitmap *other) {
    for (size_t i = 0; i < magpie_bitmap_words(b->size); i++) b->words[i] &= other->words[i];
}

static inline void magpie_bitmap_or(magpie_bitmap *b, const magpie_bitmap *other) {
    for (size_t i = 0; i < magpie_bitmap_words(b->size); i++) b->words[i] |= other->words[i];
}

static inline void magpie_bitmap_and_not(magpie_bitmap *b, const magpie_bitmap *other) {
    for (size_t i = 0; i < magpie_bitmap_words(b->size); i++) b->words[i] &= ~other->words[i];
}

static inline size_t magpie_bitmap_count(const magpie_bitmap *b) {
    size_t count = 0;
    for (size_t i = 0; i < magpie_bitmap_words(b->size); i++)
        count += (size_t)__builtin_popcountll(b->words[i]);
    return count;
}

#endif
