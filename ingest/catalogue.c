/* catalogue.c - one line of a catalogue to one item, strictly.
 *
 * What is wrong is said in words that a person can act upon, because they land in the rejects file. A key
 * that is not known is refused: a catalogue in which "text" is misspelt would otherwise be ingested without
 * its texts.
 *
 * HASHES. Each is XXH3-128 over the lengths and hashes of its parts, so that moving a byte from one part to
 * the next changes it. The content hash has everything but the id; that of the text is what its vector is
 * made of. */
#include "catalogue.h"
#include "canonical.h"
#include "timestamp.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { HASH_VERSION = 1 /* a change makes every item look new: all vectors are computed again */ };

/* Where a string lies in the line's memory, which moves while it grows. */
typedef struct part {
    size_t at, size;
    bool present;
} part;

typedef struct parts {
    magpie_text memory; /* every string with a NUL behind it, one after the other */
    part id, text, image, audio, attributes;
    int64_t timestamp;
} parts;

static magpie_status append_string(parts *p, const char *key, const json_t *value, part *out) {
    if (!json_is_string(value)) return magpie_fail(MAGPIE_E_INPUT, "%s should be a string", key);
    *out = (part){p->memory.size, json_string_length(value), true};
    magpie_text_append(&p->memory, json_string_value(value), out->size + 1);
    return magpie_text_status(&p->memory);
}

static magpie_status append_reference(parts *p, const char *key, const json_t *value, part *out) {
    magpie_status status = append_string(p, key, value, out);
    if (status != MAGPIE_OK || !magpie_is_data((magpie_string){json_string_value(value), out->size}))
        return status;
    return magpie_fail(MAGPIE_E_INPUT,
                       "%s is a data: URL: a store keeps references to files; magpie encode takes these",
                       key);
}

static magpie_status read_id(parts *p, const json_t *root) {
    const json_t *id = json_object_get(root, "id");
    if (!id) return magpie_fail(MAGPIE_E_INPUT, "id is missing");
    magpie_status status = append_string(p, "id", id, &p->id);
    if (status != MAGPIE_OK) return status;
    if (!p->id.size) return magpie_fail(MAGPIE_E_INPUT, "id is empty");
    if (p->id.size > MAGPIE_ID_MAX)
        return magpie_fail(MAGPIE_E_INPUT, "id has %zu bytes; the limit is %d", p->id.size, MAGPIE_ID_MAX);
    return MAGPIE_OK;
}

static magpie_status read_attributes(parts *p, const json_t *value) {
    if (!json_is_object(value)) return magpie_fail(MAGPIE_E_INPUT, "attributes should be an object");
    if (!json_object_size(value)) return MAGPIE_OK; /* {} says no more than nothing does */
    size_t at = p->memory.size;
    magpie_status status = magpie_canonical_json(value, MAGPIE_ATTRIBUTE_DEPTH_MAX, &p->memory);
    if (status == MAGPIE_E_INPUT) return magpie_fail(status, "attributes are %s", magpie_error());
    p->attributes = (part){at, p->memory.size - at, true};
    magpie_text_append(&p->memory, "", 1);
    return status == MAGPIE_OK ? magpie_text_status(&p->memory) : status;
}

static magpie_status read_timestamp(parts *p, const json_t *value) {
    if (json_is_string(value)) return magpie_timestamp_parse(json_string_value(value), &p->timestamp);
    if (!json_is_number(value))
        return magpie_fail(MAGPIE_E_INPUT, "timestamp should be a number of seconds or a string");
    double millis = round(json_number_value(value) * 1000);
    if (!(millis >= (double)MAGPIE_TIMESTAMP_MIN && millis <= (double)MAGPIE_TIMESTAMP_MAX))
        return magpie_fail(MAGPIE_E_INPUT,
                           "timestamp %.17g is not in the years 0 to 9999; it counts seconds since 1970",
                           json_number_value(value));
    p->timestamp = (int64_t)millis;
    return MAGPIE_OK;
}

static magpie_status read_key(parts *p, const char *key, const json_t *value) {
    bool null = json_is_null(value);              /* as good as absent, but not as an id */
    if (strcmp(key, "id") == 0) return MAGPIE_OK; /* has been read */
    if (strcmp(key, "text") == 0) return null ? MAGPIE_OK : append_string(p, key, value, &p->text);
    if (strcmp(key, "image") == 0) return null ? MAGPIE_OK : append_reference(p, key, value, &p->image);
    if (strcmp(key, "audio") == 0) return null ? MAGPIE_OK : append_reference(p, key, value, &p->audio);
    if (strcmp(key, "attributes") == 0) return null ? MAGPIE_OK : read_attributes(p, value);
    if (strcmp(key, "timestamp") == 0) return null ? MAGPIE_OK : read_timestamp(p, value);
    return magpie_fail(MAGPIE_E_INPUT,
                       "unknown key \"%.60s\"; the keys are id, text, image, audio, attributes, timestamp",
                       key);
}

