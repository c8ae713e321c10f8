/* filter_evaluate.c - a filter for all items at once, from the inverted index.
 *
 * Each condition becomes a bitmap over the ordinals of `rows`, and clauses are words and-ed and or-ed. */
#include "filter.h"
#include "posting_rows.h"
#include "postings.h"
#include "record.h"
#include "store.h"

#include <math.h>

typedef struct evaluation {
    magpie_snapshot *snapshot;
    MDB_cursor *postings;
    const uint64_t *rows; /* [n], ascending */
    size_t n;
} evaluation;

static magpie_status failed(const evaluation *e, int code) {
    if (!code || code == MDB_NOTFOUND) return MAGPIE_OK;
    return magpie_lmdb_fail(code, "cannot read the attributes in %s",
                            e->snapshot->store->environment.directory);
}

static void add_ordinal(void *bitmap, size_t ordinal) { magpie_bitmap_set(bitmap, ordinal); }

/* Adds the rows of the posting that the cursor stands on; `first` is the first of them. */
static int add_posting(const evaluation *e, MDB_val first, magpie_bitmap *out) {
    return magpie_posting_walk(e->postings, first, (magpie_row_walk){e->rows, e->n, 0}, add_ordinal, out);
}

static magpie_status add_key(const evaluation *e, magpie_string wanted, magpie_bitmap *out) {
    MDB_val key = magpie_val(wanted.data, wanted.size), value;
    int code = mdb_cursor_get(e->postings, &key, &value, MDB_SET_KEY);
    return failed(e, code ? code : add_posting(e, value, out));
}

/* Adds the postings of all keys in [first, end), but those of `except` [count], which ascend. */
static magpie_status add_keys(const evaluation *e, const magpie_posting_key *first,
                              const magpie_posting_key *end, const magpie_posting_set *except,
                              magpie_bitmap *out) {
    MDB_val key = magpie_val(first->bytes, first->size), value;
    size_t next = 0;
    int code = mdb_cursor_get(e->postings, &key, &value, MDB_SET_RANGE);
    while (!code) {
        magpie_string found = {key.mv_data, key.mv_size};
        if (magpie_posting_compare(found, (magpie_string){(const char *)end->bytes, end->size}) >= 0) break;
        int order = 1;
        while (next < except->count &&
               (order = magpie_posting_compare(magpie_posting_set_key(except, next), found)) < 0)
            next++;
        if (next == except->count || order != 0) code = add_posting(e, value, out);
        if (!code) code = mdb_cursor_get(e->postings, &key, &value, MDB_NEXT_NODUP);
    }
    return failed(e, code);
}

/* ---- conditions ---- */

/* The keys of its values, each once. */
static magpie_status find_keys(const magpie_condition *c, magpie_posting_set *out) {
    magpie_posting_key key;
    magpie_posting_path(&key, c->path, strlen(c->path));
    magpie_status status = MAGPIE_OK;
    for (size_t i = 0; i < c->count && status == MAGPIE_OK; i++) {
        magpie_posting_scalar(&key, c->values[i]);
        status = magpie_posting_set_add(out, &key);
    }
    if (status == MAGPIE_OK) magpie_posting_set_sort(out);
    return status;
}

/* A value that is there a thousand times is looked for once. */
static magpie_status evaluate_any(const evaluation *e, const magpie_condition *c, magpie_bitmap *out) {
    magpie_posting_set wanted = {0};
    magpie_status status = find_keys(c, &wanted);
    for (size_t i = 0; i < wanted.count && status == MAGPIE_OK; i++)
        status = add_key(e, magpie_posting_set_key(&wanted, i), out);
    magpie_posting_set_free(&wanted);
    return status;
}

static magpie_status evaluate_except(const evaluation *e, const magpie_condition *c, magpie_bitmap *out) {
    magpie_posting_key first, end;
    magpie_posting_set except = {0};
    magpie_posting_path(&first, c->path, strlen(c->path));
    end = first;
    magpie_status status = find_keys(c, &except);
    magpie_posting_bound(&first, MAGPIE_POSTING_EXISTS + 1);
    magpie_posting_bound(&end, MAGPIE_POSTING_TYPES_END);
    if (status == MAGPIE_OK) status = add_keys(e, &first, &end, &except, out);
    magpie_posting_set_free(&except);
    return status;
}

static magpie_status evaluate_range(const evaluation *e, const magpie_condition *c, magpie_bitmap *out) {
    magpie_posting_key first, end;
    magpie_posting_path(&first, c->path, strlen(c->path));
    end = first;
    /* Doubles have neighbours, so that (a, b] is [next above a, next above b). */
    if (isinf(c->lower))
        magpie_posting_bound(&first, MAGPIE_POSTING_NUMBER);
    else
        magpie_posting_number(&first, c->lower_open ? nextafter(c->lower, INFINITY) : c->lower);
    if (isinf(c->upper))
        magpie_posting_bound(&end, MAGPIE_POSTING_NUMBER + 1);
    else
        magpie_posting_number(&end, c->upper_open ? c->upper : nextafter(c->upper, INFINITY));
    return add_keys(e, &first, &end, &(magpie_posting_set){0}, out);
}

static magpie_status evaluate_exists(const evaluation *e, const magpie_condition *c, magpie_bitmap *out) {
    magpie_posting_key key;
    magpie_posting_path(&key, c->path, strlen(c->path));
    magpie_posting_bound(&key, MAGPIE_POSTING_EXISTS);
    return add_key(e, (magpie_string){(const char *)key.bytes, key.size}, out);
}

