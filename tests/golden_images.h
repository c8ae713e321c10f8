/* golden_images.h - what tests of pictures share: the file of golden/images.json, its base64, its hash. */
#ifndef MAGPIE_TESTS_GOLDEN_IMAGES_H
#define MAGPIE_TESTS_GOLDEN_IMAGES_H

#include "support.h"

#include <jansson.h>

static inline json_t *golden_images(const char *key) {
    json_error_t error;
    json_t *root = json_load_file(MAGPIE_SOURCE_DIR "/tests/golden/images.json", 0, &error);
    if (!root) fail_msg("images.json:%d: %s", error.line, error.text);
    json_t *list = json_incref(json_object_get(root, key));
    json_decref(root);
    assert_true(json_array_size(list) > 0);
    return list;
}

static inline const char *golden_string(const json_t *entry, size_t i) {
    return json_string_value(json_array_get(entry, i));
}

static inline size_t golden_size(const json_t *entry, size_t i) {
    return (size_t)json_integer_value(json_array_get(entry, i));
}

static inline uint64_t fnv1a(const uint8_t *bytes, size_t size) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < size; i++) hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
    return hash;
}

/* In memory of its exact size, so that a sanitizer sees a byte too far; to be freed. */
static inline magpie_string from_base64(const char *text) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t length = strlen(text), size = length / 4 * 3;
    while (length && text[length - 1] == '=') length--, size--;
    unsigned char *bytes = malloc(size);
    assert_non_null(bytes);
    unsigned long bits = 0;
    for (size_t i = 0, at = 0; i < length; i++) {
        bits = bits << 6 | (unsigned long)(strchr(digits, text[i]) - digits);
        if (i % 4) bytes[at++] = (unsigned char)(bits >> (6 - i % 4 * 2));
    }
    return (magpie_string){(char *)bytes, size};
}

#endif
