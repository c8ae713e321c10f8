/* storage.h - the options by which a command is told its store, and the store and indexes that they give.
 *
 * WHICH SPACES HAVE AN INDEX FILE. All that have a model, but for the text space where the fused one is the
 * same model's: it holds the same vectors, and a second index of them would only cost time and memory. Once
 * somebody has made one (magpie rebuild --space text), it is kept up to date like the others. */
#ifndef MAGPIE_STORAGE_H
#define MAGPIE_STORAGE_H

#include "index.h"
#include "options.h"

extern const option_row storage_options[]; /* --store */
/* The same for a command that can do without: storage_directory is NULL then. */
extern const option_row storage_optional_options[];
extern const option_row build_options[]; /* --index, --m, --ef-construction */

/* In the store's folder: where the bad lines of interactions go unless told otherwise. */
#define STORAGE_IMPORT_REJECTS "import-rejects.jsonl"

typedef enum storage_mode { STORAGE_READ, STORAGE_WRITE, STORAGE_CREATE } storage_mode;

const char *storage_directory(void);
/* The status of what was done with files of the store's folder: that one of them is gone is a failure, and
 * not that the item or user is not there, which MAGPIE_E_NOT_FOUND would mean to a caller. */
magpie_status storage_file_status(magpie_status status);
MAGPIE_CHECK_RESULT magpie_status storage_open(storage_mode mode, magpie_store **out);
/* The index of a space, as `build_options` say; what is there where they say nothing. */
MAGPIE_CHECK_RESULT magpie_status storage_open_index(magpie_store *store, magpie_space space,
                                                     magpie_index **out);
/* The same for one search: where there is no file, vectors are compared one by one, since to build an index
 * for a single search is never worth it. */
MAGPIE_CHECK_RESULT magpie_status storage_open_index_to_search(magpie_store *store, magpie_space space,
                                                               magpie_index **out);
/* Whether a space has an index file, or is to get one. */
bool storage_should_have_index(const magpie_store_stats *stats, magpie_space space);
/* Those of all spaces that should have one; NULL for the others. And the store's figures. */
MAGPIE_CHECK_RESULT magpie_status storage_open_indexes(magpie_store *store, magpie_store_stats *stats,
                                                       magpie_index *out[MAGPIE_SPACES]);
void storage_close_indexes(magpie_index *indexes[MAGPIE_SPACES]);
/* Brings the indexes on disk up to date. What was committed holds without them; but an index that knows of it
 * needs no replay, and tombstones can be pruned. */
MAGPIE_CHECK_RESULT magpie_status storage_update_indexes(magpie_store *store);
const char *storage_kind_name(magpie_index_kind kind);
/* What --filter says: JSON, or @FILE that has it. *out is NULL where `given` is. */
MAGPIE_CHECK_RESULT magpie_status storage_read_filter(const char *given, magpie_filter **out);
/* "fused", "text", "image", "audio": for an option's `parse`. */
magpie_status storage_parse_space(const char *value, void *target);

#endif
