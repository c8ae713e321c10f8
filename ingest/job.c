/* job.c - the loop of an ingest of catalogues: read a line (source.h), ask the store whether it is new, and
 * once enough is new, encode and commit (intake.h).
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
 * TWO TRANSACTIONS. While one is written and synced by a thread of its own, the next one's lines are read and
 * encoded. It was planned in a snapshot that does not show the one before yet; all that could matter is an id
 * that both have, and that is looked for in both. All that is written to the rejects file for a transaction is
 * written before the next one's lines are read.
 *
 * STAGES AND CORES. Texts, pictures and sounds of a transaction are encoded one kind after the other, each by all
 * threads: a thread decodes a picture and runs the network on it, so that decoding overlaps with arithmetic
 * without a queue between them, and nothing fights for cores. docs/design.md, decision 45, has the figures. */
#include "checkpoint.h"
#include "id_set.h"
#include "intake.h"
#include "jobs.h"
#include "rejects.h"
#include "source.h"
#include "vector_input.h"

#include <stdlib.h>
#include <string.h>

enum {
    COMMIT_ITEMS = 256,
    /* of lines, and of pictures and sounds out of archives: what a job keeps in memory does not depend on how
     * large they are */
    COMMIT_BYTES = 16 << 20,
    DELETE_ITEMS = 1024
};

/* A transaction that is being committed, and what goes into it with the items. */
typedef struct flight {
    magpie_intake in;
    const magpie_catalogue_identity *identity;
    const magpie_job *job;
    magpie_checkpoint checkpoint;
    magpie_ingest_progress progress; /* with these items */
    bool last;                       /* the job ends with it: it removes the checkpoint */
    bool given;                      /* and not yet settled */
    double seconds;                  /* that all of them took */
} flight;

typedef struct job {
    magpie_intake in; /* what is being filled */
    flight behind;    /* its items stay until the next one's: see TWO TRANSACTIONS */
    magpie_handover *committer;
    magpie_job self;
    const magpie_ingest_options *options;
    magpie_ingest_progress progress, durable; /* now, and with the last transaction that is committed */
    magpie_catalogue_identity identity;
    magpie_checkpoint checkpoint; /* of the last line that was read */
    magpie_checkpoint resumed;    /* that which this run goes on from; all zero: it begins anew */
    bool checkpoint_stored;       /* the store has one under this job's name */
    magpie_id_set seen;           /* ids of lines that parsed: read by this run, or by read_prefix */
    magpie_id_set bad;            /* ids of lines that did not, where they are wanted: by delete_missing */
    size_t nameless;              /* of these, lines whose id could not be read */
    bool prefix_seen;
    magpie_rejects rejects;
    magpie_sources *sources;   /* NULL: not open yet. Items that are pending name its catalogues. */
    uint64_t bytes;            /* of them, read */
    magpie_line_vectors given; /* that the line at hand has, in place of what encoders would compute */
    bool begun, over;          /* the store has its record, as one that runs, and as one that has ended */
    double started, reported;
} job;

/* ---- what the caller hears ----------------------------------------------------------------------------- */

static double seconds_for(const job *j, magpie_space space) {
    return j->in.pending.seconds[space] + j->behind.in.pending.seconds[space];
}

/* How much of the work that the pending items make is done, 0 to 1. */
static double share_encoded(const magpie_pending *pending) {
    static const double work[MAGPIE_SPACES] = {/* about, in texts */
                                               [MAGPIE_SPACE_TEXT] = 1,
                                               [MAGPIE_SPACE_IMAGE] = 10,
                                               [MAGPIE_SPACE_AUDIO] = 40};
    double made = 0, all = 0;
    for (size_t i = 0; i < pending->count; i++)
        for (unsigned s = 0; s < MAGPIE_SPACES; s++) {
            const magpie_vector_state state = pending->items[i].plan.state[s];
            made += state == MAGPIE_VECTOR_MADE ? work[s] : 0;
            all += state == MAGPIE_VECTOR_MADE || state == MAGPIE_VECTOR_WANTED ? work[s] : 0;
        }
    return all > 0 ? made / all : 0;
}

