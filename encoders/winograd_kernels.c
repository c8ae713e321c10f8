/* winograd_kernels.c - see winograd.h. For the widest level alone: no CPU without bf16 products calls it. */
#include "winograd.h"

#include "simd_bf16.h"

/* One column of four pixels, or zeros, times B^T. */
INLINE void transform_column(const uint16_t *const row[4], size_t at, bool outside, vf e[4]) {
    vf d[4];
    for (int i = 0; i < 4; i++) d[i] = row[i] && !outside ? load_bf16(row[i] + at) : (vf){0};
    e[0] = d[0] - d[2];
    e[1] = d[1] + d[2];
    e[2] = d[2] - d[1];
    e[3] = d[1] - d[3];
}

/* One row of tiles of VL channels: x and v begin at the first of them. Two columns of a tile are the next one's. */
static void forward_row(const uint16_t *x, const winograd_band *b, size_t tile_row, uint16_t *v) {
    const size_t across = (b->width + 1) / 2, place = b->tiles * b->channels;
    const uint16_t *row[4];
    vf e[4][4]; /* by column */
    for (size_t i = 0; i < 4; i++) {
        const size_t below = 2 * tile_row + i; /* of 1 above */
        row[i] = below >= 1 && below <= b->height ? x + (below - 1) * b->width * WINOGRAD_BLOCK : NULL;
    }
    transform_column(row, 0, true, e[0]);
    transform_column(row, 0, false, e[1]);
    for (size_t t = 0; t < across; t++, v += b->channels) {
        const size_t right = 2 * t + 1;
        transform_column(row, right * WINOGRAD_BLOCK, right >= b->width, e[2]);
        transform_column(row, (right + 1) * WINOGRAD_BLOCK, right + 1 >= b->width, e[3]);
        for (size_t i = 0; i < 4; i++) {
            uint16_t *to = v + 4 * i * place;
            store_bf16(to, e[0][i] - e[2][i]);
            store_bf16(to + place, e[1][i] + e[2][i]);
            store_bf16(to + 2 * place, e[2][i] - e[1][i]);
            store_bf16(to + 3 * place, e[1][i] - e[3][i]);
        }
        memcpy(e[0], e[2], 2 * sizeof e[0]);
    }
}

void winograd_forward(const uint16_t *x, const winograd_band *b, uint16_t *v) {
    const size_t across = (b->width + 1) / 2, map = b->height * b->width * WINOGRAD_BLOCK;
    for (size_t r = 0; r < b->rows; r++)
        for (size_t c = 0; c < b->channels; c += VL)
            forward_row(x + c / WINOGRAD_BLOCK * map + c % WINOGRAD_BLOCK, b, b->first + r,
                        v + r * across * b->channels + c);
}

INLINE void finish(vf sum, vf bias, const winograd_end *end, uint16_t *y) {
    sum += bias;
    if (end->residual) sum += load_bf16(y);
    store_bf16(y, end->relu ? vmax(sum, (vf){0}) : sum);
}

/* One row of tiles of VL channels, as above. */
static void inverse_row(const float *m, const winograd_band *b, size_t tile_row, vf bias,
                        const winograd_end *end, uint16_t *y) {
    const size_t across = (b->width + 1) / 2, place = b->tiles * b->channels,
                 down = b->width * WINOGRAD_BLOCK;
    const bool two = 2 * tile_row + 1 < b->height;
    for (size_t t = 0; t < across; t++, m += b->channels, y += (size_t)2 * WINOGRAD_BLOCK) {
        vf s[2][4];
        for (size_t j = 0; j < 4; j++) {
            const vf m0 = load(m + j * place), m1 = load(m + (4 + j) * place), m2 = load(m + (8 + j) * place),
                     m3 = load(m + (12 + j) * place);
            s[0][j] = m0 + m1 + m2;
            s[1][j] = m1 - m2 - m3;
        }
        for (size_t i = 0; i < 1 + (size_t)two; i++) {
            finish(s[i][0] + s[i][1] + s[i][2], bias, end, y + i * down);
            if (2 * t + 1 < b->width)
                finish(s[i][1] - s[i][2] - s[i][3], bias, end, y + i * down + WINOGRAD_BLOCK);
        }
    }
}

void winograd_inverse(const float *m, const winograd_band *b, const winograd_end *end, uint16_t *y) {
    const size_t across = (b->width + 1) / 2, map = b->height * b->width * WINOGRAD_BLOCK;
    for (size_t r = 0; r < b->rows; r++)
        for (size_t c = 0; c < b->channels; c += VL)
            inverse_row(m + r * across * b->channels + c, b, b->first + r, load(end->bias + c), end,
                        y + c / WINOGRAD_BLOCK * map + 2 * (b->first + r) * b->width * WINOGRAD_BLOCK +
                            c % WINOGRAD_BLOCK);
}
