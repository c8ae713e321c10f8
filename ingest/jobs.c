/* jobs.c - see jobs.h. */
#include "jobs.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#define RECORD "job "
#define CANCEL "cancel "

enum { NAME_MAX_BYTES = 32 };

static void name_key(const char *prefix, const char *id, char out[NAME_MAX_BYTES]) {
    snprintf(out, NAME_MAX_BYTES, "%s%s", prefix, id);
}

static int64_t now_milliseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- one at a time -------------------------------------------------------------------------------------- */

static magpie_status open_lock(const magpie_store *store, int flags, int *out) {
    char *path = magpie_path_join(magpie_store_directory(store), "ingest.lock");
    if (!path) return MAGPIE_E_NO_MEMORY;
    *out = open(path, flags | O_CLOEXEC, 0644);
    magpie_status status = *out >= 0 ? MAGPIE_OK : magpie_fail_errno(errno, "cannot open %s", path);
    free(path);
    return status;
}

/* What the lock says of who has it: "ID PROCESS"; empty where it is just being written. */
static void read_holder(int lock, char *out, size_t size) {
    const ssize_t n = pread(lock, out, size - 1, 0);
    out[n > 0 ? n : 0] = 0;
}

static magpie_status take_turn(int lock, bool wait) {
    char holder[64];
    if (flock(lock, LOCK_EX | LOCK_NB) == 0) return MAGPIE_OK;
    if (errno == EWOULDBLOCK && wait) {
        if (flock(lock, LOCK_EX) == 0) return MAGPIE_OK;
        if (errno == EINTR) return magpie_fail(MAGPIE_E_CANCELLED, "stopped while another job was waited for");
    }
    if (errno != EWOULDBLOCK) return magpie_fail_errno(errno, "cannot lock ingest.lock");
    read_holder(lock, holder, sizeof holder);
    const size_t id = strcspn(holder, " ");
    return magpie_fail(MAGPIE_E_BUSY, "job %.*s is filling this store (process%s)", (int)id, holder,
                       holder[id] ? holder + id : " not known");
}

magpie_status magpie_job_lock(magpie_job *job, const magpie_store *store, bool wait) {
    magpie_status status = open_lock(store, O_RDWR | O_CREAT, &job->lock);
    return status == MAGPIE_OK ? take_turn(job->lock, wait) : status;
}

static magpie_status sign_lock(const magpie_job *job) {
    char holder[64];
    const int size = snprintf(holder, sizeof holder, "%s %ld", job->id, (long)getpid());
    if (ftruncate(job->lock, 0) == 0 && pwrite(job->lock, holder, (size_t)size, 0) == size) return MAGPIE_OK;
    return magpie_fail_errno(errno, "cannot write ingest.lock");
}

/* The id of the job that runs; "": none does. */
static magpie_status find_running(const magpie_store *store, char out[MAGPIE_JOB_ID + 1]) {
    int lock;
    char holder[64] = "";
    magpie_status status = open_lock(store, O_RDONLY, &lock);
    out[0] = 0;
    if (status == MAGPIE_E_NOT_FOUND) return MAGPIE_OK;
    if (status != MAGPIE_OK) return status;
    if (flock(lock, LOCK_SH | LOCK_NB) != 0) read_holder(lock, holder, sizeof holder);
    close(lock);
    snprintf(out, MAGPIE_JOB_ID + 1, "%.*s", (int)strcspn(holder, " "), holder);
    return MAGPIE_OK;
}

/* ---- records -------------------------------------------------------------------------------------------- */

static int newest_first(const void *a, const void *b) {
    const json_int_t x = json_integer_value(json_object_get(*(json_t *const *)a, "started"));
    const json_int_t y = json_integer_value(json_object_get(*(json_t *const *)b, "started"));
    return (x < y) - (x > y);
}

typedef struct record_list {
    json_t **records; /* [count], owned; the newest first */
    size_t count, capacity;
} record_list;

static magpie_status add_record(void *context, magpie_string name, magpie_string bytes) {
    record_list *list = context;
    json_t *record = json_loadb(bytes.data, bytes.size, 0, NULL);
    if (!record)
        return magpie_fail(MAGPIE_E_CORRUPT, "the record \"%.*s\" is no JSON", (int)name.size, name.data);
    magpie_status status =
        magpie_grow((void **)&list->records, &list->capacity, list->count + 1, sizeof *list->records);
    if (status == MAGPIE_OK)
        list->records[list->count++] = record;
    else
        json_decref(record);
    return status;
}

static void free_records(record_list *list) {
    for (size_t i = 0; i < list->count; i++) json_decref(list->records[i]);
    free(list->records);
}

static magpie_status read_records(magpie_snapshot *snapshot, record_list *out) {
    *out = (record_list){0};
    magpie_status status = magpie_snapshot_each_checkpoint(snapshot, RECORD, add_record, out);
    if (status == MAGPIE_OK && out->count)
        qsort(out->records, out->count, sizeof *out->records, newest_first);
    if (status != MAGPIE_OK) free_records(out);
    return status;
}

