/* compact.c - data.mdb written anew, with what is alive and nothing else.
 *
 * WHY NOT mdb_env_copy2(MDB_CP_COMPACT). It leaves out free pages, but copies large values with all of their
 * last page, and what lies behind the value there may be left from another page that LMDB had in the same
 * memory. Here every entry is put into a new file, in order: pages are full (which is also why the file gets
 * smaller), and nothing that was deleted is ever in the memory that they are made in.
 *
 * WHO ELSE HAS IT OPEN. Whoever has an environment open holds a shared lock on the first byte of lock.mdb. It
 * is taken exclusively, so there is nobody; who comes meanwhile waits for it inside of LMDB, and those that
 * had opened the old file before they waited are told by environment.c.
 *
 * WHO HAS WAITED goes on with the transaction numbers that lock.mdb has from the old file. LMDB takes the one
 * of a file's two meta pages that the number's last bit says, and would find nothing in the other: so the new
 * file is made to end on the same bit, by one more transaction where it takes one. */
#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct compaction {
    magpie_store *store;
    int lock;
    char *data, *temporary; /* paths */
    MDB_txn *from;
    MDB_env *fresh;
} compaction;

static magpie_status failed(const compaction *c, int code) {
    return magpie_lmdb_fail(code, "cannot compact %s", c->store->environment.directory);
}

static magpie_status lock_out_others(compaction *c) {
    const char *directory = c->store->environment.directory;
    char *path = magpie_path_join(directory, "lock.mdb");
    if (!path) return MAGPIE_E_NO_MEMORY;
    c->lock = open(path, O_RDWR | O_CLOEXEC);
    free(path);
    if (c->lock < 0) return magpie_fail_errno(errno, "cannot open the lock file of %s", directory);
    struct flock first_byte = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
    if (fcntl(c->lock, F_SETLK, &first_byte) == 0) return MAGPIE_OK;
    if (errno != EACCES && errno != EAGAIN) return magpie_fail_errno(errno, "cannot lock %s", directory);
    return magpie_fail(MAGPIE_E_BUSY, "%s is open in another process: a compaction must have it alone",
                       directory);
}

/* ---- copying ---- */

static int copy_entries(MDB_cursor *from, MDB_cursor *to, bool multiple) {
    MDB_val key, value;
    int code;
    while (!(code = mdb_cursor_get(from, &key, &value, MDB_NEXT)))
        if ((code = mdb_cursor_put(to, &key, &value, multiple ? MDB_APPENDDUP : MDB_APPEND))) return code;
    return code == MDB_NOTFOUND ? 0 : code;
}

/* Whatever table it is: those of a program that knows more of them too. */
static int copy_table(MDB_txn *from, MDB_txn *to, const char *name) {
    MDB_dbi source, target;
    MDB_cursor *reader, *writer;
    unsigned flags;
    int code = mdb_dbi_open(from, name, 0, &source);
    if (!code) code = mdb_dbi_flags(from, source, &flags);
    if (!code) code = mdb_dbi_open(to, name, flags | MDB_CREATE, &target);
    if (!code) code = mdb_cursor_open(from, source, &reader);
    if (code) return code;
    code = mdb_cursor_open(to, target, &writer);
    if (!code) {
        code = copy_entries(reader, writer, flags & MDB_DUPSORT);
        mdb_cursor_close(writer);
    }
    mdb_cursor_close(reader);
    return code;
}

/* The names of the tables are the keys of the unnamed one. */
static int copy_tables(compaction *c, MDB_txn *to) {
    MDB_dbi unnamed;
    MDB_cursor *cursor;
    MDB_val key, value;
    int code = mdb_dbi_open(c->from, NULL, 0, &unnamed);
    if (!code) code = mdb_cursor_open(c->from, unnamed, &cursor);
    if (code) return code;
    while (!(code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT))) {
        char *name = strndup(key.mv_data, key.mv_size);
        code = name ? copy_table(c->from, to, name) : ENOMEM;
        free(name);
        if (code) break;
    }
    mdb_cursor_close(cursor);
    return code == MDB_NOTFOUND ? 0 : code;
}

