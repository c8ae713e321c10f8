/* tokenizer_files.c - reads tokenizer.json, tokenizer_config.json and special_tokens_map.json. Which of them
 * wins, and why, is in the header; here the files are simply read in rising order of say. */
#include "tokenizer_files.h"
#include "json_skim.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { SMALL_FILE_LIMIT = 16 << 20, TOKENIZER_FILE_LIMIT = 256 << 20 };

/* null is a value of its own for strip_accents: as lower case goes. */
typedef enum choice { NO, YES, AS_LOWER_CASE, UNSTATED } choice;

struct choices {
    choice clean, chinese, accents, lower;
};

static magpie_status replace(char **name, const char *with) {
    char *copy = strdup(with);
    if (!copy) return magpie_fail(MAGPIE_E_NO_MEMORY, "out of memory");
    free(*name);
    *name = copy;
    return MAGPIE_OK;
}

static void state(choice *which, const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    if (json_is_boolean(value)) *which = json_is_true(value) ? YES : NO;
    if (json_is_null(value)) *which = AS_LOWER_CASE;
}

static const char *type_of(const json_t *object) {
    const char *type = json_string_value(json_object_get(object, "type"));
    return type ? type : "nothing";
}

/* A special token stands as its text, or as an object that holds it with its flags. */
static const char *token_text(const json_t *token) {
    return json_string_value(json_is_object(token) ? json_object_get(token, "content") : token);
}

static magpie_status replace_token(char **name, const json_t *object, const char *key) {
    const char *text = token_text(json_object_get(object, key));
    return text ? replace(name, text) : MAGPIE_OK;
}

static magpie_status add(tokenizer_settings *settings, const char *path, const char *text, int64_t id) {
    size_t size = strlen(text);
    if (!size) return MAGPIE_OK; /* upstream ignores them too */
    if (settings->added_count == ADDED_TOKENS_MAX)
        return magpie_fail(MAGPIE_E_TOO_LARGE, "%s: more than %d added tokens", path, ADDED_TOKENS_MAX);
    if (id < -1 || id > INT32_MAX)
        return magpie_fail(MAGPIE_E_CORRUPT, "%s: the id of added token \"%s\"", path, text);
    magpie_status status = magpie_grow((void **)&settings->added, &settings->added_capacity,
                                       settings->added_count + 1, sizeof *settings->added);
    char *copy = status == MAGPIE_OK ? strdup(text) : NULL;
    if (!copy) return magpie_fail(MAGPIE_E_NO_MEMORY, "out of memory");
    settings->added[settings->added_count++] = (added_token){{copy, size}, (int32_t)id};
    return MAGPIE_OK;
}

/* One of added_tokens. lstrip and rstrip need no handling: the spaces that they take make no tokens anyway.
 */
static magpie_status add_object(tokenizer_settings *settings, const char *path, const json_t *token,
                                int64_t id) {
    const char *text = token_text(token);
    if (!text) return magpie_fail(MAGPIE_E_CORRUPT, "%s: an added token has no content", path);
    if (json_is_true(json_object_get(token, "normalized")) ||
        json_is_true(json_object_get(token, "single_word")))
        return magpie_fail(
            MAGPIE_E_UNSUPPORTED,
            "%s: added token \"%s\" is \"normalized\" or \"single_word\"; only plain ones are read", path,
            text);
    return add(settings, path, text, id);
}

/* ---- tokenizer.json ---- */

static magpie_status read_added(tokenizer_settings *settings, const json_t *list) {
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *token = json_array_get(list, i), *id = json_object_get(token, "id");
        magpie_status status = add_object(settings, settings->json_path, token,
                                          json_is_integer(id) ? json_integer_value(id) : -1);
        if (status != MAGPIE_OK) return status;
    }
    return MAGPIE_OK;
}

