/* panel_kernels.c - see panel.h; compiled for each level of the instruction set. */
#include "panel.h"
#include "simd_vectors.h"

enum { DL = VL / 2 /* doubles of a vector */ };
typedef double vd __attribute__((vector_size(VL * 4)));

INLINE vd load_doubles(const double *p) {
    vd v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* `rows` is constant where this is called, so the sums stay in registers. They leave one by one: of an
 * array that is copied as a whole GCC keeps every element in memory, which made all of it less than half
 * as fast. */
INLINE void product_of(const double *a, size_t row, size_t step, size_t rows, size_t steps,
                       const double *panel, double *out) {
    vd sums[PANEL_ROWS][2] = {0};
    for (size_t t = 0; t < steps; t++) {
        const vd first = load_doubles(panel + t * 2 * DL), second = load_doubles(panel + t * 2 * DL + DL);
        for (size_t r = 0; r < rows; r++) {
            const double x = a[r * row + t * step];
            sums[r][0] += x * first;
            sums[r][1] += x * second;
        }
    }
    for (size_t r = 0; r < rows; r++)
        for (size_t half = 0; half < 2; half++) memcpy(out + (2 * r + half) * DL, &sums[r][half], sizeof(vd));
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
