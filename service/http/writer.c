/* writer.c - see writer.h. */
#include "writer.h"
#include "server.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* What a write costs, in units of some 40 microseconds: those of an item are mostly encoding. */
enum {
    ROUND_COST = 1024,
    SLICE_COST = 256,
    TEXT_COST_MAX = 128, /* an encoder reads so much of a text, and no more */
    TEXT_BYTES_A_UNIT = 8,
    TASKS_MOST = 1024,
    BYTES_MOST = 64 << 20
};

static const unsigned costs[] = {
    [WRITE_PUT] = 16, [WRITE_PATCH] = 4, [WRITE_DELETE] = 4, [WRITE_INTERACTION] = 1, [WRITE_FORGET] = 16};
static const unsigned media_costs[WRITE_MEDIA] = {192, 512};

/* A file that an item had when a round began, or was to get by it. */
typedef struct former_medium {
    magpie_string id; /* the one's */
    char reference[STORE_MEDIA_REFERENCE];
} former_medium;

struct writer {
    serving_source *source;
    access_log *log;
    pthread_t thread, sweeper;
    bool writes, sweeps; /* they have been started */
    int64_t started;     /* seconds since 1970 */
    atomic_bool ending;
    pthread_mutex_t lock; /* guards the next six */
    pthread_cond_t arrived;
    write_task *first, **last;
    size_t tasks, bytes;
    char **lost; /* [lost_n]: files that were found to be nobody's */
    size_t lost_n;
    /* The thread's own. */
    serving view; /* the store and the models of the session */
    magpie_ingest_session *session;
    magpie_batch *batch;
    write_one *round[ROUND_COST];
    size_t count;
    write_task *finished; /* with this round */
    former_medium *formers;
    size_t formers_n, formers_capacity;
};

/* ---- tasks --------------------------------------------------------------------------------------------- */

write_one *write_task_add(write_task *task) {
    if (magpie_grow((void **)&task->ones, &task->capacity, task->count + 1, sizeof *task->ones) != MAGPIE_OK)
        return NULL;
    write_one *one = &task->ones[task->count++];
    *one = (write_one){0};
    return one;
}

void write_task_clear(write_task *task) {
    for (size_t i = 0; i < task->count; i++) {
        write_one *one = &task->ones[i];
        for (unsigned m = 0; m < WRITE_MEDIA; m++) store_media_drop(&one->media[m]);
        free(one->own_id);
        free(one->own_line);
        free(one->words);
    }
    task->count = task->taken = task->bytes = 0;
}

void write_task_free(write_task *task) {
    write_task_clear(task);
    free(task->ones);
    *task = (write_task){0};
}

void write_one_fail(write_one *one, magpie_status status) {
    free(one->words);
    one->status = status;
    one->words = strdup(magpie_error());
}

static bool is_item(const write_one *one) { return one->kind == WRITE_PUT || one->kind == WRITE_PATCH; }

/* ---- the queue ----------------------------------------------------------------------------------------- */

static void append_task(writer *w, write_task *task) {
    task->next = NULL;
    *w->last = task;
    w->last = &task->next;
}

static write_task *take_first(writer *w) {
    write_task *task = w->first;
    if (!(w->first = task->next)) w->last = &w->first;
    return task;
}

static bool give(writer *w, write_task *task) {
    pthread_mutex_lock(&w->lock);
    const bool fits = !atomic_load(&w->ending) &&
                      (task->goes_on || (w->tasks < TASKS_MOST && w->bytes + task->bytes <= BYTES_MOST));
    if (fits) {
        append_task(w, task);
        w->tasks++;
        w->bytes += task->bytes;
        pthread_cond_signal(&w->arrived);
    }
    pthread_mutex_unlock(&w->lock);
    return fits;
}

size_t writer_depth(writer *w) {
    pthread_mutex_lock(&w->lock);
    const size_t depth = w->tasks;
    pthread_mutex_unlock(&w->lock);
    return depth;
}

