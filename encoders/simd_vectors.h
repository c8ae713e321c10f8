/* simd_vectors.h - vectors of floats in GCC's vector types, as wide as the level of instruction set that
 * the file which includes this is compiled for. Private to the files that CMakeLists.txt compiles once for
 * each level. */
#ifndef MAGPIE_SIMD_VECTORS_H
#define MAGPIE_SIMD_VECTORS_H

#include <stdint.h>
#include <string.h>

#if defined(__SSE__)
#include <immintrin.h>
#endif

/* SIMD_LEVEL(name): `name` as this level has it, name_v4 for one. */
#if defined(__AVX512F__)
#define VL 16
#if defined(__AVX512BF16__)
#define SIMD_LEVEL(name) name##_v4_bf16
#define SIMD_NAME "x86-64-v4 with bf16"
#else
#define SIMD_LEVEL(name) name##_v4
#define SIMD_NAME "x86-64-v4"
#endif
#elif defined(__AVX2__)
#define VL 8
#define SIMD_LEVEL(name) name##_v3
#define SIMD_NAME "x86-64-v3"
#else
#define VL 4
#define SIMD_LEVEL(name) name##_base
#define SIMD_NAME "baseline"
#endif

/* What is constant where a kernel is called is constant within: forms, numbers of vectors. */
#define INLINE static inline __attribute__((always_inline))

typedef float vf __attribute__((vector_size(VL * 4)));
typedef int32_t vi __attribute__((vector_size(VL * 4)));
typedef uint32_t vu __attribute__((vector_size(VL * 4)));

/* For shuffles of two vectors: lanes by turns, of their lower and of their upper halves. */
#if VL == 16
#define LOWER 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define UPPER 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif VL == 8
#define LOWER 0, 8, 1, 9, 2, 10, 3, 11
#define UPPER 4, 12, 5, 13, 6, 14, 7, 15
#else
#define LOWER 0, 4, 1, 5
#define UPPER 2, 6, 3, 7
#endif

static inline vf load(const void *p) {
    vf v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* The first n numbers, the others 0. */
INLINE vf load_part(const float *x, size_t n) {
#if VL == 16
    return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), x);
#else
    vf v = {0};
    memcpy(&v, x, n * sizeof *x);
    return v;
#endif
}

static inline void store(void *p, vf v) { memcpy(p, &v, sizeof v); }
INLINE void store_part(float *x, vf v, size_t n) {
#if VL == 16
    _mm512_mask_storeu_ps(x, (__mmask16)((1u << n) - 1), v);
#else
    memcpy(x, &v, n * sizeof *x);
#endif
}

static inline vf splat(float x) { return x - (vf){0}; }

/* Over all lanes, by halves. */
static inline float sum_of(vf v) {
    float lanes[VL];
    memcpy(lanes, &v, sizeof lanes);
    for (int width = VL / 2; width > 0; width /= 2)
        for (int i = 0; i < width; i++) lanes[i] += lanes[i + width];
    return lanes[0];
}

/* One instruction, which GCC does not find in a comparison and a choice between whole vectors. */
static inline vf vmax(vf a, vf b) {
#if VL == 16
    return _mm512_max_ps(a, b);
#elif VL == 8
    return _mm256_max_ps(a, b);
#elif defined(__SSE__)
    return _mm_max_ps(a, b);
#else
    vi m = a > b;
    return (vf)(((vi)a & m) | ((vi)b & ~m));
#endif
}

static inline vf vsqrt(vf v) {
#if VL == 16
    return _mm512_sqrt_ps(v);
#elif VL == 8
    return _mm256_sqrt_ps(v);
#elif defined(__SSE__)
    return _mm_sqrt_ps(v);
#else
    for (int i = 0; i < VL; i++) v[i] = __builtin_sqrtf(v[i]);
    return v;
#endif
}

/* x as a matrix of VL x VL, transposed in place: log2(VL) perfect shuffles of its rows. */
INLINE void transpose(vf x[VL]) {
    for (int width = 1; width < VL; width *= 2) {
        vf y[VL];
        for (int i = 0; i < VL / 2; i++) {
            y[2 * i] = __builtin_shufflevector(x[i], x[i + VL / 2], LOWER);
            y[2 * i + 1] = __builtin_shufflevector(x[i], x[i + VL / 2], UPPER);
        }
        memcpy(x, y, sizeof y);
    }
}

#endif
