/* fusion_kernels.c - see fusion.h; compiled for each level of the instruction set.
 *
 * A product is sums over vectors of the input, each in one register from its beginning to its end; how
 * many are computed side by side changes none of them. What the input has beyond whole vectors is one
 * more, of zeros at the end. */
#include "fusion.h"
#include "simd_vectors.h"

enum { TILE = 4 };

/* y [rows, columns], of `out` columns a row. */
INLINE void tile(const float *x, const float *w, const float *b, size_t in, size_t out, int rows, int columns,
                 float *y) {
    vf sums[TILE][TILE] = {{{0}}};
    size_t k = 0;
    for (; k + VL <= in; k += VL)
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < columns; j++)
                sums[i][j] += load(x + (size_t)i * in + k) * load(w + (size_t)j * in + k);
    if (k < in)
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < columns; j++)
                sums[i][j] +=
                    load_part(x + (size_t)i * in + k, in - k) * load_part(w + (size_t)j * in + k, in - k);
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < columns; j++) y[(size_t)i * out + (size_t)j] = sum_of(sums[i][j]) + b[j];
}

static void product(const float *x, size_t rows, const float *w, const float *b, size_t in, size_t out,
                    float *y) {
    size_t whole_rows = rows - rows % TILE, whole = out - out % TILE;
    for (size_t j = 0; j < whole; j += TILE) {
        for (size_t i = 0; i < whole_rows; i += TILE)
            tile(x + i * in, w + j * in, b + j, in, out, TILE, TILE, y + i * out + j);
        for (size_t i = whole_rows; i < rows; i++)
            tile(x + i * in, w + j * in, b + j, in, out, 1, TILE, y + i * out + j);
    }
    for (size_t j = whole; j < out; j++)
        for (size_t i = 0; i < rows; i++) tile(x + i * in, w + j * in, b + j, in, out, 1, 1, y + i * out + j);
}

extern const fusion_kernels SIMD_LEVEL(fusion_kernels);
const fusion_kernels SIMD_LEVEL(fusion_kernels) = {SIMD_NAME, product};