/* What is counted elsewhere. */
static void complete_progress(job *j) {
    magpie_ingest_progress *p = &j->progress;
    const magpie_pending *pending = &j->in.pending;
    const double waiting = 1 - share_encoded(pending);
    const uint64_t waits = (uint64_t)(waiting * (double)pending->bytes);
    p->lines_done = p->lines - (size_t)(waiting * (double)pending->count);
    if (j->bytes > p->bytes + waits) p->bytes = j->bytes - waits;
    p->seconds = magpie_seconds() - j->started;
    p->rejected = (size_t)j->checkpoint.rejected;
    p->pictures_refused = (size_t)j->checkpoint.refused[MAGPIE_MEDIUM_IMAGE];
    p->sounds_refused = (size_t)j->checkpoint.refused[MAGPIE_MEDIUM_AUDIO];
    p->text_seconds = seconds_for(j, MAGPIE_SPACE_TEXT);
    p->image_seconds = seconds_for(j, MAGPIE_SPACE_IMAGE);
    p->audio_seconds = seconds_for(j, MAGPIE_SPACE_AUDIO);
}

static magpie_status settle(job *j);

static magpie_status report(job *j, bool now) {
    if (!magpie_job_tells(&j->reported, now)) return MAGPIE_OK;
    magpie_status status = j->behind.given && magpie_handover_idle(j->committer) ? settle(j) : MAGPIE_OK;
    if (status != MAGPIE_OK || !j->options->progress) return status;
    complete_progress(j);
    return j->options->progress(j->options->context, &j->progress) ? MAGPIE_OK : magpie_job_stopped();
}

/* How the rejects file names a catalogue: NULL where there is but one. */
static const char *named(const job *j, const char *catalogue) {
    return j->options->catalogue_count > 1 ? catalogue : NULL;
}

static magpie_status reject(job *j, const magpie_entry *entry, magpie_string id, const char *why) {
    j->checkpoint.rejected++;
    return magpie_rejects_add(&j->rejects, named(j, entry->origin.catalogue), entry->line.number, why, id,
                              magpie_reject_start(&entry->line));
}

static magpie_status refused(void *context, magpie_pending_item *item, magpie_status why) {
    job *j = context;
    (void)why;
    item->refused = true;
    j->checkpoint.rejected++;
    return magpie_rejects_add(&j->rejects, named(j, item->catalogue), item->number, magpie_error(),
                              item->line.item.id, (magpie_string){item->start, item->start_size});
}

/* What the item's problems say of one of its files, if they do. */
static magpie_status note_refused(job *j, const char *catalogue, size_t number, const magpie_item *item,
                                  unsigned which) {
    const magpie_medium *medium = &j->in.media[which];
    const size_t prefix = strlen(medium->problem);
    magpie_string line = magpie_problem_line(item->problems, medium);
    if (!line.size) return MAGPIE_OK;
    j->checkpoint.refused[which]++;
    return magpie_rejects_add_modality(&j->rejects, named(j, catalogue), number, item->id,
                                       magpie_space_name(medium->space),
                                       (magpie_string){line.data + prefix, line.size - prefix});
}

static magpie_status file_refused(void *context, const magpie_pending_item *item, unsigned which) {
    return note_refused(context, item->catalogue, item->number, &item->line.item, which);
}

static magpie_status encoded_block(void *context) { return report(context, false); }

/* ---- a commit ------------------------------------------------------------------------------------------ */

/* What is committed with the items of a job; on the committer's thread, as the next one. */
static magpie_status seal(void *context, magpie_batch *batch) {
    const flight *f = context;
    magpie_status status = magpie_checkpoint_put(batch, f->identity, f->last ? NULL : &f->checkpoint);
    return status == MAGPIE_OK
               ? magpie_job_put(f->job, f->identity, f->last ? "done" : "running", NULL, &f->progress, batch)
               : status;
}

