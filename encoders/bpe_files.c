/* bpe_files.c - reads tokenizer.json, or vocab.json and merges.txt. */
#include "bpe_files.h"
#include "json_skim.h"
#include "utf8.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_LIMIT = 256 << 20, PAIR_BYTES_MAX = 2 * TOKEN_BYTES_MAX };

#define BEGIN "<|startoftext|>"
#define END "<|endoftext|>"
#define END_OF_WORD "</w>"

/* Two generations of CLIPTokenizer. */
#define PIECES "'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+"
#define SPECIAL_PIECES "<\\|startoftext\\|>|<\\|endoftext\\|>|" PIECES

/* ---- merges ---- */

static uint32_t slot_of(const bpe_tables *t, int32_t left, int32_t right) {
    uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    return (uint32_t)((pair * 0x9E3779B97F4A7C15) >> 32) & t->mask;
}

/* The slot of a pair, or the free one where it would go. */
static bpe_merge *find_slot(const bpe_tables *t, int32_t left, int32_t right) {
    for (uint32_t i = slot_of(t, left, right);; i = (i + 1) & t->mask) {
        bpe_merge *slot = &t->merges[i];
        if (slot->left < 0 || (slot->left == left && slot->right == right)) return slot;
    }
}

const bpe_merge *bpe_find_merge(const bpe_tables *t, int32_t left, int32_t right) {
    const bpe_merge *slot = find_slot(t, left, right);
    return slot->left < 0 ? NULL : slot;
}

static magpie_status reserve_merges(bpe_tables *t, const char *path, size_t count) {
    if (count > VOCABULARY_MAX)
        return magpie_fail(MAGPIE_E_TOO_LARGE, "%s: more than %d merges", path, VOCABULARY_MAX);
    t->mask = 1;
    while (t->mask < 2 * count) t->mask = 2 * t->mask + 1;
    t->merges = magpie_alloc((size_t)t->mask + 1, sizeof *t->merges);
    if (!t->merges) return MAGPIE_E_NO_MEMORY;
    for (size_t i = 0; i <= t->mask; i++) t->merges[i].left = -1;
    return MAGPIE_OK;
}

/* A pair that is there twice has its last rank, as in the original. */
static magpie_status add_merge(bpe_tables *t, const char *path, size_t rank, magpie_string left,
                               magpie_string right) {
    char both[PAIR_BYTES_MAX];
    if (!left.size || !right.size || left.size + right.size > sizeof both)
        return magpie_fail(MAGPIE_E_CORRUPT, "%s: merge %zu is not two tokens", path, rank);
    memcpy(both, left.data, left.size);
    memcpy(both + left.size, right.data, right.size);
    bpe_merge merge = {.left = vocabulary_find(&t->vocabulary, left),
                       .right = vocabulary_find(&t->vocabulary, right),
                       .merged =
                           vocabulary_find(&t->vocabulary, (magpie_string){both, left.size + right.size}),
                       .rank = (uint32_t)rank};
    if (merge.left < 0 || merge.right < 0 || merge.merged < 0)
        return magpie_fail(MAGPIE_E_CORRUPT,
                           "%s: merge %zu, \"%.*s %.*s\": the vocabulary lacks a token of it", path, rank,
                           (int)left.size, left.data, (int)right.size, right.data);
    *find_slot(t, merge.left, merge.right) = merge;
    return MAGPIE_OK;
}

/* "left right", from 0 */
static magpie_status add_merge_line(bpe_tables *t, const char *path, size_t rank, magpie_string line) {
    const char *space = memchr(line.data, ' ', line.size);
    size_t size = space ? (size_t)(space - line.data) : line.size;
    magpie_string right = {space ? space + 1 : NULL, space ? line.size - size - 1 : 0};
    return add_merge(t, path, rank, (magpie_string){line.data, size}, right);
}

/* ---- tables of both kinds of files ---- */

/* How GPT-2 spells bytes in a vocabulary: those that print as themselves, the others from U+0100 on. */
static uint32_t spelling_of(unsigned byte) {
    bool prints = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    if (prints) return byte;
    if (byte <= 0x20) return 0x100 + byte;
    return byte <= 0xA0 ? 0x100 + 0x21 + byte - 0x7F : 0x143; /* 7F..A0, then AD */
}

