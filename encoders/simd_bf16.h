/* simd_bf16.h - bf16, the upper half of an f32, in and out of the vectors of simd_vectors.h. Private to the files
 * that CMakeLists.txt compiles once for each level. */
#ifndef MAGPIE_SIMD_BF16_H
#define MAGPIE_SIMD_BF16_H

#include "simd_vectors.h"

/* Whether this level multiplies pairs of bf16. */
#if defined(__AVX512BF16__)
#define PAIRS 1
#else
#define PAIRS 0
#endif

typedef uint16_t vh __attribute__((vector_size(VL * 2)));

static inline float widen(uint16_t h) {
    uint32_t u = (uint32_t)h << 16;
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

/* To nearest, ties to even. A NaN stays one: its payload cannot carry into the exponent's bits twice. */
static inline uint16_t narrow(float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return f != f ? 0x7fc0 : (uint16_t)((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}

static inline vf load_bf16(const uint16_t *p) {
    vh h;
    memcpy(&h, p, sizeof h);
#if VL == 16
    return (vf)((vu)_mm512_cvtepu16_epi32((__m256i)h) << 16); /* GCC 12 converts in two halves */
#else
    return (vf)(__builtin_convertvector(h, vu) << 16);
#endif
}

#if PAIRS
static inline vh narrow_all(vf v) { return (vh)_mm512_cvtneps_pbh(v); }
#else
static inline vh narrow_all(vf v) {
    vu u = (vu)v;
    vu rounded = (u + 0x7fff + ((u >> 16) & 1)) >> 16;
    vu is_nan = (vu)(v != v);
    return __builtin_convertvector((rounded & ~is_nan) | (0x7fc0 & is_nan), vh);
}
#endif

static inline void store_bf16(uint16_t *p, vf v) {
    vh h = narrow_all(v);
    memcpy(p, &h, sizeof h);
}

#endif
