/* forget.c - a user's rows become zeros where they lie, so that no older copy of the file is left behind on
 * the disk. Tables of users are those whose name begins with "user.": neither the model nor its tables have
 * to be read.
 *
 * A training that has begun before knows the user too. So the number is appended to FOLDER/forgotten, 32 bits
 * in the machine's order, which whoever writes to the folder reads first, under the same lock. A number is never
 * given to another user, so it can stay there. */
#include "model.h"
#include "safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

static const char prefix[] = "user.", forgotten_name[] = "forgotten";

/* ---- who was forgotten --------------------------------------------------------------------------------- */

magpie_status ranker_lock(const char *directory, int *descriptor) {
    *descriptor = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int code = *descriptor < 0 ? -1 : flock(*descriptor, LOCK_EX);
    while (code != 0 && *descriptor >= 0 && errno == EINTR) code = flock(*descriptor, LOCK_EX);
    if (code == 0) return MAGPIE_OK;
    magpie_status status = magpie_fail_errno(errno, "cannot lock %s", directory);
    if (*descriptor >= 0) close(*descriptor);
    *descriptor = -1;
    return status;
}

magpie_status ranker_forgotten(const char *directory, uint32_t **users, size_t *n) {
    char *path = magpie_path_join(directory, forgotten_name);
    magpie_map map;
    *users = NULL;
    *n = 0;
    if (!path) return MAGPIE_E_NO_MEMORY;
    magpie_status status = MAGPIE_OK;
    if (magpie_path_exists(path) && (status = magpie_map_open(path, &map)) == MAGPIE_OK) {
        *n = map.size / sizeof **users;
        *users = magpie_alloc(*n, sizeof **users);
        if (*users && *n) memcpy(*users, map.data, *n * sizeof **users);
        if (!*users) status = MAGPIE_E_NO_MEMORY;
        magpie_map_close(&map);
    }
    free(path);
    return status;
}

static magpie_status note_forgotten(const char *directory, uint32_t user) {
    char *path = magpie_path_join(directory, forgotten_name);
    if (!path) return MAGPIE_E_NO_MEMORY;
    int descriptor = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    const bool done = descriptor >= 0 && write(descriptor, &user, sizeof user) == (ssize_t)sizeof user &&
                      fsync(descriptor) == 0;
    magpie_status status = done ? MAGPIE_OK : magpie_fail_errno(errno, "cannot write %s", path);
    if (descriptor >= 0) close(descriptor);
    free(path);
    return status;
}

/* ---- forgetting ---------------------------------------------------------------------------------------- */

static magpie_status write_zeros(int descriptor, const char *path, size_t offset, size_t size) {
    static const char zeros[4096];
    while (size) {
        const ssize_t n = pwrite(descriptor, zeros, size < sizeof zeros ? size : sizeof zeros, (off_t)offset);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return magpie_fail_errno(n < 0 ? errno : EIO, "cannot write %s", path);
        offset += (size_t)n;
        size -= (size_t)n;
    }
    return MAGPIE_OK;
}

static magpie_status forget_rows(const safetensors *file, int descriptor, uint32_t user) {
    magpie_status status = MAGPIE_OK;
    for (size_t i = 0; i < safetensors_count(file) && status == MAGPIE_OK; i++) {
        const tensor *t = safetensors_at(file, i);
        if (strncmp(t->name, prefix, sizeof prefix - 1) != 0 || !t->rank || user >= t->shape[0]) continue;
        const size_t row = t->elements / t->shape[0] *
                           (t->type == TENSOR_F32 ? sizeof(float) : sizeof(uint16_t)); /* ours are f32 */
        status =
            write_zeros(descriptor, safetensors_path(file), safetensors_offset(file, t) + user * row, row);
    }
    if (status == MAGPIE_OK && fsync(descriptor) != 0)
        status = magpie_fail_errno(errno, "cannot sync %s", safetensors_path(file));
    return status;
}

static magpie_status forget_in(const char *path, uint32_t user) {
    safetensors *file = NULL;
    magpie_status status = safetensors_open(path, &file);
    if (status != MAGPIE_OK) return status;
    int descriptor = open(path, O_WRONLY | O_CLOEXEC);
    status = descriptor < 0 ? magpie_fail_errno(errno, "cannot write %s", path)
                            : forget_rows(file, descriptor, user);
    if (descriptor >= 0) close(descriptor);
    safetensors_close(file);
    return status;
}

/* Of trainings that were stopped: they know the user too. */
static magpie_status remove_rests(const char *directory) {
    static const char *const rests[] = {"training.state", "training.state.tmp", "model.safetensors.tmp"};
    magpie_status status = MAGPIE_OK;
    for (size_t i = 0; i < sizeof rests / sizeof *rests && status == MAGPIE_OK; i++) {
        char *path = magpie_path_join(directory, rests[i]);
        if (!path) return MAGPIE_E_NO_MEMORY;
        if (unlink(path) != 0 && errno != ENOENT) status = magpie_fail_errno(errno, "cannot remove %s", path);
        free(path);
    }
    return status;
}

magpie_status magpie_ranker_forget(const char *directory, uint32_t user) {
    char *path = magpie_path_join(directory, "model.safetensors");
    if (!path) return MAGPIE_E_NO_MEMORY;
    int lock;
    magpie_status status = ranker_lock(directory, &lock);
    if (status == MAGPIE_OK) status = note_forgotten(directory, user);
    if (status == MAGPIE_OK) status = remove_rests(directory);
    if (status == MAGPIE_OK && magpie_path_exists(path)) status = forget_in(path, user);
    if (status == MAGPIE_OK && fsync(lock) != 0)
        status = magpie_fail_errno(errno, "cannot sync %s", directory);
    if (lock >= 0) close(lock);
    free(path);
    return status;
}
