/* intake.c - see intake.h. Which vectors of an item stay, which are to be computed and which go is as ingest.h has
 * it. */
#include "intake.h"
#include "fused.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

static uint64_t hash_words(const char *words, uint64_t seed) {
    return XXH3_64bits_withSeed(words, strlen(words), seed);
}

/* ---- what fills the spaces ----------------------------------------------------------------------------- */

static void take_text(magpie_intake *in, magpie_text_encoder *encoder) {
    if (!encoder) return;
    const magpie_text_encoder_info *info = magpie_text_encoder_get_info(encoder);
    in->text_encoder = encoder;
    in->text = (magpie_space_model){info->name, info->fingerprint, info->dimension, NULL};
    in->text_salt = *info->passage_prefix ? hash_words(info->passage_prefix, 0) : 0;
}

static magpie_space_model model_of(const magpie_vector_source *source) {
    return (magpie_space_model){source->model, source->fingerprint, source->dimension, NULL};
}

/* In place of encoders. */
static void take_header(magpie_intake *in, const magpie_vector_header *header) {
    in->text = model_of(&header->of[MAGPIE_SPACE_TEXT]);
    in->text_salt = header->of[MAGPIE_SPACE_TEXT].salt;
    for (unsigned m = 0; m < MAGPIE_MEDIA; m++) {
        in->media[m].model = model_of(&header->of[in->media[m].space]);
        in->media[m].salt = header->of[in->media[m].space].salt;
    }
}

static void take_sources(magpie_intake *in, const magpie_ingest_encoders *encoders) {
    take_text(in, encoders->text);
    magpie_media_describe(encoders, in->media);
    if (in->options->vectors) take_header(in, magpie_vector_input_get_header(in->options->vectors));
}

static void describe_source(const magpie_space_model *model, uint64_t salt, magpie_vector_source *out) {
    *out = (magpie_vector_source){.dimension = model->dimension, .salt = salt};
    if (!model->dimension) return;
    snprintf(out->model, sizeof out->model, "%s", model->model);
    snprintf(out->fingerprint, sizeof out->fingerprint, "%s", model->fingerprint);
}

void magpie_vector_header_describe(const magpie_ingest_encoders *encoders, magpie_vector_header *out) {
    magpie_intake in = {0};
    *out = (magpie_vector_header){0};
    take_text(&in, encoders->text);
    magpie_media_describe(encoders, in.media);
    describe_source(&in.text, in.text_salt, &out->of[MAGPIE_SPACE_TEXT]);
    for (unsigned m = 0; m < MAGPIE_MEDIA; m++)
        describe_source(&in.media[m].model, in.media[m].salt, &out->of[in.media[m].space]);
}

/* What fills a modality: the encoder, else what the store's space is bound to. */
static void find_sources(const magpie_intake *in, magpie_modality_source out[MAGPIE_MODALITIES]) {
    magpie_fused_sources(&in->bound, out);
    if (in->text.dimension)
        out[MAGPIE_TEXT] = (magpie_modality_source){in->text.dimension, in->text.fingerprint};
    const magpie_modality of[MAGPIE_MEDIA] = {
        [MAGPIE_MEDIUM_IMAGE] = MAGPIE_IMAGE, [MAGPIE_MEDIUM_AUDIO] = MAGPIE_AUDIO};
    for (unsigned m = 0; m < MAGPIE_MEDIA; m++)
        if (in->media[m].model.dimension)
            out[of[m]] =
                (magpie_modality_source){in->media[m].model.dimension, in->media[m].model.fingerprint};
}

static magpie_status find_fused_binding(const magpie_intake *in, magpie_space_binding *out) {
    magpie_snapshot *snapshot;
    magpie_status status = magpie_snapshot_open(in->store, &snapshot);
    if (status != MAGPIE_OK) return status;
    status = magpie_snapshot_get_binding(snapshot, MAGPIE_SPACE_FUSED, out);
    magpie_snapshot_close(snapshot);
    return status;
}

static magpie_status take_fusion(magpie_intake *in, const magpie_fusion *given) {
    magpie_modality_source sources[MAGPIE_MODALITIES];
    magpie_space_binding fused;
    magpie_status status = magpie_store_get_stats(in->store, &in->bound);
    if (status == MAGPIE_OK) status = find_fused_binding(in, &fused);
    if (status != MAGPIE_OK) return status;
    find_sources(in, sources);
    if (given)
        status = magpie_fused_check(given, sources);
    else
        status = magpie_ingest_open_fusion(NULL, sources, &fused, &in->own_fusion);
    in->fusion = given ? given : in->own_fusion;
    return status;
}

