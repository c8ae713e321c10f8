/* write_round.c - see write_round.h. */
#include "write_round.h"
#include "storage.h"

#include <stdlib.h>
#include <string.h>

static bool is_item(const write_one *one) { return one->kind == WRITE_PUT || one->kind == WRITE_PATCH; }

/* ---- files of items ------------------------------------------------------------------------------------ */

static magpie_status add_former(write_round *r, magpie_string id, magpie_string reference) {
    if (!id.size || !store_media_owns(reference)) return MAGPIE_OK;
    magpie_status status =
        magpie_grow((void **)&r->formers, &r->formers_capacity, r->formers_n + 1, sizeof *r->formers);
    if (status != MAGPIE_OK) return status;
    former_medium *former = &r->formers[r->formers_n++];
    former->id = id;
    memcpy(former->reference, reference.data, reference.size);
    former->reference[reference.size] = 0;
    return MAGPIE_OK;
}

/* What items have, and will have if all goes well. */
static magpie_status note_formers(write_round *r) {
    magpie_snapshot *snapshot;
    magpie_item item;
    magpie_status status = magpie_snapshot_open(r->view.store, &snapshot);
    if (status != MAGPIE_OK) return status;
    r->formers_n = 0;
    for (size_t i = 0; i < r->count && status == MAGPIE_OK; i++) {
        const write_one *one = r->ones[i];
        if (one->kind != WRITE_PUT && one->kind != WRITE_DELETE) continue;
        for (unsigned m = 0; m < WRITE_MEDIA && status == MAGPIE_OK; m++)
            status = add_former(r, one->id, magpie_string_of(one->media[m].reference));
        if (status != MAGPIE_OK || magpie_snapshot_get(snapshot, one->id, &item) != MAGPIE_OK) continue;
        status = add_former(r, one->id, item.image);
        if (status == MAGPIE_OK) status = add_former(r, one->id, item.audio);
    }
    magpie_snapshot_close(snapshot);
    return status;
}

static bool names(const magpie_item *item, const char *reference) {
    const magpie_string r = magpie_string_of(reference);
    return (item->image.size == r.size && memcmp(item->image.data, r.data, r.size) == 0) ||
           (item->audio.size == r.size && memcmp(item->audio.data, r.data, r.size) == 0);
}

/* Removes those that their items do not name now. */
static void remove_formers(write_round *r) {
    magpie_snapshot *snapshot;
    magpie_item item;
    if (!r->formers_n || magpie_snapshot_open(r->view.store, &snapshot) != MAGPIE_OK) return;
    for (size_t i = 0; i < r->formers_n; i++) {
        magpie_status status = magpie_snapshot_get(snapshot, r->formers[i].id, &item);
        if (status == MAGPIE_E_NOT_FOUND || (status == MAGPIE_OK && !names(&item, r->formers[i].reference)))
            store_media_remove(r->formers[i].reference);
    }
    magpie_snapshot_close(snapshot);
}

static magpie_status place_media(write_round *r) {
    bool any = false;
    for (size_t i = 0; i < r->count; i++) {
        write_one *one = r->ones[i];
        for (unsigned m = 0; m < WRITE_MEDIA && one->status == MAGPIE_OK; m++) {
            if (!*one->media[m].reference) continue;
            any |= one->media[m].written != NULL;
            magpie_status status = store_media_place(&one->media[m]);
            if (status != MAGPIE_OK) write_one_fail(one, status);
        }
    }
    return any ? store_media_sync() : MAGPIE_OK;
}

/* ---- the session --------------------------------------------------------------------------------------- */

void write_round_let_go(write_round *r) {
    magpie_ingest_session_close(r->session);
    r->session = NULL;
    serving_give_back(&r->view);
}

void write_round_renew(write_round *r) {
    serving now, rest;
    serving_take(r->source, &now);
    rest = now;
    if (r->view.models && r->view.models->number == now.models->number) {
        serving_give_back(&now);
        return;
    }
    write_round_let_go(r);
    rest.models = NULL;
    r->view = (serving){.store = now.store, .models = now.models};
    serving_give_back(&rest);
}

static magpie_status need_session(write_round *r) {
    if (r->session) return MAGPIE_OK;
    served_models *models = r->view.models;
    const magpie_ingest_encoders encoders = {models->encoders[SENSE_TEXT].text,
                                             models->encoders[SENSE_IMAGE].image,
                                             models->encoders[SENSE_AUDIO].audio, models->fusion};
    char *catalogue =
        magpie_path_join(storage_directory(), "catalogue.jsonl"); /* there is none: its folder counts */
    if (!catalogue) return MAGPIE_E_NO_MEMORY;
    const magpie_ingest_options options = {.catalogues = (const char *const[]){catalogue},
                                           .catalogue_count = 1};
    magpie_status status = magpie_ingest_session_open(r->view.store, &encoders, &options, &r->session);
    free(catalogue);
    return status;
}

/* ---- items --------------------------------------------------------------------------------------------- */

static magpie_status take_answer(write_one *one, const magpie_ingest_answer *answer) {
    one->verdict = answer->verdict;
    one->status = answer->verdict == MAGPIE_INGEST_REFUSED ? answer->status : MAGPIE_OK;
    if (answer->words.size && !(one->words = strdup(answer->words.data)))
        return magpie_fail(MAGPIE_E_NO_MEMORY, "out of memory");
    return MAGPIE_OK;
}

