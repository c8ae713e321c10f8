/* likes.c - see likes.h. */
#include "likes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const size_t in_memory_most = (size_t)64 << 20;

/* ---- room ---------------------------------------------------------------------------------------------- */

/* The blocks of the file are claimed now: a disk that fills up later would end the process, by SIGBUS. */
static magpie_status map_file(const char *directory, size_t bytes, void **out) {
    char *path = magpie_path_join(directory, "likes-XXXXXX");
    if (!path) return MAGPIE_E_NO_MEMORY;
    const int file = mkostemp(path, O_CLOEXEC);
    int error = file < 0 ? errno : 0;
    if (file >= 0) {
        unlink(path);
        error = posix_fallocate(file, 0, (off_t)bytes);
        *out = error ? MAP_FAILED : mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        if (!error && *out == MAP_FAILED) error = errno;
        close(file);
    }
    magpie_status status =
        error ? magpie_fail_errno(error, "cannot make room for the likes in %s", directory) : MAGPIE_OK;
    free(path);
    return status;
}

static magpie_status map_memory(size_t bytes, void **out) {
    *out = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return *out == MAP_FAILED ? magpie_fail_errno(errno, "no memory for the likes") : MAGPIE_OK;
}

/* ---- reading ------------------------------------------------------------------------------------------- */

typedef struct like {
    int64_t time;
    uint32_t item;
    float weight;
} like;

typedef struct reading {
    likes *out;
    uint64_t *begin; /* the same arrays as out->all's, to be written */
    uint32_t *item;
    float *weight;
    int64_t *time;
    like *own; /* the user's */
    size_t capacity, next_user;
    uint64_t n;
    bool timed;
} reading;

static int compare_likes(const void *a, const void *b) {
    const like *x = a, *y = b;
    if (x->time != y->time) return x->time < y->time ? -1 : 1;
    return (x->item > y->item) - (x->item < y->item);
}

/* In order of item they come; returns how many items there are. */
static size_t merge_kinds(const magpie_interaction *interactions, size_t count, like *own) {
    size_t n = 0;
    for (size_t i = 0; i < count;) {
        own[n] = (like){interactions[i].time, interactions[i].item, interactions[i].weight};
        while (++i < count && interactions[i].item == own[n].item) {
            own[n].weight += interactions[i].weight;
            if (interactions[i].time > own[n].time) own[n].time = interactions[i].time;
        }
        n += own[n].weight > 0;
    }
    return n;
}

static magpie_status take_user(void *context, const magpie_interaction *interactions, size_t count) {
    reading *r = context;
    magpie_status status = magpie_grow((void **)&r->own, &r->capacity, count, sizeof *r->own);
    if (status != MAGPIE_OK) return status;
    const size_t n = merge_kinds(interactions, count, r->own);
    qsort(r->own, n, sizeof *r->own, compare_likes);
    while (r->next_user <= interactions->user) r->begin[r->next_user++] = r->n;
    for (size_t i = 0; i < n; i++, r->n++) {
        r->item[r->n] = r->own[i].item;
        r->weight[r->n] = r->own[i].weight;
        r->time[r->n] = r->own[i].time;
        if (r->own[i].time) r->timed = true;
    }
    return MAGPIE_OK;
}

static magpie_status make_room(reading *r, const char *directory, const magpie_interaction_counts *counts) {
    likes *out = r->out;
    const size_t n = counts->interactions, each = sizeof *r->item + sizeof *r->weight + sizeof *r->time;
    size_t bytes;
    if (!magpie_size_mul(n, each, &bytes) ||
        !magpie_size_add(bytes, (counts->users + (size_t)1) * sizeof *r->begin, &bytes))
        return magpie_fail(MAGPIE_E_TOO_LARGE, "%zu interactions are too many", n);
    void *mapping;
    magpie_status status =
        bytes > in_memory_most ? map_file(directory, bytes, &mapping) : map_memory(bytes, &mapping);
    if (status != MAGPIE_OK) return status;
    out->mapping = mapping;
    out->bytes = bytes;
    r->begin = mapping; /* widest first, so that all are aligned */
    r->time = (int64_t *)(r->begin + counts->users + 1);
    r->item = (uint32_t *)(r->time + n);
    r->weight = (float *)(r->item + n);
    return MAGPIE_OK;
}

