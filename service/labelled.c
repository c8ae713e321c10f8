/* labelled.c - see labelled.h. */
#include "labelled.h"

#include "attribute.h"

#include <stdlib.h>
#include <string.h>

enum { VALIDATION = 5 /* one training title in so many */, NO_LABEL = UINT32_MAX };

/* An item that has a value. */
typedef struct labelled_entry {
    const features_item *item;
    char *value; /* owned */
    labelled_part part;
    uint32_t label;
} labelled_entry;

/* ---- values -------------------------------------------------------------------------------------------- */

/* Cuts a path behind its first `level` parts; level 0: not at all. */
static void cut(char *value, size_t level) {
    for (char *c = value; *c && level; c++)
        if (*c == '/' && !--level) *c = 0;
}

/* splitmix64's finish (Steele et al. 2014): every seed draws others. */
static uint64_t mix(uint64_t x) {
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static labelled_part part_of(const features_item *item, uint64_t seed) {
    if (magpie_title_held_out(item->title)) return LABELLED_HELD_OUT;
    return mix(item->title + mix(seed + 1)) % VALIDATION ? LABELLED_TRAINING : LABELLED_VALIDATION;
}

static magpie_status vector_of(const features *f, const features_item *item, magpie_space space,
                               const float **out) {
    return magpie_snapshot_vector(f->snapshot, space, item->item.row, out);
}

static magpie_status has_vectors(const features *f, const features_item *item,
                                 const bool spaces[MAGPIE_SPACES], bool *out) {
    *out = true;
    for (unsigned s = 0; s < MAGPIE_SPACES && *out; s++) {
        const float *vector = NULL;
        magpie_status status = spaces[s] ? vector_of(f, item, s, &vector) : MAGPIE_OK;
        if (status != MAGPIE_OK) return status;
        *out = !spaces[s] || vector;
    }
    return MAGPIE_OK;
}

static magpie_status take_item(labelled *l, const features *f, const features_item *item,
                               const labelled_options *options) {
    char *value = NULL;
    bool wanted;
    magpie_status status = has_vectors(f, item, options->spaces, &wanted);
    if (status == MAGPIE_OK && wanted) status = attribute_get_string(&item->item, options->attribute, &value);
    if (!value) return status;
    cut(value, options->level);
    if (*value && strlen(value) <= MAGPIE_LABEL_BYTES_MAX)
        l->entries[l->entry_count++] = (labelled_entry){item, value, part_of(item, options->seed), NO_LABEL};
    else
        free(value);
    return MAGPIE_OK;
}

/* ---- labels -------------------------------------------------------------------------------------------- */

/* Of equal values in the order of the items, so that the order of examples is that of the store. */
static int compare_values(const void *a, const void *b) {
    const labelled_entry *x = a, *y = b;
    const int order = strcmp(x->value, y->value);
    return order ? order : (x->item > y->item) - (x->item < y->item);
}

/* Labels the entries first .. end, which have one value, or counts them as rare. */
static void name_value(labelled *l, size_t first, size_t end, size_t least) {
    size_t for_fit = 0, training = 0;
    for (size_t i = first; i < end; i++) {
        for_fit += l->entries[i].part != LABELLED_HELD_OUT;
        training += l->entries[i].part == LABELLED_TRAINING;
    }
    if (for_fit < least || !training) {
        l->rare++;
        l->rare_items += end - first;
        return;
    }
    for (size_t i = first; i < end; i++) l->entries[i].label = (uint32_t)l->count;
    l->names[l->count++] = l->entries[first].value;
}

static void name_values(labelled *l, size_t least) {
    qsort(l->entries, l->entry_count, sizeof *l->entries, compare_values);
    for (size_t first = 0, end; first < l->entry_count; first = end) {
        for (end = first; end < l->entry_count; end++)
            if (strcmp(l->entries[end].value, l->entries[first].value) != 0) break;
        name_value(l, first, end, least);
    }
}

static int compare_places(const void *a, const void *b) {
    const labelled_entry *x = a, *y = b;
    return (x->item > y->item) - (x->item < y->item);
}

static magpie_status fill_parts(labelled *l) {
    qsort(l->entries, l->entry_count, sizeof *l->entries, compare_places);
    for (labelled_part p = 0; p < LABELLED_PARTS; p++) {
        l->part[p].items = magpie_alloc(l->entry_count, sizeof *l->part[p].items);
        l->part[p].labels = magpie_alloc(l->entry_count, sizeof *l->part[p].labels);
        if (!l->part[p].items || !l->part[p].labels) return MAGPIE_E_NO_MEMORY;
    }
    for (size_t i = 0; i < l->entry_count; i++) {
        const labelled_entry *e = &l->entries[i];
        if (e->label == NO_LABEL) continue;
        l->part[e->part].items[l->part[e->part].n] = e->item;
        l->part[e->part].labels[l->part[e->part].n++] = e->label;
    }
    return MAGPIE_OK;
}

static magpie_status check(const labelled *l, const labelled_options *options) {
    if (!l->entry_count)
        return magpie_fail(MAGPIE_E_NOT_FOUND,
                           "no item has both a vector to learn from and an attribute \"%s\" that is a string",
                           options->attribute);
    if (l->count < 2)
        return magpie_fail(MAGPIE_E_NOT_FOUND,
                           "%zu of the values of \"%s\" has %zu training items or more; it takes two",
                           l->count, options->attribute, options->least);
    if (!l->part[LABELLED_VALIDATION].n)
        return magpie_fail(MAGPIE_E_NOT_FOUND, "no training title falls to validation: there are too few");
    return MAGPIE_OK;
}

magpie_status labelled_open(const features *f, const labelled_options *options, labelled *out) {
    *out = (labelled){0};
    out->entries = magpie_alloc(f->n, sizeof *out->entries);
    out->names = magpie_alloc(f->n, sizeof *out->names);
    magpie_status status = out->entries && out->names ? MAGPIE_OK : MAGPIE_E_NO_MEMORY;
    for (size_t i = 0; i < f->n && status == MAGPIE_OK; i++)
        status = take_item(out, f, &f->items[i], options);
    if (status != MAGPIE_OK) return status;
    name_values(out, options->least);
    status = fill_parts(out);
    return status == MAGPIE_OK ? check(out, options) : status;
}

void labelled_close(labelled *l) {
    for (size_t i = 0; i < l->entry_count; i++) free(l->entries[i].value);
    for (labelled_part p = 0; p < LABELLED_PARTS; p++) {
        free(l->part[p].items);
        free(l->part[p].labels);
    }
    free(l->entries);
    free(l->names);
    *l = (labelled){0};
}

magpie_status labelled_examples(const labelled *l, const features *f, labelled_part part, magpie_space space,
                                float **vectors, magpie_labels_examples *out) {
    const size_t n = l->part[part].n, dimension = f->spaces.of[space].dimension;
    *vectors = magpie_alloc(n, dimension * sizeof **vectors);
    magpie_status status = *vectors ? MAGPIE_OK : MAGPIE_E_NO_MEMORY;
    for (size_t i = 0; i < n && status == MAGPIE_OK; i++) {
        const float *vector = NULL;
        status = vector_of(f, l->part[part].items[i], space, &vector);
        if (status == MAGPIE_OK) memcpy(*vectors + i * dimension, vector, dimension * sizeof *vector);
    }
    *out = (magpie_labels_examples){*vectors, l->part[part].labels, n};
    return status;
}
