/* id_set.c - open addressing with linear probing: the hashes are uniform already, so nothing cleverer pays.
 */
#include "id_set.h"

#include <stdlib.h>
#include <xxhash.h>

enum { FIRST_CAPACITY = 1024 };

static uint64_t hash_id(magpie_string id) {
    uint64_t hash = XXH3_64bits(id.data, id.size);
    return hash ? hash : 1; /* 0 marks a free slot */
}

/* The slot that holds `hash`, or the free one where it belongs. */
static size_t find_slot(const magpie_id_set *set, uint64_t hash) {
    size_t mask = set->capacity - 1, slot = (size_t)hash & mask;
    while (set->slots[slot] && set->slots[slot] != hash) slot = (slot + 1) & mask;
    return slot;
}

static magpie_status double_capacity(magpie_id_set *set) {
    magpie_id_set larger = {.count = set->count,
                            .capacity = set->capacity ? set->capacity * 2 : FIRST_CAPACITY};
    larger.slots = magpie_alloc(larger.capacity, sizeof *larger.slots);
    if (!larger.slots) return MAGPIE_E_NO_MEMORY;
    for (size_t i = 0; i < set->capacity; i++)
        if (set->slots[i]) larger.slots[find_slot(&larger, set->slots[i])] = set->slots[i];
    free(set->slots);
    *set = larger;
    return MAGPIE_OK;
}

magpie_status magpie_id_set_add(magpie_id_set *set, magpie_string id, bool *was_there) {
    if (set->count >= set->capacity / 4 * 3) {
        magpie_status status = double_capacity(set);
        if (status != MAGPIE_OK) return status;
    }
    uint64_t hash = hash_id(id), *slot = &set->slots[find_slot(set, hash)];
    *was_there = *slot != 0;
    set->count += !*was_there;
    *slot = hash;
    return MAGPIE_OK;
}

bool magpie_id_set_has(const magpie_id_set *set, magpie_string id) {
    return set->capacity && set->slots[find_slot(set, hash_id(id))] != 0;
}

void magpie_id_set_free(magpie_id_set *set) {
    free(set->slots);
    *set = (magpie_id_set){0};
}
