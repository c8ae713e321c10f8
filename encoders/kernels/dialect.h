/* dialect.h - what makes one text of a kernel OpenCL C and CUDA. Put in front of every .cl file by whoever compiles it
 * (device/opencl.c, cmake/gpu.cmake); nothing else includes it.
 *
 * A kernel is a one-dimensional group of THREADS and a grid of groups of up to three dimensions. Storage is the
 * precision of streams: -DSTREAM_BITS=32 is f32, 16 bf16, 17 f16; both of the latter are carried as their bits, since
 * not every OpenCL has arithmetic of halves. Everything is computed in f32.
 *
 *     KERNEL(NAME, THREADS)   opens a kernel; its arguments follow in brackets
 *     FUNCTION                opens a helper
 *     GLOBAL, LOCAL           where a pointer points to; LOCAL declares an array in a kernel's body (fixed in size:
 *                             neither compiler takes others everywhere), LOCAL_PTR an argument of a helper
 *     THREAD, GROUP(d)        which one of its group; which group in dimension d
 *     BARRIER()               all threads of the group, and what they wrote to local memory
 *     group_sum, group_largest   over one value a thread; all get it. `scratch` [threads]; the order of the sum is one
 *
 *     lanes_sum               likewise over each LANES threads that follow each other. `scratch` [threads]
 *
 *     EACH(c, n, THREADS)     the statement for every c below n that is the thread's: THREAD, THREAD + THREADS, ... The
 *                             loop is the same for all threads and the condition inside of it: PoCL 3.1 stores past n
 *                             where a loop begins at THREAD
 *     EACH_LANE(c, n)         likewise for every c below n that is the thread's of its LANES
 *
 * 32 bits count rows and columns, size_t counts elements. */
#ifdef __OPENCL_VERSION__
#define KERNEL(name, threads) __kernel __attribute__((reqd_work_group_size(threads, 1, 1))) void name
#define FUNCTION static inline
#define GLOBAL __global
#define LOCAL __local
#define LOCAL_PTR __local
#define THREAD ((uint)get_local_id(0))
#define GROUP(d) ((uint)get_group_id(d))
#define BARRIER() barrier(CLK_LOCAL_MEM_FENCE)
#define UNROLL
#define UINT_AS_FLOAT(u) as_float((uint)(u))
#define FLOAT_AS_UINT(f) as_uint((float)(f))
#define RSQRT(x) (1 / sqrt(x))
typedef uchar u8;
typedef ushort u16;
typedef ulong u64;
#else
#define KERNEL(name, threads) extern "C" __global__ void __launch_bounds__(threads) name
#define FUNCTION static __device__ __forceinline__
#define GLOBAL
#define LOCAL __shared__ __align__(32) /* what wmma wants, and vectors of 16 bytes; its elements do not say */
#define LOCAL_PTR
#define THREAD ((uint)threadIdx.x)
#define GROUP(d) ((uint)((d) == 0 ? blockIdx.x : (d) == 1 ? blockIdx.y : blockIdx.z))
#define BARRIER() __syncthreads()
#define UNROLL _Pragma("unroll")
#define UINT_AS_FLOAT(u) __uint_as_float(u)
#define FLOAT_AS_UINT(f) __float_as_uint(f)
#define RSQRT(x) (1 / sqrtf(x))
#define exp expf
#define log logf
#define erf erff
#define sqrt sqrtf
#define fmax fmaxf
#define fmin fminf
#define fabs fabsf
#define floor floorf
#include <cuda_bf16.h>
#include <cuda_fp16.h>
typedef unsigned int uint;
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned long long u64;
#endif

