/* attributes.c - GET /v1/attributes: what filters can ask for, and how many items have it. */
#include "handlers.h"
#include "server.h"

#include <stdlib.h>
#include <string.h>

/* As short as it can be written and read back as itself: 0.1, where "%.17g" is 0.10000000000000001. */
static void append_number(magpie_text *out, double number) {
    char digits[32];
    for (int precision = 15; precision <= 17; precision++) {
        snprintf(digits, sizeof digits, "%.*g", precision, number);
        if (strtod(digits, NULL) == number) break;
    }
    magpie_text_append(out, digits, strlen(digits));
}

static void append_value(magpie_text *out, const magpie_attribute_value *value) {
    magpie_text_printf(out, "{\"value\": ");
    switch (value->type) {
    case MAGPIE_ATTRIBUTE_BOOLEAN: magpie_text_printf(out, value->boolean ? "true" : "false"); break;
    case MAGPIE_ATTRIBUTE_NUMBER: append_number(out, value->number); break;
    case MAGPIE_ATTRIBUTE_STRING: magpie_text_json_string(out, value->string.data, value->string.size); break;
    }
    magpie_text_printf(out, ", \"count\": %llu}", (unsigned long long)value->count);
}

static magpie_status append_attribute(void *context, const magpie_attribute *attribute) {
    magpie_text *out = context;
    magpie_text_printf(out, "%s{\"key\": ", out->data[out->size - 1] == '[' ? "" : ", ");
    magpie_text_json_string(out, attribute->key.data, attribute->key.size);
    magpie_text_printf(out, ", \"items\": %llu, \"values\": [", (unsigned long long)attribute->items);
    for (size_t i = 0; i < attribute->count; i++) {
        if (i) magpie_text_append(out, ", ", 2);
        append_value(out, &attribute->values[i]);
    }
    magpie_text_printf(out, "], \"more\": %s}", attribute->more ? "true" : "false");
    return magpie_text_status(out); /* so that out->data is there, the next time */
}

static http_outcome answer(http_request *r, const magpie_filter *filter) {
    magpie_snapshot *snapshot;
    magpie_text out = {0};
    magpie_status status = magpie_snapshot_open(r->view.store, &snapshot);
    if (status != MAGPIE_OK) return http_failure(r, status, NULL);
    magpie_text_printf(&out, "{\"attributes\": [");
    status = magpie_text_status(&out);
    if (status == MAGPIE_OK)
        status = magpie_snapshot_attributes(snapshot, filter, NULL, append_attribute, &out);
    magpie_snapshot_close(snapshot);
    magpie_text_printf(&out, "]}\n");
    if (status == MAGPIE_OK) return http_answer_json(r, MHD_HTTP_OK, &out);
    magpie_text_free(&out);
    return http_failure(r, status, NULL);
}

http_outcome attributes_get(http_request *r) {
    magpie_filter *filter = NULL;
    const char *given = http_query(r, "filter");
    if (given) {
        magpie_status status = magpie_filter_parse(given, strlen(given), &filter);
        if (status != MAGPIE_OK) return http_failure(r, status, "filter");
    }
    (void)answer(r, filter);
    magpie_filter_free(filter);
    return HTTP_DONE;
}