static magpie_status read_normalizer(const char *path, const json_t *normalizer, struct choices *choices) {
    if (!json_is_object(normalizer)) return MAGPIE_OK;
    const char *type = type_of(normalizer);
    if (strcmp(type, "BertNormalizer") == 0) {
        state(&choices->clean, normalizer, "clean_text");
        state(&choices->chinese, normalizer, "handle_chinese_chars");
        state(&choices->accents, normalizer, "strip_accents");
        state(&choices->lower, normalizer, "lowercase");
        return MAGPIE_OK;
    }
    if (strcmp(type, "Lowercase") == 0) {
        if (choices->accents == AS_LOWER_CASE) choices->accents = choices->lower; /* of the one before it */
        choices->lower = YES;
        return MAGPIE_OK;
    }
    if (strcmp(type, "Sequence") != 0)
        return magpie_fail(MAGPIE_E_UNSUPPORTED, "%s: normalizer %s; BertNormalizer is read", path, type);
    const json_t *parts = json_object_get(normalizer, "normalizers");
    for (size_t i = 0; i < json_array_size(parts); i++) {
        magpie_status status = read_normalizer(path, json_array_get(parts, i), choices);
        if (status != MAGPIE_OK) return status;
    }
    return MAGPIE_OK;
}

static magpie_status read_pre_tokenizer(const char *path, const json_t *pre_tokenizer) {
    if (strcmp(type_of(pre_tokenizer), "BertPreTokenizer") == 0) return MAGPIE_OK;
    return magpie_fail(MAGPIE_E_UNSUPPORTED, "%s: pre_tokenizer %s; BertPreTokenizer is read", path,
                       type_of(pre_tokenizer));
}

static const char *template_token(const json_t *single, size_t i) {
    return json_string_value(
        json_object_get(json_object_get(json_array_get(single, i), "SpecialToken"), "id"));
}

/* What is put around the tokens: [CLS] in front, [SEP] behind, in either of the two ways of saying so. */
static magpie_status read_post_processor(tokenizer_settings *settings, const json_t *processor) {
    const char *first = NULL, *last = NULL, *type = type_of(processor);
    if (!json_is_object(processor)) return MAGPIE_OK;
    if (strcmp(type, "BertProcessing") == 0 || strcmp(type, "RobertaProcessing") == 0) {
        first = json_string_value(json_array_get(json_object_get(processor, "cls"), 0));
        last = json_string_value(json_array_get(json_object_get(processor, "sep"), 0));
    } else if (strcmp(type, "TemplateProcessing") == 0) {
        const json_t *single = json_object_get(processor, "single");
        if (json_array_size(single) == 3 && json_object_get(json_array_get(single, 1), "Sequence")) {
            first = template_token(single, 0);
            last = template_token(single, 2);
        }
    }
    if (!first || !last)
        return magpie_fail(MAGPIE_E_UNSUPPORTED, "%s: post_processor %s is not \"[CLS] text [SEP]\"",
                           settings->json_path, type);
    magpie_status status = replace(&settings->classify, first);
    return status == MAGPIE_OK ? replace(&settings->separate, last) : status;
}

