/* commit.c - a batch becomes one write transaction.
 *
 * Changes are applied one by one in their order, each to what the one before has left, so several changes of
 * one id in a batch need no rule of their own: the last wins, and each is counted as what it did in its turn.
 * Any failure aborts the transaction, and LMDB never writes over a page that the last committed state uses:
 * that is all there is to "or nothing of it". */
#include "batch.h"
#include "record.h"
#include "store.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

typedef struct writer {
    magpie_store *store;
    MDB_txn *txn;
    size_t dimension[MAGPIE_SPACES]; /* 0: no model is bound */
    int64_t now;
    magpie_commit done;
    bool map_full; /* LMDB ran out of map: grow it, and apply the batch again */
} writer;

/* What an LMDB call on behalf of an id has come to. */
static magpie_status outcome(writer *w, int code, const char *what, magpie_string id) {
    if (!code) return MAGPIE_OK;
    w->map_full |= code == MDB_MAP_FULL;
    return magpie_lmdb_fail(code, "cannot %s \"%.*s\" in %s", what, (int)id.size, id.data,
                            w->store->environment.directory);
}

static int put(writer *w, magpie_table table, const void *key, size_t key_size, const void *data, size_t size,
               unsigned flags) {
    MDB_val k = magpie_val(key, key_size), v = magpie_val(data, size);
    return mdb_put(w->txn, w->store->table[table], &k, &v, flags);
}

/* Deletes a key, or with `value` one posting of it. Its absence is MDB_NOTFOUND. */
static int delete (writer *w, magpie_table table, const void *key, size_t key_size, const uint64_t *value) {
    MDB_val k = magpie_val(key, key_size), v = magpie_val(value, sizeof *value);
    return mdb_del(w->txn, w->store->table[table], &k, value ? &v : NULL);
}

/* ---- postings ---- */

/* From the postings of `before` at `old_row` to those of `after` at `new_row`. Both sets ascend, so where the
 * row stays one pass finds the difference, and a put that changes one attribute touches two keys. */
static magpie_status change_postings(writer *w, magpie_string id, const magpie_posting_set *before,
                                     uint64_t old_row, const magpie_posting_set *after, uint64_t new_row) {
    size_t i = 0, j = 0;
    while (i < before->count || j < after->count) {
        magpie_string old_key = {0}, new_key = {0};
        if (i < before->count) old_key = magpie_posting_set_key(before, i);
        if (j < after->count) new_key = magpie_posting_set_key(after, j);
        int order = i == before->count  ? 1
                    : j == after->count ? -1
                                        : magpie_posting_compare(old_key, new_key);
        int code = 0;
        if (order <= 0) i++;
        if (order >= 0) j++;
        if (order == 0 && old_row == new_row) continue;
        if (order <= 0) {
            code = delete (w, MAGPIE_TABLE_POSTINGS, old_key.data, old_key.size, &old_row);
            if (code == MDB_NOTFOUND) code = 0; /* a store that check would complain of; this mends it */
        }
        if (!code && order >= 0)
            code = put(w, MAGPIE_TABLE_POSTINGS, new_key.data, new_key.size, &new_row, sizeof new_row, 0);
        if (code) return outcome(w, code, "write the attributes of", id);
    }
    return MAGPIE_OK;
}

/* ---- items ---- */

/* An item as it was before a change: copied, since a write moves what LMDB's pointers point to. */
typedef struct former {
    bool exists;
    uint64_t row;
    magpie_posting_set postings;
} former;

static magpie_status read_former(writer *w, magpie_string id, former *out) {
    MDB_val key = magpie_val(id.data, id.size), value;
    magpie_item item;
    *out = (former){0};
    int code = mdb_get(w->txn, w->store->table[MAGPIE_TABLE_ITEMS], &key, &value);
    if (code == MDB_NOTFOUND) return MAGPIE_OK;
    if (code) return outcome(w, code, "read", id);
    magpie_status status = magpie_record_read(value.mv_data, value.mv_size, id, &item);
    if (status == MAGPIE_OK) status = magpie_posting_set_make(item.attributes, &out->postings);
    out->exists = true;
    out->row = item.row;
    return status;
}

