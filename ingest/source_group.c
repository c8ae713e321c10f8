/* source_group.c - see source_group.h.
 *
 * img2dataset writes a JSON file beside each picture, with "caption" in it and whatever else is known.
 * Where there is no text file, the caption is the text; what is null says nothing; all else are
 * attributes. */
#include "source_group.h"

#include <jansson.h>
#include <string.h>
#include <strings.h>

static const struct {
    const char *ending;
    magpie_part part;
} endings[] = {{"jpg", MAGPIE_PART_IMAGE},      {"jpeg", MAGPIE_PART_IMAGE}, {"png", MAGPIE_PART_IMAGE},
               {"wav", MAGPIE_PART_AUDIO},      {"flac", MAGPIE_PART_AUDIO}, {"ogg", MAGPIE_PART_AUDIO},
               {"oga", MAGPIE_PART_AUDIO},      {"opus", MAGPIE_PART_AUDIO}, {"mp3", MAGPIE_PART_AUDIO},
               {"aiff", MAGPIE_PART_AUDIO},     {"aif", MAGPIE_PART_AUDIO},  {"txt", MAGPIE_PART_TEXT},
               {"json", MAGPIE_PART_ATTRIBUTES}};

static const char *const part_names[] = {"picture", "sound", "text", "file of attributes"};

magpie_part magpie_part_of(magpie_string ending) {
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        if (strlen(endings[i].ending) == ending.size &&
            strncasecmp(endings[i].ending, ending.data, ending.size) == 0)
            return endings[i].part;
    return MAGPIE_PARTS;
}

void magpie_group_begin(magpie_group *group, magpie_string name) {
    magpie_text_clear(&group->name);
    magpie_text_append(&group->name, name.data, name.size);
    for (unsigned p = 0; p < MAGPIE_PARTS; p++) magpie_text_clear(&group->files[p]);
    memset(group->has, 0, sizeof group->has);
    magpie_text_clear(&group->bad);
}

magpie_text *magpie_group_add(magpie_group *group, magpie_part part) {
    char words[64];
    if (group->has[part]) {
        snprintf(words, sizeof words, "it has more than one %s", part_names[part]);
        magpie_group_refuse(group, words);
        magpie_text_clear(&group->files[part]);
    }
    group->has[part] = true;
    return &group->files[part];
}

void magpie_group_refuse(magpie_group *group, const char *words) {
    if (!group->bad.size) magpie_text_append(&group->bad, words, strlen(words));
}

static magpie_string string_in(const magpie_text *text) { return (magpie_string){text->data, text->size}; }

/* ---- the line ------------------------------------------------------------------------------------------ */

static void append_member(magpie_text *line, const char *key, magpie_string value) {
    magpie_text_printf(line, ", \"%s\": ", key);
    magpie_text_json_string(line, value.data, value.size);
}

/* A text file without what editors begin and end it with. */
static magpie_string trimmed(magpie_string text) {
    if (text.size >= 3 && memcmp(text.data, "\xEF\xBB\xBF", 3) == 0) text.data += 3, text.size -= 3;
    while (text.size && (text.data[text.size - 1] == '\n' || text.data[text.size - 1] == '\r')) text.size--;
    return text;
}

/* Without its nulls, and without the caption where that becomes the text. */
static magpie_status append_attributes(magpie_group *group, json_t *root) {
    void *next;
    const char *key;
    json_t *value;
    json_object_foreach_safe(root, next, key, value) if (json_is_null(value)) json_object_del(root, key);
    const json_t *caption = json_object_get(root, "caption");
    if (!group->has[MAGPIE_PART_TEXT] && json_is_string(caption)) {
        magpie_string text = {json_string_value(caption), json_string_length(caption)};
        if (text.size) append_member(&group->line, "text", text);
        json_object_del(root, "caption");
    }
    char *text = json_dumps(root, JSON_COMPACT);
    if (!text) return magpie_fail(MAGPIE_E_NO_MEMORY, "out of memory");
    magpie_text_printf(&group->line, ", \"attributes\": %s", text);
    free(text);
    return MAGPIE_OK;
}

static magpie_status read_attributes(magpie_group *group) {
    json_error_t error;
    magpie_status status = MAGPIE_OK;
    magpie_string text = trimmed(string_in(&group->files[MAGPIE_PART_ATTRIBUTES]));
    json_t *root =
        json_loadb(text.data ? text.data : "", text.size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (json_is_object(root)) {
        status = append_attributes(group, root);
    } else {
        (void)magpie_fail(MAGPIE_E_INPUT, "its file of attributes is no JSON object%s%s", root ? "" : ": ",
                          root ? "" : error.text);
        magpie_group_refuse(group, magpie_error());
    }
    json_decref(root);
    return status;
}

static void check_utf8(magpie_group *group, const char *what, magpie_string text) {
    if (magpie_utf8_check(text) == MAGPIE_OK) return;
    (void)magpie_fail(MAGPIE_E_INPUT, "its %s is broken UTF-8: %s", what, magpie_error());
    magpie_group_refuse(group, magpie_error());
}

static magpie_status write_line(magpie_group *group) {
    static const char *const keys[] = {"image", "audio", "text"};
    magpie_text_clear(&group->line);
    magpie_text_printf(&group->line, "{\"id\": ");
    magpie_text_json_string(&group->line, group->name.data, group->name.size);
    check_utf8(group, "name", string_in(&group->name));
    for (unsigned p = 0; p <= MAGPIE_PART_TEXT; p++) {
        magpie_string value = string_in(&group->files[p]);
        if (p == MAGPIE_PART_TEXT) value = trimmed(value);
        if (!value.size) continue;
        check_utf8(group, p == MAGPIE_PART_TEXT ? "text" : "name", value);
        append_member(&group->line, keys[p], value);
    }
    magpie_status status =
        group->has[MAGPIE_PART_ATTRIBUTES] && !group->bad.size ? read_attributes(group) : MAGPIE_OK;
    magpie_text_printf(&group->line, "}");
    return status == MAGPIE_OK ? magpie_text_status(&group->line) : status;
}

magpie_status magpie_group_end(magpie_group *group, magpie_entry *out) {
    magpie_status status = write_line(group);
    for (unsigned p = 0; p < MAGPIE_PARTS && status == MAGPIE_OK; p++)
        status = magpie_text_status(&group->files[p]);
    if (status == MAGPIE_OK) status = magpie_text_status(&group->name);
    if (status == MAGPIE_OK) status = magpie_text_status(&group->bad);
    out->bad = group->bad.size ? group->bad.data : NULL;
    out->id = (magpie_string){group->name.data, group->name.size};
    out->line.data = out->bad ? group->name.data : group->line.data;
    out->line.size = out->bad ? group->name.size : group->line.size;
    return status;
}

void magpie_group_free(magpie_group *group) {
    magpie_text_free(&group->name);
    for (unsigned p = 0; p < MAGPIE_PARTS; p++) magpie_text_free(&group->files[p]);
    magpie_text_free(&group->bad);
    magpie_text_free(&group->line);
}
