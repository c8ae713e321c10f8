/* recommender.c - see recommender.h: what is gathered once. */
#include "recommender.h"
#include "rankers.h"

#include <stdlib.h>

/* Where several are trained. First what takes in most: content and history, then networks. */
static const magpie_ranker_kind best_first[] = {
    MAGPIE_RANKER_MAGPIE, MAGPIE_RANKER_NEUMF,   MAGPIE_RANKER_EASE,    MAGPIE_RANKER_IALS, MAGPIE_RANKER_MF,
    MAGPIE_RANKER_GMF,    MAGPIE_RANKER_ITEMKNN, MAGPIE_RANKER_PURESVD, MAGPIE_RANKER_MLP};

typedef struct gathering {
    recommender *r;
    magpie_snapshot *snapshot;
    uint32_t *likes;       /* [items], for each number */
    const float **vectors; /* [items], fused; NULL where there is none */
    size_t rows_room, likes_room, vectors_room, catalogue_room;
} gathering;

/* ---- the catalogue ------------------------------------------------------------------------------------- */

static magpie_status add_number(gathering *g) {
    recommender *r = g->r;
    const size_t need = r->items + 1;
    magpie_status status = magpie_grow((void **)&r->row, &g->rows_room, need, sizeof *r->row);
    if (status == MAGPIE_OK) status = magpie_grow((void **)&g->likes, &g->likes_room, need, sizeof *g->likes);
    if (status == MAGPIE_OK)
        status = magpie_grow((void **)&g->vectors, &g->vectors_room, need, sizeof *g->vectors);
    if (status != MAGPIE_OK) return status;
    r->row[r->items] = RECOMMENDER_NOWHERE;
    g->likes[r->items] = 0;
    g->vectors[r->items++] = NULL;
    return MAGPIE_OK;
}

static magpie_status take_item(void *context, const magpie_item *item) {
    gathering *g = context;
    recommender *r = g->r;
    uint32_t number;
    magpie_status status = magpie_snapshot_item_number(g->snapshot, item->id, &number);
    if (status == MAGPIE_E_NOT_FOUND) {
        number = (uint32_t)r->items;
        status = add_number(g);
    }
    if (status == MAGPIE_OK)
        status = magpie_snapshot_vector(g->snapshot, MAGPIE_SPACE_FUSED, item->row, &g->vectors[number]);
    if (status == MAGPIE_OK)
        status =
            magpie_grow((void **)&r->catalogue, &g->catalogue_room, r->catalogue_n + 1, sizeof *r->catalogue);
    if (status != MAGPIE_OK) return status;
    r->row[number] = item->row;
    r->catalogue[r->catalogue_n++] = (recommender_listed){item->timestamp, item->row, number};
    return MAGPIE_OK;
}

uint32_t recommender_number(const recommender *r, uint64_t row) {
    size_t low = 0, high = r->catalogue_n;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (r->catalogue[middle].row < row)
            low = middle + 1;
        else
            high = middle;
    }
    return low < r->catalogue_n && r->catalogue[low].row == row ? r->catalogue[low].number
                                                                : MAGPIE_RANKER_NOBODY;
}

/* ---- what is popular, and what is new ------------------------------------------------------------------ */

/* One like a user and item, of whatever kinds. */
static magpie_status count_likes(void *context, const magpie_interaction *interactions, size_t count) {
    gathering *g = context;
    for (size_t i = 0; i < count;) {
        const uint32_t item = interactions[i].item;
        float weight = 0;
        for (; i < count && interactions[i].item == item; i++) weight += interactions[i].weight;
        g->likes[item] += weight > 0;
    }
    return MAGPIE_OK;
}

static int compare_listed(const void *a, const void *b) {
    const recommender_listed *x = a, *y = b;
    if (x->key != y->key) return x->key > y->key ? -1 : 1;
    if (x->row != y->row) return x->row > y->row ? -1 : 1;
    return (x->number > y->number) - (x->number < y->number);
}

static magpie_status list(const gathering *g) {
    recommender *r = g->r;
    r->popular = magpie_alloc(r->items, sizeof *r->popular);
    r->new = magpie_alloc(r->catalogue_n, sizeof *r->new);
    if (!r->popular || !r->new) return MAGPIE_E_NO_MEMORY;
    for (size_t i = 0; i < r->items; i++)
        if (g->likes[i])
            r->popular[r->popular_n++] = (recommender_listed){g->likes[i], r->row[i], (uint32_t)i};
    for (size_t i = 0; i < r->catalogue_n; i++)
        if (!g->likes[r->catalogue[i].number]) r->new[r->new_n++] = r->catalogue[i];
    qsort(r->popular, r->popular_n, sizeof *r->popular, compare_listed);
    qsort(r->new, r->new_n, sizeof *r->new, compare_listed);
    return MAGPIE_OK;
}

static magpie_status gather(gathering *g) {
    recommender *r = g->r;
    magpie_interaction_counts counts;
    magpie_status status = magpie_snapshot_interaction_counts(g->snapshot, &counts);
    while (status == MAGPIE_OK && r->items < counts.items) status = add_number(g);
    r->numbered = r->items;
    if (status == MAGPIE_OK) status = magpie_snapshot_each(g->snapshot, 0, take_item, g);
    if (status == MAGPIE_OK) status = magpie_snapshot_each_user(g->snapshot, 0, counts.users, count_likes, g);
    return status == MAGPIE_OK ? list(g) : status;
}

/* ---- the model ----------------------------------------------------------------------------------------- */

static magpie_status choose_model(const gathering *g, const char *models, const char *name) {
    recommender *r = g->r;
    magpie_space_binding binding = {0};
    magpie_status status = magpie_snapshot_get_binding(g->snapshot, MAGPIE_SPACE_FUSED, &binding);
    const magpie_ranker_content content = {r->items, binding.dimension, g->vectors, binding.fingerprint};
    if (name && status == MAGPIE_OK) status = rankers_open(models, name, true, &content, &r->ranker);
    for (size_t i = 0; i < sizeof best_first / sizeof *best_first && !name; i++)
        if (status == MAGPIE_OK && !r->ranker)
            status =
                rankers_open(models, magpie_ranker_kind_name(best_first[i]), false, &content, &r->ranker);
    if (r->ranker) r->model = magpie_ranker_kind_name(magpie_ranker_get_info(r->ranker)->kind);
    return status;
}

magpie_status recommender_open(magpie_snapshot *snapshot, const char *models, const char *name,
                               recommender **out) {
    recommender *r = *out = magpie_alloc(1, sizeof *r);
    if (!r) return MAGPIE_E_NO_MEMORY;
    gathering g = {.r = r, .snapshot = snapshot};
    magpie_status status = gather(&g);
    if (status == MAGPIE_OK) status = choose_model(&g, models, name);
    free(g.likes);
    free((void *)g.vectors);
    if (status == MAGPIE_OK) return MAGPIE_OK;
    recommender_close(r);
    *out = NULL;
    return status;
}

void recommender_close(recommender *r) {
    if (!r) return;
    magpie_ranker_close(r->ranker);
    free(r->row);
    free(r->catalogue);
    free(r->popular);
    free(r->new);
    free(r);
}
