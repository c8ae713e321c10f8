/* interactions.c - collecting interactions, and writing them (see interactions.h for why so). */
#include "interactions.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

static const char *const kind_names[MAGPIE_INTERACTION_KINDS] = {"view", "like", "buy", "rating"};

const char *magpie_interaction_kind_name(magpie_interaction_kind kind) {
    return (unsigned)kind < MAGPIE_INTERACTION_KINDS ? kind_names[kind] : "unknown";
}

magpie_status magpie_interaction_kind_parse(magpie_string name, magpie_interaction_kind *out) {
    for (unsigned k = 0; k < MAGPIE_INTERACTION_KINDS; k++)
        if (strlen(kind_names[k]) == name.size && memcmp(kind_names[k], name.data, name.size) == 0)
            return *out = (magpie_interaction_kind)k, MAGPIE_OK;
    return magpie_fail(MAGPIE_E_INPUT, "\"%.*s\" is no kind of interaction: view, like, buy, rating are",
                       (int)(name.size < 40 ? name.size : 40), name.size ? name.data : "");
}

/* ---- collecting ---- */

enum { FIRST_SLOTS = 256 };

/* The slot of `id`, or the free one where it belongs. */
static size_t find_slot(const magpie_names *n, magpie_string id, uint64_t hash) {
    size_t mask = n->slot_count - 1, slot = (size_t)hash & mask;
    for (; n->slots[slot]; slot = (slot + 1) & mask) {
        const struct magpie_name *name = &n->names[n->slots[slot] - 1];
        if (name->hash == hash && name->size == id.size &&
            memcmp(n->bytes.data + name->at, id.data, id.size) == 0)
            break;
    }
    return slot;
}

static magpie_status double_slots(magpie_names *n) {
    size_t count = n->slot_count ? n->slot_count * 2 : FIRST_SLOTS;
    uint32_t *slots = magpie_alloc(count, sizeof *slots);
    if (!slots) return MAGPIE_E_NO_MEMORY;
    for (size_t i = 0; i < n->count; i++) {
        size_t slot = (size_t)n->names[i].hash & (count - 1);
        while (slots[slot]) slot = (slot + 1) & (count - 1);
        slots[slot] = (uint32_t)i + 1;
    }
    free(n->slots);
    n->slots = slots;
    n->slot_count = count;
    return MAGPIE_OK;
}

static magpie_status find_name(magpie_names *n, magpie_string id, uint32_t *out) {
    magpie_status status = MAGPIE_OK;
    if (n->count >= n->slot_count / 2) status = double_slots(n);
    if (status != MAGPIE_OK) return status;
    uint64_t hash = XXH3_64bits(id.data, id.size);
    size_t slot = find_slot(n, id, hash);
    if (n->slots[slot]) return *out = n->slots[slot] - 1, MAGPIE_OK;
    status = magpie_grow((void **)&n->names, &n->capacity, n->count + 1, sizeof *n->names);
    if (status != MAGPIE_OK) return status;
    n->names[n->count] = (struct magpie_name){n->bytes.size, id.size, hash};
    magpie_text_append(&n->bytes, id.data, id.size);
    status = magpie_text_status(&n->bytes);
    if (status != MAGPIE_OK) return status;
    *out = (uint32_t)n->count++;
    n->slots[slot] = *out + 1;
    return MAGPIE_OK;
}

magpie_status magpie_interaction_group_add(magpie_interaction_group *group, magpie_string user,
                                           magpie_string item, const magpie_interaction *put) {
    magpie_interaction one = *put;
    magpie_status status = find_name(&group->users, user, &one.user);
    if (status == MAGPIE_OK) status = find_name(&group->items, item, &one.item);
    if (status == MAGPIE_OK)
        status = magpie_grow((void **)&group->puts, &group->capacity, group->count + 1, sizeof *group->puts);
    if (status == MAGPIE_OK) group->puts[group->count++] = one;
    return status;
}

static void free_names(magpie_names *n) {
    magpie_text_free(&n->bytes);
    free(n->names);
    free(n->slots);
}

void magpie_interaction_group_free(magpie_interaction_group *group) {
    if (!group) return;
    free_names(&group->users);
    free_names(&group->items);
    free(group->puts);
    free(group);
}

/* ---- as they are stored ---- */

void magpie_interaction_key(uint32_t user, uint32_t item, unsigned kind,
                            unsigned char out[MAGPIE_INTERACTION_KEY]) {
    uint32_t big[2] = {htobe32(user), htobe32(item)};
    memcpy(out, big, sizeof big);
    out[8] = (unsigned char)kind;
}

static void encode_value(const magpie_interaction *one, unsigned char out[MAGPIE_INTERACTION_VALUE]) {
    uint32_t weight;
    uint64_t time = htole64((uint64_t)one->time);
    memcpy(&weight, &one->weight, sizeof weight);
    weight = htole32(weight);
    memcpy(out, &weight, sizeof weight);
    memcpy(out + 4, &time, sizeof time);
}

