/* check.c - reading everything, and saying what does not agree.
 *
 * Each table is held against the one that it must agree with, in one pass, and equal counts do the rest:
 * where every item has its own row in `rows`, and both have as many entries, no row is left over. Only where
 * the counts of postings differ is the whole inverted index walked, to name the surplus. */
#include <math.h>
#include <string.h>

#include "batch.h"
#include "postings.h"
#include "record.h"
#include "vectors.h"

typedef struct check {
    magpie_store *store;
    magpie_snapshot *snapshot;
    magpie_problem_callback callback;
    void *context;
    magpie_check_report *report;
    uint64_t sequence;
    uint32_t numbers[2]; /* given to users, and to items of interactions */
} check;

static void problem(check *c, const char *format, ...) MAGPIE_PRINTF(2, 3);
static void problem(check *c, const char *format, ...) {
    char words[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(words, sizeof words, format, arguments);
    va_end(arguments);
    c->report->problems++;
    if (c->callback) c->callback(c->context, words);
}

static int get(check *c, magpie_table table, const void *key, size_t size, MDB_val *value) {
    MDB_val k = magpie_val(key, size);
    return mdb_get(c->snapshot->txn, c->store->table[table], &k, value);
}

/* Calls `each` for every entry of a table. */
static magpie_status walk(check *c, magpie_table table, void (*each)(check *, unsigned, MDB_val, MDB_val),
                          unsigned which) {
    MDB_cursor *cursor;
    MDB_val key, value;
    int code;
    magpie_status status = magpie_snapshot_cursor(c->snapshot, table, &cursor);
    if (status != MAGPIE_OK) return status;
    while (!(code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT))) each(c, which, key, value);
    mdb_cursor_close(cursor);
    return code == MDB_NOTFOUND ? MAGPIE_OK
                                : magpie_lmdb_fail(code, "cannot read %s", c->store->environment.directory);
}

static magpie_status entries(check *c, magpie_table table, uint64_t *out) {
    return magpie_store_entries(c->store, c->snapshot->txn, table, out);
}

/* A row out of a key or value, or a problem. */
static bool read_row(check *c, const char *table, MDB_val bytes, uint64_t *out) {
    if (bytes.mv_size != sizeof *out) {
        problem(c, "the table %s has an entry of %zu bytes in place of 8", table, bytes.mv_size);
        return false;
    }
    memcpy(out, bytes.mv_data, sizeof *out);
    return true;
}

/* ---- items, rows and postings ---- */

static void check_postings_of(check *c, const magpie_item *item) {
    magpie_posting_set set;
    MDB_cursor *cursor;
    if (magpie_posting_set_make(item->attributes, &set) != MAGPIE_OK) {
        problem(c, "item \"%.*s\": %s", (int)item->id.size, item->id.data, magpie_error());
        return;
    }
    if (magpie_snapshot_cursor(c->snapshot, MAGPIE_TABLE_POSTINGS, &cursor) == MAGPIE_OK) {
        for (size_t i = 0; i < set.count; i++) {
            magpie_string wanted = magpie_posting_set_key(&set, i);
            MDB_val key = magpie_val(wanted.data, wanted.size),
                    value = magpie_val(&item->row, sizeof item->row);
            if (mdb_cursor_get(cursor, &key, &value, MDB_GET_BOTH))
                problem(c, "item \"%.*s\" is missing in the inverted index under \"%s\"", (int)item->id.size,
                        item->id.data, wanted.data);
        }
        mdb_cursor_close(cursor);
    }
    c->report->postings += set.count;
    magpie_posting_set_free(&set);
}

static void check_item(check *c, unsigned which, MDB_val key, MDB_val value) {
    (void)which;
    magpie_string id = {key.mv_data, key.mv_size};
    magpie_item item;
    MDB_val named;
    c->report->items++;
    if (magpie_record_read(value.mv_data, value.mv_size, id, &item) != MAGPIE_OK) {
        problem(c, "%s", magpie_error());
        return;
    }
    if (!magpie_valid_utf8(id))
        problem(c, "the id of row %llu is not valid UTF-8", (unsigned long long)item.row);
    if (item.sequence > c->sequence || item.row > item.sequence)
        problem(c, "item \"%.*s\" has row %llu and sequence %llu, in a store at %llu", (int)id.size, id.data,
                (unsigned long long)item.row, (unsigned long long)item.sequence,
                (unsigned long long)c->sequence);
    if (get(c, MAGPIE_TABLE_ROWS, &item.row, sizeof item.row, &named))
        problem(c, "item \"%.*s\" has row %llu, which is not in the table rows", (int)id.size, id.data,
                (unsigned long long)item.row);
    else if (named.mv_size != id.size || memcmp(named.mv_data, id.data, id.size) != 0)
        problem(c, "item \"%.*s\" has row %llu, which belongs to \"%.*s\"", (int)id.size, id.data,
                (unsigned long long)item.row, (int)named.mv_size, (const char *)named.mv_data);
    check_postings_of(c, &item);
}

