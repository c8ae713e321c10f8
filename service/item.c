/* item.c - the JSON of an item, the same in every command's answer. */
#include "item.h"

#include <string.h>
#include <time.h>

void item_append_id(magpie_text *out, const magpie_item *item) {
    magpie_text_printf(out, "\"id\": ");
    magpie_text_json_string(out, item->id.data, item->id.size);
}

static void append_string(magpie_text *out, const char *key, magpie_string value) {
    magpie_text_printf(out, ", \"%s\": ", key);
    if (value.size)
        magpie_text_json_string(out, value.data, value.size);
    else
        magpie_text_printf(out, "null");
}

void item_append_time(magpie_text *out, int64_t millis) {
    int64_t seconds = millis / 1000 - (millis % 1000 < 0);
    struct tm tm;
    time_t t = (time_t)seconds;
    if (!gmtime_r(&t, &tm)) tm = (struct tm){0};
    magpie_text_printf(out, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", tm.tm_year + 1900, tm.tm_mon + 1,
                       tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (int)(millis - seconds * 1000));
}

void item_append_fields(magpie_text *out, const magpie_item *item, unsigned fields) {
    if (fields & ITEM_TEXT) append_string(out, "text", item->text);
    if (fields & ITEM_IMAGE) append_string(out, "image", item->image);
    if (fields & ITEM_AUDIO) append_string(out, "audio", item->audio);
    if (fields & ITEM_ATTRIBUTES) {
        magpie_text_printf(out, ", \"attributes\": ");
        if (item->attributes.size)
            magpie_text_append(out, item->attributes.data, item->attributes.size); /* is JSON already */
        else
            magpie_text_printf(out, "null");
    }
    if (!(fields & ITEM_TIMESTAMP)) return;
    magpie_text_printf(out, ", \"timestamp\": ");
    if (item->timestamp == INT64_MIN) {
        magpie_text_printf(out, "null");
        return;
    }
    magpie_text_append(out, "\"", 1);
    item_append_time(out, item->timestamp);
    magpie_text_append(out, "\"", 1);
}

unsigned item_field(const char *name) {
    static const char *const names[] = {"text", "image", "audio", "attributes", "timestamp"};
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0) return 1U << i;
    return 0;
}

magpie_status item_append_spaces(magpie_text *out, magpie_snapshot *snapshot, const magpie_item *item,
                                 const char *quotes) {
    const char *comma = "";
    for (unsigned s = 0; s < MAGPIE_SPACES; s++) {
        const float *vector;
        magpie_status status = magpie_snapshot_vector(snapshot, s, item->row, &vector);
        if (status != MAGPIE_OK) return status;
        if (!vector) continue;
        magpie_text_printf(out, "%s%s%s%s", comma, quotes, magpie_space_name(s), quotes);
        comma = ", ";
    }
    return MAGPIE_OK;
}

magpie_status item_append_stored(magpie_text *out, magpie_snapshot *snapshot, const magpie_item *item) {
    magpie_text_append(out, "{", 1);
    item_append_id(out, item);
    item_append_fields(out, item, ITEM_ALL);
    magpie_text_printf(out, ", \"row\": %llu, \"sequence\": %llu, \"updated\": \"",
                       (unsigned long long)item->row, (unsigned long long)item->sequence);
    item_append_time(out, item->updated);
    magpie_text_printf(out, "\", \"vectors\": [");
    magpie_status status = item_append_spaces(out, snapshot, item, "\"");
    magpie_text_printf(out, "], \"problems\": ");
    if (item->problems.size)
        magpie_text_json_string(out, item->problems.data, item->problems.size);
    else
        magpie_text_printf(out, "null");
    magpie_text_printf(out, "}");
    return status;
}

magpie_string item_words(const magpie_item *item) {
    return item->text.size ? item->text : item->image.size ? item->image : item->audio;
}
