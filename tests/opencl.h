/* opencl.h - tests that want a GPU: by OpenCL, be it a processor, or with MAGPIE_TEST_GPU=cuda by CUDA. */
#ifndef MAGPIE_TESTS_OPENCL_H
#define MAGPIE_TESTS_OPENCL_H

#include "support.h"

#include "encoders.h"

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

#endif
