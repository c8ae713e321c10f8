/* catalogue.h - the two halves of parsing a line, for who has more to read in it than an item; and the way
 * back. Private to ingest/. */
#ifndef MAGPIE_CATALOGUE_H
#define MAGPIE_CATALOGUE_H

#include "ingest.h"

#include <jansson.h>

/* A line of `limit` bytes at most, as JSON; *out is the caller's. MAGPIE_E_INPUT or MAGPIE_E_TOO_LARGE. */
MAGPIE_CHECK_RESULT magpie_status magpie_catalogue_load(const char *line, size_t size, size_t limit,
                                                        json_t **out);
/* The item that it is; as magpie_catalogue_parse. */
MAGPIE_CHECK_RESULT magpie_status magpie_catalogue_take(json_t *root, magpie_catalogue_line *out);

bool magpie_is_data(magpie_string reference); /* a data: URL */

/* Appends the line of a catalogue that `item` would be read from, all but its closing brace. */
void magpie_catalogue_append(const magpie_item *item, magpie_text *out);

#endif
