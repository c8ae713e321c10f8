/* test_gpu.h - the device that tests of kernels run on: the first of OpenCL's, a processor where there is no other. */
#ifndef MAGPIE_TEST_GPU_H
#define MAGPIE_TEST_GPU_H

#include "support.h"

#include "device/gpu.h"

/* NULL where there is none: then the test is to be skipped, which is said here. */
static inline gpu *test_gpu_open(magpie_precision precision) {
    gpu *g = NULL;
    size_t count;
    if (magpie_device_count(MAGPIE_BACKEND_OPENCL, &count) != MAGPIE_OK || count == 0)
        print_message("SKIPPED: no OpenCL device: %s\n", magpie_error());
    else
        assert_ok(gpu_open((magpie_device){MAGPIE_BACKEND_OPENCL, 0}, precision, &g));
    return g;
}

/* How many random shapes each kernel is tried on. */
static inline size_t test_gpu_checks(void) {
    const char *given = getenv("MAGPIE_KERNEL_CHECKS");
    return given ? strtoul(given, NULL, 10) : 8;
}

#endif
