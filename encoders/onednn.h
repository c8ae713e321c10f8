/* onednn.h - what the parts of the cpu backend that call oneDNN share: engine, memory of weights, running a
 * compiled primitive. Private to the cpu backend.
 *
 * Only dnnl_*.c and onednn.c know oneDNN: v3's C API, and v2's in the same lines where Debian 12 has it. */
#ifndef MAGPIE_ONEDNN_H
#define MAGPIE_ONEDNN_H

#include "core.h"

#include <dnnl.h>

/* v2 passes memory descriptors by value and has operation descriptors, v3 has opaque handles and neither. */
typedef dnnl_memory_desc_t md_t;
#if DNNL_VERSION_MAJOR >= 3
#define MD_ARGUMENT(md) (md)
#define MD_FREE(md) dnnl_memory_desc_destroy(md)
#else
#define MD_ARGUMENT(md) (&(md))
#define MD_FREE(md) ((void)(md))
#endif

/* One a device; owns the memory of its weights. */
typedef struct onednn_device onednn_device;

/* Whether this CPU multiplies bf16 natively (AVX512_BF16 or AMX). */
bool onednn_native_bf16(void);
/* Whether it does so in vectors of 16 channels, and not, faster by far, in tiles (AMX). */
bool onednn_vector_bf16(void);
/* MAGPIE_E_UNSUPPORTED, with the reason, where int8 is not to be had. */
MAGPIE_CHECK_RESULT magpie_status onednn_check_int8(void);
/* Channels that lie side by side in a blocked feature map: a vector of the widest set of instructions. */
size_t onednn_channel_block(void);

MAGPIE_CHECK_RESULT magpie_status onednn_device_create(bool bf16, bool int8, onednn_device **out);
void onednn_device_free(onednn_device *device);
dnnl_engine_t onednn_engine(const onednn_device *device);
dnnl_data_type_t onednn_type(const onednn_device *device); /* of weights and streams: bf16 or f32 */
bool onednn_int8(
    const onednn_device *device); /* whether maps and weights of convolutions are of 8 bits instead */

MAGPIE_CHECK_RESULT magpie_status onednn_fail(dnnl_status_t status, const char *what);

/* OpenMP's number of threads is a setting of the calling thread; returns what it was. */
int onednn_use_threads(int threads);

/* ---- memory ---- */

dnnl_status_t onednn_describe(md_t *md, int rank, const dnnl_dims_t dims, dnnl_data_type_t type,
                              dnnl_format_tag_t tag);
dnnl_status_t onednn_describe_strides(md_t *md, int rank, const dnnl_dims_t dims, dnnl_data_type_t type,
                                      const dnnl_dims_t strides);
/* y = x w + bias; `bias` and `attributes` may be NULL. */
dnnl_status_t onednn_describe_matmul(dnnl_engine_t engine, md_t x, md_t w, const md_t *bias, md_t y,
                                     dnnl_primitive_attr_t attributes, dnnl_primitive_desc_t *out);

/* A memory of this layout that lives as long as the device, in its large chunks. Thread-safe. */
dnnl_status_t onednn_weights_memory(onednn_device *device, md_t md, dnnl_memory_t *out);
dnnl_status_t onednn_reorder(onednn_device *device, dnnl_memory_t from, md_t from_md, dnnl_memory_t to,
                             md_t to_md);
dnnl_status_t onednn_clone_weights_md(const_dnnl_primitive_desc_t descriptor, md_t *out);

/* ---- running ---- */

/* Where one lane's primitives run: a stream, a number of OpenMP threads, and scratch that they share, since
 * one runs at a time. */
typedef struct onednn_queue onednn_queue;

MAGPIE_CHECK_RESULT magpie_status onednn_queue_create(onednn_device *device, unsigned threads,
                                                      onednn_queue **out);
void onednn_queue_free(onednn_queue *queue);
onednn_device *onednn_queue_device(const onednn_queue *queue);
int onednn_queue_threads(const onednn_queue *queue);

/* A primitive with one input and one output, which are pointed at the caller's memory anew for each run. */
typedef struct onednn_compiled {
    dnnl_primitive_t primitive;
    dnnl_memory_t x, y, scratchpad;
} onednn_compiled;

/* The lane's scratchpad, and what follows the primitive: `operations`, which stay the caller's (NULL: nothing). */
dnnl_status_t onednn_make_attributes(dnnl_post_ops_t operations, dnnl_primitive_attr_t *out);

/* Takes over `descriptor`. A primitive has to be made and run with the same number of threads: the caller
 * brackets both with onednn_use_threads. */
MAGPIE_CHECK_RESULT magpie_status onednn_compile(onednn_queue *queue, dnnl_primitive_desc_t descriptor,
                                                 const char *what, onednn_compiled *out);
void onednn_compiled_free(onednn_compiled *compiled);
/* `weights` NULL: it has none, nor a bias. */
MAGPIE_CHECK_RESULT magpie_status onednn_run(onednn_queue *queue, const onednn_compiled *compiled,
                                             dnnl_memory_t weights, dnnl_memory_t bias, const void *x,
                                             void *y, const char *what);

#endif
