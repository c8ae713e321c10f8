/* session.c - items that come one by one: an ingest without a file. See ingest.h.
 *
 * What is put waits, parsed and compared with what the store has, until it is flushed: then it is encoded together
 * and committed in one transaction. An item that is waiting has not changed the store that the next line of its
 * id is compared with: so that one flushes it first.
 *
 * A snapshot keeps what is deleted from being reused, so a session that waits for lines has none open. */
#include "canonical.h"
#include "catalogue.h"
#include "intake.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

struct magpie_ingest_session {
    magpie_intake in;
    magpie_ingest_options options; /* but for catalogues */
    char *catalogue;               /* to whose folder references are relative */
    magpie_ingest_answer
        *answers; /* [count], of the lines since the last flush; each owns the memory of its id */
    size_t count, capacity;
    bool flushed; /* they have been given out: the next line forgets them */
};

/* ---- answers ------------------------------------------------------------------------------------------- */

static void forget_answers(magpie_ingest_session *s) {
    for (size_t i = 0; i < s->count; i++) free((void *)(uintptr_t)s->answers[i].id.data);
    s->count = 0;
    s->flushed = false;
}

/* Copies id and words. */
static magpie_status set_answer(magpie_ingest_answer *answer, magpie_string id, magpie_ingest_verdict verdict,
                                magpie_status status, magpie_string words) {
    char *memory = malloc(id.size + words.size + 2);
    if (!memory) return magpie_fail(MAGPIE_E_NO_MEMORY, "out of memory");
    if (id.size) memcpy(memory, id.data, id.size);
    memory[id.size] = 0;
    if (words.size) memcpy(memory + id.size + 1, words.data, words.size);
    memory[id.size + 1 + words.size] = 0;
    free((void *)(uintptr_t)answer->id.data);
    *answer = (magpie_ingest_answer){{memory, id.size}, verdict, status, {memory + id.size + 1, words.size}};
    return MAGPIE_OK;
}

/* Room for the answer to one line more; `out` is valid until the next one's. */
static magpie_status add_answer(magpie_ingest_session *s, magpie_ingest_answer **out) {
    if (s->flushed) forget_answers(s);
    magpie_status status = magpie_grow((void **)&s->answers, &s->capacity, s->count + 1, sizeof *s->answers);
    if (status != MAGPIE_OK) return status;
    *out = &s->answers[s->count++];
    **out = (magpie_ingest_answer){0};
    return MAGPIE_OK;
}

static bool concerns_one_line(magpie_status status) {
    return status == MAGPIE_E_INPUT || status == MAGPIE_E_TOO_LARGE || status == MAGPIE_E_NOT_FOUND;
}

static magpie_status refuse(magpie_ingest_answer *answer, magpie_string id, magpie_status why) {
    if (id.size > MAGPIE_ID_MAX) id.size = 0; /* no id at all */
    return set_answer(answer, id, MAGPIE_INGEST_REFUSED, why, magpie_string_of(magpie_error()));
}

/* ---- a transaction --------------------------------------------------------------------------------------- */

/* An item's line has the number of its answer. */
static magpie_status refused(void *context, magpie_pending_item *item, magpie_status why) {
    magpie_ingest_session *s = context;
    item->refused = true;
    return refuse(&s->answers[item->number], item->line.item.id, why);
}

static magpie_status file_refused(void *context, const magpie_pending_item *item, unsigned which) {
    (void)context, (void)item, (void)which; /* item.problems says so */
    return MAGPIE_OK;
}

static magpie_status encoded_block(void *context) {
    (void)context;
    return MAGPIE_OK;
}

static void forget_pending(magpie_ingest_session *s) {
    magpie_pending_clear(&s->in.pending);
    magpie_snapshot_close(s->in.snapshot);
    s->in.snapshot = NULL;
}

static magpie_status commit(magpie_ingest_session *s) {
    const magpie_pending_hooks hooks = {refused, file_refused, encoded_block, s};
    const magpie_pending *pending = &s->in.pending;
    magpie_status status = pending->count ? magpie_intake_encode(&s->in, &hooks) : MAGPIE_OK;
    if (pending->count && status == MAGPIE_OK) status = magpie_intake_commit(&s->in, NULL, NULL);
    for (size_t i = 0; i < pending->count && status == MAGPIE_OK; i++) {
        const magpie_pending_item *item = &pending->items[i];
        magpie_ingest_answer *answer = &s->answers[item->number];
        if (!item->refused)
            status =
                set_answer(answer, item->line.item.id, answer->verdict, MAGPIE_OK, item->line.item.problems);
    }
    forget_pending(s);
    return status;
}

