/* snapshot.c - reading items, vectors and checkpoints out of one moment of the store. */
#include "record.h"
#include "store.h"

#include <stdlib.h>
#include <string.h>

magpie_status magpie_snapshot_open(magpie_store *store, magpie_snapshot **out) {
    *out = NULL;
    magpie_snapshot *snapshot = magpie_alloc(1, sizeof *snapshot);
    if (!snapshot) return MAGPIE_E_NO_MEMORY;
    snapshot->store = store;
    magpie_status status = magpie_environment_begin(&store->environment, false, &snapshot->txn);
    if (status != MAGPIE_OK) {
        free(snapshot);
        return status;
    }
    *out = snapshot;
    return MAGPIE_OK;
}

void magpie_snapshot_close(magpie_snapshot *snapshot) {
    if (!snapshot) return;
    magpie_environment_abort(&snapshot->store->environment, snapshot->txn);
    free(snapshot);
}

magpie_status magpie_snapshot_cursor(magpie_snapshot *snapshot, magpie_table table, MDB_cursor **out) {
    int code = mdb_cursor_open(snapshot->txn, snapshot->store->table[table], out);
    return code ? magpie_lmdb_fail(code, "cannot read %s", snapshot->store->environment.directory)
                : MAGPIE_OK;
}

static int get(magpie_snapshot *snapshot, magpie_table table, const void *key, size_t size, MDB_val *value) {
    MDB_val k = magpie_val(key, size);
    return mdb_get(snapshot->txn, snapshot->store->table[table], &k, value);
}

magpie_status magpie_snapshot_sequence(magpie_snapshot *snapshot, uint64_t *out) {
    return magpie_store_number(snapshot->store, snapshot->txn, "sequence", out);
}

/* ---- items ---- */

magpie_status magpie_snapshot_get(magpie_snapshot *snapshot, magpie_string id, magpie_item *out) {
    const char *directory = snapshot->store->environment.directory;
    if (!id.size || id.size > MAGPIE_ID_MAX)
        return magpie_fail(MAGPIE_E_NOT_FOUND, "no item has an id of %zu bytes: 1 to %d are possible",
                           id.size, MAGPIE_ID_MAX);
    /* A cursor, for it also gives the key as it lies in the store: out->id must outlive the caller's. */
    MDB_cursor *cursor;
    MDB_val key = magpie_val(id.data, id.size), value;
    magpie_status status = magpie_snapshot_cursor(snapshot, MAGPIE_TABLE_ITEMS, &cursor);
    if (status != MAGPIE_OK) return status;
    int code = mdb_cursor_get(cursor, &key, &value, MDB_SET_KEY);
    mdb_cursor_close(cursor);
    if (code == MDB_NOTFOUND)
        return magpie_fail(MAGPIE_E_NOT_FOUND, "there is no item \"%.*s\" in %s", (int)id.size, id.data,
                           directory);
    if (code)
        return magpie_lmdb_fail(code, "cannot read item \"%.*s\" of %s", (int)id.size, id.data, directory);
    return magpie_record_read(value.mv_data, value.mv_size, (magpie_string){key.mv_data, key.mv_size}, out);
}

/* The item that the table `rows` names for `row`. */
static magpie_status get_named(magpie_snapshot *snapshot, uint64_t row, MDB_val id, magpie_item *out) {
    magpie_status status = magpie_snapshot_get(snapshot, (magpie_string){id.mv_data, id.mv_size}, out);
    if (status == MAGPIE_E_NOT_FOUND || (status == MAGPIE_OK && out->row != row))
        return magpie_fail(MAGPIE_E_CORRUPT,
                           "%s: row %llu names item \"%.*s\", which is not there or has another row",
                           snapshot->store->environment.directory, (unsigned long long)row, (int)id.mv_size,
                           (const char *)id.mv_data);
    return status;
}

magpie_status magpie_snapshot_get_row(magpie_snapshot *snapshot, uint64_t row, magpie_item *out) {
    MDB_val id;
    int code = get(snapshot, MAGPIE_TABLE_ROWS, &row, sizeof row, &id);
    if (code)
        return magpie_lmdb_fail(code, "row %llu of %s", (unsigned long long)row,
                                snapshot->store->environment.directory);
    return get_named(snapshot, row, id, out);
}

