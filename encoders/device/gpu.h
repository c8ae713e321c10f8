/* gpu.h - memory, queues and kernels of a GPU, whoever made it. Private to encoders/ and ranker/.
 *
 * A driver is one way to reach devices: OpenCL (device/opencl.c) or CUDA (device/cuda.c). Each opens its library at
 * run time, and a machine without it has no such devices, in words. Kernels (encoders/kernels/) are one text for both:
 * this program carries their source for OpenCL, which compiles it for the device and keeps the result under the user's
 * cache folder, and what nvcc made of it for CUDA.
 *
 * A `gpu` is an open device. Its memory is taken out of arenas: blocks that parts are cut from, freed together. A queue is one
 * thread's at a time; what is put into it runs in that order, beside other queues. Writes copy what they are given
 * into memory of the queue's that the device can read by itself, and return; reads wait for everything before them. */
#ifndef MAGPIE_GPU_H
#define MAGPIE_GPU_H

#include "encoders.h"

typedef struct gpu_driver gpu_driver;
typedef struct gpu gpu;             /* begins with a gpu_base */
typedef struct gpu_queue gpu_queue; /* begins with a gpu * */

/* A part of a device's memory; as an argument of a kernel a pointer. {0}: NULL. */
typedef struct gpu_buffer {
    uint64_t handle; /* the driver's */
    size_t bytes;
} gpu_buffer;

typedef struct gpu_arg {
    enum { GPU_BUFFER, GPU_UINT, GPU_FLOAT } kind;
    union {
        uint64_t buffer;
        uint32_t u;
        float f;
    };
} gpu_arg;

static inline gpu_arg gpu_at(gpu_buffer buffer) { return (gpu_arg){GPU_BUFFER, {.buffer = buffer.handle}}; }
static inline gpu_arg gpu_uint(size_t u) { return (gpu_arg){GPU_UINT, {.u = (uint32_t)u}}; }
static inline gpu_arg gpu_float(float f) { return (gpu_arg){GPU_FLOAT, {.f = f}}; }

/* Every kernel: its name, its file's, threads of a group (0: TILE_THREADS of kernels/product.h, gpu_tile), and what
 * its file is compiled behind besides dialect.h. */
#define GPU_KERNELS(K)                                                                                       \
    K(add_norm, norm, 128)                                                                                   \
    K(embed, norm, 128)                                                                                      \
    K(unit_rows, norm, 128)                                                                                  \
    K(attention, attention, 64)                                                                              \
    K(rows_load, rows, 128)                                                                                  \
    K(gather, rows, 128)                                                                                     \
    K(pool, rows, 128)                                                                                       \
    K(matmul, matmul, 0)                                                                                     \
    K(bias_activate, matmul, 256)                                                                            \
    K(conv, conv, 0)                                                                                         \
    K(conv_hopper_64, conv_hopper, 256)                                                                      \
    K(conv_hopper_128, conv_hopper, 256)                                                                     \
    K(conv_hopper_256, conv_hopper, 256)                                                                     \
    K(resize_across, resize, 256)                                                                            \
    K(resize_down, resize, 256)                                                                              \
    K(spectrum_fft, spectrogram, 128)                                                                        \
    K(spectrum_sum, spectrogram, 128)                                                                        \
    K(gather_bands, spectrogram, 128)                                                                        \
    K(image_load, maps, 256)                                                                                 \
    K(map_load, maps, 256)                                                                                   \
    K(max_pool, maps, 256)                                                                                   \
    K(average_pool, maps, 256)                                                                               \
    K(global_pool, maps, 256)                                                                                \
    K(map_rows, maps, 256)                                                                                   \
    K(map_read, maps, 256)                                                                                   \
    K(map_largest, maps, 256)                                                                                \
    K(topk_scores, topk, 0)                                                                                  \
    K(topk_select, topk, 256)                                                                                \
    K(topk_merge, topk, 256)                                                                                 \
    K(neumf_product, neumf, 64)                                                                              \
    K(neumf_first, neumf, 256)                                                                               \
    K(neumf_logits, neumf, 256)                                                                              \
    K(neumf_loss, neumf, 256)                                                                                \
    K(neumf_gmf, neumf, 256)                                                                                 \
    K(neumf_user_half, neumf, 256)                                                                           \
    K(neumf_scatter, neumf, 256)                                                                             \
    K(neumf_adam, neumf, 256)

#define GPU_KERNEL_NAME(name, file, threads) GPU_##name,
typedef enum gpu_kernel { GPU_KERNELS(GPU_KERNEL_NAME) GPU_KERNEL_COUNT } gpu_kernel;
#undef GPU_KERNEL_NAME

typedef struct gpu_tile {
    size_t rows, columns, threads;
} gpu_tile;

typedef struct gpu_about {
    char name[128];
    char driver[256]; /* and version */
    size_t memory;    /* bytes */
    bool is_cpu;      /* OpenCL on the processor: a device, but no reason to prefer it */
} gpu_about;

/* y = x W + bias, or relu of it; with `add`, y + x W + bias. At least one row. */
typedef struct gpu_product {
    gpu_buffer x, weight, bias,
        y; /* [rows, depth], [depth, padded], [columns] as y's or {0}, [rows, columns] */
    size_t rows, columns, depth, padded;
    bool y_is_sum; /* f32; else a stream, as x and the weight are */
    bool relu, add;
} gpu_product;

