/* utf8.c - is it UTF-8? Asked once of every text that comes in, so that nothing after it has to ask again.
 *
 * RFC 3629: the allowed second bytes depend on the first (that is what shuts out over-long forms, surrogates
 * and what lies past U+10FFFF); all later bytes are 80..BF. */
#include "encoders.h"

#include <string.h>

/* Bytes of the sequence that begins at s, of at most `size`; 0 where it is not valid. */
static size_t sequence_size(const unsigned char *s, size_t size) {
    unsigned char first = s[0], low = 0x80, high = 0xBF;
    size_t n;
    if (first < 0x80) return 1;
    if (first >= 0xC2 && first <= 0xDF)
        n = 2;
    else if (first >= 0xE0 && first <= 0xEF)
        n = 3;
    else if (first >= 0xF0 && first <= 0xF4)
        n = 4;
    else
        return 0;
    if (first == 0xE0) low = 0xA0;  /* below: over-long */
    if (first == 0xED) high = 0x9F; /* above: surrogates */
    if (first == 0xF0) low = 0x90;  /* below: over-long */
    if (first == 0xF4) high = 0x8F; /* above: past U+10FFFF */
    if (size < n || s[1] < low || s[1] > high) return 0;
    for (size_t i = 2; i < n; i++)
        if ((s[i] & 0xC0) != 0x80) return 0;
    return n;
}

magpie_status magpie_utf8_check(magpie_string text) {
    const unsigned char *s = (const unsigned char *)text.data;
    size_t at = 0;
    while (at < text.size) {
        uint64_t eight;
        while (text.size - at >= sizeof eight) { /* most text is ASCII: eight bytes a step */
            memcpy(&eight, s + at, sizeof eight);
            if (eight & 0x8080808080808080u) break;
            at += sizeof eight;
        }
        if (at == text.size) break;
        size_t n = sequence_size(s + at, text.size - at);
        if (!n)
            return magpie_fail(MAGPIE_E_INPUT, "text is not UTF-8 at byte %zu (0x%02X)", at, (unsigned)s[at]);
        at += n;
    }
    return MAGPIE_OK;
}