static void acknowledge(const magpie_ingest_options *options, const magpie_pending *pending) {
    if (!options->acknowledge) return;
    for (size_t i = 0; i < pending->count; i++)
        if (!pending->items[i].refused)
            options->acknowledge(options->context, pending->items[i].line.item.id);
}

/* Who waits for an id before giving the next line is not to wait for that line. So it is told from here. */
static magpie_status commit(void *context, void *block) {
    flight *f = block;
    (void)context;
    const double before = magpie_seconds();
    magpie_status status = magpie_intake_commit(&f->in, seal, f);
    f->seconds += magpie_seconds() - before;
    if (status == MAGPIE_OK) acknowledge(f->in.options, &f->in.pending);
    return status;
}

static void count_item(const job *j, const magpie_pending_item *item, magpie_ingest_progress *p) {
    size_t *const files[MAGPIE_MEDIA] = {
        [MAGPIE_MEDIUM_IMAGE] = &p->pictures_encoded, [MAGPIE_MEDIUM_AUDIO] = &p->sounds_encoded};
    bool encoded = item->plan.state[MAGPIE_SPACE_TEXT] == MAGPIE_VECTOR_MADE;
    for (unsigned m = 0; m < MAGPIE_MEDIA; m++) {
        const bool made = item->plan.state[j->in.media[m].space] == MAGPIE_VECTOR_MADE;
        *files[m] += made;
        encoded |= made;
    }
    p->committed++;
    p->encoded += encoded;
    p->updated += !encoded;
}

/* What `p` is once these are committed. */
static void count_items(const job *j, const magpie_pending *pending, magpie_ingest_progress *p) {
    for (size_t i = 0; i < pending->count; i++)
        if (!pending->items[i].refused) count_item(j, &pending->items[i], p);
}

/* Whoever cancels it writes a word into the store: jobs.h. */
static magpie_status stop_if_cancelled(job *j) {
    bool cancelled;
    magpie_batch_clear(j->in.batch);
    magpie_status status = magpie_job_is_cancelled(&j->self, j->in.snapshot, j->in.batch, &cancelled);
    if (status == MAGPIE_OK && cancelled) status = settle(j);
    if (status != MAGPIE_OK || !cancelled) return status;
    status = magpie_checkpoint_put(j->in.batch, &j->identity, NULL);
    if (status == MAGPIE_OK)
        status = magpie_job_put(&j->self, &j->identity, "cancelled", NULL, &j->durable, j->in.batch);
    if (status == MAGPIE_OK) status = magpie_store_commit(j->in.store, j->in.batch, NULL);
    j->over = status == MAGPIE_OK;
    return status == MAGPIE_OK
               ? magpie_fail(MAGPIE_E_CANCELLED, "job %s was cancelled; what is committed stays", j->self.id)
               : status;
}

/* Waits for the transaction that is being committed, and says that it is. */
static magpie_status settle(job *j) {
    const double before = magpie_seconds();
    if (!j->behind.given) return MAGPIE_OK;
    magpie_status status = magpie_handover_wait(j->committer);
    j->progress.waited_seconds += magpie_seconds() - before;
    j->progress.commit_seconds = j->behind.seconds;
    if (status != MAGPIE_OK) return status;
    j->behind.given = false;
    j->over = j->behind.last;
    j->checkpoint_stored = !j->behind.last && j->identity.path;
    j->durable = j->behind.progress;
    count_items(j, &j->behind.in.pending, &j->progress);
    return MAGPIE_OK;
}

