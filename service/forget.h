/* forget.h - all places but the store's own tables in which something is known of a user. */
#ifndef MAGPIE_FORGET_H
#define MAGPIE_FORGET_H

#include "index.h"

/* To be done first: once the store has forgotten the user's number, nothing would find their rows, which become
 * zeros in its models. *number is for what follows the commit. MAGPIE_OK where there is no such user. */
MAGPIE_CHECK_RESULT magpie_status forget_in_models(magpie_store *store, magpie_string user, uint32_t *number);
/* After the commit: models whose training had begun before it, lines of the rejects that are known to be of the
 * user, and what killed trainings have left behind. */
MAGPIE_CHECK_RESULT magpie_status forget_in_files(const char *user, uint32_t number);

#endif
