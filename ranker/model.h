/* model.h - what a kind of model is to ranker.c, which opens, trains and saves them all. Private to ranker/.
 *
 * A model's numbers are tensors that it lists: one list serves saving, opening, beginning from another model,
 * forgetting a user and counting parameters. */
#ifndef MAGPIE_MODEL_H
#define MAGPIE_MODEL_H

#include "random.h"
#include "ranker.h"

#include <math.h>

typedef enum ranker_rows { ROWS_OTHER, ROWS_USERS, ROWS_ITEMS } ranker_rows;

typedef struct ranker_tensor {
    const char *name;     /* "item.gmf"; "user." begins those of ROWS_USERS, and no others: forget.c */
    ranker_rows of;       /* what its rows are numbered by */
    size_t rows, columns; /* columns 0: a vector of `rows` numbers */
    size_t stride;        /* numbers from row to row: tensors may be columns of one table */
    float *values;
} ranker_tensor;

enum {
    RANKER_TENSORS_MAX = 32,
    RANKER_FACTORS_MOST = 1024,
    RANKER_NUMBERS_MOST = INT32_MAX /* users, and items */
};

static inline size_t ranker_columns(const ranker_tensor *t) { return t->columns ? t->columns : 1; }

/* One training: what it is given, and how it tells of itself. */
typedef struct ranker_training {
    const magpie_likes *likes; /* to learn from */
    /* One like of each user that was set aside, MAGPIE_RANKER_NOBODY where there is none; NULL: none is. */
    const uint32_t *validation;
    const magpie_ranker_content *content; /* NULL: there is none */
    const char *directory, *state;        /* the model's folder, and the path of its training.state */
    magpie_pool *pool;
    size_t from;                     /* how many models it begins from */
    magpie_ranker_callback callback; /* NULL: nobody listens */
    void *context;
    magpie_ranker_report *report; /* to be filled, but for seconds and parameters */
} ranker_training;

typedef struct ranker_model {
    /* Allocates ranker->state for ranker->info and ranker->options, its tensors all zero. */
    magpie_status (*create)(magpie_ranker *ranker);
    void (*free)(void *state); /* takes NULL */
    /* Lists its tensors into out [RANKER_TENSORS_MAX]; returns how many. */
    size_t (*tensors)(const magpie_ranker *ranker, ranker_tensor *out);
    /* Fills the tensors. Those that `from` had are filled already: has [tensors] says which; rows of users
     * and items that were not there are zero. */
    magpie_status (*train)(magpie_ranker *ranker, const ranker_training *training, const bool *has);
    /* NULL, or derives what scoring wants from tensors and content, once they are there. */
    magpie_status (*prepare)(magpie_ranker *ranker, const magpie_ranker_content *content);
    /* NULL, or has that device score from now on; after prepare. */
    magpie_status (*use_device)(magpie_ranker *ranker, magpie_device device);
    magpie_status (*score)(const magpie_ranker *ranker, const magpie_ranker_user *user, const uint32_t *items,
                           size_t n, float *scores);
} ranker_model;

struct magpie_ranker {
    magpie_ranker_info info;
    magpie_ranker_options options;
    const ranker_model *model;
    void *state;
};

/* ---- what is made of that: ranker.c, folder.c ---- */

/* With tensors that are zero; options have been checked. */
MAGPIE_CHECK_RESULT magpie_status ranker_create(const magpie_ranker_info *info,
                                                const magpie_ranker_options *options, magpie_ranker **out);
/* Both of the folder's files; after a crash between them, opening is an error. */
MAGPIE_CHECK_RESULT magpie_status ranker_save(const magpie_ranker *ranker, const char *directory);
/* All of it but what model->prepare makes. */
MAGPIE_CHECK_RESULT magpie_status ranker_load(const char *directory, magpie_ranker **out);
/* Takes tensors of the same name from another model and sets their has [RANKER_TENSORS_MAX]. Tables of users
 * and items may have fewer rows there: the rest stay zero. */
MAGPIE_CHECK_RESULT magpie_status ranker_take(magpie_ranker *ranker, const char *directory, bool *has);

/* ---- forget.c ---- */

/* Keeps others from forgetting users in the folder, and from writing to it, until the descriptor is closed. */
MAGPIE_CHECK_RESULT magpie_status ranker_lock(const char *directory, int *descriptor);
/* The numbers of those who were forgotten in the folder, to be freed. */
MAGPIE_CHECK_RESULT magpie_status ranker_forgotten(const char *directory, uint32_t **users, size_t *n);

/* ---- the models ---- */

/* popularity.c, itemknn.c, puresvd.c, ease.c, ials.c; neural.c for mf, gmf, mlp, neumf and magpie */
extern const ranker_model ranker_popularity, ranker_itemknn, ranker_puresvd, ranker_ease, ranker_ials,
    ranker_neural;

/* HR@10 of the user's like that was set aside among 99 others, drawn by `seed`, over at most 10,000 users:
 * what decides which epoch is kept. */
MAGPIE_CHECK_RESULT magpie_status ranker_validate(const magpie_ranker *ranker,
                                                  const ranker_training *training, uint64_t seed,
                                                  double *hit_rate);

/* The likes by item: out->users are the items, out->item[] the users, in rising order. Weights, no times. In
 * one block that the caller frees. */
MAGPIE_CHECK_RESULT magpie_status ranker_transpose(const magpie_likes *likes, magpie_likes *out,
                                                   magpie_block *block);

static inline magpie_status ranker_fail_no_history(void) {
    return magpie_fail(MAGPIE_E_NOT_FOUND, "the user likes nothing that the model knows");
}

static inline bool ranker_is_zero(const float *x, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (x[i] != 0) return false;
    return true;
}

/* scores = vector [d] . rows [known, d] of the items asked for; eight sums at a time, always in the same
 * order. */
static inline void ranker_score_by_dot(const float *vector, const float *rows, size_t d, size_t known,
                                       const uint32_t *items, size_t n, float *scores) {
    for (size_t k = 0; k < n; k++) {
        const size_t item = items ? items[k] : k;
        float sums[8] = {0};
        size_t f = 0;
        scores[k] = -INFINITY;
        if (item >= known) continue;
        const float *row = rows + item * d;
        for (; f + 8 <= d; f += 8)
            for (size_t i = 0; i < 8; i++) sums[i] += vector[f + i] * row[f + i];
        for (size_t i = 0; f < d; f++, i++) sums[i] += vector[f] * row[f];
        scores[k] = ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
    }
}

#endif
