/* opencl.c - the OpenCL driver: any vendor's GPU, and processors (PoCL).
 *
 * OpenCL 1.2 is enough. A program is one file of encoders/kernels/ for one device and precision; it is compiled when
 * the first of its kernels is launched, and its binary is kept as magpie/kernels/HASH under the user's cache folder,
 * the hash being of device, driver, options and source: none of them can change and find an old one. Before the binary
 * stands its checksum: PoCL aborts on one that is cut off, at every start, so what is damaged is made anew. */
#include "gpu.h"

#include <dlfcn.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>

/* ---- the library ---- */

#define FUNCTIONS(F)                                                                                         \
    F(clGetPlatformIDs)                                                                                      \
    F(clGetDeviceIDs)                                                                                        \
    F(clGetDeviceInfo)                                                                                       \
    F(clCreateContext)                                                                                       \
    F(clReleaseContext)                                                                                      \
    F(clCreateCommandQueue)                                                                                  \
    F(clReleaseCommandQueue)                                                                                 \
    F(clCreateBuffer)                                                                                        \
    F(clCreateSubBuffer)                                                                                     \
    F(clReleaseMemObject)                                                                                    \
    F(clEnqueueMapBuffer)                                                                                    \
    F(clEnqueueWriteBuffer)                                                                                  \
    F(clEnqueueReadBuffer)                                                                                   \
    F(clEnqueueFillBuffer)                                                                                   \
    F(clEnqueueUnmapMemObject)                                                                               \
    F(clEnqueueNDRangeKernel)                                                                                \
    F(clWaitForEvents)                                                                                       \
    F(clReleaseEvent)                                                                                        \
    F(clFlush)                                                                                               \
    F(clFinish)                                                                                              \
    F(clCreateProgramWithSource)                                                                             \
    F(clCreateProgramWithBinary)                                                                             \
    F(clBuildProgram)                                                                                        \
    F(clGetProgramInfo)                                                                                      \
    F(clGetProgramBuildInfo)                                                                                 \
    F(clReleaseProgram)                                                                                      \
    F(clCreateKernel)                                                                                        \
    F(clSetKernelArg)                                                                                        \
    F(clReleaseKernel)

static struct {
#define FUNCTION_POINTER(name) __typeof__(name) *name;
    FUNCTIONS(FUNCTION_POINTER)
} cl;

enum { DEVICES_MAX = 64 };
static struct {
    pthread_once_t once;
    bool there;
    char why[256]; /* not */
    cl_device_id devices[DEVICES_MAX];
    size_t count;
} library = {.once = PTHREAD_ONCE_INIT};

/* Never closed: drivers leave threads behind. */
static void load_library(void) {
    static const gpu_symbol functions[] = {
#define FUNCTION_SYMBOL(name) {#name, &cl.name},
        FUNCTIONS(FUNCTION_SYMBOL)};
    void *handle = dlopen("libOpenCL.so.1", RTLD_NOW | RTLD_LOCAL);
    cl_platform_id platforms[DEVICES_MAX];
    cl_uint count = 0;
    if (!handle) {
        snprintf(library.why, sizeof library.why, "libOpenCL.so.1 is not on this machine");
        return;
    }
    const char *missing = gpu_symbols(handle, functions, sizeof functions / sizeof *functions);
    if (missing) {
        snprintf(library.why, sizeof library.why, "libOpenCL.so.1 has no %s", missing);
        return;
    }
    library.there = true;
    if (cl.clGetPlatformIDs(DEVICES_MAX, platforms, &count) != CL_SUCCESS) return; /* none: no devices */
    if (count > DEVICES_MAX) count = DEVICES_MAX;
    for (cl_uint i = 0; i < count; i++) {
        cl_uint found = 0;
        const cl_uint room = (cl_uint)(DEVICES_MAX - library.count);
        if (cl.clGetDeviceIDs(platforms[i], CL_DEVICE_TYPE_ALL, room, library.devices + library.count,
                              &found) == CL_SUCCESS)
            library.count += found < room ? found : room;
    }
}

