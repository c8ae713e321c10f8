/* test_gpu.h - the device that tests of kernels run on: the first of OpenCL's, a processor where there is
 * no other; with MAGPIE_TEST_GPU=cuda the first of CUDA's. */
#ifndef MAGPIE_TEST_GPU_H
#define MAGPIE_TEST_GPU_H

#include "support.h"

#include "device/gpu.h"

/* Skips the test, out loud, where there is none. */
static inline magpie_device test_gpu_device(void) {
    const char *wish = getenv("MAGPIE_TEST_GPU");
    const bool cuda = wish && strcmp(wish, "cuda") == 0;
    const magpie_device device = {cuda ? MAGPIE_BACKEND_CUDA : MAGPIE_BACKEND_OPENCL, 0};
    size_t count;
    if (magpie_device_count(device.backend, &count) != MAGPIE_OK || count == 0)
        skip_loudly(cuda ? "no CUDA device" : "no OpenCL device: apt-get install pocl-opencl-icd");
    return device;
}

static inline gpu *test_gpu_open(magpie_precision precision) {
    gpu *g;
    assert_ok(gpu_open(test_gpu_device(), precision, &g));
    return g;
}

/* How many random shapes each kernel is tried on. */
static inline size_t test_gpu_checks(void) {
    const char *given = getenv("MAGPIE_KERNEL_CHECKS");
    return given ? strtoul(given, NULL, 10) : 8;
}

#endif
