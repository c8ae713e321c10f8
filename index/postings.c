/* postings.c - attributes to keys (see postings.h for the format). */
#include "postings.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { PATH_INLINE = 200, PATH_PREFIX = 160, STRING_INLINE = 255, STRING_PREFIX = 200, HASH_BYTES = 16 };
_Static_assert(PATH_INLINE + 2 + STRING_INLINE <= MAGPIE_POSTING_KEY_MAX, "every key fits");
_Static_assert(PATH_PREFIX + 1 + HASH_BYTES <= PATH_INLINE && STRING_PREFIX + HASH_BYTES <= STRING_INLINE,
               "cut ones too");

/* ---- one key ---- */

static void append(magpie_posting_key *key, const void *bytes, size_t size) {
    memcpy(key->bytes + key->size, bytes, size);
    key->size += size;
}

static void append_hash(magpie_posting_key *key, const char *bytes, size_t size) {
    XXH128_canonical_t hash;
    XXH128_canonicalFromHash(&hash, XXH3_128bits(bytes, size));
    append(key, hash.digest, sizeof hash.digest);
}

void magpie_posting_path(magpie_posting_key *key, const char *path, size_t size) {
    key->size = 0;
    append(key, path, size <= PATH_INLINE ? size : PATH_PREFIX);
    if (size > PATH_INLINE) {
        append(key, &(unsigned char){MAGPIE_POSTING_CUT}, 1);
        append_hash(key, path, size);
    }
    append(key, "", 1);
    key->path_size = key->size;
}

void magpie_posting_bound(magpie_posting_key *key, magpie_posting_type type) {
    key->size = key->path_size;
    key->bytes[key->size++] = (unsigned char)type;
}

void magpie_posting_boolean(magpie_posting_key *key, bool value) {
    magpie_posting_bound(key, MAGPIE_POSTING_BOOLEAN);
    append(key, value ? "\1" : "\0", 1);
}

void magpie_posting_number(magpie_posting_key *key, double value) {
    uint64_t bits;
    if (value == 0) value = 0; /* -0 too */
    memcpy(&bits, &value, sizeof bits);
    bits = htobe64(bits >> 63 ? ~bits : bits | UINT64_C(1) << 63);
    magpie_posting_bound(key, MAGPIE_POSTING_NUMBER);
    append(key, &bits, sizeof bits);
}

double magpie_posting_read_number(const unsigned char bytes[8]) {
    uint64_t bits;
    double value;
    memcpy(&bits, bytes, sizeof bits);
    bits = be64toh(bits);
    bits = bits >> 63 ? bits ^ UINT64_C(1) << 63 : ~bits;
    memcpy(&value, &bits, sizeof value);
    return value;
}

void magpie_posting_string(magpie_posting_key *key, const char *bytes, size_t size) {
    bool whole = size <= STRING_INLINE;
    magpie_posting_bound(key, whole ? MAGPIE_POSTING_STRING : MAGPIE_POSTING_LONG_STRING);
    append(key, bytes, whole ? size : STRING_PREFIX);
    if (!whole) append_hash(key, bytes, size);
}

bool magpie_posting_scalar(magpie_posting_key *key, const json_t *value) {
    if (json_is_string(value))
        magpie_posting_string(key, json_string_value(value), json_string_length(value));
    else if (json_is_number(value))
        magpie_posting_number(key, json_number_value(value));
    else if (json_is_boolean(value))
        magpie_posting_boolean(key, json_is_true(value));
    else
        return false;
    return true;
}

int magpie_posting_compare(magpie_string a, magpie_string b) {
    size_t common = a.size < b.size ? a.size : b.size;
    int order = memcmp(a.data, b.data, common);
    return order ? order : (a.size > b.size) - (a.size < b.size);
}

/* ---- the keys of an item ---- */

magpie_status magpie_attributes_parse(magpie_string attributes, json_t **out) {
    json_error_t error;
    *out = NULL;
    if (!attributes.size) return MAGPIE_OK;
    json_t *root = json_loadb(attributes.data, attributes.size, JSON_DECODE_INT_AS_REAL, &error);
    if (!root)
        return magpie_fail(MAGPIE_E_INPUT, "attributes are no JSON: %s (line %d, column %d)", error.text,
                           error.line, error.column);
    if (!json_is_object(root)) {
        json_decref(root);
        return magpie_fail(MAGPIE_E_INPUT, "attributes are no JSON object");
    }
    *out = root;
    return MAGPIE_OK;
}