static magpie_status put_round(write_round *r) {
    const magpie_ingest_answer *answers;
    size_t n, at = 0;
    magpie_status status = need_session(r);
    for (size_t i = 0; i < r->count && status == MAGPIE_OK; i++) {
        const write_one *one = r->ones[i];
        if (!is_item(one) || one->status != MAGPIE_OK) continue;
        status = one->kind == WRITE_PUT
                     ? magpie_ingest_session_put(r->session, one->line.data, one->line.size)
                     : magpie_ingest_session_patch(r->session, one->id, one->line.data, one->line.size);
    }
    if (status == MAGPIE_OK) status = magpie_ingest_session_flush(r->session, &answers, &n);
    for (size_t i = 0; i < r->count && status == MAGPIE_OK; i++)
        if (is_item(r->ones[i]) && r->ones[i]->status == MAGPIE_OK)
            status = take_answer(r->ones[i], &answers[at++]);
    return status;
}

/* Another process may have given a space to another model: then ours may be replaced already. */
static magpie_status put_with_new_models(write_round *r) {
    magpie_status status = serving_catch_up(r->source);
    if (status != MAGPIE_OK) return status;
    write_round_let_go(r);
    write_round_renew(r);
    return put_round(r);
}

static void put_items(write_round *r) {
    magpie_status status = place_media(r);
    if (status == MAGPIE_OK) status = put_round(r);
    if (status == MAGPIE_E_MISMATCH) status = put_with_new_models(r);
    for (size_t i = 0; i < r->count && status != MAGPIE_OK; i++)
        if (is_item(r->ones[i]) && r->ones[i]->status == MAGPIE_OK) write_one_fail(r->ones[i], status);
}

/* ---- all else ------------------------------------------------------------------------------------------ */

/* Whether an earlier one of the round deletes the same. */
static bool is_deleted_before(const write_round *r, size_t i) {
    for (size_t j = 0; j < i; j++) {
        const write_one *a = r->ones[i], *b = r->ones[j];
        if (b->kind == WRITE_DELETE && b->status == MAGPIE_OK && a->id.size == b->id.size &&
            memcmp(a->id.data, b->id.data, a->id.size) == 0)
            return true;
    }
    return false;
}

static magpie_status delete_item(write_round *r, magpie_snapshot *snapshot, size_t i) {
    magpie_item item;
    bool passes = true;
    const write_one *one = r->ones[i];
    magpie_status status = magpie_snapshot_get(snapshot, one->id, &item);
    if (status == MAGPIE_OK && one->filter)
        status = magpie_filter_matches(one->filter, one->id, item.attributes, &passes);
    if (status == MAGPIE_OK && (!passes || is_deleted_before(r, i))) status = MAGPIE_E_NOT_FOUND;
    if (status == MAGPIE_E_NOT_FOUND) return magpie_fail(status, "no item has this id");
    return status == MAGPIE_OK ? magpie_batch_delete(r->batch, one->id) : status;
}

static magpie_status add_to_batch(write_round *r, magpie_snapshot *snapshot, size_t i) {
    const write_one *one = r->ones[i];
    if (one->kind == WRITE_DELETE) return delete_item(r, snapshot, i);
    if (one->kind == WRITE_FORGET) return magpie_batch_delete_user(r->batch, one->id);
    return magpie_batch_put_interaction(r->batch, one->id, one->interaction.item, one->interaction.kind,
                                        one->interaction.weight, one->interaction.time);
}

static magpie_status fill_batch(write_round *r) {
    magpie_snapshot *snapshot;
    magpie_status status = magpie_snapshot_open(r->view.store, &snapshot);
    if (status != MAGPIE_OK) return status;
    magpie_batch_clear(r->batch);
    for (size_t i = 0; i < r->count; i++) {
        if (is_item(r->ones[i]) || r->ones[i]->status != MAGPIE_OK) continue;
        magpie_status one = add_to_batch(r, snapshot, i);
        if (one != MAGPIE_OK) write_one_fail(r->ones[i], one);
    }
    magpie_snapshot_close(snapshot);
    return status;
}

static void write_the_rest(write_round *r) {
    magpie_status status = fill_batch(r);
    if (status == MAGPIE_OK && magpie_batch_count(r->batch))
        status = magpie_store_commit(r->view.store, r->batch, NULL);
    for (size_t i = 0; i < r->count && status != MAGPIE_OK; i++)
        if (!is_item(r->ones[i]) && r->ones[i]->status == MAGPIE_OK) write_one_fail(r->ones[i], status);
}

void write_round_run(write_round *r) {
    size_t items = 0;
    for (size_t i = 0; i < r->count; i++) items += is_item(r->ones[i]);
    write_round_renew(r);
    magpie_status status = note_formers(r);
    for (size_t i = 0; i < r->count && status != MAGPIE_OK; i++) write_one_fail(r->ones[i], status);
    if (status == MAGPIE_OK && items) put_items(r);
    if (status == MAGPIE_OK && items < r->count) write_the_rest(r);
    if (status == MAGPIE_OK) remove_formers(r);
    if (r->count) serving_wrote(r->source);
}

void write_round_free(write_round *r) {
    write_round_let_go(r);
    magpie_batch_free(r->batch);
    free(r->formers);
}