/* A transaction that changes nothing but has something to write. */
static int write_once_more(MDB_env *env) {
    MDB_txn *txn;
    MDB_dbi meta;
    MDB_val key = magpie_val("format", strlen("format")), value;
    uint32_t format;
    int code = mdb_txn_begin(env, NULL, 0, &txn);
    if (code) return code;
    code = mdb_dbi_open(txn, "meta", 0, &meta);
    if (!code) code = mdb_get(txn, meta, &key, &value);
    if (!code && value.mv_size != sizeof format) code = MDB_CORRUPTED;
    if (!code) {
        memcpy(&format, value.mv_data, sizeof format);
        value = magpie_val(&format, sizeof format);
        code = mdb_put(txn, meta, &key, &value, 0);
    }
    if (code) {
        mdb_txn_abort(txn);
        return code;
    }
    return mdb_txn_commit(txn);
}

static int copy_all(compaction *c) {
    MDB_txn *to;
    MDB_envinfo old, new;
    int code = mdb_txn_begin(c->fresh, NULL, 0, &to);
    if (code) return code;
    if ((code = copy_tables(c, to))) {
        mdb_txn_abort(to);
        return code;
    }
    code = mdb_txn_commit(to);
    mdb_env_info(c->store->environment.lmdb, &old);
    mdb_env_info(c->fresh, &new);
    if (!code && ((old.me_last_txnid ^ new.me_last_txnid) & 1)) code = write_once_more(c->fresh);
    return code;
}

/* Twice what is used, for no order of entries makes worse pages than half full ones. */
static int open_fresh(compaction *c, uint64_t used) {
    int code = mdb_env_create(&c->fresh);
    if (!code) code = mdb_env_set_maxdbs(c->fresh, MAGPIE_TABLES_MAX);
    if (!code) code = mdb_env_set_mapsize(c->fresh, (size_t)used * 2 + (1 << 20));
    return code ? code : mdb_env_open(c->fresh, c->temporary, MDB_NOSUBDIR | MDB_NOLOCK, 0666);
}

/* ---- the new file in place of the old one ---- */

static magpie_status put_in_place(compaction *c) {
    struct stat st;
    if (stat(c->data, &st) == 0 && chmod(c->temporary, st.st_mode & 0777) != 0)
        return magpie_fail_errno(errno, "cannot give %s the rights of %s", c->temporary, c->data);
    if (rename(c->temporary, c->data) != 0) return magpie_fail_errno(errno, "cannot rename %s", c->temporary);
    return magpie_sync_parent(c->data);
}

static uint64_t file_bytes(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

static magpie_status compact(compaction *c) {
    magpie_store_stats stats;
    magpie_status status = magpie_store_get_stats(c->store, &stats);
    if (status == MAGPIE_OK) status = magpie_environment_begin(&c->store->environment, false, &c->from);
    if (status != MAGPIE_OK) return status;
    if (unlink(c->temporary) != 0 && errno != ENOENT)
        status = magpie_fail_errno(errno, "cannot remove %s", c->temporary);
    int code = status == MAGPIE_OK ? open_fresh(c, stats.file_bytes) : 0;
    if (!code && status == MAGPIE_OK) code = copy_all(c);
    if (code) status = failed(c, code);
    if (c->fresh) mdb_env_close(c->fresh);
    magpie_environment_abort(&c->store->environment, c->from);
    if (status == MAGPIE_OK) status = put_in_place(c);
    if (status != MAGPIE_OK) (void)unlink(c->temporary);
    return status;
}

magpie_status magpie_store_compact(const char *directory, uint64_t *before, uint64_t *after) {
    compaction c = {.lock = -1};
    magpie_status status = magpie_store_open(directory, NULL, &c.store);
    if (status != MAGPIE_OK) return status;
    c.data = magpie_path_join(directory, "data.mdb");
    c.temporary = magpie_path_join(directory, "data.mdb.tmp");
    if (!c.data || !c.temporary) status = MAGPIE_E_NO_MEMORY;
    if (status == MAGPIE_OK) status = lock_out_others(&c);
    if (status == MAGPIE_OK && before) *before = file_bytes(c.data);
    if (status == MAGPIE_OK) status = compact(&c);
    if (status == MAGPIE_OK && after) *after = file_bytes(c.data);
    /* Either close ends all locks of this process on the file: not before everything is in its place. */
    magpie_store_close(c.store);
    if (c.lock >= 0) close(c.lock);
    free(c.temporary);
    free(c.data);
    return status;
}
