/* keys.h - who may ask, and who may write.
 *
 * A FILE OF KEYS has one a line: the key (16 to 256 printable characters without spaces), then "read" or "write",
 * then maybe a name, which is what logs have in place of the key. Blank lines and those that begin with '#' are
 * passed over.
 *
 *     3f1c9a0be7d24c55   read    shop-frontend
 *     77aa0c1d9e8b4f20   write   importer
 */
#ifndef MAGPIE_KEYS_H
#define MAGPIE_KEYS_H

#include "core.h"

enum { HTTP_KEY_MAX = 256 };

typedef struct http_key {
    char secret[HTTP_KEY_MAX]; /* zeros behind it */
    size_t size;
    bool writes;
    char name[64];
} http_key;

typedef struct http_keys http_keys;

/* MAGPIE_E_INPUT names the line. */
MAGPIE_CHECK_RESULT magpie_status http_keys_read(const char *path, http_keys **out);
void http_keys_free(http_keys *keys);
/* The key that `secret` is, NULL where it is none. Compares with every key to its end, so that the time tells
 * nothing. */
const http_key *http_keys_find(const http_keys *keys, const char *secret);

#endif
