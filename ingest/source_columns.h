/* source_columns.h - what the columns of a CSV are to an item. Private to ingest/.
 *
 * A MAP is "id=sku,text=title+description,image=photo": a key of a catalogue's lines, and the columns that
 * it is taken from, in this order, with a blank between two. What it does not say goes by the columns'
 * names, and what is left are attributes, unless "attributes=colour+price" names them. */
#ifndef MAGPIE_SOURCE_COLUMNS_H
#define MAGPIE_SOURCE_COLUMNS_H

#include "core.h"

typedef struct magpie_columns { /* all zero is a valid empty one */
    magpie_text names;          /* of the columns, with a NUL behind each */
    size_t *starts;             /* [count], in names */
    size_t count, starts_capacity;
    struct magpie_column_use {
        unsigned key; /* which of an item's; the columns of one are in their order */
        size_t column;
    } * uses; /* [use_count] */
    size_t use_count, use_capacity;
} magpie_columns;

/* `names` [n]: the header. `map` NULL: there is none. MAGPIE_E_INPUT or MAGPIE_E_ARGUMENT (the map), in
 * words. */
MAGPIE_CHECK_RESULT magpie_status magpie_columns_begin(magpie_columns *columns, const magpie_string *names,
                                                       size_t n, const char *map);
/* Appends the line that a catalogue would have for these cells [count], which are UTF-8. An empty one is
 * absent; an attribute or timestamp that is a number in JSON's notation, and none too large, is a number. */
MAGPIE_CHECK_RESULT magpie_status magpie_columns_line(const magpie_columns *columns,
                                                      const magpie_string *cells, magpie_text *line);
void magpie_columns_free(magpie_columns *columns);

#endif
