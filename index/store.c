/* store.c - opening a store, the models of its spaces, its numbers. */
#include "store.h"

#include <endian.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct {
    const char *name;
    unsigned flags;
} tables[MAGPIE_TABLES] = {
    [MAGPIE_TABLE_META] = {"meta", 0},
    [MAGPIE_TABLE_ITEMS] = {"items", 0},
    [MAGPIE_TABLE_ROWS] = {"rows", MDB_INTEGERKEY},
    [MAGPIE_TABLE_POSTINGS] = {"postings", MDB_DUPSORT | MDB_DUPFIXED | MDB_INTEGERDUP},
    [MAGPIE_TABLE_TOMBSTONES] = {"tombstones", MDB_INTEGERKEY},
    [MAGPIE_TABLE_JOBS] = {"jobs", 0},
    [MAGPIE_TABLE_VECTORS + MAGPIE_SPACE_FUSED] = {"v.fused", MDB_INTEGERKEY},
    [MAGPIE_TABLE_VECTORS + MAGPIE_SPACE_TEXT] = {"v.text", MDB_INTEGERKEY},
    [MAGPIE_TABLE_VECTORS + MAGPIE_SPACE_IMAGE] = {"v.image", MDB_INTEGERKEY},
    [MAGPIE_TABLE_VECTORS + MAGPIE_SPACE_AUDIO] = {"v.audio", MDB_INTEGERKEY},
    [MAGPIE_TABLE_USERS] = {"i.users", 0},
    [MAGPIE_TABLE_USER_IDS] = {"i.user_ids", MDB_INTEGERKEY},
    [MAGPIE_TABLE_SUBJECTS] = {"i.items", 0},
    [MAGPIE_TABLE_SUBJECT_IDS] = {"i.item_ids", MDB_INTEGERKEY},
    [MAGPIE_TABLE_INTERACTIONS] = {"interactions", 0},
};

const char *magpie_space_name(magpie_space space) {
    return (unsigned)space < MAGPIE_SPACES ? tables[MAGPIE_TABLE_VECTORS + space].name + 2 : "unknown";
}

/* ---- meta ---- */

static int meta_get(magpie_store *store, MDB_txn *txn, const char *name, MDB_val *value) {
    MDB_val key = magpie_val(name, strlen(name));
    return mdb_get(txn, store->table[MAGPIE_TABLE_META], &key, value);
}

static magpie_status meta_put(magpie_store *store, MDB_txn *txn, const char *name, const void *data,
                              size_t size) {
    MDB_val key = magpie_val(name, strlen(name)), value = magpie_val(data, size);
    int code = mdb_put(txn, store->table[MAGPIE_TABLE_META], &key, &value, 0);
    return code ? magpie_lmdb_fail(code, "cannot write \"%s\" of %s", name, store->environment.directory)
                : MAGPIE_OK;
}

magpie_status magpie_store_number(magpie_store *store, MDB_txn *txn, const char *name, uint64_t *out) {
    MDB_val value;
    int code = meta_get(store, txn, name, &value);
    *out = 0;
    if (code == MDB_NOTFOUND) return MAGPIE_OK;
    if (code) return magpie_lmdb_fail(code, "cannot read \"%s\" of %s", name, store->environment.directory);
    if (value.mv_size != sizeof *out)
        return magpie_fail(MAGPIE_E_CORRUPT, "%s: \"%s\" has %zu bytes in place of 8",
                           store->environment.directory, name, value.mv_size);
    memcpy(out, value.mv_data, sizeof *out);
    *out = le64toh(*out);
    return MAGPIE_OK;
}

magpie_status magpie_store_set_number(magpie_store *store, MDB_txn *txn, const char *name, uint64_t value) {
    uint64_t stored = htole64(value);
    return meta_put(store, txn, name, &stored, sizeof stored);
}