/* A dry run finds out whether it could be done. */
static magpie_status bind(const magpie_intake *in, magpie_space space, const magpie_space_model *model) {
    magpie_status status = magpie_store_bind(in->store, space, model);
    return in->options->dry_run && status == MAGPIE_E_NOT_FOUND ? MAGPIE_OK : status;
}

/* After the text space, which it may be called after. */
static magpie_status bind_fused(const magpie_intake *in) {
    magpie_store_stats stats;
    magpie_fused_model fused;
    magpie_status status = magpie_store_get_stats(in->store, &stats);
    if (status != MAGPIE_OK || !in->fusion) return status;
    magpie_fused_describe(in->fusion, &stats, &fused);
    status = bind(in, MAGPIE_SPACE_FUSED, &fused.model);
    if (status != MAGPIE_E_MISMATCH) return status;
    return magpie_fail(status, "%s (or make its vectors anew: magpie fuse)", magpie_error());
}

/* Before a space is bound for good to a model that was not meant. */
static magpie_status take_labels(magpie_intake *in) {
    magpie_modality_source modalities[MAGPIE_MODALITIES], sources[MAGPIE_SPACES];
    find_sources(in, modalities);
    for (magpie_modality m = 0; m < MAGPIE_MODALITIES; m++)
        sources[magpie_space_of_modality(m)] = modalities[m];
    const magpie_fusion_info *fusion = in->fusion ? magpie_fusion_get_info(in->fusion) : NULL;
    sources[MAGPIE_SPACE_FUSED] = fusion
                                      ? (magpie_modality_source){fusion->dimension, fusion->fingerprint}
                                      : (magpie_modality_source){in->bound.dimension[MAGPIE_SPACE_FUSED],
                                                                 in->bound.fingerprint[MAGPIE_SPACE_FUSED]};
    in->pending.labelling = (magpie_labelling){
        .models = in->options->labels, .count = in->options->label_count, .least = in->options->labels_least};
    return magpie_labelling_check(&in->pending.labelling, sources);
}

static magpie_status bind_spaces(const magpie_intake *in) {
    magpie_status status = MAGPIE_OK;
    if (in->text.dimension) status = bind(in, MAGPIE_SPACE_TEXT, &in->text);
    for (unsigned m = 0; m < MAGPIE_MEDIA && status == MAGPIE_OK; m++)
        if (in->media[m].model.dimension) status = bind(in, in->media[m].space, &in->media[m].model);
    return status == MAGPIE_OK ? bind_fused(in) : status;
}

static magpie_status read_models(magpie_intake *in) {
    magpie_status status = magpie_store_get_stats(in->store, &in->bound);
    in->pending.fusion = in->fusion;
    if (status == MAGPIE_OK && in->fusion) { /* which it was bound to: it may be another's already */
        const magpie_fusion_info *info = magpie_fusion_get_info(in->fusion);
        in->bound.dimension[MAGPIE_SPACE_FUSED] = info->dimension;
        strcpy(in->bound.fingerprint[MAGPIE_SPACE_FUSED], info->fingerprint);
    }
    memcpy(in->pending.dimensions, in->bound.dimension, sizeof in->bound.dimension);
    return status;
}

uint64_t magpie_intake_salt(const magpie_intake *in) {
    uint64_t salt = 0;
    if (in->text.dimension) salt = hash_words(in->text.fingerprint, salt) ^ in->text_salt;
    for (unsigned m = 0; m < MAGPIE_MEDIA; m++)
        if (in->media[m].model.dimension)
            salt = hash_words(in->media[m].model.fingerprint, salt + 1 + m) ^ in->media[m].salt;
    if (in->fusion) salt = hash_words(magpie_fusion_get_info(in->fusion)->fingerprint, salt);
    for (size_t i = 0; i < in->options->label_count; i++)
        salt = hash_words(magpie_labels_get_info(in->options->labels[i])->weights, salt);
    if (in->options->label_count)
        salt = XXH3_64bits_withSeed(&in->options->labels_least, sizeof in->options->labels_least, salt);
    return salt;
}

magpie_status magpie_intake_begin(magpie_intake *in, magpie_store *store,
                                  const magpie_ingest_encoders *encoders,
                                  const magpie_ingest_options *options) {
    in->store = store, in->options = options;
    take_sources(in, encoders);
    if (options->dry_run) magpie_media_only_check(in->media);
    in->pending.dry_run = options->dry_run;
    magpie_status status = take_fusion(in, encoders->fusion);
    return status == MAGPIE_OK ? take_labels(in) : status;
}

magpie_status magpie_intake_bind(magpie_intake *in) {
    magpie_status status = bind_spaces(in);
    if (status == MAGPIE_OK) status = read_models(in);
    return status == MAGPIE_OK ? magpie_batch_create(&in->batch) : status;
}

