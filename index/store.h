/* store.h - the tables of a store, and a snapshot of them. Private to index/; the format is in index.h. */
#ifndef MAGPIE_STORE_H
#define MAGPIE_STORE_H

#include "environment.h"
#include "index.h"

typedef enum magpie_table {
    MAGPIE_TABLE_META,
    MAGPIE_TABLE_ITEMS,
    MAGPIE_TABLE_ROWS,
    MAGPIE_TABLE_POSTINGS,
    MAGPIE_TABLE_TOMBSTONES,
    MAGPIE_TABLE_JOBS,
    MAGPIE_TABLE_VECTORS,                                      /* + space */
    MAGPIE_TABLE_USERS = MAGPIE_TABLE_VECTORS + MAGPIE_SPACES, /* from here on: may be missing */
    MAGPIE_TABLE_USER_IDS,
    MAGPIE_TABLE_SUBJECTS, /* items, as interactions name them */
    MAGPIE_TABLE_SUBJECT_IDS,
    MAGPIE_TABLE_INTERACTIONS,
    MAGPIE_TABLES
} magpie_table;

enum {
    MAGPIE_FORMAT = 1,
    MAGPIE_NO_TABLE = 0, /* a handle that LMDB keeps for itself */
    MAGPIE_IDENTITY_BYTES = 16,
    MAGPIE_MODEL_MAX = 127,       /* bytes of a model's name */
    MAGPIE_FINGERPRINT_MAX = 127, /* bytes of a fingerprint */
    MAGPIE_SETTINGS_MAX = 255
};

struct magpie_store {
    magpie_environment environment;
    MDB_dbi table[MAGPIE_TABLES];                  /* MAGPIE_NO_TABLE: missing */
    unsigned char identity[MAGPIE_IDENTITY_BYTES]; /* drawn when the store was made: an index file names it */
};

struct magpie_snapshot {
    magpie_store *store;
    MDB_txn *txn;
    size_t dimension[MAGPIE_SPACES]; /* 0: not read yet */
};

MAGPIE_CHECK_RESULT magpie_status magpie_store_space(magpie_store *store, MDB_txn *txn, magpie_space space,
                                                     magpie_space_binding *out);

/* Whether it has the tables of interactions: one that is open for writing has. */
static inline bool magpie_store_has_interactions(const magpie_store *store) {
    return store->table[MAGPIE_TABLE_INTERACTIONS] != MAGPIE_NO_TABLE;
}

/* Numbers in the meta table, "sequence" for one. 0 where there is none. */
MAGPIE_CHECK_RESULT magpie_status magpie_store_number(magpie_store *store, MDB_txn *txn, const char *name,
                                                      uint64_t *out);
MAGPIE_CHECK_RESULT magpie_status magpie_store_set_number(magpie_store *store, MDB_txn *txn, const char *name,
                                                          uint64_t value);

MAGPIE_CHECK_RESULT magpie_status magpie_store_entries(magpie_store *store, MDB_txn *txn, magpie_table table,
                                                       uint64_t *out);

/* Forgets the tombstones up to and including `sequence`, and records that it did. */
MAGPIE_CHECK_RESULT magpie_status magpie_store_prune(magpie_store *store, uint64_t sequence);

/* MAGPIE_E_ARGUMENT, in words, where the store is open for reading only. */
MAGPIE_CHECK_RESULT magpie_status magpie_store_writable(const magpie_store *store);

/* MAGPIE_E_NOT_FOUND where no model is bound. */
MAGPIE_CHECK_RESULT magpie_status magpie_snapshot_dimension(magpie_snapshot *snapshot, magpie_space space,
                                                            size_t *out);

/* All live rows, ascending; *out [*n] to be freed with free(). */
MAGPIE_CHECK_RESULT magpie_status magpie_snapshot_rows(magpie_snapshot *snapshot, uint64_t **out, size_t *n);

/* A cursor of a snapshot; closed by mdb_cursor_close before the snapshot is. */
MAGPIE_CHECK_RESULT magpie_status magpie_snapshot_cursor(magpie_snapshot *snapshot, magpie_table table,
                                                         MDB_cursor **out);

static inline MDB_val magpie_val(const void *data, size_t size) {
    return (MDB_val){size, (void *)(uintptr_t)data};
}

#endif
