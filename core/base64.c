/* base64.c - four characters are three bytes; the last four may be one or two. None of the libraries that
 * the program has brings it: jansson, libmicrohttpd and TurboJPEG do not, and OpenSSL for this alone would
 * be much. */
#include "core.h"

#include <string.h>
#include <strings.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

enum { GROUPS_AT_ONCE = 1024 };

static void encode_group(const unsigned char *bytes, char *out) {
    out[0] = alphabet[bytes[0] >> 2];
    out[1] = alphabet[(bytes[0] & 3) << 4 | bytes[1] >> 4];
    out[2] = alphabet[(bytes[1] & 15) << 2 | bytes[2] >> 6];
    out[3] = alphabet[bytes[2] & 63];
}

void magpie_base64_encode(magpie_text *out, const void *bytes, size_t size) {
    const unsigned char *at = bytes;
    char block[4 * GROUPS_AT_ONCE];
    while (size >= 3) {
        size_t groups = size / 3 < GROUPS_AT_ONCE ? size / 3 : GROUPS_AT_ONCE;
        for (size_t i = 0; i < groups; i++) encode_group(at + 3 * i, block + 4 * i);
        magpie_text_append(out, block, 4 * groups);
        at += 3 * groups;
        size -= 3 * groups;
    }
    if (!size) return;
    const unsigned char last[3] = {at[0], size == 2 ? at[1] : 0, 0};
    encode_group(last, block);
    memset(block + 1 + size, '=', 3 - size);
    magpie_text_append(out, block, 4);
}

size_t magpie_base64_room(size_t characters) { return characters / 4 * 3; }

/* Of a character, and one; 0: it has none. */
/* clang-format off */
static const unsigned char values[256] = {
    ['A'] = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26,
    ['a'] = 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39,
    40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52,
    ['0'] = 53, 54, 55, 56, 57, 58, 59, 60, 61, 62,
    ['+'] = 63, ['/'] = 64};
/* clang-format on */

/* What is behind "data:TYPE;base64,", or all of it where it is no data: URL. */
static magpie_status skip_scheme(magpie_string *text) {
    static const char scheme[] = "data:", coding[] = ";base64";
    if (text->size < sizeof scheme - 1 || strncasecmp(text->data, scheme, sizeof scheme - 1) != 0)
        return MAGPIE_OK;
    const char *comma = memchr(text->data, ',', text->size);
    size_t before = comma ? (size_t)(comma - text->data) : 0;
    if (before < sizeof scheme + sizeof coding - 2 ||
        strncasecmp(comma - (sizeof coding - 1), coding, sizeof coding - 1) != 0)
        return magpie_fail(MAGPIE_E_INPUT, "a data: URL should have \";base64,\" before its data");
    *text = (magpie_string){comma + 1, text->size - before - 1};
    return MAGPIE_OK;
}

static magpie_status fail_at(const char *characters, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (!values[(unsigned char)characters[i]])
            return magpie_fail(MAGPIE_E_INPUT, "base64: character %zu is not of its alphabet", i + 1);
    return magpie_fail(MAGPIE_E_INPUT, "base64: its last character has bits that belong to no byte");
}

magpie_status magpie_base64_decode(magpie_string text, unsigned char *out, size_t *size) {
    magpie_status status = skip_scheme(&text);
    if (status != MAGPIE_OK) return status;
    if (text.size % 4)
        return magpie_fail(
            MAGPIE_E_INPUT,
            "base64: %zu characters; they come in fours, the last filled up with =", text.size);
    size_t padding = 0, n = 0;
    while (padding < 2 && padding < text.size && text.data[text.size - 1 - padding] == '=') padding++;
    size_t characters = text.size - padding;
    unsigned bits = 0;
    bool known = true;
    for (size_t i = 0; i < characters; i++) {
        unsigned value = values[(unsigned char)text.data[i]];
        known &= value != 0;
        bits = bits << 6 | ((value - 1) & 63);
        if (i % 4 == 0) continue;
        out[n++] = (unsigned char)(bits >> (6 - 2 * (i % 4)));
    }
    /* Two characters have 4 bits more than their byte, three have 2. */
    unsigned left_over = padding == 2 ? bits & 15 : padding == 1 ? bits & 3 : 0;
    if (!known || left_over) return fail_at(text.data, characters);
    *size = n;
    return MAGPIE_OK;
}