magpie_status magpie_store_entries(magpie_store *store, MDB_txn *txn, magpie_table table, uint64_t *out) {
    MDB_stat stat = {0};
    int code = store->table[table] == MAGPIE_NO_TABLE ? 0 : mdb_stat(txn, store->table[table], &stat);
    if (code)
        return magpie_lmdb_fail(code, "cannot read the table %s of %s", tables[table].name,
                                store->environment.directory);
    *out = stat.ms_entries;
    return MAGPIE_OK;
}

/* ---- opening ---- */

static magpie_status open_tables(magpie_store *store, MDB_txn *txn, unsigned create) {
    for (unsigned t = 0; t < MAGPIE_TABLES; t++) {
        int code = mdb_dbi_open(txn, tables[t].name, tables[t].flags | create, &store->table[t]);
        if (code == MDB_NOTFOUND && t >= MAGPIE_TABLE_USERS) {
            store->table[t] = MAGPIE_NO_TABLE;
            continue;
        }
        if (code == MDB_NOTFOUND)
            return magpie_fail(MAGPIE_E_CORRUPT, "%s is not a Magpie store: it has no table %s",
                               store->environment.directory, tables[t].name);
        if (code)
            return magpie_lmdb_fail(code, "cannot open the table %s of %s", tables[t].name,
                                    store->environment.directory);
    }
    return MAGPIE_OK;
}

static magpie_status initialise(magpie_store *store, MDB_txn *txn) {
    uint32_t format = htole32(MAGPIE_FORMAT);
    magpie_status status = open_tables(store, txn, MDB_CREATE);
    if (status != MAGPIE_OK) return status;
    if (getrandom(store->identity, sizeof store->identity, 0) != sizeof store->identity)
        return magpie_fail_errno(errno, "cannot draw an identity for %s", store->environment.directory);
    status = meta_put(store, txn, "identity", store->identity, sizeof store->identity);
    if (status == MAGPIE_OK) status = magpie_store_set_number(store, txn, "sequence", 0);
    return status == MAGPIE_OK ? meta_put(store, txn, "format", &format, sizeof format) : status;
}

static magpie_status check_format(magpie_store *store, MDB_txn *txn) {
    const char *directory = store->environment.directory;
    uint32_t format;
    MDB_val value;
    if (meta_get(store, txn, "format", &value) || value.mv_size != sizeof format)
        return magpie_fail(MAGPIE_E_CORRUPT, "%s is not a Magpie store: it has no format version", directory);
    memcpy(&format, value.mv_data, sizeof format);
    if (le32toh(format) != MAGPIE_FORMAT)
        return magpie_fail(MAGPIE_E_MISMATCH, "%s has format version %u; this Magpie reads and writes %d",
                           directory, le32toh(format), MAGPIE_FORMAT);
    if (meta_get(store, txn, "identity", &value) || value.mv_size != sizeof store->identity)
        return magpie_fail(MAGPIE_E_CORRUPT, "%s: its identity is missing", directory);
    memcpy(store->identity, value.mv_data, sizeof store->identity);
    return MAGPIE_OK;
}

static magpie_status is_empty(magpie_store *store, MDB_txn *txn, bool *out) {
    MDB_dbi main;
    MDB_stat stat;
    int code = mdb_dbi_open(txn, NULL, 0, &main);
    if (!code) code = mdb_stat(txn, main, &stat);
    if (code) return magpie_lmdb_fail(code, "cannot read %s", store->environment.directory);
    *out = stat.ms_entries == 0;
    return MAGPIE_OK;
}

/* Opens the tables, or with `write` makes those that are missing. *empty: there were none; nothing is done
 * about it without `write`. */
static magpie_status open_in(magpie_store *store, bool write, bool *empty) {
    magpie_environment *environment = &store->environment;
    MDB_txn *txn;
    magpie_status status = magpie_environment_begin(environment, write, &txn);
    if (status != MAGPIE_OK) return status;
    status = is_empty(store, txn, empty);
    if (status == MAGPIE_OK && *empty && write)
        status = initialise(store, txn);
    else if (status == MAGPIE_OK && !*empty)
        status = open_tables(store, txn, write ? MDB_CREATE : 0);
    if (status == MAGPIE_OK && (write || !*empty)) status = check_format(store, txn);
    if (status != MAGPIE_OK) {
        magpie_environment_abort(environment, txn);
        return status;
    }
    /* Table handles belong to the environment only once their transaction is committed, a reading one too. */
    int code = magpie_environment_commit(environment, txn);
    return code ? magpie_lmdb_fail(code, "cannot open the store %s", environment->directory) : MAGPIE_OK;
}

