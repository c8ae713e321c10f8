/* id_set.h - which ids a run has seen. Private to ingest/.
 *
 * Holds 64-bit hashes, not ids: 16 bytes a line at most, where a catalogue's ids would be as large as the
 * catalogue. The price is one false "seen" among n ids with probability n^2 / 2^65, 3e-8 for a million; the
 * store is asked too before anything follows from it. */
#ifndef MAGPIE_ID_SET_H
#define MAGPIE_ID_SET_H

#include "core.h"

typedef struct magpie_id_set { /* all zero is a valid empty one */
    uint64_t *slots;           /* [capacity], open addressing; 0 is a free slot */
    size_t count, capacity;    /* capacity: 0 or a power of two */
} magpie_id_set;

/* Adds an id; *was_there says whether it had been added before. */
MAGPIE_CHECK_RESULT magpie_status magpie_id_set_add(magpie_id_set *set, magpie_string id, bool *was_there);
bool magpie_id_set_has(const magpie_id_set *set, magpie_string id);
void magpie_id_set_free(magpie_id_set *set);

#endif
