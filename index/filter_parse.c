/* filter_parse.c - JSON to conditions. Whoever gets a filter wrong is told where: every function is handed
 * the chain of names that led to its value, and spells it out when it fails. */
#include "filter.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A step from the root to a value: a member's name, or an index where name is NULL. Lives on the parser's
 * stack. */
typedef struct place {
    const struct place *outer;
    const char *name;
    size_t index;
} place;

static void spell(magpie_text *text, const place *at) {
    if (!at) return;
    spell(text, at->outer);
    if (!at->name)
        magpie_text_printf(text, "[%zu]", at->index);
    else
        magpie_text_printf(text, text->size ? ".%.80s" : "%.80s", at->name);
}

static magpie_status wrong(const place *at, const char *why) {
    magpie_text text = {0};
    spell(&text, at);
    magpie_status status = text.size ? magpie_fail(MAGPIE_E_INPUT, "filter: %s: %s", text.data, why)
                                     : magpie_fail(MAGPIE_E_INPUT, "filter: %s", why);
    magpie_text_free(&text);
    return status;
}

/* What to expect when there is nothing else to say about the members of an object. */
static magpie_status unknown_member(const place *at, const char *name, const char *expected) {
    char why[160];
    snprintf(why, sizeof why, "unknown; expected %s", expected);
    return wrong(&(place){at, name, 0}, why);
}

static magpie_status parse_condition(const json_t *json, const place *at, unsigned depth,
                                     magpie_condition *out);

/* ---- conditions on a key ---- */

/* "parts[].name" reaches what "parts.name" does: conditions look into arrays by themselves. */
static magpie_status parse_path(const json_t *json, const place *at, magpie_condition *out) {
    if (!json_is_string(json) || !json_string_length(json)) return wrong(at, "expected a path");
    const char *from = json_string_value(json);
    char *to = out->path = magpie_alloc(json_string_length(json) + 1, 1);
    if (!to) return MAGPIE_E_NO_MEMORY;
    while (*from)
        if (strncmp(from, "[].", 3) == 0 || strcmp(from, "[]") == 0)
            from += 2;
        else
            *to++ = *from++;
    return out->path[0] ? MAGPIE_OK : wrong(at, "expected a path");
}

static magpie_status parse_values(const json_t *json, const place *at, bool strings_only,
                                  magpie_condition *out) {
    if (!json_is_array(json)) return wrong(at, "expected an array");
    size_t n = json_array_size(json);
    out->values = magpie_alloc(n, sizeof *out->values);
    if (!out->values) return MAGPIE_E_NO_MEMORY;
    for (; out->count < n; out->count++) {
        const json_t *value = json_array_get(json, out->count);
        bool fits =
            json_is_string(value) || (!strings_only && (json_is_number(value) || json_is_boolean(value)));
        if (!fits)
            return wrong(&(place){at, NULL, out->count},
                         strings_only ? "expected a string" : "expected a string, a number or a boolean");
        out->values[out->count] = value;
    }
    return MAGPIE_OK;
}

static magpie_status parse_one_value(const json_t *json, const place *at, magpie_condition *out) {
    if (!json_is_string(json) && !json_is_number(json) && !json_is_boolean(json))
        return wrong(at, "expected a string, a number or a boolean");
    out->values = magpie_alloc(1, sizeof *out->values);
    if (!out->values) return MAGPIE_E_NO_MEMORY;
    out->values[out->count++] = json;
    return MAGPIE_OK;
}

static magpie_status parse_match(const json_t *json, const place *at, magpie_condition *out) {
    if (!json_is_object(json)) return wrong(at, "expected an object");
    if (json_object_size(json) != 1) return wrong(at, "expected exactly one of value, any, except");
    const char *name = json_object_iter_key(json_object_iter((json_t *)(uintptr_t)json));
    const json_t *value = json_object_get(json, name);
    place inner = {at, name, 0};
    out->kind = MAGPIE_CONDITION_ANY;
    if (strcmp(name, "value") == 0) return parse_one_value(value, &inner, out);
    if (strcmp(name, "any") == 0) return parse_values(value, &inner, false, out);
    if (strcmp(name, "except") != 0) return unknown_member(at, name, "value, any or except");
    out->kind = MAGPIE_CONDITION_EXCEPT;
    return parse_values(value, &inner, false, out);
}