static magpie_status number_bytes(bpe_tables *t, const char *path) {
    for (unsigned byte = 0; byte < BPE_BYTES; byte++) {
        char token[UTF8_BYTES_MAX + sizeof END_OF_WORD];
        size_t size = utf8_encode(spelling_of(byte), token);
        memcpy(token + size, END_OF_WORD, sizeof END_OF_WORD);
        t->bytes[byte] = vocabulary_find(&t->vocabulary, (magpie_string){token, size});
        t->last[byte] = vocabulary_find(&t->vocabulary, (magpie_string){token, size + strlen(END_OF_WORD)});
        if (t->bytes[byte] < 0 || t->last[byte] < 0)
            return magpie_fail(MAGPIE_E_CORRUPT,
                               "%s: byte 0x%02X has no token: it should be \"%.*s\" and \"%s\"", path, byte,
                               (int)size, token, token);
    }
    return MAGPIE_OK;
}

/* Upstream normalises such a token before it looks for it in normalised text; this one has to be normal as it
 * is. And white space in a token would let words go by without an id: see bpe.c. */
static bool is_normal(const char *text) {
    for (; *text; text++)
        if (*text <= ' ' || *text > '~' || (*text >= 'A' && *text <= 'Z')) return false;
    return true;
}

static magpie_status add_token(bpe_tables *t, const char *path, const char *text, int64_t id,
                               bool normalized) {
    magpie_string token = {text, strlen(text)};
    int32_t known = vocabulary_find(&t->vocabulary, token);
    if (!token.size) return MAGPIE_OK; /* upstream ignores them too */
    if (t->added_count == BPE_ADDED_MAX)
        return magpie_fail(MAGPIE_E_TOO_LARGE, "%s: more than %d added tokens", path, BPE_ADDED_MAX);
    if (normalized && !is_normal(text))
        return magpie_fail(MAGPIE_E_UNSUPPORTED, "%s: added token \"%s\" is \"normalized\", but not normal",
                           path, text);
    if (known >= 0 && known != id)
        return magpie_fail(MAGPIE_E_CORRUPT, "%s: added token \"%s\" has id %lld, and %d in the vocabulary",
                           path, text, (long long)id, (int)known);
    if (id < 0 || id >= VOCABULARY_MAX)
        return magpie_fail(MAGPIE_E_CORRUPT, "%s: the id of added token \"%s\"", path, text);
    char *copy = strdup(text);
    if (!copy) return magpie_fail(MAGPIE_E_NO_MEMORY, "out of memory");
    t->added[t->added_count++] = (bpe_added){{copy, token.size}, (int32_t)id, normalized};
    return MAGPIE_OK;
}

static int32_t find_token(const bpe_tables *t, const char *text) {
    int32_t id = vocabulary_find(&t->vocabulary, (magpie_string){text, strlen(text)});
    for (size_t i = 0; id < 0 && i < t->added_count; i++)
        if (strcmp(t->added[i].text.data, text) == 0) id = t->added[i].id;
    return id;
}

static magpie_status number_ends(bpe_tables *t, const char *path) {
    t->begin = find_token(t, BEGIN);
    t->end = find_token(t, END);
    if (t->begin >= 0 && t->end >= 0) return MAGPIE_OK;
    return magpie_fail(MAGPIE_E_CORRUPT, "%s: the vocabulary has no token \"%s\"", path,
                       t->begin < 0 ? BEGIN : END);
}

/* ---- vocab.json, merges.txt ---- */

/* Takes the next line off *rest, without its end. */
static bool next_line(magpie_string *rest, magpie_string *line) {
    if (!rest->size) return false;
    const char *newline = memchr(rest->data, '\n', rest->size);
    size_t size = newline ? (size_t)(newline - rest->data) : rest->size, whole = newline ? size + 1 : size;
    *line = (magpie_string){rest->data, size};
    *rest = (magpie_string){rest->data + whole, rest->size - whole};
    if (line->size && line->data[line->size - 1] == '\r') line->size--;
    return true;
}

static bool is_version(magpie_string line) { return memmem(line.data, line.size, "#version", 8) != NULL; }

static magpie_status read_merge_lines(bpe_tables *t, const char *path, magpie_string text) {
    magpie_string line, rest = text;
    size_t count = 0, rank = 0;
    while (next_line(&rest, &line)) count++;
    magpie_status status = reserve_merges(t, path, count);
    for (bool first = true; status == MAGPIE_OK && next_line(&text, &line); first = false)
        if (line.size && !(first && is_version(line))) status = add_merge_line(t, path, rank++, line);
    return status;
}

static magpie_status read_merges(bpe_tables *t, const char *path) {
    magpie_map map;
    magpie_status status = magpie_map_open(path, &map);
    if (status != MAGPIE_OK) return status;
    status = read_merge_lines(t, path, (magpie_string){(const char *)map.data, map.size});
    magpie_map_close(&map);
    return status;
}