#define EACH(c, n, threads)                                                                                            \
    for (uint c##_begin = 0, c = THREAD; c##_begin < (n); c##_begin += (threads), c += (threads))                      \
        if (c < (n))

enum { LANES = 32 };
#define EACH_LANE(c, n)                                                                                                \
    for (uint c##_begin = 0, c = THREAD % LANES; c##_begin < (n); c##_begin += LANES, c += LANES)                      \
        if (c < (n))

/* To nearest, ties to even; what is not a number stays one. */
FUNCTION u16 bf16_from_float(float f) {
#ifdef __OPENCL_VERSION__
    const uint u = FLOAT_AS_UINT(f);
    if ((u & 0x7fffffff) > 0x7f800000) return (u16)(u >> 16 | 0x40);
    return (u16)((u + 0x7fff + (u >> 16 & 1)) >> 16);
#else
    return __bfloat16_as_ushort(__float2bfloat16_rn(f));
#endif
}

#if STREAM_BITS == 32
typedef float stream;
FUNCTION float load(GLOBAL const stream *p, size_t i) { return p[i]; }
FUNCTION void store(GLOBAL stream *p, size_t i, float value) { p[i] = value; }
#elif STREAM_BITS == 16
typedef u16 stream;
FUNCTION float load(GLOBAL const stream *p, size_t i) { return UINT_AS_FLOAT((uint)p[i] << 16); }
FUNCTION void store(GLOBAL stream *p, size_t i, float value) { p[i] = bf16_from_float(value); }
#elif defined(__OPENCL_VERSION__)
typedef u16 stream;
FUNCTION float load(GLOBAL const stream *p, size_t i) { return vload_half(i, (GLOBAL const half *)p); }
FUNCTION void store(GLOBAL stream *p, size_t i, float value) { vstore_half_rte(value, i, (GLOBAL half *)p); }
#else
typedef u16 stream;
FUNCTION float load(GLOBAL const stream *p, size_t i) { return __half2float(__ushort_as_half(p[i])); }
FUNCTION void store(GLOBAL stream *p, size_t i, float value) { p[i] = __half_as_ushort(__float2half_rn(value)); }
#endif

/* A tensor is a stream or a sum (ops.h, ops_storage), which is f32: a kernel that takes either is told. */
FUNCTION float load_any(GLOBAL const void *p, size_t i, uint is_sum) {
    return is_sum ? ((GLOBAL const float *)p)[i] : load((GLOBAL const stream *)p, i);
}
FUNCTION void store_any(GLOBAL void *p, size_t i, uint is_sum, float value) {
    if (is_sum)
        ((GLOBAL float *)p)[i] = value;
    else
        store((GLOBAL stream *)p, i, value);
}

/* `threads` is a power of two, 32 at least. On CUDA a warp exchanges its values among themselves first; what is left in
 * `scratch` is the warps'. */
#ifdef __OPENCL_VERSION__
#define GROUP_REDUCE(name, a, b, joined)                                                                               \
    FUNCTION float name(LOCAL_PTR float *scratch, uint threads, float value) {                                         \
        scratch[THREAD] = value;                                                                                       \
        for (uint half_way = threads / 2; half_way > 0; half_way /= 2) {                                               \
            BARRIER();                                                                                                 \
            if (THREAD < half_way) {                                                                                   \
                const float a = scratch[THREAD], b = scratch[THREAD + half_way];                                       \
                scratch[THREAD] = joined;                                                                              \
            }                                                                                                          \
        }                                                                                                              \
        BARRIER();                                                                                                     \
        value = scratch[0];                                                                                            \
        BARRIER();                                                                                                     \
        return value;                                                                                                  \
    }
#else
#define GROUP_REDUCE(name, a, b, joined)                                                                               \
    FUNCTION float name(float *scratch, uint threads, float a) {                                                       \
        UNROLL for (int lanes = 16; lanes > 0; lanes /= 2) {                                                           \
            const float b = __shfl_xor_sync(0xffffffff, a, lanes);                                                     \
            a = joined;                                                                                                \
        }                                                                                                              \
        if (THREAD % 32 == 0) scratch[THREAD / 32] = a;                                                                \
        BARRIER();                                                                                                     \
        a = scratch[0];                                                                                                \
        for (uint warp = 1; warp < threads / 32; warp++) {                                                             \
            const float b = scratch[warp];                                                                             \
            a = joined;                                                                                                \
        }                                                                                                              \
        BARRIER();                                                                                                     \
        return a;                                                                                                      \
    }
#endif
GROUP_REDUCE(group_sum, a, b, a + b)
GROUP_REDUCE(group_largest, a, b, fmax(a, b))

FUNCTION float lanes_sum(LOCAL_PTR float *scratch, float value) {
#ifdef __OPENCL_VERSION__
    const uint lane = THREAD % LANES;
    scratch[THREAD] = value;
    for (uint half_way = LANES / 2; half_way > 0; half_way /= 2) {
        BARRIER();
        if (lane < half_way) scratch[THREAD] += scratch[THREAD + half_way];
    }
    BARRIER();
    value = scratch[THREAD - lane];
    BARRIER();
#else
    (void)scratch;
    UNROLL for (int lanes = LANES / 2; lanes > 0; lanes /= 2) value += __shfl_xor_sync(0xffffffff, value, lanes);
#endif
    return value;
}