/* Reading first: an open must not wait for its turn among the writers. An environment without any table is
 * new, or its making was cut off; one without interactions is from before there were any. */
static magpie_status open_or_make(magpie_store *store) {
    bool empty = false;
    magpie_status status = open_in(store, false, &empty);
    bool whole = !empty && (store->environment.read_only || magpie_store_has_interactions(store));
    if (status != MAGPIE_OK || whole) return status;
    if (store->environment.read_only)
        return magpie_fail(MAGPIE_E_NOT_FOUND, "there is no store in %s (it is empty)",
                           store->environment.directory);
    return open_in(store, true, &empty);
}

magpie_status magpie_store_open(const char *directory, const magpie_store_options *options,
                                magpie_store **out) {
    magpie_store_options given = options ? *options : (magpie_store_options){0};
    *out = NULL;
    magpie_store *store = magpie_alloc(1, sizeof *store);
    if (!store) return MAGPIE_E_NO_MEMORY;
    magpie_environment *environment = &store->environment;
    magpie_status status =
        magpie_environment_open(environment, directory, given.create, given.read_only, given.initial_bytes);
    if (status != MAGPIE_OK) {
        free(store);
        return status;
    }
    status = open_or_make(store);
    if (status != MAGPIE_OK) {
        magpie_store_close(store);
        return status;
    }
    *out = store;
    return MAGPIE_OK;
}

const char *magpie_store_directory(const magpie_store *store) { return store->environment.directory; }

void magpie_store_close(magpie_store *store) {
    if (!store) return;
    magpie_environment_close(&store->environment);
    free(store);
}

magpie_status magpie_store_writable(const magpie_store *store) {
    return store->environment.read_only
               ? magpie_fail(MAGPIE_E_ARGUMENT, "%s is open for reading only", store->environment.directory)
               : MAGPIE_OK;
}

/* ---- spaces ---- */

static void space_key(magpie_space space, char key[32]) {
    snprintf(key, 32, "space/%s", magpie_space_name(space));
}

bool magpie_space_same_binding(const magpie_space_binding *a, const magpie_space_binding *b) {
    return a->since == b->since && strcmp(a->fingerprint, b->fingerprint) == 0;
}

char *magpie_store_index_path(const magpie_store *store, magpie_space space) {
    char name[32];
    snprintf(name, sizeof name, "%s.index", magpie_space_name(space));
    return magpie_path_join(store->environment.directory, name);
}

magpie_status magpie_store_space(magpie_store *store, MDB_txn *txn, magpie_space space,
                                 magpie_space_binding *out) {
    char name[32];
    MDB_val value;
    _Static_assert(sizeof out->model == MAGPIE_MODEL_MAX + 1 &&
                       sizeof out->fingerprint == MAGPIE_FINGERPRINT_MAX + 1 &&
                       sizeof out->settings == MAGPIE_SETTINGS_MAX + 1,
                   "what is checked below fits");
    space_key(space, name);
    *out = (magpie_space_binding){0};
    int code = meta_get(store, txn, name, &value);
    if (code == MDB_NOTFOUND) return MAGPIE_OK;
    if (code) return magpie_lmdb_fail(code, "cannot read \"%s\" of %s", name, store->environment.directory);
    const char *model, *fingerprint, *settings = "";
    json_int_t dimension, since = 0;
    json_t *json = json_loadb(value.mv_data, value.mv_size, 0, NULL);
    bool good =
        json && json_unpack(json, "{s:s, s:s, s:I, s?s, s?I}", "model", &model, "fingerprint", &fingerprint,
                            "dimension", &dimension, "settings", &settings, "since", &since) == 0;
    good = good && dimension > 0 && dimension <= MAGPIE_DIMENSION_MAX && since >= 0 &&
           strlen(model) <= MAGPIE_MODEL_MAX && strlen(fingerprint) <= MAGPIE_FINGERPRINT_MAX &&
           strlen(settings) <= MAGPIE_SETTINGS_MAX;
    if (good) {
        out->dimension = (size_t)dimension;
        out->since = (uint64_t)since;
        strcpy(out->model, model);
        strcpy(out->fingerprint, fingerprint);
        strcpy(out->settings, settings);
    }
    json_decref(json);
    return good ? MAGPIE_OK
                : magpie_fail(MAGPIE_E_CORRUPT, "%s: \"%s\" does not name a model",
                              store->environment.directory, name);
}

