/* interactions.h - what the parts of magpie interactions share. */
#ifndef MAGPIE_SERVICE_INTERACTIONS_H
#define MAGPIE_SERVICE_INTERACTIONS_H

#include "core.h"

/* Where an import's bad lines go unless told otherwise: STORE/import-rejects.jsonl. To be freed; NULL with
 * the message set. */
MAGPIE_CHECK_RESULT char *interactions_rejects_path(void);

#endif
