/* simd.c - which of the compiled widths this CPU runs. */
#include "simd.h"

extern const simd_table simd_base;
#ifdef MAGPIE_SIMD_X86
extern const simd_table simd_v3, simd_v4, simd_v4_bf16;
#endif

bool simd_runs_v3(void) {
#ifdef MAGPIE_SIMD_X86
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
#else
    return false;
#endif
}

bool simd_runs_v4(void) {
#ifdef MAGPIE_SIMD_X86
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
#else
    return false;
#endif
}

bool simd_runs_v4_bf16(void) {
#ifdef MAGPIE_SIMD_X86
    return simd_runs_v4() && __builtin_cpu_supports("avx512bf16");
#else
    return false;
#endif
}

const simd_table *simd_level(size_t i) {
    const simd_table *levels[4];
    size_t n = 0;
#ifdef MAGPIE_SIMD_X86
    if (simd_runs_v4_bf16()) levels[n++] = &simd_v4_bf16;
    if (simd_runs_v4()) levels[n++] = &simd_v4;
    if (simd_runs_v3()) levels[n++] = &simd_v3;
#endif
    levels[n++] = &simd_base;
    return i < n ? levels[i] : NULL;
}

const simd_table *simd_kernels(void) { return simd_level(0); }

/* For the widest vectors, 16, and two of them a block of queries: the largest that any table asks for. */
size_t simd_attention_scratch(size_t length, size_t d) {
    size_t padded = (length + 15) / 16 * 16, wide = (d + 15) / 16 * 16;
    return 2 * padded * wide + 32 * (2 * wide + padded);
}
