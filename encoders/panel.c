/* panel.c - which of the compiled widths this CPU runs, and vectors as panels. */
#include "panel.h"
#include "simd.h"

extern const panel_kernels panel_kernels_base;
#ifdef MAGPIE_SIMD_X86
extern const panel_kernels panel_kernels_v3, panel_kernels_v4;
#endif

const panel_kernels *panel_kernels_level(size_t i) {
    const panel_kernels *levels[3];
    size_t n = 0;
#ifdef MAGPIE_SIMD_X86
    if (simd_runs_v4()) levels[n++] = &panel_kernels_v4;
    if (simd_runs_v3()) levels[n++] = &panel_kernels_v3;
#endif
    levels[n++] = &panel_kernels_base;
    return i < n ? levels[i] : NULL;
}

bool panel_size(const panel_kernels *kernels, size_t n, size_t dimension, size_t *out) {
    size_t rounded;
    return magpie_size_add(n, kernels->lanes - 1, &rounded) &&
           magpie_size_mul(rounded / kernels->lanes * kernels->lanes, dimension, out);
}

void panel_pack(const panel_kernels *kernels, const float *vectors, size_t n, size_t dimension, double *out) {
    const size_t lanes = kernels->lanes;
    for (size_t first = 0; first < n; first += lanes)
        for (size_t t = 0; t < dimension; t++)
            for (size_t lane = 0; lane < lanes; lane++)
                *out++ = first + lane < n ? (double)vectors[(first + lane) * dimension + t] : 0;
}
