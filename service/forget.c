/* forget.c - see forget.h. */
#include "forget.h"
#include "ranker.h"
#include "rankers.h"
#include "scratch.h"
#include "storage.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

enum { REJECT_MAX = 1 << 16 /* bytes of a line of the rejects */ };

/* rejects.c writes the id so. */
static magpie_status filter_rejects(magpie_lines *lines, magpie_atomic_file *file, const char *user) {
    magpie_text member = {0};
    magpie_line line;
    bool got;
    magpie_status status;
    magpie_text_printf(&member, ", \"id\": ");
    magpie_text_json_string(&member, user, strlen(user));
    magpie_text_printf(&member, ", \"start\": ");
    status = magpie_text_status(&member);
    while (status == MAGPIE_OK && (status = magpie_lines_next(lines, &line, &got)) == MAGPIE_OK && got)
        if (!line.too_long && !strstr(line.data, member.data))
            fprintf(magpie_atomic_stream(file), "%s\n", line.data);
    magpie_text_free(&member);
    return status;
}

static magpie_status scrub_rejects(const char *user) {
    char *path = magpie_path_join(storage_directory(), STORAGE_IMPORT_REJECTS);
    magpie_lines *lines = NULL;
    magpie_atomic_file *file = NULL;
    if (!path) return MAGPIE_E_NO_MEMORY;
    magpie_status status = MAGPIE_OK;
    if (magpie_path_exists(path)) {
        status = magpie_lines_open(path, REJECT_MAX, 0, 0, &lines);
        if (status == MAGPIE_OK) status = magpie_atomic_open(path, &file);
        if (status == MAGPIE_OK) status = filter_rejects(lines, file, user);
        if (status == MAGPIE_OK)
            status = magpie_atomic_commit(file);
        else if (file)
            magpie_atomic_abort(file);
        magpie_lines_close(lines);
    }
    free(path);
    return status;
}

static magpie_status forget(void *context, const char *folder, const char *name) {
    (void)name;
    return magpie_ranker_forget(folder, *(const uint32_t *)context);
}

magpie_status forget_in_models(uint32_t number) { return storage_file_status(rankers_each(forget, &number)); }

/* One at a time, over all threads and processes: two would each write what the other left out. The lock is on
 * the store's folder, as that of those who write index files. */
static magpie_status lock_store(int *lock) {
    const char *directory = storage_directory();
    *lock = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int failed = *lock < 0 ? -1 : flock(*lock, LOCK_EX);
    while (failed && *lock >= 0 && errno == EINTR) failed = flock(*lock, LOCK_EX);
    return failed ? magpie_fail_errno(errno, "cannot lock %s", directory) : MAGPIE_OK;
}

magpie_status forget_in_files(const char *user) {
    int lock;
    magpie_status status = lock_store(&lock);
    if (status == MAGPIE_OK) status = scrub_rejects(user);
    if (status == MAGPIE_OK) status = scratch_sweep(storage_directory());
    if (lock >= 0) close(lock);
    return storage_file_status(status);
}
