/* popularity.c - how many like an item, each like counting half as much for every half-life that it is older
 * than the newest one. Where no times are known, all count alike.
 *
 *     item.popularity [items] */
#include "model.h"

#include <math.h>
#include <stdlib.h>

static const double day = 86400e3; /* milliseconds */

static magpie_status create(magpie_ranker *ranker) {
    ranker->state = magpie_alloc(ranker->info.items, sizeof(float));
    return ranker->state ? MAGPIE_OK : MAGPIE_E_NO_MEMORY;
}

static size_t list(const magpie_ranker *ranker, ranker_tensor *out) {
    *out = (ranker_tensor){"item.popularity", ROWS_ITEMS, ranker->info.items, 0, 1, ranker->state};
    return 1;
}

static magpie_status train(magpie_ranker *ranker, const ranker_training *training, const bool *has) {
    (void)has;
    const magpie_likes *likes = training->likes;
    const uint64_t n = likes->begin[likes->users];
    const double half_life = ranker->options.half_life * day;
    float *popularity = ranker->state;
    int64_t newest = INT64_MIN;
    double *sums = magpie_alloc(likes->items, sizeof *sums);
    if (!sums) return MAGPIE_E_NO_MEMORY;
    for (uint64_t i = 0; likes->time && i < n; i++)
        if (likes->time[i] > newest) newest = likes->time[i];
    for (uint64_t i = 0; i < n; i++) {
        const double age = likes->time && half_life > 0 ? (double)(newest - likes->time[i]) / half_life : 0;
        sums[likes->item[i]] += (likes->weight ? (double)likes->weight[i] : 1) * exp2(-age);
    }
    for (size_t i = 0; i < likes->items; i++) popularity[i] = (float)sums[i];
    free(sums);
    return MAGPIE_OK;
}

static magpie_status score(const magpie_ranker *ranker, const magpie_ranker_user *user, const uint32_t *items,
                           size_t n, float *scores) {
    (void)user;
    const float *popularity = ranker->state;
    for (size_t k = 0; k < n; k++) {
        const size_t item = items ? items[k] : k;
        scores[k] = item < ranker->info.items ? popularity[item] : -INFINITY;
    }
    return MAGPIE_OK;
}

const ranker_model ranker_popularity = {create, free, list, train, NULL, NULL, score};
