/* product.h - a tile of a matrix product: A [rows, depth] times B [depth, columns], columns of B next to each other and
 * padded to eight. Behind dialect.h, in front of kernels that multiply (matmul.cl, conv.cl).
 *
 * load8, store8 and their likes move eight elements at once, from a multiple of eight on.
 *
 * A group makes TILE_ROWS x TILE_COLUMNS of the product, TILE_DEPTH of the depth at a time: all bring eight elements
 * each of A and B into local memory, then multiply. A kernel says where A comes from; the rest is here. On CUDA, with
 * streams of 16 bits, tensor cores multiply (wmma: a warp has 64 x 32 of the tile as fragments of 16 x 16, and its
 * sums are 64 registers a thread), and while they do the next step is on its way (cp.async); else a thread has 8 x 8 of the
 * tile. Sums are f32, and in one order.
 *
 *     tile_elements a[TILE_STAGES][TILE_ROWS][TILE_A], b[TILE_STAGES][TILE_DEPTH][TILE_B]      LOCAL
 *     tile_sums sums; tile_clear(&sums);
 *     TILE_STEPS(depth, a, b, sums, ...)          the statement brings the step from `first` of the depth on to `to_a` and
 *                                                 `to_b`; steps come in order, and all threads make all of them
 *     TILE_PUT(sums, scratch, r, c, value, ...)   the statement for every element of the thread's, r and c of the tile
 *
 * Where a tile's elements come from: chunk i of a thread (i below TILE_A_CHUNKS, TILE_B_CHUNKS) is eight elements of
 * A from TILE_A_ROW(i), TILE_A_DEPTH on, and eight of B from TILE_B_DEPTH(i), TILE_B_COLUMN on. */
#ifdef __OPENCL_VERSION__
typedef float8 f8;
#define F8_ZERO ((float8)(0))
FUNCTION f8 f8_madd(f8 sum, float a, f8 b) { return fma((float8)(a), b, sum); }
FUNCTION f8 f8_local(LOCAL_PTR const float *p) { return vload8(0, p); }
FUNCTION void f8_to_local(LOCAL_PTR float *p, f8 v) { vstore8(v, 0, p); }
FUNCTION void f8_get(f8 v, float *out) { vstore8(v, 0, out); }
FUNCTION f8 f8_of(const float *values) { return vload8(0, values); }
FUNCTION f8 load8(GLOBAL const stream *p, size_t i) {
#if STREAM_BITS == 32
    return vload8(0, p + i);
#elif STREAM_BITS == 16
    return as_float8(convert_uint8(vload8(0, p + i)) << 16);
#else
    return vload_half8(0, (GLOBAL const half *)p + i);
#endif
}
FUNCTION f8 f8_global(GLOBAL const float *p) { return vload8(0, p); }
FUNCTION void f8_to_global(GLOBAL float *p, f8 v) { vstore8(v, 0, p); }
FUNCTION void store8(GLOBAL stream *p, size_t i, f8 v) {
    float values[8];
    f8_get(v, values);
    UNROLL for (uint k = 0; k < 8; k++) store(p, i + k, values[k]);
}
#else
typedef struct f8 {
    float at[8];
} f8;
#define F8_ZERO (f8{{0, 0, 0, 0, 0, 0, 0, 0}})
FUNCTION f8 f8_madd(f8 sum, float a, f8 b) {
    UNROLL for (int i = 0; i < 8; i++) sum.at[i] = fmaf(a, b.at[i], sum.at[i]);
    return sum;
}
FUNCTION f8 f8_local(const float *p) {
    f8 v;
    UNROLL for (int i = 0; i < 8; i++) v.at[i] = p[i];
    return v;
}
FUNCTION void f8_to_local(float *p, f8 v) {
    UNROLL for (int i = 0; i < 8; i++) p[i] = v.at[i];
}
FUNCTION void f8_get(f8 v, float *out) {
    UNROLL for (int i = 0; i < 8; i++) out[i] = v.at[i];
}
FUNCTION f8 f8_of(const float *values) { return f8_local(values); }
FUNCTION f8 f8_global(const float *p) {
    const float4 one = *(const float4 *)p, other = *(const float4 *)(p + 4);
    return f8{{one.x, one.y, one.z, one.w, other.x, other.y, other.z, other.w}};
}
FUNCTION void f8_to_global(float *p, f8 v) {
    *(float4 *)p = make_float4(v.at[0], v.at[1], v.at[2], v.at[3]);
    *(float4 *)(p + 4) = make_float4(v.at[4], v.at[5], v.at[6], v.at[7]);
}
#if STREAM_BITS == 32
FUNCTION f8 load8(const stream *p, size_t i) { return f8_global(p + i); }
FUNCTION void store8(stream *p, size_t i, f8 v) { f8_to_global(p + i, v); }
#else
FUNCTION f8 load8(const stream *p, size_t i) {
    const uint4 bits = *(const uint4 *)(p + i);
    const stream narrow[8] = {(u16)bits.x, (u16)(bits.x >> 16), (u16)bits.y, (u16)(bits.y >> 16),
                              (u16)bits.z, (u16)(bits.z >> 16), (u16)bits.w, (u16)(bits.w >> 16)};
    f8 v;
    UNROLL for (int k = 0; k < 8; k++) v.at[k] = load(narrow, k);
    return v;
}
FUNCTION void store8(stream *p, size_t i, f8 v) {
    stream narrow[8];
    UNROLL for (int k = 0; k < 8; k++) store(narrow, k, v.at[k]);
    *(uint4 *)(p + i) = make_uint4(narrow[0] | (uint)narrow[1] << 16, narrow[2] | (uint)narrow[3] << 16,
                                   narrow[4] | (uint)narrow[5] << 16, narrow[6] | (uint)narrow[7] << 16);
}
#endif
#endif

