/* store_media.h - the pictures and sounds that came in by the service: files of STORE/media.
 *
 * A FILE IS ONE ITEM'S: its name is a hash of the item's id and of its bytes. So the same bytes again are
 * the same file, which is not written again; and an item's reference to it, "media/NAME", is what a
 * catalogue's line would have.
 *
 * WHO DOES WHAT. A worker writes the bytes beside their place, synced. The writer (writer.h) alone puts
 * files in their place, before the commit that names them, and removes what a commit has left without a
 * name; since it is one thread, what it looked at is still so when it acts.
 *
 * A CRASH leaves files that no item names. They are found at the next start, by a walk over the items, and
 * removed where they are older than it. */
#ifndef MAGPIE_STORE_MEDIA_H
#define MAGPIE_STORE_MEDIA_H

#include <stdatomic.h>

#include "index.h"

enum { STORE_MEDIA_REFERENCE = 48 /* bytes, with the NUL */ };

typedef struct store_medium {
    char reference[STORE_MEDIA_REFERENCE]; /* empty: there is none */
    char *written; /* where its bytes are until they are placed; NULL: in their place */
} store_medium;

/* Whether a reference is to a file of this kind. */
bool store_media_owns(magpie_string reference);

/* For the item `id`, of which the store may know already. MAGPIE_E_UNSUPPORTED: the bytes begin like no
 * picture, or no sound. */
MAGPIE_CHECK_RESULT magpie_status store_media_write(magpie_store *store, magpie_string id,
                                                    magpie_string bytes, bool image, store_medium *out);
/* Gives back what was not placed. */
void store_media_drop(store_medium *medium);

/* ---- the writer's -------------------------------------------------------------------------------------- */

/* MAGPIE_E_BUSY where the file that the item had is gone. */
MAGPIE_CHECK_RESULT magpie_status store_media_place(store_medium *medium);
MAGPIE_CHECK_RESULT magpie_status store_media_sync(void); /* what was placed, before the commit */
/* Removes it where it is a file of this kind. */
void store_media_remove(const char *reference);

/* The references [*n] of files that no item names, older than `before` (seconds since 1970); each, and the
 * array, to be freed. Ends early where *ending comes to be true. */
MAGPIE_CHECK_RESULT magpie_status store_media_find_lost(magpie_store *store, int64_t before,
                                                        const atomic_bool *ending, char ***out, size_t *n);
/* Removes one of these, if it is still older. */
void store_media_remove_lost(const char *reference, int64_t before);

#endif