static magpie_status read_vocabulary(bpe_tables *t, const char *path) {
    magpie_map map;
    magpie_status status = magpie_map_open(path, &map);
    if (status != MAGPIE_OK) return status;
    status =
        map.size > FILE_LIMIT
            ? magpie_fail(MAGPIE_E_TOO_LARGE, "%s has %zu bytes; the limit is %d", path, map.size, FILE_LIMIT)
            : vocabulary_read_json(path, (magpie_string){(const char *)map.data, map.size}, "",
                                   &t->vocabulary);
    magpie_map_close(&map);
    return status;
}

static magpie_status read_pair_of_files(bpe_tables *t, const char *vocabulary, const char *merges) {
    magpie_status status = read_vocabulary(t, vocabulary);
    if (status == MAGPIE_OK) status = read_merges(t, merges);
    if (status == MAGPIE_OK) status = number_bytes(t, vocabulary);
    if (status == MAGPIE_OK) status = number_ends(t, vocabulary);
    if (status == MAGPIE_OK) status = add_token(t, vocabulary, BEGIN, t->begin, false);
    if (status == MAGPIE_OK) status = add_token(t, vocabulary, END, t->end, false);
    t->special_pieces = true;
    return status;
}

/* ---- tokenizer.json ---- */

/* What of it is parsed first and used in the order in which one thing needs another. */
struct parts {
    const char *path;
    magpie_string vocabulary;
    json_t *merges, *added, *normalizer, *pre_tokenizer, *post_processor;
    bool is_bpe;
};

static bool is(magpie_string key, const char *name) {
    return key.size == strlen(name) && memcmp(key.data, name, key.size) == 0;
}

