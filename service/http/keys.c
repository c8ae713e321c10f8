/* keys.c - see keys.h. */
#include "keys.h"

#include <stdlib.h>
#include <string.h>

enum { KEY_MIN = 16, FILE_MAX = 1 << 20 };

struct http_keys {
    http_key *keys; /* [count] */
    size_t count, capacity;
};

static magpie_status misread(const char *path, size_t line, const char *why) {
    return magpie_fail(MAGPIE_E_INPUT, "%s:%zu: %s", path, line, why);
}

static magpie_status read_line(http_keys *keys, const char *path, size_t number, char *line) {
    static const char spaces[] = " \t\r";
    char *rest = NULL, *secret = strtok_r(line, spaces, &rest), *right = strtok_r(NULL, spaces, &rest),
         *name = strtok_r(NULL, spaces, &rest);
    if (!secret || *secret == '#') return MAGPIE_OK;
    const size_t size = strlen(secret);
    if (size < KEY_MIN || size > HTTP_KEY_MAX) return misread(path, number, "a key has 16 to 256 characters");
    for (const char *c = secret; *c; c++)
        if (*c <= ' ' || *c >= 0x7F) return misread(path, number, "a key is of printable ASCII characters");
    if (!right || (strcmp(right, "read") != 0 && strcmp(right, "write") != 0))
        return misread(path, number, "\"read\" or \"write\" is wanted behind the key");
    magpie_status status =
        magpie_grow((void **)&keys->keys, &keys->capacity, keys->count + 1, sizeof *keys->keys);
    if (status != MAGPIE_OK) return status;
    http_key *key = &keys->keys[keys->count++];
    *key = (http_key){.size = size, .writes = *right == 'w'};
    memcpy(key->secret, secret, size);
    if (name)
        snprintf(key->name, sizeof key->name, "%s", name);
    else
        snprintf(key->name, sizeof key->name, "key-%zu", number);
    return MAGPIE_OK;
}

magpie_status http_keys_read(const char *path, http_keys **out) {
    char *file = NULL;
    http_keys *keys = magpie_alloc(1, sizeof *keys);
    magpie_status status = keys ? magpie_file_read(path, FILE_MAX, &file, NULL) : MAGPIE_E_NO_MEMORY;
    size_t number = 0;
    for (char *at = file; at && status == MAGPIE_OK;) {
        char *end = strchr(at, '\n');
        if (end) *end = 0;
        status = read_line(keys, path, ++number, at);
        at = end ? end + 1 : NULL;
    }
    if (status == MAGPIE_OK && !keys->count)
        status = magpie_fail(MAGPIE_E_INPUT, "%s: there is no key in it", path);
    free(file);
    if (status == MAGPIE_OK)
        *out = keys;
    else
        http_keys_free(keys);
    return status;
}

void http_keys_free(http_keys *keys) {
    if (!keys) return;
    free(keys->keys);
    free(keys);
}

const http_key *http_keys_find(const http_keys *keys, const char *secret) {
    char given[HTTP_KEY_MAX] = {0};
    const size_t size = strnlen(secret, HTTP_KEY_MAX + 1);
    const http_key *found = NULL;
    if (size <= HTTP_KEY_MAX) memcpy(given, secret, size);
    for (size_t i = 0; i < keys->count; i++) {
        const http_key *key = &keys->keys[i];
        size_t unlike = size ^ key->size;
        for (size_t j = 0; j < HTTP_KEY_MAX; j++) unlike |= (unsigned char)(given[j] ^ key->secret[j]);
        found = unlike ? found : key;
    }
    return found;
}
