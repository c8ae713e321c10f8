/* vectors.c - a vector index follows its store: open, catch up, rebuild, save. The locks are explained in
 * vectors.h.
 *
 * CATCHING UP from sequence S to a snapshot: the vectors of rows above S are added, and the rows of
 * tombstones above S are hidden. Tombstones are pruned once the index files on disk are past them; an index
 * that is older than the pruning (another process's, long idle) compares its rows with the live ones
 * instead.
 *
 * ANOTHER MODEL. magpie_store_rebind forgets a space's vectors, which no sequence number tells of; so an
 * index is of one binding: a file of another one is not read, and what is open refuses to follow. */
#include "vectors.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <sys/file.h>
#include <unistd.h>
#include <xxhash.h>

#include "faiss_bridge.h"

enum {
    BUILD_CHUNK_BYTES = 32 << 20, /* of vectors given to FAISS at once when nobody waits */
    /* ... and when searches wait: HNSW takes some 0.3 ms to link one vector. */
    HNSW_CHUNK = 64,
    DEAD_PARTS = 5,   /* rebuilt when one in so many is dead */
    IVF_OUTGROWN = 4, /* rebuilt when it holds so many times what its lists were made for */
    IVF_SAMPLE = 64   /* vectors to train on, a list */
};

/* ---- reading vectors out of the store ---- */

/* Vectors of one space on their way to FAISS. */
typedef struct chunk {
    uint64_t *rows; /* [size] */
    float *vectors; /* [size, dimension] */
    size_t used, size, dimension;
} chunk;

static magpie_status chunk_make(size_t size, size_t dimension, chunk *out) {
    *out = (chunk){magpie_alloc(size, sizeof(uint64_t)), NULL, 0, size, dimension};
    size_t floats;
    if (out->rows && magpie_size_mul(size, dimension, &floats))
        out->vectors = magpie_alloc(floats, sizeof(float));
    return out->vectors ? MAGPIE_OK : MAGPIE_E_NO_MEMORY;
}

static void chunk_free(chunk *c) {
    free(c->rows);
    free(c->vectors);
}

static magpie_status chunk_add(magpie_index *index, chunk *c, const MDB_val *key, const MDB_val *value) {
    memcpy(&c->rows[c->used], key->mv_data, sizeof *c->rows);
    if (value->mv_size != c->dimension * sizeof(float))
        return magpie_fail(MAGPIE_E_CORRUPT, "%s: the %s vector of row %llu has %zu bytes in place of %zu",
                           index->store->environment.directory, magpie_space_name(index->owner.space),
                           (unsigned long long)c->rows[c->used], value->mv_size,
                           c->dimension * sizeof(float));
    memcpy(c->vectors + c->used++ * c->dimension, value->mv_data, value->mv_size);
    return MAGPIE_OK;
}

static magpie_status read_failed(magpie_index *index, int code) {
    if (!code || code == MDB_NOTFOUND) return MAGPIE_OK;
    return magpie_lmdb_fail(code, "cannot read the vectors of %s", index->store->environment.directory);
}

static magpie_status vectors_in_store(magpie_index *index, magpie_snapshot *snapshot, uint64_t *out) {
    return magpie_store_entries(index->store, snapshot->txn, MAGPIE_TABLE_VECTORS + index->owner.space, out);
}

/* ---- catching up ---- */

/* Whether searches may be running on it. */
static bool is_shared(const magpie_index *index, const magpie_generation *g) { return g == index->held; }

static void lock_for_change(magpie_index *index, const magpie_generation *g) {
    if (is_shared(index, g)) pthread_rwlock_wrlock(&index->lock);
}

static void unlock_after_change(magpie_index *index, const magpie_generation *g) {
    if (is_shared(index, g)) pthread_rwlock_unlock(&index->lock);
}

static magpie_status append_chunk(magpie_index *index, magpie_generation *g, chunk *c) {
    if (!c->used) return MAGPIE_OK;
    lock_for_change(index, g);
    magpie_status status = magpie_generation_append(g, c->used, c->rows, c->vectors, index->options.threads);
    unlock_after_change(index, g);
    magpie_environment_trim(&index->store->environment, MAGPIE_MAPPED_MOST);
    c->used = 0;
    return status;
}

