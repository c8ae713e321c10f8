/* checkpoint.c - a checkpoint as JSON, so that a person can read it in the store. */
#include "checkpoint.h"
#include "source.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

enum { VERSION = 2 };

static const double PROGRESS_SECONDS = 0.1;

/* *path stays NULL where it is a pipe or the like. */
static magpie_status look_at(const char *catalogue, magpie_catalogue_identity *out) {
    struct stat st;
    uint64_t names = 0;
    *out = (magpie_catalogue_identity){0};
    if (strcmp(catalogue, "-") == 0) return MAGPIE_OK;
    if (stat(catalogue, &st) != 0) return magpie_fail_errno(errno, "cannot open %s", catalogue);
    const bool folder = S_ISDIR(st.st_mode);
    if (!folder && !S_ISREG(st.st_mode)) return MAGPIE_OK;
    magpie_status status = folder ? magpie_folder_hash(catalogue, &names) : MAGPIE_OK;
    if (status != MAGPIE_OK) return status;
    out->path = realpath(catalogue, NULL);
    if (!out->path) return magpie_fail_errno(errno, "cannot find the path of %s", catalogue);
    out->size = folder ? 0 : (uint64_t)st.st_size;
    out->inode = (uint64_t)st.st_ino;
    out->modified = folder ? (int64_t)names : (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
    return MAGPIE_OK;
}

static uint64_t salt_of(const magpie_catalogue_identity *one, uint64_t salt) {
    const uint64_t words[] = {salt, one->size, one->inode, (uint64_t)one->modified};
    return XXH3_64bits_withSeed(one->path, strlen(one->path), XXH3_64bits(words, sizeof words));
}

magpie_status magpie_catalogue_identify(const char *job, const char *const *catalogues, size_t count,
                                        uint64_t salt, magpie_catalogue_identity *out) {
    XXH128_hash_t hash = {0};
    *out = (magpie_catalogue_identity){.salt = salt};
    for (size_t i = 0; i < count; i++) {
        magpie_catalogue_identity one;
        magpie_status status = look_at(catalogues[i], &one);
        if (status != MAGPIE_OK || !one.path) {
            magpie_catalogue_identity_free(out);
            *out = (magpie_catalogue_identity){.salt = salt};
            return status;
        }
        /* of one alone it is as it was before there were several */
        hash = i ? XXH3_128bits_withSeed(one.path, strlen(one.path), hash.low64 ^ hash.high64)
                 : XXH3_128bits(one.path, strlen(one.path));
        if (i) {
            out->salt = salt_of(&one, out->salt);
            free(one.path);
        } else {
            *out = one;
            out->salt = salt;
        }
    }
    snprintf(out->job, sizeof out->job, "%s %016llx%016llx", job, (unsigned long long)hash.high64,
             (unsigned long long)hash.low64);
    return MAGPIE_OK;
}

void magpie_catalogue_identity_free(magpie_catalogue_identity *identity) {
    free(identity->path);
    identity->path = NULL;
}

magpie_status magpie_catalogue_check_rejects(const char *const *catalogues, size_t count,
                                             const char *rejects) {
    struct stat st, other;
    if (!rejects || stat(rejects, &st) != 0) return MAGPIE_OK;
    for (size_t i = 0; i < count; i++)
        if (stat(catalogues[i], &other) == 0 && S_ISREG(other.st_mode) && st.st_dev == other.st_dev &&
            st.st_ino == other.st_ino)
            return magpie_fail(MAGPIE_E_ARGUMENT, "the rejects file %s is the catalogue itself", rejects);
    return MAGPIE_OK;
}

/* One text for both: what are the same catalogues have the same one. */
static void append_identity(magpie_text *text, const magpie_catalogue_identity *identity) {
    magpie_text_printf(text, "{\"version\": %d, \"catalogue\": ", VERSION);
    magpie_text_json_string(text, identity->path, strlen(identity->path));
    magpie_text_printf(text, ", \"size\": %llu, \"inode\": %llu, \"modified\": %lld, \"salt\": \"%016llx\", ",
                       (unsigned long long)identity->size, (unsigned long long)identity->inode,
                       (long long)identity->modified, (unsigned long long)identity->salt);
}

/* "sounds" is missing in what was written before there were any: then none were refused. So are "file" and
 * "line" where there was one catalogue alone. */
static bool read_numbers(magpie_string bytes, magpie_checkpoint *out) {
    json_int_t file = 0, offset, lines, line = -1, rejected, pictures, sounds = 0, rejects_bytes;
    json_t *root = json_loadb(bytes.data, bytes.size, 0, NULL);
    bool whole =
        root && json_unpack(root, "{s?I, s:I, s?I, s:I, s:I, s:I, s?I, s:I}", "file", &file, "offset",
                            &offset, "line", &line, "lines", &lines, "rejected", &rejected, "pictures",
                            &pictures, "sounds", &sounds, "rejects_bytes", &rejects_bytes) == 0;
    json_decref(root);
    if (!whole || file < 0 || offset < 0 || lines < 0 || rejected < 0 || pictures < 0 || sounds < 0 ||
        rejects_bytes < 0)
        return false;
    *out = (magpie_checkpoint){
        .file = (uint64_t)file,
        .offset = (uint64_t)offset,
        .line = (uint64_t)(line < 0 ? lines : line),
        .lines = (uint64_t)lines,
        .rejected = (uint64_t)rejected,
        .refused = {[MAGPIE_MEDIUM_IMAGE] = (uint64_t)pictures, [MAGPIE_MEDIUM_AUDIO] = (uint64_t)sounds},
        .rejects_bytes = (uint64_t)rejects_bytes};
    return true;
}

magpie_status magpie_checkpoint_load(magpie_snapshot *snapshot, const magpie_catalogue_identity *identity,
                                     magpie_checkpoint *out, bool *stored) {
    magpie_string bytes;
    *out = (magpie_checkpoint){0};
    *stored = false;
    if (!identity->path) return MAGPIE_OK;
    magpie_status status = magpie_snapshot_checkpoint(snapshot, identity->job, &bytes);
    if (status == MAGPIE_E_NOT_FOUND) return MAGPIE_OK;
    if (status != MAGPIE_OK) return status;
    *stored = true;
    magpie_text same = {0};
    append_identity(&same, identity);
    status = magpie_text_status(&same);
    if (status == MAGPIE_OK && bytes.size > same.size && memcmp(bytes.data, same.data, same.size) == 0 &&
        (!read_numbers(bytes, out) || (!out->file && out->offset > identity->size)))
        *out = (magpie_checkpoint){0};
    magpie_text_free(&same);
    return status;
}

magpie_status magpie_checkpoint_put(magpie_batch *batch, const magpie_catalogue_identity *identity,
                                    const magpie_checkpoint *checkpoint) {
    magpie_text text = {0};
    if (!identity->path) return MAGPIE_OK;
    if (checkpoint) {
        append_identity(&text, identity);
        magpie_text_printf(
            &text,
            "\"file\": %llu, \"offset\": %llu, \"line\": %llu, \"lines\": %llu, \"rejected\": %llu, "
            "\"pictures\": %llu, \"sounds\": %llu, \"rejects_bytes\": %llu}",
            (unsigned long long)checkpoint->file, (unsigned long long)checkpoint->offset,
            (unsigned long long)checkpoint->line, (unsigned long long)checkpoint->lines,
            (unsigned long long)checkpoint->rejected,
            (unsigned long long)checkpoint->refused[MAGPIE_MEDIUM_IMAGE],
            (unsigned long long)checkpoint->refused[MAGPIE_MEDIUM_AUDIO],
            (unsigned long long)checkpoint->rejects_bytes);
    }
    magpie_status status = magpie_text_status(&text);
    if (status == MAGPIE_OK)
        status = magpie_batch_checkpoint(batch, identity->job, (magpie_string){text.data, text.size});
    magpie_text_free(&text);
    return status;
}

bool magpie_job_tells(double *told, bool now) {
    const double seconds = magpie_seconds();
    if (!now && seconds - *told < PROGRESS_SECONDS) return false;
    *told = seconds;
    return true;
}

magpie_status magpie_job_stopped(void) {
    return magpie_fail(MAGPIE_E_CANCELLED,
                       "stopped; what is committed stays, and the next run goes on from there");
}
