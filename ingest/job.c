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
#include "fused.h"
#include "id_set.h"
#include "ingest.h"
#include "media.h"
#include "pending.h"
#include "rejects.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum {
    COMMIT_ITEMS = 256,
    COMMIT_BYTES = 16 << 20 /* of lines: what a job keeps in memory does not depend on how long they are */
};

typedef struct job {
    magpie_store *store;
    magpie_text_encoder *text_encoder; /* NULL: none is given */
    uint64_t text_salt;                /* another prefix gives other vectors */
    magpie_medium media[MAGPIE_MEDIA];
    size_t files_encoded[MAGPIE_MEDIA];
    const magpie_fusion *fusion; /* NULL: nothing fills the fused space */
    magpie_fusion *own_fusion;   /* where the caller gave none */
    magpie_store_stats bound;    /* the spaces' models, from the start of the job on */
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

/* What is counted elsewhere. */
static void complete_progress(job *j) {
    magpie_ingest_progress *p = &j->progress;
    p->seconds = magpie_seconds() - j->started;
    p->rejected = (size_t)j->checkpoint.rejected;
    p->pictures_encoded = j->files_encoded[MAGPIE_MEDIUM_IMAGE];
    p->pictures_refused = (size_t)j->checkpoint.refused[MAGPIE_MEDIUM_IMAGE];
    p->sounds_encoded = j->files_encoded[MAGPIE_MEDIUM_AUDIO];
    p->sounds_refused = (size_t)j->checkpoint.refused[MAGPIE_MEDIUM_AUDIO];
    p->text_seconds = j->pending.seconds[MAGPIE_SPACE_TEXT];
    p->image_seconds = j->pending.seconds[MAGPIE_SPACE_IMAGE];
    p->audio_seconds = j->pending.seconds[MAGPIE_SPACE_AUDIO];
}

static magpie_status report(job *j, bool now) {
    if (!j->options->progress || !magpie_job_tells(&j->reported, now)) return MAGPIE_OK;
    complete_progress(j);
    return j->options->progress(j->options->context, &j->progress) ? MAGPIE_OK : magpie_job_stopped();
}

static magpie_status reject(job *j, size_t number, magpie_string id, magpie_string start) {
    j->checkpoint.rejected++;
    return magpie_rejects_add(&j->rejects, number, magpie_error(), id, start);
}

static magpie_status refused(void *context, magpie_pending_item *item) {
    item->refused = true;
    return reject(context, item->number, item->line.item.id, (magpie_string){item->start, item->start_size});
}

/* What the item's problems say of one of its files, if they do. */
static magpie_status note_refused(job *j, size_t number, const magpie_item *item, unsigned which) {
    const magpie_medium *medium = &j->media[which];
    const size_t prefix = strlen(medium->problem);
    magpie_string line = magpie_problem_line(item->problems, medium);
    if (!line.size) return MAGPIE_OK;
    j->checkpoint.refused[which]++;
    return magpie_rejects_add_modality(&j->rejects, number, item->id, magpie_space_name(medium->space),
                                       (magpie_string){line.data + prefix, line.size - prefix});
}

static magpie_status file_refused(void *context, const magpie_pending_item *item, unsigned which) {
    return note_refused(context, item->number, &item->line.item, which);
}

static magpie_status encoded_block(void *context) { return report(context, false); }

/* ---- a commit ------------------------------------------------------------------------------------------ */

static magpie_status renew_snapshot(job *j) {
    magpie_snapshot_close(j->snapshot);
    j->snapshot = NULL;
    return magpie_snapshot_open(j->store, &j->snapshot);
}

/* An empty batch, of vectors by the models that the store's spaces had when the job began. */
static magpie_status expect_models(job *j) {
    magpie_status status = MAGPIE_OK;
    magpie_batch_clear(j->batch);
    for (unsigned s = 0; s < MAGPIE_SPACES && status == MAGPIE_OK; s++)
        if (j->bound.dimension[s]) status = magpie_batch_expect(j->batch, s, j->bound.fingerprint[s]);
    return status;
}

/* One transaction of all that is pending. */
static magpie_status commit_pending(job *j, bool last) {
    const magpie_pending_hooks hooks = {refused, file_refused, encoded_block, j};
    magpie_status status =
        magpie_pending_encode(&j->pending, j->text_encoder, j->media, j->options->catalogue, &hooks);
    double encoded = magpie_seconds();
    if (status == MAGPIE_OK) status = expect_models(j);
    if (status == MAGPIE_OK) status = magpie_pending_put(&j->pending, j->snapshot, j->batch, &hooks);
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
        bool encoded = item->plan.state[MAGPIE_SPACE_TEXT] == MAGPIE_VECTOR_MADE;
        for (unsigned m = 0; m < MAGPIE_MEDIA; m++) {
            bool made = item->plan.state[j->media[m].space] == MAGPIE_VECTOR_MADE;
            j->files_encoded[m] += made;
            encoded |= made;
        }
        j->progress.committed++;
        j->progress.encoded += encoded;
        j->progress.updated += !encoded;
        if (j->options->acknowledge) j->options->acknowledge(j->options->context, item->line.item.id);
    }
}