/* Adds the vectors of all rows above those that it holds. */
static magpie_status add_rows(magpie_index *index, magpie_snapshot *snapshot, magpie_generation *g,
                              uint64_t *added) {
    size_t size = BUILD_CHUNK_BYTES / (g->dimension * sizeof(float)), before = g->count;
    if (is_shared(index, g) && g->kind == MAGPIE_INDEX_HNSW) size = HNSW_CHUNK;
    /* Rows may be there beyond the sequence where an earlier attempt failed on its way. */
    uint64_t from =
        1 + (g->count && g->rows[g->count - 1] > g->sequence ? g->rows[g->count - 1] : g->sequence);
    MDB_val key = magpie_val(&from, sizeof from), value;
    MDB_cursor *cursor;
    chunk c;
    magpie_status status =
        magpie_snapshot_cursor(snapshot, MAGPIE_TABLE_VECTORS + index->owner.space, &cursor);
    if (status != MAGPIE_OK) return status;
    int code = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    status = read_failed(index, code);
    if (!code && status == MAGPIE_OK) {
        status = chunk_make(size, g->dimension, &c);
        while (!code && status == MAGPIE_OK) {
            status = chunk_add(index, &c, &key, &value);
            if (status == MAGPIE_OK && c.used == c.size) status = append_chunk(index, g, &c);
            if (status == MAGPIE_OK)
                status = read_failed(index, code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT));
        }
        if (status == MAGPIE_OK) status = append_chunk(index, g, &c);
        chunk_free(&c);
    }
    mdb_cursor_close(cursor);
    *added = g->count - before;
    return status;
}

/* Hides the rows of the tombstones above its sequence. With the lock held for change. */
static magpie_status bury_tombstones(magpie_index *index, magpie_snapshot *snapshot, magpie_generation *g,
                                     uint64_t *buried) {
    uint64_t from = g->sequence + 1, row;
    MDB_val key = magpie_val(&from, sizeof from), value;
    MDB_cursor *cursor;
    magpie_status status = magpie_snapshot_cursor(snapshot, MAGPIE_TABLE_TOMBSTONES, &cursor);
    if (status != MAGPIE_OK) return status;
    int code = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    for (; !code; code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
        if (value.mv_size != sizeof row) continue; /* check reports it */
        memcpy(&row, value.mv_data, sizeof row);
        *buried += magpie_generation_bury(g, row);
    }
    mdb_cursor_close(cursor);
    return read_failed(index, code);
}

/* Hides every row that is not live any more, for an index older than the tombstones that are left. */
static magpie_status bury_by_comparison(magpie_snapshot *snapshot, magpie_generation *g, uint64_t *buried) {
    uint64_t *rows;
    size_t n, at = 0;
    magpie_status status = magpie_snapshot_rows(snapshot, &rows, &n);
    if (status != MAGPIE_OK) return status;
    for (size_t i = 0; i < g->count; i++) {
        while (at < n && rows[at] < g->rows[i]) at++;
        if (at == n || rows[at] != g->rows[i]) *buried += magpie_generation_bury(g, g->rows[i]);
    }
    free(rows);
    return MAGPIE_OK;
}

static magpie_status follow(magpie_index *index, magpie_snapshot *snapshot, magpie_generation *g,
                            uint64_t *replayed) {
    uint64_t sequence, pruned, added = 0, buried = 0;
    magpie_status status = magpie_store_number(index->store, snapshot->txn, "sequence", &sequence);
    if (status == MAGPIE_OK) status = magpie_store_number(index->store, snapshot->txn, "pruned", &pruned);
    if (status != MAGPIE_OK || sequence <= g->sequence) return status;
    status = add_rows(index, snapshot, g, &added);
    if (status != MAGPIE_OK) return status;
    lock_for_change(index, g);
    status = pruned > g->sequence ? bury_by_comparison(snapshot, g, &buried)
                                  : bury_tombstones(index, snapshot, g, &buried);
    if (status == MAGPIE_OK) g->sequence = sequence;
    *replayed += added + buried;
    unlock_after_change(index, g);
    return status;
}

