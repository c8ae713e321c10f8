/* fusion_plan.c - what a batch has: views, pairs, and who is called like whom. */
#include "fusion_network.h"

#include <string.h>

/* Items in order of what they have, so that texts are a range, and pictures; and sounds wherever every item
 * has a text. */
static void sort_items(fusion_network *net) {
    const fusion_batch *batch = net->batch;
    static const unsigned orders[] = {5, 7, 3, 6}; /* sets of modalities: bits */
    size_t n = 0;
    memset(net->sets, 0, batch->n * sizeof *net->sets);
    for (size_t m = 0; m < MAGPIE_MODALITIES; m++)
        for (size_t i = 0; i < batch->n && net->layout.input[m]; i++)
            net->sets[i] |= (uint8_t)((batch->of->features[m][batch->items[i]] != NULL) << m);
    for (size_t k = 0; k < sizeof orders / sizeof *orders; k++)
        for (size_t i = 0; i < batch->n; i++) {
            if (net->sets[i] != orders[k]) continue;
            net->place[i] = (uint32_t)n;
            net->items[n++] = batch->items[i];
        }
}

static void plan_view(fusion_network *net, size_t m) {
    fusion_view *view = &net->view[m];
    size_t n = net->batch->n, first = n, end = 0;
    view->n = view->first = 0;
    view->row = net->rows;
    if (!net->layout.input[m]) return;
    memset(view->has, 0, (net->most + FUSION_TILE) * sizeof *view->has);
    for (size_t i = 0; i < n; i++) {
        size_t place = net->place[i];
        if (!(net->sets[i] >> m & 1)) continue;
        view->has[place] = true;
        first = fusion_least(first, place);
        end = end > place ? end : place + 1;
    }
    if (!end) return;
    view->first = first;
    view->n = fusion_blocks(end - first, FUSION_TILE) * FUSION_TILE;
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

/* By a table of the last item of each title. */
static void link_titles(fusion_network *net) {
    const uint64_t *titles = net->batch->of->titles;
    size_t mask = fusion_places(net->most) - 1;
    memset(net->last, -1, (mask + 1) * sizeof *net->last);
    for (size_t i = 0; i < net->batch->n; i++) {
        uint64_t title = titles[net->items[i]];
        size_t at = (size_t)(title * 0x9E3779B97F4A7C15 >> 32) & mask; /* Fibonacci hashing: Knuth, 6.4 */
        while (net->last[at] >= 0 && titles[net->items[net->last[at]]] != title) at = (at + 1) & mask;
        int32_t last = net->last[at], item = (int32_t)i;
        net->same[i] = last < 0 ? item : net->same[last];
        if (last >= 0) net->same[last] = item;
        net->last[at] = item;
    }
}

void fusion_plan(fusion_network *net) {
    net->examples = net->rows = 0;
    sort_items(net);
    for (size_t m = 0; m < MAGPIE_MODALITIES; m++) plan_view(net, m);
    for (size_t i = 0; i < FUSION_PAIRS; i++) plan_pair(net, &net->pair[i]);
    net->stride = fusion_stride(net->rows);
    link_titles(net);
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