/* Encodes what is pending and has it committed; what is filled from then on is empty. */
static magpie_status launch(job *j, bool last) {
    const magpie_pending_hooks hooks = {refused, file_refused, encoded_block, j};
    magpie_status status = magpie_intake_encode(&j->in, &hooks);
    if (status == MAGPIE_OK) status = magpie_rejects_sync(&j->rejects);
    if (status == MAGPIE_OK) status = settle(j);
    if (status != MAGPIE_OK) return status;
    if (j->options->dry_run) count_items(j, &j->in.pending, &j->progress);
    const magpie_intake filled = j->in;
    j->checkpoint.rejects_bytes = j->rejects.size;
    j->in = j->behind.in;
    j->behind.in = filled;
    j->behind.checkpoint = j->checkpoint;
    j->behind.last = last;
    complete_progress(j);
    j->behind.progress = j->progress;
    count_items(j, &j->behind.in.pending, &j->behind.progress);
    magpie_pending_clear(&j->in.pending);
    if (j->options->dry_run) return MAGPIE_OK;
    j->behind.given = true;
    return magpie_handover_give(j->committer, &j->behind);
}

static magpie_status flush(job *j, bool last) {
    if (!j->in.pending.count && !last) return MAGPIE_OK;
    magpie_status status = launch(j, last);
    if (status == MAGPIE_OK && last) status = settle(j);
    if (status == MAGPIE_OK) status = magpie_intake_renew_snapshot(&j->in);
    if (status == MAGPIE_OK && !last && j->begun) status = stop_if_cancelled(j);
    if (status != MAGPIE_OK) return status;
    status = report(j, true);
    return last && status == MAGPIE_E_CANCELLED ? MAGPIE_OK : status; /* too late */
}

/* ---- a line -------------------------------------------------------------------------------------------- */

/* Of vector lines, a header says nothing either, once it was found to be the same. */
static magpie_status is_blank(const job *j, const magpie_entry *entry, bool *out) {
    *out = !entry->bad && strspn(entry->line.data, " \t\r") == entry->line.size;
    return *out || !j->options->vectors ? MAGPIE_OK
                                        : magpie_vector_input_check(j->options->vectors, entry, out);
}

static magpie_status parse_entry(job *j, const magpie_entry *entry, magpie_catalogue_line *out) {
    if (entry->bad) return magpie_fail(MAGPIE_E_INPUT, "%s", entry->bad);
    return j->options->vectors ? magpie_vector_input_parse(j->options->vectors, &entry->line, out, &j->given)
                               : magpie_catalogue_parse(entry->line.data, entry->line.size, out);
}

/* An item whose line is bad is still one that the catalogue has. */
static magpie_status note_bad(job *j, magpie_string id) {
    bool was_there;
    if (!j->options->delete_missing) return MAGPIE_OK;
    if (!id.size || id.size > MAGPIE_ID_MAX) return j->nameless++, MAGPIE_OK;
    return magpie_id_set_add(&j->bad, id, &was_there);
}

static bool is_before_checkpoint(const job *j, const magpie_entry *entry) {
    return entry->file < j->resumed.file ||
           (entry->file == j->resumed.file && entry->line.number <= j->resumed.line);
}

/* Puts the ids of the lines before the checkpoint into the set of those seen. */
static magpie_status read_prefix(job *j) {
    magpie_sources *sources;
    magpie_entry entry;
    bool got = true, was_there;
    const magpie_ingest_options *from =
        j->options->vectors ? magpie_vector_input_from(j->options->vectors) : j->options;
    magpie_status status = magpie_sources_open(from, 0, 0, 0, &sources);
    if (status != MAGPIE_OK) return status;
    while (status == MAGPIE_OK && (status = magpie_sources_next(sources, &entry, &got)) == MAGPIE_OK && got &&
           is_before_checkpoint(j, &entry)) {
        magpie_catalogue_line parsed = {0};
        bool blank;
        status = is_blank(j, &entry, &blank);
        if (status != MAGPIE_OK || blank) continue;
        if (parse_entry(j, &entry, &parsed) == MAGPIE_OK)
            status = magpie_id_set_add(&j->seen, parsed.item.id, &was_there);
        else
            status = note_bad(j, parsed.item.id.size ? parsed.item.id : entry.id);
        magpie_catalogue_line_free(&parsed);
        if (status == MAGPIE_OK) status = report(j, false);
    }
    magpie_sources_close(sources);
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
    if (!before) before = magpie_pending_find(&j->behind.in.pending, item->id);
    if (before) same = magpie_same_content(&before->line.item, item);
    if (before || stored) *out = same ? REPEATED : CONTRADICTED;
    if (!before && !stored && j->options->dry_run) *out = REPEATED;
    return MAGPIE_OK;
}