/* Of either storage (dialect.h). */
FUNCTION f8 load8_any(GLOBAL const void *p, size_t i, uint is_sum) {
    return is_sum ? f8_global((GLOBAL const float *)p + i) : load8((GLOBAL const stream *)p, i);
}
FUNCTION void store8_any(GLOBAL void *p, size_t i, uint is_sum, f8 v) {
    if (is_sum)
        f8_to_global((GLOBAL float *)p + i, v);
    else
        store8((GLOBAL stream *)p, i, v);
}

#if defined(__OPENCL_VERSION__) || STREAM_BITS == 32
#define TILE_THREADS 64
#define TILE_ROWS 64
#define TILE_COLUMNS 64
#define TILE_DEPTH 32
#define TILE_STAGES 1
#define TILE_A (TILE_DEPTH + 1)
#define TILE_B TILE_COLUMNS
#define TILE_SCRATCH 1
typedef float tile_element;
typedef struct tile_sums {
    f8 row[8];
} tile_sums;

FUNCTION void tile_chunk(LOCAL_PTR tile_element *to, GLOBAL const stream *from, size_t at) {
    f8_to_local(to, load8(from, at));
}

FUNCTION void tile_chunk_zero(LOCAL_PTR tile_element *to) { f8_to_local(to, F8_ZERO); }

FUNCTION void tile_element_put(LOCAL_PTR tile_element *to, GLOBAL const stream *from, size_t at) {
    *to = load(from, at);
}

FUNCTION void tile_clear(tile_sums *sums) {
    UNROLL for (int i = 0; i < 8; i++) sums->row[i] = F8_ZERO;
}

FUNCTION void tile_multiply(LOCAL_PTR const tile_element (*a)[TILE_A], LOCAL_PTR const tile_element (*b)[TILE_B],
                            tile_sums *sums) {
    LOCAL_PTR const tile_element(*rows)[TILE_A] = a + THREAD / 8 * 8;
    for (uint k = 0; k < TILE_DEPTH; k++) {
        const f8 columns = f8_local(&b[k][THREAD % 8 * 8]);
        UNROLL for (int i = 0; i < 8; i++) sums->row[i] = f8_madd(sums->row[i], rows[i][k], columns);
    }
}

