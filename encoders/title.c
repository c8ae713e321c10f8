/* title.c - which things are called alike, and which of them are held out. */
#include "encoders.h"

enum { SPLIT = 5 /* one title in so many is held out; starter/train/common.py has the same */ };

static const uint64_t fnv_basis = UINT64_C(0xCBF29CE484222325), fnv_prime = UINT64_C(0x100000001B3);

/* A letter of the key, lowered; 0: none. */
static unsigned char letter_of(char c) {
    unsigned char byte = (unsigned char)c;
    if (byte >= 'A' && byte <= 'Z') return (unsigned char)(byte - 'A' + 'a');
    return (byte >= 'a' && byte <= 'z') || byte >= 0x80 ? byte : 0;
}

static uint64_t add(uint64_t hash, unsigned char byte) { return (hash ^ byte) * fnv_prime; }

uint64_t magpie_title_hash(magpie_string title) {
    uint64_t hash = fnv_basis;
    bool any = false, gap = false;
    for (size_t i = 0; i < title.size; i++) {
        unsigned char letter = letter_of(title.data[i]);
        if (letter) {
            hash = add(any && gap ? add(hash, ' ') : hash, letter);
            any = true;
        }
        gap = !letter;
    }
    for (size_t i = 0; i < title.size && !any; i++) hash = add(hash, (unsigned char)title.data[i]);
    return hash;
}

bool magpie_title_held_out(uint64_t hash) { return hash % SPLIT == 0; }
