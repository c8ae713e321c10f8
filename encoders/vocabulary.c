/* vocabulary.c - tokens by spelling, built in the time that a program may take to start.
 *
 * The hash is FNV-1a, a byte at a time, for the sake of the longest match: one pass over the next few bytes
 * of a word leaves the hash of each of its prefixes, and the search then goes from the longest down without
 * hashing again. That a token goes on with a word ("##") is only another state to begin from. The search
 * knows the longest token, so it never looks further into a word than the vocabulary can match. */
#include "vocabulary.h"
#include "encoders.h"
#include "utf8.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static const uint64_t HASH_START = 0xCBF29CE484222325;

static uint64_t hash_byte(uint64_t hash, char byte) { return (hash ^ (unsigned char)byte) * 0x100000001B3; }

static uint64_t hash_bytes(uint64_t hash, const char *bytes, size_t size) {
    for (size_t i = 0; i < size; i++) hash = hash_byte(hash, bytes[i]);
    return hash;
}

/* FNV's low bits know little of its high ones: the upper half of this chooses the slot, the lower is the tag.
 */
static uint64_t spread(uint64_t hash) { return (hash ^ hash >> 32) * 0x9E3779B97F4A7C15; }

static magpie_string token_at(const vocabulary *v, size_t id) {
    return (magpie_string){v->bytes + v->offsets[id], v->offsets[id + 1] - v->offsets[id]};
}

/* The slot of the token that `continues` and `text` spell, or the free one where it would go. */
static struct vocabulary_slot *find_slot(const vocabulary *v, uint64_t hash, bool continues, const char *text,
                                         size_t size) {
    uint64_t mixed = spread(hash);
    size_t ahead = continues ? v->continuing_size : 0;
    for (uint32_t i = (uint32_t)(mixed >> 32) & v->mask;; i = (i + 1) & v->mask) {
        struct vocabulary_slot *slot = &v->slots[i];
        if (!slot->entry) return slot;
        if (slot->tag != (uint32_t)mixed) continue;
        magpie_string token = token_at(v, slot->entry - 1);
        if (token.size == ahead + size && memcmp(token.data, v->continuing, ahead) == 0 &&
            memcmp(token.data + ahead, text, size) == 0)
            return slot;
    }
}

static void layout(vocabulary *v, size_t bytes, magpie_block *block) {
    v->offsets = magpie_carve(block, v->count + 1, sizeof *v->offsets);
    v->slots = magpie_carve(block, (size_t)v->mask + 1, sizeof *v->slots);
    v->bytes = magpie_carve(block, bytes, 1);
}

static magpie_status reserve(vocabulary *v, size_t count, size_t bytes, const char *continuing) {
    *v = (vocabulary){.count = count, .continuing = continuing, .continuing_size = strlen(continuing)};
    v->continuing_hash = hash_bytes(HASH_START, continuing, v->continuing_size);
    while (v->mask < 2 * count) v->mask = 2 * v->mask + 1;
    layout(v, bytes, &v->block);
    magpie_status status = magpie_block_alloc(&v->block);
    if (status == MAGPIE_OK) layout(v, bytes, &v->block);
    return status;
}

/* Ids come in order. False where the token is there already: *other is its id. */
static bool put(vocabulary *v, size_t id, magpie_string token, size_t *other) {
    v->offsets[id + 1] = v->offsets[id] + (uint32_t)token.size;
    if (!token.size) return true;
    memcpy(v->bytes + v->offsets[id], token.data, token.size);
    if (token.size > v->longest) v->longest = token.size;
    uint64_t hash = hash_bytes(HASH_START, token.data, token.size);
    struct vocabulary_slot *slot = find_slot(v, hash, false, token.data, token.size);
    if (slot->entry) return *other = slot->entry - 1, false;
    *slot = (struct vocabulary_slot){(uint32_t)spread(hash), (uint32_t)id + 1};
    return true;
}

static magpie_status fail_too_many(const char *path) {
    return magpie_fail(MAGPIE_E_TOO_LARGE, "%s: more than %d tokens", path, VOCABULARY_MAX);
}

static magpie_status fail_too_long(const char *path, size_t id, size_t size) {
    return magpie_fail(MAGPIE_E_TOO_LARGE, "%s: token %zu has %zu bytes; the limit is %d", path, id, size,
                       TOKEN_BYTES_MAX);
}

static bool is_white(char c) { return c == ' ' || c == '\t' || c == '\r'; }

/* Takes the next line off *rest. What is white at its end is not part of the token: a word cannot hold it. */
static bool next_line(magpie_string *rest, magpie_string *line) {
    if (!rest->size) return false;
    const char *newline = memchr(rest->data, '\n', rest->size);
    size_t size = newline ? (size_t)(newline - rest->data) : rest->size, whole = newline ? size + 1 : size;
    *line = (magpie_string){rest->data, size};
    *rest = (magpie_string){rest->data + whole, rest->size - whole};
    while (line->size && is_white(line->data[line->size - 1])) line->size--;
    return true;
}

/* Counts tokens and their bytes, before anything is allocated for them. */
static magpie_status measure_lines(const char *path, magpie_string rest, size_t *count, size_t *bytes) {
    magpie_string line;
    *count = *bytes = 0;
    while (next_line(&rest, &line)) {
        if (line.size > TOKEN_BYTES_MAX) return fail_too_long(path, *count, line.size);
        if (*count == VOCABULARY_MAX) return fail_too_many(path);
        ++*count;
        *bytes += line.size;
    }
    return MAGPIE_OK;
}