/* ---- building ---- */

static magpie_index_kind kind_for(magpie_index_kind asked, size_t vectors) {
    if (asked == MAGPIE_INDEX_AUTO)
        return vectors < MAGPIE_INDEX_FLAT_BELOW ? MAGPIE_INDEX_FLAT : MAGPIE_INDEX_HNSW;
    if (asked == MAGPIE_INDEX_IVF && vectors < MAGPIE_IVF_AT_LEAST) return MAGPIE_INDEX_FLAT;
    return asked;
}

/* Trains IVF's lists on vectors taken at equal distances: the same store gives the same lists. */
static magpie_status train(magpie_index *index, magpie_snapshot *snapshot, magpie_generation *g,
                           size_t vectors) {
    size_t size = IVF_SAMPLE * magpie_ivf_lists(vectors), seen = 0;
    if (size > vectors) size = vectors;
    MDB_cursor *cursor;
    MDB_val key, value;
    chunk c;
    magpie_status status =
        magpie_snapshot_cursor(snapshot, MAGPIE_TABLE_VECTORS + index->owner.space, &cursor);
    if (status != MAGPIE_OK) return status;
    status = chunk_make(size, g->dimension, &c);
    while (status == MAGPIE_OK && c.used < size && !mdb_cursor_get(cursor, &key, &value, MDB_NEXT))
        if (seen++ * size / vectors >= c.used) status = chunk_add(index, &c, &key, &value);
    mdb_cursor_close(cursor);
    if (status == MAGPIE_OK) status = magpie_generation_train(g, c.used, c.vectors, index->options.threads);
    chunk_free(&c);
    return status;
}

static magpie_status build(magpie_index *index, magpie_snapshot *snapshot, magpie_generation **out) {
    uint64_t vectors, replayed = 0;
    *out = NULL;
    magpie_status status = vectors_in_store(index, snapshot, &vectors);
    if (status != MAGPIE_OK) return status;
    const magpie_index_options *o = &index->options;
    status = magpie_generation_make(kind_for(o->kind, vectors), index->owner.dimension, o->m,
                                    o->ef_construction, vectors, out);
    if (status == MAGPIE_OK && (*out)->kind == MAGPIE_INDEX_IVF)
        status = train(index, snapshot, *out, vectors);
    if (status == MAGPIE_OK) {
        magpie_faiss_build_begin((*out)->faiss, vectors);
        status = follow(index, snapshot, *out, &replayed);
        magpie_faiss_build_end((*out)->faiss);
    }
    if (status != MAGPIE_OK) {
        magpie_generation_free(*out);
        *out = NULL;
    }
    return status;
}

/* With `turn` held. */
static magpie_status build_and_swap(magpie_index *index, magpie_snapshot *snapshot) {
    magpie_generation *fresh, *old;
    double start = magpie_seconds();
    magpie_status status = build(index, snapshot, &fresh);
    if (status != MAGPIE_OK) return status;
    pthread_rwlock_wrlock(&index->lock);
    old = index->held;
    index->held = fresh;
    pthread_rwlock_unlock(&index->lock);
    magpie_generation_free(old); /* nobody searches it: a search holds the lock to its end */
    magpie_log(MAGPIE_LOG_INFO, "%s: built of %zu vectors in %.2f s", index->path, fresh->count,
               magpie_seconds() - start);
    return MAGPIE_OK;
}

static bool needs_rebuild(const magpie_index *index) {
    const magpie_generation *g = index->held;
    size_t living = g->count - g->dead;
    if (!magpie_generation_sound(g)) return true;
    if (g->dead && g->dead * DEAD_PARTS >= g->count) return true;
    if (g->kind == MAGPIE_INDEX_FLAT) return kind_for(index->options.kind, living) != MAGPIE_INDEX_FLAT;
    return g->kind == MAGPIE_INDEX_IVF && living > IVF_OUTGROWN * magpie_generation_built_for(g);
}

