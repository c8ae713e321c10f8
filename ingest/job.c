/* job.c - the loop of an ingest: read a line, ask the store whether it is new, and once enough is new, encode
 * and commit.
 *
 * WHAT A KILL LEAVES. Items, vectors and checkpoint are one transaction, so at any moment the store holds
 * whole batches and a checkpoint that speaks of exactly these. The rejects file is synced before that
 * transaction: lines that it speaks of and the checkpoint does not are cut off and written again. An item is
 * acknowledged after its transaction.
 *
 * SAME ID TWICE. The first line of an id counts, a later one with other content is rejected. (Would the last
 * count, each run over the same catalogue would put the first version back, then the last, and encode both.)
 * A run that goes on from a checkpoint must judge alike without having read what is before it: only where a
 * line contradicts what the store has under its id is there a doubt, and only then is that part of the
 * catalogue read after all, once.
 *
 * Encoding and committing take turns. A commit of 256 items takes some milliseconds, their encoding some
 * hundred: a second thread would win a few percent and cost the simplicity of the above. */
#include "checkpoint.h"
#include "id_set.h"
#include "ingest.h"
#include "pending.h"
#include "rejects.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

enum {
    COMMIT_ITEMS = 256,
    COMMIT_BYTES = 16 << 20 /* of lines: what a job keeps in memory does not depend on how long they are */
};

static const double PROGRESS_SECONDS = 0.1;

typedef struct job {
    magpie_store *store;
    magpie_text_encoder *encoder;
    const magpie_ingest_options *options;
    magpie_ingest_progress progress;
    magpie_catalogue_identity identity;
    magpie_checkpoint checkpoint; /* of the last line that was read */
    bool checkpoint_stored;       /* the store has one under this job's name */
    magpie_id_set seen;           /* ids of lines that parsed: read by this run, or by read_prefix */
    bool prefix_seen;
    magpie_snapshot *snapshot; /* of the last commit */
    magpie_pending pending;
    magpie_batch *batch;
    magpie_rejects rejects;
    double started, reported;
} job;

/* ---- what the caller hears ----------------------------------------------------------------------------- */

static magpie_status report(job *j, bool now) {
    double seconds = magpie_seconds();
    j->progress.seconds = seconds - j->started;
    if (!j->options->progress || (!now && seconds - j->reported < PROGRESS_SECONDS)) return MAGPIE_OK;
    j->reported = seconds;
    if (j->options->progress(j->options->context, &j->progress)) return MAGPIE_OK;
    return magpie_fail(MAGPIE_E_CANCELLED,
                       "stopped; what is committed stays, and the next run goes on from there");
}

static magpie_status reject(job *j, size_t number, magpie_string id, magpie_string start) {
    j->progress.rejected = (size_t)++j->checkpoint.rejected;
    if (id.size > MAGPIE_ID_MAX) id.size = 0; /* no id at all, and the line's start shows it */
    return magpie_rejects_add(&j->rejects, number, magpie_error(), id, start);
}

static magpie_status refused(void *context, magpie_pending_item *item) {
    item->refused = true;
    return reject(context, item->number, item->line.item.id, (magpie_string){item->start, item->start_size});
}

static magpie_status encoded_block(void *context) { return report(context, false); }

/* ---- a commit ------------------------------------------------------------------------------------------ */

static magpie_status renew_snapshot(job *j) {
    magpie_snapshot_close(j->snapshot);
    j->snapshot = NULL;
    return magpie_snapshot_open(j->store, &j->snapshot);
}

/* One transaction of all that is pending. */
static magpie_status commit_pending(job *j, bool last) {
    const magpie_pending_hooks hooks = {refused, encoded_block, j};
    double start = magpie_seconds();
    magpie_status status = magpie_pending_encode(&j->pending, j->encoder, &hooks);
    double encoded = magpie_seconds();
    j->progress.encode_seconds += encoded - start;
    magpie_batch_clear(j->batch);
    if (status == MAGPIE_OK) status = magpie_pending_put(&j->pending, j->batch, &hooks);
    if (status == MAGPIE_OK) status = magpie_rejects_sync(&j->rejects);
    j->checkpoint.rejects_bytes = j->rejects.size;
    if (status == MAGPIE_OK)
        status = magpie_checkpoint_put(j->batch, &j->identity, last ? NULL : &j->checkpoint);
    if (status == MAGPIE_OK) status = magpie_store_commit(j->store, j->batch, NULL);
    j->progress.commit_seconds += magpie_seconds() - encoded;
    return status;
}

static void acknowledge_pending(job *j) {
    for (size_t i = 0; i < j->pending.count; i++) {
        const magpie_pending_item *item = &j->pending.items[i];
        if (item->refused) continue;
        j->progress.committed++;
        j->progress.encoded += item->encoded;
        j->progress.updated += !item->encoded;
        if (j->options->acknowledge) j->options->acknowledge(j->options->context, item->line.item.id);
    }
}