static magpie_status take_item(job *j, const magpie_entry *entry, magpie_catalogue_line *parsed) {
    magpie_item found, *stored = &found;
    verdict what;
    magpie_status status = magpie_snapshot_get(j->in.snapshot, parsed->item.id, &found);
    if (status == MAGPIE_E_NOT_FOUND) stored = NULL, status = MAGPIE_OK;
    if (status == MAGPIE_OK) status = judge(j, &parsed->item, stored, &what);
    if (status != MAGPIE_OK) return status;
    if (what == REPEATED) return j->progress.unchanged++, MAGPIE_OK;
    if (what == CONTRADICTED)
        return reject(j, entry, parsed->item.id, "an earlier line has this id, with other content");
    const magpie_line_vectors *given = j->options->vectors ? &j->given : NULL;
    magpie_vector_plan plan;
    bool same;
    status = magpie_intake_plan(&j->in, &parsed->item, &entry->origin, given, stored, &plan, &same);
    for (unsigned m = 0; m < MAGPIE_MEDIA && status == MAGPIE_OK; m++)
        if (j->in.media[m].model.dimension)
            status = note_refused(j, entry->origin.catalogue, entry->line.number, &parsed->item, m);
    if (status != MAGPIE_OK) return status;
    if (same) return j->progress.unchanged++, MAGPIE_OK;
    status = magpie_pending_add(&j->in.pending, parsed, &entry->line, &entry->origin, &plan);
    const magpie_pending_hooks hooks = {refused, file_refused, encoded_block, j};
    return status == MAGPIE_OK && given ? magpie_pending_give(&j->in.pending, given, j->in.media, &hooks)
                                        : status;
}

static magpie_status take_entry(job *j, const magpie_entry *entry) {
    magpie_catalogue_line parsed = {0};
    bool blank;
    magpie_status status = is_blank(j, entry, &blank);
    if (status != MAGPIE_OK || blank) return status;
    status = parse_entry(j, entry, &parsed);
    if (status == MAGPIE_OK) {
        status = take_item(j, entry, &parsed);
    } else if (status == MAGPIE_E_INPUT || status == MAGPIE_E_TOO_LARGE) {
        const magpie_string id = parsed.item.id.size ? parsed.item.id : entry->id;
        status = reject(j, entry, id, magpie_error());
        if (status == MAGPIE_OK) status = note_bad(j, id);
    }
    magpie_catalogue_line_free(&parsed);
    return status;
}

/* ---- what the catalogue no longer has ------------------------------------------------------------------- */

static magpie_status commit_deletes(job *j) {
    magpie_commit done;
    if (!magpie_batch_count(j->in.batch)) return MAGPIE_OK;
    magpie_status status = magpie_store_commit(j->in.store, j->in.batch, &done);
    if (status == MAGPIE_OK) j->progress.deleted += done.deleted;
    magpie_batch_clear(j->in.batch);
    return status == MAGPIE_OK ? report(j, false) : status;
}

static magpie_status delete_if_missing(void *context, const magpie_item *item) {
    job *j = context;
    if (magpie_id_set_has(&j->seen, item->id) || magpie_id_set_has(&j->bad, item->id)) return MAGPIE_OK;
    if (j->options->dry_run) return j->progress.deleted++, MAGPIE_OK;
    magpie_status status = magpie_batch_delete(j->in.batch, item->id);
    return status == MAGPIE_OK && magpie_batch_count(j->in.batch) >= DELETE_ITEMS ? commit_deletes(j)
                                                                                  : status;
}