static magpie_status need_library(void) {
    pthread_once(&library.once, load_library);
    return library.there ? MAGPIE_OK : magpie_fail(MAGPIE_E_UNSUPPORTED, "%s", library.why);
}

static magpie_status check(cl_int code, const char *what) {
    if (code == CL_SUCCESS) return MAGPIE_OK;
    const bool memory = code == CL_MEM_OBJECT_ALLOCATION_FAILURE || code == CL_OUT_OF_RESOURCES ||
                        code == CL_OUT_OF_HOST_MEMORY || code == CL_INVALID_BUFFER_SIZE;
    return magpie_fail(memory ? MAGPIE_E_NO_MEMORY : MAGPIE_E_INTERNAL, "OpenCL: %s: error %d%s", what, code,
                       memory ? " (the device is out of memory)" : "");
}

/* ---- devices ---- */

typedef struct program {
    const char *file;
    unsigned head;
    cl_program program;
    struct program *next;
} program;

struct gpu {
    gpu_base base;
    cl_device_id device;
    cl_context context;
    pthread_mutex_t lock; /* of programs */
    program *programs;
};

/* A kernel with its arguments is one thread's, so queues have their own. */
typedef struct queue_kernel {
    gpu_kernel kernel;
    unsigned head;
    cl_kernel it;
    struct queue_kernel *next;
} queue_kernel;

/* Pinned memory that a write goes through; free once its event is over. */
typedef struct staging {
    cl_mem memory;
    void *mapped;
    size_t bytes;
    cl_event event;
} staging;

enum { STAGINGS = 2 };

struct gpu_queue {
    gpu *device;
    cl_command_queue queue;
    queue_kernel *kernels;
    staging staging[STAGINGS];
    size_t next; /* of staging */
};

static magpie_status count_devices(size_t *count) {
    magpie_status status = need_library();
    *count = status == MAGPIE_OK ? library.count : 0;
    return status;
}

static void info_string(cl_device_id device, cl_device_info what, char *out, size_t size) {
    memset(out, 0, size);
    if (cl.clGetDeviceInfo(device, what, size - 1, out, NULL) != CL_SUCCESS) snprintf(out, size, "?");
}

static magpie_status find_device(size_t index, cl_device_id *out) {
    magpie_status status = need_library();
    if (status == MAGPIE_OK && index >= library.count)
        status = magpie_fail(MAGPIE_E_NOT_FOUND, "opencl:%zu: there are %zu OpenCL devices on this machine",
                             index, library.count);
    if (status == MAGPIE_OK) *out = library.devices[index];
    return status;
}

static magpie_status about(size_t index, gpu_about *out) {
    cl_device_id device;
    magpie_status status = find_device(index, &device);
    if (status != MAGPIE_OK) return status;
    cl_device_type type = 0;
    cl_ulong memory = 0;
    char version[128], driver[64];
    info_string(device, CL_DEVICE_NAME, out->name, sizeof out->name);
    info_string(device, CL_DEVICE_VERSION, version, sizeof version);
    info_string(device, CL_DRIVER_VERSION, driver, sizeof driver);
    snprintf(out->driver, sizeof out->driver, "%s, driver %s", version, driver);
    status = check(cl.clGetDeviceInfo(device, CL_DEVICE_TYPE, sizeof type, &type, NULL),
                   "asking for a device's type");
    if (status == MAGPIE_OK)
        status = check(cl.clGetDeviceInfo(device, CL_DEVICE_GLOBAL_MEM_SIZE, sizeof memory, &memory, NULL),
                       "asking for a device's memory");
    out->memory = memory;
    out->is_cpu = (type & CL_DEVICE_TYPE_CPU) != 0;
    return status;
}

static void close_device(gpu *g) {
    if (!g) return;
    while (g->programs) {
        program *p = g->programs;
        g->programs = p->next;
        cl.clReleaseProgram(p->program);
        free(p);
    }
    if (g->context) cl.clReleaseContext(g->context);
    pthread_mutex_destroy(&g->lock);
    free(g);
}

