/* environment.h - the LMDB environment of a store: its map, its transactions, its errors in words. Private to
 * index/.
 *
 * THE MAP. LMDB maps the whole file and cannot remap it while a transaction of the same process is open; yet
 * a store grows, snapshots may be long, and a thread may commit while it holds a snapshot of its own. So the
 * map is reserved large: 64 GiB, or four times the file where that is more. It is address space alone,
 * neither memory nor disk (the file is as long as what was written), and where the process may not have that
 * much (RLIMIT_AS), it is halved until it fits. Growth beyond it is the exception, in two steps. Ahead: a
 * commit that finds the map half full, and no transaction open, doubles it at once. In need: a commit that
 * runs out of map aborts, waits until the transactions of this process have ended, doubles the map, and
 * replays its batch. The wait ends after GROW_PATIENCE_SECONDS with MAGPIE_E_BUSY, so a thread that holds a
 * snapshot and needs growth gets an answer and not a deadlock.
 *
 * MEMORY. What was read of the map stays mapped: after a job that has touched all of a large store, all of it counts as
 * the process's, though the kernel may take it back. So a commit, and an index that is built, let go of the map where
 * more of it than MAGPIE_MAPPED_MOST has come in; it comes back, page by page, out of the kernel's cache. */
#ifndef MAGPIE_ENVIRONMENT_H
#define MAGPIE_ENVIRONMENT_H

#include <lmdb.h>
#include <pthread.h>
#include <sys/types.h>

#include "core.h"

enum { MAGPIE_TABLES_MAX = 32, MAGPIE_MAPPED_MOST = 256 << 20 /* bytes */ };

typedef struct magpie_environment {
    MDB_env *lmdb;
    char *directory;
    bool read_only;
    pthread_mutex_t lock;   /* guards the three below */
    pthread_cond_t changed; /* transactions or growing did */
    unsigned transactions;  /* open in this process, of any thread */
    bool growing;           /* someone waits to remap: new transactions wait too */
    size_t mapped;          /* bytes of mapped files, of any, that the last trim left */
    dev_t device;           /* with inode and process: which folder this is, see environment.c */
    ino_t inode;
    pid_t process;
    struct magpie_environment *next;
} magpie_environment;

MAGPIE_CHECK_RESULT magpie_status magpie_environment_open(magpie_environment *environment,
                                                          const char *directory, bool create, bool read_only,
                                                          size_t initial_bytes);
void magpie_environment_close(magpie_environment *environment);

/* Every transaction begins and ends here, so that the map knows when it may move. */
MAGPIE_CHECK_RESULT magpie_status magpie_environment_begin(magpie_environment *environment, bool write,
                                                           MDB_txn **out);
void magpie_environment_abort(magpie_environment *environment, MDB_txn *txn);
MAGPIE_CHECK_RESULT int magpie_environment_commit(magpie_environment *environment,
                                                  MDB_txn *txn); /* LMDB's code */

/* All that is committed, as of one moment, into a file at its beginning; others may write meanwhile. */
MAGPIE_CHECK_RESULT magpie_status magpie_environment_copy(magpie_environment *environment, int fd);

size_t magpie_environment_map_bytes(magpie_environment *environment);
/* Doubles the map after MDB_MAP_FULL, unless someone else has since it had `full_bytes`. */
MAGPIE_CHECK_RESULT magpie_status magpie_environment_grow(magpie_environment *environment, size_t full_bytes);
/* Doubles the map where it is half full and that costs nobody a wait. */
void magpie_environment_grow_ahead(magpie_environment *environment);
/* Lets go of the map where more than `most` bytes have come into memory since the last time. Takes some microseconds
 * where there is nothing to do; snapshots may be open. */
void magpie_environment_trim(magpie_environment *environment, size_t most);

/* "<words>: <what LMDB or the system said>", with the status that fits LMDB's return code. */
magpie_status magpie_lmdb_fail(int code, const char *format, ...) MAGPIE_PRINTF(2, 3);

#endif