/* Adding one by one under the lock what is more than is there already is slower than building beside it. */
static magpie_status is_far_behind(magpie_index *index, magpie_snapshot *snapshot, bool *out) {
    uint64_t vectors;
    magpie_status status = vectors_in_store(index, snapshot, &vectors);
    *out = status == MAGPIE_OK && vectors > 2 * (index->held->count - index->held->dead) + HNSW_CHUNK;
    return status;
}

/* Vectors of two models must not meet in one index. */
static magpie_status check_binding(const magpie_index *index, magpie_snapshot *snapshot) {
    magpie_space_binding now;
    magpie_status status = magpie_store_space(index->store, snapshot->txn, index->owner.space, &now);
    if (status != MAGPIE_OK) return status;
    if (magpie_space_same_binding(&now, &index->binding)) return MAGPIE_OK;
    return magpie_fail(
        MAGPIE_E_MISMATCH,
        "the %s space of %s was given to the model %s since its index was opened: open it again",
        magpie_space_name(index->owner.space), index->store->environment.directory, now.model);
}

magpie_status magpie_index_catch_up(magpie_index *index, magpie_snapshot *snapshot) {
    bool far;
    magpie_status status = check_binding(index, snapshot);
    if (status == MAGPIE_OK) status = is_far_behind(index, snapshot, &far);
    if (status != MAGPIE_OK) return status;
    if (!magpie_generation_sound(index->held) || far) return build_and_swap(index, snapshot);
    return follow(index, snapshot, index->held, &index->replayed);
}

magpie_status magpie_index_refresh(magpie_index *index) {
    magpie_snapshot *snapshot;
    pthread_mutex_lock(&index->turn);
    magpie_status status = magpie_snapshot_open(index->store, &snapshot);
    if (status == MAGPIE_OK) {
        status = magpie_index_catch_up(index, snapshot);
        if (status == MAGPIE_OK && needs_rebuild(index)) status = build_and_swap(index, snapshot);
        magpie_snapshot_close(snapshot);
    }
    pthread_mutex_unlock(&index->turn);
    return status;
}

magpie_status magpie_index_rebuild(magpie_index *index) {
    magpie_snapshot *snapshot;
    pthread_mutex_lock(&index->turn);
    magpie_status status = magpie_snapshot_open(index->store, &snapshot);
    if (status == MAGPIE_OK) {
        status = check_binding(index, snapshot);
        if (status == MAGPIE_OK) status = build_and_swap(index, snapshot);
        magpie_snapshot_close(snapshot);
    }
    /* and what was committed while that went on */
    if (status == MAGPIE_OK) status = magpie_snapshot_open(index->store, &snapshot);
    if (status == MAGPIE_OK) {
        status = magpie_index_catch_up(index, snapshot);
        magpie_snapshot_close(snapshot);
    }
    pthread_mutex_unlock(&index->turn);
    return status;
}

/* ---- opening ---- */

static magpie_status find_owner(magpie_index *index, magpie_space space, magpie_snapshot *snapshot) {
    magpie_space_binding *state = &index->binding;
    char words[sizeof state->fingerprint + 32];
    magpie_status status = magpie_store_space(index->store, snapshot->txn, space, state);
    if (status != MAGPIE_OK) return status;
    if (!state->dimension)
        return magpie_fail(MAGPIE_E_NOT_FOUND, "the %s space of %s has no model yet: bind one first",
                           magpie_space_name(space), index->store->environment.directory);
    int size = snprintf(words, sizeof words, "%s", state->fingerprint);
    if (state->since)
        size = snprintf(words, sizeof words, "%s since %llu", state->fingerprint,
                        (unsigned long long)state->since);
    XXH128_hash_t hash = XXH3_128bits(words, (size_t)size);
    index->owner = (magpie_index_owner){
        .space = space, .dimension = state->dimension, .fingerprint = {hash.low64, hash.high64}};
    memcpy(index->owner.identity, index->store->identity, sizeof index->owner.identity);
    return MAGPIE_OK;
}

