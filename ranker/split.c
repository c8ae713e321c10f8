/* split.c - likes apart, for training and for test.
 *
 * What is drawn by chance is drawn by selection sampling (Fan et al. 1962): exactly so many of n, each set
 * as likely as another, in one walk and without a list of them. Each user draws by a seed of their own, so
 * that a like that comes changes the split of nobody else. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"

/* ---- by user ------------------------------------------------------------------------------------------- */

/* As pandas rounds what stays: published figures of "75%" have n - round(0.75 n), halves to the even one. */
static size_t share_of(size_t n, double share) { return n - (size_t)nearbyint((1 - share) * (double)n); }

/* Leaves a share of those of `chosen` [n] that are true. */
static void choose(bool *chosen, size_t n, double share, uint64_t seed) {
    size_t left = 0;
    for (size_t i = 0; i < n; i++) left += chosen[i];
    size_t wanted = share_of(left, share);
    for (size_t i = 0; i < n; i++) {
        if (!chosen[i]) continue;
        chosen[i] = ranker_draw(&seed, (uint32_t)left--) < wanted;
        wanted -= chosen[i];
    }
}

static void split_last(const magpie_likes *likes, bool *test) {
    for (size_t u = 0; u < likes->users; u++)
        if (likes->begin[u + 1] - likes->begin[u] > 1) test[likes->begin[u + 1] - 1] = true;
}

static void split_random(const magpie_likes *likes, double share, uint64_t seed, bool *test) {
    for (size_t u = 0; u < likes->users; u++) {
        const size_t n = likes->begin[u + 1] - likes->begin[u];
        memset(test + likes->begin[u], true, n);
        choose(test + likes->begin[u], n, share, magpie_seed(seed, u));
    }
}

/* ---- by time ------------------------------------------------------------------------------------------- */

static size_t count_up_to(const magpie_likes *likes, int64_t time) {
    size_t count = 0;
    for (size_t i = 0; i < likes->begin[likes->users]; i++) count += likes->time[i] <= time;
    return count;
}

/* The least time that at least `wanted` are not after. By halving, not by sorting: a walk over the mapped
 * times for each of some forty bits, and no memory. */
static int64_t time_of(const magpie_likes *likes, size_t wanted, int64_t low, int64_t high) {
    while (low < high) {
        const int64_t middle = low + (int64_t)(((uint64_t)high - (uint64_t)low) / 2);
        if (count_up_to(likes, middle) >= wanted)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* Of those at the very time of the cut, the first in order of users stay. */
static magpie_status split_time(const magpie_likes *likes, double share, bool *test) {
    const size_t n = likes->begin[likes->users], kept = n - share_of(n, share);
    int64_t low = INT64_MAX, high = INT64_MIN;
    for (size_t i = 0; i < n && likes->time; i++) {
        if (likes->time[i] < low) low = likes->time[i];
        if (likes->time[i] > high) high = likes->time[i];
    }
    if (n && low >= high)
        return magpie_fail(MAGPIE_E_ARGUMENT, "likes without times cannot be split by time");
    if (!kept || kept == n) {
        memset(test, kept == 0, n);
        return MAGPIE_OK;
    }
    const int64_t cut = time_of(likes, kept, low, high);
    size_t before = 0, at = 0;
    for (size_t i = 0; i < n; i++) before += likes->time[i] < cut;
    for (size_t i = 0; i < n; i++)
        test[i] = likes->time[i] > cut || (likes->time[i] == cut && at++ >= kept - before);
    return MAGPIE_OK;
}

/* ---- cold ---------------------------------------------------------------------------------------------- */

static magpie_status split_cold(const magpie_likes *likes, bool items, double share, uint64_t seed,
                                bool *test) {
    const size_t n = items ? likes->items : likes->users;
    bool *cold = magpie_alloc(n, sizeof *cold);
    if (!cold) return MAGPIE_E_NO_MEMORY;
    for (size_t u = 0; u < likes->users; u++)
        for (uint64_t i = likes->begin[u]; i < likes->begin[u + 1]; i++)
            cold[items ? likes->item[i] : u] = true;
    choose(cold, n, share, seed);
    for (size_t u = 0; u < likes->users; u++)
        for (uint64_t i = likes->begin[u]; i < likes->begin[u + 1]; i++)
            test[i] = cold[items ? likes->item[i] : u];
    free(cold);
    return MAGPIE_OK;
}

/* ---- the split ----------------------------------------------------------------------------------------- */

magpie_status magpie_ranker_split_likes(const magpie_likes *likes, magpie_ranker_split split, double share,
                                        uint64_t seed, bool *test) {
    if (split != MAGPIE_SPLIT_LAST && !(share >= 0 && share <= 1))
        return magpie_fail(MAGPIE_E_ARGUMENT, "a share is from 0 to 1, not %g", share);
    memset(test, 0, likes->begin[likes->users] * sizeof *test);
    switch (split) {
    case MAGPIE_SPLIT_LAST: split_last(likes, test); return MAGPIE_OK;
    case MAGPIE_SPLIT_RANDOM: split_random(likes, share, seed, test); return MAGPIE_OK;
    case MAGPIE_SPLIT_TIME: return split_time(likes, share, test);
    case MAGPIE_SPLIT_COLD_ITEMS: return split_cold(likes, true, share, seed, test);
    case MAGPIE_SPLIT_COLD_USERS: return split_cold(likes, false, share, seed, test);
    }
    return magpie_fail(MAGPIE_E_ARGUMENT, "there is no split %d", (int)split);
}

/* ---- a part of them ------------------------------------------------------------------------------------ */

static void lay_out(const magpie_likes *likes, size_t n, magpie_likes *out, magpie_block *block) {
    *out = (magpie_likes){.users = likes->users,
                          .items = likes->items,
                          .begin = magpie_carve(block, likes->users + 1, sizeof *out->begin),
                          .item = magpie_carve(block, n, sizeof *out->item)};
    if (likes->weight) out->weight = magpie_carve(block, n, sizeof *out->weight);
    if (likes->time) out->time = magpie_carve(block, n, sizeof *out->time);
}

static void copy(const magpie_likes *likes, const bool *test, bool which, const magpie_likes *out) {
    uint64_t *begin = (uint64_t *)out->begin, n = 0;
    uint32_t *item = (uint32_t *)out->item;
    float *weight = (float *)out->weight;
    int64_t *time = (int64_t *)out->time;
    for (size_t u = 0; u < likes->users; u++) {
        begin[u] = n;
        for (uint64_t i = likes->begin[u]; i < likes->begin[u + 1]; i++) {
            if (test[i] != which) continue;
            item[n] = likes->item[i];
            if (weight) weight[n] = likes->weight[i];
            if (time) time[n] = likes->time[i];
            n++;
        }
    }
    begin[likes->users] = n;
}

magpie_status magpie_likes_select(const magpie_likes *likes, const bool *test, bool which, magpie_likes *out,
                                  magpie_block *block) {
    size_t n = 0;
    for (size_t i = 0; i < likes->begin[likes->users]; i++) n += test[i] == which;
    *block = (magpie_block){0};
    lay_out(likes, n, out, block);
    magpie_status status = magpie_block_alloc(block);
    if (status != MAGPIE_OK) return status;
    lay_out(likes, n, out, block);
    copy(likes, test, which, out);
    return MAGPIE_OK;
}
