/* store_media.c - see store_media.h. */
#include "store_media.h"
#include "media_type.h"
#include "storage.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

enum { HEX = 32 /* digits of a name's hash */ };

static const char folder[] = "media/";
static const char digits[] = "0123456789abcdef";

/* ---- names --------------------------------------------------------------------------------------------- */

/* NAME, and NAME.REST.tmp with `temporary`. */
static bool is_name(const char *name, bool temporary) {
    if (strspn(name, digits) != HEX || name[HEX] != '.') return false;
    const char *rest = name + HEX + 1;
    const size_t extension = strspn(rest, "abcdefghijklmnopqrstuvwxyz0123456789");
    return extension && (!rest[extension] || (temporary && rest[extension] == '.'));
}

bool store_media_owns(magpie_string reference) {
    char text[STORE_MEDIA_REFERENCE];
    if (reference.size >= sizeof text) return false;
    memcpy(text, reference.data ? reference.data : "", reference.size);
    text[reference.size] = 0;
    return strlen(text) == reference.size && strncmp(text, folder, sizeof folder - 1) == 0 &&
           is_name(text + sizeof folder - 1, false);
}

static void make_reference(magpie_string id, magpie_string bytes, const char *extension,
                           char out[STORE_MEDIA_REFERENCE]) {
    const XXH128_hash_t of_id = XXH3_128bits(id.data, id.size),
                        of_bytes = XXH3_128bits(bytes.data, bytes.size);
    const uint64_t words[] = {of_id.low64, of_id.high64, of_bytes.low64, of_bytes.high64, bytes.size};
    const XXH128_hash_t hash = XXH3_128bits(words, sizeof words);
    snprintf(out, STORE_MEDIA_REFERENCE, "%s%016llx%016llx.%s", folder, (unsigned long long)hash.high64,
             (unsigned long long)hash.low64, extension);
}

/* ---- writing ------------------------------------------------------------------------------------------- */

static magpie_status sync_folder(const char *path) {
    const int descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const bool fine = descriptor >= 0 && fsync(descriptor) == 0;
    magpie_status status = fine ? MAGPIE_OK : magpie_fail_errno(errno, "cannot sync %s", path);
    if (descriptor >= 0) close(descriptor);
    return status;
}

static magpie_status make_folder(void) {
    char *path = magpie_path_join(storage_directory(), "media");
    if (!path) return MAGPIE_E_NO_MEMORY;
    magpie_status status = MAGPIE_OK;
    if (mkdir(path, 0777) == 0)
        status = sync_folder(storage_directory());
    else if (errno != EEXIST)
        status = magpie_fail_errno(errno, "cannot make %s", path);
    free(path);
    return storage_file_status(status);
}

static bool write_all(int descriptor, magpie_string bytes) {
    while (bytes.size) {
        const ssize_t n = write(descriptor, bytes.data, bytes.size);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        bytes.data += n;
        bytes.size -= (size_t)n;
    }
    return true;
}

static magpie_status write_file(const char *path, magpie_string bytes) {
    const int descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor < 0) return magpie_fail_errno(errno, "cannot make %s", path);
    magpie_status status = MAGPIE_OK;
    if (!write_all(descriptor, bytes) || fsync(descriptor) != 0)
        status = magpie_fail_errno(errno, "cannot write %s", path);
    close(descriptor);
    if (status != MAGPIE_OK) unlink(path);
    return status;
}

/* Whether the store's item names it, and it is there. */
static magpie_status find_named(magpie_store *store, magpie_string id, const char *reference, bool *named) {
    magpie_snapshot *snapshot;
    magpie_item item;
    magpie_status status = magpie_snapshot_open(store, &snapshot);
    if (status != MAGPIE_OK) return status;
    const magpie_string wanted = magpie_string_of(reference);
    status = magpie_snapshot_get(snapshot, id, &item);
    *named = false;
    for (unsigned i = 0; i < 2 && status == MAGPIE_OK; i++) {
        const magpie_string has = i ? item.audio : item.image;
        *named |= has.size == wanted.size && memcmp(has.data, wanted.data, wanted.size) == 0;
    }
    magpie_snapshot_close(snapshot);
    if (*named) {
        char *path = magpie_path_join(storage_directory(), reference);
        *named = path && magpie_path_exists(path);
        free(path);
    }
    return status == MAGPIE_E_NOT_FOUND ? MAGPIE_OK : status;
}

static char *temporary_path(const char *reference) {
    static atomic_uint_fast64_t count;
    magpie_text path = {0};
    magpie_text_printf(&path, "%s/%s.%x-%llx.tmp", storage_directory(), reference, (unsigned)getpid(),
                       (unsigned long long)atomic_fetch_add(&count, 1));
    if (magpie_text_status(&path) == MAGPIE_OK) return path.data;
    magpie_text_free(&path);
    return NULL;
}

magpie_status store_media_write(magpie_store *store, magpie_string id, magpie_string bytes, bool image,
                                store_medium *out) {
    bool named;
    const media_type *type = media_type_of(bytes, image);
    if (!type)
        return magpie_fail(MAGPIE_E_UNSUPPORTED, image ? "it is neither a JPEG nor a PNG"
                                                       : "it begins like no sound that is known here");
    make_reference(id, bytes, type->extension, out->reference);
    magpie_status status = find_named(store, id, out->reference, &named);
    if (status != MAGPIE_OK || named) return status;
    status = make_folder();
    if (status != MAGPIE_OK) return status;
    if (!(out->written = temporary_path(out->reference))) return MAGPIE_E_NO_MEMORY;
    status = write_file(out->written, bytes);
    if (status == MAGPIE_OK) return status;
    free(out->written);
    out->written = NULL;
    return storage_file_status(status);
}

