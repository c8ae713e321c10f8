/* labelled.h - the values of an attribute as labels: examples for training, validation and a report, out of
 * what a store has.
 *
 * THE PARTS are by title, so that things called alike are in one of them: held-out titles are for the report
 * alone; of the others one in five, drawn by the seed, is for validation. */
#ifndef MAGPIE_LABELLED_H
#define MAGPIE_LABELLED_H

#include "features.h"

typedef struct labelled_options {
    const char *attribute;
    size_t level; /* 0: whole values; n: their first n parts, "a/b" of "a/b/c" for 2 */
    size_t least; /* training items that a label should have */
    uint64_t seed;
    bool spaces[MAGPIE_SPACES]; /* an item counts if it has a vector in each of these */
} labelled_options;

typedef enum labelled_part {
    LABELLED_TRAINING,
    LABELLED_VALIDATION,
    LABELLED_HELD_OUT,
    LABELLED_PARTS
} labelled_part;

typedef struct labelled {
    const char **names; /* [count], in order of their bytes */
    size_t count;
    size_t rare, rare_items; /* labels of too few training items; items of these */
    /* Of each part [n]: the item, its label. */
    struct {
        const features_item **items;
        uint32_t *labels;
        size_t n;
    } part[LABELLED_PARTS];
    struct labelled_entry *entries; /* [items]: they hold the names */
    size_t entry_count;
} labelled;

/* Values that are no strings, or empty, are none. MAGPIE_E_NOT_FOUND, in words, where fewer than two labels
 * or no examples for a fit are left. To be closed whatever is returned. */
MAGPIE_CHECK_RESULT magpie_status labelled_open(const features *features, const labelled_options *options,
                                                labelled *out);
void labelled_close(labelled *labelled);
/* The vectors of one part in one space, in the part's order: *vectors [n, dimension] is to be freed. */
MAGPIE_CHECK_RESULT magpie_status labelled_examples(const labelled *labelled, const features *features,
                                                    labelled_part part, magpie_space space, float **vectors,
                                                    magpie_labels_examples *out);

#endif
