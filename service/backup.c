/* backup.c - magpie backup: the folder of a store, of one moment, while others write.
 *
 * WHAT IS COPIED. The store itself (magpie_store_backup), and whatever else lies in its folder but what is
 * derived or of a running process: indexes, which are made anew, locks, half-written files and scratch
 * folders.
 *
 * PICTURES AND SOUNDS THAT CAME BY THE SERVICE are put in their place before the commit that names them,
 * and removed after one that has left them without a name. So those that are there before the store is
 * copied and those that are there afterwards are, together, all that it names; and more, which the service
 * removes when it starts.
 *
 * All is made beside the destination and renamed: what has the name is whole. */
#include "command.h"
#include "index.h"
#include "output.h"
#include "scratch.h"
#include "storage.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

static struct {
    char *from, *to; /* folders */
    bool media_only;
    magpie_status status;
} copying;

static bool ends_with(const char *name, const char *end) {
    const size_t size = strlen(name), tail = strlen(end);
    return size >= tail && strcmp(name + size - tail, end) == 0;
}

/* `name`: the path beneath the store's folder. */
static bool is_left_out(const char *name) {
    const bool in_front = !strchr(name, '/');
    return strcmp(name, "data.mdb") == 0 || strcmp(name, "lock.mdb") == 0 || ends_with(name, ".tmp") ||
           (in_front && (ends_with(name, ".index") || ends_with(name, ".lock"))) ||
           strncmp(name, "scratch-", 8) == 0;
}

/* What is gone by now, or was copied before, is passed over. */
static magpie_status copy_file(const char *from, const char *to) {
    struct stat st;
    int in = open(from, O_RDONLY | O_CLOEXEC);
    if (in < 0 && errno == ENOENT) return MAGPIE_OK;
    int out = in >= 0 && fstat(in, &st) == 0
                  ? open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, st.st_mode & 0777)
                  : -1;
    magpie_status status = MAGPIE_OK;
    if (out < 0 && errno != EEXIST) status = magpie_fail_errno(errno, "cannot copy %s", from);
    for (ssize_t n = 1; out >= 0 && n;)
        if ((n = sendfile(out, in, NULL, 1 << 30)) < 0) {
            status = magpie_fail_errno(errno, "cannot copy %s", from);
            break;
        }
    if (out >= 0) { /* a reference's hash has the time of its file */
        const struct timespec times[] = {st.st_atim, st.st_mtim};
        (void)futimens(out, times);
        close(out);
    }
    if (in >= 0) close(in);
    return status;
}

static int copy_one(const char *path, const struct stat *st, int type, struct FTW *where) {
    const char *name = path + strlen(copying.from);
    if (!where->level) return FTW_CONTINUE;
    name++;
    if (is_left_out(name) || (copying.media_only && strncmp(name, "media", 5) != 0)) return FTW_SKIP_SUBTREE;
    char *to = magpie_path_join(copying.to, name);
    copying.status = to ? MAGPIE_OK : MAGPIE_E_NO_MEMORY;
    if (to && type == FTW_D && mkdir(to, 0777) != 0 && errno != EEXIST)
        copying.status = magpie_fail_errno(errno, "cannot make the folder %s", to);
    if (to && type == FTW_F && S_ISREG(st->st_mode)) copying.status = copy_file(path, to);
    free(to);
    return copying.status == MAGPIE_OK ? FTW_CONTINUE : FTW_STOP;
}

static magpie_status copy_files(bool media_only) {
    copying.media_only = media_only;
    copying.status = MAGPIE_OK;
    if (nftw(copying.from, copy_one, 8, FTW_PHYS | FTW_ACTIONRETVAL) < 0)
        return magpie_fail_errno(errno, "cannot read %s", copying.from);
    return copying.status;
}