/* `since` 0: it is the space's first model. */
static magpie_status record_space(magpie_store *store, MDB_txn *txn, magpie_space space,
                                  const magpie_space_model *model, uint64_t since) {
    char name[32];
    space_key(space, name);
    magpie_text json = {0};
    magpie_text_printf(&json, "{\"model\": ");
    magpie_text_json_string(&json, model->model, strlen(model->model));
    magpie_text_printf(&json, ", \"fingerprint\": ");
    magpie_text_json_string(&json, model->fingerprint, strlen(model->fingerprint));
    magpie_text_printf(&json, ", \"dimension\": %zu", model->dimension);
    if (model->settings) {
        magpie_text_printf(&json, ", \"settings\": ");
        magpie_text_json_string(&json, model->settings, strlen(model->settings));
    }
    if (since) magpie_text_printf(&json, ", \"since\": %llu", (unsigned long long)since);
    magpie_text_append(&json, "}", 1);
    magpie_status status = magpie_text_status(&json);
    if (status == MAGPIE_OK) status = meta_put(store, txn, name, json.data, json.size);
    magpie_text_free(&json);
    return status;
}

static bool is_model(const magpie_space_binding *state, const magpie_space_model *model) {
    return state->dimension == model->dimension && strcmp(state->fingerprint, model->fingerprint) == 0;
}

/* *bound says whether there is nothing left to do. */
static magpie_status compare_space(magpie_store *store, MDB_txn *txn, magpie_space space,
                                   const magpie_space_model *model, bool *bound) {
    magpie_space_binding state;
    magpie_status status = magpie_store_space(store, txn, space, &state);
    *bound = state.dimension != 0;
    if (status != MAGPIE_OK || !*bound) return status;
    if (is_model(&state, model)) return MAGPIE_OK;
    return magpie_fail(
        MAGPIE_E_MISMATCH,
        "the %s space was made by the model %s (%zu dimensions, fingerprint %s), not by %s (%zu, %s): "
        "use that model, or make a new store",
        magpie_space_name(space), state.model, state.dimension, state.fingerprint, model->model,
        model->dimension, model->fingerprint);
}

static magpie_status validate_model(magpie_space space, const magpie_space_model *model) {
    if ((unsigned)space >= MAGPIE_SPACES)
        return magpie_fail(MAGPIE_E_ARGUMENT, "there is no space %d", (int)space);
    if (!model->model || !model->fingerprint || !*model->fingerprint ||
        strlen(model->model) > MAGPIE_MODEL_MAX || strlen(model->fingerprint) > MAGPIE_FINGERPRINT_MAX)
        return magpie_fail(MAGPIE_E_ARGUMENT,
                           "a model needs a name and a fingerprint of at most %d bytes each",
                           MAGPIE_FINGERPRINT_MAX);
    if (!model->dimension || model->dimension > MAGPIE_DIMENSION_MAX)
        return magpie_fail(MAGPIE_E_ARGUMENT, "the model %s has %zu dimensions; 1 to %d are possible",
                           model->model, model->dimension, MAGPIE_DIMENSION_MAX);
    if (model->settings && strlen(model->settings) > MAGPIE_SETTINGS_MAX)
        return magpie_fail(MAGPIE_E_ARGUMENT, "the settings of the model %s have more than %d bytes",
                           model->model, MAGPIE_SETTINGS_MAX);
    return MAGPIE_OK;
}

