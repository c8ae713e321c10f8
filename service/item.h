/* item.h - an item as people and as machines read it. */
#ifndef MAGPIE_ITEM_H
#define MAGPIE_ITEM_H

#include "index.h"

/* Members of a JSON object, without its braces: "id", then in `item_append_content` "text", "image", "audio",
 * "attributes", "timestamp" (RFC 3339). All are always there; null where the item has none. */
void item_append_id(magpie_text *out, const magpie_item *item);
void item_append_content(magpie_text *out, const magpie_item *item);
/* "2024-02-29T12:30:00.000Z" */
void item_append_time(magpie_text *out, int64_t millis);

/* What a person knows it by: its text, else a path. */
magpie_string item_words(const magpie_item *item);

#endif