static magpie_status parse(const char *path, magpie_string text, json_t **out) {
    json_error_t error;
    json_decref(*out); /* a key that is there twice */
    *out = json_loadb(text.data, text.size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    return *out ? MAGPIE_OK : magpie_fail(MAGPIE_E_CORRUPT, "%s: line %d: %s", path, error.line, error.text);
}

static const char *string_in(const json_t *object, const char *key) {
    const char *string = json_string_value(json_object_get(object, key));
    return string ? string : "nothing";
}

static bool is_type(const json_t *object, const char *type) {
    return strcmp(string_in(object, "type"), type) == 0;
}

static magpie_status unsupported(const struct parts *p, const char *what) {
    return magpie_fail(MAGPIE_E_UNSUPPORTED, "%s: %s is not that of CLIP's tokenizer", p->path, what);
}

static magpie_status read_model_member(struct parts *p, magpie_string key, const json_t *value) {
    const char *text = json_string_value(value);
    if (is(key, "type")) {
        p->is_bpe = text && strcmp(text, "BPE") == 0;
        return p->is_bpe ? MAGPIE_OK
                         : magpie_fail(MAGPIE_E_UNSUPPORTED, "%s: a tokenizer of type %s; BPE is read",
                                       p->path, text ? text : "nothing");
    }
    if (is(key, "end_of_word_suffix") && (!text || strcmp(text, END_OF_WORD) != 0))
        return unsupported(p, "model.end_of_word_suffix");
    if (is(key, "continuing_subword_prefix") && text && *text)
        return unsupported(p, "model.continuing_subword_prefix");
    if ((is(key, "ignore_merges") || is(key, "byte_fallback")) && json_is_true(value))
        return unsupported(p, is(key, "ignore_merges") ? "model.ignore_merges" : "model.byte_fallback");
    return MAGPIE_OK;
}

static magpie_status read_model(struct parts *p, magpie_string model) {
    json_skim skim = json_skim_begin(model);
    magpie_string key, value;
    magpie_status status = MAGPIE_OK;
    bool has_suffix = false;
    while (status == MAGPIE_OK && json_skim_next(&skim, &key, &value)) {
        json_t *json = NULL;
        has_suffix = has_suffix || is(key, "end_of_word_suffix");
        if (is(key, "vocab")) {
            p->vocabulary = value;
        } else if (is(key, "merges")) {
            status = parse(p->path, value, &p->merges);
        } else {
            status = parse(p->path, value, &json);
            if (status == MAGPIE_OK) status = read_model_member(p, key, json);
        }
        json_decref(json);
    }
    if (status != MAGPIE_OK) return status;
    if (skim.broken) return magpie_fail(MAGPIE_E_CORRUPT, "%s: model is not a JSON object", p->path);
    if (!p->is_bpe) return magpie_fail(MAGPIE_E_UNSUPPORTED, "%s: model has no type", p->path);
    return has_suffix ? MAGPIE_OK : unsupported(p, "model.end_of_word_suffix");
}

static magpie_status read_members(struct parts *p, magpie_string text) {
    json_skim skim = json_skim_begin(text);
    magpie_string key, value;
    magpie_status status = MAGPIE_OK;
    bool has_model = false;
    while (status == MAGPIE_OK && json_skim_next(&skim, &key, &value)) {
        has_model = has_model || is(key, "model");
        if (is(key, "model")) status = read_model(p, value);
        if (is(key, "added_tokens")) status = parse(p->path, value, &p->added);
        if (is(key, "normalizer")) status = parse(p->path, value, &p->normalizer);
        if (is(key, "pre_tokenizer")) status = parse(p->path, value, &p->pre_tokenizer);
        if (is(key, "post_processor")) status = parse(p->path, value, &p->post_processor);
    }
    if (status == MAGPIE_OK && (skim.broken || !has_model))
        status = magpie_fail(MAGPIE_E_CORRUPT,
                             "%s: it is not a whole JSON object with a model (is the download complete?)",
                             p->path);
    return status;
}

static magpie_status check_normalizer(const struct parts *p) {
    const json_t *list = json_object_get(p->normalizer, "normalizers"), *space = json_array_get(list, 1);
    bool same = is_type(p->normalizer, "Sequence") && json_array_size(list) == 3 &&
                is_type(json_array_get(list, 0), "NFC") && is_type(space, "Replace") &&
                strcmp(string_in(json_object_get(space, "pattern"), "Regex"), "\\s+") == 0 &&
                strcmp(string_in(space, "content"), " ") == 0 &&
                is_type(json_array_get(list, 2), "Lowercase");
    return same ? MAGPIE_OK : unsupported(p, "normalizer");
}

static magpie_status read_pre_tokenizer(const struct parts *p, bool *special_pieces) {
    const json_t *list = json_object_get(p->pre_tokenizer, "pretokenizers");
    const json_t *split = json_array_get(list, 0), *bytes = json_array_get(list, 1);
    const char *pattern = string_in(json_object_get(split, "pattern"), "Regex");
    bool same = is_type(p->pre_tokenizer, "Sequence") && json_array_size(list) == 2 &&
                is_type(split, "Split") && strcmp(string_in(split, "behavior"), "Removed") == 0 &&
                json_is_true(json_object_get(split, "invert")) && is_type(bytes, "ByteLevel") &&
                !json_is_true(json_object_get(bytes, "add_prefix_space")) &&
                !json_is_false(json_object_get(bytes, "use_regex"));
    *special_pieces = strcmp(pattern, SPECIAL_PIECES) == 0;
    return same && (*special_pieces || strcmp(pattern, PIECES) == 0) ? MAGPIE_OK
                                                                     : unsupported(p, "pre_tokenizer");
}

static bool is_end(const json_t *pair, const char *token) {
    const char *text = json_string_value(json_array_get(pair, 0));
    return text && strcmp(text, token) == 0;
}

static bool is_template_end(const json_t *single, size_t i, const char *token) {
    return strcmp(string_in(json_object_get(json_array_get(single, i), "SpecialToken"), "id"), token) == 0;
}

static magpie_status check_post_processor(const struct parts *p) {
    const json_t *post = p->post_processor, *single = json_object_get(post, "single");
    bool same = false;
    if (is_type(post, "RobertaProcessing") || is_type(post, "BertProcessing"))
        same = is_end(json_object_get(post, "cls"), BEGIN) && is_end(json_object_get(post, "sep"), END);
    if (is_type(post, "TemplateProcessing"))
        same = json_array_size(single) == 3 && is_template_end(single, 0, BEGIN) &&
               json_object_get(json_array_get(single, 1), "Sequence") && is_template_end(single, 2, END);
    return same ? MAGPIE_OK : unsupported(p, "post_processor");
}

/* lstrip and rstrip need no handling: the spaces that they take make no tokens anyway. */
static magpie_status read_added(bpe_tables *t, const struct parts *p) {
    for (size_t i = 0; i < json_array_size(p->added); i++) {
        const json_t *token = json_array_get(p->added, i), *id = json_object_get(token, "id");
        const char *text = json_string_value(json_object_get(token, "content"));
        if (!text) return magpie_fail(MAGPIE_E_CORRUPT, "%s: an added token has no content", p->path);
        if (json_is_true(json_object_get(token, "single_word")))
            return magpie_fail(MAGPIE_E_UNSUPPORTED, "%s: added token \"%s\" is \"single_word\"", p->path,
                               text);
        magpie_status status = add_token(t, p->path, text, json_is_integer(id) ? json_integer_value(id) : -1,
                                         json_is_true(json_object_get(token, "normalized")));
        if (status != MAGPIE_OK) return status;
    }
    return MAGPIE_OK;
}

/* "a b", or since 2024 ["a", "b"] */
static magpie_status read_merge_list(bpe_tables *t, const struct parts *p) {
    size_t i;
    json_t *merge;
    magpie_status status = reserve_merges(t, p->path, json_array_size(p->merges));
    json_array_foreach(p->merges, i, merge) {
        const json_t *left = json_array_get(merge, 0), *right = json_array_get(merge, 1);
        if (status != MAGPIE_OK) return status;
        if (json_is_string(merge))
            status = add_merge_line(t, p->path, i,
                                    (magpie_string){json_string_value(merge), json_string_length(merge)});
        else
            status =
                add_merge(t, p->path, i, (magpie_string){json_string_value(left), json_string_length(left)},
                          (magpie_string){json_string_value(right), json_string_length(right)});
    }
    return status;
}

static magpie_status use_parts(bpe_tables *t, const struct parts *p) {
    magpie_status status = check_normalizer(p);
    if (status == MAGPIE_OK) status = read_pre_tokenizer(p, &t->special_pieces);
    if (status == MAGPIE_OK) status = check_post_processor(p);
    if (status == MAGPIE_OK) status = vocabulary_read_json(p->path, p->vocabulary, "", &t->vocabulary);
    if (status == MAGPIE_OK) status = read_merge_list(t, p);
    if (status == MAGPIE_OK) status = number_bytes(t, p->path);
    if (status == MAGPIE_OK) status = read_added(t, p);
    return status == MAGPIE_OK ? number_ends(t, p->path) : status;
}

static magpie_status read_tokenizer_json(bpe_tables *t, const char *path) {
    magpie_map map;
    struct parts parts = {.path = path};
    magpie_status status = magpie_map_open(path, &map);
    if (status != MAGPIE_OK) return status;
    if (map.size > FILE_LIMIT)
        status =
            magpie_fail(MAGPIE_E_TOO_LARGE, "%s has %zu bytes; the limit is %d", path, map.size, FILE_LIMIT);
    if (status == MAGPIE_OK) status = read_members(&parts, (magpie_string){(const char *)map.data, map.size});
    if (status == MAGPIE_OK) status = use_parts(t, &parts);
    json_t *parsed[] = {parts.merges, parts.added, parts.normalizer, parts.pre_tokenizer,
                        parts.post_processor};
    for (size_t i = 0; i < sizeof parsed / sizeof *parsed; i++) json_decref(parsed[i]);
    magpie_map_close(&map);
    return status;
}

/* ---- together ---- */

static magpie_status read_either(bpe_tables *t, const char *directory, const char *json,
                                 const char *vocabulary, const char *merges) {
    if (magpie_path_exists(json)) return read_tokenizer_json(t, json);
    if (magpie_path_exists(vocabulary) && magpie_path_exists(merges))
        return read_pair_of_files(t, vocabulary, merges);
    return magpie_fail(MAGPIE_E_NOT_FOUND,
                       "%s: there is neither tokenizer.json nor vocab.json with merges.txt (%s is missing)",
                       directory, magpie_path_exists(vocabulary) ? "merges.txt" : "vocab.json");
}

magpie_status bpe_tables_read(const char *directory, bpe_tables *out) {
    *out = (bpe_tables){.added = magpie_alloc(BPE_ADDED_MAX, sizeof *out->added)};
    char *json = magpie_path_join(directory, "tokenizer.json");
    char *vocabulary = magpie_path_join(directory, "vocab.json");
    char *merges = magpie_path_join(directory, "merges.txt");
    magpie_status status = json && vocabulary && merges && out->added
                               ? read_either(out, directory, json, vocabulary, merges)
                               : MAGPIE_E_NO_MEMORY;
    free(merges);
    free(vocabulary);
    free(json);
    return status;
}

void bpe_tables_free(bpe_tables *t) {
    for (size_t i = 0; i < t->added_count; i++) free((char *)(uintptr_t)t->added[i].text.data);
    free(t->added);
    free(t->merges);
    vocabulary_free(&t->vocabulary);
    *t = (bpe_tables){0};
}