static magpie_status open_device(size_t index, magpie_precision precision, gpu **out) {
    cl_device_id device;
    magpie_status status = find_device(index, &device);
    if (status != MAGPIE_OK) return status;
    gpu *g = magpie_alloc(1, sizeof *g);
    if (!g) return MAGPIE_E_NO_MEMORY;
    cl_uint bits = 0;
    cl_int code;
    g->base = (gpu_base){.driver = &gpu_opencl, .precision = precision, .tile = {64, 64, 64}};
    g->device = device;
    pthread_mutex_init(&g->lock, NULL);
    g->context = cl.clCreateContext(NULL, 1, &device, NULL, NULL, &code);
    status = check(code, "opening a device");
    if (status == MAGPIE_OK)
        status = check(cl.clGetDeviceInfo(device, CL_DEVICE_MEM_BASE_ADDR_ALIGN, sizeof bits, &bits, NULL),
                       "asking for a device's alignment");
    g->base.alignment = bits > 8 * 256 ? bits / 8 : 256;
    if (status == MAGPIE_OK)
        *out = g;
    else
        close_device(g);
    return status;
}

/* ---- memory ---- */

static cl_mem memory_of(uint64_t handle) { return (cl_mem)(uintptr_t)handle; }

static magpie_status block_create(gpu *g, size_t bytes, gpu_buffer *out) {
    cl_int code;
    cl_mem memory = cl.clCreateBuffer(g->context, CL_MEM_READ_WRITE, bytes, NULL, &code);
    *out = (gpu_buffer){(uintptr_t)memory, bytes};
    return check(code, "taking memory");
}

static magpie_status block_part(gpu *g, gpu_buffer block, size_t offset, size_t bytes, gpu_buffer *out) {
    (void)g;
    cl_int code;
    const cl_buffer_region region = {offset, bytes};
    cl_mem memory = cl.clCreateSubBuffer(memory_of(block.handle), CL_MEM_READ_WRITE,
                                         CL_BUFFER_CREATE_TYPE_REGION, &region, &code);
    *out = (gpu_buffer){(uintptr_t)memory, bytes};
    return check(code, "cutting memory");
}

static void buffer_free(gpu *g, gpu_buffer buffer, bool is_part) {
    (void)g;
    (void)is_part;
    cl.clReleaseMemObject(memory_of(buffer.handle));
}

/* ---- queues ---- */

static void staging_free(gpu_queue *q, staging *s) {
    if (s->event) {
        cl.clWaitForEvents(1, &s->event);
        cl.clReleaseEvent(s->event);
    }
    if (s->mapped) cl.clEnqueueUnmapMemObject(q->queue, s->memory, s->mapped, 0, NULL, NULL);
    if (s->memory) cl.clReleaseMemObject(s->memory);
    *s = (staging){0};
}

static void queue_free(gpu_queue *q) {
    if (!q) return;
    for (int i = 0; i < STAGINGS; i++) staging_free(q, &q->staging[i]);
    if (q->queue) {
        cl.clFinish(q->queue);
        cl.clReleaseCommandQueue(q->queue);
    }
    while (q->kernels) {
        queue_kernel *k = q->kernels;
        q->kernels = k->next;
        cl.clReleaseKernel(k->it);
        free(k);
    }
    free(q);
}

static magpie_status queue_create(gpu *g, gpu_queue **out) {
    gpu_queue *q = magpie_alloc(1, sizeof *q);
    if (!q) return MAGPIE_E_NO_MEMORY;
    cl_int code;
    q->device = g;
    q->queue = cl.clCreateCommandQueue(g->context, g->device, 0, &code);
    magpie_status status = check(code, "making a queue");
    if (status == MAGPIE_OK)
        *out = q;
    else
        free(q);
    return status;
}

