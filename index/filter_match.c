/* filter_match.c - whether one item passes a filter, read off its attributes. Slow and plain: this is what a
 * filter means, and the inverted index is tested against it. It knows no keys and no postings. */
#include "filter.h"

#include <string.h>

#include "postings.h" /* only for magpie_attributes_parse */

static bool same_value(const json_t *a, const json_t *b) {
    if (json_is_string(a) && json_is_string(b))
        return json_string_length(a) == json_string_length(b) &&
               memcmp(json_string_value(a), json_string_value(b), json_string_length(a)) == 0;
    if (json_is_number(a) && json_is_number(b)) return json_number_value(a) == json_number_value(b);
    return json_is_boolean(a) && json_typeof(a) == json_typeof(b);
}

static bool is_one_of(const magpie_condition *c, const json_t *value) {
    for (size_t i = 0; i < c->count; i++)
        if (same_value(c->values[i], value)) return true;
    return false;
}

/* Whether a value at the path makes the condition true. Arrays never come here: their elements do. */
static bool value_passes(const magpie_condition *c, const json_t *value) {
    double x = json_number_value(value);
    bool scalar = json_is_string(value) || json_is_number(value) || json_is_boolean(value);
    switch (c->kind) {
    case MAGPIE_CONDITION_ANY: return is_one_of(c, value);
    case MAGPIE_CONDITION_EXCEPT: return scalar && !is_one_of(c, value);
    case MAGPIE_CONDITION_RANGE:
        return json_is_number(value) && (c->lower_open ? x > c->lower : x >= c->lower) &&
               (c->upper_open ? x < c->upper : x <= c->upper);
    case MAGPIE_CONDITION_EXISTS:
    case MAGPIE_CONDITION_MISSING: return !json_is_null(value);
    case MAGPIE_CONDITION_CLAUSES:
    case MAGPIE_CONDITION_HAS_ID: break;
    }
    return false;
}

/* Whether any value passes that `path` leads to from `value`; NULL: the path has ended here. A name may
 * itself hold a dot, so every member whose name begins the path is followed. */
static bool any_passes(const magpie_condition *c, const json_t *value, const char *path) {
    if (json_is_array(value)) {
        for (size_t i = 0; i < json_array_size(value); i++)
            if (any_passes(c, json_array_get(value, i), path)) return true;
        return false;
    }
    if (!path) return value_passes(c, value);
    const char *name;
    json_t *member;
    json_object_foreach((json_t *)(uintptr_t)value, name, member) {
        size_t n = strlen(name);
        if (strncmp(path, name, n) != 0 || (path[n] && path[n] != '.')) continue;
        if (any_passes(c, member, path[n] ? path + n + 1 : NULL)) return true;
    }
    return false;
}

static bool passes(const magpie_condition *c, magpie_string id, const json_t *attributes) {
    if (c->kind == MAGPIE_CONDITION_HAS_ID) {
        for (size_t i = 0; i < c->count; i++)
            if (json_string_length(c->values[i]) == id.size &&
                memcmp(json_string_value(c->values[i]), id.data, id.size) == 0)
                return true;
        return false;
    }
    if (c->kind != MAGPIE_CONDITION_CLAUSES)
        return any_passes(c, attributes, c->path) != (c->kind == MAGPIE_CONDITION_MISSING);
    bool should = c->should.count == 0;
    for (size_t i = 0; i < c->must.count; i++)
        if (!passes(&c->must.conditions[i], id, attributes)) return false;
    for (size_t i = 0; i < c->must_not.count; i++)
        if (passes(&c->must_not.conditions[i], id, attributes)) return false;
    for (size_t i = 0; i < c->should.count && !should; i++)
        should = passes(&c->should.conditions[i], id, attributes);
    return should;
}

magpie_status magpie_filter_matches(const magpie_filter *filter, magpie_string id, magpie_string attributes,
                                    bool *out) {
    json_t *root;
    *out = false;
    magpie_status status = magpie_attributes_parse(attributes, &root);
    if (status != MAGPIE_OK) return status;
    *out = passes(&filter->root, id, root);
    json_decref(root);
    return MAGPIE_OK;
}