static void check_row(check *c, unsigned which, MDB_val key, MDB_val id) {
    (void)which;
    uint64_t row;
    MDB_val value;
    if (read_row(c, "rows", key, &row) && (!id.mv_size || id.mv_size > MAGPIE_ID_MAX ||
                                           get(c, MAGPIE_TABLE_ITEMS, id.mv_data, id.mv_size, &value)))
        problem(c, "row %llu names item \"%.*s\", which is not there", (unsigned long long)row,
                (int)id.mv_size, (const char *)id.mv_data);
}

static void find_surplus_posting(check *c, unsigned which, MDB_val key, MDB_val value) {
    (void)which;
    uint64_t row;
    magpie_item item;
    magpie_posting_set set;
    bool found = false;
    if (!read_row(c, "postings", value, &row)) return;
    if (magpie_snapshot_get_row(c->snapshot, row, &item) == MAGPIE_OK &&
        magpie_posting_set_make(item.attributes, &set) == MAGPIE_OK) {
        for (size_t i = 0; i < set.count && !found; i++)
            found = magpie_posting_compare(magpie_posting_set_key(&set, i),
                                           (magpie_string){key.mv_data, key.mv_size}) == 0;
        magpie_posting_set_free(&set);
    }
    if (!found)
        problem(c, "the inverted index has row %llu under \"%.*s\", which its item does not have",
                (unsigned long long)row, (int)strnlen(key.mv_data, key.mv_size), (const char *)key.mv_data);
}

static magpie_status check_items(check *c) {
    uint64_t rows, postings;
    magpie_status status = walk(c, MAGPIE_TABLE_ITEMS, check_item, 0);
    if (status == MAGPIE_OK) status = walk(c, MAGPIE_TABLE_ROWS, check_row, 0);
    if (status == MAGPIE_OK) status = entries(c, MAGPIE_TABLE_ROWS, &rows);
    if (status == MAGPIE_OK) status = entries(c, MAGPIE_TABLE_POSTINGS, &postings);
    if (status != MAGPIE_OK) return status;
    if (rows != c->report->items)
        problem(c, "there are %llu items, but %llu rows", (unsigned long long)c->report->items,
                (unsigned long long)rows);
    if (postings == c->report->postings) return MAGPIE_OK;
    return walk(c, MAGPIE_TABLE_POSTINGS, find_surplus_posting, 0);
}

/* ---- vectors and tombstones ---- */

static void check_vector(check *c, unsigned space, MDB_val key, MDB_val value) {
    uint64_t row;
    size_t dimension;
    MDB_val id;
    const char *name = magpie_space_name(space);
    double square = 0;
    c->report->vectors++;
    if (!read_row(c, name, key, &row)) return;
    if (get(c, MAGPIE_TABLE_ROWS, &row, sizeof row, &id))
        problem(c, "the %s vector of row %llu belongs to no item", name, (unsigned long long)row);
    if (magpie_snapshot_dimension(c->snapshot, space, &dimension) != MAGPIE_OK) {
        problem(c, "the %s vector of row %llu: %s", name, (unsigned long long)row, magpie_error());
        return;
    }
    if (value.mv_size != dimension * sizeof(float)) {
        problem(c, "the %s vector of row %llu has %zu bytes in place of %zu", name, (unsigned long long)row,
                value.mv_size, dimension * sizeof(float));
        return;
    }
    const float *vector = value.mv_data;
    for (size_t i = 0; i < dimension; i++) square += (double)vector[i] * vector[i];
    if (!isfinite(square))
        problem(c, "the %s vector of row %llu is not finite", name, (unsigned long long)row);
    else if (fabs(sqrt(square) - 1) > 1e-3)
        problem(c, "the %s vector of row %llu has length %g in place of 1", name, (unsigned long long)row,
                sqrt(square));
}