static magpie_status parse_range(const json_t *json, const place *at, magpie_condition *out) {
    const char *name;
    json_t *value;
    if (!json_is_object(json)) return wrong(at, "expected an object");
    if (!json_object_size(json)) return wrong(at, "expected gt, gte, lt or lte");
    out->kind = MAGPIE_CONDITION_RANGE;
    out->lower = -INFINITY;
    out->upper = INFINITY;
    json_object_foreach((json_t *)(uintptr_t)json, name, value) {
        bool lower = name[0] == 'g', open = strcmp(name, lower ? "gt" : "lt") == 0;
        if (!open && strcmp(name, lower ? "gte" : "lte") != 0)
            return unknown_member(at, name, "gt, gte, lt or lte");
        if (!json_is_number(value)) return wrong(&(place){at, name, 0}, "expected a number");
        double *bound = lower ? &out->lower : &out->upper;
        bool *bound_open = lower ? &out->lower_open : &out->upper_open;
        if (isfinite(*bound))
            return wrong(at, lower ? "gt and gte exclude each other" : "lt and lte exclude each other");
        *bound = json_number_value(value);
        *bound_open = open;
    }
    return MAGPIE_OK;
}

static magpie_status parse_exists(const json_t *json, const place *at, magpie_condition *out) {
    if (!json_is_boolean(json)) return wrong(at, "expected true or false");
    out->kind = json_is_true(json) ? MAGPIE_CONDITION_EXISTS : MAGPIE_CONDITION_MISSING;
    return MAGPIE_OK;
}

static magpie_status parse_keyed(const json_t *json, const place *at, magpie_condition *out) {
    const char *name;
    json_t *value;
    if (json_object_size(json) != 2) return wrong(at, "expected key and exactly one of match, range, exists");
    json_object_foreach((json_t *)(uintptr_t)json, name, value) {
        place inner = {at, name, 0};
        magpie_status status;
        if (strcmp(name, "key") == 0)
            status = parse_path(value, &inner, out);
        else if (strcmp(name, "match") == 0)
            status = parse_match(value, &inner, out);
        else if (strcmp(name, "range") == 0)
            status = parse_range(value, &inner, out);
        else if (strcmp(name, "exists") == 0)
            status = parse_exists(value, &inner, out);
        else
            status = unknown_member(at, name, "match, range or exists");
        if (status != MAGPIE_OK) return status;
    }
    return MAGPIE_OK;
}

static magpie_status parse_is_empty(const json_t *json, const place *at, magpie_condition *out) {
    const json_t *key = json_object_get(json, "key");
    out->kind = MAGPIE_CONDITION_MISSING;
    if (!key || json_object_size(json) != 1) return wrong(at, "expected {\"key\": PATH}");
    return parse_path(key, &(place){at, "key", 0}, out);
}

/* ---- clauses ---- */

static magpie_status parse_list(const json_t *json, const place *at, unsigned depth,
                                magpie_condition_list *out) {
    if (json_is_object(json)) {
        out->conditions = magpie_alloc(1, sizeof *out->conditions);
        return out->conditions ? parse_condition(json, at, depth, &out->conditions[out->count++])
                               : MAGPIE_E_NO_MEMORY;
    }
    if (!json_is_array(json)) return wrong(at, "expected an array of conditions");
    size_t n = json_array_size(json);
    out->conditions = magpie_alloc(n, sizeof *out->conditions);
    if (!out->conditions) return MAGPIE_E_NO_MEMORY;
    magpie_status status = MAGPIE_OK;
    while (out->count < n && status == MAGPIE_OK) {
        size_t i = out->count++;
        status = parse_condition(json_array_get(json, i), &(place){at, NULL, i}, depth, &out->conditions[i]);
    }
    return status;
}

