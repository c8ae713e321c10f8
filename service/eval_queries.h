/* eval_queries.h - queries out of a file, each with the item that it should find. */
#ifndef MAGPIE_EVAL_QUERIES_H
#define MAGPIE_EVAL_QUERIES_H

#include "gallery.h"

/* Those of one modality, in the one space. */
typedef struct eval_query_set {
    float *vectors; /* [n, the gallery's dimension] */
    size_t *items;  /* [n], of the gallery */
    size_t n;
} eval_query_set;

typedef struct eval_queries {
    eval_query_set of[MAGPIE_MODALITIES];
    size_t lines;
    size_t elsewhere; /* of these, whose item is not in the gallery */
    size_t refused;   /* whose picture or sound could not be read; that is said on standard error */
} eval_queries;

/* Lines {"id": the item's, "text" or "image" or "audio": ...}. A line that is none is MAGPIE_E_INPUT, with
 * its number. To be freed whatever is returned. */
MAGPIE_CHECK_RESULT magpie_status eval_queries_read(const char *path, const gallery *gallery,
                                                    const model_folders *folders, eval_queries *out);
void eval_queries_free(eval_queries *queries);

#endif