static void resume(write_task *task) { http_resume(task->owner); }

static void submit(http_request *r) {
    if (give(r->server->writer, r->waiting_for)) return;
    http_error(r, MHD_HTTP_TOO_MANY_REQUESTS, NULL, NULL, "too many writes wait: try again later");
    http_resume(r);
}

http_outcome writer_wait(http_request *r, write_task *task) {
    task->done = resume;
    task->owner = r;
    r->waiting_for = task;
    r->submit = submit;
    return HTTP_WAIT;
}

static size_t cost_of(const write_one *one) {
    size_t cost = costs[one->kind];
    if (one->kind != WRITE_PUT) return cost;
    const size_t text = one->line.size / TEXT_BYTES_A_UNIT;
    cost += text < TEXT_COST_MAX ? text : TEXT_COST_MAX;
    for (unsigned m = 0; m < WRITE_MEDIA; m++)
        if (*one->media[m].reference) cost += media_costs[m];
    return cost;
}

/* Under the lock. */
static void begin_round(writer *w) {
    size_t cost = 0;
    w->count = 0;
    w->finished = NULL;
    while (w->first && cost < ROUND_COST) {
        write_task *task = take_first(w);
        for (size_t slice = 0; task->taken < task->count && slice < SLICE_COST && cost < ROUND_COST;) {
            write_one *one = &task->ones[task->taken++];
            if (one->status != MAGPIE_OK) continue;
            slice += cost_of(one);
            cost += cost_of(one);
            w->round[w->count++] = one;
        }
        if (task->taken < task->count) {
            append_task(w, task);
        } else {
            w->tasks--;
            w->bytes -= task->bytes;
            task->next = w->finished;
            w->finished = task;
        }
    }
}

/* ---- files of items ------------------------------------------------------------------------------------ */

static magpie_status add_former(writer *w, magpie_string id, magpie_string reference) {
    if (!id.size || !store_media_owns(reference)) return MAGPIE_OK;
    magpie_status status =
        magpie_grow((void **)&w->formers, &w->formers_capacity, w->formers_n + 1, sizeof *w->formers);
    if (status != MAGPIE_OK) return status;
    former_medium *former = &w->formers[w->formers_n++];
    former->id = id;
    memcpy(former->reference, reference.data, reference.size);
    former->reference[reference.size] = 0;
    return MAGPIE_OK;
}

/* What items have, and will have if all goes well. */
static magpie_status note_formers(writer *w) {
    magpie_snapshot *snapshot;
    magpie_item item;
    magpie_status status = magpie_snapshot_open(w->view.store, &snapshot);
    if (status != MAGPIE_OK) return status;
    w->formers_n = 0;
    for (size_t i = 0; i < w->count && status == MAGPIE_OK; i++) {
        const write_one *one = w->round[i];
        if (one->kind != WRITE_PUT && one->kind != WRITE_DELETE) continue;
        for (unsigned m = 0; m < WRITE_MEDIA && status == MAGPIE_OK; m++)
            status = add_former(w, one->id, magpie_string_of(one->media[m].reference));
        if (status != MAGPIE_OK || magpie_snapshot_get(snapshot, one->id, &item) != MAGPIE_OK) continue;
        status = add_former(w, one->id, item.image);
        if (status == MAGPIE_OK) status = add_former(w, one->id, item.audio);
    }
    magpie_snapshot_close(snapshot);
    return status;
}

static bool names(const magpie_item *item, const char *reference) {
    const magpie_string r = magpie_string_of(reference);
    return (item->image.size == r.size && memcmp(item->image.data, r.data, r.size) == 0) ||
           (item->audio.size == r.size && memcmp(item->audio.data, r.data, r.size) == 0);
}

