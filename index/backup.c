/* backup.c - data.mdb of one moment, while others write.
 *
 * LMDB's own copy, page by page, which takes some megabytes of memory; unlike that of a compaction, which
 * puts every entry into one transaction, and so would hold hundreds of them beside a service. What it has
 * of the deleted is what lies in the slack of large values (compact.c). */
#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

magpie_status magpie_store_backup(magpie_store *store, const char *folder) {
    char *path = magpie_path_join(folder, "data.mdb");
    if (!path) return MAGPIE_E_NO_MEMORY;
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    magpie_status status = fd >= 0 ? magpie_environment_copy(&store->environment, fd)
                                   : magpie_fail_errno(errno, "cannot create %s", path);
    if (status == MAGPIE_OK && fsync(fd) != 0) status = magpie_fail_errno(errno, "cannot write %s", path);
    if (fd >= 0 && close(fd) != 0 && status == MAGPIE_OK)
        status = magpie_fail_errno(errno, "cannot write %s", path);
    if (status == MAGPIE_OK) status = magpie_sync_parent(path);
    free(path);
    return status;
}