magpie_status magpie_store_bind(magpie_store *store, magpie_space space, const magpie_space_model *model) {
    magpie_environment *environment = &store->environment;
    MDB_txn *txn;
    bool bound = false;
    magpie_status status = validate_model(space, model);
    /* Nearly always it is bound already: that is seen without taking a turn among the writers. */
    for (int write = 0; write <= 1 && !bound && status == MAGPIE_OK; write++) {
        if (write && environment->read_only)
            return magpie_fail(MAGPIE_E_NOT_FOUND,
                               "the %s space of %s has no model yet, and the store is open for reading only",
                               magpie_space_name(space), environment->directory);
        status = magpie_environment_begin(environment, write, &txn);
        if (status != MAGPIE_OK) return status;
        status = compare_space(store, txn, space, model, &bound);
        if (status == MAGPIE_OK && write && !bound) {
            status = record_space(store, txn, space, model, 0);
            int code = status == MAGPIE_OK ? magpie_environment_commit(environment, txn) : 0;
            if (status == MAGPIE_OK && !code) return MAGPIE_OK;
            if (status == MAGPIE_OK)
                return magpie_lmdb_fail(code, "cannot bind a model in %s", environment->directory);
        }
        magpie_environment_abort(environment, txn);
    }
    return status;
}

/* In a write transaction. The sequence number that it takes makes this binding another one than all before,
 * those of the same model too: vectors of an index that knows it by that number were read since. */
static magpie_status rebind(magpie_store *store, MDB_txn *txn, magpie_space space,
                            const magpie_space_model *model, bool *done) {
    magpie_space_binding state;
    uint64_t sequence = 0;
    magpie_status status = magpie_store_space(store, txn, space, &state);
    *done = status == MAGPIE_OK && !is_model(&state, model);
    if (!*done) return status;
    int code = mdb_drop(txn, store->table[MAGPIE_TABLE_VECTORS + space], 0);
    if (code)
        return magpie_lmdb_fail(code, "cannot forget the %s vectors of %s", magpie_space_name(space),
                                store->environment.directory);
    status = magpie_store_number(store, txn, "sequence", &sequence);
    if (status == MAGPIE_OK) status = magpie_store_set_number(store, txn, "sequence", ++sequence);
    return status == MAGPIE_OK ? record_space(store, txn, space, model, sequence) : status;
}

/* It is of the former model, and nobody would read it. */
static void remove_index_file(const magpie_store *store, magpie_space space) {
    char *path = magpie_store_index_path(store, space);
    if (path) (void)unlink(path);
    free(path);
}

magpie_status magpie_store_rebind(magpie_store *store, magpie_space space, const magpie_space_model *model) {
    magpie_environment *environment = &store->environment;
    MDB_txn *txn;
    bool done;
    magpie_status status = validate_model(space, model);
    if (status == MAGPIE_OK) status = magpie_store_writable(store);
    if (status != MAGPIE_OK) return status;
    magpie_environment_grow_ahead(environment);
    status = magpie_environment_begin(environment, true, &txn);
    if (status != MAGPIE_OK) return status;
    status = rebind(store, txn, space, model, &done);
    if (status != MAGPIE_OK || !done) {
        magpie_environment_abort(environment, txn);
        return status;
    }
    int code = magpie_environment_commit(environment, txn);
    if (!code) remove_index_file(store, space);
    return code ? magpie_lmdb_fail(code, "cannot give the %s space of %s to another model",
                                   magpie_space_name(space), environment->directory)
                : MAGPIE_OK;
}

/* ---- tombstones and statistics ---- */

