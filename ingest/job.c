/* job.c - the loop of an ingest of a file: read a line, ask the store whether it is new, and once enough is new,
 * encode and commit (intake.h).
 *
 * WHAT A KILL LEAVES. Items, vectors and checkpoint are one transaction, so at any moment the store holds
 * whole batches and a checkpoint that speaks of exactly these. The rejects file is synced before that
 * transaction: lines that it speaks of and the checkpoint does not are cut off and written again. An item is
 * acknowledged after its transaction.
 *
 * SAME ID TWICE. The first line of an id counts, a later one with other content is rejected. (Would the last
 * count, each run over the same catalogue would put the first version back, then the last, and encode both.)
 * A run that goes on from a checkpoint must judge alike without having read what is before it: only where a
 * line contradicts what the store has under its id is there a doubt, and only then is that part of the
 * catalogue read after all, once.
 *
 * Encoding and committing take turns. A commit of 256 items takes some milliseconds, their encoding some
 * hundred: a second thread would win a few percent and cost the simplicity of the above. */
#include "checkpoint.h"
#include "id_set.h"
#include "intake.h"
#include "rejects.h"
#include "vector_input.h"

#include <stdlib.h>
#include <string.h>

enum {
    COMMIT_ITEMS = 256,
    COMMIT_BYTES = 16 << 20 /* of lines: what a job keeps in memory does not depend on how long they are */
};

typedef struct job {
    magpie_intake in; /* its snapshot: of the last commit */
    size_t files_encoded[MAGPIE_MEDIA];
    const magpie_ingest_options *options;
    magpie_ingest_progress progress;
    magpie_catalogue_identity identity;
    magpie_checkpoint checkpoint; /* of the last line that was read */
    bool checkpoint_stored;       /* the store has one under this job's name */
    bool last;                    /* the transaction at hand is, and removes it */
    magpie_id_set seen;           /* ids of lines that parsed: read by this run, or by read_prefix */
    bool prefix_seen;
    magpie_rejects rejects;
    magpie_line_vectors given; /* that the line at hand has, in place of what encoders would compute */
    double started, reported;
} job;

/* ---- what the caller hears ----------------------------------------------------------------------------- */

/* What is counted elsewhere. */
static void complete_progress(job *j) {
    magpie_ingest_progress *p = &j->progress;
    p->seconds = magpie_seconds() - j->started;
    p->rejected = (size_t)j->checkpoint.rejected;
    p->pictures_encoded = j->files_encoded[MAGPIE_MEDIUM_IMAGE];
    p->pictures_refused = (size_t)j->checkpoint.refused[MAGPIE_MEDIUM_IMAGE];
    p->sounds_encoded = j->files_encoded[MAGPIE_MEDIUM_AUDIO];
    p->sounds_refused = (size_t)j->checkpoint.refused[MAGPIE_MEDIUM_AUDIO];
    p->text_seconds = j->in.pending.seconds[MAGPIE_SPACE_TEXT];
    p->image_seconds = j->in.pending.seconds[MAGPIE_SPACE_IMAGE];
    p->audio_seconds = j->in.pending.seconds[MAGPIE_SPACE_AUDIO];
}

static magpie_status report(job *j, bool now) {
    if (!j->options->progress || !magpie_job_tells(&j->reported, now)) return MAGPIE_OK;
    complete_progress(j);
    return j->options->progress(j->options->context, &j->progress) ? MAGPIE_OK : magpie_job_stopped();
}

static magpie_status reject(job *j, size_t number, magpie_string id, magpie_string start) {
    j->checkpoint.rejected++;
    return magpie_rejects_add(&j->rejects, number, magpie_error(), id, start);
}

static magpie_status refused(void *context, magpie_pending_item *item, magpie_status why) {
    (void)why;
    item->refused = true;
    return reject(context, item->number, item->line.item.id, (magpie_string){item->start, item->start_size});
}