magpie_status magpie_snapshot_each(magpie_snapshot *snapshot, uint64_t after_row,
                                   magpie_item_callback callback, void *context) {
    MDB_cursor *cursor;
    uint64_t row = after_row + 1;
    MDB_val key = magpie_val(&row, sizeof row), id;
    if (after_row == UINT64_MAX) return MAGPIE_OK;
    magpie_status status = magpie_snapshot_cursor(snapshot, MAGPIE_TABLE_ROWS, &cursor);
    if (status != MAGPIE_OK) return status;
    int code = mdb_cursor_get(cursor, &key, &id, MDB_SET_RANGE);
    while (!code && status == MAGPIE_OK) {
        magpie_item item;
        memcpy(&row, key.mv_data, sizeof row);
        status = get_named(snapshot, row, id, &item);
        if (status == MAGPIE_OK) status = callback(context, &item);
        code = mdb_cursor_get(cursor, &key, &id, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    if (status != MAGPIE_OK || !code || code == MDB_NOTFOUND) return status;
    return magpie_lmdb_fail(code, "cannot read the items of %s", snapshot->store->environment.directory);
}

magpie_status magpie_snapshot_rows(magpie_snapshot *snapshot, uint64_t **out, size_t *n) {
    MDB_cursor *cursor;
    MDB_val key, id;
    uint64_t entries;
    *out = NULL;
    *n = 0;
    magpie_status status = magpie_store_entries(snapshot->store, snapshot->txn, MAGPIE_TABLE_ROWS, &entries);
    if (status == MAGPIE_OK && !(*out = magpie_alloc(entries, sizeof **out))) status = MAGPIE_E_NO_MEMORY;
    if (status == MAGPIE_OK) status = magpie_snapshot_cursor(snapshot, MAGPIE_TABLE_ROWS, &cursor);
    if (status != MAGPIE_OK) {
        free(*out);
        *out = NULL;
        return status;
    }
    while (*n < entries && !mdb_cursor_get(cursor, &key, &id, MDB_NEXT))
        memcpy(&(*out)[(*n)++], key.mv_data, sizeof **out);
    mdb_cursor_close(cursor);
    return MAGPIE_OK;
}

/* ---- vectors and checkpoints ---- */

magpie_status magpie_snapshot_dimension(magpie_snapshot *snapshot, magpie_space space, size_t *out) {
    magpie_space_binding state;
    if ((*out = snapshot->dimension[space])) return MAGPIE_OK;
    magpie_status status = magpie_store_space(snapshot->store, snapshot->txn, space, &state);
    if (status == MAGPIE_OK && !state.dimension)
        status =
            magpie_fail(MAGPIE_E_NOT_FOUND, "the %s space of %s has no model: bind one, or put items first",
                        magpie_space_name(space), snapshot->store->environment.directory);
    *out = snapshot->dimension[space] = state.dimension;
    return status;
}

magpie_status magpie_snapshot_get_binding(magpie_snapshot *snapshot, magpie_space space,
                                          magpie_space_binding *out) {
    if ((unsigned)space >= MAGPIE_SPACES)
        return magpie_fail(MAGPIE_E_ARGUMENT, "there is no space %d", (int)space);
    return magpie_store_space(snapshot->store, snapshot->txn, space, out);
}

magpie_status magpie_snapshot_vector(magpie_snapshot *snapshot, magpie_space space, uint64_t row,
                                     const float **out) {
    const char *directory = snapshot->store->environment.directory;
    size_t dimension;
    MDB_val value;
    *out = NULL;
    if ((unsigned)space >= MAGPIE_SPACES)
        return magpie_fail(MAGPIE_E_ARGUMENT, "there is no space %d", (int)space);
    int code = get(snapshot, MAGPIE_TABLE_VECTORS + space, &row, sizeof row, &value);
    if (code == MDB_NOTFOUND) {
        code = get(snapshot, MAGPIE_TABLE_ROWS, &row, sizeof row, &value);
        return code ? magpie_lmdb_fail(code, "row %llu of %s", (unsigned long long)row, directory)
                    : MAGPIE_OK;
    }
    if (code)
        return magpie_lmdb_fail(code, "cannot read the vector of row %llu of %s", (unsigned long long)row,
                                directory);
    magpie_status status = magpie_snapshot_dimension(snapshot, space, &dimension);
    if (status != MAGPIE_OK) return status;
    if (value.mv_size != dimension * sizeof(float))
        return magpie_fail(MAGPIE_E_CORRUPT, "%s: the %s vector of row %llu has %zu bytes in place of %zu",
                           directory, magpie_space_name(space), (unsigned long long)row, value.mv_size,
                           dimension * sizeof(float));
    *out = value.mv_data;
    return MAGPIE_OK;
}

magpie_status magpie_snapshot_checkpoint(magpie_snapshot *snapshot, const char *job, magpie_string *out) {
    MDB_val value;
    *out = (magpie_string){0};
    int code = get(snapshot, MAGPIE_TABLE_JOBS, job, strlen(job), &value);
    if (code == MDB_BAD_VALSIZE) code = MDB_NOTFOUND; /* a name no job can have */
    if (code)
        return magpie_lmdb_fail(code, "the checkpoint of job \"%s\" in %s", job,
                                snapshot->store->environment.directory);
    *out = (magpie_string){value.mv_data, value.mv_size};
    return MAGPIE_OK;
}

magpie_status magpie_snapshot_each_checkpoint(magpie_snapshot *snapshot, const char *prefix,
                                              magpie_checkpoint_callback callback, void *context) {
    MDB_cursor *cursor;
    const size_t size = strlen(prefix);
    MDB_val key = magpie_val(prefix, size), value;
    magpie_status status = magpie_snapshot_cursor(snapshot, MAGPIE_TABLE_JOBS, &cursor);
    if (status != MAGPIE_OK) return status;
    int code = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    while (!code && status == MAGPIE_OK && key.mv_size >= size && memcmp(key.mv_data, prefix, size) == 0) {
        status = callback(context, (magpie_string){key.mv_data, key.mv_size},
                          (magpie_string){value.mv_data, value.mv_size});
        code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    if (status != MAGPIE_OK || !code || code == MDB_NOTFOUND) return status;
    return magpie_lmdb_fail(code, "cannot read the jobs of %s", snapshot->store->environment.directory);
}
