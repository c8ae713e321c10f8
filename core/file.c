/* file.c - paths, mapped files, whole files, files that are replaced at once or not at all. */
#include "core.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

char *magpie_path_join(const char *directory, const char *name) {
    magpie_text path = {0};
    magpie_text_printf(&path, "%s/%s", directory, name);
    if (magpie_text_status(&path) == MAGPIE_OK) return path.data;
    magpie_text_free(&path);
    return NULL;
}

bool magpie_path_exists(const char *path) { return access(path, F_OK) == 0; }

/* Opens a regular file: a folder or a device in its place would fail later and with stranger words. */
static magpie_status open_regular(const char *path, int *fd, size_t *size) {
    struct stat st;
    *fd = open(path, O_RDONLY | O_CLOEXEC);
    if (*fd < 0) return magpie_fail_errno(errno, "cannot open %s", path);
    if (fstat(*fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        close(*fd);
        return magpie_fail(MAGPIE_E_INPUT, "%s is not a regular file", path);
    }
    *size = (size_t)st.st_size;
    return MAGPIE_OK;
}

magpie_status magpie_map_open(const char *path, magpie_map *out) {
    int fd;
    *out = (magpie_map){0};
    magpie_status status = open_regular(path, &fd, &out->size);
    if (status != MAGPIE_OK) return status;
    if (out->size) {
        void *data = mmap(NULL, out->size, PROT_READ, MAP_SHARED, fd, 0);
        if (data == MAP_FAILED)
            status = magpie_fail_errno(errno, "cannot map %s", path);
        else
            out->data = data;
    }
    close(fd);
    return status;
}

void magpie_map_close(magpie_map *map) {
    if (map->data) munmap((void *)(uintptr_t)map->data, map->size);
    *map = (magpie_map){0};
}

void magpie_map_release(const magpie_map *map) {
    if (map->data) (void)madvise((void *)(uintptr_t)map->data, map->size, MADV_DONTNEED);
}

magpie_status magpie_file_read(const char *path, size_t limit, char **out, size_t *size) {
    int fd;
    size_t bytes, got = 0;
    magpie_status status = open_regular(path, &fd, &bytes);
    if (status != MAGPIE_OK) return status;
    char *data = NULL;
    if (bytes > limit)
        status = magpie_fail(MAGPIE_E_TOO_LARGE, "%s has %zu bytes; the limit is %zu", path, bytes, limit);
    else if (!(data = magpie_alloc(bytes + 1, 1)))
        status = MAGPIE_E_NO_MEMORY;
    while (status == MAGPIE_OK && got < bytes) {
        ssize_t n = read(fd, data + got, bytes - got);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) status = magpie_fail_errno(errno, "cannot read %s", path);
        if (n == 0) break; /* it shrank while it was read: what is there is what there is */
        if (n > 0) got += (size_t)n;
    }
    close(fd);
    if (status != MAGPIE_OK) {
        free(data);
        return status;
    }
    data[got] = 0;
    *out = data;
    if (size) *size = got;
    return MAGPIE_OK;
}

struct magpie_atomic_file {
    FILE *stream;
    char *path, *temporary;
};

static void atomic_free(magpie_atomic_file *file) {
    if (file->stream) fclose(file->stream);
    free(file->path);
    free(file->temporary);
    free(file);
}

magpie_status magpie_atomic_open(const char *path, magpie_atomic_file **out) {
    struct stat there;
    if (stat(path, &there) == 0 && !S_ISREG(there.st_mode))
        return magpie_fail(MAGPIE_E_ARGUMENT, "%s is no file that could be replaced", path);
    magpie_atomic_file *file = magpie_alloc(1, sizeof *file);
    if (!file) return MAGPIE_E_NO_MEMORY;
    magpie_text temporary = {0};
    magpie_text_printf(&temporary, "%s.tmp", path);
    file->path = strdup(path);
    file->temporary = temporary.data;
    magpie_status status = magpie_text_status(&temporary);
    if (status == MAGPIE_OK && !file->path) status = magpie_fail(MAGPIE_E_NO_MEMORY, "out of memory");
    if (status == MAGPIE_OK && !(file->stream = fopen(file->temporary, "wbe")))
        status = magpie_fail_errno(errno, "cannot create %s", file->temporary);
    if (status != MAGPIE_OK) {
        atomic_free(file);
        return status;
    }
    *out = file;
    return MAGPIE_OK;
}

FILE *magpie_atomic_stream(magpie_atomic_file *file) { return file->stream; }
const char *magpie_atomic_path(const magpie_atomic_file *file) { return file->temporary; }

magpie_status magpie_sync_parent(const char *path) {
    char *copy = strdup(path);
    if (!copy) return magpie_fail(MAGPIE_E_NO_MEMORY, "out of memory");
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    magpie_status status = MAGPIE_OK;
    if (fd < 0 || (fsync(fd) != 0 && errno != EINVAL)) /* EINVAL: folders need none there */
        status = magpie_fail_errno(errno, "cannot sync the folder of %s", path);
    if (fd >= 0) close(fd);
    free(copy);
    return status;
}

magpie_status magpie_atomic_commit(magpie_atomic_file *file) {
    magpie_status status = MAGPIE_OK;
    if (fflush(file->stream) != 0 || ferror(file->stream) || fsync(fileno(file->stream)) != 0)
        status = magpie_fail_errno(errno, "cannot write %s", file->temporary);
    if (status == MAGPIE_OK && rename(file->temporary, file->path) != 0)
        status = magpie_fail_errno(errno, "cannot rename %s to %s", file->temporary, file->path);
    if (status != MAGPIE_OK)
        unlink(file->temporary);
    else
        status = magpie_sync_parent(file->path);
    atomic_free(file);
    return status;
}

void magpie_atomic_abort(magpie_atomic_file *file) {
    if (!file) return;
    unlink(file->temporary);
    atomic_free(file);
}

magpie_status magpie_atomic_write(const char *path, const magpie_text *text) {
    magpie_atomic_file *file;
    magpie_status status = magpie_text_status(text);
    if (status == MAGPIE_OK) status = magpie_atomic_open(path, &file);
    if (status != MAGPIE_OK) return status;
    fwrite(text->data, 1, text->size, file->stream);
    return magpie_atomic_commit(file);
}