/* The next one, free, with room for `bytes`. */
static magpie_status take_staging(gpu_queue *q, size_t bytes, staging **out) {
    staging *s = *out = &q->staging[q->next];
    cl_int code;
    q->next = (q->next + 1) % STAGINGS;
    if (s->bytes < bytes) {
        staging_free(q, s);
        s->memory = cl.clCreateBuffer(q->device->context, CL_MEM_ALLOC_HOST_PTR, bytes, NULL, &code);
        magpie_status status = check(code, "taking memory for copies");
        if (status != MAGPIE_OK) return status;
        s->mapped =
            cl.clEnqueueMapBuffer(q->queue, s->memory, CL_TRUE, CL_MAP_WRITE, 0, bytes, 0, NULL, NULL, &code);
        s->bytes = bytes;
        return check(code, "mapping memory for copies");
    }
    if (!s->event) return MAGPIE_OK;
    magpie_status status = check(cl.clWaitForEvents(1, &s->event), "waiting for a copy");
    cl.clReleaseEvent(s->event);
    s->event = NULL;
    return status;
}

static magpie_status write_buffer(gpu_queue *q, gpu_buffer to, size_t offset, const void *from,
                                  size_t bytes) {
    if (bytes == 0) return MAGPIE_OK;
    staging *s;
    magpie_status status = take_staging(q, bytes, &s);
    if (status != MAGPIE_OK) return status;
    memcpy(s->mapped, from, bytes);
    status = check(cl.clEnqueueWriteBuffer(q->queue, memory_of(to.handle), CL_FALSE, offset, bytes, s->mapped,
                                           0, NULL, &s->event),
                   "writing");
    return status == MAGPIE_OK ? check(cl.clFlush(q->queue), "writing") : status;
}

static magpie_status read_buffer(gpu_queue *q, gpu_buffer from, size_t offset, void *to, size_t bytes) {
    if (bytes == 0) return MAGPIE_OK;
    return check(
        cl.clEnqueueReadBuffer(q->queue, memory_of(from.handle), CL_TRUE, offset, bytes, to, 0, NULL, NULL),
        "reading");
}

static magpie_status fill(gpu_queue *q, gpu_buffer to, unsigned char byte) {
    return check(cl.clEnqueueFillBuffer(q->queue, memory_of(to.handle), &byte, 1, 0, to.bytes, 0, NULL, NULL),
                 "filling");
}

static magpie_status finish(gpu_queue *q) { return check(cl.clFinish(q->queue), "waiting"); }

/* ---- programs ---- */

enum { SOURCES_MAX = 3 }; /* dialect.h, product.h, the file */

typedef struct recipe {
    char options[128];
    const char *text[SOURCES_MAX];
    size_t size[SOURCES_MAX];
    uint64_t hash;
} recipe;

static void add_source(recipe *r, size_t i, const char *name) {
    const gpu_source *s = gpu_sources;
    while (s->name && strcmp(s->name, name) != 0) s++;
    r->text[i] = s->name ? s->text.data : "";
    r->size[i] = s->name ? s->text.size : 0;
    r->hash = XXH3_64bits_withSeed(r->text[i], r->size[i], r->hash);
}

static recipe make_recipe(const gpu *g, const char *file, unsigned head) {
    recipe r = {.hash = 2}; /* the layout of what is cached: another one has other names */
    char name[64], device[256], version[128], driver[64];
    snprintf(r.options, sizeof r.options, "-cl-std=CL1.2 -DSTREAM_BITS=%u -DHEAD=%u",
             gpu_stream_bits(g->base.precision), head);
    snprintf(name, sizeof name, "%s.cl", file);
    info_string(g->device, CL_DEVICE_NAME, device, sizeof device);
    info_string(g->device, CL_DEVICE_VERSION, version, sizeof version);
    info_string(g->device, CL_DRIVER_VERSION, driver, sizeof driver);
    const char *const parts[] = {r.options, device, version, driver};
    for (int i = 0; i < 4; i++) r.hash = XXH3_64bits_withSeed(parts[i], strlen(parts[i]) + 1, r.hash);
    add_source(&r, 0, "dialect.h");
    add_source(&r, 1, "product.h");
    add_source(&r, 2, name);
    return r;
}

