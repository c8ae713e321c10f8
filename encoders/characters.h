/* characters.h - what BERT's tokenizer takes each code point for, and how Hugging Face's normalizers take it apart and
 * put it together. Private to encoders/. */
#ifndef MAGPIE_CHARACTERS_H
#define MAGPIE_CHARACTERS_H

#include <stddef.h>
#include <stdint.h>

typedef enum character_kind {
    CHARACTER_LETTER,      /* anything that is none of the others: part of a word */
    CHARACTER_SPACE,       /* ends a word */
    CHARACTER_BREAK,       /* a control character to clean text of, and a space to those who do not clean */
    CHARACTER_CONTROL,     /* cleaned away; the word goes on behind it */
    CHARACTER_PUNCTUATION, /* a word of its own */
    CHARACTER_CHINESE,     /* a word of its own, where Chinese characters are split */
    CHARACTER_MARK         /* nonspacing: what accent stripping strips; else part of a word */
} character_kind;

enum { DECOMPOSED_MAX = 4, LOWERED_MAX = 2 };

character_kind character_kind_of(uint32_t c);

/* Canonical decomposition to the end (NFD), unordered; returns how many code points, 1 at least. */
size_t character_decompose(uint32_t c, uint32_t out[DECOMPOSED_MAX]);

/* What `first` and a `second` right behind it compose to canonically (NFC); 0: they stay two. */
uint32_t character_compose(uint32_t first, uint32_t second);

/* Unicode's canonical combining class, of a character of this kind: what NFD orders a run of marks by. 0: it
 * is a starter, and no mark moves past it. */
unsigned character_combining_class(uint32_t c, character_kind kind);

/* Lower case without context (no final sigma, no locale); returns how many code points. */
size_t character_lower(uint32_t c, uint32_t out[LOWERED_MAX]);

#endif