static magpie_status parse(const char *path, magpie_string text, json_t **out) {
    json_error_t error;
    *out = json_loadb(text.data, text.size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    return *out ? MAGPIE_OK : magpie_fail(MAGPIE_E_CORRUPT, "%s: line %d: %s", path, error.line, error.text);
}

static magpie_status read_word_limit(tokenizer_settings *settings, const json_t *limit) {
    if (!json_is_integer(limit) || json_integer_value(limit) < 1 ||
        json_integer_value(limit) > WORD_CHARACTERS_MAX)
        return magpie_fail(MAGPIE_E_UNSUPPORTED, "%s: max_input_chars_per_word is not 1 to %d",
                           settings->json_path, WORD_CHARACTERS_MAX);
    settings->word_characters = (size_t)json_integer_value(limit);
    return MAGPIE_OK;
}

static bool is(magpie_string key, const char *name) {
    return key.size == strlen(name) && memcmp(key.data, name, key.size) == 0;
}

static magpie_status read_model_member(tokenizer_settings *settings, magpie_string key, const json_t *value,
                                       bool *typed) {
    const char *text = json_string_value(value);
    if (is(key, "max_input_chars_per_word")) return read_word_limit(settings, value);
    if (text && is(key, "unk_token")) return replace(&settings->unknown, text);
    if (text && is(key, "continuing_subword_prefix")) return replace(&settings->continuing, text);
    if (!is(key, "type")) return MAGPIE_OK;
    *typed = true;
    if (text && strcmp(text, "WordPiece") == 0) return MAGPIE_OK;
    return magpie_fail(MAGPIE_E_UNSUPPORTED, "%s: a tokenizer of type %s; WordPiece is read",
                       settings->json_path, text ? text : "nothing");
}

static magpie_status read_model(tokenizer_settings *settings, magpie_string model) {
    json_skim skim = json_skim_begin(model);
    magpie_string key, value;
    bool typed = false;
    while (json_skim_next(&skim, &key, &value)) {
        json_t *json;
        if (is(key, "vocab")) {
            settings->json_vocabulary = value;
            continue;
        }
        if (is(key, "merges")) continue; /* of another type of model, and long */
        magpie_status status = parse(settings->json_path, value, &json);
        if (status == MAGPIE_OK) status = read_model_member(settings, key, json, &typed);
        json_decref(json);
        if (status != MAGPIE_OK) return status;
    }
    if (skim.broken)
        return magpie_fail(MAGPIE_E_CORRUPT, "%s: model is not a JSON object", settings->json_path);
    if (!typed) return magpie_fail(MAGPIE_E_UNSUPPORTED, "%s: model has no type", settings->json_path);
    return MAGPIE_OK;
}

static magpie_status read_json_member(tokenizer_settings *settings, magpie_string key, magpie_string value,
                                      struct choices *choices) {
    json_t *json;
    if (is(key, "model")) return read_model(settings, value);
    magpie_status status = parse(settings->json_path, value, &json);
    if (status != MAGPIE_OK) return status;
    if (is(key, "added_tokens")) status = read_added(settings, json);
    if (is(key, "normalizer")) status = read_normalizer(settings->json_path, json, choices);
    if (is(key, "pre_tokenizer")) status = read_pre_tokenizer(settings->json_path, json);
    if (is(key, "post_processor")) status = read_post_processor(settings, json);
    json_decref(json);
    return status;
}

static magpie_status read_tokenizer_json(tokenizer_settings *settings, struct choices *choices) {
    magpie_string key, value;
    magpie_status status = magpie_map_open(settings->json_path, &settings->json);
    if (status != MAGPIE_OK) return status;
    if (settings->json.size > TOKENIZER_FILE_LIMIT)
        return magpie_fail(MAGPIE_E_TOO_LARGE, "%s has %zu bytes; the limit is %d", settings->json_path,
                           settings->json.size, TOKENIZER_FILE_LIMIT);
    json_skim skim = json_skim_begin((magpie_string){(const char *)settings->json.data, settings->json.size});
    bool has_model = false;
    while (json_skim_next(&skim, &key, &value)) {
        status = read_json_member(settings, key, value, choices);
        if (status != MAGPIE_OK) return status;
        has_model = has_model || is(key, "model");
    }
    if (skim.broken || !has_model)
        return magpie_fail(MAGPIE_E_CORRUPT,
                           "%s: it is not a whole JSON object with a model (is the download complete?)",
                           settings->json_path);
    return MAGPIE_OK;
}

/* ---- tokenizer_config.json, special_tokens_map.json ---- */

/* The object in directory/name; *out NULL where there is no such file. *path is the caller's to free, in any
 * case. */
static magpie_status read_object(const char *directory, const char *name, char **path, json_t **out) {
    char *text;
    size_t size;
    *out = NULL;
    if (!(*path = magpie_path_join(directory, name))) return MAGPIE_E_NO_MEMORY;
    if (!magpie_path_exists(*path)) return MAGPIE_OK;
    magpie_status status = magpie_file_read(*path, SMALL_FILE_LIMIT, &text, &size);
    if (status != MAGPIE_OK) return status;
    status = parse(*path, (magpie_string){text, size}, out);
    free(text);
    if (status == MAGPIE_OK && !json_is_object(*out))
        status = magpie_fail(MAGPIE_E_CORRUPT, "%s: it is not a JSON object", *path);
    return status;
}

static magpie_status read_names(tokenizer_settings *settings, const json_t *object) {
    magpie_status status = replace_token(&settings->unknown, object, "unk_token");
    if (status == MAGPIE_OK) status = replace_token(&settings->classify, object, "cls_token");
    if (status == MAGPIE_OK) status = replace_token(&settings->separate, object, "sep_token");
    return status;
}

/* Stand-ins for tokenizer.json's added_tokens. */
static magpie_status read_added_decoder(tokenizer_settings *settings, const char *path, json_t *config) {
    const char *id;
    json_t *token;
    json_object_foreach(json_object_get(config, "added_tokens_decoder"), id, token) {
        magpie_status status = add_object(settings, path, token, strtoll(id, NULL, 10));
        if (status != MAGPIE_OK) return status;
    }
    return MAGPIE_OK;
}

static magpie_status add_named(tokenizer_settings *settings, const char *path, const json_t *config) {
    const char *names[] = {settings->unknown, settings->classify, settings->separate,
                           token_text(json_object_get(config, "pad_token")),
                           token_text(json_object_get(config, "mask_token"))};
    const char *otherwise[] = {"[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        magpie_status status = add(settings, path, names[i] ? names[i] : otherwise[i], -1);
        if (status != MAGPIE_OK) return status;
    }
    return MAGPIE_OK;
}

static magpie_status read_special_tokens_map(tokenizer_settings *settings, const char *directory) {
    char *path;
    json_t *map;
    magpie_status status = read_object(directory, "special_tokens_map.json", &path, &map);
    if (status == MAGPIE_OK) status = read_names(settings, map);
    json_decref(map);
    free(path);
    return status;
}

static magpie_status read_config(tokenizer_settings *settings, const char *directory,
                                 struct choices *choices) {
    char *path;
    json_t *config;
    magpie_status status = read_object(directory, "tokenizer_config.json", &path, &config);
    state(&choices->lower, config, "do_lower_case");
    state(&choices->accents, config, "strip_accents");
    state(&choices->chinese, config, "tokenize_chinese_chars");
    if (status == MAGPIE_OK && json_is_false(json_object_get(config, "do_basic_tokenize")))
        status = magpie_fail(MAGPIE_E_UNSUPPORTED, "%s: do_basic_tokenize is false; only true is read", path);
    if (status == MAGPIE_OK) status = read_names(settings, config);
    if (status == MAGPIE_OK && !settings->json_path) status = read_added_decoder(settings, path, config);
    if (status == MAGPIE_OK && !settings->json_path) status = add_named(settings, path, config);
    json_decref(config);
    free(path);
    return status;
}

/* ---- together ---- */

static magpie_status set_defaults(tokenizer_settings *settings) {
    *settings = (tokenizer_settings){.word_characters = 100};
    magpie_status status = replace(&settings->continuing, "##");
    if (status == MAGPIE_OK) status = replace(&settings->unknown, "[UNK]");
    if (status == MAGPIE_OK) status = replace(&settings->classify, "[CLS]");
    if (status == MAGPIE_OK) status = replace(&settings->separate, "[SEP]");
    return status;
}

static magpie_status find_tokenizer_json(tokenizer_settings *settings, const char *directory) {
    settings->json_path = magpie_path_join(directory, "tokenizer.json");
    if (!settings->json_path) return MAGPIE_E_NO_MEMORY;
    if (magpie_path_exists(settings->json_path)) return MAGPIE_OK;
    free(settings->json_path);
    settings->json_path = NULL;
    return MAGPIE_OK;
}

magpie_status tokenizer_settings_read(const char *directory, tokenizer_settings *out) {
    struct choices from_json = {YES, YES, AS_LOWER_CASE, YES},
                   choices = {UNSTATED, UNSTATED, UNSTATED, UNSTATED};
    magpie_status status = set_defaults(out);
    if (status == MAGPIE_OK) status = find_tokenizer_json(out, directory);
    if (status == MAGPIE_OK) status = read_special_tokens_map(out, directory);
    if (status == MAGPIE_OK) status = read_config(out, directory, &choices);
    if (status == MAGPIE_OK && out->json_path) status = read_tokenizer_json(out, &from_json);
    if (status != MAGPIE_OK) return status;
    if (choices.lower == UNSTATED) choices.lower = from_json.lower;
    if (choices.accents == UNSTATED) choices.accents = from_json.accents;
    if (choices.chinese == UNSTATED) choices.chinese = from_json.chinese;
    if (choices.accents == AS_LOWER_CASE) choices.accents = choices.lower;
    out->lower_case = choices.lower == YES;
    out->strip_accents = choices.accents == YES;
    out->split_chinese = choices.chinese == YES;
    out->clean_text = from_json.clean == YES;
    return MAGPIE_OK;
}

void tokenizer_settings_free(tokenizer_settings *settings) {
    for (size_t i = 0; i < settings->added_count; i++) free((char *)(uintptr_t)settings->added[i].text.data);
    free(settings->added);
    free(settings->continuing);
    free(settings->unknown);
    free(settings->classify);
    free(settings->separate);
    free(settings->json_path);
    magpie_map_close(&settings->json);
    *settings = (tokenizer_settings){0};
}