/* Takes a row out of the store and leaves its tombstone. */
static magpie_status bury_row(writer *w, magpie_string id, uint64_t row) {
    int code = delete (w, MAGPIE_TABLE_ROWS, &row, sizeof row, NULL);
    for (unsigned s = 0; s < MAGPIE_SPACES && (!code || code == MDB_NOTFOUND); s++)
        code = delete (w, MAGPIE_TABLE_VECTORS + s, &row, sizeof row, NULL);
    if (!code || code == MDB_NOTFOUND)
        code = put(w, MAGPIE_TABLE_TOMBSTONES, &w->done.sequence, sizeof w->done.sequence, &row, sizeof row,
                   MDB_APPEND);
    return outcome(w, code, "bury the vectors of", id);
}

static magpie_status write_vectors(writer *w, const magpie_change *change, uint64_t row) {
    magpie_string id = change->item.id;
    int code = put(w, MAGPIE_TABLE_ROWS, &row, sizeof row, id.data, id.size, MDB_APPEND);
    for (unsigned s = 0; s < MAGPIE_SPACES && !code; s++) {
        if (!change->vectors[s]) continue;
        if (!w->dimension[s])
            return magpie_fail(MAGPIE_E_MISMATCH,
                               "item \"%.*s\" has a %s vector, but that space has no model: bind one first",
                               (int)id.size, id.data, magpie_space_name(s));
        if (change->dimensions[s] != w->dimension[s])
            return magpie_fail(
                MAGPIE_E_MISMATCH, "item \"%.*s\": its %s vector has %zu dimensions, the space has %zu",
                (int)id.size, id.data, magpie_space_name(s), change->dimensions[s], w->dimension[s]);
        code = put(w, MAGPIE_TABLE_VECTORS + s, &row, sizeof row, change->vectors[s],
                   w->dimension[s] * sizeof(float), MDB_APPEND);
    }
    return outcome(w, code, "write the vectors of", id);
}

static magpie_status write_record(writer *w, const magpie_item *item) {
    MDB_val key = magpie_val(item->id.data, item->id.size), value = {magpie_record_size(item), NULL};
    int code = mdb_put(w->txn, w->store->table[MAGPIE_TABLE_ITEMS], &key, &value, MDB_RESERVE);
    if (!code) magpie_record_write(item, value.mv_data);
    return outcome(w, code, "write", item->id);
}

static magpie_status replace(writer *w, const magpie_change *change, const former *old) {
    magpie_item item = change->item;
    bool new_row = !change->keep_vectors;
    if (!old->exists && !new_row)
        return magpie_fail(MAGPIE_E_NOT_FOUND,
                           "item \"%.*s\" is to keep its vectors, but it is not in the store",
                           (int)item.id.size, item.id.data);
    item.sequence = ++w->done.sequence;
    item.updated = w->now;
    item.row = new_row ? item.sequence : old->row;
    magpie_status status = MAGPIE_OK;
    if (new_row && old->exists) status = bury_row(w, item.id, old->row);
    if (new_row && status == MAGPIE_OK) status = write_vectors(w, change, item.row);
    if (status == MAGPIE_OK)
        status = change_postings(w, item.id, &old->postings, old->row, &change->postings, item.row);
    if (status == MAGPIE_OK) status = write_record(w, &item);
    if (status == MAGPIE_OK) ++*(old->exists ? &w->done.replaced : &w->done.inserted);
    return status;
}

