/* image_kernels.h - the two passes of a resize, compiled once for each width of vector (as simd.h's
 * kernels are). Private to image_resize.c, whose reference is the oracle.
 *
 * Whole numbers throughout, so every level gives the same bytes. */
#ifndef MAGPIE_IMAGE_KERNELS_H
#define MAGPIE_IMAGE_KERNELS_H

#include <stddef.h>
#include <stdint.h>

enum {
    RESIZE_BITS = 32 - 8 - 2, /* of a coefficient behind the point: Pillow's PRECISION_BITS */
    RESIZE_ROWS = 16          /* rows that the horizontal pass takes at once */
};

/* How each pixel of one axis is made: pixel i is the sum of `taps` source pixels from first[i], times its
 * coefficients. The same number for all of them, with zeros behind those of fewer, so that loops are short
 * and predictable. */
typedef struct resize_axis {
    size_t count, taps;    /* pixels made; taps of each, even */
    uint32_t *first;       /* [count] */
    int32_t *coefficients; /* [count, taps] */
} resize_axis;

typedef struct image_table {
    const char *name;
    /* columns [n + padding, RESIZE_ROWS] of pixels of four bytes, the fourth of no meaning, from
     * rows [RESIZE_ROWS] of n RGB pixels */
    void (*interleave)(const uint8_t *const *rows, size_t n, uint8_t *columns);
    /* out [RESIZE_ROWS] rows of axis->count RGB pixels, each with room for one byte more, from `columns` */
    void (*across)(const uint8_t *columns, const resize_axis *axis, uint8_t *const *out);
    /* out [n]: bytes of `taps` rows, times their coefficients */
    void (*down)(const uint8_t *const *rows, const int32_t *coefficients, size_t taps, size_t n,
                 uint8_t *out);
} image_table;

/* The widest that this CPU runs, or the `below`-th below it; NULL below the narrowest. */
const image_table *image_kernels(size_t below);
/* For tests: a resizer takes the widest by itself. */
struct image_resizer;
void image_resizer_use(struct image_resizer *resizer, const image_table *kernels);

#endif