static void check_tombstone(check *c, unsigned which, MDB_val key, MDB_val value) {
    (void)which;
    uint64_t sequence, row;
    MDB_val id;
    if (!read_row(c, "tombstones", key, &sequence) || !read_row(c, "tombstones", value, &row)) return;
    if (sequence > c->sequence)
        problem(c, "there is a tombstone of sequence %llu in a store at %llu", (unsigned long long)sequence,
                (unsigned long long)c->sequence);
    if (!get(c, MAGPIE_TABLE_ROWS, &row, sizeof row, &id))
        problem(c, "row %llu of item \"%.*s\" lives, and has a tombstone", (unsigned long long)row,
                (int)id.mv_size, (const char *)id.mv_data);
}

/* ---- interactions ---- */

/* `names` is MAGPIE_TABLE_USERS or _SUBJECTS, and has its table of ids behind it. */
static void check_name(check *c, unsigned names, MDB_val id, MDB_val value) {
    uint32_t number;
    MDB_val named;
    magpie_string words = {id.mv_data, id.mv_size};
    if (!magpie_valid_utf8(words)) problem(c, "the id of a user or item of interactions is not valid UTF-8");
    if (!magpie_interaction_number(&value, &number))
        problem(c, "the number of \"%.*s\" has %zu bytes in place of 4", (int)words.size, words.data,
                value.mv_size);
    else if (number >= c->numbers[names == MAGPIE_TABLE_SUBJECTS])
        problem(c, "\"%.*s\" has number %u, which was never given", (int)words.size, words.data, number);
    else if (get(c, names + 1, &number, sizeof number, &named) || named.mv_size != id.mv_size ||
             memcmp(named.mv_data, id.mv_data, id.mv_size) != 0)
        problem(c, "\"%.*s\" has number %u, which names somebody else", (int)words.size, words.data, number);
}

static void check_interaction(check *c, unsigned which, MDB_val key, MDB_val value) {
    (void)which;
    magpie_interaction one;
    MDB_val id;
    c->report->interactions++;
    if (!magpie_interaction_read(&key, &value, &one)) {
        problem(c, "an interaction has a key of %zu bytes and a value of %zu", key.mv_size, value.mv_size);
        return;
    }
    if (get(c, MAGPIE_TABLE_USER_IDS, &one.user, sizeof one.user, &id))
        problem(c, "there is an interaction of user %u, who is not there", one.user);
    if (get(c, MAGPIE_TABLE_SUBJECT_IDS, &one.item, sizeof one.item, &id))
        problem(c, "user %u has an interaction with item %u, which is not there", one.user, one.item);
    if ((unsigned)one.kind >= MAGPIE_INTERACTION_KINDS || !isfinite(one.weight) || one.time < 0)
        problem(c, "user %u, item %u: kind %d, weight %g, time %lld are not possible", one.user, one.item,
                (int)one.kind, (double)one.weight, (long long)one.time);
}

static magpie_status check_names(check *c, magpie_table names, const char *what) {
    uint64_t numbers, ids;
    magpie_status status = walk(c, names, check_name, names);
    if (status == MAGPIE_OK) status = entries(c, names, &numbers);
    if (status == MAGPIE_OK) status = entries(c, names + 1, &ids);
    if (status == MAGPIE_OK && numbers != ids)
        problem(c, "there are %llu %s of interactions, but %llu numbers", (unsigned long long)numbers, what,
                (unsigned long long)ids);
    return status;
}

static magpie_status check_interactions(check *c) {
    magpie_interaction_counts counts;
    if (!magpie_store_has_interactions(c->store)) return MAGPIE_OK;
    magpie_status status = magpie_snapshot_interaction_counts(c->snapshot, &counts);
    if (status != MAGPIE_OK) return status;
    c->report->users = counts.live_users;
    c->numbers[0] = counts.users;
    c->numbers[1] = counts.items;
    status = check_names(c, MAGPIE_TABLE_USERS, "users");
    if (status == MAGPIE_OK) status = check_names(c, MAGPIE_TABLE_SUBJECTS, "items");
    return status == MAGPIE_OK ? walk(c, MAGPIE_TABLE_INTERACTIONS, check_interaction, 0) : status;
}

/* ---- the vector index ---- */

