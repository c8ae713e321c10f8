/* forget.h - all places but the store's own tables in which something is known of a user. */
#ifndef MAGPIE_FORGET_H
#define MAGPIE_FORGET_H

#include "index.h"

/* The user's rows in the store's models become zeros. To be done before the store forgets the user, since nothing
 * would find them afterwards, and again after it, for models whose training has begun in between. */
MAGPIE_CHECK_RESULT magpie_status forget_in_models(uint32_t number);
/* Lines of the rejects that are known to be of the user, and what killed trainings have left behind. */
MAGPIE_CHECK_RESULT magpie_status forget_in_files(const char *user);

#endif
