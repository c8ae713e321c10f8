/* nfc.h - canonical composition (Unicode's NFC) of a text, as Hugging Face's normalizer does it. Private to
 * encoders/.
 *
 * Its tables stand still at Unicode 9, and so do these (characters.h). A run of marks of any length is put in
 * order in n log n steps: a megabyte of them is a text, too. */
#ifndef MAGPIE_NFC_H
#define MAGPIE_NFC_H

#include "core.h"

/* The code points of a text on their way; all zero is a valid empty one. */
typedef struct nfc_points {
    uint64_t *points; /* the code point is nfc_point(points[i]); what else is in there is nfc.c's */
    size_t size, capacity;
} nfc_points;

static inline uint32_t nfc_point(uint64_t point) { return (uint32_t)(point & 0xFFFFFF); }

/* Replaces what is in `out` with the composed code points of a text (valid UTF-8). */
MAGPIE_CHECK_RESULT magpie_status nfc_compose(magpie_string text, nfc_points *out);
void nfc_free(nfc_points *points);

/* How many bytes of `text` (size >= 1, valid UTF-8) can be composed without looking at what comes behind
 * them, or at what came before; *plain: composing would not change them. */
size_t nfc_segment(magpie_string text, bool *plain);

#endif
