/* safetensors.c - weights read in place.
 *
 * Opening reads the header alone: the weights are pages of the file until somebody multiplies with them. The
 * JSON is jansson's to parse; what it says is believed only after it has been held against the size of the
 * file. Upstream's rule is kept whole: sorted by offset the tensors touch, the first begins at 0 and the last
 * ends with the file. So no byte belongs to two tensors, none to nobody, and there is no place in the file to
 * hide something. */
#include "safetensors.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "tensors are read as they lie in the file, little-endian");

enum {
    HEADER_LIMIT = 100 * 1000 * 1000,
    SIZE_BYTES = 8, /* of the header's size, in front of it */
    SAMPLE_BYTES = 4096,
    SAMPLE_PLACES = 256,
    NAME_SHOWN = 200 /* bytes of a tensor's name in a message: a file may have them of any length */
};

struct safetensors {
    magpie_map map;
    magpie_block block; /* holds all below */
    char *path, *strings;
    tensor *tensors; /* [count], by name */
    size_t count, header_size;
};

/* Where the header says that a tensor lies; needed while it is checked and never again. */
struct extent {
    size_t begin, end;
    const tensor *tensor;
};

static const struct dtype {
    const char *name;
    size_t bits;
    tensor_type type;
} dtypes[] = {
    {"F32", 32, TENSOR_F32},          {"F16", 16, TENSOR_F16},      {"BF16", 16, TENSOR_BF16},
    {"F64", 64, TENSOR_OTHER},        {"I64", 64, TENSOR_OTHER},    {"I32", 32, TENSOR_OTHER},
    {"I16", 16, TENSOR_OTHER},        {"I8", 8, TENSOR_OTHER},      {"U64", 64, TENSOR_OTHER},
    {"U32", 32, TENSOR_OTHER},        {"U16", 16, TENSOR_OTHER},    {"U8", 8, TENSOR_OTHER},
    {"BOOL", 8, TENSOR_OTHER},        {"C64", 64, TENSOR_OTHER},    {"F8_E4M3", 8, TENSOR_OTHER},
    {"F8_E5M2", 8, TENSOR_OTHER},     {"F8_E8M0", 8, TENSOR_OTHER}, {"F8_E4M3FNUZ", 8, TENSOR_OTHER},
    {"F8_E5M2FNUZ", 8, TENSOR_OTHER}, {"F6_E2M3", 6, TENSOR_OTHER}, {"F6_E3M2", 6, TENSOR_OTHER},
    {"F4", 4, TENSOR_OTHER},
};

static const struct dtype *find_dtype(const char *name) {
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
        if (strcmp(dtypes[i].name, name) == 0) return &dtypes[i];
    return NULL;
}

static magpie_status fail_tensor(const safetensors *file, const char *name, const char *what) {
    return magpie_fail(MAGPIE_E_CORRUPT, "%s: tensor %.*s: %s", file->path, NAME_SHOWN, name, what);
}

static bool read_size(const json_t *value, size_t *out) {
    if (!json_is_integer(value) || json_integer_value(value) < 0) return false;
    *out = (size_t)json_integer_value(value);
    return true;
}

static magpie_status read_shape(const safetensors *file, const json_t *shape, tensor *t) {
    if (!json_is_array(shape)) return fail_tensor(file, t->name, "it has no shape");
    t->rank = json_array_size(shape);
    t->elements = 1;
    if (t->rank > SAFETENSORS_RANK_MAX)
        return magpie_fail(MAGPIE_E_UNSUPPORTED,
                           "%s: tensor %.*s: it has %zu dimensions; at most %d are read", file->path,
                           NAME_SHOWN, t->name, t->rank, SAFETENSORS_RANK_MAX);
    for (size_t i = 0; i < t->rank; i++) {
        if (!read_size(json_array_get(shape, i), &t->shape[i]))
            return fail_tensor(file, t->name, "its shape holds something that is not a size");
        if (!magpie_size_mul(t->elements, t->shape[i], &t->elements))
            return fail_tensor(file, t->name, "its shape overflows");
    }
    return MAGPIE_OK;
}

