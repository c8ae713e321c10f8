/* environment.c - the map that grows, and transactions that are counted (see environment.h for why). */
#include "environment.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define GIB ((size_t)1 << 30)

enum {
    READERS_MAX = 512,
    LOCK_FILE_BYTES = 36864, /* no less than what LMDB wants for that many readers */
    GROW_PATIENCE_SECONDS = 5,
    /* LMDB leaves the last pages of a file unwritten when the transaction that took them gave them back. */
    UNWRITTEN_PAGES_MAX = 16
};

magpie_status magpie_lmdb_fail(int code, const char *format, ...) {
    char words[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(words, sizeof words, format, arguments);
    va_end(arguments);
    switch (code) {
    case MDB_NOTFOUND: return magpie_fail(MAGPIE_E_NOT_FOUND, "%s: not there", words);
    case MDB_MAP_FULL: return magpie_fail(MAGPIE_E_NO_SPACE, "%s: the map is full", words);
    case EFBIG:
        return magpie_fail(MAGPIE_E_NO_SPACE, "%s: the limit on the size of a file is reached", words);
    /* LMDB says EIO for a write that was cut short, and that is how a full disk often shows. */
    case EIO: return magpie_fail(MAGPIE_E_NO_SPACE, "%s: the disk is full or failing", words);
    case MDB_READERS_FULL:
        return magpie_fail(MAGPIE_E_BUSY, "%d snapshots are open, and that is the limit", READERS_MAX);
    case MDB_PANIC:
        return magpie_fail(MAGPIE_E_IO,
                           "%s: an earlier write failed half-way; close the store and open it again", words);
    case MDB_PAGE_NOTFOUND:
    case MDB_CORRUPTED:
    case MDB_INVALID:
    case MDB_VERSION_MISMATCH:
    case MDB_INCOMPATIBLE: return magpie_fail(MAGPIE_E_CORRUPT, "%s: %s", words, mdb_strerror(code));
    default: break;
    }
    if (code > 0) return magpie_fail_errno(code, "%s", words);
    return magpie_fail(MAGPIE_E_INTERNAL, "%s: %s", words, mdb_strerror(code));
}

/* ---- one environment a folder and process ---- */

/* Two environments on one file in one process would undo each other's locks: POSIX drops a process's locks on
 * a file when it closes any descriptor of it. So what is open is known here. A child made by fork starts with
 * none. */
static pthread_mutex_t open_lock = PTHREAD_MUTEX_INITIALIZER;
static magpie_environment *open_environments;

static magpie_status claim(magpie_environment *environment) {
    magpie_status status = MAGPIE_OK;
    pthread_mutex_lock(&open_lock);
    for (magpie_environment *e = open_environments; e && status == MAGPIE_OK; e = e->next)
        if (e->device == environment->device && e->inode == environment->inode &&
            e->process == environment->process)
            status = magpie_fail(MAGPIE_E_BUSY, "%s is open in this process already: share that magpie_store",
                                 environment->directory);
    if (status == MAGPIE_OK) {
        environment->next = open_environments;
        open_environments = environment;
    }
    pthread_mutex_unlock(&open_lock);
    return status;
}

static void disclaim(magpie_environment *environment) {
    pthread_mutex_lock(&open_lock);
    magpie_environment **link = &open_environments;
    while (*link && *link != environment) link = &(*link)->next;
    if (*link) *link = environment->next;
    pthread_mutex_unlock(&open_lock);
}

/* ---- opening ---- */

static magpie_status find_folder(magpie_environment *environment, bool create) {
    const char *directory = environment->directory;
    struct stat folder;
    if (create && mkdir(directory, 0777) != 0 && errno != EEXIST)
        return magpie_fail_errno(errno, "cannot make the store's folder %s", directory);
    if (stat(directory, &folder) != 0) return magpie_fail_errno(errno, "cannot open the store %s", directory);
    if (!S_ISDIR(folder.st_mode))
        return magpie_fail(MAGPIE_E_CORRUPT, "%s is not a store: it is not a folder", directory);
    environment->device = folder.st_dev;
    environment->inode = folder.st_ino;
    environment->process = getpid();
    return MAGPIE_OK;
}

static magpie_status data_size(const char *directory, bool create, size_t *out) {
    char *path = magpie_path_join(directory, "data.mdb");
    if (!path) return MAGPIE_E_NO_MEMORY;
    struct stat data;
    magpie_status status = MAGPIE_OK;
    *out = 0;
    if (stat(path, &data) == 0)
        *out = (size_t)data.st_size;
    else if (errno != ENOENT)
        status = magpie_fail_errno(errno, "cannot open %s", path);
    else if (!create)
        status = magpie_fail(MAGPIE_E_NOT_FOUND, "there is no store in %s (no data.mdb)", directory);
    free(path);
    return status;
}

/* LMDB writes its lock file through a shared mapping, and a page of it that the disk has no room for kills
 * the process (SIGBUS). So its blocks are taken before. Where that cannot be done (a read-only disk, a file
 * system that does not know how) LMDB must see for itself. */
static magpie_status reserve_lock_file(magpie_environment *environment) {
    char *path = magpie_path_join(environment->directory, "lock.mdb");
    if (!path) return MAGPIE_E_NO_MEMORY;
    magpie_status status = MAGPIE_OK;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd >= 0 && fallocate(fd, 0, 0, LOCK_FILE_BYTES) != 0 && (errno == ENOSPC || errno == EDQUOT))
        status = magpie_fail_errno(errno, "cannot reserve %s", path);
    if (fd >= 0) close(fd);
    free(path);
    return status;
}