/* One held vector against the store's. */
static magpie_status check_held(check *c, magpie_index *index, size_t ordinal, float *held) {
    const magpie_generation *g = index->held;
    unsigned long long row = g->rows[ordinal];
    magpie_space space = index->owner.space;
    MDB_val stored;
    bool there =
        get(c, MAGPIE_TABLE_VECTORS + space, &g->rows[ordinal], sizeof g->rows[ordinal], &stored) == 0;
    bool live = magpie_bitmap_get(&g->live, ordinal);
    c->report->indexed += live;
    if (live && !there)
        problem(c, "the %s index holds row %llu, which is not in the store", magpie_space_name(space), row);
    if (!live && there)
        problem(c, "the %s index hides row %llu, which is in the store", magpie_space_name(space), row);
    if (!live || !there) return MAGPIE_OK;
    magpie_status status = magpie_generation_vector(g, ordinal, held);
    if (status == MAGPIE_OK &&
        (stored.mv_size != g->dimension * sizeof *held || memcmp(held, stored.mv_data, stored.mv_size) != 0))
        problem(c, "the %s index holds another vector for row %llu than the store", magpie_space_name(space),
                row);
    return status;
}

static void check_is_held(check *c, const magpie_index *index) {
    MDB_cursor *cursor;
    MDB_val key, value;
    uint64_t row;
    const char *name = magpie_space_name(index->owner.space);
    if (magpie_snapshot_cursor(c->snapshot, MAGPIE_TABLE_VECTORS + index->owner.space, &cursor) != MAGPIE_OK)
        return;
    while (!mdb_cursor_get(cursor, &key, &value, MDB_NEXT))
        if (read_row(c, name, key, &row) && magpie_generation_find(index->held, row) == SIZE_MAX)
            problem(c, "row %llu is missing in the %s index", (unsigned long long)row, name);
    mdb_cursor_close(cursor);
}

/* With the index's turn held. */
static magpie_status check_index(check *c, magpie_index *index) {
    float *held = magpie_alloc(index->owner.dimension, sizeof *held);
    if (!held) return MAGPIE_E_NO_MEMORY;
    magpie_status status = magpie_index_catch_up(index, c->snapshot);
    for (size_t i = 0; i < index->held->count && status == MAGPIE_OK; i++)
        status = check_held(c, index, i, held);
    if (status == MAGPIE_OK) check_is_held(c, index);
    free(held);
    return status;
}

/* ---- all of it ---- */

static magpie_status check_all(check *c, magpie_index *const *indexes) {
    magpie_status status = magpie_store_number(c->store, c->snapshot->txn, "sequence", &c->sequence);
    if (status == MAGPIE_OK) status = check_items(c);
    for (unsigned s = 0; s < MAGPIE_SPACES && status == MAGPIE_OK; s++)
        status = walk(c, MAGPIE_TABLE_VECTORS + s, check_vector, s);
    if (status == MAGPIE_OK) status = walk(c, MAGPIE_TABLE_TOMBSTONES, check_tombstone, 0);
    if (status == MAGPIE_OK) status = check_interactions(c);
    for (unsigned s = 0; s < MAGPIE_SPACES && status == MAGPIE_OK; s++)
        if (indexes[s]) status = check_index(c, indexes[s]);
    return status;
}

magpie_status magpie_store_check(magpie_store *store, magpie_index *const indexes[MAGPIE_SPACES],
                                 magpie_problem_callback callback, void *context,
                                 magpie_check_report *report) {
    static magpie_index *const none[MAGPIE_SPACES];
    check c = {.store = store, .callback = callback, .context = context, .report = report};
    *report = (magpie_check_report){0};
    if (!indexes) indexes = none;
    /* The turns first, then the snapshot: so no index can be ahead of it. Always in order of space, so that
     * two checks cannot wait for each other. */
    for (unsigned s = 0; s < MAGPIE_SPACES; s++)
        if (indexes[s]) pthread_mutex_lock(&indexes[s]->turn);
    magpie_status status = magpie_snapshot_open(store, &c.snapshot);
    if (status == MAGPIE_OK) {
        status = check_all(&c, indexes);
        magpie_snapshot_close(c.snapshot);
    }
    for (unsigned s = 0; s < MAGPIE_SPACES; s++)
        if (indexes[s]) pthread_mutex_unlock(&indexes[s]->turn);
    return status;
}
