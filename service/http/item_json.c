/* item_json.c - see item_json.h. */
#include "item_json.h"
#include "media_type.h"
#include "server.h"

#include <stdlib.h>
#include <string.h>

static const char *const media_names[WRITE_MEDIA] = {"image", "audio"};
static const size_t media_limits[WRITE_MEDIA] = {MAGPIE_IMAGE_BYTES_MAX, SOUND_BYTES_MAX};

/* ---- reading ------------------------------------------------------------------------------------------- */

/* Replaces the member by the reference to what has been written. */
static magpie_status read_medium(http_request *r, json_t *item, write_one *one, unsigned m) {
    unsigned char *bytes = NULL;
    size_t size;
    const json_t *value = json_object_get(item, media_names[m]);
    if (!value || json_is_null(value)) return MAGPIE_OK;
    magpie_status status = http_decode_media(value, media_limits[m], &bytes, &size);
    if (status == MAGPIE_OK)
        status = store_media_write(r->view.store, one->id, (magpie_string){(char *)bytes, size}, m == 0,
                                   &one->media[m]);
    free(bytes);
    if (status == MAGPIE_OK &&
        json_object_set_new(item, media_names[m], json_string(one->media[m].reference)) != 0)
        status = magpie_fail(MAGPIE_E_NO_MEMORY, "memory is short");
    return status;
}

/* As far as it can be read: what is wrong with it is said by the session. */
static bool read_id(const json_t *item, write_one *one) {
    const json_t *id = json_object_get(item, "id");
    const size_t size = json_string_length(id);
    if (!size || size > MAGPIE_ID_MAX || !(one->own_id = strdup(json_string_value(id)))) return false;
    one->id = (magpie_string){one->own_id, size};
    return true;
}

void item_json_read(http_request *r, json_t *item, write_one *one) {
    one->kind = WRITE_PUT;
    const bool named = read_id(item, one);
    for (unsigned m = 0; m < WRITE_MEDIA && one->status == MAGPIE_OK; m++) {
        if (!named) { /* nothing is written for nobody */
            json_object_del(item, media_names[m]);
            continue;
        }
        magpie_status status = read_medium(r, item, one, m);
        if (status == MAGPIE_OK) continue;
        write_one_fail(one, status);
        one->field = media_names[m];
    }
    if (one->status != MAGPIE_OK) return;
    one->own_line = json_dumps(item, JSON_COMPACT | JSON_ENCODE_ANY);
    if (!one->own_line) write_one_fail(one, magpie_fail(MAGPIE_E_NO_MEMORY, "memory is short"));
    one->line = magpie_string_of(one->own_line ? one->own_line : "");
}

/* ---- answering ----------------------------------------------------------------------------------------- */

/* Where the words of a refusal begin with the field's name. */
static const char *field_of(const write_one *one) {
    static const char *const names[] = {"id", "text", "attributes", "timestamp"};
    if (one->field || one->status != MAGPIE_E_INPUT || !one->words) return one->field;
    const size_t size = strcspn(one->words, " ");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strlen(names[i]) == size && strncmp(names[i], one->words, size) == 0) return names[i];
    return NULL;
}

static const char *words_of(const write_one *one) { return one->words ? one->words : "memory is short"; }

static void append_failure(http_request *r, magpie_text *out, const write_one *one) {
    const unsigned status = http_status_of(one->status);
    http_append_error(out, http_code_of(status), field_of(one), http_words(r, status, words_of(one)));
}

void item_json_append(http_request *r, magpie_text *out, const write_one *one, size_t line) {
    static const char *const verdicts[] = {[MAGPIE_INGEST_CREATED] = "created",
                                           [MAGPIE_INGEST_UPDATED] = "updated",
                                           [MAGPIE_INGEST_UNCHANGED] = "unchanged"};
    magpie_text_append(out, "{", 1);
    if (one->id.size) {
        magpie_text_printf(out, "\"id\": ");
        magpie_text_json_string(out, one->id.data, one->id.size);
        magpie_text_append(out, ", ", 2);
    }
    if (one->status != MAGPIE_OK) {
        if (line) magpie_text_printf(out, "\"line\": %zu, ", line);
        append_failure(r, out, one);
    } else {
        magpie_text_printf(out, "\"status\": \"%s\", \"problems\": ", verdicts[one->verdict]);
        if (one->words)
            magpie_text_json_string(out, one->words, strlen(one->words));
        else
            magpie_text_printf(out, "null");
    }
    magpie_text_append(out, "}", 1);
}

http_outcome item_json_fail(http_request *r, const write_one *one) {
    if (one->status == MAGPIE_E_NOT_FOUND) return item_json_missing(r);
    return http_failure(r, magpie_fail(one->status, "%s", words_of(one)), field_of(one));
}

http_outcome item_json_missing(http_request *r) {
    return http_error(r, MHD_HTTP_NOT_FOUND, NULL, "id", "there is no item of this id");
}

/* ---- waiting ------------------------------------------------------------------------------------------- */

bool item_json_wants_wait(http_request *r, bool *wait) {
    const char *given = http_query(r, "wait");
    *wait = given && strcmp(given, "true") == 0;
    if (!given || *wait || strcmp(given, "false") == 0) return true;
    http_error(r, MHD_HTTP_BAD_REQUEST, NULL, "wait", "true or false is wanted");
    return false;
}

bool item_json_wait(http_request *r) {
    magpie_status status = serving_catch_up(r->server->source);
    if (status == MAGPIE_OK) return true;
    http_error(r, MHD_HTTP_SERVICE_UNAVAILABLE, NULL, NULL, "it is written, but cannot be found yet: %s",
               magpie_error());
    return false;
}
