/* features.c - see features.h. */
#include "features.h"

#include "attribute.h"
#include "ingest.h"

#include <stdlib.h>
#include <string.h>

enum { ITEMS_A_TASK = 64 };

/* ---- which items --------------------------------------------------------------------------------------- */

static magpie_status take_item(features *f, const magpie_item *item) {
    features_item *out = &f->items[f->n];
    *out = (features_item){.item = *item};
    magpie_status status = attribute_title_hash(item, &out->title);
    for (magpie_modality m = 0; m < MAGPIE_MODALITIES && status == MAGPIE_OK; m++)
        status = magpie_snapshot_vector(f->snapshot, magpie_space_of_modality(m), item->row, &out->of[m]);
    if (status == MAGPIE_OK) f->n++;
    return status;
}

typedef struct taking {
    features *features;
    features_split split;
    size_t capacity;
} taking;

static magpie_status take_if_wanted(void *context, const magpie_item *item) {
    taking *t = context;
    features *f = t->features;
    magpie_status status = magpie_grow((void **)&f->items, &t->capacity, f->n + 1, sizeof *f->items);
    if (status == MAGPIE_OK) status = take_item(f, item);
    if (status != MAGPIE_OK || t->split == FEATURES_ALL) return status;
    if (magpie_title_held_out(f->items[f->n - 1].title) != (t->split == FEATURES_HELD_OUT)) f->n--;
    return MAGPIE_OK;
}

static magpie_status take_line(taking *t, const magpie_line *line) {
    magpie_item item;
    features *f = t->features;
    magpie_string id = {line->data, line->size};
    if (line->too_long) return magpie_fail(MAGPIE_E_INPUT, "no id has %zu bytes", line->size);
    if (id.size && id.data[id.size - 1] == '\r') id.size--;
    if (!id.size) return MAGPIE_OK;
    magpie_status status = magpie_snapshot_get(f->snapshot, id, &item);
    if (status == MAGPIE_E_NOT_FOUND) return magpie_fail(MAGPIE_E_INPUT, "%s", magpie_error());
    if (status == MAGPIE_OK)
        status = magpie_grow((void **)&f->items, &t->capacity, f->n + 1, sizeof *f->items);
    return status == MAGPIE_OK ? take_item(f, &item) : status;
}

static int compare_rows(const void *a, const void *b) {
    const features_item *x = a, *y = b;
    return (x->item.row > y->item.row) - (x->item.row < y->item.row);
}

static magpie_status take_ids(taking *t, const char *path) {
    magpie_lines *lines;
    magpie_line line;
    bool got = true;
    magpie_status status = magpie_lines_open(path, MAGPIE_ID_MAX + 1, 0, 0, &lines);
    if (status != MAGPIE_OK) return status;
    while (status == MAGPIE_OK && got) {
        status = magpie_lines_next(lines, &line, &got);
        if (status == MAGPIE_OK && got && (status = take_line(t, &line)) != MAGPIE_OK)
            status = magpie_fail(status, "%s, line %zu: %s", path, line.number, magpie_error());
    }
    magpie_lines_close(lines);
    if (status != MAGPIE_OK) return status;
    features *f = t->features;
    if (f->n) qsort(f->items, f->n, sizeof *f->items, compare_rows);
    for (size_t i = 1; i < f->n; i++)
        if (f->items[i - 1].item.row == f->items[i].item.row)
            return magpie_fail(MAGPIE_E_INPUT, "%s: item \"%.*s\" is named twice", path,
                               (int)f->items[i].item.id.size, f->items[i].item.id.data);
    return MAGPIE_OK;
}

magpie_status features_open(magpie_store *store, features_split split, const char *ids, features *out) {
    *out = (features){0};
    taking t = {out, split, 0};
    magpie_status status = magpie_snapshot_open(store, &out->snapshot);
    if (status == MAGPIE_OK) status = heads_read(out->snapshot, &out->spaces);
    for (magpie_modality m = 0; m < MAGPIE_MODALITIES; m++) {
        const magpie_space_binding *space = &out->spaces.of[magpie_space_of_modality(m)];
        out->source[m] = (magpie_modality_source){space->dimension, space->fingerprint};
    }
    if (status != MAGPIE_OK) return status;
    return ids ? take_ids(&t, ids) : magpie_snapshot_each(out->snapshot, 0, take_if_wanted, &t);
}

