/* attribute.h - one attribute of an item, out of its JSON; and what an item is called. */
#ifndef MAGPIE_ATTRIBUTE_H
#define MAGPIE_ATTRIBUTE_H

#include "index.h"

/* The attribute `name` of the top level in a new string, to be freed; NULL where there is none, it is no
 * string, or a model of labels has told it (NAME_probability is beside it: ingest.h), which would be learned
 * from itself. */
MAGPIE_CHECK_RESULT magpie_status attribute_get_string(const magpie_item *item, const char *name, char **out);
/* magpie_title_hash of the attribute "title" where it is a string, else of the text. */
MAGPIE_CHECK_RESULT magpie_status attribute_title_hash(const magpie_item *item, uint64_t *out);

#endif