static magpie_status delete_tombstones(magpie_store *store, MDB_txn *txn, uint64_t sequence) {
    MDB_cursor *cursor;
    MDB_val key, value;
    int code = mdb_cursor_open(txn, store->table[MAGPIE_TABLE_TOMBSTONES], &cursor);
    if (code) return magpie_lmdb_fail(code, "cannot read the tombstones of %s", store->environment.directory);
    while (!(code = mdb_cursor_get(cursor, &key, &value, MDB_FIRST))) {
        uint64_t at;
        memcpy(&at, key.mv_data, sizeof at);
        if (at > sequence || (code = mdb_cursor_del(cursor, 0))) break;
    }
    mdb_cursor_close(cursor);
    if (code && code != MDB_NOTFOUND)
        return magpie_lmdb_fail(code, "cannot prune the tombstones of %s", store->environment.directory);
    return magpie_store_set_number(store, txn, "pruned", sequence);
}

magpie_status magpie_store_prune(magpie_store *store, uint64_t sequence) {
    magpie_environment *environment = &store->environment;
    MDB_txn *txn;
    uint64_t pruned;
    magpie_status status = magpie_environment_begin(environment, true, &txn);
    if (status != MAGPIE_OK) return status;
    status = magpie_store_number(store, txn, "pruned", &pruned);
    bool needed = status == MAGPIE_OK && pruned < sequence;
    if (needed) status = delete_tombstones(store, txn, sequence);
    if (status != MAGPIE_OK || !needed) {
        magpie_environment_abort(environment, txn);
        return status;
    }
    int code = magpie_environment_commit(environment, txn);
    return code ? magpie_lmdb_fail(code, "cannot prune the tombstones of %s", environment->directory)
                : MAGPIE_OK;
}

static magpie_status read_stats(magpie_store *store, MDB_txn *txn, magpie_store_stats *out) {
    magpie_status status = magpie_store_number(store, txn, "sequence", &out->sequence);
    if (status == MAGPIE_OK) status = magpie_store_entries(store, txn, MAGPIE_TABLE_ITEMS, &out->items);
    if (status == MAGPIE_OK)
        status = magpie_store_entries(store, txn, MAGPIE_TABLE_TOMBSTONES, &out->tombstones);
    if (status == MAGPIE_OK) status = magpie_store_entries(store, txn, MAGPIE_TABLE_USERS, &out->users);
    if (status == MAGPIE_OK)
        status = magpie_store_entries(store, txn, MAGPIE_TABLE_INTERACTIONS, &out->interactions);
    if (status == MAGPIE_OK)
        status = magpie_store_number(store, txn, "interactions", &out->interactions_sequence);
    for (unsigned s = 0; s < MAGPIE_SPACES && status == MAGPIE_OK; s++) {
        magpie_space_binding state;
        status = magpie_store_entries(store, txn, MAGPIE_TABLE_VECTORS + s, &out->vectors[s]);
        if (status == MAGPIE_OK) status = magpie_store_space(store, txn, s, &state);
        if (status != MAGPIE_OK) break;
        out->dimension[s] = state.dimension;
        memcpy(out->model[s], state.model, sizeof state.model);
        memcpy(out->fingerprint[s], state.fingerprint, sizeof state.fingerprint);
    }
    return status;
}

magpie_status magpie_store_get_stats(magpie_store *store, magpie_store_stats *out) {
    _Static_assert(sizeof out->model[0] == MAGPIE_MODEL_MAX + 1 &&
                       sizeof out->fingerprint[0] == MAGPIE_FINGERPRINT_MAX + 1,
                   "a model's name and fingerprint fit");
    magpie_environment *environment = &store->environment;
    MDB_txn *txn;
    *out = (magpie_store_stats){0};
    magpie_status status = magpie_environment_begin(environment, false, &txn);
    if (status != MAGPIE_OK) return status;
    status = read_stats(store, txn, out);
    MDB_envinfo info;
    MDB_stat pages;
    mdb_env_info(environment->lmdb, &info);
    mdb_env_stat(environment->lmdb, &pages);
    magpie_environment_abort(environment, txn);
    out->file_bytes = (info.me_last_pgno + 1) * (uint64_t)pages.ms_psize;
    out->map_bytes = info.me_mapsize;
    return status;
}