/* Whether what was loaded is of the kind and the parameters that were asked for. 0 asked for nothing. */
static bool as_asked(const magpie_generation *g, const magpie_index_options *asked) {
    if (asked->kind != MAGPIE_INDEX_AUTO && g->kind != kind_for(asked->kind, g->count - g->dead))
        return false;
    return g->kind != MAGPIE_INDEX_HNSW ||
           ((!asked->m || asked->m == g->m) &&
            (!asked->ef_construction || asked->ef_construction == g->ef_construction));
}

/* Loads the file and catches it up. Any failure but a lack of memory is only a reason to build anew. */
static magpie_status load(magpie_index *index, const magpie_index_options *asked, magpie_snapshot *snapshot) {
    uint64_t sequence, vectors;
    magpie_status status = magpie_index_file_read(index->path, &index->owner, &index->held);
    if (status != MAGPIE_OK) return status;
    status = magpie_store_number(index->store, snapshot->txn, "sequence", &sequence);
    if (status == MAGPIE_OK) status = vectors_in_store(index, snapshot, &vectors);
    if (status == MAGPIE_OK && index->held->sequence > sequence)
        status = magpie_fail(MAGPIE_E_CORRUPT, "%s is newer than its store", index->path);
    if (status == MAGPIE_OK && !as_asked(index->held, asked))
        status = magpie_fail(MAGPIE_E_MISMATCH, "%s is of another kind than asked for", index->path);
    if (status == MAGPIE_OK) status = magpie_index_catch_up(index, snapshot);
    if (status == MAGPIE_OK && index->held->count - index->held->dead != vectors)
        status = magpie_fail(MAGPIE_E_CORRUPT, "%s holds %zu vectors in place of %llu", index->path,
                             index->held->count - index->held->dead, (unsigned long long)vectors);
    if (status != MAGPIE_OK) {
        magpie_generation_free(index->held);
        index->held = NULL;
        index->replayed = 0;
    }
    return status;
}

static magpie_status load_or_build(magpie_index *index, const magpie_index_options *asked,
                                   magpie_snapshot *snapshot) {
    magpie_status status = load(index, asked, snapshot);
    index->loaded = status == MAGPIE_OK;
    if (status == MAGPIE_E_NO_MEMORY) return status;
    if (status != MAGPIE_OK && status != MAGPIE_E_NOT_FOUND)
        magpie_log(MAGPIE_LOG_WARNING, "building the index anew: %s", magpie_error());
    if (status != MAGPIE_OK || needs_rebuild(index)) return build_and_swap(index, snapshot);
    return MAGPIE_OK;
}

static void fill_in_defaults(magpie_index_options *o) {
    if (!o->m) o->m = 32;
    if (!o->ef_construction) o->ef_construction = 200;
    if (!o->ef_search) o->ef_search = 192;
    if (!o->nprobe) o->nprobe = 16;
    if (!o->threads) o->threads = magpie_cpu_count();
}

static magpie_status validate_options(magpie_space space, const magpie_index_options *o) {
    if ((unsigned)space >= MAGPIE_SPACES)
        return magpie_fail(MAGPIE_E_ARGUMENT, "there is no space %d", (int)space);
    if ((unsigned)o->kind > MAGPIE_INDEX_IVF)
        return magpie_fail(MAGPIE_E_ARGUMENT, "there is no index of kind %d", (int)o->kind);
    if (o->m == 1 || o->m > 512)
        return magpie_fail(MAGPIE_E_ARGUMENT, "HNSW with m = %u: 2 to 512 are possible", o->m);
    if (o->ef_construction > 65536 || o->ef_search > 65536 || o->nprobe > 65536 || o->threads > 4096)
        return magpie_fail(MAGPIE_E_ARGUMENT,
                           "efConstruction, efSearch and nprobe go to 65,536, threads to 4,096");
    return MAGPIE_OK;
}

/* A stream of searches must not keep a refresh waiting for ever, as the default of glibc would let it. */
static void init_locks(magpie_index *index) {
    pthread_rwlockattr_t attributes;
    pthread_rwlockattr_init(&attributes);
    pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&index->lock, &attributes);
    pthread_rwlockattr_destroy(&attributes);
    pthread_mutex_init(&index->turn, NULL);
}