/* The bytes that the header gives a tensor must be those that its shape needs. */
static magpie_status check_bytes(const safetensors *file, const tensor *t, size_t bytes) {
    const struct dtype *known = find_dtype(t->dtype);
    size_t bits, given;
    if (!known) return MAGPIE_OK;
    if (!magpie_size_mul(t->elements, known->bits, &bits) || !magpie_size_mul(bytes, 8, &given))
        return fail_tensor(file, t->name, "its size overflows");
    if (bits == given) return MAGPIE_OK;
    return magpie_fail(MAGPIE_E_CORRUPT,
                       "%s: tensor %.*s: %zu elements of %s do not fill the %zu bytes it is given",
                       file->path, NAME_SHOWN, t->name, t->elements, t->dtype, bytes);
}

/* One entry of the header. `t` has its name; `data_size` is what the file holds after the header. */
static magpie_status read_tensor(const safetensors *file, const json_t *entry, size_t data_size, tensor *t,
                                 struct extent *extent) {
    const json_t *offsets = json_object_get(entry, "data_offsets");
    if (!json_is_string(json_object_get(entry, "dtype")))
        return fail_tensor(file, t->name, "it has no dtype");
    magpie_status status = read_shape(file, json_object_get(entry, "shape"), t);
    if (status != MAGPIE_OK) return status;
    if (json_array_size(offsets) != 2 || !read_size(json_array_get(offsets, 0), &extent->begin) ||
        !read_size(json_array_get(offsets, 1), &extent->end) || extent->begin > extent->end)
        return fail_tensor(file, t->name, "data_offsets is not [begin, end]");
    if (extent->end > data_size)
        return magpie_fail(MAGPIE_E_CORRUPT,
                           "%s: tensor %.*s: it ends at byte %zu of %zu (is the download complete?)",
                           file->path, NAME_SHOWN, t->name, extent->end, data_size);
    extent->tensor = t;
    t->data = file->map.data + SIZE_BYTES + file->header_size + extent->begin;
    return check_bytes(file, t, extent->end - extent->begin);
}

static int by_offset(const void *a, const void *b) {
    const struct extent *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    return (x->end > y->end) - (x->end < y->end);
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const tensor *)a)->name, ((const tensor *)b)->name);
}

static magpie_status check_cover(const safetensors *file, struct extent *extents, size_t data_size) {
    size_t end = 0;
    if (file->count) qsort(extents, file->count, sizeof *extents, by_offset);
    for (size_t i = 0; i < file->count; i++) {
        if (extents[i].begin != end)
            return fail_tensor(file, extents[i].tensor->name,
                               extents[i].begin < end ? "it overlaps the one before it"
                                                      : "there is a hole between it and the one before it");
        end = extents[i].end;
    }
    if (end == data_size) return MAGPIE_OK;
    return magpie_fail(MAGPIE_E_CORRUPT, "%s: its tensors end at byte %zu, its data at %zu", file->path, end,
                       data_size);
}

static bool is_metadata(const char *name) { return strcmp(name, "__metadata__") == 0; }

/* Free text about the file, string to string; held to that and otherwise ignored. */
static bool metadata_is_sound(json_t *metadata) {
    const char *key;
    json_t *value;
    json_object_foreach(metadata, key, value) {
        if (!json_is_string(value)) return false;
    }
    return json_is_object(metadata);
}

/* Names and dtypes outlive the JSON that they come from: this is how many bytes they need, with their NULs.
 */
static size_t string_bytes(json_t *header) {
    const char *name;
    json_t *entry;
    size_t sum = 0;
    json_object_foreach(header, name, entry) {
        const char *dtype = json_string_value(json_object_get(entry, "dtype"));
        sum += strlen(name) + 1 + (dtype ? strlen(dtype) + 1 : 0);
    }
    return sum;
}

static const char *keep_string(char **to, const char *string) {
    size_t size = strlen(string) + 1;
    char *kept = memcpy(*to, string, size);
    *to += size;
    return kept;
}

