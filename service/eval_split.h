/* eval_split.h - rankers trained on a part of a store's likes, and measured on the rest. */
#ifndef MAGPIE_EVAL_SPLIT_H
#define MAGPIE_EVAL_SPLIT_H

#include "eval_measure.h"

enum { EVAL_MODELS_MAX = 32, EVAL_SEEDS_MAX = 100 };

typedef struct eval_split_options {
    magpie_ranker_split split;
    double share;
    size_t seeds;         /* rounds, each with a split and trainings of its own; EVAL_SEEDS_MAX at most */
    const char *models;   /* names with commas between; "random" is one more */
    const char *settings; /* NULL, or a file as ranker_parameters_read takes it */
    eval_protocol protocol;
    size_t k;
} eval_split_options;

/* Models are trained into a folder in `directory` that is removed at the end. Cold items are ranked among
 * themselves: what is asked is which of the new ones, and a model that puts them all behind the others would
 * else have nothing to show. Says on standard error how far it is. out [EVAL_MODELS_MAX] */
MAGPIE_CHECK_RESULT magpie_status eval_split_run(const likes *likes, const char *directory,
                                                 const eval_split_options *options, measured *out, size_t *n);

#endif
