/* fusion_plan.c - what a batch has: views, pairs, and who is called like whom. */
#include "fusion_network.h"

#include <stdlib.h>
#include <string.h>

/* Items in order of what they have, so that texts are a range, and pictures; and sounds wherever every item
 * has a text. */
static void sort_items(fusion_network *net) {
    const fusion_batch *batch = net->batch;
    static const unsigned orders[] = {5, 7, 3, 6}; /* sets of modalities: bits */
    size_t n = 0;
    for (size_t k = 0; k < sizeof orders / sizeof *orders; k++)
        for (size_t i = 0; i < batch->n; i++) {
            unsigned has = 0;
            for (size_t m = 0; m < MAGPIE_MODALITIES; m++)
                has |= net->layout.input[m] && batch->of->features[m][batch->items[i]] ? 1u << m : 0;
            if (has != orders[k]) continue;
            net->place[i] = (uint32_t)n;
            net->items[n++] = batch->items[i];
        }
}

static void plan_view(fusion_network *net, size_t m) {
    fusion_view *view = &net->view[m];
    size_t n = net->batch->n, end = 0;
    view->n = view->first = 0;
    view->row = net->rows;
    if (!net->layout.input[m]) return;
    memset(view->has, 0, (net->most + FUSION_TILE) * sizeof *view->has);
    for (size_t i = 0; i < n; i++) {
        view->has[i] = net->batch->of->features[m][net->items[i]] != NULL;
        if (view->has[i] && !end) view->first = i;
        if (view->has[i]) end = i + 1;
    }
    view->n = fusion_blocks(end - view->first, FUSION_TILE) * FUSION_TILE;
    net->rows += view->n;
}

static void plan_pair(fusion_network *net, fusion_pair *pair) {
    size_t n = net->batch->n, end = 0, count = 0;
    const bool *a = pair->a == FUSION_FUSED ? NULL : net->view[pair->a].has, *b = net->view[pair->b].has;
    pair->n = pair->first = pair->hole_count = 0;
    if (pair->a == pair->b) return;
    for (size_t i = 0; i < n; i++) {
        if ((a && !a[i]) || !b[i]) continue;
        if (!count++) pair->first = i;
        end = i + 1;
    }
    if (count < 2) return;
    pair->n = end - pair->first;
    for (size_t i = pair->first; i < end; i++)
        if ((a && !a[i]) || !b[i]) pair->holes[pair->hole_count++] = (uint32_t)(i - pair->first);
    net->examples += count;
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

magpie_status fusion_plan(fusion_network *net) {
    net->examples = net->rows = 0;
    sort_items(net);
    for (size_t m = 0; m < MAGPIE_MODALITIES; m++) plan_view(net, m);
    for (size_t i = 0; i < FUSION_PAIRS; i++) plan_pair(net, &net->pair[i]);
    net->stride = fusion_stride(net->rows);
    return link_titles(net);
}

size_t fusion_count_pieces(const fusion_network *net) {
    size_t count = 0;
    for (size_t m = 0; m < MAGPIE_MODALITIES; m++) count += fusion_blocks(net->view[m].n, FUSION_BLOCK);
    return count;
}

fusion_piece fusion_piece_of(const fusion_network *net, size_t task) {
    const fusion_view *view = net->view;
    while (task >= fusion_blocks(view->n, FUSION_BLOCK)) task -= fusion_blocks(view++->n, FUSION_BLOCK);
    size_t first = task * FUSION_BLOCK;
    return (fusion_piece){.modality = (size_t)(view - net->view),
                          .row = view->row + first,
                          .n = fusion_least(view->n - first, FUSION_BLOCK),
                          .item = view->first + first};
}
