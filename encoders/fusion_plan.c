/* fusion_plan.c - what a batch has: views, pairs, and who is called like whom. */
#include "fusion_network.h"

#include <stdlib.h>
#include <string.h>

/* Items in order of what they have: all, all but sounds, then the rest. So whatever two of the modalities
 * most have is at the beginning of both views. */
static void sort_items(fusion_network *net, bool sorted) {
    const fusion_batch *batch = net->batch;
    static const unsigned orders[] = {7, 3, 5, 6}; /* sets of modalities: bits */
    size_t n = 0;
    for (size_t k = 0; k < (sorted ? sizeof orders / sizeof *orders : 1); k++)
        for (size_t i = 0; i < batch->n; i++) {
            unsigned has = 0;
            for (size_t m = 0; m < MAGPIE_MODALITIES; m++)
                has |= net->layout.input[m] && batch->of->features[m][batch->items[i]] ? 1u << m : 0;
            if (!sorted || has == orders[k]) net->items[n++] = batch->items[i];
        }
}

static void plan_view(fusion_network *net, size_t v) {
    fusion_view *view = &net->view[v];
    const fusion_batch *batch = net->batch;
    view->n = 0;
    if (v < MAGPIE_MODALITIES && !net->layout.input[v]) return;
    for (size_t i = 0; i < batch->n; i++) {
        bool has = v == FUSION_FUSED || batch->of->features[v][net->items[i]];
        view->at[i] = has ? (int32_t)view->n : -1;
        if (has) view->rows[view->n++] = (uint32_t)i;
    }
}

/* The pair's rows of a view, where they are side by side; else `copy`. */
static const float *rows_of(const fusion_network *net, const fusion_pair *pair, const fusion_view *view,
                            const float *copy) {
    if (!pair->n) return copy;
    int32_t first = view->at[pair->of[0]], last = view->at[pair->of[pair->n - 1]];
    return (size_t)(last - first) == pair->n - 1 ? view->z + (size_t)first * net->layout.dimension : copy;
}

/* Of one item there is nothing to tell it from. */
static void plan_pair(fusion_network *net, fusion_pair *pair) {
    const fusion_view *a = &net->view[pair->a], *b = &net->view[pair->b];
    pair->n = 0;
    if (pair->a == pair->b) return;
    for (size_t i = 0; i < net->batch->n; i++) {
        bool both = a->at[i] >= 0 && b->at[i] >= 0;
        pair->at[i] = both ? (int32_t)pair->n : -1;
        if (both) pair->of[pair->n++] = (uint32_t)i;
    }
    if (pair->n < 2) pair->n = 0;
    pair->za = rows_of(net, pair, a, pair->copy_a);
    pair->zb = rows_of(net, pair, b, pair->copy_b);
    net->examples += pair->n;
}

typedef struct titled {
    uint64_t title;
    int32_t item;
} titled;

static int by_title(const void *a, const void *b) {
    const titled *x = a, *y = b;
    if (x->title != y->title) return x->title < y->title ? -1 : 1;
    return (x->item > y->item) - (x->item < y->item);
}

static magpie_status link_titles(fusion_network *net) {
    size_t n = net->batch->n;
    titled *sorted = magpie_alloc(n, sizeof *sorted);
    if (!sorted) return MAGPIE_E_NO_MEMORY;
    for (size_t i = 0; i < n; i++) sorted[i] = (titled){net->batch->of->titles[net->items[i]], (int32_t)i};
    qsort(sorted, n, sizeof *sorted, by_title);
    for (size_t i = 0, first = 0; i < n; i++) {
        bool last = i + 1 == n || sorted[i + 1].title != sorted[i].title;
        net->same[sorted[i].item] = sorted[last ? first : i + 1].item;
        if (last) first = i + 1;
    }
    free(sorted);
    return MAGPIE_OK;
}

magpie_status fusion_plan(fusion_network *net, bool sorted) {
    sort_items(net, sorted);
    net->examples = 0;
    for (size_t v = 0; v < FUSION_VIEWS; v++) plan_view(net, v);
    for (size_t i = 0; i < FUSION_PAIRS; i++) plan_pair(net, &net->pair[i]);
    return link_titles(net);
}
