/* nfc.c - decompose, order the marks, compose: The Unicode Standard, 3.11.
 *
 * A point is one number: its combining class above, its place in the text below it, the code point at the
 * bottom. So the stable order that the standard asks for is plain order of numbers. */
#include "nfc.h"
#include "characters.h"
#include "utf8.h"

#include <stdlib.h>

enum { CLASS_SHIFT = 56, PLACE_SHIFT = 24 };

static unsigned class_of(uint64_t point) { return (unsigned)(point >> CLASS_SHIFT); }

static int in_order(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void decompose(uint32_t c, nfc_points *out) {
    uint32_t parts[DECOMPOSED_MAX];
    size_t n = character_decompose(c, parts);
    for (size_t i = 0; i < n; i++) {
        uint64_t class = character_combining_class(parts[i], character_kind_of(parts[i]));
        out->points[out->size] = class << CLASS_SHIFT | (uint64_t)out->size << PLACE_SHIFT | parts[i];
        out->size++;
    }
}

/* Sorts each run of marks; starters, of class 0, stay where they are and part the runs. */
static void order(nfc_points *p) {
    for (size_t i = 0, end; i < p->size; i = end) {
        bool ordered = true;
        end = i + 1;
        if (!class_of(p->points[i])) continue;
        for (; end < p->size && class_of(p->points[end]); end++)
            ordered = ordered && class_of(p->points[end - 1]) <= class_of(p->points[end]);
        if (!ordered) qsort(p->points + i, end - i, sizeof *p->points, in_order);
    }
}

/* A point joins the last starter unless one in between is of its class or a higher one. */
static void compose(nfc_points *p) {
    size_t used = 0, starter = SIZE_MAX;
    unsigned between = 0; /* class of the last point behind the starter; 0: there is none */
    for (size_t i = 0; i < p->size; i++) {
        uint64_t point = p->points[i];
        unsigned class = class_of(point);
        uint32_t composed = starter != SIZE_MAX && (!between || between < class)
                                ? character_compose(nfc_point(p->points[starter]), nfc_point(point))
                                : 0;
        if (composed) {
            p->points[starter] = composed;
            continue;
        }
        if (!class) starter = used;
        between = class;
        p->points[used++] = point;
    }
    p->size = used;
}

magpie_status nfc_compose(magpie_string text, nfc_points *out) {
    size_t taken;
    out->size = 0;
    for (size_t at = 0; at < text.size; at += taken) {
        magpie_status status = magpie_grow((void **)&out->points, &out->capacity, out->size + DECOMPOSED_MAX,
                                           sizeof *out->points);
        if (status != MAGPIE_OK) return status;
        decompose(utf8_decode(text.data + at, &taken), out);
    }
    order(out);
    compose(out);
    return MAGPIE_OK;
}

void nfc_free(nfc_points *points) {
    free(points->points);
    *points = (nfc_points){0};
}

/* Characters that join nothing in front of them, and are what they are composed of: those below the first
 * mark, Chinese ideographs, Korean syllables (which a letter behind them may join, though). */
static bool stands_alone(uint32_t c) {
    return c < 0x300 || (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0xAC00 && c <= 0xD7A3);
}

size_t nfc_segment(magpie_string text, bool *plain) {
    size_t taken, at = 0, last = 0; /* last: where the character before `at` begins */
    *plain = true;
    while (at < text.size && stands_alone(utf8_decode(text.data + at, &taken))) {
        last = at;
        at += taken;
    }
    if (at == text.size) return at;
    if (last) return last;
    *plain = false;
    do at += taken;
    while (at < text.size && !stands_alone(utf8_decode(text.data + at, &taken)));
    return at;
}