void store_media_drop(store_medium *medium) {
    if (medium->written) unlink(medium->written);
    free(medium->written);
    medium->written = NULL;
}

/* ---- in their place ------------------------------------------------------------------------------------ */

magpie_status store_media_place(store_medium *medium) {
    char *path = magpie_path_join(storage_directory(), medium->reference);
    if (!path) return MAGPIE_E_NO_MEMORY;
    magpie_status status = MAGPIE_OK;
    if (medium->written && rename(medium->written, path) != 0)
        status = magpie_fail_errno(errno, "cannot make %s", path);
    else if (!medium->written && !magpie_path_exists(path))
        status = magpie_fail(MAGPIE_E_BUSY, "the item was changed meanwhile: try again");
    if (status == MAGPIE_OK) {
        free(medium->written);
        medium->written = NULL;
    }
    free(path);
    return storage_file_status(status);
}

magpie_status store_media_sync(void) {
    char *path = magpie_path_join(storage_directory(), "media");
    magpie_status status = path ? sync_folder(path) : MAGPIE_E_NO_MEMORY;
    free(path);
    return storage_file_status(status);
}

void store_media_remove(const char *reference) {
    char *path = store_media_owns(magpie_string_of(reference))
                     ? magpie_path_join(storage_directory(), reference)
                     : NULL;
    if (path) unlink(path); /* what stays is found at the next start */
    free(path);
}

/* ---- what a crash has left ----------------------------------------------------------------------------- */

typedef struct lost {
    char **names; /* [n], ascending, without the folder; NULL where an item names it */
    size_t n, capacity;
    bool *named; /* [n] */
    const atomic_bool *ending;
} lost;

static bool is_older(int at, const char *name, int64_t before) {
    struct stat st;
    return fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) && st.st_mtime < before;
}

static int compare_names(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static magpie_status list_files(DIR *files, int64_t before, lost *l) {
    magpie_status status = MAGPIE_OK;
    for (struct dirent *entry; status == MAGPIE_OK && (entry = readdir(files));) {
        if (!is_name(entry->d_name, true) || !is_older(dirfd(files), entry->d_name, before)) continue;
        status = magpie_grow((void **)&l->names, &l->capacity, l->n + 1, sizeof *l->names);
        if (status == MAGPIE_OK && !(l->names[l->n++] = strdup(entry->d_name))) {
            l->n--;
            status = magpie_fail(MAGPIE_E_NO_MEMORY, "out of memory");
        }
    }
    if (l->n) qsort(l->names, l->n, sizeof *l->names, compare_names);
    return status;
}

static magpie_status mark_named(void *context, const magpie_item *item) {
    lost *l = context;
    for (unsigned i = 0; i < 2; i++) {
        const magpie_string reference = i ? item->audio : item->image;
        char text[STORE_MEDIA_REFERENCE], *name = text + sizeof folder - 1;
        if (!store_media_owns(reference)) continue;
        memcpy(text, reference.data, reference.size);
        text[reference.size] = 0;
        char **found = bsearch(&name, l->names, l->n, sizeof *l->names, compare_names);
        if (found) l->named[found - l->names] = true;
    }
    return atomic_load(l->ending) ? magpie_fail(MAGPIE_E_CANCELLED, "it is ending") : MAGPIE_OK;
}

static magpie_status look_at_items(magpie_store *store, lost *l) {
    magpie_snapshot *snapshot;
    if (!(l->named = magpie_alloc(l->n, sizeof *l->named))) return MAGPIE_E_NO_MEMORY;
    magpie_status status = magpie_snapshot_open(store, &snapshot);
    if (status != MAGPIE_OK) return status;
    status = magpie_snapshot_each(snapshot, 0, mark_named, l);
    magpie_snapshot_close(snapshot);
    return status;
}

/* Leaves those that are lost, as references. */
static void keep_lost(lost *l) {
    size_t kept = 0;
    for (size_t i = 0; i < l->n; i++) {
        char *reference = l->named[i] ? NULL : magpie_path_join("media", l->names[i]);
        free(l->names[i]);
        if (reference) l->names[kept++] = reference;
    }
    l->n = kept;
}

magpie_status store_media_find_lost(magpie_store *store, int64_t before, const atomic_bool *ending,
                                    char ***out, size_t *n) {
    lost l = {.ending = ending};
    char *path = magpie_path_join(storage_directory(), "media");
    DIR *files = path ? opendir(path) : NULL;
    free(path);
    *out = NULL;
    *n = 0;
    if (!files) return MAGPIE_OK; /* nothing ever came in */
    magpie_status status = list_files(files, before, &l);
    closedir(files);
    if (status == MAGPIE_OK && l.n) status = look_at_items(store, &l);
    if (status == MAGPIE_OK && l.n) keep_lost(&l);
    free(l.named);
    if (status == MAGPIE_OK) {
        *out = l.names;
        *n = l.n;
        return status;
    }
    for (size_t i = 0; i < l.n; i++) free(l.names[i]);
    free(l.names);
    return status;
}

void store_media_remove_lost(const char *reference, int64_t before) {
    char *path = magpie_path_join(storage_directory(), reference);
    if (path && is_older(AT_FDCWD, path, before)) unlink(path);
    free(path);
}