static const char *string_of(const json_t *record, const char *key) {
    const char *value = json_string_value(json_object_get(record, key));
    return value ? value : "";
}

static magpie_status forget(magpie_batch *batch, const char *prefix, const char *id) {
    char name[NAME_MAX_BYTES];
    name_key(prefix, id, name);
    return magpie_batch_checkpoint(batch, name, (magpie_string){0});
}

/* ---- a job ---------------------------------------------------------------------------------------------- */

/* The counters of a record, each by its name. */
static const struct counter {
    const char *name;
    size_t offset;
} counters[] = {
    {"lines", offsetof(magpie_ingest_progress, lines)},
    {"encoded", offsetof(magpie_ingest_progress, encoded)},
    {"changed", offsetof(magpie_ingest_progress, updated)},
    {"unchanged", offsetof(magpie_ingest_progress, unchanged)},
    {"deleted", offsetof(magpie_ingest_progress, deleted)},
    {"pictures", offsetof(magpie_ingest_progress, pictures_encoded)},
    {"sounds", offsetof(magpie_ingest_progress, sounds_encoded)},
};
enum { COUNTERS = sizeof counters / sizeof *counters };

static size_t *counter_of(const magpie_ingest_progress *progress, size_t c) {
    return (size_t *)(uintptr_t)((const char *)progress + counters[c].offset);
}

static void go_on(magpie_job *job, const json_t *record) {
    snprintf(job->id, sizeof job->id, "%s", string_of(record, "id"));
    job->started = json_integer_value(json_object_get(record, "started"));
    job->runs = (uint64_t)json_integer_value(json_object_get(record, "runs"));
    job->seconds_before = json_number_value(json_object_get(record, "seconds"));
    for (size_t c = 0; c < COUNTERS; c++)
        *counter_of(&job->before, c) = (size_t)json_integer_value(json_object_get(record, counters[c].name));
}

static void draw_id(magpie_job *job, const magpie_catalogue_identity *identity) {
    const int64_t seed[] = {job->started, (int64_t)getpid(), (int64_t)identity->salt};
    snprintf(job->id, sizeof job->id, "%08" PRIx32, (uint32_t)XXH3_64bits(seed, sizeof seed));
}

static bool is_over(const json_t *record) {
    const char *state = string_of(record, "state");
    return strcmp(state, "done") == 0 || strcmp(state, "cancelled") == 0;
}

/* Finds what this job goes on with. Very old records are forgotten. */
static magpie_status follow(magpie_job *job, const record_list *list, const char *checkpoint,
                            magpie_batch *batch) {
    magpie_status status = MAGPIE_OK;
    for (size_t i = 0; i < list->count && status == MAGPIE_OK; i++) {
        const json_t *record = list->records[i];
        const bool same =
            *checkpoint && !is_over(record) && strcmp(string_of(record, "checkpoint"), checkpoint) == 0;
        if (same && !*job->id)
            go_on(job, record);
        else if (same || i + 1 >= MAGPIE_JOBS_KEPT)
            status = forget(batch, RECORD, string_of(record, "id"));
    }
    return status;
}

magpie_status magpie_job_begin(magpie_job *job, magpie_snapshot *snapshot,
                               const magpie_catalogue_identity *identity,
                               const magpie_ingest_options *options, magpie_batch *batch) {
    record_list list;
    if (options->note && !(job->note = strdup(options->note)))
        return magpie_fail(MAGPIE_E_NO_MEMORY, "out of memory");
    magpie_status status = read_records(snapshot, &list);
    if (status != MAGPIE_OK) return status;
    status = follow(job, &list, identity->job, batch);
    free_records(&list);
    if (!*job->id) {
        job->started = now_milliseconds();
        draw_id(job, identity);
    }
    job->runs++;
    if (status == MAGPIE_OK) status = sign_lock(job);
    return status == MAGPIE_OK
               ? magpie_job_put(job, identity, "running", NULL, &(magpie_ingest_progress){0}, batch)
               : status;
}

magpie_status magpie_job_put(const magpie_job *job, const magpie_catalogue_identity *identity,
                             const char *state, const char *why, const magpie_ingest_progress *progress,
                             magpie_batch *batch) {
    magpie_text text = {0};
    char name[NAME_MAX_BYTES];
    name_key(RECORD, job->id, name);
    magpie_text_printf(&text, "{\"id\": \"%s\", \"state\": \"%s\", \"why\": ", job->id, state);
    if (why)
        magpie_text_json_string(&text, why, strlen(why));
    else
        magpie_text_printf(&text, "null");
    magpie_text_printf(&text, ", \"catalogue\": ");
    if (identity->path)
        magpie_text_json_string(&text, identity->path, strlen(identity->path));
    else
        magpie_text_printf(&text, "null");
    magpie_text_printf(&text,
                       ", \"started\": %" PRId64 ", \"updated\": %" PRId64 ", \"runs\": %" PRIu64
                       ", \"seconds\": %.3f, \"rejected\": %zu",
                       job->started, now_milliseconds(), job->runs, job->seconds_before + progress->seconds,
                       progress->rejected);
    for (size_t c = 0; c < COUNTERS; c++)
        magpie_text_printf(&text, ", \"%s\": %zu", counters[c].name,
                           *counter_of(&job->before, c) + *counter_of(progress, c));
    magpie_text_printf(&text, ", \"checkpoint\": \"%s\", \"command\": %s}", identity->job,
                       job->note ? job->note : "null");
    magpie_status status = magpie_text_status(&text);
    if (status == MAGPIE_OK)
        status = magpie_batch_checkpoint(batch, name, (magpie_string){text.data, text.size});
    magpie_text_free(&text);
    return status;
}