static magpie_status erase(writer *w, magpie_string id, const former *old) {
    if (!old->exists) {
        w->done.missing++;
        return MAGPIE_OK;
    }
    w->done.sequence++;
    magpie_status status = bury_row(w, id, old->row);
    if (status == MAGPIE_OK)
        status = change_postings(w, id, &old->postings, old->row, &(magpie_posting_set){0}, 0);
    if (status == MAGPIE_OK)
        status = outcome(w, delete (w, MAGPIE_TABLE_ITEMS, id.data, id.size, NULL), "delete", id);
    if (status == MAGPIE_OK) w->done.deleted++;
    return status;
}

/* The item as the store has it and all its vectors, but for the one that changes; each still where it lies.
 * False where it is not at its row any more. */
static magpie_status read_whole(writer *w, const magpie_change *change, magpie_change *out, bool *there) {
    magpie_string id = change->item.id;
    MDB_val key = magpie_val(id.data, id.size), value;
    *out = (magpie_change){.kind = MAGPIE_CHANGE_PUT};
    int code = mdb_get(w->txn, w->store->table[MAGPIE_TABLE_ITEMS], &key, &value);
    *there = code != MDB_NOTFOUND;
    if (code) return *there ? outcome(w, code, "read", id) : MAGPIE_OK;
    magpie_status status = magpie_record_read(value.mv_data, value.mv_size, id, &out->item);
    *there = status == MAGPIE_OK && out->item.row == change->item.row;
    if (!*there) return status;
    uint64_t row = out->item.row;
    for (unsigned s = 0; s < MAGPIE_SPACES; s++) {
        key = magpie_val(&row, sizeof row);
        code = mdb_get(w->txn, w->store->table[MAGPIE_TABLE_VECTORS + s], &key, &value);
        if (code && code != MDB_NOTFOUND) return outcome(w, code, "read the vectors of", id);
        if (code || s == change->space) continue;
        out->vectors[s] = value.mv_data; /* only read: magpie_change_copy copies it */
        out->dimensions[s] = value.mv_size / sizeof(float);
    }
    out->item.encoded_hash[change->space] = change->item.encoded_hash[change->space];
    out->vectors[change->space] = change->vectors[change->space];
    out->dimensions[change->space] = change->dimensions[change->space];
    return MAGPIE_OK;
}

/* A put of the item as it is, with that one vector changed. */
static magpie_status change_vector(writer *w, const magpie_change *change) {
    magpie_change there, whole = {0};
    bool found;
    magpie_status status = read_whole(w, change, &there, &found);
    if (status != MAGPIE_OK) return status;
    if (!found) {
        w->done.missing++;
        return MAGPIE_OK;
    }
    former old = {.exists = true, .row = there.item.row};
    status = magpie_change_copy(&there, &whole);
    if (status == MAGPIE_OK) status = magpie_posting_set_make(whole.item.attributes, &old.postings);
    whole.postings = old.postings;
    if (status == MAGPIE_OK) status = replace(w, &whole, &old);
    magpie_posting_set_free(&old.postings);
    magpie_block_free(&whole.memory);
    return status;
}

static magpie_status write_checkpoint(writer *w, const magpie_change *change) {
    magpie_string job = change->item.id;
    int code;
    if (change->checkpoint.size)
        code = put(w, MAGPIE_TABLE_JOBS, job.data, job.size, change->checkpoint.data, change->checkpoint.size,
                   0);
    else if ((code = delete (w, MAGPIE_TABLE_JOBS, job.data, job.size, NULL)) == MDB_NOTFOUND)
        code = 0;
    return outcome(w, code, "write the checkpoint of job", job);
}

static magpie_status change_interactions(writer *w, const magpie_change *change) {
    magpie_interaction_writer writer = {.store = w->store, .txn = w->txn};
    bool there = true;
    magpie_status status = change->kind == MAGPIE_CHANGE_INTERACTIONS
                               ? magpie_interaction_group_write(&writer, change->group)
                               : magpie_interaction_delete_user(&writer, change->item.id, &there);
    w->map_full |= writer.map_full;
    if (change->kind == MAGPIE_CHANGE_INTERACTIONS)
        w->done.interactions += change->group->count;
    else
        ++*(there ? &w->done.users_deleted : &w->done.missing);
    return status;
}