void features_close(features *f) {
    magpie_snapshot_close(f->snapshot);
    free(f->items);
    f->snapshot = NULL;
    f->items = NULL;
}

/* ---- into the one space -------------------------------------------------------------------------------- */

typedef struct projection {
    const features *features;
    const magpie_fusion *fusion;
    magpie_modality modality;
    size_t dimension; /* of the one space */
    const float *const *projected;
    const bool *const *projected_has;
    float *out;
    bool *has;
} projection;

static size_t end_of(const features *f, size_t task) {
    const size_t end = (task + 1) * ITEMS_A_TASK;
    return end < f->n ? end : f->n;
}

/* Those that have the modality are brought side by side, projected, and put where they belong. */
static magpie_status project_some(void *context, size_t task, unsigned worker) {
    (void)worker;
    const projection *p = context;
    const features *f = p->features;
    const size_t d = p->dimension, input = f->source[p->modality].dimension;
    size_t places[ITEMS_A_TASK], n = 0;
    float *block = magpie_alloc(ITEMS_A_TASK, (input + d) * sizeof *block);
    if (!block) return MAGPIE_E_NO_MEMORY;
    float *out = block + ITEMS_A_TASK * input;
    for (size_t i = task * ITEMS_A_TASK; i < end_of(f, task); i++) {
        const float *vector = f->items[i].of[p->modality];
        p->has[i] = vector != NULL;
        memset(p->out + i * d, 0, d * sizeof *out);
        if (!vector) continue;
        memcpy(block + n * input, vector, input * sizeof *vector);
        places[n++] = i;
    }
    magpie_status status = n ? magpie_fusion_project(p->fusion, p->modality, block, n, out) : MAGPIE_OK;
    for (size_t i = 0; i < n && status == MAGPIE_OK; i++)
        memcpy(p->out + places[i] * d, out + i * d, d * sizeof *out);
    free(block);
    return status;
}

static magpie_status fuse_some(void *context, size_t task, unsigned worker) {
    (void)worker;
    const projection *p = context;
    const magpie_fusion_info *info = magpie_fusion_get_info(p->fusion);
    for (size_t i = task * ITEMS_A_TASK; i < end_of(p->features, task); i++) {
        magpie_fusion_part parts[MAGPIE_MODALITIES];
        size_t n = 0;
        float *out = p->out + i * p->dimension;
        for (magpie_modality m = 0; m < MAGPIE_MODALITIES; m++)
            if (p->projected[m] && p->projected_has[m][i] && info->weights[m] > 0)
                parts[n++] = (magpie_fusion_part){p->projected[m] + i * p->dimension, info->weights[m]};
        magpie_status status = n ? magpie_fusion_mix(p->fusion, parts, n, out) : MAGPIE_E_INPUT;
        p->has[i] = status == MAGPIE_OK;
        if (status == MAGPIE_E_INPUT)
            memset(out, 0, p->dimension * sizeof *out); /* nothing, or it cancels out */
        if (status != MAGPIE_OK && status != MAGPIE_E_INPUT) return status;
    }
    return MAGPIE_OK;
}

static magpie_status run(projection *p, magpie_task task) {
    magpie_pool *pool;
    p->dimension = magpie_fusion_get_info(p->fusion)->dimension;
    magpie_status status = magpie_pool_create(0, &pool);
    if (status != MAGPIE_OK) return status;
    status = magpie_pool_run(pool, (p->features->n + ITEMS_A_TASK - 1) / ITEMS_A_TASK, task, p);
    magpie_pool_free(pool);
    return status;
}

magpie_status features_project(const features *f, const magpie_fusion *fusion, magpie_modality modality,
                               float *out, bool *has) {
    projection p = {.features = f, .fusion = fusion, .modality = modality, .out = out, .has = has};
    return run(&p, project_some);
}

magpie_status features_fuse(const features *f, const magpie_fusion *fusion,
                            const float *const projected[MAGPIE_MODALITIES],
                            const bool *const projected_has[MAGPIE_MODALITIES], float *out, bool *has) {
    projection p = {.features = f,
                    .fusion = fusion,
                    .projected = projected,
                    .projected_has = projected_has,
                    .out = out,
                    .has = has};
    return run(&p, fuse_some);
}
