/* history.c - reading interactions out of one moment of the store. */
#include "interactions.h"

#include <stdlib.h>
#include <string.h>

/* ---- ids and numbers ---- */

static int get(magpie_snapshot *snapshot, magpie_table table, MDB_val key, MDB_val *value) {
    const magpie_store *store = snapshot->store;
    return magpie_store_has_interactions(store) ? mdb_get(snapshot->txn, store->table[table], &key, value)
                                                : MDB_NOTFOUND;
}

static magpie_status get_number(magpie_snapshot *snapshot, magpie_table table, const char *whose,
                                magpie_string id, uint32_t *out) {
    MDB_val value;
    if (!id.size || id.size > MAGPIE_ID_MAX)
        return magpie_fail(MAGPIE_E_NOT_FOUND, "no %s has an id of %zu bytes: 1 to %d are possible", whose,
                           id.size, MAGPIE_ID_MAX);
    int code = get(snapshot, table, magpie_val(id.data, id.size), &value);
    if (code)
        return magpie_lmdb_fail(code, "the %s \"%.*s\" in %s", whose, (int)id.size, id.data,
                                snapshot->store->environment.directory);
    if (magpie_interaction_number(&value, out)) return MAGPIE_OK;
    return magpie_fail(MAGPIE_E_CORRUPT, "the number of the %s \"%.*s\" is damaged", whose, (int)id.size,
                       id.data);
}

static magpie_status get_id(magpie_snapshot *snapshot, magpie_table table, const char *whose, uint32_t number,
                            magpie_string *out) {
    MDB_val value;
    int code = get(snapshot, table, magpie_val(&number, sizeof number), &value);
    *out = code ? (magpie_string){0} : (magpie_string){value.mv_data, value.mv_size};
    return code ? magpie_lmdb_fail(code, "the %s of number %u in %s", whose, number,
                                   snapshot->store->environment.directory)
                : MAGPIE_OK;
}

magpie_status magpie_snapshot_user_number(magpie_snapshot *snapshot, magpie_string id, uint32_t *out) {
    return get_number(snapshot, MAGPIE_TABLE_USERS, "user", id, out);
}

magpie_status magpie_snapshot_item_number(magpie_snapshot *snapshot, magpie_string id, uint32_t *out) {
    return get_number(snapshot, MAGPIE_TABLE_SUBJECTS, "item", id, out);
}

magpie_status magpie_snapshot_user_id(magpie_snapshot *snapshot, uint32_t number, magpie_string *out) {
    return get_id(snapshot, MAGPIE_TABLE_USER_IDS, "user", number, out);
}

magpie_status magpie_snapshot_item_id(magpie_snapshot *snapshot, uint32_t number, magpie_string *out) {
    return get_id(snapshot, MAGPIE_TABLE_SUBJECT_IDS, "item", number, out);
}

magpie_status magpie_snapshot_interaction_counts(magpie_snapshot *snapshot, magpie_interaction_counts *out) {
    magpie_store *store = snapshot->store;
    uint64_t users, items;
    *out = (magpie_interaction_counts){0};
    magpie_status status = magpie_store_number(store, snapshot->txn, "users", &users);
    if (status == MAGPIE_OK) status = magpie_store_number(store, snapshot->txn, "items", &items);
    if (status == MAGPIE_OK)
        status = magpie_store_number(store, snapshot->txn, "interactions", &out->sequence);
    if (status == MAGPIE_OK)
        status = magpie_store_entries(store, snapshot->txn, MAGPIE_TABLE_USERS, &out->live_users);
    if (status == MAGPIE_OK)
        status = magpie_store_entries(store, snapshot->txn, MAGPIE_TABLE_INTERACTIONS, &out->interactions);
    if (status != MAGPIE_OK) return status;
    if (users > UINT32_MAX || items > UINT32_MAX)
        return magpie_fail(MAGPIE_E_CORRUPT, "%s: its counts of users and items are damaged",
                           store->environment.directory);
    out->users = (uint32_t)users;
    out->items = (uint32_t)items;
    return MAGPIE_OK;
}

/* ---- user by user ---- */

/* One user's interactions, growing. */
typedef struct list {
    magpie_interaction *array;
    size_t capacity, count;
} list;

/* From the cursor's entry on, all that are of its user; *code is LMDB's for the entry after them. */
static magpie_status read_user(magpie_snapshot *snapshot, MDB_cursor *cursor, MDB_val *key, MDB_val *value,
                               list *out, int *code) {
    magpie_interaction one;
    for (out->count = 0; !*code; *code = mdb_cursor_get(cursor, key, value, MDB_NEXT)) {
        if (!magpie_interaction_read(key, value, &one))
            return magpie_fail(MAGPIE_E_CORRUPT, "%s: an interaction is damaged",
                               snapshot->store->environment.directory);
        if (out->count && one.user != out->array->user) break;
        magpie_status status = magpie_grow((void **)&out->array, &out->capacity, out->count + 1, sizeof one);
        if (status != MAGPIE_OK) return status;
        out->array[out->count++] = one;
    }
    return MAGPIE_OK;
}

magpie_status magpie_snapshot_each_user(magpie_snapshot *snapshot, uint32_t first, uint32_t end,
                                        magpie_user_callback callback, void *context) {
    unsigned char bytes[MAGPIE_INTERACTION_KEY];
    MDB_cursor *cursor;
    MDB_val key = magpie_val(bytes, sizeof bytes), value;
    list user = {0};
    if (!magpie_store_has_interactions(snapshot->store)) return MAGPIE_OK;
    magpie_status status = magpie_snapshot_cursor(snapshot, MAGPIE_TABLE_INTERACTIONS, &cursor);
    if (status != MAGPIE_OK) return status;
    magpie_interaction_key(first, 0, 0, bytes);
    int code = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    while (!code && status == MAGPIE_OK) {
        status = read_user(snapshot, cursor, &key, &value, &user, &code);
        if (status != MAGPIE_OK || user.array->user >= end) break;
        status = callback(context, user.array, user.count);
    }
    mdb_cursor_close(cursor);
    free(user.array);
    if (status == MAGPIE_OK && code && code != MDB_NOTFOUND)
        status = magpie_lmdb_fail(code, "cannot read the interactions of %s",
                                  snapshot->store->environment.directory);
    return status;
}

/* ---- of one user, in order of time ---- */

typedef struct copying {
    magpie_interaction **array;
    size_t *capacity, *count;
} copying;

static magpie_status copy(void *context, const magpie_interaction *interactions, size_t count) {
    const copying *c = context;
    magpie_status status = magpie_grow((void **)c->array, c->capacity, count, sizeof *interactions);
    if (status != MAGPIE_OK) return status;
    memcpy(*c->array, interactions, count * sizeof *interactions);
    *c->count = count;
    return MAGPIE_OK;
}

static int compare_time(const void *a, const void *b) {
    const magpie_interaction *x = a, *y = b;
    if (x->time != y->time) return x->time < y->time ? -1 : 1;
    if (x->item != y->item) return x->item < y->item ? -1 : 1;
    return (x->kind > y->kind) - (x->kind < y->kind);
}

magpie_status magpie_snapshot_history(magpie_snapshot *snapshot, uint32_t user, magpie_interaction **array,
                                      size_t *capacity, size_t *count) {
    copying c = {array, capacity, count};
    *count = 0;
    magpie_status status = magpie_snapshot_each_user(snapshot, user, user + 1, copy, &c);
    if (*count) qsort(*array, *count, sizeof **array, compare_time);
    return status;
}