/* Where a program's binary is kept, in a new string; NULL: nowhere, there is no cache folder. Makes the folders. */
static char *cache_path(const recipe *r) {
    const char *folder = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    magpie_text path = {0};
    if (folder && *folder)
        magpie_text_printf(&path, "%s", folder);
    else if (home && *home)
        magpie_text_printf(&path, "%s/.cache", home);
    else
        return NULL;
    static const char *const below[] = {"", "/magpie", "/kernels"};
    for (int i = 0; i < 3; i++) {
        magpie_text_printf(&path, "%s", below[i]);
        if (magpie_text_status(&path) != MAGPIE_OK || (mkdir(path.data, 0755) != 0 && errno != EEXIST)) {
            magpie_text_free(&path);
            return NULL;
        }
    }
    magpie_text_printf(&path, "/opencl-%016" PRIx64, r->hash);
    if (magpie_text_status(&path) != MAGPIE_OK) magpie_text_free(&path);
    return path.data;
}

enum { CHECKSUM = sizeof(XXH64_hash_t), CACHED_MAX = 1 << 28 /* bytes */ };

static XXH64_hash_t checksum_of(const recipe *r, const char *binary, size_t size) {
    return XXH3_64bits_withSeed(binary, size, r->hash);
}

static bool is_sound(const recipe *r, const char *file, size_t size) {
    XXH64_hash_t checksum;
    if (size <= CHECKSUM) return false;
    memcpy(&checksum, file, CHECKSUM);
    return checksum == checksum_of(r, file + CHECKSUM, size - CHECKSUM);
}

/* What the cache has; false: nothing that this device takes. */
static bool load_binary(const gpu *g, const recipe *r, const char *path, cl_program *out) {
    char *file;
    size_t size;
    cl_int code, fine;
    if (!magpie_path_exists(path) || magpie_file_read(path, CACHED_MAX, &file, &size) != MAGPIE_OK)
        return false;
    const unsigned char *binary = (const unsigned char *)file + CHECKSUM;
    *out = NULL;
    if (is_sound(r, file, size)) {
        size -= CHECKSUM;
        *out = cl.clCreateProgramWithBinary(g->context, 1, &g->device, &size, &binary, &fine, &code);
    }
    free(file);
    if (!*out) return false;
    if (code == CL_SUCCESS && cl.clBuildProgram(*out, 1, &g->device, r->options, NULL, NULL) == CL_SUCCESS)
        return true;
    cl.clReleaseProgram(*out);
    return false;
}

/* A cache that cannot be written is none: the program is there. */
static void save_binary(cl_program program, const recipe *r, const char *path) {
    size_t size = 0;
    if (cl.clGetProgramInfo(program, CL_PROGRAM_BINARY_SIZES, sizeof size, &size, NULL) != CL_SUCCESS ||
        !size)
        return;
    magpie_text file = {.size = CHECKSUM + size, .capacity = CHECKSUM + size};
    if (!(file.data = magpie_alloc(file.size, 1))) return;
    unsigned char *binary = (unsigned char *)file.data + CHECKSUM;
    if (cl.clGetProgramInfo(program, CL_PROGRAM_BINARIES, sizeof binary, &binary, NULL) == CL_SUCCESS) {
        const XXH64_hash_t checksum = checksum_of(r, file.data + CHECKSUM, size);
        memcpy(file.data, &checksum, CHECKSUM);
        magpie_status ignored = magpie_atomic_write(path, &file);
        (void)ignored;
    }
    magpie_text_free(&file);
}

static magpie_status compile(const gpu *g, const recipe *r, const char *file, cl_program *out) {
    cl_int code;
    *out = cl.clCreateProgramWithSource(g->context, SOURCES_MAX, (const char **)(uintptr_t)r->text, r->size,
                                        &code);
    magpie_status status = check(code, "taking a kernel's source");
    if (status != MAGPIE_OK) return status;
    code = cl.clBuildProgram(*out, 1, &g->device, r->options, NULL, NULL);
    if (code == CL_SUCCESS) return MAGPIE_OK;
    char log[800] = "";
    cl.clGetProgramBuildInfo(*out, g->device, CL_PROGRAM_BUILD_LOG, sizeof log - 1, log, NULL);
    cl.clReleaseProgram(*out);
    return magpie_fail(MAGPIE_E_INTERNAL, "OpenCL: %s.cl does not compile here (error %d): %s", file, code,
                       log);
}

