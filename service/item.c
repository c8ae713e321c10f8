/* item.c - the JSON of an item, the same in every command's answer. */
#include "item.h"

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

void item_append_content(magpie_text *out, const magpie_item *item) {
    append_string(out, "text", item->text);
    append_string(out, "image", item->image);
    append_string(out, "audio", item->audio);
    magpie_text_printf(out, ", \"attributes\": ");
    if (item->attributes.size)
        magpie_text_append(out, item->attributes.data, item->attributes.size); /* is JSON already */
    else
        magpie_text_printf(out, "null");
    magpie_text_printf(out, ", \"timestamp\": ");
    if (item->timestamp == INT64_MIN) {
        magpie_text_printf(out, "null");
        return;
    }
    magpie_text_append(out, "\"", 1);
    item_append_time(out, item->timestamp);
    magpie_text_append(out, "\"", 1);
}

magpie_string item_words(const magpie_item *item) {
    return item->text.size ? item->text : item->image.size ? item->image : item->audio;
}
