/* cuda.c - the CUDA driver: NVIDIA's GPUs, by libcuda.so.1, which comes with the machine's driver. Of
 * CUDA's toolkit nothing is needed to run but cuBLASLt, and that is missed by the speed alone
 * (device/cublaslt.h).
 *
 * A device is its primary context, which is what CUDA's libraries compute in as well. A context is
 * current to a thread, and threads come and go here: so every entry makes it current, and leaves it so.
 * Kernels are images, one a file of encoders/kernels/ and precision (cmake/gpu.cmake): machine code for
 * compute capability 8 and 9, and PTX for what comes later. An image is loaded when the first of its
 * kernels is launched. */
#include "cublaslt.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* ---- the library ---- */

#define FUNCTIONS(F)                                                                                         \
    F(cuInit)                                                                                                \
    F(cuGetErrorName)                                                                                        \
    F(cuDriverGetVersion)                                                                                    \
    F(cuDeviceGetCount)                                                                                      \
    F(cuDeviceGet)                                                                                           \
    F(cuDeviceGetName)                                                                                       \
    F(cuDeviceGetAttribute)                                                                                  \
    F(cuDeviceTotalMem_v2)                                                                                   \
    F(cuDevicePrimaryCtxRetain)                                                                              \
    F(cuDevicePrimaryCtxRelease_v2)                                                                          \
    F(cuCtxSetCurrent)                                                                                       \
    F(cuMemAlloc_v2)                                                                                         \
    F(cuMemFree_v2)                                                                                          \
    F(cuMemAllocHost_v2)                                                                                     \
    F(cuMemFreeHost)                                                                                         \
    F(cuMemcpyHtoDAsync_v2)                                                                                  \
    F(cuMemcpyDtoHAsync_v2)                                                                                  \
    F(cuMemsetD8Async)                                                                                       \
    F(cuStreamCreate)                                                                                        \
    F(cuStreamSynchronize)                                                                                   \
    F(cuStreamDestroy_v2)                                                                                    \
    F(cuEventCreate)                                                                                         \
    F(cuEventRecord)                                                                                         \
    F(cuEventSynchronize)                                                                                    \
    F(cuEventDestroy_v2)                                                                                     \
    F(cuModuleLoadData)                                                                                      \
    F(cuModuleUnload)                                                                                        \
    F(cuModuleGetFunction)                                                                                   \
    F(cuFuncSetAttribute)                                                                                    \
    F(cuLaunchKernel)

static struct {
#define FUNCTION_POINTER(name) __typeof__(name) *name;
    FUNCTIONS(FUNCTION_POINTER)
} cu;

static struct {
    pthread_once_t once;
    bool there;
    char why[256]; /* not */
    int count;
} library = {.once = PTHREAD_ONCE_INIT};

static const char *error_name(CUresult code) {
    const char *name = NULL;
    cu.cuGetErrorName(code, &name);
    return name ? name : "an error without a name";
}

/* Never closed: a context that is another's may be open. */
static void load_library(void) {
    static const gpu_symbol functions[] = {
#define FUNCTION_SYMBOL(name) {#name, &cu.name},
        FUNCTIONS(FUNCTION_SYMBOL)};
    void *handle = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        snprintf(library.why, sizeof library.why, "libcuda.so.1, NVIDIA's driver, is not on this machine");
        return;
    }
    const char *missing = gpu_symbols(handle, functions, sizeof functions / sizeof *functions);
    if (missing) {
        snprintf(library.why, sizeof library.why, "libcuda.so.1 has no %s", missing);
        return;
    }
    CUresult code = cu.cuInit(0);
    if (code == CUDA_SUCCESS) code = cu.cuDeviceGetCount(&library.count);
    library.there = code == CUDA_SUCCESS;
    if (!library.there)
        snprintf(library.why, sizeof library.why, "NVIDIA's driver says %s", error_name(code));
}

