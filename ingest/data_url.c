/* data_url.c - lines that have their pictures and sounds in them: those are taken out, and what is left is a
 * catalogue's line. */
#include "catalogue.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char scheme[] = "data:";

bool magpie_is_data(magpie_string reference) {
    const size_t size = sizeof scheme - 1;
    return reference.size >= size && strncasecmp(reference.data, scheme, size) == 0;
}

/* Two hexadecimal digits; -1: they are none. */
static int hexadecimal(const char *at) {
    static const char digits[] = "0123456789abcdef";
    int value = 0;
    for (int i = 0; i < 2; i++) {
        const char *digit = at[i] ? strchr(digits, at[i] | 0x20) : NULL;
        if (!digit) return -1;
        value = value * 16 + (int)(digit - digits);
    }
    return value;
}

/* The parameter "name" of what is before the comma; NULL: there is none. */
static json_t *read_name(magpie_string url) {
    static const char parameter[] = ";name=";
    const char *comma = memchr(url.data, ',', url.size);
    const char *at =
        comma ? memmem(url.data, (size_t)(comma - url.data), parameter, sizeof parameter - 1) : NULL;
    magpie_text name = {0};
    for (at = at ? at + sizeof parameter - 1 : comma; at && at < comma && *at != ';'; at++) {
        int value = *at == '%' && comma - at > 2 ? hexadecimal(at + 1) : -1;
        char byte = value >= 0 ? (char)value : *at;
        magpie_text_append(&name, &byte, 1);
        if (value >= 0) at += 2;
    }
    json_t *string = name.size ? json_stringn(name.data, name.size) : NULL; /* NULL for broken UTF-8 too */
    magpie_text_free(&name);
    return string;
}

/* *bytes are what the member has, whose value becomes its name. */
static magpie_status take_data(json_t *root, const char *key, bool named, magpie_string *bytes) {
    const json_t *value = json_object_get(root, key);
    const magpie_string url = {json_string_value(value), json_string_length(value)};
    if (!json_is_string(value) || !magpie_is_data(url)) return MAGPIE_OK;
    json_t *name = read_name(url);
    if (named && !name)
        return magpie_fail(MAGPIE_E_INPUT,
                           "%s: a data: URL of an item should say what its file is called: "
                           "data:image/png;name=cats%%2F1.png;base64,...",
                           key);
    unsigned char *decoded = malloc(magpie_base64_room(url.size) + 1);
    bytes->data = (char *)decoded;
    magpie_status status = decoded ? magpie_base64_decode(url, decoded, &bytes->size)
                                   : magpie_fail(MAGPIE_E_NO_MEMORY, "out of memory");
    if (status == MAGPIE_E_INPUT) status = magpie_fail(status, "%s: %s", key, magpie_error());
    if (!name) name = json_string("data");
    if (json_object_set_new(root, key, name) && status == MAGPIE_OK)
        status = magpie_fail(MAGPIE_E_NO_MEMORY, "out of memory");
    return status;
}

magpie_status magpie_catalogue_parse_data(const char *line, size_t size, bool named,
                                          magpie_catalogue_line *out,
                                          magpie_string bytes[MAGPIE_MODALITIES]) {
    json_t *root;
    *out = (magpie_catalogue_line){0};
    for (magpie_modality m = 0; m < MAGPIE_MODALITIES; m++) bytes[m] = (magpie_string){0};
    magpie_status status = magpie_catalogue_load(line, size, MAGPIE_DATA_LINE_MAX, &root);
    if (status == MAGPIE_OK) status = take_data(root, "image", named, &bytes[MAGPIE_IMAGE]);
    if (status == MAGPIE_OK) status = take_data(root, "audio", named, &bytes[MAGPIE_AUDIO]);
    if (status == MAGPIE_OK) status = magpie_catalogue_take(root, out);
    json_decref(root);
    return status;
}