/* The id first, so that whatever else is wrong can be said of an id. */
static magpie_status read_object(parts *p, json_t *root) {
    if (!json_is_object(root))
        return magpie_fail(MAGPIE_E_INPUT, "the line should be an object: {\"id\": ...}");
    magpie_status status = read_id(p, root);
    const char *key;
    json_t *value;
    json_object_foreach(root, key, value) {
        if (status != MAGPIE_OK) break;
        status = read_key(p, key, value);
    }
    return status;
}

magpie_status magpie_catalogue_load(const char *line, size_t size, size_t limit, json_t **out) {
    *out = NULL;
    if (size > limit)
        return magpie_fail(MAGPIE_E_TOO_LARGE, "the line has %zu bytes; the limit is %zu", size, limit);
    magpie_status status = magpie_utf8_check((magpie_string){line, size});
    if (status != MAGPIE_OK) return magpie_fail(status, "broken UTF-8: %s", magpie_error());
    if (size >= 3 && memcmp(line, "\xEF\xBB\xBF", 3) == 0)
        line += 3, size -= 3; /* what Windows begins files with */
    json_error_t error;
    *out = json_loadb(line, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    return *out ? MAGPIE_OK
                : magpie_fail(MAGPIE_E_INPUT, "broken JSON at byte %d: %s", error.position, error.text);
}

static magpie_string resolve(const parts *p, part where) {
    return where.present ? (magpie_string){p->memory.data + where.at, where.size} : (magpie_string){0};
}

static void hash_parts(const magpie_string *strings, size_t n, int64_t number, uint64_t out[2]) {
    uint64_t words[2 + 4 * 3] = {HASH_VERSION, (uint64_t)number};
    size_t used = 2;
    for (size_t i = 0; i < n; i++) {
        XXH128_hash_t hash = XXH3_128bits(strings[i].data, strings[i].size);
        words[used++] = strings[i].size;
        words[used++] = hash.low64;
        words[used++] = hash.high64;
    }
    XXH128_hash_t hash = XXH3_128bits(words, used * sizeof *words);
    out[0] = hash.low64;
    out[1] = hash.high64;
}

magpie_status magpie_catalogue_take(json_t *root, magpie_catalogue_line *out) {
    parts p = {.timestamp = INT64_MIN};
    magpie_status status = read_object(&p, root);
    *out = (magpie_catalogue_line){.memory = p.memory.data};
    out->item.id = resolve(&p, p.id);
    out->item.timestamp = INT64_MIN;
    if (status != MAGPIE_OK) return status;
    out->item.text = resolve(&p, p.text);
    out->item.image = resolve(&p, p.image);
    out->item.audio = resolve(&p, p.audio);
    out->item.attributes = resolve(&p, p.attributes);
    out->item.timestamp = p.timestamp;
    const magpie_string all[] = {out->item.text, out->item.image, out->item.audio, out->item.attributes};
    hash_parts(all, 4, p.timestamp, out->item.content_hash);
    if (p.text.size) {
        uint64_t hash[2];
        hash_parts(all, 1, 0, hash);
        out->item.encoded_hash[MAGPIE_SPACE_TEXT] = hash[0];
    }
    return MAGPIE_OK;
}

magpie_status magpie_catalogue_parse(const char *line, size_t size, magpie_catalogue_line *out) {
    json_t *root;
    *out = (magpie_catalogue_line){0};
    magpie_status status = magpie_catalogue_load(line, size, MAGPIE_LINE_MAX, &root);
    if (status == MAGPIE_OK) status = magpie_catalogue_take(root, out);
    json_decref(root);
    return status;
}

/* ---- the way back --------------------------------------------------------------------------------------- */

static void append_member(magpie_text *line, const char *key, magpie_string value) {
    if (!value.size) return;
    magpie_text_printf(line, ",\"%s\":", key);
    magpie_text_json_string(line, value.data, value.size);
}

void magpie_catalogue_append(const magpie_item *item, magpie_text *line) {
    magpie_text_printf(line, "{\"id\":");
    magpie_text_json_string(line, item->id.data, item->id.size);
    append_member(line, "text", item->text);
    append_member(line, "image", item->image);
    append_member(line, "audio", item->audio);
    if (item->timestamp != INT64_MIN) {
        long long millis = llabs(item->timestamp);
        magpie_text_printf(line, ",\"timestamp\":%s%lld.%03lld", item->timestamp < 0 ? "-" : "",
                           millis / 1000, millis % 1000);
    }
    if (!item->attributes.size) return;
    magpie_text_printf(line, ",\"attributes\":");
    magpie_text_append(line, item->attributes.data, item->attributes.size);
}

char *magpie_catalogue_resolve(const char *catalogue, magpie_string reference) {
    magpie_text path = {0};
    const char *slash = strcmp(catalogue, "-") == 0 ? NULL : strrchr(catalogue, '/');
    if (slash && reference.size && reference.data[0] != '/')
        magpie_text_append(&path, catalogue, (size_t)(slash - catalogue) + 1);
    magpie_text_append(&path, reference.data, reference.size);
    if (magpie_text_status(&path) == MAGPIE_OK) return path.data;
    magpie_text_free(&path);
    return NULL;
}

void magpie_catalogue_line_free(magpie_catalogue_line *line) {
    free(line->memory);
    *line = (magpie_catalogue_line){0};
}