static magpie_status need_library(void) {
    pthread_once(&library.once, load_library);
    return library.there ? MAGPIE_OK : magpie_fail(MAGPIE_E_UNSUPPORTED, "%s", library.why);
}

static magpie_status check(CUresult code, const char *what) {
    if (code == CUDA_SUCCESS) return MAGPIE_OK;
    const bool memory = code == CUDA_ERROR_OUT_OF_MEMORY;
    return magpie_fail(memory ? MAGPIE_E_NO_MEMORY : MAGPIE_E_INTERNAL, "CUDA: %s: %s%s", what,
                       error_name(code), memory ? " (the device is out of memory)" : "");
}

/* ---- devices ---- */

enum { CAPABILITY_MIN = 8 /* bf16 in tensor cores; cmake/gpu.cmake has no code for less */ };
enum { HEADS = 3 /* -DHEAD of 0, 32 and 64 */, HEAD_STEP = 32 };

typedef struct module {
    const char *file;
    size_t head;
    CUmodule module;
    struct module *next;
} module;

struct gpu {
    gpu_base base;
    CUdevice device;
    CUcontext context;
    pthread_mutex_t lock; /* of what follows */
    module *modules;
    CUfunction functions[GPU_KERNEL_COUNT][HEADS];
};

/* Pinned memory that a write goes through; free once its event is over. */
typedef struct staging {
    void *memory;
    size_t bytes;
    CUevent event;
} staging;

enum { STAGINGS = 2, ARGUMENTS_MAX = 32 };

struct gpu_queue {
    gpu *device;
    CUstream stream;
    staging staging[STAGINGS];
    size_t next;        /* of staging */
    bool asked;         /* for the library of products */
    cublaslt *products; /* NULL: there is none */
    gpu_buffer workspace;
};

static magpie_status enter(const gpu *g) { return check(cu.cuCtxSetCurrent(g->context), "taking a context"); }

static magpie_status count_devices(size_t *count) {
    magpie_status status = need_library();
    *count = status == MAGPIE_OK ? (size_t)library.count : 0;
    return status;
}

static magpie_status find_device(size_t index, CUdevice *out) {
    magpie_status status = need_library();
    if (status == MAGPIE_OK && index >= (size_t)library.count)
        status = magpie_fail(MAGPIE_E_NOT_FOUND, "cuda:%zu: there are %d CUDA devices on this machine", index,
                             library.count);
    return status == MAGPIE_OK ? check(cu.cuDeviceGet(out, (int)index), "asking for a device") : status;
}

static magpie_status capability(CUdevice device, int *major, int *minor) {
    magpie_status status =
        check(cu.cuDeviceGetAttribute(major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device),
              "asking for a device's capability");
    if (status != MAGPIE_OK) return status;
    return check(cu.cuDeviceGetAttribute(minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, device),
                 "asking for a device's capability");
}

static magpie_status about(size_t index, gpu_about *out) {
    CUdevice device;
    int version = 0, major, minor;
    magpie_status status = find_device(index, &device);
    if (status == MAGPIE_OK) status = capability(device, &major, &minor);
    if (status == MAGPIE_OK)
        status = check(cu.cuDeviceGetName(out->name, sizeof out->name, device), "asking for a device's name");
    if (status == MAGPIE_OK)
        status = check(cu.cuDeviceTotalMem_v2(&out->memory, device), "asking for a device's memory");
    if (status == MAGPIE_OK)
        status = check(cu.cuDriverGetVersion(&version), "asking for the driver's version");
    if (status != MAGPIE_OK) return status;
    snprintf(out->driver, sizeof out->driver, "CUDA %d.%d, compute capability %d.%d", version / 1000,
             version % 1000 / 10, major, minor);
    out->is_cpu = false;
    return MAGPIE_OK;
}