/* What cannot go on takes back all that is not committed. */
static magpie_status end_call(magpie_ingest_session *s, magpie_status status) {
    if (status == MAGPIE_OK) return status;
    forget_pending(s);
    forget_answers(s);
    return status;
}

magpie_status magpie_ingest_session_flush(magpie_ingest_session *s, const magpie_ingest_answer **answers,
                                          size_t *count) {
    if (s->flushed) forget_answers(s);
    magpie_status status = end_call(s, commit(s));
    s->flushed = true;
    *answers = s->answers;
    *count = s->count;
    return status;
}

/* ---- a line ---------------------------------------------------------------------------------------------- */

/* What the store has under an id, once nothing of it is waiting; *stored NULL: nothing. */
static magpie_status find_stored(magpie_ingest_session *s, magpie_string id, magpie_item *memory,
                                 const magpie_item **stored) {
    magpie_status status = magpie_pending_find(&s->in.pending, id) ? commit(s) : MAGPIE_OK;
    if (status == MAGPIE_OK && !s->in.snapshot) status = magpie_intake_renew_snapshot(&s->in);
    if (status == MAGPIE_OK) status = magpie_snapshot_get(s->in.snapshot, id, memory);
    *stored = status == MAGPIE_OK ? memory : NULL;
    return status == MAGPIE_E_NOT_FOUND ? MAGPIE_OK : status;
}

typedef magpie_status (*planner)(magpie_intake *in, magpie_item *item, const magpie_origin *origin,
                                 const magpie_item *stored, magpie_vector_plan *plan, bool *same);

static magpie_status plan_line(magpie_intake *in, magpie_item *item, const magpie_origin *origin,
                               const magpie_item *stored, magpie_vector_plan *plan, bool *same) {
    return magpie_intake_plan(in, item, origin, NULL, stored, plan, same);
}

/* Takes over what `parsed` has where it is to be stored. */
static magpie_status take_item(magpie_ingest_session *s, magpie_ingest_answer *answer, magpie_string line,
                               magpie_catalogue_line *parsed, const magpie_item *stored, planner plan_item) {
    magpie_vector_plan plan;
    bool same;
    magpie_item *item = &parsed->item;
    magpie_ingest_verdict verdict = stored ? MAGPIE_INGEST_UPDATED : MAGPIE_INGEST_CREATED;
    const magpie_origin origin = {.catalogue = s->catalogue, .base = s->catalogue};
    magpie_status status = plan_item(&s->in, item, &origin, stored, &plan, &same);
    if (status != MAGPIE_OK) return status;
    status =
        set_answer(answer, item->id, same ? MAGPIE_INGEST_UNCHANGED : verdict, MAGPIE_OK, item->problems);
    if (status != MAGPIE_OK || same) return status;
    const magpie_line source = {
        .data = line.data, .size = line.size, .number = (size_t)(answer - s->answers)};
    return magpie_pending_add(&s->in.pending, parsed, &source, &origin, &plan);
}

magpie_status magpie_ingest_session_put(magpie_ingest_session *s, const char *line, size_t size) {
    magpie_catalogue_line parsed = {0};
    magpie_ingest_answer *answer;
    magpie_item memory;
    const magpie_item *stored;
    magpie_status status = add_answer(s, &answer), put;
    if (status != MAGPIE_OK) return end_call(s, status);
    put = magpie_catalogue_parse(line, size, &parsed);
    if (concerns_one_line(put))
        status = refuse(answer, parsed.item.id, put);
    else
        status = put;
    if (put == MAGPIE_OK) status = find_stored(s, parsed.item.id, &memory, &stored);
    if (put == MAGPIE_OK && status == MAGPIE_OK)
        status = take_item(s, answer, (magpie_string){line, size}, &parsed, stored, plan_line);
    magpie_catalogue_line_free(&parsed);
    return end_call(s, status);
}

/* ---- a patch --------------------------------------------------------------------------------------------- */

/* RFC 7396. */
static void merge(json_t *into, json_t *patch) {
    const char *name;
    json_t *value;
    json_object_foreach(patch, name, value) {
        if (json_is_null(value)) {
            json_object_del(into, name);
        } else if (json_is_object(value)) {
            json_t *inner = json_object_get(into, name);
            if (!json_is_object(inner)) json_object_set_new(into, name, inner = json_object());
            merge(inner, value);
        } else {
            json_object_set(into, name, value);
        }
    }
}

