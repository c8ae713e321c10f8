/* attribute.c - see attribute.h. */
#include "attribute.h"

#include "ingest.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

magpie_status attribute_get_string(const magpie_item *item, const char *name, char **out) {
    json_error_t error;
    *out = NULL;
    if (!item->attributes.size) return MAGPIE_OK;
    json_t *attributes = json_loadb(item->attributes.data, item->attributes.size, 0, &error);
    if (!attributes)
        return magpie_fail(MAGPIE_E_CORRUPT, "item \"%.*s\": its attributes: %s", (int)item->id.size,
                           item->id.data, error.text);
    const char *value = json_string_value(json_object_get(attributes, name));
    magpie_text probability = {0};
    magpie_text_printf(&probability, "%s" MAGPIE_PROBABILITY_SUFFIX, name);
    magpie_status status = magpie_text_status(&probability);
    if (status == MAGPIE_OK && value && !json_object_get(attributes, probability.data) &&
        !(*out = strdup(value)))
        status = magpie_fail(MAGPIE_E_NO_MEMORY, "out of memory");
    magpie_text_free(&probability);
    json_decref(attributes);
    return status;
}

magpie_status attribute_title_hash(const magpie_item *item, uint64_t *out) {
    char *title;
    magpie_status status = attribute_get_string(item, "title", &title);
    if (status != MAGPIE_OK) return status;
    *out = magpie_title_hash(title ? magpie_string_of(title) : item->text);
    free(title);
    return MAGPIE_OK;
}