bool magpie_interaction_read(const MDB_val *key, const MDB_val *value, magpie_interaction *out) {
    uint32_t big[2], weight;
    uint64_t time;
    if (key->mv_size != MAGPIE_INTERACTION_KEY || value->mv_size != MAGPIE_INTERACTION_VALUE) return false;
    memcpy(big, key->mv_data, sizeof big);
    memcpy(&weight, value->mv_data, sizeof weight);
    memcpy(&time, (const char *)value->mv_data + 4, sizeof time);
    weight = le32toh(weight);
    *out = (magpie_interaction){.user = be32toh(big[0]),
                                .item = be32toh(big[1]),
                                .kind = ((const unsigned char *)key->mv_data)[8],
                                .time = (int64_t)le64toh(time)};
    memcpy(&out->weight, &weight, sizeof weight);
    return true;
}

bool magpie_interaction_number(const MDB_val *value, uint32_t *out) {
    if (value->mv_size != sizeof *out) return false;
    memcpy(out, value->mv_data, sizeof *out);
    *out = le32toh(*out);
    return true;
}

/* ---- writing ---- */

static magpie_status outcome(magpie_interaction_writer *w, int code, const char *what) {
    if (!code) return MAGPIE_OK;
    w->map_full |= code == MDB_MAP_FULL;
    return magpie_lmdb_fail(code, "cannot %s in %s", what, w->store->environment.directory);
}

static int put(magpie_interaction_writer *w, magpie_table table, MDB_val key, MDB_val value) {
    return mdb_put(w->txn, w->store->table[table], &key, &value, 0);
}

/* A number of the meta table. Not magpie_store_set_number, which does not say that the map is full. */
static magpie_status set_number(magpie_interaction_writer *w, const char *name, uint64_t value) {
    uint64_t stored = htole64(value);
    return outcome(
        w, put(w, MAGPIE_TABLE_META, magpie_val(name, strlen(name)), magpie_val(&stored, sizeof stored)),
        "count interactions");
}

static magpie_status note_write(magpie_interaction_writer *w) {
    uint64_t sequence;
    magpie_status status = magpie_store_number(w->store, w->txn, "interactions", &sequence);
    return status == MAGPIE_OK ? set_number(w, "interactions", sequence + 1) : status;
}

/* Whose numbers: of users or of items. */
typedef struct numbered {
    magpie_table numbers, ids;
    const char *next; /* the name in meta of the next one to be given */
} numbered;

static const numbered users = {MAGPIE_TABLE_USERS, MAGPIE_TABLE_USER_IDS, "users"};
static const numbered items = {MAGPIE_TABLE_SUBJECTS, MAGPIE_TABLE_SUBJECT_IDS, "items"};

static magpie_status find_number(magpie_interaction_writer *w, const numbered *whose, magpie_string id,
                                 uint32_t *out, bool *there) {
    MDB_val key = magpie_val(id.data, id.size), value;
    int code = mdb_get(w->txn, w->store->table[whose->numbers], &key, &value);
    *there = code != MDB_NOTFOUND;
    if (!*there) return MAGPIE_OK;
    if (!code && !magpie_interaction_number(&value, out))
        return magpie_fail(MAGPIE_E_CORRUPT, "%s: the number of \"%.*s\" is damaged",
                           w->store->environment.directory, (int)id.size, id.data);
    return outcome(w, code, "read the numbers of ids");
}

static magpie_status find_or_give(magpie_interaction_writer *w, const numbered *whose, magpie_string id,
                                  uint64_t *next, uint32_t *out) {
    MDB_val key = magpie_val(id.data, id.size);
    bool there;
    magpie_status status = find_number(w, whose, id, out, &there);
    if (status != MAGPIE_OK || there) return status;
    if (*next > UINT32_MAX - 1)
        return magpie_fail(MAGPIE_E_TOO_LARGE, "%s has no numbers left for more %s",
                           w->store->environment.directory, whose->next);
    *out = (uint32_t)(*next)++;
    uint32_t stored = htole32(*out);
    int code = put(w, whose->numbers, key, magpie_val(&stored, sizeof stored));
    if (!code) code = put(w, whose->ids, magpie_val(out, sizeof *out), key);
    return outcome(w, code, "give a number");
}

/* *out [names->count], to be freed. */
static magpie_status resolve_names(magpie_interaction_writer *w, const numbered *whose,
                                   const magpie_names *names, uint32_t **out) {
    uint64_t first, next;
    magpie_status status = magpie_store_number(w->store, w->txn, whose->next, &first);
    *out = status == MAGPIE_OK ? magpie_alloc(names->count, sizeof **out) : NULL;
    if (status == MAGPIE_OK && !*out) status = MAGPIE_E_NO_MEMORY;
    next = first;
    for (size_t i = 0; i < names->count && status == MAGPIE_OK; i++) {
        magpie_string id = {names->bytes.data + names->names[i].at, names->names[i].size};
        status = find_or_give(w, whose, id, &next, &(*out)[i]);
    }
    return status == MAGPIE_OK && next != first ? set_number(w, whose->next, next) : status;
}

/* An interaction by its numbers, and which of the group's it is. */
typedef struct ordered {
    uint64_t pair; /* user and item */
    magpie_interaction_kind kind;
    uint32_t at;
} ordered;