static magpie_status read_tensors(safetensors *file, json_t *header, struct extent *extents) {
    size_t data_size = file->map.size - SIZE_BYTES - file->header_size;
    char *strings = file->strings;
    const char *name;
    json_t *entry;
    size_t i = 0;
    json_object_foreach(header, name, entry) {
        if (is_metadata(name)) continue;
        tensor *t = &file->tensors[i];
        const char *dtype = json_string_value(json_object_get(entry, "dtype"));
        const struct dtype *known = dtype ? find_dtype(dtype) : NULL;
        *t = (tensor){.name = keep_string(&strings, name), .type = known ? known->type : TENSOR_OTHER};
        if (dtype) t->dtype = keep_string(&strings, dtype);
        magpie_status status = read_tensor(file, entry, data_size, t, &extents[i++]);
        if (status != MAGPIE_OK) return status;
    }
    return check_cover(file, extents, data_size);
}

static void layout(safetensors *file, size_t strings, magpie_block *block) {
    file->tensors = magpie_carve(block, file->count, sizeof *file->tensors);
    file->strings = magpie_carve(block, strings, 1);
}

static magpie_status read_header(safetensors *file, json_t *header) {
    json_t *metadata = json_object_get(header, "__metadata__");
    if (metadata && !metadata_is_sound(metadata))
        return magpie_fail(MAGPIE_E_CORRUPT, "%s: __metadata__ is not an object of strings", file->path);
    file->count = json_object_size(header) - (metadata != NULL);
    size_t strings = string_bytes(header);
    layout(file, strings, &file->block);
    magpie_status status = magpie_block_alloc(&file->block);
    if (status != MAGPIE_OK) return status;
    layout(file, strings, &file->block);
    struct extent *extents = magpie_alloc(file->count, sizeof *extents);
    if (!extents) return MAGPIE_E_NO_MEMORY;
    status = read_tensors(file, header, extents);
    free(extents);
    if (status == MAGPIE_OK && file->count) qsort(file->tensors, file->count, sizeof *file->tensors, by_name);
    return status;
}

static magpie_status check_header_size(safetensors *file) {
    uint64_t size;
    if (file->map.size < SIZE_BYTES)
        return magpie_fail(MAGPIE_E_CORRUPT, "%s: %zu bytes are too few for a safetensors file", file->path,
                           file->map.size);
    memcpy(&size, file->map.data, sizeof size);
    if (size > HEADER_LIMIT)
        return magpie_fail(MAGPIE_E_TOO_LARGE,
                           "%s: a header of %llu bytes; the limit is %d (is this a safetensors file?)",
                           file->path, (unsigned long long)size, HEADER_LIMIT);
    if (size > file->map.size - SIZE_BYTES)
        return magpie_fail(MAGPIE_E_CORRUPT,
                           "%s: a header of %llu bytes in a file of %zu (is the download complete?)",
                           file->path, (unsigned long long)size, file->map.size);
    file->header_size = (size_t)size;
    return MAGPIE_OK;
}

static magpie_status parse(safetensors *file) {
    json_error_t error;
    magpie_status status = check_header_size(file);
    if (status != MAGPIE_OK) return status;
    const char *text = (const char *)file->map.data + SIZE_BYTES;
    json_t *header = json_loadb(text, file->header_size, JSON_REJECT_DUPLICATES, &error);
    if (!header)
        return magpie_fail(MAGPIE_E_CORRUPT, "%s: header, byte %d: %s", file->path, error.position,
                           error.text);
    if (json_is_object(header) && text[0] == '{')
        status = read_header(file, header);
    else
        status = magpie_fail(MAGPIE_E_CORRUPT, "%s: the header is not a JSON object", file->path);
    json_decref(header);
    return status;
}

magpie_status safetensors_open(const char *path, safetensors **out) {
    safetensors *file = magpie_alloc(1, sizeof *file);
    if (!file) return MAGPIE_E_NO_MEMORY;
    magpie_status status = magpie_map_open(path, &file->map);
    if (status == MAGPIE_OK && !(file->path = strdup(path)))
        status = magpie_fail(MAGPIE_E_NO_MEMORY, "out of memory");
    if (status == MAGPIE_OK) status = parse(file);
    if (status != MAGPIE_OK) {
        safetensors_close(file);
        return status;
    }
    *out = file;
    return MAGPIE_OK;
}

void safetensors_close(safetensors *file) {
    if (!file) return;
    magpie_map_close(&file->map);
    magpie_block_free(&file->block);
    free(file->path);
    free(file);
}

void safetensors_release(const safetensors *file) { magpie_map_release(&file->map); }

