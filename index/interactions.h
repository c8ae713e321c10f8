/* interactions.h - interactions that wait for their commit, and how they lie in their table. Private to
 * index/; index.h says what they are.
 *
 * A batch may hold a quarter of a million of them, by a few thousand users with a few thousand items. So each
 * id is kept once and looked up in the store once, and what is written is sorted before: the table is then
 * walked through, where unsorted puts would each search it from its root. That is what makes an import
 * several times as fast. */
#ifndef MAGPIE_INTERACTIONS_H
#define MAGPIE_INTERACTIONS_H

#include "store.h"

/* Ids, each once, in the order of their first sight: which is the order in which they get their numbers, so
 * that numbers do not depend on where batches were cut. */
typedef struct magpie_names {
    magpie_text bytes;
    struct magpie_name {
        size_t at, size; /* in bytes */
        uint64_t hash;
    } * names; /* [count] */
    size_t count, capacity;
    uint32_t *slots; /* [slot_count], a power of two: an index into names and one; 0: free */
    size_t slot_count;
} magpie_names;

typedef struct magpie_interaction_group {
    magpie_names users, items;
    magpie_interaction *puts; /* [count]; user and item are indexes into the names */
    size_t count, capacity;
} magpie_interaction_group;

/* `put`: its user and item are not read. */
MAGPIE_CHECK_RESULT magpie_status magpie_interaction_group_add(magpie_interaction_group *group,
                                                               magpie_string user, magpie_string item,
                                                               const magpie_interaction *put);
void magpie_interaction_group_free(magpie_interaction_group *group);

/* A write transaction. */
typedef struct magpie_interaction_writer {
    magpie_store *store;
    MDB_txn *txn;
    bool map_full; /* it failed, for LMDB ran out of map */
} magpie_interaction_writer;

MAGPIE_CHECK_RESULT magpie_status magpie_interaction_group_write(magpie_interaction_writer *w,
                                                                 const magpie_interaction_group *group);
MAGPIE_CHECK_RESULT magpie_status magpie_interaction_delete_user(magpie_interaction_writer *w,
                                                                 magpie_string id, bool *there);

/* ---- as they are stored ---- */

enum { MAGPIE_INTERACTION_KEY = 9, MAGPIE_INTERACTION_VALUE = 12 };

void magpie_interaction_key(uint32_t user, uint32_t item, unsigned kind,
                            unsigned char out[MAGPIE_INTERACTION_KEY]);
/* Whatever the bytes are: false where their sizes are not those. */
bool magpie_interaction_read(const MDB_val *key, const MDB_val *value, magpie_interaction *out);
/* A number of the tables of ids. */
bool magpie_interaction_number(const MDB_val *value, uint32_t *out);

#endif
