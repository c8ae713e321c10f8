/* scratch.c - see scratch.h. */
#include "scratch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

static const char prefix[] = "scratch-";

static int remove_one(const char *path, const struct stat *about, int type, struct FTW *where) {
    (void)about;
    (void)type;
    (void)where;
    return remove(path);
}

magpie_status scratch_remove_folder(const char *path) {
    if (nftw(path, remove_one, 8, FTW_DEPTH | FTW_PHYS) == 0 || errno == ENOENT) return MAGPIE_OK;
    return magpie_fail_errno(errno, "cannot remove %s", path);
}

static int is_scratch(const struct dirent *entry) {
    return strncmp(entry->d_name, prefix, sizeof prefix - 1) == 0;
}

static magpie_status sweep_one(const char *store, const char *name) {
    char *path = magpie_path_join(store, name);
    if (!path) return MAGPIE_E_NO_MEMORY;
    magpie_status status = MAGPIE_OK;
    const int lock = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (lock >= 0 && flock(lock, LOCK_EX | LOCK_NB) == 0) status = scratch_remove_folder(path);
    if (lock >= 0) close(lock);
    free(path);
    return status;
}

magpie_status scratch_sweep(const char *store) {
    struct dirent **entries = NULL;
    const int n = scandir(store, &entries, is_scratch, alphasort);
    magpie_status status = n < 0 ? magpie_fail_errno(errno, "cannot read %s", store) : MAGPIE_OK;
    for (int i = 0; i < n; i++) {
        if (status == MAGPIE_OK) status = sweep_one(store, entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
    return status;
}

/* Whoever sweeps between the two calls takes it for one of the dead: then it is gone, *out's path is NULL. */
static magpie_status make_and_lock(const char *store, scratch *out) {
    out->path = magpie_path_join(store, "scratch-XXXXXX");
    if (!out->path) return MAGPIE_E_NO_MEMORY;
    const bool made = mkdtemp(out->path);
    out->lock = made ? open(out->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    const bool locked = out->lock >= 0 && flock(out->lock, LOCK_EX) == 0;
    const int error = errno;
    const bool there = made && magpie_path_exists(out->path);
    if (locked && there) return MAGPIE_OK;
    if (out->lock >= 0) close(out->lock);
    free(out->path);
    *out = (scratch){0};
    return made && !there ? MAGPIE_OK : magpie_fail_errno(error, "cannot make a folder in %s", store);
}

magpie_status scratch_create(const char *store, scratch *out) {
    *out = (scratch){0};
    magpie_status status = scratch_sweep(store);
    while (status == MAGPIE_OK && !out->path) status = make_and_lock(store, out);
    return status;
}

magpie_status scratch_end(scratch *s, magpie_status status) {
    if (!s->path) return status;
    if (status == MAGPIE_OK)
        status = scratch_remove_folder(s->path);
    else /* what went wrong before is what is told */
        nftw(s->path, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    close(s->lock);
    free(s->path);
    *s = (scratch){0};
    return status;
}