static magpie_status apply(writer *w, const magpie_change *change) {
    if (change->kind == MAGPIE_CHANGE_CHECKPOINT) return write_checkpoint(w, change);
    if (change->kind == MAGPIE_CHANGE_INTERACTIONS || change->kind == MAGPIE_CHANGE_DELETE_USER)
        return change_interactions(w, change);
    if (change->kind == MAGPIE_CHANGE_VECTOR) return change_vector(w, change);
    former old;
    magpie_status status = read_former(w, change->item.id, &old);
    if (status == MAGPIE_OK)
        status =
            change->kind == MAGPIE_CHANGE_PUT ? replace(w, change, &old) : erase(w, change->item.id, &old);
    magpie_posting_set_free(&old.postings);
    return status;
}

/* ---- the transaction ---- */

static magpie_status check_expected(magpie_space space, const magpie_space_binding *state,
                                    const char *expected) {
    if (!*expected || strcmp(expected, state->fingerprint) == 0) return MAGPIE_OK;
    return magpie_fail(
        MAGPIE_E_MISMATCH,
        "the %s space was given to the model \"%s\" meanwhile: nothing of the batch was written",
        magpie_space_name(space), state->model);
}

static magpie_status begin(writer *w, const magpie_batch *batch) {
    magpie_status status = magpie_environment_begin(&w->store->environment, true, &w->txn);
    if (status != MAGPIE_OK) return status;
    status = magpie_store_number(w->store, w->txn, "sequence", &w->done.sequence);
    for (unsigned s = 0; s < MAGPIE_SPACES && status == MAGPIE_OK; s++) {
        magpie_space_binding state;
        status = magpie_store_space(w->store, w->txn, s, &state);
        if (status == MAGPIE_OK) status = check_expected(s, &state, batch->expected[s]);
        w->dimension[s] = state.dimension;
    }
    if (status != MAGPIE_OK) magpie_environment_abort(&w->store->environment, w->txn);
    return status;
}

static magpie_status end(writer *w, magpie_status status) {
    magpie_environment *environment = &w->store->environment;
    if (status == MAGPIE_OK) {
        uint64_t sequence = htole64(w->done.sequence);
        int code = put(w, MAGPIE_TABLE_META, "sequence", strlen("sequence"), &sequence, sizeof sequence, 0);
        if (code) status = outcome(w, code, "write", (magpie_string){"sequence", strlen("sequence")});
    }
    if (status != MAGPIE_OK) {
        magpie_environment_abort(environment, w->txn);
        return status;
    }
    int code = magpie_environment_commit(environment, w->txn);
    w->map_full |= code == MDB_MAP_FULL;
    return code ? magpie_lmdb_fail(code, "cannot commit to %s; nothing of the batch was written",
                                   environment->directory)
                : MAGPIE_OK;
}

magpie_status magpie_store_commit(magpie_store *store, const magpie_batch *batch, magpie_commit *out) {
    magpie_environment *environment = &store->environment;
    magpie_status status = magpie_store_writable(store);
    if (status != MAGPIE_OK) return status;
    magpie_environment_grow_ahead(environment);
    magpie_environment_trim(environment, MAGPIE_MAPPED_MOST);
    for (;;) {
        size_t map_bytes = magpie_environment_map_bytes(environment);
        writer w = {.store = store, .now = magpie_unix_millis()};
        status = begin(&w, batch);
        if (status != MAGPIE_OK) return status;
        for (size_t i = 0; i < batch->count && status == MAGPIE_OK; i++)
            status = apply(&w, &batch->changes[i]);
        status = end(&w, status);
        if (status == MAGPIE_OK && out) *out = w.done;
        if (!w.map_full) return status;
        status = magpie_environment_grow(environment, map_bytes);
        if (status != MAGPIE_OK) return status;
    }
}