/* What the item's problems say of one of its files, if they do. */
static magpie_status note_refused(job *j, size_t number, const magpie_item *item, unsigned which) {
    const magpie_medium *medium = &j->in.media[which];
    const size_t prefix = strlen(medium->problem);
    magpie_string line = magpie_problem_line(item->problems, medium);
    if (!line.size) return MAGPIE_OK;
    j->checkpoint.refused[which]++;
    return magpie_rejects_add_modality(&j->rejects, number, item->id, magpie_space_name(medium->space),
                                       (magpie_string){line.data + prefix, line.size - prefix});
}

static magpie_status file_refused(void *context, const magpie_pending_item *item, unsigned which) {
    return note_refused(context, item->number, &item->line.item, which);
}

static magpie_status encoded_block(void *context) { return report(context, false); }

/* ---- a commit ------------------------------------------------------------------------------------------ */

/* What is committed with the items of a job. */
static magpie_status seal(void *context) {
    job *j = context;
    magpie_status status = magpie_rejects_sync(&j->rejects);
    j->checkpoint.rejects_bytes = j->rejects.size;
    return status == MAGPIE_OK
               ? magpie_checkpoint_put(j->in.batch, &j->identity, j->last ? NULL : &j->checkpoint)
               : status;
}

static void acknowledge_pending(job *j) {
    for (size_t i = 0; i < j->in.pending.count; i++) {
        const magpie_pending_item *item = &j->in.pending.items[i];
        if (item->refused) continue;
        bool encoded = item->plan.state[MAGPIE_SPACE_TEXT] == MAGPIE_VECTOR_MADE;
        for (unsigned m = 0; m < MAGPIE_MEDIA; m++) {
            bool made = item->plan.state[j->in.media[m].space] == MAGPIE_VECTOR_MADE;
            j->files_encoded[m] += made;
            encoded |= made;
        }
        j->progress.committed++;
        j->progress.encoded += encoded;
        j->progress.updated += !encoded;
        if (j->options->acknowledge) j->options->acknowledge(j->options->context, item->line.item.id);
    }
}

static magpie_status flush(job *j, bool last) {
    const magpie_pending_hooks hooks = {refused, file_refused, encoded_block, j};
    if (!j->in.pending.count && !(last && j->checkpoint_stored)) return MAGPIE_OK;
    j->last = last;
    magpie_status status = magpie_intake_commit(&j->in, &hooks, seal, &j->progress.commit_seconds);
    if (status != MAGPIE_OK) return status;
    j->checkpoint_stored = !last && j->identity.path;
    acknowledge_pending(j);
    magpie_pending_clear(&j->in.pending);
    status = magpie_intake_renew_snapshot(&j->in);
    return status == MAGPIE_OK ? report(j, true) : status;
}

/* ---- a line -------------------------------------------------------------------------------------------- */

static bool is_blank(const magpie_line *line) { return strspn(line->data, " \t\r") == line->size; }

/* MAGPIE_E_INPUT and MAGPIE_E_TOO_LARGE are the line's. */
static magpie_status parse_line(job *j, const magpie_line *line, magpie_catalogue_line *out) {
    magpie_vector_input *vectors = j->options->vectors;
    *out = (magpie_catalogue_line){0};
    if (line->too_long)
        return magpie_fail(MAGPIE_E_TOO_LARGE, "the line has %zu bytes; the limit is %d", line->size,
                           vectors ? MAGPIE_DATA_LINE_MAX : MAGPIE_LINE_MAX);
    return vectors ? magpie_vector_input_parse(vectors, line, out, &j->given)
                   : magpie_catalogue_parse(line->data, line->size, out);
}

/* Puts the ids of the lines before the checkpoint into the set of those seen. */
static magpie_status read_prefix(job *j) {
    magpie_lines *lines;
    magpie_line line;
    bool got = true, was_there;
    magpie_status status = magpie_lines_open(
        j->identity.path, j->options->vectors ? MAGPIE_DATA_LINE_MAX : MAGPIE_LINE_MAX, 0, 0, &lines);
    if (status != MAGPIE_OK) return status;
    while (status == MAGPIE_OK && (status = magpie_lines_next(lines, &line, &got)) == MAGPIE_OK && got &&
           line.number <= j->progress.resumed_at) {
        magpie_catalogue_line parsed;
        if (line.too_long) continue;
        if (parse_line(j, &line, &parsed) == MAGPIE_OK)
            status = magpie_id_set_add(&j->seen, parsed.item.id, &was_there);
        magpie_catalogue_line_free(&parsed);
        if (status == MAGPIE_OK) status = report(j, false);
    }
    magpie_lines_close(lines);
    j->prefix_seen = status == MAGPIE_OK;
    return status;
}