static void close_device(gpu *g) {
    if (!g) return;
    const bool entered = g->context && cu.cuCtxSetCurrent(g->context) == CUDA_SUCCESS;
    while (g->modules) {
        module *m = g->modules;
        g->modules = m->next;
        if (entered) cu.cuModuleUnload(m->module);
        free(m);
    }
    if (g->context) cu.cuDevicePrimaryCtxRelease_v2(g->device);
    pthread_mutex_destroy(&g->lock);
    free(g);
}

static magpie_status open_device(size_t index, magpie_precision precision, gpu **out) {
    CUdevice device;
    int major, minor;
    magpie_status status = find_device(index, &device);
    if (status == MAGPIE_OK) status = capability(device, &major, &minor);
    if (status == MAGPIE_OK && major < CAPABILITY_MIN)
        status = magpie_fail(MAGPIE_E_UNSUPPORTED,
                             "cuda:%zu has compute capability %d.%d; there are kernels for %d.0 and later",
                             index, major, minor, CAPABILITY_MIN);
    if (status != MAGPIE_OK) return status;
    gpu *g = magpie_alloc(1, sizeof *g);
    if (!g) return MAGPIE_E_NO_MEMORY;
    const bool is_f32 = precision == MAGPIE_PRECISION_F32; /* TILE_... of kernels/product.h */
    g->base = (gpu_base){.driver = &gpu_cuda,
                         .precision = precision,
                         .alignment = 256,
                         .tile = is_f32 ? (gpu_tile){64, 64, 64} : (gpu_tile){128, 128, 256}};
    g->device = device;
    pthread_mutex_init(&g->lock, NULL);
    int multiprocessors = 0;
    if (major == 9 && minor == 0 && !is_f32)
        status =
            check(cu.cuDeviceGetAttribute(&multiprocessors, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, device),
                  "asking for a device's multiprocessors");
    g->base.hopper = (size_t)multiprocessors;
    if (status == MAGPIE_OK)
        status = check(cu.cuDevicePrimaryCtxRetain(&g->context, device), "opening a device");
    if (status == MAGPIE_OK)
        *out = g;
    else
        close_device(g);
    return status;
}

/* ---- memory ---- */

static magpie_status block_create(gpu *g, size_t bytes, gpu_buffer *out) {
    CUdeviceptr memory = 0;
    magpie_status status = enter(g);
    if (status == MAGPIE_OK) status = check(cu.cuMemAlloc_v2(&memory, bytes), "taking memory");
    *out = (gpu_buffer){memory, bytes};
    return status;
}

static magpie_status block_part(gpu *g, gpu_buffer block, size_t offset, size_t bytes, gpu_buffer *out) {
    (void)g;
    *out = (gpu_buffer){block.handle + offset, bytes};
    return MAGPIE_OK;
}

static void buffer_free(gpu *g, gpu_buffer buffer, bool is_part) {
    if (!is_part && cu.cuCtxSetCurrent(g->context) == CUDA_SUCCESS) cu.cuMemFree_v2(buffer.handle);
}

/* ---- queues ---- */

static void queue_free(gpu_queue *q) {
    if (!q) return;
    if (cu.cuCtxSetCurrent(q->device->context) == CUDA_SUCCESS) {
        if (q->stream) cu.cuStreamSynchronize(q->stream);
        cublaslt_free(q->products);
        if (q->workspace.handle) cu.cuMemFree_v2(q->workspace.handle);
        for (int i = 0; i < STAGINGS; i++) {
            if (q->staging[i].event) cu.cuEventDestroy_v2(q->staging[i].event);
            if (q->staging[i].memory) cu.cuMemFreeHost(q->staging[i].memory);
        }
        if (q->stream) cu.cuStreamDestroy_v2(q->stream);
    }
    free(q);
}