/* Once all lines were read and what came of them is committed. */
static magpie_status delete_missing(job *j) {
    magpie_status status = flush(j, false);
    if (status == MAGPIE_OK) status = settle(j);
    if (status == MAGPIE_OK && !j->prefix_seen) status = read_prefix(j);
    if (status == MAGPIE_OK) status = magpie_intake_renew_snapshot(&j->in);
    if (j->nameless) j->progress.not_deleted = "the ids of some lines could not be read";
    if (!j->seen.count) j->progress.not_deleted = "no line of the catalogue is an item";
    if (status != MAGPIE_OK || j->progress.not_deleted) return status;
    magpie_batch_clear(j->in.batch);
    status = magpie_snapshot_each(j->in.snapshot, 0, delete_if_missing, j);
    return status == MAGPIE_OK ? commit_deletes(j) : status;
}

/* ---- the job ------------------------------------------------------------------------------------------- */

static magpie_status record_begin(job *j) {
    magpie_status status = magpie_job_begin(&j->self, j->in.snapshot, &j->identity, j->options, j->in.batch);
    if (status == MAGPIE_OK) status = magpie_store_commit(j->in.store, j->in.batch, NULL);
    j->begun = status == MAGPIE_OK;
    strcpy(j->progress.job, j->self.id);
    return status;
}

static magpie_status begin(job *j, magpie_store *store, const magpie_ingest_encoders *encoders) {
    if (!encoders->text && !encoders->image && !encoders->audio && !j->options->vectors)
        return magpie_fail(MAGPIE_E_ARGUMENT,
                           "an ingest needs an encoder, of texts, of pictures or of sounds");
    magpie_status status = magpie_intake_begin(&j->in, store, encoders, j->options);
    if (status == MAGPIE_OK) /* a checkpoint is worth nothing where what decides the outcome differs */
        status = magpie_catalogue_identify("ingest", j->options->catalogues, j->options->catalogue_count,
                                           magpie_intake_salt(&j->in) ^ magpie_sources_salt(j->options),
                                           &j->identity);
    if (status == MAGPIE_OK)
        status = magpie_catalogue_check_rejects(j->options->catalogues, j->options->catalogue_count,
                                                j->options->rejects);
    const bool writes = !j->options->dry_run;
    if (status == MAGPIE_OK && writes) status = magpie_job_lock(&j->self, store, j->options->wait);
    if (status == MAGPIE_OK) status = magpie_intake_bind(&j->in);
    if (status == MAGPIE_OK) status = magpie_intake_twin(&j->in, &j->behind.in);
    if (status == MAGPIE_OK) status = magpie_intake_renew_snapshot(&j->in);
    if (status == MAGPIE_OK && writes)
        status = magpie_checkpoint_load(j->in.snapshot, &j->identity, &j->checkpoint, &j->checkpoint_stored);
    if (status == MAGPIE_OK)
        status = magpie_rejects_begin(&j->rejects, j->options->rejects, j->checkpoint.rejects_bytes);
    j->resumed = j->checkpoint;
    j->progress.resumed_at = (size_t)j->checkpoint.lines;
    j->prefix_seen = j->checkpoint.lines == 0;
    j->behind.identity = &j->identity;
    j->behind.job = &j->self;
    if (status != MAGPIE_OK || !writes) return status;
    status = record_begin(j);
    return status == MAGPIE_OK ? magpie_handover_start(commit, NULL, &j->committer) : status;
}

static magpie_status keep_what_is_whole(job *j) {
    char words[1024];
    snprintf(words, sizeof words, "%s", magpie_error());
    magpie_status status = flush(j, false);
    return status == MAGPIE_OK ? magpie_fail(MAGPIE_E_CORRUPT, "%s", words) : status;
}

