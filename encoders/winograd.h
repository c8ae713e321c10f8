/* winograd.h - 3 x 3 convolutions by minimal filtering, F(2 x 2, 3 x 3) of Lavin and Gray 2015 (section 4.1): the
 * transforms before and behind its products. Private to the cpu backend.
 *
 * Every 4 x 4 pixels of x, two apart, with a border of zeros, are a tile d of one channel, which gives 2 x 2 of y:
 *     y = A^T ((G g G^T) * (B^T d B)) A
 *     B^T = 1  0 -1  0    G = 1    0   0     A^T = 1 1  1  0
 *           0  1  1  0        1/2  1/2 1/2         0 1 -1 -1
 *           0 -1  1  0        1/2 -1/2 1/2
 *           0  1  0 -1        0    0   1
 * * is elementwise: of all tiles and channels, 16 products of matrices. That is 16 multiplications for 36.
 *
 * Maps are bf16, [channels / 16, height, width, 16]. B^T d B is summed in f32 and rounded once more to bf16 than a
 * direct convolution rounds: its error, of about 2^-8 of the largest, is near that of rounding y. */
#ifndef MAGPIE_WINOGRAD_H
#define MAGPIE_WINOGRAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { WINOGRAD_PLACES = 16, WINOGRAD_BLOCK = 16 /* channels side by side */ };

/* Some rows of tiles of one picture's map: `rows` from `first` on, of ceil(height / 2). */
typedef struct winograd_band {
    size_t height, width, channels;
    size_t first, rows;
    size_t tiles; /* the matrices' height, at least rows ceil(width / 2); what is beyond is left alone */
} winograd_band;

/* v [WINOGRAD_PLACES, tiles, channels] bf16 = B^T d B of the band of x. */
void winograd_forward(const uint16_t *x, const winograd_band *band, uint16_t *v);

/* y's pixels of the band = A^T m A + bias [channels], m [WINOGRAD_PLACES, tiles, channels] f32; `residual`: + what y
 * was; `relu`: not below 0. */
typedef struct winograd_end {
    const float *bias;
    bool relu, residual;
} winograd_end;
void winograd_inverse(const float *m, const winograd_band *band, const winograd_end *end, uint16_t *y);

#endif