typedef enum verdict { FIRST, REPEATED, CONTRADICTED } verdict;

/* What a line is to those before it. `stored` NULL: the store has no such item. */
static magpie_status judge(job *j, const magpie_item *item, const magpie_item *stored, verdict *out) {
    bool same = stored && magpie_same_content(stored, item), repeated;
    magpie_status status = stored && !same && !j->prefix_seen ? read_prefix(j) : MAGPIE_OK;
    if (status == MAGPIE_OK) status = magpie_id_set_add(&j->seen, item->id, &repeated);
    *out = FIRST;
    if (status != MAGPIE_OK || !repeated) return status;
    const magpie_pending_item *before = magpie_pending_find(&j->in.pending, item->id);
    if (before) same = magpie_same_content(&before->line.item, item);
    if (before || stored) *out = same ? REPEATED : CONTRADICTED;
    return MAGPIE_OK;
}

static magpie_status take_item(job *j, const magpie_line *line, magpie_catalogue_line *parsed) {
    magpie_item found, *stored = &found;
    verdict what;
    magpie_status status = magpie_snapshot_get(j->in.snapshot, parsed->item.id, &found);
    if (status == MAGPIE_E_NOT_FOUND) stored = NULL, status = MAGPIE_OK;
    if (status == MAGPIE_OK) status = judge(j, &parsed->item, stored, &what);
    if (status != MAGPIE_OK) return status;
    if (what == REPEATED) return j->progress.unchanged++, MAGPIE_OK;
    if (what == CONTRADICTED) {
        (void)magpie_fail(MAGPIE_E_INPUT, "an earlier line has this id, with other content");
        return reject(j, line->number, parsed->item.id, magpie_reject_start(line));
    }
    magpie_vector_plan plan;
    bool same;
    const magpie_line_vectors *given = j->options->vectors ? &j->given : NULL;
    status = magpie_intake_plan(&j->in, &parsed->item, given, stored, &plan, &same);
    for (unsigned m = 0; m < MAGPIE_MEDIA && status == MAGPIE_OK; m++)
        if (j->in.media[m].model.dimension) status = note_refused(j, line->number, &parsed->item, m);
    if (status != MAGPIE_OK) return status;
    if (same) return j->progress.unchanged++, MAGPIE_OK;
    status = magpie_pending_add(&j->in.pending, parsed, line, &plan);
    const magpie_pending_hooks hooks = {refused, file_refused, encoded_block, j};
    return status == MAGPIE_OK && given ? magpie_pending_give(&j->in.pending, given, j->in.media, &hooks)
                                        : status;
}

static magpie_status take_line(job *j, const magpie_line *line) {
    magpie_catalogue_line parsed;
    bool is_header = false;
    if (!line->too_long && is_blank(line)) return MAGPIE_OK;
    magpie_status status = j->options->vectors && !line->too_long
                               ? magpie_vector_input_check(j->options->vectors, line, &is_header)
                               : MAGPIE_OK;
    if (status != MAGPIE_OK || is_header) return status;
    status = parse_line(j, line, &parsed);
    if (status == MAGPIE_OK)
        status = take_item(j, line, &parsed);
    else if (status == MAGPIE_E_INPUT || status == MAGPIE_E_TOO_LARGE)
        status = reject(j, line->number, parsed.item.id, magpie_reject_start(line));
    magpie_catalogue_line_free(&parsed);
    return status;
}

/* ---- the job ------------------------------------------------------------------------------------------- */

