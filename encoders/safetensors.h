/* safetensors.h - a mapped .safetensors file: tensors by name, bounds and shapes checked. Private to
 * encoders/ and ranker/.
 *
 * The format (huggingface/safetensors): u64 little-endian header size, a JSON object name -> {dtype, shape,
 * data_offsets [begin, end)}, then the bytes. Everything is checked at opening: sizes against the file,
 * offsets against shape x dtype, that the tensors follow each other without holes or overlaps and end with
 * the file. What passes can be read without further checks.
 *
 * Refused as too large: a header over 100 MB (upstream's limit). Refused as unsupported: more than
 * SAFETENSORS_RANK_MAX dimensions. A dtype that is not f32, f16 or bf16 is TENSOR_OTHER: counted, its size
 * checked where the dtype is one of upstream's, not readable. */
#ifndef MAGPIE_SAFETENSORS_H
#define MAGPIE_SAFETENSORS_H

#include "core.h"

enum { SAFETENSORS_RANK_MAX = 8 };

typedef enum tensor_type { TENSOR_F32, TENSOR_F16, TENSOR_BF16, TENSOR_OTHER } tensor_type;

typedef struct tensor {
    const char *name;
    const char *dtype; /* as the file has it, "BF16": for messages */
    tensor_type type;
    size_t rank, shape[SAFETENSORS_RANK_MAX];
    size_t elements;
    const void *data; /* in the map; not aligned */
} tensor;

typedef struct safetensors safetensors;

MAGPIE_CHECK_RESULT magpie_status safetensors_open(const char *path, safetensors **out);
void safetensors_close(safetensors *file);
/* After most of it has been read and copied: its pages are the kernel's again. It stays readable. */
void safetensors_release(const safetensors *file);
const char *safetensors_path(const safetensors *file);
size_t safetensors_count(const safetensors *file);
const tensor *safetensors_at(const safetensors *file, size_t i);           /* in order of name */
const tensor *safetensors_find(const safetensors *file, const char *name); /* NULL: there is none */

/* The tensor `name`, of a float type and of exactly this shape; an error names file, tensor, both shapes. */
MAGPIE_CHECK_RESULT magpie_status safetensors_expect(const safetensors *file, const char *name, size_t rank,
                                                     const size_t *shape, const tensor **out);

/* Where its bytes begin in the file. */
size_t safetensors_offset(const safetensors *file, const tensor *t);

/* Elements first .. first+count-1 as f32 into out. f16 and bf16 widen exactly. Not for TENSOR_OTHER. */
void tensor_read_f32(const tensor *t, size_t first, size_t count, float *out);

/* XXH3-64 of the header and of a sample of the data (4 KiB at up to 256 evenly spread places, and the end):
 * changes with any retraining, and costs a millisecond where hashing the whole file would page all of it in.
 */
uint64_t safetensors_fingerprint(const safetensors *file);

/* What is to be written. */
typedef struct tensor_values {
    const char *name;     /* ASCII, without quotes */
    size_t rows, columns; /* columns 0: a vector of `rows` numbers */
    const float *values;
    size_t stride; /* numbers from row to row; 0: as many as there are columns */
} tensor_values;

/* A file of f32 tensors, or with `half` of f16 ones, rounded to nearest: the old file or the new one after a
 * crash. *fingerprint is safetensors_fingerprint's of it. MAGPIE_E_INPUT, naming it, for a number that is not
 * finite or not within f16. */
MAGPIE_CHECK_RESULT magpie_status safetensors_write(const char *path, const tensor_values *tensors, size_t n,
                                                    bool half, uint64_t *fingerprint);

#endif
