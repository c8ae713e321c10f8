/* simd.h - the row operations of the cpu backend, compiled once for each width of vector. Private to the cpu
 * backend.
 *
 * simd_kernels.c is compiled for several levels of the instruction set, each giving one table; simd_kernels()
 * picks the widest that this CPU has. The oracle of every function here is its namesake in ops_reference.c.
 */
#ifndef MAGPIE_SIMD_H
#define MAGPIE_SIMD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct simd_table {
    const char *name;
    /* x [n] += residual, f32 or bf16 */
    void (*add)(float *x, const void *residual, size_t n, bool bf16);
    /* y [n] = gamma (x - mean) / sqrt(variance + epsilon) + beta, f32 or bf16 */
    void (*norm)(const float *x, const float *gamma, const float *beta, float epsilon, size_t n, bool bf16,
                 void *y);
    /* x [n], f32 or bf16, becomes x Phi(x), in place */
    void (*gelu)(void *x, size_t n, bool bf16);
    /* One text and one head; causal: a row sees itself and those before it. query, key and value are columns
     * of qkv, rows `stride` elements apart, y's `y_stride`. scratch: simd_attention_scratch(length, d)
     * floats, 64-byte aligned. */
    void (*attention)(const void *query, const void *key, const void *value, size_t stride, size_t length,
                      size_t d, bool causal, bool bf16, float *scratch, void *y, size_t y_stride);
    /* x [rows, n], f32 or bf16, becomes scale [n] x + offset [n], in place */
    void (*affine)(void *x, const float *scale, const float *offset, size_t rows, size_t n, bool bf16);
    /* out [n] = the mean of rows [count, n] */
    void (*mean)(const void *rows, size_t count, size_t n, bool bf16, float *out);
    /* x [n] divided by its Euclidean length */
    void (*unit)(float *x, size_t n);
} simd_table;

/* Whether this CPU runs what is compiled for x86-64-v3, for -v4, and for that with bf16. */
bool simd_runs_v3(void), simd_runs_v4(void), simd_runs_v4_bf16(void);

const simd_table *simd_kernels(void);
const simd_table *simd_level(size_t i); /* of those that this CPU runs, the widest first; NULL past them */
size_t simd_attention_scratch(size_t length, size_t d); /* floats, for any of the tables */

#endif