static magpie_status queue_create(gpu *g, gpu_queue **out) {
    magpie_status status = enter(g);
    if (status != MAGPIE_OK) return status;
    gpu_queue *q = magpie_alloc(1, sizeof *q);
    if (!q) return MAGPIE_E_NO_MEMORY;
    q->device = g;
    status = check(cu.cuStreamCreate(&q->stream, CU_STREAM_NON_BLOCKING), "making a queue");
    for (int i = 0; i < STAGINGS && status == MAGPIE_OK; i++)
        status = check(cu.cuEventCreate(&q->staging[i].event, CU_EVENT_DISABLE_TIMING), "making an event");
    if (status == MAGPIE_OK)
        *out = q;
    else
        queue_free(q);
    return status;
}

/* The next one, free, with room for `bytes`. An event that was never recorded is over. */
static magpie_status take_staging(gpu_queue *q, size_t bytes, staging **out) {
    staging *s = *out = &q->staging[q->next];
    q->next = (q->next + 1) % STAGINGS;
    magpie_status status = check(cu.cuEventSynchronize(s->event), "waiting for a copy");
    if (status != MAGPIE_OK || bytes <= s->bytes) return status;
    if (s->memory) cu.cuMemFreeHost(s->memory);
    s->memory = NULL;
    s->bytes = 0;
    status = check(cu.cuMemAllocHost_v2(&s->memory, bytes), "taking memory for copies");
    if (status == MAGPIE_OK) s->bytes = bytes;
    return status;
}

static magpie_status write_buffer(gpu_queue *q, gpu_buffer to, size_t offset, const void *from,
                                  size_t bytes) {
    if (bytes == 0) return MAGPIE_OK;
    staging *s;
    magpie_status status = enter(q->device);
    if (status == MAGPIE_OK) status = take_staging(q, bytes, &s);
    if (status != MAGPIE_OK) return status;
    memcpy(s->memory, from, bytes);
    status = check(cu.cuMemcpyHtoDAsync_v2(to.handle + offset, s->memory, bytes, q->stream), "writing");
    return status == MAGPIE_OK ? check(cu.cuEventRecord(s->event, q->stream), "writing") : status;
}

static magpie_status finish(gpu_queue *q) {
    magpie_status status = enter(q->device);
    return status == MAGPIE_OK ? check(cu.cuStreamSynchronize(q->stream), "waiting") : status;
}

static magpie_status read_buffer(gpu_queue *q, gpu_buffer from, size_t offset, void *to, size_t bytes) {
    if (bytes == 0) return MAGPIE_OK;
    magpie_status status = enter(q->device);
    if (status == MAGPIE_OK)
        status = check(cu.cuMemcpyDtoHAsync_v2(to, from.handle + offset, bytes, q->stream), "reading");
    return status == MAGPIE_OK ? finish(q) : status;
}

static magpie_status fill(gpu_queue *q, gpu_buffer to, unsigned char byte) {
    magpie_status status = enter(q->device);
    return status == MAGPIE_OK ? check(cu.cuMemsetD8Async(to.handle, byte, to.bytes, q->stream), "filling")
                               : status;
}

/* ---- kernels ---- */

static const void *find_image(const char *name) {
    for (const gpu_source *image = gpu_images; image->name; image++)
        if (strcmp(image->name, name) == 0) return image->text.data;
    return NULL;
}

/* The lock is held, here and below. */
static magpie_status need_module(gpu *g, const char *file, size_t head, CUmodule *out) {
    char name[64];
    for (const module *m = g->modules; m; m = m->next)
        if (m->head == head && strcmp(m->file, file) == 0) return *out = m->module, MAGPIE_OK;
    snprintf(name, sizeof name, "%s-%u-%zu.fatbin", file, gpu_stream_bits(g->base.precision), head);
    const void *image = find_image(name);
    if (!image) return magpie_fail(MAGPIE_E_INTERNAL, "CUDA: %s is not in this program", name);
    module *m = magpie_alloc(1, sizeof *m);
    if (!m) return MAGPIE_E_NO_MEMORY;
    *m = (module){.file = file, .head = head, .next = g->modules};
    magpie_status status = check(cu.cuModuleLoadData(&m->module, image), name);
    if (status != MAGPIE_OK) return free(m), status;
    g->modules = m;
    *out = m->module;
    return MAGPIE_OK;
}

