/* eval_pairs.h - users and items that belong together, for a ranker to find: of a file, or of a split. */
#ifndef MAGPIE_EVAL_PAIRS_H
#define MAGPIE_EVAL_PAIRS_H

#include "likes.h"

typedef struct eval_pairs {
    magpie_one_case *cases; /* [n], in the order that they came in; without negatives at first */
    size_t n;
    uint32_t *negatives; /* of all cases */
    size_t users;        /* numbers of users are below; those from the store's on are strangers' */
} eval_pairs;

/* The NCF repository's files: `test` has lines "user item ...", with tabs; `negatives` (NULL: there is none)
 * has for each of them, in the same order, "(user,item)" and ids of other items. Ids that the store does not
 * know get numbers behind those that it knows. MAGPIE_E_INPUT names file and line. To be freed whatever is
 * returned, as the next. */
MAGPIE_CHECK_RESULT magpie_status eval_pairs_read(const likes *known, const char *test, const char *negatives,
                                                  eval_pairs *out);
MAGPIE_CHECK_RESULT magpie_status eval_pairs_of(const magpie_likes *test, eval_pairs *out);
void eval_pairs_free(eval_pairs *pairs);

/* The other way round: `items` as in `known`. One block, the caller's; empty where it fails. */
MAGPIE_CHECK_RESULT magpie_status eval_pairs_as_likes(const eval_pairs *pairs, const magpie_likes *known,
                                                      magpie_likes *out, magpie_block *block);

/* Draws 99 negatives for each, no two alike, of the items that the user has neither in `seen` nor in `test`;
 * fewer for somebody who has nearly all. `among` [seen->items]: of these alone; NULL: of all. */
MAGPIE_CHECK_RESULT magpie_status eval_pairs_draw(eval_pairs *pairs, const magpie_likes *seen,
                                                  const magpie_likes *test, const bool *among, uint64_t seed);

#endif
