/* storage.h - the options by which a command is told its store, and the store and index that they give. */
#ifndef MAGPIE_STORAGE_H
#define MAGPIE_STORAGE_H

#include "index.h"
#include "options.h"

extern const option_row storage_options[]; /* --store */
extern const option_row build_options[];   /* --index, --m, --ef-construction */

typedef enum storage_mode { STORAGE_READ, STORAGE_WRITE, STORAGE_CREATE } storage_mode;

const char *storage_directory(void);
MAGPIE_CHECK_RESULT magpie_status storage_open(storage_mode mode, magpie_store **out);
/* The fused space's index, as `build_options` say; what is there where they say nothing. */
MAGPIE_CHECK_RESULT magpie_status storage_open_index(magpie_store *store, magpie_index **out);
/* The same, and the store's figures; *out is NULL where there are no vectors yet. */
MAGPIE_CHECK_RESULT magpie_status storage_open_index_if_any(magpie_store *store, magpie_store_stats *stats,
                                                            magpie_index **out);
/* Brings the index on disk up to date. What was committed holds without it; but an index that knows of it
 * needs no replay, and tombstones can be pruned. */
MAGPIE_CHECK_RESULT magpie_status storage_update_index(magpie_store *store);
const char *storage_kind_name(magpie_index_kind kind);

#endif