/* Removes those that their items do not name now. */
static void remove_formers(writer *w) {
    magpie_snapshot *snapshot;
    magpie_item item;
    if (!w->formers_n || magpie_snapshot_open(w->view.store, &snapshot) != MAGPIE_OK) return;
    for (size_t i = 0; i < w->formers_n; i++) {
        magpie_status status = magpie_snapshot_get(snapshot, w->formers[i].id, &item);
        if (status == MAGPIE_E_NOT_FOUND || (status == MAGPIE_OK && !names(&item, w->formers[i].reference)))
            store_media_remove(w->formers[i].reference);
    }
    magpie_snapshot_close(snapshot);
}

static magpie_status place_media(writer *w) {
    bool any = false;
    for (size_t i = 0; i < w->count; i++) {
        write_one *one = w->round[i];
        for (unsigned m = 0; m < WRITE_MEDIA && one->status == MAGPIE_OK; m++) {
            if (!*one->media[m].reference) continue;
            any |= one->media[m].written != NULL;
            magpie_status status = store_media_place(&one->media[m]);
            if (status != MAGPIE_OK) write_one_fail(one, status);
        }
    }
    return any ? store_media_sync() : MAGPIE_OK;
}

/* ---- the session --------------------------------------------------------------------------------------- */

static void close_session(writer *w) {
    magpie_ingest_session_close(w->session);
    w->session = NULL;
    serving_give_back(&w->view);
}

/* The store and the models that requests have now; indexes are of no use here. */
static void take_view(writer *w) {
    serving now, rest;
    serving_take(w->source, &now);
    rest = now;
    if (w->view.models && w->view.models->number == now.models->number) {
        serving_give_back(&now);
        return;
    }
    close_session(w);
    rest.models = NULL;
    w->view = (serving){.store = now.store, .models = now.models};
    serving_give_back(&rest);
}

static magpie_status need_session(writer *w) {
    if (w->session) return MAGPIE_OK;
    served_models *models = w->view.models;
    const magpie_ingest_encoders encoders = {models->encoders[SENSE_TEXT].text,
                                             models->encoders[SENSE_IMAGE].image,
                                             models->encoders[SENSE_AUDIO].audio, models->fusion};
    char *catalogue =
        magpie_path_join(storage_directory(), "catalogue.jsonl"); /* there is none: its folder counts */
    if (!catalogue) return MAGPIE_E_NO_MEMORY;
    const magpie_ingest_options options = {.catalogue = catalogue};
    magpie_status status = magpie_ingest_session_open(w->view.store, &encoders, &options, &w->session);
    free(catalogue);
    return status;
}

/* ---- items --------------------------------------------------------------------------------------------- */

static magpie_status take_answer(write_one *one, const magpie_ingest_answer *answer) {
    one->verdict = answer->verdict;
    one->status = answer->verdict == MAGPIE_INGEST_REFUSED ? answer->status : MAGPIE_OK;
    if (answer->words.size && !(one->words = strdup(answer->words.data)))
        return magpie_fail(MAGPIE_E_NO_MEMORY, "out of memory");
    return MAGPIE_OK;
}

static magpie_status put_round(writer *w) {
    const magpie_ingest_answer *answers;
    size_t n, at = 0;
    magpie_status status = need_session(w);
    for (size_t i = 0; i < w->count && status == MAGPIE_OK; i++) {
        const write_one *one = w->round[i];
        if (!is_item(one) || one->status != MAGPIE_OK) continue;
        status = one->kind == WRITE_PUT
                     ? magpie_ingest_session_put(w->session, one->line.data, one->line.size)
                     : magpie_ingest_session_patch(w->session, one->id, one->line.data, one->line.size);
    }
    if (status == MAGPIE_OK) status = magpie_ingest_session_flush(w->session, &answers, &n);
    for (size_t i = 0; i < w->count && status == MAGPIE_OK; i++)
        if (is_item(w->round[i]) && w->round[i]->status == MAGPIE_OK)
            status = take_answer(w->round[i], &answers[at++]);
    return status;
}