#define TILE_STEPS(depth, a, b, sums, ...)                                                                             \
    for (uint first = 0; first < (depth); first += TILE_DEPTH) {                                                       \
        LOCAL_PTR tile_element(*to_a)[TILE_A] = (a)[0];                                                                \
        LOCAL_PTR tile_element(*to_b)[TILE_B] = (b)[0];                                                                \
        __VA_ARGS__                                                                                                    \
        BARRIER();                                                                                                     \
        tile_multiply((a)[0], (b)[0], &(sums));                                                                        \
        BARRIER();                                                                                                     \
    }

/* Registers have no index: rows move up to the first, and no statement is compiled 64 times. */
#define TILE_PUT(sums, scratch, r, c, value, ...)                                                                      \
    (void)(scratch)[0];                                                                                                \
    for (uint r = THREAD / 8 * 8; r < THREAD / 8 * 8 + 8; r++) {                                                       \
        float values_of_row[8];                                                                                        \
        f8_get((sums).row[0], values_of_row);                                                                          \
        UNROLL for (uint own_column = 0; own_column < 8; own_column++) {                                               \
            const uint c = THREAD % 8 * 8 + own_column;                                                                \
            float value = values_of_row[own_column];                                                                   \
            __VA_ARGS__                                                                                                \
        }                                                                                                              \
        UNROLL for (int i = 0; i < 7; i++) (sums).row[i] = (sums).row[i + 1];                                          \
    }
#else
#include <mma.h>
#define TILE_THREADS 256
#define TILE_ROWS 128
#define TILE_COLUMNS 128
#define TILE_DEPTH 32
#define TILE_STAGES 2
#define TILE_A (TILE_DEPTH + 8)
#define TILE_B (TILE_COLUMNS + 8)
#define TILE_SCRATCH (TILE_THREADS / 32 * 256)
#if STREAM_BITS == 16
#include <cuda_bf16.h>
typedef __nv_bfloat16 tile_element;
#else
typedef __half tile_element;
#endif
typedef struct tile_sums {
    nvcuda::wmma::fragment<nvcuda::wmma::accumulator, 16, 16, 16, float> at[4][2];
} tile_sums;

FUNCTION void tile_chunk(tile_element *to, const stream *from, size_t at) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"((uint)__cvta_generic_to_shared(to)), "l"(from + at)
                 : "memory");
}

FUNCTION void tile_chunk_zero(tile_element *to) { *(uint4 *)to = make_uint4(0, 0, 0, 0); }

FUNCTION void tile_element_put(tile_element *to, const stream *from, size_t at) { *(u16 *)to = from[at]; }

FUNCTION void tile_clear(tile_sums *sums) {
    UNROLL for (int i = 0; i < 4; i++) UNROLL for (int j = 0; j < 2; j++)
        nvcuda::wmma::fill_fragment(sums->at[i][j], 0.0f);
}

/* Warps lie in two rows of four. */
FUNCTION void tile_multiply(const tile_element (*a)[TILE_A], const tile_element (*b)[TILE_B], tile_sums *sums) {
    using namespace nvcuda::wmma;
    const uint top = THREAD / 128 * 64, left = THREAD / 32 % 4 * 32;
    UNROLL for (int k = 0; k < TILE_DEPTH; k += 16) {
        fragment<matrix_b, 16, 16, 16, tile_element, row_major> columns[2];
        UNROLL for (int j = 0; j < 2; j++) load_matrix_sync(columns[j], &b[k][left + 16 * j], TILE_B);
        UNROLL for (int i = 0; i < 4; i++) {
            fragment<matrix_a, 16, 16, 16, tile_element, row_major> rows;
            load_matrix_sync(rows, &a[top + 16 * i][k], TILE_A);
            UNROLL for (int j = 0; j < 2; j++) mma_sync(sums->at[i][j], rows, columns[j], sums->at[i][j]);
        }
    }
}

