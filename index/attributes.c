/* attributes.c - which keys of attributes there are, their values and how many items have each: the table of
 * postings from its first key to its last. Without a filter the number of rows is what LMDB counts already;
 * with one, rows are counted that pass. */
#include "filter.h"
#include "posting_rows.h"
#include "postings.h"

#include <stdlib.h>

enum { VALUES = 50, DISTINCT = 1000 };

typedef struct facets {
    MDB_cursor *cursor;
    MDB_val key, row;  /* where the cursor stands */
    bool filtered;     /* the next are all that counts */
    uint64_t *passing; /* [passing_count], ascending; owned */
    size_t passing_count;
    magpie_attribute_limits limits;
    magpie_attribute attribute;     /* at hand */
    magpie_attribute_value *values; /* [limits.values], its own; owned */
    size_t distinct;                /* that it has in the store */
} facets;

static void count_one(void *count, size_t at) {
    (void)at;
    ++*(uint64_t *)count;
}

/* Of the posting that the cursor stands on. */
static int count_items(const facets *f, uint64_t *out) {
    size_t all;
    *out = 0;
    if (f->filtered)
        return magpie_posting_walk(f->cursor, f->row, (magpie_row_walk){f->passing, f->passing_count, 0},
                                   count_one, out);
    int code = mdb_cursor_count(f->cursor, &all);
    if (!code) *out = all;
    return code;
}

/* Puts a value behind those of as many items or more; the last of too many falls off. */
static void add_value(facets *f, magpie_attribute_value value) {
    magpie_attribute *a = &f->attribute;
    size_t at = a->count;
    while (at && f->values[at - 1].count < value.count) at--;
    a->more |= a->count == f->limits.values;
    if (at == f->limits.values) return;
    a->count += a->count < f->limits.values;
    memmove(&f->values[at + 1], &f->values[at], (a->count - 1 - at) * sizeof *f->values);
    f->values[at] = value;
}

/* What follows a key's path, its type first; without the rest where that is not written out. */
static magpie_attribute_value read_value(const unsigned char *bytes, size_t size, uint64_t count) {
    magpie_attribute_value value = {.type = MAGPIE_ATTRIBUTE_STRING, .count = count};
    if (bytes[0] == MAGPIE_POSTING_BOOLEAN && size == 2) {
        value.type = MAGPIE_ATTRIBUTE_BOOLEAN;
        value.boolean = bytes[1];
    } else if (bytes[0] == MAGPIE_POSTING_NUMBER && size == 1 + sizeof(double)) {
        value.type = MAGPIE_ATTRIBUTE_NUMBER;
        value.number = magpie_posting_read_number(bytes + 1);
    } else {
        value.string = (magpie_string){(const char *)bytes + 1, size - 1};
    }
    return value;
}

/* The posting that the cursor stands on, whose type comes after `path_size` bytes. */
static int take_posting(facets *f, size_t path_size) {
    const unsigned char *bytes = (const unsigned char *)f->key.mv_data + path_size;
    uint64_t count;
    int code = count_items(f, &count);
    if (bytes[0] == MAGPIE_POSTING_EXISTS) {
        f->attribute.items = count;
        return code;
    }
    f->distinct++;
    if (!code && count && bytes[0] == MAGPIE_POSTING_LONG_STRING)
        f->attribute.more = true;
    else if (!code && count)
        add_value(f, read_value(bytes, f->key.mv_size - path_size, count));
    return code;
}

static bool is_of_path(const facets *f, const char *path, size_t size) {
    return f->key.mv_size > size && memcmp(f->key.mv_data, path, size) == 0;
}

/* All postings of one path [size, with its NUL]; the cursor goes on to the next path's. */
static int take_path(facets *f, const char *path, size_t size) {
    bool shown = !memchr(path, MAGPIE_POSTING_CUT, size);
    int code = 0;
    f->attribute = (magpie_attribute){.key = {path, size - 1}, .values = f->values};
    f->distinct = 0;
    while (!code && shown && f->distinct <= f->limits.distinct && is_of_path(f, path, size)) {
        code = take_posting(f, size);
        if (!code) code = mdb_cursor_get(f->cursor, &f->key, &f->row, MDB_NEXT_NODUP);
    }
    if (f->distinct > f->limits.distinct) f->attribute.count = 0, f->attribute.more = true;
    if (code || !is_of_path(f, path, size)) return code;
    unsigned char end[MAGPIE_POSTING_KEY_MAX];
    memcpy(end, path, size);
    end[size] = MAGPIE_POSTING_TYPES_END;
    f->key = magpie_val(end, size + 1);
    return mdb_cursor_get(f->cursor, &f->key, &f->row, MDB_SET_RANGE);
}

static magpie_status take_all(facets *f, const magpie_snapshot *snapshot, magpie_attribute_callback callback,
                              void *context) {
    const char *directory = snapshot->store->environment.directory;
    int code = mdb_cursor_get(f->cursor, &f->key, &f->row, MDB_FIRST);
    while (!code) {
        const char *path = f->key.mv_data, *end = memchr(path, 0, f->key.mv_size);
        if (!end) return magpie_fail(MAGPIE_E_CORRUPT, "%s: a posting without a path", directory);
        code = take_path(f, path, (size_t)(end - path) + 1);
        if (code && code != MDB_NOTFOUND) break;
        if (!f->attribute.items || !(f->attribute.count || f->attribute.more)) continue;
        magpie_status status = callback(context, &f->attribute);
        if (status != MAGPIE_OK) return status;
    }
    return code == MDB_NOTFOUND ? MAGPIE_OK
                                : magpie_lmdb_fail(code, "cannot read the attributes in %s", directory);
}

/* The rows that pass. */
static magpie_status take_filter(facets *f, magpie_snapshot *snapshot, const magpie_filter *filter) {
    size_t n;
    magpie_bitmap passing;
    magpie_status status = magpie_snapshot_rows(snapshot, &f->passing, &n);
    if (status != MAGPIE_OK) return status;
    status = magpie_filter_evaluate(filter, snapshot, f->passing, n, &passing);
    if (status != MAGPIE_OK) return status;
    for (size_t i = 0; i < n; i++)
        if (magpie_bitmap_get(&passing, i)) f->passing[f->passing_count++] = f->passing[i];
    magpie_bitmap_free(&passing);
    f->filtered = true;
    return MAGPIE_OK;
}

magpie_status magpie_snapshot_attributes(magpie_snapshot *snapshot, const magpie_filter *filter,
                                         const magpie_attribute_limits *limits,
                                         magpie_attribute_callback callback, void *context) {
    facets f = {.limits = {limits && limits->values ? limits->values : VALUES,
                           limits && limits->distinct ? limits->distinct : DISTINCT}};
    f.values = magpie_alloc(f.limits.values, sizeof *f.values);
    if (!f.values) return MAGPIE_E_NO_MEMORY;
    magpie_status status = filter ? take_filter(&f, snapshot, filter) : MAGPIE_OK;
    if (status == MAGPIE_OK) status = magpie_snapshot_cursor(snapshot, MAGPIE_TABLE_POSTINGS, &f.cursor);
    if (status == MAGPIE_OK) status = take_all(&f, snapshot, callback, context);
    if (f.cursor) mdb_cursor_close(f.cursor);
    free(f.passing);
    free(f.values);
    return status;
}
