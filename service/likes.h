/* likes.h - who likes what, out of a store, as models are trained and evaluated on it. */
#ifndef MAGPIE_LIKES_H
#define MAGPIE_LIKES_H

#include "index.h"
#include "ranker.h"

typedef struct likes {
    magpie_snapshot *snapshot; /* what it was read from, and where the content lies */
    /* Numbers are the store's. One like a user and item, of whatever kinds: weights summed up, the latest
     * time. What comes to 0 or less is none. `time` is NULL where no time is known. */
    magpie_likes all;
    magpie_ranker_content content; /* the catalogue's items' fused vectors; dimension 0: none */
    magpie_space_binding fused;
    void *mapping;
    size_t bytes;
} likes;

/* In memory where that is little. Else in a file of the store's folder that is mapped and has no name, so
 * that the system writes out what it needs the memory of. `out` is to be closed whatever is returned.
 * MAGPIE_E_NOT_FOUND: the store has no interactions. */
MAGPIE_CHECK_RESULT magpie_status likes_open(magpie_store *store, const char *directory, likes *out);
void likes_close(likes *likes);

/* What is known of a user: their row, or nobody's where the number is beyond. */
magpie_ranker_user likes_user(const magpie_likes *likes, uint32_t number);

/* One user's, as the store has them now: what a model that was trained earlier is told of them. */
typedef struct likes_history {
    uint32_t *liked; /* [liked_n], earliest first, as in magpie_likes */
    uint32_t *seen;  /* [seen_n]: those, and what was met and not liked */
    size_t liked_n, seen_n;
} likes_history;

/* Its arrays are the caller's to free, whatever is returned. */
MAGPIE_CHECK_RESULT magpie_status likes_read_history(magpie_snapshot *snapshot, uint32_t user,
                                                     likes_history *out);

#endif