static magpie_status read_likes(likes *out, const char *directory, const magpie_interaction_counts *counts) {
    reading r = {.out = out};
    magpie_status status = make_room(&r, directory, counts);
    if (status == MAGPIE_OK)
        status = magpie_snapshot_each_user(out->snapshot, 0, counts->users, take_user, &r);
    while (status == MAGPIE_OK && r.next_user <= counts->users) r.begin[r.next_user++] = r.n;
    out->all =
        (magpie_likes){counts->users, counts->items, r.begin, r.item, r.weight, r.timed ? r.time : NULL};
    free(r.own);
    return status;
}

/* ---- of one user --------------------------------------------------------------------------------------- */

static magpie_status take_history(void *context, const magpie_interaction *interactions, size_t count) {
    likes_history *out = context;
    like *own = magpie_alloc(count, sizeof *own);
    out->liked = magpie_alloc(count, sizeof *out->liked);
    out->seen = magpie_alloc(count, sizeof *out->seen);
    const bool fine = own && out->liked && out->seen;
    if (fine) {
        out->liked_n = merge_kinds(interactions, count, own);
        qsort(own, out->liked_n, sizeof *own, compare_likes);
    }
    for (size_t i = 0; i < out->liked_n; i++) out->liked[i] = own[i].item;
    for (size_t i = 0; i < count && fine; i++)
        if (!i || interactions[i].item != interactions[i - 1].item)
            out->seen[out->seen_n++] = interactions[i].item;
    free(own);
    return fine ? MAGPIE_OK : MAGPIE_E_NO_MEMORY;
}

magpie_status likes_read_history(magpie_snapshot *snapshot, uint32_t user, likes_history *out) {
    *out = (likes_history){0};
    return magpie_snapshot_each_user(snapshot, user, user + 1, take_history, out);
}

/* ---- content ------------------------------------------------------------------------------------------- */

static magpie_status find_vector(magpie_snapshot *snapshot, uint32_t number, const float **out) {
    magpie_string id;
    magpie_item item;
    magpie_status status = magpie_snapshot_item_id(snapshot, number, &id);
    if (status == MAGPIE_OK) status = magpie_snapshot_get(snapshot, id, &item);
    if (status == MAGPIE_E_NOT_FOUND) return MAGPIE_OK;
    return status == MAGPIE_OK ? magpie_snapshot_vector(snapshot, MAGPIE_SPACE_FUSED, item.row, out) : status;
}

static magpie_status find_content(likes *out) {
    magpie_status status = magpie_snapshot_get_binding(out->snapshot, MAGPIE_SPACE_FUSED, &out->fused);
    if (status != MAGPIE_OK || !out->fused.dimension) return status;
    const float **rows = magpie_alloc(out->all.items, sizeof *rows);
    if (!rows) return MAGPIE_E_NO_MEMORY;
    out->content =
        (magpie_ranker_content){out->all.items, out->fused.dimension, rows, out->fused.fingerprint};
    for (size_t i = 0; i < out->all.items && status == MAGPIE_OK; i++)
        status = find_vector(out->snapshot, (uint32_t)i, &rows[i]);
    return status;
}

/* ---- all of it ----------------------------------------------------------------------------------------- */

magpie_status likes_open(magpie_store *store, const char *directory, likes *out) {
    magpie_interaction_counts counts;
    *out = (likes){0};
    magpie_status status = magpie_snapshot_open(store, &out->snapshot);
    if (status == MAGPIE_OK) status = magpie_snapshot_interaction_counts(out->snapshot, &counts);
    if (status == MAGPIE_OK && !counts.interactions)
        return magpie_fail(MAGPIE_E_NOT_FOUND,
                           "%s has no interactions: magpie interactions import brings them in", directory);
    if (status == MAGPIE_OK) status = read_likes(out, directory, &counts);
    return status == MAGPIE_OK ? find_content(out) : status;
}

void likes_close(likes *l) {
    free((void *)l->content.rows);
    if (l->mapping) munmap(l->mapping, l->bytes);
    magpie_snapshot_close(l->snapshot);
    *l = (likes){0};
}

magpie_ranker_user likes_user(const magpie_likes *likes, uint32_t number) {
    if (number >= likes->users) return (magpie_ranker_user){.number = MAGPIE_RANKER_NOBODY};
    const uint64_t begin = likes->begin[number];
    return (magpie_ranker_user){number, likes->item + begin, likes->begin[number + 1] - begin};
}