static magpie_status flush(job *j, bool last) {
    if (!j->pending.count && !(last && j->checkpoint_stored)) return MAGPIE_OK;
    magpie_status status = commit_pending(j, last);
    if (status == MAGPIE_E_NOT_FOUND) {
        /* someone deleted an item whose vectors were to be kept: now it has none */
        for (size_t i = 0; i < j->pending.count; i++) j->pending.items[i].keeps_vectors = false;
        status = commit_pending(j, last);
    }
    if (status != MAGPIE_OK) return status;
    j->checkpoint_stored = !last && j->identity.path;
    acknowledge_pending(j);
    magpie_pending_clear(&j->pending);
    status = renew_snapshot(j);
    return status == MAGPIE_OK ? report(j, true) : status;
}

/* ---- a line -------------------------------------------------------------------------------------------- */

static bool equal_hashes(const uint64_t a[2], const uint64_t b[2]) { return a[0] == b[0] && a[1] == b[1]; }

/* Another prefix gives other vectors, so it takes part in what is compared. */
static void add_salt(const job *j, magpie_item *item) {
    item->content_hash[0] ^= j->identity.salt;
    item->encoded_hash[0] ^= j->identity.salt;
}

static bool is_blank(const magpie_line *line) { return strspn(line->data, " \t\r") == line->size; }

/* Puts the ids of the lines before the checkpoint into the set of those seen. */
static magpie_status read_prefix(job *j) {
    magpie_lines *lines;
    magpie_line line;
    bool got = true, was_there;
    magpie_status status = magpie_lines_open(j->identity.path, MAGPIE_LINE_MAX, 0, 0, &lines);
    if (status != MAGPIE_OK) return status;
    while (status == MAGPIE_OK && (status = magpie_lines_next(lines, &line, &got)) == MAGPIE_OK && got &&
           line.number <= j->progress.resumed_at) {
        magpie_catalogue_line parsed;
        if (line.too_long) continue;
        if (magpie_catalogue_parse(line.data, line.size, &parsed) == MAGPIE_OK)
            status = magpie_id_set_add(&j->seen, parsed.item.id, &was_there);
        magpie_catalogue_line_free(&parsed);
        if (status == MAGPIE_OK) status = report(j, false);
    }
    magpie_lines_close(lines);
    j->prefix_seen = status == MAGPIE_OK;
    return status;
}

typedef enum verdict { UNCHANGED, REPEATED, NEW, SAME_VECTORS } verdict;

/* What a line is to the items that the store has and those that are pending. */
static magpie_status judge(job *j, const magpie_item *item, verdict *out) {
    magpie_item stored;
    bool repeated;
    magpie_status status = magpie_snapshot_get(j->snapshot, item->id, &stored);
    bool found = status == MAGPIE_OK, same = found && equal_hashes(stored.content_hash, item->content_hash);
    if (!found && status != MAGPIE_E_NOT_FOUND) return status;
    status = found && !same && !j->prefix_seen ? read_prefix(j) : MAGPIE_OK;
    if (status == MAGPIE_OK) status = magpie_id_set_add(&j->seen, item->id, &repeated);
    if (status != MAGPIE_OK) return status;
    const magpie_pending_item *before = repeated ? magpie_pending_find(&j->pending, item->id) : NULL;
    if (before)
        *out = equal_hashes(before->line.item.content_hash, item->content_hash) ? UNCHANGED : REPEATED;
    else if (!found)
        *out = NEW;
    else if (same)
        *out = UNCHANGED;
    else if (repeated)
        *out = REPEATED;
    else
        *out = equal_hashes(stored.encoded_hash, item->encoded_hash) ? SAME_VECTORS : NEW;
    return MAGPIE_OK;
}

static magpie_status take_item(job *j, const magpie_line *line, magpie_catalogue_line *parsed) {
    verdict what;
    magpie_status status = judge(j, &parsed->item, &what);
    if (status != MAGPIE_OK) return status;
    switch (what) {
    case UNCHANGED: j->progress.unchanged++; return MAGPIE_OK;
    case REPEATED:
        (void)magpie_fail(MAGPIE_E_INPUT, "an earlier line has this id, with other content");
        return reject(j, line->number, parsed->item.id, magpie_reject_start(line));
    case NEW:
    case SAME_VECTORS: break;
    }
    return magpie_pending_add(&j->pending, parsed, line, what == SAME_VECTORS);
}