static magpie_status flush(job *j, bool last) {
    if (!j->pending.count && !(last && j->checkpoint_stored)) return MAGPIE_OK;
    magpie_status status = commit_pending(j, last);
    if (status == MAGPIE_E_NOT_FOUND) {
        /* someone deleted an item whose row was to stay; the snapshot still has its vectors */
        j->pending.new_rows = true;
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

typedef enum verdict { FIRST, REPEATED, CONTRADICTED } verdict;

/* What a line is to those before it. `stored` NULL: the store has no such item. */
static magpie_status judge(job *j, const magpie_item *item, const magpie_item *stored, verdict *out) {
    bool same = stored && equal_hashes(stored->content_hash, item->content_hash), repeated;
    magpie_status status = stored && !same && !j->prefix_seen ? read_prefix(j) : MAGPIE_OK;
    if (status == MAGPIE_OK) status = magpie_id_set_add(&j->seen, item->id, &repeated);
    *out = FIRST;
    if (status != MAGPIE_OK || !repeated) return status;
    const magpie_pending_item *before = magpie_pending_find(&j->pending, item->id);
    if (before) same = equal_hashes(before->line.item.content_hash, item->content_hash);
    if (before || stored) *out = same ? REPEATED : CONTRADICTED;
    return MAGPIE_OK;
}

/* What vectors are made of, as it is now; 0 where there is nothing to encode. What changes before it is
 * encoded is seen by the next run. */
static magpie_status hash_what_is_encoded(const job *j, magpie_item *item) {
    uint64_t *text = &item->encoded_hash[MAGPIE_SPACE_TEXT];
    if (*text) {
        *text ^= j->text_salt;
        *text += !*text;
    }
    for (unsigned m = 0; m < MAGPIE_MEDIA; m++) {
        const magpie_medium *medium = &j->media[m];
        magpie_string reference = magpie_medium_reference(medium, item);
        if (!reference.size || !medium->encoder) continue;
        char *path = magpie_catalogue_resolve(j->options->catalogue, reference);
        if (!path) return MAGPIE_E_NO_MEMORY;
        item->encoded_hash[medium->space] = magpie_medium_hash(medium, path, reference);
        free(path);
    }
    return MAGPIE_OK;
}

static bool equal_strings(magpie_string a, magpie_string b) {
    return a.size == b.size && (!a.size || memcmp(a.data, b.data, a.size) == 0);
}

/* What is to become of the vector in one space, which is made of `now` and was made of `before`. */
static magpie_vector_state plan_vector(magpie_item *item, const magpie_item *stored, magpie_space space,
                                       magpie_string now, magpie_string before, bool have_encoder) {
    uint64_t *hash = &item->encoded_hash[space];
    const uint64_t *stored_hash = stored ? &stored->encoded_hash[space] : NULL;
    if (!have_encoder) *hash = stored_hash && equal_strings(now, before) ? *stored_hash : 0;
    if (stored_hash && *stored_hash == *hash) return MAGPIE_VECTOR_KEPT;
    return have_encoder && now.size ? MAGPIE_VECTOR_WANTED : MAGPIE_VECTOR_NONE;
}

/* Those lines of `stored` that are about files which are not tried again. There are two media, so what is
 * kept is all, one end, or nothing: a piece of it. */
static magpie_string keep_problems(const job *j, const magpie_vector_plan *plan, const magpie_item *item,
                                   const magpie_item *stored) {
    magpie_string kept = {0};
    for (unsigned m = 0; m < MAGPIE_MEDIA; m++) {
        const magpie_medium *medium = &j->media[m];
        magpie_string line = magpie_problem_line(stored->problems, medium);
        if (!line.size || plan->state[medium->space] != MAGPIE_VECTOR_KEPT ||
            !equal_strings(magpie_medium_reference(medium, item), magpie_medium_reference(medium, stored)))
            continue;
        if (!kept.size) kept.data = line.data;
        kept.size = (size_t)(line.data + line.size - kept.data);
    }
    return kept;
}

/* With the hashes of the modalities set. A fused vector is made of nothing but their vectors. */
static magpie_vector_state plan_fused(const job *j, magpie_item *item, const magpie_item *stored) {
    uint64_t *hash = &item->encoded_hash[MAGPIE_SPACE_FUSED];
    *hash = j->fusion ? magpie_fused_hash(j->fusion, item->encoded_hash) : 0;
    if (stored && stored->encoded_hash[MAGPIE_SPACE_FUSED] == *hash) return MAGPIE_VECTOR_KEPT;
    return *hash ? MAGPIE_VECTOR_WANTED : MAGPIE_VECTOR_NONE;
}

/* Sets the item's hashes and problems to what they will be with these vectors. */
static magpie_vector_plan plan_vectors(const job *j, magpie_item *item, const magpie_item *stored) {
    magpie_vector_plan plan = {.row = stored ? stored->row : 0};
    const magpie_item none = {0}, *old = stored ? stored : &none;
    plan.state[MAGPIE_SPACE_TEXT] =
        plan_vector(item, stored, MAGPIE_SPACE_TEXT, item->text, old->text, j->text_encoder);
    for (unsigned m = 0; m < MAGPIE_MEDIA; m++) {
        const magpie_medium *medium = &j->media[m];
        plan.state[medium->space] =
            plan_vector(item, stored, medium->space, magpie_medium_reference(medium, item),
                        magpie_medium_reference(medium, old), medium->encoder);
    }
    plan.state[MAGPIE_SPACE_FUSED] = plan_fused(j, item, stored);
    item->problems = keep_problems(j, &plan, item, old);
    plan.attributes = stored && equal_hashes(stored->content_hash, item->content_hash) ? stored->attributes
                                                                                       : item->attributes;
    return plan;
}

static bool keeps_all(const magpie_vector_plan *plan) {
    for (unsigned s = 0; s < MAGPIE_SPACES; s++)
        if (plan->state[s] != MAGPIE_VECTOR_KEPT) return false;
    return true;
}

/* Whether the store has what would come of this, labels that are told included. */
static magpie_status compare(job *j, const magpie_item *item, const magpie_item *stored,
                             const magpie_vector_plan *plan, bool *same) {
    const float *vectors[MAGPIE_SPACES];
    magpie_string filled;
    magpie_status status = MAGPIE_OK;
    *same = stored && keeps_all(plan) && equal_hashes(stored->content_hash, item->content_hash);
    if (!*same || !j->pending.labelling.count) return MAGPIE_OK;
    for (unsigned s = 0; s < MAGPIE_SPACES && status == MAGPIE_OK; s++)
        status = magpie_snapshot_vector(j->snapshot, s, plan->row, &vectors[s]);
    if (status == MAGPIE_OK)
        status = magpie_labelling_fill(&j->pending.labelling, item->attributes, plan->attributes, vectors,
                                       &filled);
    *same = status == MAGPIE_OK && equal_strings(filled, stored->attributes);
    return status;
}

static magpie_status take_item(job *j, const magpie_line *line, magpie_catalogue_line *parsed) {
    magpie_item found, *stored = &found;
    verdict what;
    magpie_status status = magpie_snapshot_get(j->snapshot, parsed->item.id, &found);
    if (status == MAGPIE_E_NOT_FOUND) stored = NULL, status = MAGPIE_OK;
    if (status == MAGPIE_OK) status = judge(j, &parsed->item, stored, &what);
    if (status != MAGPIE_OK) return status;
    if (what == REPEATED) return j->progress.unchanged++, MAGPIE_OK;
    if (what == CONTRADICTED) {
        (void)magpie_fail(MAGPIE_E_INPUT, "an earlier line has this id, with other content");
        return reject(j, line->number, parsed->item.id, magpie_reject_start(line));
    }
    status = hash_what_is_encoded(j, &parsed->item);
    if (status != MAGPIE_OK) return status;
    magpie_vector_plan plan = plan_vectors(j, &parsed->item, stored);
    for (unsigned m = 0; m < MAGPIE_MEDIA && status == MAGPIE_OK; m++)
        if (j->media[m].encoder) status = note_refused(j, line->number, &parsed->item, m);
    bool same;
    if (status == MAGPIE_OK) status = compare(j, &parsed->item, stored, &plan, &same);
    if (status != MAGPIE_OK) return status;
    if (same) return j->progress.unchanged++, MAGPIE_OK;
    return magpie_pending_add(&j->pending, parsed, line, &plan);
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
    if (status == MAGPIE_OK)
        status = take_item(j, line, &parsed);
    else if (status == MAGPIE_E_INPUT || status == MAGPIE_E_TOO_LARGE)
        status = reject(j, line->number, parsed.item.id, magpie_reject_start(line));
    magpie_catalogue_line_free(&parsed);
    return status;
}

/* ---- the job ------------------------------------------------------------------------------------------- */

/* What fills a modality: the encoder, else what the store's space is bound to. */
static void find_sources(const job *j, magpie_modality_source out[MAGPIE_MODALITIES]) {
    magpie_fused_sources(&j->bound, out);
    if (j->text_encoder) {
        const magpie_text_encoder_info *info = magpie_text_encoder_get_info(j->text_encoder);
        out[MAGPIE_TEXT] = (magpie_modality_source){info->dimension, info->fingerprint};
    }
    const magpie_modality of[MAGPIE_MEDIA] = {
        [MAGPIE_MEDIUM_IMAGE] = MAGPIE_IMAGE, [MAGPIE_MEDIUM_AUDIO] = MAGPIE_AUDIO};
    for (unsigned m = 0; m < MAGPIE_MEDIA; m++)
        if (j->media[m].encoder)
            out[of[m]] = (magpie_modality_source){j->media[m].model.dimension, j->media[m].model.fingerprint};
}

static magpie_status find_fused_binding(const job *j, magpie_space_binding *out) {
    magpie_snapshot *snapshot;
    magpie_status status = magpie_snapshot_open(j->store, &snapshot);
    if (status != MAGPIE_OK) return status;
    status = magpie_snapshot_get_binding(snapshot, MAGPIE_SPACE_FUSED, out);
    magpie_snapshot_close(snapshot);
    return status;
}

static magpie_status take_fusion(job *j, const magpie_fusion *given) {
    magpie_modality_source sources[MAGPIE_MODALITIES];
    magpie_space_binding fused;
    magpie_status status = magpie_store_get_stats(j->store, &j->bound);
    if (status == MAGPIE_OK) status = find_fused_binding(j, &fused);
    if (status != MAGPIE_OK) return status;
    find_sources(j, sources);
    if (given)
        status = magpie_fused_check(given, sources);
    else
        status = magpie_ingest_open_fusion(NULL, sources, &fused, &j->own_fusion);
    j->fusion = given ? given : j->own_fusion;
    return status;
}

/* After the text space, which it may be called after. */
static magpie_status bind_fused(const job *j) {
    magpie_store_stats stats;
    magpie_fused_model fused;
    magpie_status status = magpie_store_get_stats(j->store, &stats);
    if (status != MAGPIE_OK || !j->fusion) return status;
    magpie_fused_describe(j->fusion, &stats, &fused);
    status = magpie_store_bind(j->store, MAGPIE_SPACE_FUSED, &fused.model);
    if (status != MAGPIE_E_MISMATCH) return status;
    return magpie_fail(status, "%s (or make its vectors anew: magpie fuse)", magpie_error());
}

/* Before a space is bound for good to a model that was not meant. */
static magpie_status take_labels(job *j) {
    magpie_modality_source modalities[MAGPIE_MODALITIES], sources[MAGPIE_SPACES];
    find_sources(j, modalities);
    for (magpie_modality m = 0; m < MAGPIE_MODALITIES; m++)
        sources[magpie_space_of_modality(m)] = modalities[m];
    const magpie_fusion_info *fusion = j->fusion ? magpie_fusion_get_info(j->fusion) : NULL;
    sources[MAGPIE_SPACE_FUSED] = fusion ? (magpie_modality_source){fusion->dimension, fusion->fingerprint}
                                         : (magpie_modality_source){j->bound.dimension[MAGPIE_SPACE_FUSED],
                                                                    j->bound.fingerprint[MAGPIE_SPACE_FUSED]};
    j->pending.labelling = (magpie_labelling){
        .models = j->options->labels, .count = j->options->label_count, .least = j->options->labels_least};
    return magpie_labelling_check(&j->pending.labelling, sources);
}

static magpie_status bind_spaces(const job *j) {
    magpie_status status = MAGPIE_OK;
    if (j->text_encoder) {
        const magpie_text_encoder_info *info = magpie_text_encoder_get_info(j->text_encoder);
        const magpie_space_model model = {info->name, info->fingerprint, info->dimension, NULL};
        status = magpie_store_bind(j->store, MAGPIE_SPACE_TEXT, &model);
    }
    for (unsigned m = 0; m < MAGPIE_MEDIA && status == MAGPIE_OK; m++)
        if (j->media[m].encoder) status = magpie_store_bind(j->store, j->media[m].space, &j->media[m].model);
    return status == MAGPIE_OK ? bind_fused(j) : status;
}

static uint64_t hash_words(const char *words, uint64_t seed) {
    return XXH3_64bits_withSeed(words, strlen(words), seed);
}

/* What decides the outcome besides the catalogue: a checkpoint is worth nothing where it differs. */
static uint64_t salt_of(const job *j) {
    uint64_t salt = 0;
    if (j->text_encoder) {
        const magpie_text_encoder_info *info = magpie_text_encoder_get_info(j->text_encoder);
        salt = hash_words(info->passage_prefix, hash_words(info->fingerprint, salt));
    }
    for (unsigned m = 0; m < MAGPIE_MEDIA; m++)
        if (j->media[m].encoder)
            salt = hash_words(j->media[m].model.fingerprint, salt + 1 + m) ^ j->media[m].salt;
    if (j->fusion) salt = hash_words(magpie_fusion_get_info(j->fusion)->fingerprint, salt);
    for (size_t i = 0; i < j->options->label_count; i++)
        salt = hash_words(magpie_labels_get_info(j->options->labels[i])->weights, salt);
    if (j->options->label_count)
        salt = XXH3_64bits_withSeed(&j->options->labels_least, sizeof j->options->labels_least, salt);
    return salt;
}

static magpie_status read_models(job *j) {
    magpie_status status = magpie_store_get_stats(j->store, &j->bound);
    j->pending.fusion = j->fusion;
    if (status == MAGPIE_OK && j->fusion) { /* which it was bound to: it may be another's already */
        const magpie_fusion_info *info = magpie_fusion_get_info(j->fusion);
        j->bound.dimension[MAGPIE_SPACE_FUSED] = info->dimension;
        strcpy(j->bound.fingerprint[MAGPIE_SPACE_FUSED], info->fingerprint);
    }
    memcpy(j->pending.dimensions, j->bound.dimension, sizeof j->bound.dimension);
    return status;
}

static magpie_status take_encoders(job *j, const magpie_ingest_encoders *encoders) {
    if (!encoders->text && !encoders->image && !encoders->audio)
        return magpie_fail(MAGPIE_E_ARGUMENT,
                           "an ingest needs an encoder, of texts, of pictures or of sounds");
    const char *prefix = encoders->text ? magpie_text_encoder_get_info(encoders->text)->passage_prefix : "";
    j->text_encoder = encoders->text;
    j->text_salt = *prefix ? hash_words(prefix, 0) : 0;
    magpie_media_describe(encoders, j->media);
    return MAGPIE_OK;
}

static magpie_status begin(job *j, const magpie_ingest_encoders *encoders) {
    magpie_status status = take_encoders(j, encoders);
    if (status == MAGPIE_OK) status = take_fusion(j, encoders->fusion);
    if (status == MAGPIE_OK) status = take_labels(j);
    if (status == MAGPIE_OK)
        status = magpie_catalogue_identify("ingest", j->options->catalogue, salt_of(j), &j->identity);
    if (status == MAGPIE_OK) status = magpie_catalogue_check_rejects(&j->identity, j->options->rejects);
    if (status == MAGPIE_OK) status = bind_spaces(j);
    if (status == MAGPIE_OK) status = read_models(j);
    if (status == MAGPIE_OK) status = magpie_batch_create(&j->batch);
    if (status == MAGPIE_OK) status = renew_snapshot(j);
    if (status == MAGPIE_OK)
        status = magpie_checkpoint_load(j->snapshot, &j->identity, &j->checkpoint, &j->checkpoint_stored);
    if (status == MAGPIE_OK)
        status = magpie_rejects_begin(&j->rejects, j->options->rejects, j->checkpoint.rejects_bytes);
    j->progress.resumed_at = (size_t)j->checkpoint.lines;
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
    magpie_fusion_close(j->own_fusion);
}

magpie_status magpie_ingest_run(magpie_store *store, const magpie_ingest_encoders *encoders,
                                const magpie_ingest_options *options, magpie_ingest_progress *report_out) {
    job j = {.store = store, .options = options, .started = magpie_seconds()};
    magpie_status status = begin(&j, encoders);
    if (status == MAGPIE_OK) status = read_catalogue(&j);
    complete_progress(&j);
    if (report_out) *report_out = j.progress;
    end(&j);
    return status;
}