const char *safetensors_path(const safetensors *file) { return file->path; }
size_t safetensors_count(const safetensors *file) { return file->count; }
const tensor *safetensors_at(const safetensors *file, size_t i) { return &file->tensors[i]; }

const tensor *safetensors_find(const safetensors *file, const char *name) {
    tensor key = {.name = name};
    return file->count ? bsearch(&key, file->tensors, file->count, sizeof key, by_name) : NULL;
}

size_t safetensors_offset(const safetensors *file, const tensor *t) {
    return (size_t)((const unsigned char *)t->data - file->map.data);
}

static void print_shape(size_t rank, const size_t *shape, char *out, size_t size) {
    size_t used = 0;
    out[0] = 0;
    for (size_t i = 0; i < rank && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, i ? ", %zu" : "%zu", shape[i]);
}

magpie_status safetensors_expect(const safetensors *file, const char *name, size_t rank, const size_t *shape,
                                 const tensor **out) {
    char is[SAFETENSORS_RANK_MAX * 24], wanted[sizeof is];
    const tensor *t = safetensors_find(file, name);
    if (!t) return magpie_fail(MAGPIE_E_NOT_FOUND, "%s: there is no tensor %s", file->path, name);
    if (t->type == TENSOR_OTHER)
        return magpie_fail(MAGPIE_E_UNSUPPORTED, "%s: tensor %s: its dtype is %s; F32, F16 and BF16 are read",
                           file->path, name, t->dtype);
    if (t->rank != rank || (rank && memcmp(t->shape, shape, rank * sizeof *shape) != 0)) {
        print_shape(t->rank, t->shape, is, sizeof is);
        print_shape(rank, shape, wanted, sizeof wanted);
        return magpie_fail(MAGPIE_E_MISMATCH,
                           "%s: tensor %s: its shape is [%s]; the configuration asks for [%s]", file->path,
                           name, is, wanted);
    }
    *out = t;
    return MAGPIE_OK;
}

static float float_of_bits(uint32_t bits) {
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* Exponents are moved from bias 15 to 127. A subnormal half is m x 2^-24: as a float it is normal, and what
 * the subtraction takes away is the leading one that the shift has made up. */
static float widen_f16(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, magnitude = (uint32_t)(half & 0x7FFF) << 13;
    uint32_t exponent = magnitude & 0x0F800000;
    if (exponent == 0x0F800000) return float_of_bits(sign | 0x70000000 | magnitude); /* infinite or NaN */
    if (exponent) return float_of_bits(sign | (magnitude + (112u << 23)));
    float subnormal = float_of_bits((113u << 23) | magnitude) - 0x1p-14f;
    return sign ? -subnormal : subnormal;
}

void tensor_read_f32(const tensor *t, size_t first, size_t count, float *out) {
    const unsigned char *from = t->data;
    if (t->type == TENSOR_F32) {
        memcpy(out, from + first * sizeof *out, count * sizeof *out);
        return;
    }
    from += first * sizeof(uint16_t);
    for (size_t i = 0; i < count; i++, from += sizeof(uint16_t)) {
        uint16_t half;
        memcpy(&half, from, sizeof half);
        out[i] = t->type == TENSOR_BF16 ? float_of_bits((uint32_t)half << 16) : widen_f16(half);
    }
}

uint64_t safetensors_fingerprint(const safetensors *file) {
    const unsigned char *data = file->map.data + SIZE_BYTES + file->header_size;
    size_t size = file->map.size - SIZE_BYTES - file->header_size;
    XXH3_state_t state;
    XXH3_64bits_reset(&state);
    XXH3_64bits_update(&state, file->map.data, SIZE_BYTES + file->header_size);
    if (size <= (size_t)SAMPLE_BYTES * SAMPLE_PLACES) {
        XXH3_64bits_update(&state, data, size);
    } else {
        size_t last = size - SAMPLE_BYTES, step = last / (SAMPLE_PLACES - 1);
        for (size_t i = 0; i < SAMPLE_PLACES - 1; i++)
            XXH3_64bits_update(&state, data + i * step, SAMPLE_BYTES);
        XXH3_64bits_update(&state, data + last, SAMPLE_BYTES);
    }
    return XXH3_64bits_digest(&state);
}