void magpie_intake_free(magpie_intake *in) {
    magpie_snapshot_close(in->snapshot);
    magpie_batch_free(in->batch);
    magpie_pending_free(&in->pending);
    magpie_fusion_close(in->own_fusion);
}

/* ---- what is to become of an item --------------------------------------------------------------------- */

magpie_status magpie_intake_renew_snapshot(magpie_intake *in) {
    magpie_snapshot_close(in->snapshot);
    in->snapshot = NULL;
    return magpie_snapshot_open(in->store, &in->snapshot);
}

/* What vectors are made of, as it is now; 0 where there is nothing to encode. What changes before it is
 * encoded is seen by the next run. */
static magpie_status hash_what_is_encoded(const magpie_intake *in, magpie_item *item,
                                          const magpie_origin *origin) {
    uint64_t *text = &item->encoded_hash[MAGPIE_SPACE_TEXT];
    if (*text) {
        *text ^= in->text_salt;
        *text += !*text;
    }
    for (unsigned m = 0; m < MAGPIE_MEDIA; m++) {
        const magpie_medium *medium = &in->media[m];
        magpie_string reference = magpie_medium_reference(medium, item);
        if (!reference.size || !medium->model.dimension) continue;
        if (origin->members && magpie_member_is_there(&origin->members[m])) {
            item->encoded_hash[medium->space] = magpie_member_hash(medium, &origin->members[m]);
            continue;
        }
        char *path = magpie_catalogue_resolve(origin->base, reference);
        if (!path) return MAGPIE_E_NO_MEMORY;
        item->encoded_hash[medium->space] = magpie_medium_hash(medium, path, reference);
        free(path);
    }
    return MAGPIE_OK;
}

static bool equal_strings(magpie_string a, magpie_string b) {
    return a.size == b.size && (!a.size || memcmp(a.data, b.data, a.size) == 0);
}

/* Whether there is what an encoder would have said, where there are lines with vectors in place of
 * encoders. */
static bool is_given(const magpie_line_vectors *given, magpie_space space) {
    return !given || given->values[space] || given->refused[space];
}