magpie_status magpie_posting_set_add(magpie_posting_set *set, const magpie_posting_key *key) {
    magpie_status status =
        magpie_grow((void **)&set->keys, &set->capacity, set->count + 1, sizeof *set->keys);
    if (status != MAGPIE_OK) return status;
    set->keys[set->count++] = (struct magpie_posting_span){set->bytes.size, key->size};
    magpie_text_append(&set->bytes, key->bytes, key->size);
    return magpie_text_status(&set->bytes);
}

static magpie_status add_members(magpie_posting_set *set, magpie_text *path, const json_t *object,
                                 unsigned depth);

static magpie_status add_value(magpie_posting_set *set, magpie_text *path, const json_t *value,
                               unsigned depth) {
    if (json_is_null(value)) return MAGPIE_OK;
    if (depth > MAGPIE_ATTRIBUTE_DEPTH_MAX && (json_is_object(value) || json_is_array(value)))
        return magpie_fail(MAGPIE_E_INPUT, "attributes are nested deeper than %d",
                           MAGPIE_ATTRIBUTE_DEPTH_MAX);
    if (json_is_array(value)) {
        magpie_status status = MAGPIE_OK;
        for (size_t i = 0; i < json_array_size(value) && status == MAGPIE_OK; i++)
            status = add_value(set, path, json_array_get(value, i), depth + 1);
        return status;
    }
    magpie_posting_key key;
    magpie_posting_path(&key, path->data, path->size);
    magpie_posting_bound(&key, MAGPIE_POSTING_EXISTS);
    magpie_status status = magpie_posting_set_add(set, &key);
    if (status != MAGPIE_OK) return status;
    if (json_is_object(value)) return add_members(set, path, value, depth);
    return magpie_posting_scalar(&key, value) ? magpie_posting_set_add(set, &key) : MAGPIE_OK;
}

static magpie_status add_members(magpie_posting_set *set, magpie_text *path, const json_t *object,
                                 unsigned depth) {
    size_t outer = path->size;
    magpie_status status = MAGPIE_OK;
    const char *name;
    json_t *member;
    json_object_foreach((json_t *)(uintptr_t)object, name, member) {
        if (depth > 1) magpie_text_append(path, ".", 1);
        magpie_text_append(path, name, strlen(name));
        status = magpie_text_status(path);
        if (status == MAGPIE_OK) status = add_value(set, path, member, depth + 1);
        path->size = outer;
        if (status != MAGPIE_OK) break;
    }
    return status;
}

static int compare_spans(const void *a, const void *b, void *set) {
    const struct magpie_posting_span *x = a, *y = b;
    const char *bytes = ((const magpie_posting_set *)set)->bytes.data;
    return magpie_posting_compare((magpie_string){bytes + x->at, x->size},
                                  (magpie_string){bytes + y->at, y->size});
}

void magpie_posting_set_sort(magpie_posting_set *set) {
    if (!set->count) return;
    qsort_r(set->keys, set->count, sizeof *set->keys, compare_spans, set);
    size_t kept = 1;
    for (size_t i = 1; i < set->count; i++)
        if (compare_spans(&set->keys[kept - 1], &set->keys[i], set) != 0) set->keys[kept++] = set->keys[i];
    set->count = kept;
}

magpie_status magpie_posting_set_make(magpie_string attributes, magpie_posting_set *out) {
    json_t *root;
    magpie_text path = {0};
    *out = (magpie_posting_set){0};
    magpie_status status = magpie_attributes_parse(attributes, &root);
    if (status != MAGPIE_OK || !root) return status;
    status = add_members(out, &path, root, 1);
    json_decref(root);
    magpie_text_free(&path);
    if (status == MAGPIE_OK)
        magpie_posting_set_sort(out);
    else
        magpie_posting_set_free(out);
    return status;
}

void magpie_posting_set_free(magpie_posting_set *set) {
    magpie_text_free(&set->bytes);
    free(set->keys);
    *set = (magpie_posting_set){0};
}
