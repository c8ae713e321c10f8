/* import.c - the loop of an import: read a line, put it into the batch, commit with a checkpoint.
 *
 * WHAT A KILL LEAVES is what job.c says of an ingest: whole batches, a checkpoint of exactly these, and
 * rejects that reach as far at least. Here the checkpoint is not needed for what comes out, since a put of
 * what is there changes nothing; it saves the time. And so a job that goes on gives the same numbers to the
 * same ids, in order of their first line. */
#include "checkpoint.h"
#include "interaction_line.h"
#include "rejects.h"

#include <stdlib.h>
#include <string.h>

enum {
    COMMIT_LINES = 1 << 18,
    LINES_A_LOOK = 1 << 10 /* at the clock */
};

typedef struct import_job {
    magpie_store *store;
    const magpie_import_options *options;
    magpie_import_progress progress;
    magpie_catalogue_identity identity;
    magpie_checkpoint checkpoint; /* of the last line that was read */
    bool checkpoint_stored;
    magpie_interaction_reader reader;
    magpie_batch *batch;
    magpie_rejects rejects;
    double started, reported;
} import_job;

static void complete_progress(import_job *j) {
    j->progress.seconds = magpie_seconds() - j->started;
    j->progress.rejected = (size_t)j->checkpoint.rejected;
}

static magpie_status report(import_job *j, bool now) {
    if (!j->options->progress || !magpie_job_tells(&j->reported, now)) return MAGPIE_OK;
    complete_progress(j);
    return j->options->progress(j->options->context, &j->progress) ? MAGPIE_OK : magpie_job_stopped();
}

/* ---- lines --------------------------------------------------------------------------------------------- */

static magpie_status take_line(import_job *j, const magpie_line *line) {
    magpie_interaction_line one = {0};
    magpie_status status;
    if (line->too_long) {
        status = magpie_fail(MAGPIE_E_TOO_LARGE, "the line has %zu bytes; the limit is %d", line->size,
                             MAGPIE_LINE_MAX);
    } else if (strspn(line->data, " \t\r") == line->size) {
        return MAGPIE_OK;
    } else {
        status = magpie_interaction_reader_parse(&j->reader, (magpie_string){line->data, line->size}, &one);
        if (status == MAGPIE_OK)
            status =
                magpie_batch_put_interaction(j->batch, one.user, one.item, one.kind, one.weight, one.time);
    }
    if (status != MAGPIE_E_INPUT && status != MAGPIE_E_TOO_LARGE) return status;
    j->checkpoint.rejected++;
    return magpie_rejects_add(&j->rejects, NULL, line->number, magpie_error(), one.user,
                              magpie_reject_start(line));
}

static magpie_status flush(import_job *j, bool last) {
    size_t count = magpie_batch_count(j->batch);
    if (!count && !(last && j->checkpoint_stored)) return MAGPIE_OK;
    double before = magpie_seconds();
    magpie_status status = magpie_rejects_sync(&j->rejects);
    j->checkpoint.rejects_bytes = j->rejects.size;
    if (status == MAGPIE_OK)
        status = magpie_checkpoint_put(j->batch, &j->identity, last ? NULL : &j->checkpoint);
    if (status == MAGPIE_OK) status = magpie_store_commit(j->store, j->batch, NULL);
    if (status != MAGPIE_OK) return status;
    magpie_batch_clear(j->batch);
    j->checkpoint_stored = !last && j->identity.path;
    j->progress.interactions += count;
    j->progress.commit_seconds += magpie_seconds() - before;
    return report(j, true);
}

/* ---- the job ------------------------------------------------------------------------------------------- */

static magpie_status next_line(import_job *j, magpie_lines *lines, magpie_line *line, bool *got) {
    magpie_status status = magpie_lines_next(lines, line, got);
    if (status != MAGPIE_OK || !*got) return status;
    j->progress.lines++;
    j->progress.bytes = line->end_offset;
    j->checkpoint.offset = line->end_offset;
    j->checkpoint.lines = j->checkpoint.line = line->number;
    return MAGPIE_OK;
}