struct gpu_driver {
    const char *name;
    /* Says what there is: *count devices. MAGPIE_E_UNSUPPORTED, with the reason, where the library is not. */
    magpie_status (*count)(size_t *count);
    magpie_status (*about)(size_t device, gpu_about *out);
    /* `precision`: of streams, F32, BF16 or F16. */
    magpie_status (*open)(size_t device, magpie_precision precision, gpu **out);
    void (*close)(gpu *g);
    /* A block of memory, and parts of it, each `gpu_base.alignment` bytes or a multiple from its start; a part is
     * freed before its block. Thread-safe. */
    magpie_status (*block_create)(gpu *g, size_t bytes, gpu_buffer *out);
    magpie_status (*block_part)(gpu *g, gpu_buffer block, size_t offset, size_t bytes, gpu_buffer *out);
    void (*buffer_free)(gpu *g, gpu_buffer buffer, bool is_part);
    magpie_status (*queue_create)(gpu *g, gpu_queue **out);
    void (*queue_free)(gpu_queue *q); /* waits for what is in it */
    magpie_status (*write)(gpu_queue *q, gpu_buffer to, size_t offset, const void *from, size_t bytes);
    magpie_status (*read)(gpu_queue *q, gpu_buffer from, size_t offset, void *to, size_t bytes);
    magpie_status (*fill)(gpu_queue *q, gpu_buffer to, unsigned char byte);
    magpie_status (*finish)(gpu_queue *q); /* waits */
    /* `head`: -DHEAD of kernels that want it, else 0. */
    magpie_status (*launch)(gpu_queue *q, gpu_kernel kernel, unsigned head, const size_t groups[3],
                            const gpu_arg *args, size_t count);
    /* By a library of the device's. MAGPIE_E_UNSUPPORTED without words where there is none, or none for this product;
     * a NULL entry, likewise. */
    magpie_status (*product)(gpu_queue *q, const gpu_product *product);
};

typedef struct gpu_base {
    const gpu_driver *driver;
    magpie_precision precision;
    size_t alignment; /* of parts */
    gpu_tile tile;
    size_t hopper; /* 0: not one, or of f32; else its multiprocessors (kernels/conv_hopper.cu) */
} gpu_base;

static inline gpu_base *gpu_base_of(gpu *g) { return (gpu_base *)g; }
static inline const gpu_base *gpu_of(gpu_queue *q) { return *(const gpu_base **)q; }
static inline const gpu_driver *gpu_driver_of(gpu_queue *q) { return gpu_of(q)->driver; }

/* Puts a kernel into a queue: -DHEAD or 0, groups of x, y, z; arguments as gpu_at, gpu_uint and gpu_float have them. */
#define GPU_RUN(q, kernel, head, x, y, z, ...)                                                               \
    gpu_driver_of(q)->launch(q, kernel, head, (const size_t[3]){x, y, z}, (const gpu_arg[]){__VA_ARGS__},    \
                             sizeof((const gpu_arg[]){__VA_ARGS__}) / sizeof(gpu_arg))

extern const gpu_driver gpu_opencl;
#ifdef MAGPIE_CUDA
extern const gpu_driver gpu_cuda;
#endif

/* ---- what both drivers share: gpu.c ---- */

const char *gpu_kernel_name(gpu_kernel kernel);
const char *gpu_kernel_file(gpu_kernel kernel); /* without .cl or .cu */
size_t gpu_kernel_threads(const gpu *g, gpu_kernel kernel);
/* STREAM_BITS of kernels/dialect.h. */
unsigned gpu_stream_bits(magpie_precision precision);
/* Bytes of an element of a stream. */
size_t gpu_stream_bytes(magpie_precision precision);

/* Memory that is freed together. Not thread-safe. */
typedef struct gpu_arena {
    gpu *device;
    struct gpu_arena_block {
        gpu_buffer block;
        size_t used;
    } * blocks;
    size_t count, capacity;
    gpu_buffer *parts;
    size_t part_count, part_capacity;
} gpu_arena;

MAGPIE_CHECK_RESULT magpie_status gpu_arena_take(gpu_arena *arena, size_t bytes, gpu_buffer *out);
void gpu_arena_free(gpu_arena *arena);

/* Opens what `device` names, AUTO being magpie_device_choose's; *out is NULL where that is the CPU. */
MAGPIE_CHECK_RESULT magpie_status gpu_open(magpie_device device, magpie_precision precision, gpu **out);

/* The source of a file of encoders/kernels/, as it is embedded; ends with {NULL}. */
typedef struct gpu_source {
    const char *name; /* "norm.cl" */
    magpie_string text;
} gpu_source;
extern const gpu_source gpu_sources[];
#ifdef MAGPIE_CUDA
/* What nvcc made of it, by file, STREAM_BITS and HEAD: "norm-16-0.fatbin", "attention-16-32.fatbin"; likewise. */
extern const gpu_source gpu_images[];
#endif

/* A function of a library that is opened at run time, and where the pointer to it goes. */
typedef struct gpu_symbol {
    const char *name;
    void *to;
} gpu_symbol;
/* NULL; else the name of the first that the library does not have. */
const char *gpu_symbols(void *handle, const gpu_symbol *symbols, size_t count);

#endif
