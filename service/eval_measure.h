/* eval_measure.h - figures of rankers: one model measured, means over rounds, all of a run in one table. */
#ifndef MAGPIE_EVAL_MEASURE_H
#define MAGPIE_EVAL_MEASURE_H

#include "eval_pairs.h"

typedef enum eval_protocol { EVAL_ONE, EVAL_ALL, EVAL_PROTOCOLS } eval_protocol;

enum { MEASURES_MAX = 9, MODEL_NAME_MAX = 64 };

/* What models are asked. */
typedef struct eval_question {
    eval_protocol protocol;
    size_t k;
    const magpie_likes *seen, *test; /* EVAL_ALL */
    const eval_pairs *pairs;         /* EVAL_ONE */
    /* [seen->items]: these items alone are ranked; NULL: all. What is seen is no item of these. */
    const bool *among;
} eval_question;

typedef struct measured {
    char model[MODEL_NAME_MAX];
    size_t cases, served;                /* users, for EVAL_ALL; of all rounds */
    magpie_figure figures[MEASURES_MAX]; /* low and high are NAN where there is no interval */
} measured;

/* `ranker` NULL: scores by chance, seeded by `seed`. */
MAGPIE_CHECK_RESULT magpie_status eval_measure(const eval_question *question, const magpie_ranker *ranker,
                                               const char *name, uint64_t seed, measured *out);
/* The mean over rounds of one model, and the interval of 95% around it by Student's t. Of one round, that
 * round. */
void eval_measure_mean(const measured *rounds, size_t n, measured *out);

void eval_measure_append_json(magpie_text *out, eval_protocol protocol, size_t k, const measured *models,
                              size_t n);
void eval_measure_append_table(magpie_text *out, eval_protocol protocol, size_t k, const measured *models,
                               size_t n);

#endif
