/* panel_kernels.c - see panel.h; compiled for each level of the instruction set. */
#include "panel.h"
#include "simd_vectors.h"

enum { DL = VL / 2 /* doubles of a vector */ };
typedef double vd __attribute__((vector_size(VL * 4)));

/* `rows` is constant where this is called, so the sums stay in registers. */
INLINE void product_of(const double *a, size_t row, size_t step, size_t rows, size_t steps,
                       const double *panel, double *out) {
    vd sums[PANEL_ROWS][2] = {0};
    for (size_t t = 0; t < steps; t++) {
        vd columns[2];
        memcpy(columns, panel + t * 2 * DL, sizeof columns);
        for (size_t r = 0; r < rows; r++) {
            const double x = a[r * row + t * step];
            sums[r][0] += x * columns[0];
            sums[r][1] += x * columns[1];
        }
    }
    memcpy(out, sums, rows * sizeof *sums);
}

static void product(const double *a, size_t row, size_t step, size_t rows, size_t steps, const double *panel,
                    double *out) {
    switch (rows) {
    case 1: product_of(a, row, step, 1, steps, panel, out); break;
    case 2: product_of(a, row, step, 2, steps, panel, out); break;
    case 3: product_of(a, row, step, 3, steps, panel, out); break;
    case 4: product_of(a, row, step, 4, steps, panel, out); break;
    case 5: product_of(a, row, step, 5, steps, panel, out); break;
    default: product_of(a, row, step, PANEL_ROWS, steps, panel, out);
    }
}

extern const panel_kernels SIMD_LEVEL(panel_kernels);
const panel_kernels SIMD_LEVEL(panel_kernels) = {SIMD_NAME, (size_t)2 * DL, product};