/* All of it on the disk, and then under its name. */
static magpie_status put_in_place(const char *destination) {
    int fd = open(copying.to, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    magpie_status status =
        fd >= 0 && syncfs(fd) == 0 ? MAGPIE_OK : magpie_fail_errno(errno, "cannot sync %s", copying.to);
    if (fd >= 0) close(fd);
    if (status == MAGPIE_OK && rename(copying.to, destination) != 0)
        status = magpie_fail_errno(errno, "cannot rename %s to %s", copying.to, destination);
    return status == MAGPIE_OK ? magpie_sync_parent(destination) : status;
}

/* A folder beside the destination, with the rights that mkdir would give. */
static magpie_status begin(const char *destination) {
    struct stat st;
    if (lstat(destination, &st) == 0)
        return magpie_fail(MAGPIE_E_ARGUMENT, "%s is there already: a backup makes a folder of its own",
                           destination);
    magpie_text name = {0};
    magpie_text_printf(&name, "%s.partial-XXXXXX", destination);
    copying.to = name.data;
    copying.from = realpath(storage_directory(), NULL);
    magpie_status status = magpie_text_status(&name);
    if (status == MAGPIE_OK && !copying.from)
        status = magpie_fail_errno(errno, "cannot open the store %s", storage_directory());
    if (status == MAGPIE_OK && !mkdtemp(copying.to))
        return *copying.to = 0, magpie_fail_errno(errno, "cannot make a folder beside %s", destination);
    const mode_t mask = umask(0);
    (void)umask(mask);
    if (status == MAGPIE_OK) (void)chmod(copying.to, 0777 & ~mask);
    return status;
}

/* It would be copied into itself, and be in the next one. */
static magpie_status check_place(void) {
    char *to = realpath(copying.to, NULL);
    const size_t size = strlen(copying.from);
    bool inside = to && strncmp(to, copying.from, size) == 0 && to[size] == '/';
    free(to);
    return inside ? magpie_fail(MAGPIE_E_ARGUMENT, "the backup would be in the store's own folder")
                  : MAGPIE_OK;
}

static magpie_status make(const char *destination) {
    magpie_store *store = NULL;
    magpie_status status = storage_open(STORAGE_READ, &store);
    if (status == MAGPIE_OK) status = begin(destination);
    if (status == MAGPIE_OK) status = check_place();
    if (status == MAGPIE_OK) status = copy_files(true);
    if (status == MAGPIE_OK) status = magpie_store_backup(store, copying.to);
    if (status == MAGPIE_OK) status = copy_files(false);
    if (status == MAGPIE_OK) status = put_in_place(destination);
    magpie_store_close(store);
    return status;
}

static exit_code run_backup(char **operands, int count) {
    (void)count;
    struct stat st = {0};
    magpie_text out = {0};
    exit_code code = EXIT_FINE;
    if (make(operands[0]) != MAGPIE_OK) {
        code = print_failure();
        if (copying.to && *copying.to && scratch_remove_folder(copying.to) != MAGPIE_OK)
            code = print_failure();
    }
    free(copying.from);
    free(copying.to);
    if (code != EXIT_FINE) return code;
    char *data = magpie_path_join(operands[0], "data.mdb");
    if (data) (void)stat(data, &st);
    free(data);
    magpie_text_printf(&out, output_json ? "{\"bytes\": %lld}\n" : "%lld bytes of items and vectors\n",
                       (long long)st.st_size);
    return output_and_free(&out);
}

static const option_row *const tables[] = {storage_options, json_options, NULL};

const command backup_command = {
    .name = "backup",
    .summary = "a copy of a store, while others write",
    .operands = "DEST",
    .least_operands = 1,
    .most_operands = 1,
    .tables = tables,
    .details =
        "DEST is a folder that is not there yet; it appears when it is whole, and is a store like any other: "
        "the\n"
        "one of one moment, without what deletes have left. Pictures and sounds that came by the service "
        "and\n"
        "models of who likes what are in it; indexes are not, since whoever opens it makes them anew, and\n"
        "neither are files that a catalogue names. Killed, it leaves a folder DEST.partial-..., to be "
        "removed.\n",
    .run = run_backup};
