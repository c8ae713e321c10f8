/* interaction_line.h - one line of a file of interactions, in any of the formats of ingest.h. Private to
 * ingest/. */
#ifndef MAGPIE_INTERACTION_LINE_H
#define MAGPIE_INTERACTION_LINE_H

#include "ingest.h"

#include <jansson.h>

typedef enum magpie_interaction_role {
    MAGPIE_ROLE_USER,
    MAGPIE_ROLE_ITEM,
    MAGPIE_ROLE_KIND,
    MAGPIE_ROLE_WEIGHT,
    MAGPIE_ROLE_TIME,
    MAGPIE_ROLES
} magpie_interaction_role;

typedef struct magpie_interaction_reader {
    magpie_import_format format;  /* never BY_NAME */
    magpie_interaction_kind kind; /* of lines that name none; MAGPIE_INTERACTION_KINDS: see ingest.h */
    bool rated;                   /* there is a column called rating */
    size_t column[MAGPIE_ROLES];  /* SIZE_MAX: none */
    size_t columns;               /* up to the last of these */
    char *scratch;                /* fields without their quotes, ids out of numbers */
    size_t scratch_used, scratch_capacity;
    json_t *root; /* of the last line */
} magpie_interaction_reader;

/* Everything points into the line or the reader, until the next line. */
typedef struct magpie_interaction_line {
    magpie_string user, item;
    magpie_interaction_kind kind;
    float weight;
    int64_t time;
} magpie_interaction_line;

/* MAGPIE_E_ARGUMENT where the format cannot be told by the name. */
MAGPIE_CHECK_RESULT magpie_status magpie_interaction_reader_begin(magpie_interaction_reader *reader,
                                                                  const magpie_import_options *options);
bool magpie_interaction_reader_has_header(const magpie_interaction_reader *reader);
MAGPIE_CHECK_RESULT magpie_status magpie_interaction_reader_header(magpie_interaction_reader *reader,
                                                                   magpie_string line);
/* MAGPIE_E_INPUT in words; out->user is set where it could be read. What an id is the batch says. */
MAGPIE_CHECK_RESULT magpie_status magpie_interaction_reader_parse(magpie_interaction_reader *reader,
                                                                  magpie_string line,
                                                                  magpie_interaction_line *out);
void magpie_interaction_reader_free(magpie_interaction_reader *reader);

#endif