static void complement(magpie_bitmap *bitmap) {
    size_t n = magpie_bitmap_words(bitmap->size);
    for (size_t i = 0; i < n; i++) bitmap->words[i] = ~bitmap->words[i];
    if (n) bitmap->words[n - 1] &= magpie_bitmap_tail(bitmap->size);
}

static magpie_status evaluate_has_id(const evaluation *e, const magpie_condition *c, magpie_bitmap *out) {
    for (size_t i = 0; i < c->count; i++) {
        magpie_item item;
        magpie_string id = {json_string_value(c->values[i]), json_string_length(c->values[i])};
        magpie_status status = magpie_snapshot_get(e->snapshot, id, &item);
        if (status == MAGPIE_E_NOT_FOUND) continue;
        if (status != MAGPIE_OK) return status;
        magpie_row_walk walk = {e->rows, e->n, 0};
        if (magpie_row_walk_to(&walk, item.row)) magpie_bitmap_set(out, walk.at);
    }
    return MAGPIE_OK;
}

/* ---- clauses ---- */

static magpie_status evaluate(const evaluation *e, const magpie_condition *c, magpie_bitmap *out);

/* Combines every condition of a list into *into. */
static magpie_status combine(const evaluation *e, const magpie_condition_list *list,
                             void (*with)(magpie_bitmap *, const magpie_bitmap *), magpie_bitmap *into) {
    for (size_t i = 0; i < list->count; i++) {
        magpie_bitmap one;
        magpie_status status = magpie_bitmap_make(e->n, &one);
        if (status == MAGPIE_OK) status = evaluate(e, &list->conditions[i], &one);
        if (status == MAGPIE_OK) with(into, &one);
        magpie_bitmap_free(&one);
        if (status != MAGPIE_OK) return status;
    }
    return MAGPIE_OK;
}

static magpie_status evaluate_clauses(const evaluation *e, const magpie_condition *c, magpie_bitmap *out) {
    magpie_status status = MAGPIE_OK;
    if (c->should.count)
        status = combine(e, &c->should, magpie_bitmap_or, out);
    else
        magpie_bitmap_fill(out);
    if (status == MAGPIE_OK) status = combine(e, &c->must, magpie_bitmap_and, out);
    if (status == MAGPIE_OK) status = combine(e, &c->must_not, magpie_bitmap_and_not, out);
    return status;
}

/* *out is all zero when it comes here. */
static magpie_status evaluate(const evaluation *e, const magpie_condition *c, magpie_bitmap *out) {
    magpie_status status = MAGPIE_OK;
    switch (c->kind) {
    case MAGPIE_CONDITION_CLAUSES: return evaluate_clauses(e, c, out);
    case MAGPIE_CONDITION_ANY: return evaluate_any(e, c, out);
    case MAGPIE_CONDITION_EXCEPT: return evaluate_except(e, c, out);
    case MAGPIE_CONDITION_RANGE: return evaluate_range(e, c, out);
    case MAGPIE_CONDITION_EXISTS: return evaluate_exists(e, c, out);
    case MAGPIE_CONDITION_HAS_ID: return evaluate_has_id(e, c, out);
    case MAGPIE_CONDITION_MISSING: status = evaluate_exists(e, c, out); complement(out);
    }
    return status;
}

magpie_status magpie_filter_evaluate(const magpie_filter *filter, magpie_snapshot *snapshot,
                                     const uint64_t *rows, size_t n, magpie_bitmap *out) {
    evaluation e = {.snapshot = snapshot, .rows = rows, .n = n};
    *out = (magpie_bitmap){0};
    magpie_status status = magpie_snapshot_cursor(snapshot, MAGPIE_TABLE_POSTINGS, &e.postings);
    if (status != MAGPIE_OK) return status;
    status = magpie_bitmap_make(n, out);
    if (status == MAGPIE_OK) status = evaluate(&e, &filter->root, out);
    mdb_cursor_close(e.postings);
    if (status != MAGPIE_OK) magpie_bitmap_free(out);
    return status;
}

magpie_status magpie_filter_count(const magpie_filter *filter, magpie_snapshot *snapshot, uint64_t *out) {
    uint64_t *rows;
    size_t n;
    magpie_bitmap passing;
    *out = 0;
    magpie_status status = magpie_snapshot_rows(snapshot, &rows, &n);
    if (status != MAGPIE_OK) return status;
    status = magpie_filter_evaluate(filter, snapshot, rows, n, &passing);
    if (status == MAGPIE_OK) *out = magpie_bitmap_count(&passing);
    magpie_bitmap_free(&passing);
    free(rows);
    return status;
}

magpie_status magpie_filter_rows(const magpie_filter *filter, magpie_snapshot *snapshot, uint64_t **rows,
                                 size_t *n) {
    magpie_bitmap passing;
    size_t live;
    *n = 0;
    magpie_status status = magpie_snapshot_rows(snapshot, rows, &live);
    if (status != MAGPIE_OK) return status;
    status = magpie_filter_evaluate(filter, snapshot, *rows, live, &passing);
    for (size_t i = 0; i < live && status == MAGPIE_OK; i++)
        if (magpie_bitmap_get(&passing, i)) (*rows)[(*n)++] = (*rows)[i];
    magpie_bitmap_free(&passing);
    if (status == MAGPIE_OK) return status;
    free(*rows);
    *rows = NULL;
    return status;
}