/* Of a kernel's group, besides what is in its text: the stages of conv_hopper.cu. */
static unsigned shared_bytes(gpu_kernel kernel) {
    const unsigned columns = kernel == GPU_conv_hopper_64    ? 64
                             : kernel == GPU_conv_hopper_128 ? 128
                             : kernel == GPU_conv_hopper_256 ? 256
                                                             : 0;
    return columns ? 4 * (128 + columns) * 64 * 2 : 0;
}

static magpie_status need_function(gpu *g, gpu_kernel kernel, size_t head, CUfunction *out) {
    CUfunction *kept = &g->functions[kernel][head / HEAD_STEP];
    CUmodule module = NULL;
    magpie_status status = MAGPIE_OK;
    pthread_mutex_lock(&g->lock);
    if (!*kept) {
        status = need_module(g, gpu_kernel_file(kernel), head, &module);
        if (status == MAGPIE_OK)
            status =
                check(cu.cuModuleGetFunction(kept, module, gpu_kernel_name(kernel)), gpu_kernel_name(kernel));
        if (status == MAGPIE_OK && shared_bytes(kernel))
            status = check(cu.cuFuncSetAttribute(*kept, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                                 (int)shared_bytes(kernel)),
                           gpu_kernel_name(kernel));
    }
    *out = *kept;
    pthread_mutex_unlock(&g->lock);
    return status;
}

static magpie_status launch(gpu_queue *q, gpu_kernel kernel, unsigned head, const size_t groups[3],
                            const gpu_arg *args, size_t count) {
    CUfunction function;
    void *values[ARGUMENTS_MAX];
    const size_t threads = gpu_kernel_threads(q->device, kernel);
    if (groups[0] == 0 || groups[1] == 0 || groups[2] == 0) return MAGPIE_OK;
    if (count > ARGUMENTS_MAX || head / HEAD_STEP >= HEADS || groups[0] > INT32_MAX ||
        groups[1] > UINT16_MAX || groups[2] > UINT16_MAX)
        return magpie_fail(MAGPIE_E_TOO_LARGE, "CUDA: %s is asked for too much at once",
                           gpu_kernel_name(kernel));
    magpie_status status = enter(q->device);
    if (status == MAGPIE_OK) status = need_function(q->device, kernel, head, &function);
    if (status != MAGPIE_OK) return status;
    for (size_t i = 0; i < count; i++) values[i] = (void *)(uintptr_t)&args[i].buffer; /* and of u, and f */
    return check(cu.cuLaunchKernel(function, (unsigned)groups[0], (unsigned)groups[1], (unsigned)groups[2],
                                   (unsigned)threads, 1, 1, shared_bytes(kernel), q->stream, values, NULL),
                 gpu_kernel_name(kernel));
}

static magpie_status product(gpu_queue *q, const gpu_product *product) {
    magpie_status status = enter(q->device);
    if (status == MAGPIE_OK && !q->asked) q->products = cublaslt_create(q->device->base.precision, q->stream);
    q->asked = true;
    if (status == MAGPIE_OK && !q->products) return MAGPIE_E_UNSUPPORTED;
    if (status == MAGPIE_OK && !q->workspace.handle)
        status = block_create(q->device, CUBLASLT_WORKSPACE, &q->workspace);
    return status == MAGPIE_OK ? cublaslt_product(q->products, product, q->workspace.handle) : status;
}

const gpu_driver gpu_cuda = {
    .name = "cuda",
    .count = count_devices,
    .about = about,
    .open = open_device,
    .close = close_device,
    .block_create = block_create,
    .block_part = block_part,
    .buffer_free = buffer_free,
    .queue_create = queue_create,
    .queue_free = queue_free,
    .write = write_buffer,
    .read = read_buffer,
    .fill = fill,
    .finish = finish,
    .launch = launch,
    .product = product,
};