/* Another process may have given a space to another model: then ours may be replaced already. */
static magpie_status put_with_new_models(writer *w) {
    magpie_status status = serving_catch_up(w->source);
    if (status != MAGPIE_OK) return status;
    close_session(w);
    take_view(w);
    return put_round(w);
}

static void put_items(writer *w) {
    magpie_status status = place_media(w);
    if (status == MAGPIE_OK) status = put_round(w);
    if (status == MAGPIE_E_MISMATCH) status = put_with_new_models(w);
    for (size_t i = 0; i < w->count && status != MAGPIE_OK; i++)
        if (is_item(w->round[i]) && w->round[i]->status == MAGPIE_OK) write_one_fail(w->round[i], status);
}

/* ---- all else ------------------------------------------------------------------------------------------ */

/* Whether an earlier one of the round deletes the same. */
static bool is_deleted_before(const writer *w, size_t i) {
    for (size_t j = 0; j < i; j++) {
        const write_one *a = w->round[i], *b = w->round[j];
        if (b->kind == WRITE_DELETE && b->status == MAGPIE_OK && a->id.size == b->id.size &&
            memcmp(a->id.data, b->id.data, a->id.size) == 0)
            return true;
    }
    return false;
}

static magpie_status delete_item(writer *w, magpie_snapshot *snapshot, size_t i) {
    magpie_item item;
    bool passes = true;
    const write_one *one = w->round[i];
    magpie_status status = magpie_snapshot_get(snapshot, one->id, &item);
    if (status == MAGPIE_OK && one->filter)
        status = magpie_filter_matches(one->filter, one->id, item.attributes, &passes);
    if (status == MAGPIE_OK && (!passes || is_deleted_before(w, i))) status = MAGPIE_E_NOT_FOUND;
    if (status == MAGPIE_E_NOT_FOUND) return magpie_fail(status, "no item has this id");
    return status == MAGPIE_OK ? magpie_batch_delete(w->batch, one->id) : status;
}

static magpie_status add_to_batch(writer *w, magpie_snapshot *snapshot, size_t i) {
    const write_one *one = w->round[i];
    if (one->kind == WRITE_DELETE) return delete_item(w, snapshot, i);
    if (one->kind == WRITE_FORGET) return magpie_batch_delete_user(w->batch, one->id);
    return magpie_batch_put_interaction(w->batch, one->id, one->interaction.item, one->interaction.kind,
                                        one->interaction.weight, one->interaction.time);
}

static magpie_status fill_batch(writer *w) {
    magpie_snapshot *snapshot;
    magpie_status status = magpie_snapshot_open(w->view.store, &snapshot);
    if (status != MAGPIE_OK) return status;
    magpie_batch_clear(w->batch);
    for (size_t i = 0; i < w->count; i++) {
        if (is_item(w->round[i]) || w->round[i]->status != MAGPIE_OK) continue;
        magpie_status one = add_to_batch(w, snapshot, i);
        if (one != MAGPIE_OK) write_one_fail(w->round[i], one);
    }
    magpie_snapshot_close(snapshot);
    return status;
}

static void write_the_rest(writer *w) {
    magpie_status status = fill_batch(w);
    if (status == MAGPIE_OK && magpie_batch_count(w->batch))
        status = magpie_store_commit(w->view.store, w->batch, NULL);
    for (size_t i = 0; i < w->count && status != MAGPIE_OK; i++)
        if (!is_item(w->round[i]) && w->round[i]->status == MAGPIE_OK) write_one_fail(w->round[i], status);
}

/* ---- the thread ---------------------------------------------------------------------------------------- */

static void run_round(writer *w) {
    size_t items = 0;
    for (size_t i = 0; i < w->count; i++) items += is_item(w->round[i]);
    take_view(w);
    magpie_status status = note_formers(w);
    for (size_t i = 0; i < w->count && status != MAGPIE_OK; i++) write_one_fail(w->round[i], status);
    if (status == MAGPIE_OK && items) put_items(w);
    if (status == MAGPIE_OK && items < w->count) write_the_rest(w);
    if (status == MAGPIE_OK) remove_formers(w);
    if (w->count) serving_wrote(w->source);
}

