/* opencl.h - tests that want an OpenCL device, be it a processor. */
#ifndef MAGPIE_TESTS_OPENCL_H
#define MAGPIE_TESTS_OPENCL_H

#include "support.h"

#include "encoders.h"

/* How many there are; skips, out loud, where there is none. */
static inline size_t need_opencl(void) {
    size_t count;
    if (magpie_device_count(MAGPIE_BACKEND_OPENCL, &count) != MAGPIE_OK || count == 0)
        skip_loudly("no OpenCL device: apt-get install pocl-opencl-icd");
    return count;
}

#endif