magpie_status magpie_index_open(magpie_store *store, magpie_space space, const magpie_index_options *options,
                                magpie_index **out) {
    magpie_index_options asked = options ? *options : (magpie_index_options){0};
    magpie_snapshot *snapshot;
    *out = NULL;
    magpie_status status = validate_options(space, &asked);
    if (status != MAGPIE_OK) return status;
    magpie_index *index = magpie_alloc(1, sizeof *index);
    if (!index) return MAGPIE_E_NO_MEMORY;
    *index = (magpie_index){.store = store, .options = asked};
    fill_in_defaults(&index->options);
    init_locks(index);
    index->path = magpie_store_index_path(store, space);
    status = index->path ? magpie_snapshot_open(store, &snapshot) : MAGPIE_E_NO_MEMORY;
    if (status == MAGPIE_OK) {
        status = find_owner(index, space, snapshot);
        if (status == MAGPIE_OK) status = load_or_build(index, &asked, snapshot);
        magpie_snapshot_close(snapshot);
    }
    if (status != MAGPIE_OK) {
        magpie_index_close(index);
        return status;
    }
    *out = index;
    return MAGPIE_OK;
}

void magpie_index_close(magpie_index *index) {
    if (!index) return;
    magpie_generation_free(index->held);
    pthread_rwlock_destroy(&index->lock);
    pthread_mutex_destroy(&index->turn);
    free(index->path);
    free(index);
}

/* ---- saving ---- */

/* The least sequence of the index files on disk: no tombstone up to it is needed by any of them. A file that
 * cannot be read will be built anew and needs none. */
static magpie_status oldest_file(magpie_index *index, uint64_t *out) {
    *out = UINT64_MAX;
    for (unsigned s = 0; s < MAGPIE_SPACES; s++) {
        magpie_index_header header;
        char *path = magpie_store_index_path(index->store, s);
        if (!path) return MAGPIE_E_NO_MEMORY;
        if (magpie_index_file_header(path, &header) == MAGPIE_OK && header.sequence < *out)
            *out = header.sequence;
        free(path);
    }
    return MAGPIE_OK;
}

/* One writer of index files at a time, over all processes: the lock is on the folder and ends with the
 * process. */
static magpie_status lock_folder(magpie_index *index, int *fd) {
    const char *directory = index->store->environment.directory;
    *fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*fd < 0) return magpie_fail_errno(errno, "cannot open %s", directory);
    int failed;
    do failed = flock(*fd, LOCK_EX);
    while (failed && errno == EINTR);
    if (!failed) return MAGPIE_OK;
    magpie_status status = magpie_fail_errno(errno, "cannot lock %s", directory);
    close(*fd);
    return status;
}

magpie_status magpie_index_save(magpie_index *index) {
    uint64_t oldest;
    int fd;
    magpie_status status = magpie_store_writable(index->store);
    if (status != MAGPIE_OK) return status;
    pthread_mutex_lock(&index->turn);
    status = lock_folder(index, &fd);
    if (status == MAGPIE_OK) {
        status = magpie_index_file_write(index->path, &index->owner, index->held);
        if (status == MAGPIE_OK) status = oldest_file(index, &oldest);
        /* The index is safe by now; tombstones that stay cost a few bytes and are tried again. */
        if (status == MAGPIE_OK && magpie_store_prune(index->store, oldest) != MAGPIE_OK)
            magpie_log(MAGPIE_LOG_WARNING, "tombstones are kept for now: %s", magpie_error());
        close(fd);
    }
    pthread_mutex_unlock(&index->turn);
    return status;
}

const magpie_space_binding *magpie_index_get_binding(const magpie_index *index) { return &index->binding; }

void magpie_index_get_stats(magpie_index *index, magpie_index_stats *out) {
    pthread_rwlock_rdlock(&index->lock);
    const magpie_generation *g = index->held;
    *out = (magpie_index_stats){.kind = g->kind,
                                .vectors = g->count,
                                .dead = g->dead,
                                .sequence = g->sequence,
                                .loaded = index->loaded,
                                .replayed = index->replayed,
                                .bytes = magpie_generation_bytes(g)};
    pthread_rwlock_unlock(&index->lock);
}