magpie_status magpie_job_is_cancelled(const magpie_job *job, magpie_snapshot *snapshot, magpie_batch *batch,
                                      bool *out) {
    magpie_string value;
    char name[NAME_MAX_BYTES];
    name_key(CANCEL, job->id, name);
    magpie_status status = magpie_snapshot_checkpoint(snapshot, name, &value);
    *out = status == MAGPIE_OK;
    if (status == MAGPIE_E_NOT_FOUND) return MAGPIE_OK;
    return status == MAGPIE_OK ? forget(batch, CANCEL, job->id) : status;
}

void magpie_job_free(magpie_job *job) {
    if (job->lock >= 0) close(job->lock);
    free(job->note);
}

/* ---- what others may ask -------------------------------------------------------------------------------- */

static void correct_state(json_t *record, const char *running) {
    if (strcmp(string_of(record, "state"), "running") == 0 && strcmp(string_of(record, "id"), running) != 0)
        json_object_set_new(record, "state", json_string("stopped"));
}

magpie_status magpie_jobs_list(magpie_store *store, magpie_text *out) {
    magpie_snapshot *snapshot;
    record_list list;
    char running[MAGPIE_JOB_ID + 1];
    magpie_status status = find_running(store, running);
    if (status == MAGPIE_OK) status = magpie_snapshot_open(store, &snapshot);
    if (status != MAGPIE_OK) return status;
    status = read_records(snapshot, &list);
    magpie_snapshot_close(snapshot);
    if (status != MAGPIE_OK) return status;
    for (size_t i = 0; i < list.count; i++) {
        correct_state(list.records[i], running);
        char *line = json_dumps(list.records[i], JSON_ENSURE_ASCII);
        if (line) magpie_text_printf(out, "%s\n", line);
        free(line);
    }
    free_records(&list);
    return magpie_text_status(out);
}

/* Of one that no longer runs: the record and what it would go on from. */
static magpie_status end_record(json_t *record, magpie_batch *batch) {
    char name[NAME_MAX_BYTES];
    const char *checkpoint = string_of(record, "checkpoint");
    name_key(RECORD, string_of(record, "id"), name);
    json_object_set_new(record, "state", json_string("cancelled"));
    char *line = json_dumps(record, 0);
    magpie_status status = line ? magpie_batch_checkpoint(batch, name, magpie_string_of(line))
                                : magpie_fail(MAGPIE_E_NO_MEMORY, "out of memory");
    if (status == MAGPIE_OK && *checkpoint)
        status = magpie_batch_checkpoint(batch, checkpoint, (magpie_string){0});
    free(line);
    return status;
}

static magpie_status ask_to_end(const char *id, magpie_batch *batch) {
    char name[NAME_MAX_BYTES];
    name_key(CANCEL, id, name);
    return magpie_batch_checkpoint(batch, name, magpie_string_of("1"));
}

static magpie_status cancel(const record_list *list, const char *id, const char *running,
                            magpie_batch *batch) {
    for (size_t i = 0; i < list->count; i++) {
        json_t *record = list->records[i];
        if (strcmp(string_of(record, "id"), id) != 0) continue;
        if (strcmp(id, running) == 0) return ask_to_end(id, batch);
        if (is_over(record))
            return magpie_fail(MAGPIE_E_ARGUMENT, "job %s is %s already", id, string_of(record, "state"));
        return end_record(record, batch);
    }
    return magpie_fail(MAGPIE_E_NOT_FOUND, "there is no job %s", id);
}

magpie_status magpie_job_cancel(magpie_store *store, const char *id, bool *runs) {
    magpie_snapshot *snapshot = NULL;
    magpie_batch *batch = NULL;
    record_list list = {0};
    char running[MAGPIE_JOB_ID + 1];
    magpie_status status = find_running(store, running);
    *runs = strcmp(id, running) == 0;
    if (status == MAGPIE_OK) status = magpie_batch_create(&batch);
    if (status == MAGPIE_OK) status = magpie_snapshot_open(store, &snapshot);
    if (status == MAGPIE_OK) status = read_records(snapshot, &list);
    if (status == MAGPIE_OK) {
        status = cancel(&list, id, running, batch);
        free_records(&list);
    }
    magpie_snapshot_close(snapshot);
    if (status == MAGPIE_OK) status = magpie_store_commit(store, batch, NULL);
    magpie_batch_free(batch);
    return status;
}
