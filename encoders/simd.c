/* simd.c - which of the compiled widths this CPU runs. */
#include "simd.h"

extern const simd_table simd_base;
#ifdef MAGPIE_SIMD_X86
extern const simd_table simd_v3, simd_v4;
#endif

const simd_table *simd_kernels(void) {
#ifdef MAGPIE_SIMD_X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
        return &simd_v4;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2"))
        return &simd_v3;
#endif
    return &simd_base;
}

/* Widest vector 16, 6 rows a tile: the largest that any table asks for. */
size_t simd_attention_scratch(size_t length, size_t d) {
    size_t padded = (length + 15) / 16 * 16, width = (d + 15) / 16 * 16;
    return d * padded + length * width + 6 * (2 * width + padded);
}
