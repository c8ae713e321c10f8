/* cublaslt.h - matrix products by cuBLASLt, for device/cuda.c, whose it is. The library is libcublasLt.so
 * of CUDA's toolkit, opened when the first product is asked for; a machine without it multiplies by kernels
 * of ours. */
#ifndef MAGPIE_CUBLASLT_H
#define MAGPIE_CUBLASLT_H

#include "gpu.h"

#include <cuda.h>

typedef struct cublaslt
    cublaslt; /* a queue's: its handle, and what was found out for the shapes that it has seen */

enum { CUBLASLT_WORKSPACE = 32 << 20 /* bytes; what NVIDIA recommends for Hopper (cublasSetWorkspace) */ };

/* The device's context is current, here and below. NULL: there is no such library here, or it does not take
 * this device. */
cublaslt *cublaslt_create(magpie_precision precision, CUstream stream);
void cublaslt_free(cublaslt *c);
/* As gpu_driver has it. `workspace` is this queue's alone. */
magpie_status cublaslt_product(cublaslt *c, const gpu_product *product, CUdeviceptr workspace);

#endif
