/* vectors.h - a vector index that is searched while it changes. Private to index/.
 *
 * LOCKS. `lock` guards `held`: searches hold it for reading all the way, whoever changes the generation or
 * swaps it holds it for writing, and briefly. `turn` is held by the one refresh, rebuild, save or check at a
 * time: so its holder alone changes `held`, and may read it without `lock`. A rebuild reads the store and
 * builds beside the old generation with only `turn` held; searches go on. The order is turn, then lock. */
#ifndef MAGPIE_VECTORS_H
#define MAGPIE_VECTORS_H

#include <pthread.h>

#include "generation.h"
#include "index_file.h"
#include "store.h"

struct magpie_index {
    magpie_store *store;
    magpie_space_binding binding; /* of the space, when it was opened */
    magpie_index_owner owner;
    magpie_index_options options; /* defaults filled in; `kind` as asked for */
    char *path;
    pthread_mutex_t turn;
    pthread_rwlock_t lock;
    magpie_generation *held;
    bool loaded;
    uint64_t replayed;
};

/* With `turn` held: brings the generation to the moment of the snapshot. MAGPIE_E_MISMATCH where the space
 * has another binding there. */
MAGPIE_CHECK_RESULT magpie_status magpie_index_catch_up(magpie_index *index, magpie_snapshot *snapshot);

#endif
