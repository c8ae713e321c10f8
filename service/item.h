/* item.h - an item as people and as machines read it. */
#ifndef MAGPIE_ITEM_H
#define MAGPIE_ITEM_H

#include "index.h"

/* Members of a JSON object, without its braces: "id", then what `fields` has of "text", "image", "audio",
 * "attributes", "timestamp" (RFC 3339), each always there, null where the item has none. */
enum {
    ITEM_TEXT = 1,
    ITEM_IMAGE = 2,
    ITEM_AUDIO = 4,
    ITEM_ATTRIBUTES = 8,
    ITEM_TIMESTAMP = 16,
    ITEM_ALL = 31
};
void item_append_id(magpie_text *out, const magpie_item *item);
void item_append_fields(magpie_text *out, const magpie_item *item, unsigned fields);
/* The bit of a field's name; 0: there is none. */
unsigned item_field(const char *name);
/* All that is known of it, an object: magpie get --json. */
MAGPIE_CHECK_RESULT magpie_status item_append_stored(magpie_text *out, magpie_snapshot *snapshot,
                                                     const magpie_item *item);
/* The names of the spaces in which it has a vector, in `quotes`. */
MAGPIE_CHECK_RESULT magpie_status item_append_spaces(magpie_text *out, magpie_snapshot *snapshot,
                                                     const magpie_item *item, const char *quotes);
/* "2024-02-29T12:30:00.000Z" */
void item_append_time(magpie_text *out, int64_t millis);

/* What a person knows it by: its text, else a path. */
magpie_string item_words(const magpie_item *item);

#endif