magpie_status vocabulary_read_lines(const char *path, const char *continuing, vocabulary *out) {
    magpie_map map;
    magpie_string line;
    size_t count, bytes, other, id = 0;
    magpie_status status = magpie_map_open(path, &map);
    if (status != MAGPIE_OK) return status;
    magpie_string rest = {(const char *)map.data, map.size};
    status = magpie_utf8_check(rest);
    if (status != MAGPIE_OK) status = magpie_fail(MAGPIE_E_CORRUPT, "%s: %s", path, magpie_error());
    if (status == MAGPIE_OK) status = measure_lines(path, rest, &count, &bytes);
    if (status == MAGPIE_OK) status = reserve(out, count, bytes, continuing);
    while (status == MAGPIE_OK && next_line(&rest, &line)) {
        if (!put(out, id++, line, &other))
            status = magpie_fail(MAGPIE_E_CORRUPT, "%s:%zu: \"%.*s\" is the token of line %zu already", path,
                                 id, (int)line.size, line.data, other + 1);
    }
    magpie_map_close(&map);
    return status;
}

struct entry {
    int64_t id;
    magpie_string token;
};

static int by_id(const void *a, const void *b) {
    int64_t x = ((const struct entry *)a)->id, y = ((const struct entry *)b)->id;
    return (x > y) - (x < y);
}

/* The object's members in order of id, checked. *bytes: of their spellings. */
static magpie_status collect(const char *path, json_t *object, struct entry *entries, size_t *bytes) {
    const char *token;
    json_t *id;
    size_t n = 0;
    *bytes = 0;
    json_object_foreach(object, token, id) {
        size_t size = strlen(token);
        if (!json_is_integer(id) || json_integer_value(id) < 0)
            return magpie_fail(MAGPIE_E_CORRUPT, "%s: the id of token \"%.200s\" is not a number", path,
                               token);
        if (json_integer_value(id) >= VOCABULARY_MAX) return fail_too_many(path);
        if (size > TOKEN_BYTES_MAX) return fail_too_long(path, (size_t)json_integer_value(id), size);
        entries[n++] = (struct entry){json_integer_value(id), {token, size}};
        *bytes += size;
    }
    qsort(entries, n, sizeof *entries, by_id);
    for (size_t i = 1; i < n; i++)
        if (entries[i].id == entries[i - 1].id)
            return magpie_fail(MAGPIE_E_CORRUPT, "%s: tokens \"%s\" and \"%s\" have the same id", path,
                               entries[i - 1].token.data, entries[i].token.data);
    return MAGPIE_OK;
}

/* Ids that no token has are filled with empty ones. */
static magpie_status fill(const struct entry *entries, size_t n, size_t bytes, const char *continuing,
                          vocabulary *out) {
    size_t other, next = 0, count = n ? (size_t)entries[n - 1].id + 1 : 0;
    magpie_status status = reserve(out, count, bytes, continuing);
    for (size_t id = 0; status == MAGPIE_OK && id < count; id++) {
        bool has = (size_t)entries[next].id == id;
        (void)put(out, id, has ? entries[next].token : (magpie_string){0},
                  &other); /* keys are unique: the parser saw */
        next += has;
    }
    return status;
}

magpie_status vocabulary_read_json(const char *path, magpie_string object, const char *continuing,
                                   vocabulary *out) {
    json_error_t error;
    size_t bytes;
    json_t *json = json_loadb(object.data, object.size, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(json)) {
        json_decref(json);
        return magpie_fail(MAGPIE_E_CORRUPT, "%s: model.vocab: %s", path,
                           json ? "is not an object" : error.text);
    }
    size_t n = json_object_size(json);
    struct entry *entries = n <= VOCABULARY_MAX ? magpie_alloc(n, sizeof *entries) : NULL;
    magpie_status status = n > VOCABULARY_MAX ? fail_too_many(path)
                           : entries          ? MAGPIE_OK
                                              : MAGPIE_E_NO_MEMORY;
    if (status == MAGPIE_OK) status = collect(path, json, entries, &bytes);
    if (status == MAGPIE_OK) status = fill(entries, n, bytes, continuing, out);
    free(entries);
    json_decref(json);
    return status;
}

void vocabulary_free(vocabulary *v) {
    magpie_block_free(&v->block);
    *v = (vocabulary){0};
}

int32_t vocabulary_find(const vocabulary *v, magpie_string token) {
    if (!token.size || !v->count) return -1;
    uint64_t hash = hash_bytes(HASH_START, token.data, token.size);
    return (int32_t)find_slot(v, hash, false, token.data, token.size)->entry - 1;
}

int32_t vocabulary_longest(const vocabulary *v, bool continues, const char *text, size_t size,
                           size_t *taken) {
    uint64_t hashes[TOKEN_BYTES_MAX + 1], hash = continues ? v->continuing_hash : HASH_START;
    size_t n = size < v->longest ? size : v->longest;
    for (size_t i = 0; i < n; i++) hashes[i + 1] = hash = hash_byte(hash, text[i]);
    for (; n; n--) {
        if (n < size && utf8_is_continuation(text[n])) continue; /* would end inside a character */
        const struct vocabulary_slot *slot = find_slot(v, hashes[n], continues, text, n);
        if (slot->entry) return *taken = n, (int32_t)slot->entry - 1;
    }
    return -1;
}
