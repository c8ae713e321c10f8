/* fuzz_catalogue.c - any bytes as a line of a catalogue. It is refused in words, or what it says is within
 * the limits and says the same when it is written out again. */
#include "fuzz.h"
#include "ingest.h"

#include <stdlib.h>
#include <string.h>

fuzz_seed fuzz_seeds[] = {
    FUZZ_SEED("{\"id\":\"a\",\"text\":\"t\",\"image\":\"i.png\",\"audio\":\"a.ogg\",\"attributes\":{\"x\":[1,"
              "2.5e3,{\"y\":"
              "null}],\"z\":\"\\u00fc\"},\"timestamp\":\"2024-02-29T12:30:00.5+01:00\"}"),
    FUZZ_SEED("{\"id\":\"\xC3\xBC\",\"timestamp\":-1.5}"),
    FUZZ_SEED("\xEF\xBB\xBF{\"id\":\"b\",\"attributes\":{\"a\":{\"b\":{\"c\":[[[[true]]]]}}}}"),
};
const size_t fuzz_seed_count = sizeof fuzz_seeds / sizeof *fuzz_seeds;

static void append_member(magpie_text *out, const char *key, magpie_string value) {
    if (!value.data) return;
    magpie_text_printf(out, ", \"%s\": ", key);
    magpie_text_json_string(out, value.data, value.size);
}

/* Its content as another line; without the timestamp, which is read as milliseconds. */
static void check_again(const magpie_item *item) {
    magpie_text line = {0};
    magpie_catalogue_line again;
    magpie_text_printf(&line, "{\"id\": ");
    magpie_text_json_string(&line, item->id.data, item->id.size);
    append_member(&line, "text", item->text);
    append_member(&line, "image", item->image);
    append_member(&line, "audio", item->audio);
    if (item->attributes.data) magpie_text_printf(&line, ", \"attributes\": %s", item->attributes.data);
    magpie_text_printf(&line, "}");
    if (magpie_catalogue_parse(line.data, line.size, &again) != MAGPIE_OK) abort();
    if (memcmp(again.item.encoded_hash, item->encoded_hash, sizeof item->encoded_hash) != 0) abort();
    if (item->timestamp == INT64_MIN &&
        memcmp(again.item.content_hash, item->content_hash, sizeof item->content_hash) != 0)
        abort();
    magpie_catalogue_line_free(&again);
    magpie_text_free(&line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    magpie_catalogue_line line;
    magpie_status status = magpie_catalogue_parse((const char *)data, size, &line);
    if (status == MAGPIE_OK) {
        if (!line.item.id.size || line.item.id.size > MAGPIE_ID_MAX) abort();
        check_again(&line.item);
    } else if ((status != MAGPIE_E_INPUT && status != MAGPIE_E_TOO_LARGE) || !*magpie_error()) {
        abort();
    }
    magpie_catalogue_line_free(&line);
    return 0;
}
