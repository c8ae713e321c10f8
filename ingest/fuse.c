/* fuse.c - all fused vectors of a store anew, out of the vectors that it has.
 *
 * Each transaction has a snapshot of its own, so that no long one keeps the space of what was replaced from
 * reuse. An item whose vector is another one gets a new row, which is behind all rows of before: so the
 * walk over rows is over when it has come to the sequence at which it began. */
#include "fused.h"

#include <stdlib.h>
#include <string.h>

enum { COMMIT_ITEMS = 1024, BLOCK_ITEMS = 1024 /* fused together: what a GPU wants */ };

/* An item to be fused; its id is in the store. */
typedef struct waiting {
    magpie_string id;
    uint64_t row, hash;
    bool same; /* the hash is the one that is stored */
} waiting;

typedef struct fusing {
    magpie_store *store;
    const magpie_fusion *fusion;
    const magpie_fusion_info *info;
    const magpie_fuse_options *options;
    magpie_fuse_progress progress;
    magpie_snapshot *snapshot;
    magpie_batch *batch;
    waiting *items;         /* [BLOCK_ITEMS], `count` of them there, and what they have */
    const float **features; /* [BLOCK_ITEMS, MAGPIE_MODALITIES] */
    float *vectors;         /* [BLOCK_ITEMS, dimension] */
    bool *any;              /* [BLOCK_ITEMS] */
    size_t count;
    uint64_t last_row, next_row; /* to be looked at; next_row - 1 was */
    size_t most;                 /* items a transaction */
    double started;
} fusing;

/* What an item has of the modalities that there is a head for. */
static magpie_status read_features(const fusing *f, uint64_t row, const float *out[MAGPIE_MODALITIES]) {
    magpie_status status = MAGPIE_OK;
    for (magpie_modality m = 0; m < MAGPIE_MODALITIES && status == MAGPIE_OK; m++) {
        out[m] = NULL;
        if (f->info->kind[m])
            status = magpie_snapshot_vector(f->snapshot, magpie_space_of_modality(m), row, &out[m]);
    }
    return status;
}

/* What waits, into the batch. */
static magpie_status fuse_block(fusing *f) {
    magpie_status status = magpie_fusion_fuse_many(f->fusion, f->features, f->count, f->vectors, f->any);
    for (size_t i = 0; i < f->count && status == MAGPIE_OK; i++) {
        const waiting *w = &f->items[i];
        const bool any = f->any[i];
        f->progress.bare += !any;
        if (!any && w->same) continue;
        f->progress.fused += any;
        status = magpie_batch_put_vector(f->batch, w->id, w->row, MAGPIE_SPACE_FUSED,
                                         any ? f->vectors + i * f->info->dimension : NULL, f->info->dimension,
                                         w->hash);
    }
    f->count = 0;
    return status;
}

/* MAGPIE_E_CANCELLED ends the walk for this time. */
static magpie_status take_item(void *context, const magpie_item *item) {
    fusing *f = context;
    const float *stored;
    if (item->row > f->last_row || magpie_batch_count(f->batch) >= f->most) return MAGPIE_E_CANCELLED;
    f->next_row = item->row + 1;
    uint64_t hash = magpie_fused_hash(f->fusion, item->encoded_hash);
    bool same = item->encoded_hash[MAGPIE_SPACE_FUSED] == hash;
    magpie_status status = magpie_snapshot_vector(f->snapshot, MAGPIE_SPACE_FUSED, item->row, &stored);
    if (status == MAGPIE_OK && same && stored) return f->progress.kept++, MAGPIE_OK;
    if (status == MAGPIE_OK) status = read_features(f, item->row, f->features + f->count * MAGPIE_MODALITIES);
    if (status != MAGPIE_OK) return status;
    f->items[f->count++] = (waiting){item->id, item->row, hash, same};
    bool full = f->count == BLOCK_ITEMS || magpie_batch_count(f->batch) + f->count >= f->most;
    return full ? fuse_block(f) : MAGPIE_OK;
}

static magpie_status report(fusing *f) {
    f->progress.seconds = magpie_seconds() - f->started;
    if (!f->options->progress || f->options->progress(f->options->context, &f->progress)) return MAGPIE_OK;
    return magpie_fail(MAGPIE_E_CANCELLED, "stopped; run it again to fuse the rest");
}

/* One transaction; *more is false where there was nothing left for it. */
static magpie_status fuse_some(fusing *f, bool *more) {
    magpie_batch_clear(f->batch);
    magpie_status status = magpie_batch_expect(f->batch, MAGPIE_SPACE_FUSED, f->info->fingerprint);
    if (status == MAGPIE_OK) status = magpie_snapshot_open(f->store, &f->snapshot);
    if (status != MAGPIE_OK) return status;
    status = magpie_snapshot_each(f->snapshot, f->next_row - 1, take_item, f);
    if (status == MAGPIE_E_CANCELLED) status = MAGPIE_OK;
    if (status == MAGPIE_OK) status = fuse_block(f);
    magpie_snapshot_close(f->snapshot);
    f->snapshot = NULL;
    *more = status == MAGPIE_OK && magpie_batch_count(f->batch) > 0;
    if (*more) status = magpie_store_commit(f->store, f->batch, NULL);
    return status == MAGPIE_OK && *more ? report(f) : status;
}

static magpie_status begin(fusing *f) {
    magpie_store_stats stats;
    magpie_modality_source sources[MAGPIE_MODALITIES];
    magpie_fused_model fused;
    magpie_status status = magpie_store_get_stats(f->store, &stats);
    if (status != MAGPIE_OK) return status;
    magpie_fused_sources(&stats, sources);
    status = magpie_fused_check(f->fusion, sources);
    if (status != MAGPIE_OK) return status;
    magpie_fused_describe(f->fusion, &stats, &fused);
    status = magpie_store_rebind(f->store, MAGPIE_SPACE_FUSED, &fused.model);
    f->items = magpie_alloc(BLOCK_ITEMS, sizeof *f->items);
    f->features = magpie_alloc(BLOCK_ITEMS * MAGPIE_MODALITIES, sizeof *f->features);
    f->vectors = magpie_alloc(BLOCK_ITEMS, f->info->dimension * sizeof *f->vectors);
    f->any = magpie_alloc(BLOCK_ITEMS, sizeof *f->any);
    if (status == MAGPIE_OK && !(f->items && f->features && f->vectors && f->any))
        status = MAGPIE_E_NO_MEMORY;
    if (status == MAGPIE_OK) status = magpie_batch_create(&f->batch);
    if (status == MAGPIE_OK) status = magpie_store_get_stats(f->store, &stats);
    f->last_row = stats.sequence;
    f->progress.items = stats.items;
    return status;
}

magpie_status magpie_ingest_fuse(magpie_store *store, const magpie_fusion *fusion,
                                 const magpie_fuse_options *options, magpie_fuse_progress *report_out) {
    const magpie_fuse_options none = {0};
    fusing f = {.store = store,
                .fusion = fusion,
                .info = magpie_fusion_get_info(fusion),
                .options = options ? options : &none,
                .next_row = 1,
                .started = magpie_seconds()};
    f.most = f.options->commit_items ? f.options->commit_items : COMMIT_ITEMS;
    magpie_status status = begin(&f);
    for (bool more = true; more && status == MAGPIE_OK;) status = fuse_some(&f, &more);
    f.progress.seconds = magpie_seconds() - f.started;
    if (report_out) *report_out = f.progress;
    magpie_batch_free(f.batch);
    free(f.items);
    free(f.features);
    free(f.vectors);
    free(f.any);
    return status;
}