/* Chunks of one step are one group of copies; all but the last group are there when a step is multiplied. */
#define TILE_STEPS(depth, a, b, sums, ...)                                                                             \
    for (uint tile_step = 0, tile_steps = ((depth) + TILE_DEPTH - 1) / TILE_DEPTH; tile_step <= tile_steps;            \
         tile_step++) {                                                                                                \
        if (tile_step < tile_steps) {                                                                                  \
            const uint first = tile_step * TILE_DEPTH;                                                                 \
            tile_element(*to_a)[TILE_A] = (a)[tile_step % 2], (*to_b)[TILE_B] = (b)[tile_step % 2];                    \
            __VA_ARGS__                                                                                                \
        }                                                                                                              \
        asm volatile("cp.async.commit_group;");                                                                        \
        if (tile_step == 0) continue;                                                                                  \
        asm volatile("cp.async.wait_group 1;" ::: "memory");                                                           \
        BARRIER();                                                                                                     \
        tile_multiply((a)[(tile_step - 1) % 2], (b)[(tile_step - 1) % 2], &(sums));                                    \
        BARRIER();                                                                                                     \
    }

/* Which element of a fragment a thread has is not told, so each warp lays them out in local memory. */
#define TILE_PUT(sums, scratch, r, c, value, ...)                                                                      \
    UNROLL for (int fragment_row = 0; fragment_row < 4; fragment_row++)                                                \
        UNROLL for (int fragment_column = 0; fragment_column < 2; fragment_column++) {                                 \
            float *own = (scratch) + THREAD / 32 * 256;                                                                \
            __syncwarp();                                                                                              \
            nvcuda::wmma::store_matrix_sync(own, (sums).at[fragment_row][fragment_column], 16,                         \
                                            nvcuda::wmma::mem_row_major);                                              \
            __syncwarp();                                                                                              \
            for (uint element = THREAD % 32; element < 256; element += 32) {                                           \
                const uint r = THREAD / 128 * 64 + fragment_row * 16 + element / 16;                                   \
                const uint c = THREAD / 32 % 4 * 32 + fragment_column * 16 + element % 16;                             \
                float value = own[element];                                                                            \
                __VA_ARGS__                                                                                            \
            }                                                                                                          \
        }
#endif

#define TILE_A_CHUNKS (TILE_ROWS * TILE_DEPTH / 8 / TILE_THREADS)
#define TILE_A_ROW(i) (THREAD / (TILE_DEPTH / 8) + (i) * (TILE_THREADS / (TILE_DEPTH / 8)))
#define TILE_A_DEPTH (THREAD % (TILE_DEPTH / 8) * 8)
#define TILE_B_CHUNKS (TILE_COLUMNS * TILE_DEPTH / 8 / TILE_THREADS)
#define TILE_B_DEPTH(i) (THREAD / (TILE_COLUMNS / 8) + (i) * (TILE_THREADS / (TILE_COLUMNS / 8)))
#define TILE_B_COLUMN (THREAD % (TILE_COLUMNS / 8) * 8)

/* This step's part of B: from `first` of the depth on, columns from `left` on; `padded` is how long its rows are. */
FUNCTION void tile_bring_b(LOCAL_PTR tile_element (*b)[TILE_B], GLOBAL const stream *weight, uint depth, uint padded,
                           uint first, uint left) {
    for (uint i = 0; i < TILE_B_CHUNKS; i++) {
        const uint k = first + TILE_B_DEPTH(i), column = left + TILE_B_COLUMN;
        if (k < depth && column < padded)
            tile_chunk(&b[TILE_B_DEPTH(i)][TILE_B_COLUMN], weight, (size_t)k * padded + column);
        else
            tile_chunk_zero(&b[TILE_B_DEPTH(i)][TILE_B_COLUMN]);
    }
}
