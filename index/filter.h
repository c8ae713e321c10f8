/* filter.h - a parsed filter, and its evaluation to a bitmap. Private to index/; the language is in index.h.
 *
 * Three files: filter_parse.c makes the tree below out of JSON, filter_match.c holds it against the
 * attributes of one item (plain, and the reference), filter_evaluate.c answers it for all items from the
 * inverted index. The last two share nothing but the tree, so that a test of one against the other means
 * something. */
#ifndef MAGPIE_FILTER_H
#define MAGPIE_FILTER_H

#include <jansson.h>

#include "bitmap.h"
#include "index.h"

typedef enum magpie_condition_kind {
    MAGPIE_CONDITION_CLAUSES, /* must, should, must_not */
    MAGPIE_CONDITION_ANY,     /* the path has one of the values */
    MAGPIE_CONDITION_EXCEPT,  /* the path has a string, number or boolean that is none of the values */
    MAGPIE_CONDITION_RANGE,   /* the path has a number within the bounds */
    MAGPIE_CONDITION_EXISTS,  /* the path has anything but null */
    MAGPIE_CONDITION_MISSING, /* it has not */
    MAGPIE_CONDITION_HAS_ID   /* the id is one of the values */
} magpie_condition_kind;

typedef struct magpie_condition magpie_condition;

typedef struct magpie_condition_list {
    magpie_condition *conditions; /* [count] */
    size_t count;
} magpie_condition_list;

struct magpie_condition {
    magpie_condition_kind kind;
    magpie_condition_list must, should, must_not; /* of clauses */
    char *path;                                   /* of the others but has_id; "[]" taken out */
    const json_t **values; /* [count] strings, numbers, booleans of any, except and has_id */
    size_t count;
    double lower, upper; /* of a range; infinite where there is no bound */
    bool lower_open, upper_open;
};

struct magpie_filter {
    json_t *json; /* what the values point into */
    magpie_condition root;
};

/* The ordinals i for which the item of rows[i] passes; rows [n] ascends. A row that is not live passes no
 * condition but a negative one: intersect with the live ones. */
MAGPIE_CHECK_RESULT magpie_status magpie_filter_evaluate(const magpie_filter *filter,
                                                         magpie_snapshot *snapshot, const uint64_t *rows,
                                                         size_t n, magpie_bitmap *out);

#endif