static magpie_status take_header(import_job *j, const magpie_line *line, bool got) {
    if (!got || line->too_long)
        return magpie_fail(MAGPIE_E_INPUT, "%s has no line that names its columns", j->options->path);
    magpie_status status =
        magpie_interaction_reader_header(&j->reader, (magpie_string){line->data, line->size});
    return status == MAGPIE_OK ? status : magpie_fail(status, "%s: %s", j->options->path, magpie_error());
}

/* Also where the job goes on behind it: then it is read once more. */
static magpie_status read_header(import_job *j, magpie_lines *lines) {
    magpie_lines *again;
    magpie_line line;
    bool got;
    if (!magpie_interaction_reader_has_header(&j->reader)) return MAGPIE_OK;
    if (!j->progress.resumed_at) {
        magpie_status status = next_line(j, lines, &line, &got);
        return status == MAGPIE_OK ? take_header(j, &line, got) : status;
    }
    magpie_status status = magpie_lines_open(j->options->path, MAGPIE_LINE_MAX, 0, 0, &again);
    if (status != MAGPIE_OK) return status;
    status = magpie_lines_next(again, &line, &got);
    if (status == MAGPIE_OK) status = take_header(j, &line, got);
    magpie_lines_close(again);
    return status;
}

static magpie_status read_lines(import_job *j, magpie_lines *lines) {
    magpie_line line;
    bool got;
    size_t most = j->options->commit_lines ? j->options->commit_lines : COMMIT_LINES;
    magpie_status status = read_header(j, lines);
    while (status == MAGPIE_OK && (status = next_line(j, lines, &line, &got)) == MAGPIE_OK && got) {
        status = take_line(j, &line);
        if (status == MAGPIE_OK && magpie_batch_count(j->batch) >= most) status = flush(j, false);
        if (status == MAGPIE_OK && line.number % LINES_A_LOOK == 0) status = report(j, false);
    }
    if (status == MAGPIE_OK) status = flush(j, true);
    return status == MAGPIE_OK ? magpie_rejects_sync(&j->rejects) : status;
}

static magpie_status load_checkpoint(import_job *j) {
    magpie_snapshot *snapshot;
    magpie_status status = magpie_snapshot_open(j->store, &snapshot);
    if (status != MAGPIE_OK) return status;
    status = magpie_checkpoint_load(snapshot, &j->identity, &j->checkpoint, &j->checkpoint_stored);
    magpie_snapshot_close(snapshot);
    j->progress.resumed_at = (size_t)j->checkpoint.lines;
    return status;
}

static magpie_status run(import_job *j) {
    const magpie_import_options *options = j->options;
    magpie_lines *lines;
    magpie_status status = magpie_interaction_reader_begin(&j->reader, options);
    uint64_t salt = (uint64_t)j->reader.format << 8 | options->kind; /* what decides the outcome besides */
    if (status == MAGPIE_OK)
        status = magpie_catalogue_identify("import", &options->path, 1, salt, &j->identity);
    if (status == MAGPIE_OK) status = magpie_catalogue_check_rejects(&options->path, 1, options->rejects);
    if (status == MAGPIE_OK) status = magpie_batch_create(&j->batch);
    if (status == MAGPIE_OK) status = load_checkpoint(j);
    if (status == MAGPIE_OK)
        status = magpie_rejects_begin(&j->rejects, options->rejects, j->checkpoint.rejects_bytes);
    if (status == MAGPIE_OK)
        status = magpie_lines_open(options->path, MAGPIE_LINE_MAX, j->checkpoint.offset,
                                   (size_t)j->checkpoint.lines, &lines);
    if (status != MAGPIE_OK) return status;
    j->progress.total_bytes = magpie_lines_total_bytes(lines);
    status = read_lines(j, lines);
    magpie_lines_close(lines);
    return status;
}

magpie_status magpie_import_run(magpie_store *store, const magpie_import_options *options,
                                magpie_import_progress *report_out) {
    import_job j = {.store = store, .options = options, .started = magpie_seconds()};
    magpie_status status = run(&j);
    complete_progress(&j);
    if (report_out) *report_out = j.progress;
    magpie_rejects_close(&j.rejects);
    magpie_batch_free(j.batch);
    magpie_interaction_reader_free(&j.reader);
    magpie_catalogue_identity_free(&j.identity);
    return status;
}
