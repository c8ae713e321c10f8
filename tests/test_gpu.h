/* test_gpu.h - the devices that tests of GPUs run on: OpenCL's, processors where there are no others; with
 * MAGPIE_TEST_GPU=cuda CUDA's. */
#ifndef MAGPIE_TEST_GPU_H
#define MAGPIE_TEST_GPU_H

#include "support.h"

#include "device/gpu.h"
#include "safetensors.h"

static inline magpie_backend tested_gpu(void) {
    const char *wish = getenv("MAGPIE_TEST_GPU");
    return wish && strcmp(wish, "cuda") == 0 ? MAGPIE_BACKEND_CUDA : MAGPIE_BACKEND_OPENCL;
}

/* How many there are; skips, out loud, where there is none. */
static inline size_t need_gpu(void) {
    size_t count;
    if (magpie_device_count(tested_gpu(), &count) != MAGPIE_OK || count == 0)
        skip_loudly(tested_gpu() == MAGPIE_BACKEND_CUDA
                        ? "no CUDA device"
                        : "no OpenCL device: apt-get install pocl-opencl-icd");
    return count;
}

/* The first of them. */
static inline magpie_device test_gpu_device(void) {
    need_gpu();
    return (magpie_device){tested_gpu(), 0};
}

static inline gpu *test_gpu_open(magpie_precision precision) {
    gpu *g;
    assert_ok(gpu_open(test_gpu_device(), precision, &g));
    return g;
}

/* As if `values` came out of a model's file; columns 0: a vector. */
static inline tensor tensor_of(const float *values, size_t rows, size_t columns) {
    return (tensor){.name = "t",
                    .dtype = "F32",
                    .type = TENSOR_F32,
                    .rank = columns ? 2 : 1,
                    .shape = {rows, columns},
                    .elements = rows * (columns ? columns : 1),
                    .data = values};
}

/* How many random shapes each kernel is tried on. */
static inline size_t test_gpu_checks(size_t by_default) {
    const char *given = getenv("MAGPIE_KERNEL_CHECKS");
    return given ? strtoul(given, NULL, 10) : by_default;
}

/* The number of the first of them, in tests whose shapes are drawn by their number alone. */
static inline size_t test_gpu_first(void) {
    const char *given = getenv("MAGPIE_KERNEL_FIRST");
    return given ? strtoul(given, NULL, 10) : 0;
}

#endif
