/* checkpoint.c - a checkpoint as JSON, so that a person can read it in the store. */
#include "checkpoint.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

enum { VERSION = 2 };

static const double PROGRESS_SECONDS = 0.1;

magpie_status magpie_catalogue_identify(const char *job, const char *catalogue, uint64_t salt,
                                        magpie_catalogue_identity *out) {
    struct stat st;
    *out = (magpie_catalogue_identity){.salt = salt};
    if (strcmp(catalogue, "-") == 0) return MAGPIE_OK;
    if (stat(catalogue, &st) != 0) return magpie_fail_errno(errno, "cannot open %s", catalogue);
    if (!S_ISREG(st.st_mode)) return MAGPIE_OK;
    out->path = realpath(catalogue, NULL);
    if (!out->path) return magpie_fail_errno(errno, "cannot find the path of %s", catalogue);
    out->size = (uint64_t)st.st_size;
    out->inode = (uint64_t)st.st_ino;
    out->device = (uint64_t)st.st_dev;
    out->modified = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
    XXH128_hash_t hash = XXH3_128bits(out->path, strlen(out->path));
    snprintf(out->job, sizeof out->job, "%s %016llx%016llx", job, (unsigned long long)hash.high64,
             (unsigned long long)hash.low64);
    return MAGPIE_OK;
}

void magpie_catalogue_identity_free(magpie_catalogue_identity *identity) { free(identity->path); }

magpie_status magpie_catalogue_check_rejects(const magpie_catalogue_identity *identity, const char *rejects) {
    struct stat st;
    if (!identity->path || !rejects || stat(rejects, &st) != 0) return MAGPIE_OK;
    if ((uint64_t)st.st_dev != identity->device || (uint64_t)st.st_ino != identity->inode) return MAGPIE_OK;
    return magpie_fail(MAGPIE_E_ARGUMENT, "the rejects file %s is the catalogue itself", rejects);
}

/* One text for both: what is the same catalogue has the same one. */
static void append_identity(magpie_text *text, const magpie_catalogue_identity *identity) {
    magpie_text_printf(text, "{\"version\": %d, \"catalogue\": ", VERSION);
    magpie_text_json_string(text, identity->path, strlen(identity->path));
    magpie_text_printf(text, ", \"size\": %llu, \"inode\": %llu, \"modified\": %lld, \"salt\": \"%016llx\", ",
                       (unsigned long long)identity->size, (unsigned long long)identity->inode,
                       (long long)identity->modified, (unsigned long long)identity->salt);
}

/* "sounds" is missing in what was written before there were any: then none were refused. */
static bool read_numbers(magpie_string bytes, magpie_checkpoint *out) {
    json_int_t offset, lines, rejected, pictures, sounds = 0, rejects_bytes;
    json_t *root = json_loadb(bytes.data, bytes.size, 0, NULL);
    bool whole = root && json_unpack(root, "{s:I, s:I, s:I, s:I, s?I, s:I}", "offset", &offset, "lines",
                                     &lines, "rejected", &rejected, "pictures", &pictures, "sounds", &sounds,
                                     "rejects_bytes", &rejects_bytes) == 0;
    json_decref(root);
    if (!whole || offset < 0 || lines < 0 || rejected < 0 || pictures < 0 || sounds < 0 || rejects_bytes < 0)
        return false;
    *out = (magpie_checkpoint){
        .offset = (uint64_t)offset,
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
        (!read_numbers(bytes, out) || out->offset > identity->size))
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
        magpie_text_printf(&text,
                           "\"offset\": %llu, \"lines\": %llu, \"rejected\": %llu, \"pictures\": %llu, "
                           "\"sounds\": %llu, \"rejects_bytes\": %llu}",
                           (unsigned long long)checkpoint->offset, (unsigned long long)checkpoint->lines,
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
