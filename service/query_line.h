/* query_line.h - a query as the command line says it, and what it takes to encode it. */
#ifndef MAGPIE_QUERY_LINE_H
#define MAGPIE_QUERY_LINE_H

#include "options.h"
#include "query.h"

/* --text, --image, --audio, --item, --not-text, --not-image, --not-audio, --not-item, --weight. What is not
 * wanted weighs -0.5. */
extern const option_row query_options[];

typedef struct query_line {
    query query; /* a part's value is the text, path or id that was given */
    model_folders folders;
    model_encoder encoders[SENSES]; /* those that the parts need */
    magpie_fusion *fusion;          /* the query's */
    float *features;                /* of the parts, one behind the other */
} query_line;

/* What the command line says; EXIT_USAGE, in words that begin with the command's name, where that is no
 * query. `space` as --space says, MAGPIE_SPACES: nothing. */
exit_code query_line_begin(query_line *l, const char *command, magpie_space space);
void query_line_end(query_line *l);

/* Opens the encoders that the parts need. */
MAGPIE_CHECK_RESULT magpie_status query_line_open_encoders(query_line *l, magpie_space space);
/* With the encoders open: the fusion, as the store means it; `explain`: it is needed for more than the
 * query. Fails where `bound`, what the searched vectors are of, is not what the query is of. */
MAGPIE_CHECK_RESULT magpie_status query_line_open_fusion(query_line *l, magpie_space space,
                                                         const heads_store *store,
                                                         const magpie_space_binding *bound, bool explain);
/* Encodes the parts and makes the query's vector: see query_make. */
MAGPIE_CHECK_RESULT magpie_status query_line_make(query_line *l, magpie_space space, size_t dimension,
                                                  magpie_snapshot *snapshot, bool *missing);

#endif