static int open_lmdb(magpie_environment *environment, size_t map_bytes) {
    unsigned flags = MDB_NOTLS | (environment->read_only ? MDB_RDONLY : 0);
    int code = mdb_env_create(&environment->lmdb);
    if (!code) code = mdb_env_set_maxdbs(environment->lmdb, MAGPIE_TABLES_MAX);
    if (!code) code = mdb_env_set_maxreaders(environment->lmdb, READERS_MAX);
    if (!code) code = mdb_env_set_mapsize(environment->lmdb, map_bytes);
    if (!code) code = mdb_env_open(environment->lmdb, environment->directory, flags, 0666);
    if (code && environment->lmdb) {
        mdb_env_close(environment->lmdb);
        environment->lmdb = NULL;
    }
    return code;
}

static magpie_status open_largest(magpie_environment *environment, size_t initial_bytes, size_t file_bytes) {
    size_t bytes = initial_bytes ? initial_bytes : 64 * GIB, four_files;
    if (!initial_bytes && magpie_size_mul(file_bytes, 4, &four_files) && four_files > bytes)
        bytes = four_files;
    bytes = (bytes + 0xffff) & ~(size_t)0xffff; /* whole pages, on any machine */
    int code = open_lmdb(environment, bytes);
    /* No room for so many addresses: valgrind says EINVAL where the kernel says ENOMEM. */
    while ((code == ENOMEM || code == EINVAL) && bytes / 2 >= file_bytes && bytes >= GIB / 4)
        code = open_lmdb(environment, bytes /= 2);
    return code ? magpie_lmdb_fail(code, "cannot open the store %s", environment->directory) : MAGPIE_OK;
}

/* A reader opens data.mdb before it waits for a compaction, which puts another file in its place. */
static bool was_replaced(const magpie_environment *environment) {
    char *path = magpie_path_join(environment->directory, "data.mdb");
    struct stat opened, named;
    int fd;
    bool other = path && !mdb_env_get_fd(environment->lmdb, &fd) && fstat(fd, &opened) == 0 &&
                 stat(path, &named) == 0 && (opened.st_ino != named.st_ino || opened.st_dev != named.st_dev);
    free(path);
    return other;
}

static magpie_status open_current(magpie_environment *environment, size_t initial_bytes, size_t file_bytes) {
    magpie_status status;
    while ((status = open_largest(environment, initial_bytes, file_bytes)) == MAGPIE_OK &&
           was_replaced(environment)) {
        mdb_env_close(environment->lmdb);
        environment->lmdb = NULL;
    }
    return status;
}

/* A file shorter than its own count of pages would be read past its end, which kills the process (SIGBUS). */
static magpie_status check_length(magpie_environment *environment) {
    MDB_envinfo info;
    MDB_stat pages;
    struct stat data;
    int fd;
    mdb_env_info(environment->lmdb, &info);
    mdb_env_stat(environment->lmdb, &pages);
    if (mdb_env_get_fd(environment->lmdb, &fd) || fstat(fd, &data) != 0)
        return magpie_fail_errno(errno, "cannot read the size of %s/data.mdb", environment->directory);
    size_t want = (info.me_last_pgno + 1) * (size_t)pages.ms_psize, have = (size_t)data.st_size;
    if (have >= want) return MAGPIE_OK;
    if (want - have > (size_t)UNWRITTEN_PAGES_MAX * pages.ms_psize)
        return magpie_fail(MAGPIE_E_CORRUPT, "%s/data.mdb is cut short: it has %zu bytes and should have %zu",
                           environment->directory, have, want);
    if (!environment->read_only && ftruncate(fd, (off_t)want) != 0)
        return magpie_fail_errno(errno, "cannot extend %s/data.mdb", environment->directory);
    return MAGPIE_OK;
}

