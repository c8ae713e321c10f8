/* canonical.c - why jansson's own writer is not used: it spells 19.99 as 19.989999999999998, and people read
 * what they put in. Here a number is written with the fewest digits that read back as the same number. */
#include "canonical.h"

#include <stdlib.h>
#include <string.h>

static void append_real(magpie_text *text, double value) {
    char digits[32];
    for (int precision = 15; precision <= 17; precision++) {
        snprintf(digits, sizeof digits, "%.*g", precision, value);
        if (strtod(digits, NULL) == value) break;
    }
    magpie_text_append(text, digits, strlen(digits));
    if (!strpbrk(digits, ".e")) magpie_text_append(text, ".0", 2); /* a real stays a real */
}

static int compare_names(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static magpie_status append_value(const json_t *value, unsigned depth, unsigned limit, magpie_text *text);

static magpie_status append_object(const json_t *value, unsigned depth, unsigned limit, magpie_text *text) {
    json_t *object = (json_t *)(uintptr_t)value; /* the iterators take no const */
    const char **names = magpie_alloc(json_object_size(object), sizeof *names), *name;
    if (!names) return MAGPIE_E_NO_MEMORY;
    size_t n = 0;
    json_t *member;
    json_object_foreach(object, name, member) names[n++] = name;
    qsort(names, n, sizeof *names, compare_names);
    magpie_status status = MAGPIE_OK;
    magpie_text_append(text, "{", 1);
    for (size_t i = 0; i < n && status == MAGPIE_OK; i++) {
        if (i) magpie_text_append(text, ",", 1);
        magpie_text_json_string(text, names[i], strlen(names[i]));
        magpie_text_append(text, ":", 1);
        status = append_value(json_object_get(object, names[i]), depth + 1, limit, text);
    }
    magpie_text_append(text, "}", 1);
    free(names);
    return status;
}

static magpie_status append_array(const json_t *array, unsigned depth, unsigned limit, magpie_text *text) {
    magpie_status status = MAGPIE_OK;
    magpie_text_append(text, "[", 1);
    for (size_t i = 0; i < json_array_size(array) && status == MAGPIE_OK; i++) {
        if (i) magpie_text_append(text, ",", 1);
        status = append_value(json_array_get(array, i), depth + 1, limit, text);
    }
    magpie_text_append(text, "]", 1);
    return status;
}

static magpie_status append_value(const json_t *value, unsigned depth, unsigned limit, magpie_text *text) {
    if (depth > limit) return magpie_fail(MAGPIE_E_INPUT, "nested deeper than %u", limit);
    switch (json_typeof(value)) {
    case JSON_OBJECT: return append_object(value, depth, limit, text);
    case JSON_ARRAY: return append_array(value, depth, limit, text);
    case JSON_STRING:
        magpie_text_json_string(text, json_string_value(value), json_string_length(value));
        break;
    case JSON_INTEGER: magpie_text_printf(text, "%lld", (long long)json_integer_value(value)); break;
    case JSON_REAL: append_real(text, json_real_value(value)); break;
    case JSON_TRUE: magpie_text_append(text, "true", 4); break;
    case JSON_FALSE: magpie_text_append(text, "false", 5); break;
    case JSON_NULL: magpie_text_append(text, "null", 4); break;
    }
    return MAGPIE_OK;
}

magpie_status magpie_canonical_json(const json_t *value, unsigned limit, magpie_text *text) {
    magpie_status status = append_value(value, 1, limit, text);
    return status == MAGPIE_OK ? magpie_text_status(text) : status;
}
