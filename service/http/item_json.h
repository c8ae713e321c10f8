/* item_json.h - an item as a request has it, on its way to the writer, and what is answered to it. */
#ifndef MAGPIE_ITEM_JSON_H
#define MAGPIE_ITEM_JSON_H

#include "writer.h"

/* Makes it a put. Its picture and sound are decoded and written (store_media.h), and `item` has their
 * references in their stead: no path of a request is ever taken for one. What is wrong is in one->status. */
void item_json_read(http_request *r, json_t *item, write_one *one);
/* "id": ..., "status": ..., "problems": ...; or maybe "id", and "error": the members of an object. `line`:
 * the number of one that failed; 0: it has none. */
void item_json_append(http_request *r, magpie_text *out, const write_one *one, size_t line);
/* The answer to a request that was about this one alone; `status` where it failed. */
http_outcome item_json_fail(http_request *r, const write_one *one);
/* 404; the id is not repeated, which may be anything. */
http_outcome item_json_missing(http_request *r);
/* The query's ?wait; false: 400 has been answered. */
bool item_json_wants_wait(http_request *r, bool *wait);
/* Does so; false: 503 has been answered, though all is written. */
bool item_json_wait(http_request *r);

#endif