magpie_status magpie_environment_open(magpie_environment *environment, const char *directory, bool create,
                                      bool read_only, size_t initial_bytes) {
    *environment = (magpie_environment){.read_only = read_only, .directory = strdup(directory)};
    if (!environment->directory) return magpie_fail(MAGPIE_E_NO_MEMORY, "out of memory");
    size_t file_bytes = 0;
    magpie_status status = find_folder(environment, create && !read_only);
    if (status == MAGPIE_OK) status = data_size(directory, create && !read_only, &file_bytes);
    if (status == MAGPIE_OK) status = claim(environment);
    if (status != MAGPIE_OK) {
        free(environment->directory);
        return status;
    }
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&environment->lock, NULL);
    pthread_cond_init(&environment->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    status = reserve_lock_file(environment);
    if (status == MAGPIE_OK) status = open_current(environment, initial_bytes, file_bytes);
    if (status == MAGPIE_OK) status = check_length(environment);
    int stale; /* snapshots of processes that died: they would keep space from reuse */
    if (status == MAGPIE_OK) (void)mdb_reader_check(environment->lmdb, &stale);
    if (status != MAGPIE_OK) magpie_environment_close(environment);
    return status;
}

void magpie_environment_close(magpie_environment *environment) {
    if (environment->lmdb) mdb_env_close(environment->lmdb);
    disclaim(environment);
    pthread_cond_destroy(&environment->changed);
    pthread_mutex_destroy(&environment->lock);
    free(environment->directory);
}

/* ---- transactions ---- */

static void count_transaction(magpie_environment *environment) {
    pthread_mutex_lock(&environment->lock);
    while (environment->growing) pthread_cond_wait(&environment->changed, &environment->lock);
    environment->transactions++;
    pthread_mutex_unlock(&environment->lock);
}

static void discount_transaction(magpie_environment *environment) {
    pthread_mutex_lock(&environment->lock);
    environment->transactions--;
    pthread_cond_broadcast(&environment->changed);
    pthread_mutex_unlock(&environment->lock);
}

static size_t map_bytes(magpie_environment *environment) {
    MDB_envinfo info;
    mdb_env_info(environment->lmdb, &info);
    return info.me_mapsize;
}

size_t magpie_environment_map_bytes(magpie_environment *environment) {
    pthread_mutex_lock(&environment->lock);
    size_t bytes = map_bytes(environment);
    pthread_mutex_unlock(&environment->lock);
    return bytes;
}

/* Remaps to `bytes`, 0 for what another process has made of it. With the lock held and no transaction open.
 */
static magpie_status remap(magpie_environment *environment, size_t bytes) {
    int code = mdb_env_set_mapsize(environment->lmdb, bytes);
    return code ? magpie_lmdb_fail(code, "cannot grow the map of %s", environment->directory) : MAGPIE_OK;
}

/* Waits, with the lock held, until no transaction of this process is open; false when patience has run out.
 */
static bool wait_until_idle(magpie_environment *environment) {
    struct timespec end;
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += GROW_PATIENCE_SECONDS;
    while (environment->transactions)
        if (pthread_cond_timedwait(&environment->changed, &environment->lock, &end) == ETIMEDOUT)
            return environment->transactions == 0;
    return true;
}

/* Remaps to twice `full_bytes`; with 0, to the size that another process gave it. */
static magpie_status remap_when_idle(magpie_environment *environment, size_t full_bytes) {
    magpie_status status = MAGPIE_OK;
    pthread_mutex_lock(&environment->lock);
    while (environment->growing) pthread_cond_wait(&environment->changed, &environment->lock);
    if (!full_bytes || map_bytes(environment) <= full_bytes) {
        environment->growing = true;
        if (wait_until_idle(environment))
            status = remap(environment, full_bytes * 2);
        else
            status = magpie_fail(
                MAGPIE_E_BUSY,
                "the store's map must grow, but %u snapshots are open in this process: close them and try "
                "again",
                environment->transactions);
        environment->growing = false;
        pthread_cond_broadcast(&environment->changed);
    }
    pthread_mutex_unlock(&environment->lock);
    return status;
}