static magpie_status begin(job *j, magpie_store *store, const magpie_ingest_encoders *encoders) {
    if (!encoders->text && !encoders->image && !encoders->audio && !j->options->vectors)
        return magpie_fail(MAGPIE_E_ARGUMENT,
                           "an ingest needs an encoder, of texts, of pictures or of sounds");
    magpie_status status = magpie_intake_begin(&j->in, store, encoders, j->options);
    if (status == MAGPIE_OK) /* a checkpoint is worth nothing where what decides the outcome differs */
        status = magpie_catalogue_identify("ingest", j->options->catalogue, magpie_intake_salt(&j->in),
                                           &j->identity);
    if (status == MAGPIE_OK) status = magpie_catalogue_check_rejects(&j->identity, j->options->rejects);
    if (status == MAGPIE_OK) status = magpie_intake_bind(&j->in);
    if (status == MAGPIE_OK) status = magpie_intake_renew_snapshot(&j->in);
    if (status == MAGPIE_OK)
        status = magpie_checkpoint_load(j->in.snapshot, &j->identity, &j->checkpoint, &j->checkpoint_stored);
    if (status == MAGPIE_OK)
        status = magpie_rejects_begin(&j->rejects, j->options->rejects, j->checkpoint.rejects_bytes);
    j->progress.resumed_at = (size_t)j->checkpoint.lines;
    j->prefix_seen = j->checkpoint.lines == 0;
    return status;
}

static magpie_status open_lines(job *j, magpie_lines **out) {
    const uint64_t offset = j->checkpoint.offset;
    const size_t before = (size_t)j->checkpoint.lines;
    return j->options->vectors
               ? magpie_vector_input_start(j->options->vectors, offset, before, out)
               : magpie_lines_open(j->options->catalogue, MAGPIE_LINE_MAX, offset, before, out);
}

/* The first that an input of vectors has looked at already comes once more. */
static magpie_status next_line(job *j, magpie_lines *lines, magpie_line *line, bool *got) {
    return j->options->vectors ? magpie_vector_input_next(j->options->vectors, line, got)
                               : magpie_lines_next(lines, line, got);
}

static magpie_status read_lines(job *j, magpie_lines *lines) {
    magpie_line line;
    bool got;
    magpie_status status;
    size_t most = j->options->commit_items ? j->options->commit_items : COMMIT_ITEMS;
    while ((status = next_line(j, lines, &line, &got)) == MAGPIE_OK && got) {
        j->progress.lines++;
        j->progress.bytes = line.end_offset;
        status = take_line(j, &line);
        j->checkpoint.offset = line.end_offset;
        j->checkpoint.lines = line.number;
        if (status == MAGPIE_OK && (j->in.pending.count >= most || j->in.pending.bytes >= COMMIT_BYTES))
            status = flush(j, false);
        if (status == MAGPIE_OK) status = report(j, false);
        if (status != MAGPIE_OK) break;
    }
    return status;
}

static magpie_status read_catalogue(job *j) {
    magpie_lines *lines;
    magpie_status status = open_lines(j, &lines);
    if (status != MAGPIE_OK) return status;
    j->progress.total_bytes = magpie_lines_total_bytes(lines);
    status = read_lines(j, lines);
    if (!j->options->vectors) magpie_lines_close(lines);
    if (status == MAGPIE_OK) status = flush(j, true);
    return status == MAGPIE_OK ? magpie_rejects_sync(&j->rejects) : status;
}

static void end(job *j) {
    magpie_rejects_close(&j->rejects);
    magpie_intake_free(&j->in);
    magpie_id_set_free(&j->seen);
    magpie_line_vectors_free(&j->given);
    magpie_catalogue_identity_free(&j->identity);
}

magpie_status magpie_ingest_run(magpie_store *store, const magpie_ingest_encoders *encoders,
                                const magpie_ingest_options *options, magpie_ingest_progress *report_out) {
    job j = {.options = options, .started = magpie_seconds()};
    magpie_status status = begin(&j, store, encoders);
    if (status == MAGPIE_OK) status = read_catalogue(&j);
    complete_progress(&j);
    if (report_out) *report_out = j.progress;
    end(&j);
    return status;
}