static void end_round(writer *w) {
    while (w->finished) {
        write_task *task = w->finished; /* is its owner's with the next call */
        w->finished = task->next;
        task->done(task);
    }
}

static void remove_lost(writer *w, char **lost, size_t n) {
    for (size_t i = 0; i < n; i++) {
        store_media_remove_lost(lost[i], w->started);
        free(lost[i]);
    }
    free(lost);
}

/* Models that were replaced are not kept by a writer that has nothing to do. */
static void wait_for_tasks(writer *w) {
    struct timespec until;
    while (!w->first && !w->lost && !atomic_load(&w->ending)) {
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec++;
        pthread_cond_timedwait(&w->arrived, &w->lock, &until);
        if (w->first || !w->view.models) continue;
        pthread_mutex_unlock(&w->lock);
        take_view(w);
        pthread_mutex_lock(&w->lock);
    }
}

static void *run(void *argument) {
    writer *w = argument;
    pthread_mutex_lock(&w->lock);
    for (;;) {
        wait_for_tasks(w);
        if (!w->first && !w->lost) break;
        char **lost = w->lost;
        w->lost = NULL;
        begin_round(w);
        pthread_mutex_unlock(&w->lock);
        if (lost) remove_lost(w, lost, w->lost_n);
        if (w->count) run_round(w);
        end_round(w);
        pthread_mutex_lock(&w->lock);
    }
    pthread_mutex_unlock(&w->lock);
    close_session(w);
    return NULL;
}

static void *sweep(void *argument) {
    writer *w = argument;
    serving view;
    char **lost;
    size_t n;
    serving_take(w->source, &view);
    magpie_store *store = view.store; /* which lasts longer than we do */
    serving_give_back(&view);
    magpie_status status = store_media_find_lost(store, w->started, &w->ending, &lost, &n);
    if (status != MAGPIE_OK && status != MAGPIE_E_CANCELLED)
        access_log_message(w->log, "error", magpie_error());
    if (!n) return free(lost), NULL;
    pthread_mutex_lock(&w->lock);
    w->lost = lost;
    w->lost_n = n;
    pthread_cond_signal(&w->arrived);
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

magpie_status writer_start(serving_source *source, access_log *log, writer **out) {
    writer *w = magpie_alloc(1, sizeof *w);
    if (!w) return MAGPIE_E_NO_MEMORY;
    w->source = source;
    w->log = log;
    w->last = &w->first;
    w->started = magpie_unix_millis() / 1000 - 1; /* a file's time may be that of a clock's last tick */
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->arrived, NULL);
    magpie_status status = magpie_batch_create(&w->batch);
    if (status == MAGPIE_OK) {
        const int error = pthread_create(&w->thread, NULL, run, w);
        w->writes = !error;
        if (error) status = magpie_fail_errno(error, "cannot start a thread");
    }
    if (status == MAGPIE_OK) w->sweeps = pthread_create(&w->sweeper, NULL, sweep, w) == 0;
    if (status == MAGPIE_OK)
        *out = w;
    else
        writer_stop(w);
    return status;
}

void writer_stop(writer *w) {
    if (!w) return;
    pthread_mutex_lock(&w->lock);
    atomic_store(&w->ending, true);
    pthread_cond_broadcast(&w->arrived);
    pthread_mutex_unlock(&w->lock);
    if (w->sweeps) pthread_join(w->sweeper, NULL);
    if (w->writes) pthread_join(w->thread, NULL);
    if (w->lost) remove_lost(w, w->lost, w->lost_n);
    magpie_batch_free(w->batch);
    free(w->formers);
    pthread_cond_destroy(&w->arrived);
    pthread_mutex_destroy(&w->lock);
    free(w);
}