static void take_given_hashes(magpie_item *item, const magpie_line_vectors *given) {
    for (unsigned s = 0; s < MAGPIE_SPACES && given; s++)
        if (given->hashed[s]) item->encoded_hash[s] = given->hashes[s];
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
static magpie_string keep_problems(const magpie_intake *in, const magpie_vector_plan *plan,
                                   const magpie_item *item, const magpie_item *stored) {
    magpie_string kept = {0};
    for (unsigned m = 0; m < MAGPIE_MEDIA; m++) {
        const magpie_medium *medium = &in->media[m];
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
static magpie_vector_state plan_fused(const magpie_intake *in, magpie_item *item, const magpie_item *stored) {
    uint64_t *hash = &item->encoded_hash[MAGPIE_SPACE_FUSED];
    *hash = in->fusion ? magpie_fused_hash(in->fusion, item->encoded_hash) : 0;
    if (stored && stored->encoded_hash[MAGPIE_SPACE_FUSED] == *hash) return MAGPIE_VECTOR_KEPT;
    return *hash ? MAGPIE_VECTOR_WANTED : MAGPIE_VECTOR_NONE;
}

/* Sets the item's hashes and problems to what they will be with these vectors. */
static magpie_vector_plan plan_vectors(const magpie_intake *in, magpie_item *item,
                                       const magpie_line_vectors *given, const magpie_item *stored) {
    magpie_vector_plan plan = {.row = stored ? stored->row : 0};
    const magpie_item none = {0}, *old = stored ? stored : &none;
    plan.state[MAGPIE_SPACE_TEXT] = plan_vector(item, stored, MAGPIE_SPACE_TEXT, item->text, old->text,
                                                in->text.dimension && is_given(given, MAGPIE_SPACE_TEXT));
    for (unsigned m = 0; m < MAGPIE_MEDIA; m++) {
        const magpie_medium *medium = &in->media[m];
        plan.state[medium->space] = plan_vector(
            item, stored, medium->space, magpie_medium_reference(medium, item),
            magpie_medium_reference(medium, old), medium->model.dimension && is_given(given, medium->space));
    }
    plan.state[MAGPIE_SPACE_FUSED] = plan_fused(in, item, stored);
    item->problems = keep_problems(in, &plan, item, old);
    plan.attributes = stored && magpie_same_content(stored, item) ? stored->attributes : item->attributes;
    return plan;
}

static bool keeps_all(const magpie_vector_plan *plan) {
    for (unsigned s = 0; s < MAGPIE_SPACES; s++)
        if (plan->state[s] != MAGPIE_VECTOR_KEPT) return false;
    return true;
}

/* Whether the store has what would come of this, labels that are told included. */
static magpie_status compare(magpie_intake *in, const magpie_item *item, const magpie_item *stored,
                             const magpie_vector_plan *plan, bool *same) {
    const float *vectors[MAGPIE_SPACES];
    magpie_string filled;
    magpie_status status = MAGPIE_OK;
    *same = stored && keeps_all(plan) && magpie_same_content(stored, item);
    if (!*same || !in->pending.labelling.count) return MAGPIE_OK;
    for (unsigned s = 0; s < MAGPIE_SPACES && status == MAGPIE_OK; s++)
        status = magpie_snapshot_vector(in->snapshot, s, plan->row, &vectors[s]);
    if (status == MAGPIE_OK)
        status = magpie_labelling_fill(&in->pending.labelling, item->attributes, plan->attributes, vectors,
                                       &filled);
    *same = status == MAGPIE_OK && equal_strings(filled, stored->attributes);
    return status;
}

magpie_status magpie_intake_plan(magpie_intake *in, magpie_item *item, const magpie_origin *origin,
                                 const magpie_line_vectors *given, const magpie_item *stored,
                                 magpie_vector_plan *plan, bool *same) {
    magpie_status status = hash_what_is_encoded(in, item, origin);
    if (status != MAGPIE_OK) return status;
    take_given_hashes(item, given);
    *plan = plan_vectors(in, item, given, stored);
    return compare(in, item, stored, plan, same);
}

magpie_status magpie_intake_plan_kept(magpie_intake *in, magpie_item *item, const magpie_origin *origin,
                                      const magpie_item *stored, magpie_vector_plan *plan, bool *same) {
    (void)origin;
    *plan = (magpie_vector_plan){.row = stored->row, .attributes = item->attributes};
    for (unsigned s = 0; s < MAGPIE_SPACES; s++) plan->state[s] = MAGPIE_VECTOR_KEPT;
    memcpy(item->encoded_hash, stored->encoded_hash, sizeof item->encoded_hash);
    item->problems = stored->problems;
    return compare(in, item, stored, plan, same);
}

/* ---- a transaction -------------------------------------------------------------------------------------- */

/* An empty batch, of vectors by the models that the store's spaces had when the job began. */
static magpie_status expect_models(magpie_intake *in) {
    magpie_status status = MAGPIE_OK;
    magpie_batch_clear(in->batch);
    for (unsigned s = 0; s < MAGPIE_SPACES && status == MAGPIE_OK; s++)
        if (in->bound.dimension[s]) status = magpie_batch_expect(in->batch, s, in->bound.fingerprint[s]);
    return status;
}

static magpie_status make_batch(magpie_intake *in, const magpie_pending_hooks *hooks) {
    magpie_status status = expect_models(in);
    return status == MAGPIE_OK ? magpie_pending_put(&in->pending, in->snapshot, in->batch, hooks) : status;
}

magpie_status magpie_intake_encode(magpie_intake *in, const magpie_pending_hooks *hooks) {
    magpie_status status = magpie_pending_encode(&in->pending, in->text_encoder, in->media, hooks);
    return status == MAGPIE_OK && !in->options->dry_run ? make_batch(in, hooks) : status;
}

static magpie_status commit(magpie_intake *in, magpie_status (*seal)(void *context, magpie_batch *batch),
                            void *context) {
    magpie_status status = seal ? seal(context, in->batch) : MAGPIE_OK;
    return status == MAGPIE_OK ? magpie_store_commit(in->store, in->batch, NULL) : status;
}

/* What was to be refused was refused when the batch was made for the first time. */
static magpie_status refused_late(void *context, magpie_pending_item *item, magpie_status why) {
    (void)context, (void)item;
    return why;
}

magpie_status magpie_intake_commit(magpie_intake *in,
                                   magpie_status (*seal)(void *context, magpie_batch *batch), void *context) {
    magpie_status status = commit(in, seal, context);
    if (status != MAGPIE_E_NOT_FOUND) return status;
    /* someone deleted an item whose row was to stay; the snapshot still has its vectors */
    in->pending.new_rows = true;
    status = make_batch(in, &(magpie_pending_hooks){.refused = refused_late});
    return status == MAGPIE_OK ? commit(in, seal, context) : status;
}

magpie_status magpie_intake_twin(const magpie_intake *in, magpie_intake *out) {
    *out = *in;
    out->own_fusion = NULL;
    out->snapshot = NULL;
    out->batch = NULL;
    out->pending = (magpie_pending){
        .fusion = in->pending.fusion, .labelling = in->pending.labelling, .dry_run = in->pending.dry_run};
    out->pending.labelling.attributes = (magpie_text){0};
    memcpy(out->pending.dimensions, in->pending.dimensions, sizeof in->pending.dimensions);
    return magpie_batch_create(&out->batch);
}