static magpie_status parse_clauses(const json_t *json, const place *at, unsigned depth,
                                   magpie_condition *out) {
    const char *name;
    json_t *value;
    out->kind = MAGPIE_CONDITION_CLAUSES;
    json_object_foreach((json_t *)(uintptr_t)json, name, value) {
        magpie_condition_list *list = strcmp(name, "must") == 0       ? &out->must
                                      : strcmp(name, "should") == 0   ? &out->should
                                      : strcmp(name, "must_not") == 0 ? &out->must_not
                                                                      : NULL;
        if (!list)
            return unknown_member(at, name,
                                  "must, should, must_not, or a condition with key, is_empty or has_id");
        magpie_status status = parse_list(value, &(place){at, name, 0}, depth + 1, list);
        if (status != MAGPIE_OK) return status;
    }
    return MAGPIE_OK;
}

static magpie_status parse_condition(const json_t *json, const place *at, unsigned depth,
                                     magpie_condition *out) {
    const json_t *value;
    if (!json_is_object(json)) return wrong(at, "expected an object");
    if (depth > MAGPIE_ATTRIBUTE_DEPTH_MAX) return wrong(at, "nested too deep");
    if (json_object_get(json, "key")) return parse_keyed(json, at, out);
    bool alone = json_object_size(json) == 1;
    if (alone && (value = json_object_get(json, "is_empty")))
        return parse_is_empty(value, &(place){at, "is_empty", 0}, out);
    if (alone && (value = json_object_get(json, "has_id"))) {
        out->kind = MAGPIE_CONDITION_HAS_ID;
        return parse_values(value, &(place){at, "has_id", 0}, true, out);
    }
    return parse_clauses(json, at, depth, out);
}

/* ---- the public part ---- */

static void free_condition(magpie_condition *condition) {
    magpie_condition_list *lists[] = {&condition->must, &condition->should, &condition->must_not};
    for (size_t l = 0; l < sizeof lists / sizeof *lists; l++) {
        for (size_t i = 0; i < lists[l]->count; i++) free_condition(&lists[l]->conditions[i]);
        free(lists[l]->conditions);
    }
    free(condition->path);
    free(condition->values);
}

static size_t count_conditions(const magpie_condition *condition) {
    const magpie_condition_list *lists[] = {&condition->must, &condition->should, &condition->must_not};
    size_t n = 1;
    for (size_t l = 0; l < sizeof lists / sizeof *lists; l++)
        for (size_t i = 0; i < lists[l]->count; i++) n += count_conditions(&lists[l]->conditions[i]);
    return n;
}

static magpie_status parse_root(const json_t *json, magpie_condition *out) {
    magpie_status status = parse_condition(json, NULL, 1, out);
    const size_t n = count_conditions(out);
    if (status != MAGPIE_OK || n <= MAGPIE_FILTER_CONDITIONS_MAX) return status;
    return magpie_fail(MAGPIE_E_TOO_LARGE, "filter: it has %zu conditions; the limit is %d", n,
                       MAGPIE_FILTER_CONDITIONS_MAX);
}

magpie_status magpie_filter_parse(const char *json, size_t size, magpie_filter **out) {
    json_error_t error;
    *out = NULL;
    if (size > MAGPIE_ITEM_MAX)
        return magpie_fail(MAGPIE_E_TOO_LARGE, "filter: it has %zu bytes; the limit is %d", size,
                           MAGPIE_ITEM_MAX);
    magpie_filter *filter = magpie_alloc(1, sizeof *filter);
    if (!filter) return MAGPIE_E_NO_MEMORY;
    filter->json = json_loadb(json, size, JSON_DECODE_INT_AS_REAL, &error);
    magpie_status status;
    if (filter->json)
        status = parse_root(filter->json, &filter->root);
    else
        status = magpie_fail(MAGPIE_E_INPUT, "filter: no JSON: %s (line %d, column %d)", error.text,
                             error.line, error.column);
    if (status != MAGPIE_OK) {
        magpie_filter_free(filter);
        return status;
    }
    *out = filter;
    return MAGPIE_OK;
}

void magpie_filter_free(magpie_filter *filter) {
    if (!filter) return;
    free_condition(&filter->root);
    json_decref(filter->json);
    free(filter);
}
