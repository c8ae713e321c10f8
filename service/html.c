/* html.c - see html.h. Base64 is RFC 4648's, with its padding. */
#include "html.h"

#include <string.h>
#include <utf8proc.h>

static const char replacement[] = "\xEF\xBF\xBD"; /* U+FFFD */

static const char *entity_of(char c) {
    switch (c) {
    case '&': return "&amp;";
    case '<': return "&lt;";
    case '>': return "&gt;";
    case '"': return "&quot;";
    case '\'': return "&#39;";
    default: return NULL;
    }
}

/* Control characters, and the code points that Unicode says are none. */
static bool is_character(utf8proc_int32_t point) {
    bool space = point == '\t' || point == '\n' || point == '\r';
    if ((point < ' ' && !space) || (point >= 0x7F && point < 0xA0)) return false;
    return (point & 0xFFFE) != 0xFFFE && !(point >= 0xFDD0 && point <= 0xFDEF);
}

void html_append(magpie_text *out, magpie_string text) {
    for (size_t at = 0; at < text.size;) {
        const char *entity = entity_of(text.data[at]);
        utf8proc_int32_t point;
        utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)text.data + at,
                                              (utf8proc_ssize_t)(text.size - at), &point);
        if (entity)
            magpie_text_append(out, entity, strlen(entity));
        else if (n > 0 && is_character(point))
            magpie_text_append(out, text.data + at, (size_t)n);
        else
            magpie_text_append(out, replacement, strlen(replacement));
        at += n > 0 ? (size_t)n : 1;
    }
}

static void append_base64(magpie_text *out, const unsigned char *bytes, size_t size) {
    enum { GROUPS = 256 };
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char block[4 * GROUPS];
    size_t used = 0;
    for (size_t at = 0; at < size; at += 3) {
        size_t left = size - at;
        unsigned group = (unsigned)bytes[at] << 16 | (left > 1 ? (unsigned)bytes[at + 1] << 8 : 0) |
                         (left > 2 ? bytes[at + 2] : 0);
        block[used++] = digits[group >> 18];
        block[used++] = digits[group >> 12 & 63];
        block[used++] = left > 1 ? digits[group >> 6 & 63] : '=';
        block[used++] = left > 2 ? digits[group & 63] : '=';
        if (used < sizeof block && left > 3) continue;
        magpie_text_append(out, block, used);
        used = 0;
    }
}

void html_append_data_uri(magpie_text *out, const char *type, const void *bytes, size_t size) {
    magpie_text_printf(out, "data:%s;base64,", type);
    append_base64(out, bytes, size);
}
