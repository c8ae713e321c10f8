/* scratch.h - a folder in the store's for models that are tried and thrown away.
 *
 * Models know users. What a killed process has left behind must not outlive them: it is removed by whoever
 * makes a folder of the kind, and where users are deleted and the store is compacted. A process that lives holds
 * a lock on its own. */
#ifndef MAGPIE_SCRATCH_H
#define MAGPIE_SCRATCH_H

#include "core.h"

typedef struct scratch {
    char *path;
    int lock;
} scratch;

/* In the folder of a store. */
MAGPIE_CHECK_RESULT magpie_status scratch_create(const char *store, scratch *out);
/* Removes it with all that is in it. Returns `status`, unless that is MAGPIE_OK and the folder stays. Takes
 * one that is all zero. */
MAGPIE_CHECK_RESULT magpie_status scratch_end(scratch *scratch, magpie_status status);
/* Removes those of processes that are no more. */
MAGPIE_CHECK_RESULT magpie_status scratch_sweep(const char *store);
/* With all that is in it; MAGPIE_OK where it is not there. */
MAGPIE_CHECK_RESULT magpie_status scratch_remove_folder(const char *path);

#endif