/* The line of a catalogue that says what `item` is, with other attributes. */
static magpie_status write_line(const magpie_item *item, const json_t *attributes, magpie_text *line) {
    magpie_text text = {0};
    magpie_item other = *item;
    magpie_status status = magpie_canonical_json(attributes, MAGPIE_ATTRIBUTE_DEPTH_MAX, &text);
    if (status == MAGPIE_E_INPUT) status = magpie_fail(status, "attributes are %s", magpie_error());
    other.attributes = (magpie_string){text.data, text.size};
    magpie_catalogue_append(&other, line);
    magpie_text_append(line, "}", 1);
    magpie_text_free(&text);
    return status == MAGPIE_OK ? magpie_text_status(line) : status;
}

static magpie_status parse_patch(const char *patch, size_t size, json_t **out) {
    json_error_t error;
    if (size > MAGPIE_LINE_MAX)
        return magpie_fail(MAGPIE_E_TOO_LARGE, "the patch has %zu bytes; the limit is %d", size,
                           MAGPIE_LINE_MAX);
    *out = json_loadb(patch, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (!*out) return magpie_fail(MAGPIE_E_INPUT, "broken JSON at byte %d: %s", error.position, error.text);
    return json_is_object(*out) ? MAGPIE_OK
                                : magpie_fail(MAGPIE_E_INPUT, "a patch of attributes should be an object");
}

/* The line that the patched item would have. */
static magpie_status patch_line(const magpie_item *stored, const char *patch, size_t size,
                                magpie_text *line) {
    json_t *changes = NULL, *attributes = NULL;
    magpie_string now = stored->attributes;
    magpie_status status = parse_patch(patch, size, &changes);
    if (status == MAGPIE_OK) {
        attributes = now.size ? json_loadb(now.data, now.size, 0, NULL) : json_object();
        if (!json_is_object(attributes))
            status = magpie_fail(MAGPIE_E_CORRUPT, "%.*s: its attributes are no JSON object",
                                 (int)stored->id.size, stored->id.data);
    }
    if (status == MAGPIE_OK) {
        merge(attributes, changes);
        status = write_line(stored, attributes, line);
    }
    json_decref(attributes);
    json_decref(changes);
    return status;
}

magpie_status magpie_ingest_session_patch(magpie_ingest_session *s, magpie_string id, const char *patch,
                                          size_t size) {
    magpie_catalogue_line parsed = {0};
    magpie_text line = {0};
    magpie_ingest_answer *answer;
    magpie_item memory;
    const magpie_item *stored = NULL;
    magpie_status status = add_answer(s, &answer), patched;
    if (status == MAGPIE_OK) status = find_stored(s, id, &memory, &stored);
    if (status != MAGPIE_OK) return end_call(s, status);
    patched = stored ? patch_line(stored, patch, size, &line)
                     : magpie_fail(MAGPIE_E_NOT_FOUND, "no item has this id");
    if (patched == MAGPIE_OK) patched = magpie_catalogue_parse(line.data, line.size, &parsed);
    if (concerns_one_line(patched))
        status = refuse(answer, id, patched);
    else
        status = patched;
    if (patched == MAGPIE_OK)
        status = take_item(s, answer, (magpie_string){line.data, line.size}, &parsed, stored,
                           magpie_intake_plan_kept);
    magpie_catalogue_line_free(&parsed);
    magpie_text_free(&line);
    return end_call(s, status);
}

/* ---- the session ----------------------------------------------------------------------------------------- */

magpie_status magpie_ingest_session_open(magpie_store *store, const magpie_ingest_encoders *encoders,
                                         const magpie_ingest_options *options, magpie_ingest_session **out) {
    magpie_ingest_session *s = magpie_alloc(1, sizeof *s);
    if (!s) return MAGPIE_E_NO_MEMORY;
    s->options = *options;
    s->catalogue = strdup(options->catalogues[0]);
    magpie_status status = s->catalogue ? MAGPIE_OK : magpie_fail(MAGPIE_E_NO_MEMORY, "out of memory");
    if (status == MAGPIE_OK) status = magpie_intake_begin(&s->in, store, encoders, &s->options);
    if (status == MAGPIE_OK) status = magpie_intake_bind(&s->in);
    if (status == MAGPIE_OK)
        *out = s;
    else
        magpie_ingest_session_close(s);
    return status;
}

void magpie_ingest_session_close(magpie_ingest_session *s) {
    if (!s) return;
    magpie_intake_free(&s->in);
    forget_answers(s);
    free(s->answers);
    free(s->catalogue);
    free(s);
}
