/* media.c - GET /v1/items/{id}/image and /audio: the picture and the sound of an item, as they are stored or, of a
 * picture with ?size=N, as a JPEG whose longer side has N pixels.
 *
 * WHAT IS EVER OPENED. An id names an item, the item its file; no path of a request is looked at. Of these files
 * only those that lie beneath STORE/media or --media-root are opened, wherever links lead (openat2,
 * RESOLVE_BENEATH), only regular ones, and only what begins like a picture or a sound is sent: a catalogue from
 * elsewhere must not make a service carry off files of this machine. */
#include "handlers.h"
#include "ingest.h"
#include "media_type.h"
#include "server.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int open_beneath(const char *root, const char *path) {
    const struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK, .resolve = RESOLVE_BENEATH};
    int folder = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0) return -1;
    const int file = (int)syscall(SYS_openat2, folder, path, &how, sizeof how);
    const int error = errno;
    close(folder);
    errno = error;
    return file;
}

/* `path` relative to `root`; NULL where it is absolute and elsewhere. */
static const char *within(const char *root, const char *path) {
    const size_t size = strlen(root);
    if (*path != '/') return path;
    if (strncmp(path, root, size) != 0 || (path[size] != '/' && root[size - 1] != '/')) return NULL;
    return path + size + strspn(path + size, "/");
}

/* -1: it is nowhere where files may be shown. */
static int open_reference(const http_request *r, magpie_string reference) {
    static const char own[] = "media/";
    const char *media_root = r->server->options.media_root;
    char *path = strndup(reference.data, reference.size);
    char *folder = magpie_path_join(storage_directory(), "media");
    const char *rest = path && media_root ? within(media_root, path) : NULL;
    int file = -1;
    if (path && folder && strncmp(path, own, sizeof own - 1) == 0)
        file = open_beneath(folder, path + sizeof own - 1);
    if (file < 0 && rest) file = open_beneath(media_root, rest);
    free(folder);
    free(path);
    return file;
}

/* MAGPIE_E_BUSY, and it has been answered, where too much is in memory already: a client may take its time to read. */
static magpie_status read_file(http_request *r, int file, size_t limit, magpie_text *out) {
    struct stat st;
    char buffer[1 << 16];
    if (fstat(file, &st) != 0 || !S_ISREG(st.st_mode))
        return magpie_fail(MAGPIE_E_NOT_FOUND, "it is no file");
    if ((uint64_t)st.st_size > limit)
        return magpie_fail(MAGPIE_E_TOO_LARGE, "the file is larger than %zu bytes", limit);
    if (!http_hold(r, (size_t)st.st_size)) return MAGPIE_E_BUSY;
    for (ssize_t n; (n = read(file, buffer, sizeof buffer)) != 0;) {
        if (n < 0) return magpie_fail_errno(errno, "cannot read it");
        magpie_text_append(out, buffer, (size_t)n);
        if (out->size > limit)
            return magpie_fail(MAGPIE_E_TOO_LARGE, "the file is larger than %zu bytes", limit);
    }
    return magpie_text_status(out);
}

static http_outcome send_thumbnail(http_request *r, magpie_text *file, size_t side) {
    magpie_thumbnail small;
    const magpie_media media = {.bytes = {file->data, file->size}};
    magpie_status status = magpie_image_thumbnail(&media, side, &small);
    magpie_text_free(file);
    if (status == MAGPIE_E_INPUT || status == MAGPIE_E_UNSUPPORTED || status == MAGPIE_E_TOO_LARGE)
        return http_error(r, MHD_HTTP_UNPROCESSABLE_CONTENT, NULL, "id", "its picture: %s", magpie_error());
    if (status != MAGPIE_OK) return http_failure(r, status, NULL);
    magpie_text bytes = {.data = (char *)small.bytes, .size = small.size, .capacity = small.size};
    r->cache = "private, max-age=3600";
    return http_answer(r, MHD_HTTP_OK, "image/jpeg", &bytes);
}

static magpie_status find_reference(http_request *r, bool image, magpie_text *out) {
    magpie_snapshot *snapshot;
    magpie_item item;
    magpie_status status = magpie_snapshot_open(r->view.store, &snapshot);
    if (status != MAGPIE_OK) return status;
    status = magpie_snapshot_get(snapshot, magpie_string_of(r->parameter), &item);
    const magpie_string reference = status != MAGPIE_OK ? (magpie_string){0}
                                    : image             ? item.image
                                                        : item.audio;
    if (reference.size) magpie_text_append(out, reference.data, reference.size);
    magpie_snapshot_close(snapshot);
    if (status == MAGPIE_OK) return magpie_text_status(out);
    return status == MAGPIE_E_NOT_FOUND ? magpie_fail(status, "there is no item \"%.200s\"", r->parameter)
                                        : status;
}

static http_outcome send_medium(http_request *r, bool image) {
    size_t side = 0;
    const char *what = image ? "picture" : "sound";
    magpie_text reference = {0}, bytes = {0};
    if (image && !http_query_number(r, "size", 16, 1024, &side)) return HTTP_DONE;
    magpie_status status = find_reference(r, image, &reference);
    const bool has = reference.size > 0;
    const bool archived = magpie_catalogue_is_archived((magpie_string){reference.data, reference.size});
    int file = status == MAGPIE_OK && has && !archived
                   ? open_reference(r, (magpie_string){reference.data, reference.size})
                   : -1;
    magpie_text_free(&reference);
    if (status != MAGPIE_OK) return http_failure(r, status, "id");
    if (file < 0)
        return http_error(r, MHD_HTTP_NOT_FOUND, NULL, "id",
                          archived ? "its %s is in an archive, which is not opened"
                          : has    ? "its %s is not there, or not beneath --media-root"
                                   : "it has no %s",
                          what);
    status = read_file(r, file, image ? MAGPIE_IMAGE_BYTES_MAX : SOUND_BYTES_MAX, &bytes);
    close(file);
    const media_type *type =
        status == MAGPIE_OK ? media_type_of((magpie_string){bytes.data, bytes.size}, image) : NULL;
    if (type && side) return send_thumbnail(r, &bytes, side);
    if (type) {
        r->cache = "private, max-age=3600";
        return http_answer(r, MHD_HTTP_OK, type->type, &bytes);
    }
    magpie_text_free(&bytes);
    if (r->answered) return HTTP_DONE;
    if (status == MAGPIE_OK)
        return http_error(r, MHD_HTTP_UNPROCESSABLE_CONTENT, NULL, "id", "what it names is no %s", what);
    return http_failure(r, status, "id");
}

http_outcome media_image(http_request *r) { return send_medium(r, true); }

http_outcome media_audio(http_request *r) { return send_medium(r, false); }
