/* duplicates.h - which items of a space are nearly the same.
 *
 * GROUPS are what is joined by pairs whose cosine is at least the threshold. Such a chain can lead far, from
 * a cat by way of a kitten to a tiger; so what is kept of a group is decided item by item: from the best one
 * on, an item is a duplicate where it is as near as the threshold to one that is kept already, and else it
 * is kept itself. Whatever is a duplicate has its original among the kept. The best is the one with the
 * longest text; of equals, that of the oldest row.
 *
 * Pairs come from the index, so they are all there where it is flat or the search exact, and about as
 * complete as its recall elsewhere. Memory is linear in the items, whatever is alike. */
#ifndef MAGPIE_DUPLICATES_H
#define MAGPIE_DUPLICATES_H

#include "index.h"

typedef struct duplicate {
    uint64_t row, kept_row; /* what is kept in its place; its own row where it is kept itself */
    size_t text_size;       /* bytes */
    float score;            /* cosine with that; 1 where it is kept itself */
    size_t group, kept;     /* while they are sorted: numbers of the group, and of the kept one in it */
} duplicate;

typedef struct duplicate_groups {
    /* Group behind group, the largest first (of equals, that of the oldest row); in each, one that is kept
     * and its duplicates, the nearest first, then the next that is kept. */
    duplicate *members;
    size_t *starts; /* [count + 1], in `members` */
    size_t count;
    size_t vectors;    /* that were compared */
    size_t duplicates; /* members that are not kept */
} duplicate_groups;

/* Groups of two and more. Scores within 1e-6 of `threshold` count as it, so that 1 means the same vector.
 * `exact`: by comparing every pair, whatever the index is. MAGPIE_E_BUSY where the space was given to
 * another model between the opening of the two. */
MAGPIE_CHECK_RESULT magpie_status duplicates_find(magpie_snapshot *snapshot, magpie_index *index,
                                                  magpie_space space, float threshold, bool exact,
                                                  duplicate_groups *out);
void duplicates_free(duplicate_groups *groups);

#endif