magpie_status magpie_environment_grow(magpie_environment *environment, size_t full_bytes) {
    return remap_when_idle(environment, full_bytes);
}

void magpie_environment_grow_ahead(magpie_environment *environment) {
    MDB_envinfo info;
    MDB_stat pages;
    pthread_mutex_lock(&environment->lock);
    if (!environment->transactions && !environment->growing) {
        mdb_env_info(environment->lmdb, &info);
        mdb_env_stat(environment->lmdb, &pages);
        /* A failure only means that the map stays as it is until growth is needed. */
        if ((info.me_last_pgno + 1) * (size_t)pages.ms_psize > info.me_mapsize / 2)
            (void)remap(environment, info.me_mapsize * 2);
    }
    pthread_mutex_unlock(&environment->lock);
}

/* Of all mapped files, that count as this process's; 0: not known. */
static size_t mapped_bytes(void) {
    size_t size, resident, shared;
    FILE *file = fopen("/proc/self/statm", "re");
    const int got = file ? fscanf(file, "%zu %zu %zu", &size, &resident, &shared) : 0;
    if (file) fclose(file);
    return got == 3 ? shared * (size_t)sysconf(_SC_PAGESIZE) : 0;
}

/* LMDB tells nobody where its map is; the kernel does. */
static bool find_map(const magpie_environment *environment, uintptr_t *first, uintptr_t *past) {
    char line[512];
    struct stat data;
    uintmax_t inode;
    int fd;
    bool found = false;
    FILE *file = fopen("/proc/self/maps", "re");
    if (file && !mdb_env_get_fd(environment->lmdb, &fd) && fstat(fd, &data) == 0)
        while (!found && fgets(line, sizeof line, file))
            found =
                sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %*s %*s %*s %" SCNuMAX, first, past, &inode) == 3 &&
                inode == data.st_ino && strstr(line, "data.mdb");
    if (file) fclose(file);
    return found;
}

void magpie_environment_trim(magpie_environment *environment, size_t most) {
    uintptr_t first, past;
    pthread_mutex_lock(&environment->lock);
    const size_t now = mapped_bytes();
    if (now < environment->mapped) environment->mapped = now;
    if (now > environment->mapped + most && find_map(environment, &first, &past)) {
        (void)madvise((void *)first, past - first, MADV_DONTNEED);
        environment->mapped = mapped_bytes();
    }
    pthread_mutex_unlock(&environment->lock);
}

magpie_status magpie_environment_begin(magpie_environment *environment, bool write, MDB_txn **out) {
    bool swept = false;
    for (;;) {
        count_transaction(environment);
        int code = mdb_txn_begin(environment->lmdb, NULL, write ? 0 : MDB_RDONLY, out), stale;
        if (!code) return MAGPIE_OK;
        discount_transaction(environment);
        if (code == MDB_MAP_RESIZED) {
            magpie_status status = remap_when_idle(environment, 0);
            if (status != MAGPIE_OK) return status;
        } else if (code == MDB_READERS_FULL && !swept) {
            swept = true;
            (void)mdb_reader_check(environment->lmdb, &stale);
        } else {
            return magpie_lmdb_fail(code, "cannot begin a transaction in %s", environment->directory);
        }
    }
}

magpie_status magpie_environment_copy(magpie_environment *environment, int fd) {
    for (;;) {
        count_transaction(environment); /* LMDB's own */
        int code = mdb_env_copyfd2(environment->lmdb, fd, MDB_CP_COMPACT);
        discount_transaction(environment);
        if (!code) return MAGPIE_OK;
        if (code != MDB_MAP_RESIZED) return magpie_lmdb_fail(code, "cannot copy %s", environment->directory);
        magpie_status status = remap_when_idle(environment, 0);
        if (status != MAGPIE_OK) return status;
    }
}

void magpie_environment_abort(magpie_environment *environment, MDB_txn *txn) {
    mdb_txn_abort(txn);
    discount_transaction(environment);
}

int magpie_environment_commit(magpie_environment *environment, MDB_txn *txn) {
    int code = mdb_txn_commit(txn);
    discount_transaction(environment);
    return code;
}
