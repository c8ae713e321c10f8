/* canonical.h - JSON in one spelling. Private to ingest/. */
#ifndef MAGPIE_CANONICAL_H
#define MAGPIE_CANONICAL_H

#include "core.h"

#include <jansson.h>

/* Appends `value` to `text`: no white space, keys sorted by their bytes, numbers in their shortest form. Two
 * values that mean the same are the same bytes, so that a hash can say whether something has changed. A value
 * nested deeper than `limit` (`value` itself is at 1) is MAGPIE_E_INPUT. */
MAGPIE_CHECK_RESULT magpie_status magpie_canonical_json(const json_t *value, unsigned limit,
                                                        magpie_text *text);

#endif