static magpie_status make_program(const gpu *g, const char *file, unsigned head, cl_program *out) {
    const recipe r = make_recipe(g, file, head);
    char *path = cache_path(&r);
    magpie_status status = MAGPIE_OK;
    if (!path || !load_binary(g, &r, path, out)) {
        status = compile(g, &r, file, out);
        if (status == MAGPIE_OK && path) save_binary(*out, &r, path);
    }
    free(path);
    return status;
}

static magpie_status need_program(gpu *g, const char *file, unsigned head, cl_program *out) {
    pthread_mutex_lock(&g->lock);
    program *p = g->programs;
    while (p && (p->head != head || strcmp(p->file, file) != 0)) p = p->next;
    magpie_status status = MAGPIE_OK;
    if (!p) {
        p = magpie_alloc(1, sizeof *p);
        status = p ? make_program(g, file, head, &p->program) : MAGPIE_E_NO_MEMORY;
        if (status == MAGPIE_OK) {
            p->file = file;
            p->head = head;
            p->next = g->programs;
            g->programs = p;
        } else {
            free(p);
        }
    }
    if (status == MAGPIE_OK) *out = p->program;
    pthread_mutex_unlock(&g->lock);
    return status;
}

static magpie_status need_kernel(gpu_queue *q, gpu_kernel kernel, unsigned head, cl_kernel *out) {
    queue_kernel *k = q->kernels;
    while (k && (k->kernel != kernel || k->head != head)) k = k->next;
    if (k) return *out = k->it, MAGPIE_OK;
    cl_program program;
    cl_int code;
    magpie_status status = need_program(q->device, gpu_kernel_file(kernel), head, &program);
    if (status != MAGPIE_OK) return status;
    k = magpie_alloc(1, sizeof *k);
    if (!k) return MAGPIE_E_NO_MEMORY;
    *k = (queue_kernel){kernel, head, cl.clCreateKernel(program, gpu_kernel_name(kernel), &code), q->kernels};
    status = check(code, gpu_kernel_name(kernel));
    if (status != MAGPIE_OK) return free(k), status;
    q->kernels = k;
    *out = k->it;
    return MAGPIE_OK;
}

static magpie_status launch(gpu_queue *q, gpu_kernel kernel, unsigned head, const size_t groups[3],
                            const gpu_arg *args, size_t count) {
    cl_kernel it;
    const size_t threads = gpu_kernel_threads(q->device, kernel), group[3] = {threads, 1, 1},
                 global[3] = {groups[0] * threads, groups[1], groups[2]};
    if (global[0] == 0 || global[1] == 0 || global[2] == 0) return MAGPIE_OK;
    magpie_status status = need_kernel(q, kernel, head, &it);
    for (size_t i = 0; i < count && status == MAGPIE_OK; i++) {
        const cl_mem memory = args[i].kind == GPU_BUFFER ? memory_of(args[i].buffer) : NULL;
        status = check(args[i].kind == GPU_BUFFER ? cl.clSetKernelArg(it, (cl_uint)i, sizeof memory, &memory)
                       : args[i].kind == GPU_UINT
                           ? cl.clSetKernelArg(it, (cl_uint)i, sizeof args[i].u, &args[i].u)
                           : cl.clSetKernelArg(it, (cl_uint)i, sizeof args[i].f, &args[i].f),
                       gpu_kernel_name(kernel));
    }
    if (status == MAGPIE_OK)
        status = check(cl.clEnqueueNDRangeKernel(q->queue, it, 3, NULL, global, group, 0, NULL, NULL),
                       gpu_kernel_name(kernel));
    return status;
}

const gpu_driver gpu_opencl = {
    .name = "opencl",
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
};