static magpie_status take_line(job *j, const magpie_line *line) {
    magpie_catalogue_line parsed = {0};
    magpie_status status;
    if (line->too_long)
        status = magpie_fail(MAGPIE_E_TOO_LARGE, "the line has %zu bytes; the limit is %d", line->size,
                             MAGPIE_LINE_MAX);
    else if (is_blank(line))
        return MAGPIE_OK;
    else
        status = magpie_catalogue_parse(line->data, line->size, &parsed);
    if (status == MAGPIE_OK) {
        add_salt(j, &parsed.item);
        status = take_item(j, line, &parsed);
    } else if (status == MAGPIE_E_INPUT || status == MAGPIE_E_TOO_LARGE) {
        status = reject(j, line->number, parsed.item.id, magpie_reject_start(line));
    }
    magpie_catalogue_line_free(&parsed);
    return status;
}

/* ---- the job ------------------------------------------------------------------------------------------- */

static magpie_status bind_spaces(magpie_store *store, const magpie_text_encoder_info *info) {
    const magpie_space_model model = {info->name, info->fingerprint, info->dimension};
    magpie_status status = magpie_store_bind(store, MAGPIE_SPACE_TEXT, &model);
    return status == MAGPIE_OK ? magpie_store_bind(store, MAGPIE_SPACE_FUSED, &model) : status;
}

/* To write the rejects over the catalogue would be the end of it. */
static magpie_status check_rejects_path(const job *j) {
    struct stat st;
    if (!j->identity.path || !j->options->rejects || stat(j->options->rejects, &st) != 0) return MAGPIE_OK;
    if ((uint64_t)st.st_dev != j->identity.device || (uint64_t)st.st_ino != j->identity.inode)
        return MAGPIE_OK;
    return magpie_fail(MAGPIE_E_ARGUMENT, "the rejects file %s is the catalogue itself", j->options->rejects);
}

static magpie_status begin(job *j) {
    const magpie_text_encoder_info *info = magpie_text_encoder_get_info(j->encoder);
    uint64_t salt =
        *info->passage_prefix ? XXH3_64bits(info->passage_prefix, strlen(info->passage_prefix)) : 0;
    magpie_status status = magpie_catalogue_identify(j->options->catalogue, salt, &j->identity);
    if (status == MAGPIE_OK) status = check_rejects_path(j);
    if (status == MAGPIE_OK) status = bind_spaces(j->store, info);
    if (status == MAGPIE_OK) status = magpie_batch_create(&j->batch);
    if (status == MAGPIE_OK) status = renew_snapshot(j);
    if (status == MAGPIE_OK)
        status = magpie_checkpoint_load(j->snapshot, &j->identity, &j->checkpoint, &j->checkpoint_stored);
    if (status == MAGPIE_OK)
        status = magpie_rejects_begin(&j->rejects, j->options->rejects, j->checkpoint.rejects_bytes);
    j->progress.resumed_at = (size_t)j->checkpoint.lines;
    j->progress.rejected = (size_t)j->checkpoint.rejected;
    j->prefix_seen = j->checkpoint.lines == 0;
    return status;
}

static magpie_status read_catalogue(job *j) {
    magpie_lines *lines;
    magpie_line line;
    bool got;
    size_t most = j->options->commit_items ? j->options->commit_items : COMMIT_ITEMS;
    magpie_status status = magpie_lines_open(j->options->catalogue, MAGPIE_LINE_MAX, j->checkpoint.offset,
                                             (size_t)j->checkpoint.lines, &lines);
    if (status != MAGPIE_OK) return status;
    j->progress.total_bytes = magpie_lines_total_bytes(lines);
    while ((status = magpie_lines_next(lines, &line, &got)) == MAGPIE_OK && got) {
        j->progress.lines++;
        j->progress.bytes = line.end_offset;
        status = take_line(j, &line);
        j->checkpoint.offset = line.end_offset;
        j->checkpoint.lines = line.number;
        if (status == MAGPIE_OK && (j->pending.count >= most || j->pending.bytes >= COMMIT_BYTES))
            status = flush(j, false);
        if (status == MAGPIE_OK) status = report(j, false);
        if (status != MAGPIE_OK) break;
    }
    magpie_lines_close(lines);
    if (status == MAGPIE_OK) status = flush(j, true);
    return status == MAGPIE_OK ? magpie_rejects_sync(&j->rejects) : status;
}

static void end(job *j) {
    magpie_rejects_close(&j->rejects);
    magpie_snapshot_close(j->snapshot);
    magpie_batch_free(j->batch);
    magpie_pending_free(&j->pending);
    magpie_id_set_free(&j->seen);
    magpie_catalogue_identity_free(&j->identity);
}

magpie_status magpie_ingest_run(magpie_store *store, magpie_text_encoder *encoder,
                                const magpie_ingest_options *options, magpie_ingest_progress *report_out) {
    job j = {.store = store, .encoder = encoder, .options = options, .started = magpie_seconds()};
    magpie_status status = begin(&j);
    if (status == MAGPIE_OK) status = read_catalogue(&j);
    j.progress.seconds = magpie_seconds() - j.started;
    if (report_out) *report_out = j.progress;
    end(&j);
    return status;
}