static int compare(const void *a, const void *b) {
    const ordered *x = a, *y = b;
    if (x->pair != y->pair) return x->pair < y->pair ? -1 : 1;
    if (x->kind != y->kind) return x->kind < y->kind ? -1 : 1;
    return (x->at > y->at) - (x->at < y->at);
}

/* [group->count] in order of the table, the last of several on one key last. */
static ordered *order_puts(const magpie_interaction_group *group, const uint32_t *user_numbers,
                           const uint32_t *item_numbers) {
    ordered *out = magpie_alloc(group->count, sizeof *out);
    if (!out) return NULL;
    for (size_t i = 0; i < group->count; i++) {
        const magpie_interaction *one = &group->puts[i];
        out[i] = (ordered){(uint64_t)user_numbers[one->user] << 32 | item_numbers[one->item], one->kind,
                           (uint32_t)i};
    }
    qsort(out, group->count, sizeof *out, compare);
    return out;
}

/* Behind the end of the table MDB_APPEND fills pages up, where a plain put would leave each half empty. */
static int write_ordered(MDB_cursor *cursor, const magpie_interaction_group *group, const ordered *sorted) {
    unsigned char bytes[MAGPIE_INTERACTION_KEY], last[MAGPIE_INTERACTION_KEY] = {0};
    unsigned char stored[MAGPIE_INTERACTION_VALUE];
    MDB_val key, value;
    int code = mdb_cursor_get(cursor, &key, &value, MDB_LAST);
    bool appends = code == MDB_NOTFOUND;
    if (code && !appends) return code;
    if (!appends && key.mv_size == sizeof last) memcpy(last, key.mv_data, sizeof last);
    code = 0;
    for (size_t i = 0; i < group->count && !code; i++) {
        const ordered *o = &sorted[i];
        if (i + 1 < group->count && o[1].pair == o->pair && o[1].kind == o->kind) continue;
        magpie_interaction_key((uint32_t)(o->pair >> 32), (uint32_t)o->pair, o->kind, bytes);
        encode_value(&group->puts[o->at], stored);
        key = magpie_val(bytes, sizeof bytes);
        value = magpie_val(stored, sizeof stored);
        appends = appends || memcmp(bytes, last, sizeof bytes) > 0;
        code = mdb_cursor_put(cursor, &key, &value, appends ? MDB_APPEND : 0);
    }
    return code;
}

magpie_status magpie_interaction_group_write(magpie_interaction_writer *w,
                                             const magpie_interaction_group *group) {
    uint32_t *user_numbers = NULL, *item_numbers = NULL;
    ordered *sorted = NULL;
    MDB_cursor *cursor;
    magpie_status status = resolve_names(w, &users, &group->users, &user_numbers);
    if (status == MAGPIE_OK) status = resolve_names(w, &items, &group->items, &item_numbers);
    if (status == MAGPIE_OK && !(sorted = order_puts(group, user_numbers, item_numbers)))
        status = MAGPIE_E_NO_MEMORY;
    if (status == MAGPIE_OK) {
        int code = mdb_cursor_open(w->txn, w->store->table[MAGPIE_TABLE_INTERACTIONS], &cursor);
        if (!code) {
            code = write_ordered(cursor, group, sorted);
            mdb_cursor_close(cursor);
        }
        status = outcome(w, code, "write interactions");
    }
    free(sorted);
    free(item_numbers);
    free(user_numbers);
    return status == MAGPIE_OK ? note_write(w) : status;
}

/* All keys that begin with the user's number. */
static int delete_entries(magpie_interaction_writer *w, uint32_t user) {
    unsigned char first[MAGPIE_INTERACTION_KEY];
    MDB_cursor *cursor;
    MDB_val key, value;
    int code = mdb_cursor_open(w->txn, w->store->table[MAGPIE_TABLE_INTERACTIONS], &cursor);
    if (code) return code;
    magpie_interaction_key(user, 0, 0, first);
    for (;;) {
        key = magpie_val(first, sizeof first);
        code = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
        if (code || key.mv_size < 4 || memcmp(key.mv_data, first, 4) != 0) break;
        if ((code = mdb_cursor_del(cursor, 0))) break;
    }
    mdb_cursor_close(cursor);
    return code == MDB_NOTFOUND ? 0 : code;
}

magpie_status magpie_interaction_delete_user(magpie_interaction_writer *w, magpie_string id, bool *there) {
    MDB_val key = magpie_val(id.data, id.size);
    uint32_t user;
    magpie_status status = find_number(w, &users, id, &user, there);
    if (status != MAGPIE_OK || !*there) return status;
    MDB_val number = magpie_val(&user, sizeof user);
    int code = delete_entries(w, user);
    if (!code) code = mdb_del(w->txn, w->store->table[users.numbers], &key, NULL);
    if (!code) code = mdb_del(w->txn, w->store->table[users.ids], &number, NULL);
    status = outcome(w, code, "delete a user");
    return status == MAGPIE_OK ? note_write(w) : status;
}