static magpie_status next_entry(job *j, magpie_entry *entry, bool *got) {
    return j->options->vectors ? magpie_vector_input_next(j->options->vectors, entry, got)
                               : magpie_sources_next(j->sources, entry, got);
}

static magpie_status read_sources(job *j) {
    magpie_entry entry;
    bool got;
    const size_t most = j->options->commit_items ? j->options->commit_items : COMMIT_ITEMS;
    const size_t most_bytes = j->options->batch_bytes ? j->options->batch_bytes : COMMIT_BYTES;
    magpie_status status;
    while ((status = next_entry(j, &entry, &got)) == MAGPIE_OK && got) {
        j->progress.lines++;
        j->bytes = entry.bytes;
        status = take_entry(j, &entry);
        j->checkpoint.file = entry.file;
        j->checkpoint.offset = entry.line.end_offset;
        j->checkpoint.line = entry.line.number;
        j->checkpoint.lines++;
        if (status == MAGPIE_OK && (j->in.pending.count >= most || j->in.pending.bytes >= most_bytes))
            status = flush(j, false);
        if (status == MAGPIE_OK) status = report(j, false);
        if (status != MAGPIE_OK) return status;
    }
    j->progress.passed_over = magpie_sources_passed_over(j->sources);
    if (status == MAGPIE_E_CORRUPT) status = keep_what_is_whole(j);
    if (status == MAGPIE_OK && j->options->delete_missing) status = delete_missing(j);
    return status == MAGPIE_OK ? flush(j, true) : status;
}

static magpie_status read_catalogues(job *j) {
    const magpie_checkpoint *at = &j->checkpoint;
    magpie_status status =
        j->options->vectors
            ? magpie_vector_input_start(j->options->vectors, j->options->media_base, at, &j->sources)
            : magpie_sources_open(j->options, (size_t)at->file, at->offset, (size_t)at->line, &j->sources);
    if (status != MAGPIE_OK) return status;
    j->progress.total_bytes = magpie_sources_total_bytes(j->sources);
    return read_sources(j);
}

/* What the store remembers of a job that has failed. It may be that it cannot be told either: then the record says
 * that it runs, and nobody holds the lock. */
static void record_failure(job *j, magpie_status status) {
    const char *state = status == MAGPIE_E_CANCELLED ? "stopped" : "failed";
    char *why = strdup(magpie_error());
    magpie_batch_clear(j->in.batch);
    j->durable.seconds = magpie_seconds() - j->started;
    magpie_status told =
        magpie_job_put(&j->self, &j->identity, state, why ? why : "", &j->durable, j->in.batch);
    if (told == MAGPIE_OK) told = magpie_store_commit(j->in.store, j->in.batch, NULL);
    (void)magpie_fail(status, "%s", why ? why : magpie_status_name(status));
    free(why);
}

static void end(job *j) {
    if (!j->options->vectors) magpie_sources_close(j->sources);
    magpie_line_vectors_free(&j->given);
    magpie_rejects_close(&j->rejects);
    magpie_intake_free(&j->behind.in);
    magpie_intake_free(&j->in);
    magpie_id_set_free(&j->seen);
    magpie_id_set_free(&j->bad);
    magpie_job_free(&j->self);
    magpie_catalogue_identity_free(&j->identity);
}

magpie_status magpie_ingest_run(magpie_store *store, const magpie_ingest_encoders *encoders,
                                const magpie_ingest_options *options, magpie_ingest_progress *report_out) {
    job j = {.options = options, .started = magpie_seconds(), .self = {.lock = -1}};
    magpie_status status = begin(&j, store, encoders);
    if (status == MAGPIE_OK) status = read_catalogues(&j);
    magpie_status settled = settle(&j), ended = magpie_handover_end(j.committer);
    if (status == MAGPIE_OK) status = settled == MAGPIE_OK ? ended : settled;
    if (status != MAGPIE_OK && j.begun && !j.over) record_failure(&j, status);
    complete_progress(&j);
    if (report_out) *report_out = j.progress;
    end(&j);
    return status;
}
