/* serving.c - see serving.h. */
#include "serving.h"
#include "query.h"
#include "rankers.h"
#include "storage.h"

#include <omp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Seconds. */
static const double look_every = 0.25, save_every = 60, recommender_every = 0.25;
/* A recommender is opened anew when this many times its cost has passed: some hundredths of the machine. */
static const double recommender_costs = 30;

struct serving_source {
    serving_options options;
    pthread_t fresh, tended;
    pthread_mutex_t lock; /* guards all below but the last group */
    pthread_cond_t changed;
    serving current;
    uint64_t wanted, done; /* rounds of taking in what was written: asked for, and ended */
    bool reload, ending, failed;
    uint64_t sequence, interactions; /* of the store, at the last round: what changes with each of them */
    bool saves;                      /* index files are ours to write */
    bool unsaved;                    /* indexes hold what their files do not */
    bool reopen;                     /* the recommender, whatever there is of it */
    uint64_t tries;                  /* to open one */
    lru_key said;                    /* of the last failure's words */
    /* The first thread's own. */
    heads_store spaces; /* of the store, when models were last opened, or tried */
    /* The second's. */
    uint64_t recommended_sequence, recommended_interactions;
    double recommended, recommender_cost, saved;
};

/* ---- models -------------------------------------------------------------------------------------------- */

static void close_models(served_models *m) {
    if (!m || atomic_fetch_sub(&m->uses, 1) > 1) return;
    for (unsigned i = 0; i < SENSES; i++) batcher_free(m->batchers[i]);
    for (unsigned i = 0; i < SENSES; i++) model_close(&m->encoders[i]);
    magpie_fusion_close(m->fusion);
    lru_free(m->vectors);
    free(m);
}

typedef struct opening {
    served_models *models;
    model_sense sense;
    pthread_t thread;
    bool started;
    magpie_status status;
    char why[512];
} opening;

/* The first texts are slower than all others: room is made, and arithmetic compiled. Not for a client to wait
 * for. */
static magpie_status warm_up(const model_encoder *encoder) {
    const magpie_string texts[] = {magpie_string_of("a bird that steals shiny things"),
                                   magpie_string_of("magpie"), magpie_string_of("two for joy")};
    const size_t n = sizeof texts / sizeof *texts;
    float *out = magpie_alloc(n * encoder->dimension, sizeof *out);
    magpie_status status = out ? MAGPIE_OK : MAGPIE_E_NO_MEMORY;
    for (size_t i = 1; i <= n && status == MAGPIE_OK; i++)
        status = magpie_text_encoder_encode(encoder->text, texts, i, MAGPIE_QUERY, out);
    free(out);
    return status;
}

static void *open_encoder(void *argument) {
    opening *o = argument;
    model_encoder *encoder = &o->models->encoders[o->sense];
    /* Of this thread: three that each take all CPUs would mostly wait for each other. */
    omp_set_num_threads(1);
    o->status = model_open(o->models->folders.of[o->sense], o->sense, false, encoder);
    if (o->status == MAGPIE_OK && encoder->text) o->status = warm_up(encoder);
    if (o->status != MAGPIE_OK) snprintf(o->why, sizeof o->why, "%s", magpie_error());
    return NULL;
}

/* All at once: reading and packing weights takes most of a start. */
static magpie_status open_encoders(served_models *m) {
    opening openings[SENSES] = {0};
    magpie_status status = MAGPIE_OK;
    for (unsigned i = 0; i < SENSES; i++) {
        opening *o = &openings[i];
        o->models = m;
        o->sense = (model_sense)i;
        if (!m->folders.of[i]) continue;
        o->started = pthread_create(&o->thread, NULL, open_encoder, o) == 0;
        if (!o->started) open_encoder(o);
    }
    for (unsigned i = 0; i < SENSES; i++) {
        if (openings[i].started) pthread_join(openings[i].thread, NULL);
        if (openings[i].status != MAGPIE_OK && status == MAGPIE_OK)
            status = magpie_fail(openings[i].status, "%s", openings[i].why);
    }
    return status;
}

static magpie_status open_fusion(served_models *m) {
    bool any = m->folders.fusion;
    for (unsigned i = 0; i < SENSES; i++) any |= m->folders.of[i] != NULL;
    return any ? heads_open(&m->folders, m->encoders, &m->spaces, false, &m->fusion) : MAGPIE_OK;
}

static magpie_status open_models(const serving_source *s, served_models **out) {
    const batcher_options batching = {.most = s->options.batch_texts,
                                      .wait = s->options.batch_wait,
                                      .coming = s->options.coming,
                                      .batched = s->options.batched};
    static atomic_uint_fast64_t opened;
    served_models *m = magpie_alloc(1, sizeof *m);
    if (!m) return MAGPIE_E_NO_MEMORY;
    atomic_init(&m->uses, 1);
    m->number = atomic_fetch_add(&opened, 1) + 1;
    m->opened = magpie_unix_millis();
    magpie_status status = model_find_any(&m->folders);
    if (status == MAGPIE_OK) status = open_encoders(m);
    if (status == MAGPIE_OK) status = heads_read_store(s->current.store, &m->spaces);
    if (status == MAGPIE_OK) status = open_fusion(m);
    if (status == MAGPIE_OK) status = lru_create(s->options.vector_bytes, &m->vectors);
    for (unsigned i = 0; i < SENSES && status == MAGPIE_OK; i++)
        if (m->encoders[i].name)
            status = batcher_create(&m->encoders[i], (model_sense)i, &batching, &m->batchers[i]);
    if (status == MAGPIE_OK)
        *out = m;
    else
        close_models(m);
    return status;
}

/* ---- indexes and recommender --------------------------------------------------------------------------- */

static void close_index(served_index *i) {
    if (!i || atomic_fetch_sub(&i->uses, 1) > 1) return;
    magpie_index_close(i->index);
    magpie_fusion_close(i->mixer);
    free(i);
}

static magpie_status open_index(magpie_store *store, magpie_space space, served_index **out) {
    served_index *i = magpie_alloc(1, sizeof *i);
    if (!i) return MAGPIE_E_NO_MEMORY;
    atomic_init(&i->uses, 1);
    magpie_status status = storage_open_index(store, space, &i->index);
    if (status == MAGPIE_OK) status = query_open_mixer(magpie_index_get_binding(i->index), &i->mixer);
    if (status == MAGPIE_OK)
        *out = i;
    else
        close_index(i);
    return status;
}

static void close_recommender(served_recommender *r) {
    if (!r || atomic_fetch_sub(&r->uses, 1) > 1) return;
    recommender_close(r->recommender);
    free(r);
}

static magpie_status open_recommender(magpie_store *store, served_recommender **out) {
    served_recommender *r = magpie_alloc(1, sizeof *r);
    char *folder = rankers_folder();
    magpie_snapshot *snapshot = NULL;
    magpie_status status = r && folder ? magpie_snapshot_open(store, &snapshot) : MAGPIE_E_NO_MEMORY;
    if (r) atomic_init(&r->uses, 1);
    if (status == MAGPIE_OK) status = recommender_open(snapshot, folder, NULL, &r->recommender);
    magpie_snapshot_close(snapshot);
    free(folder);
    if (status == MAGPIE_OK)
        *out = r;
    else
        close_recommender(r);
    return status;
}

/* ---- replacing ----------------------------------------------------------------------------------------- */

static void replace_models(serving_source *s, served_models *new) {
    pthread_mutex_lock(&s->lock);
    served_models *old = s->current.models;
    s->current.models = new;
    pthread_mutex_unlock(&s->lock);
    close_models(old);
}

static void replace_index(serving_source *s, magpie_space space, served_index *new) {
    pthread_mutex_lock(&s->lock);
    served_index *old = s->current.index[space];
    s->current.index[space] = new;
    pthread_mutex_unlock(&s->lock);
    close_index(old);
}

static void replace_recommender(serving_source *s, served_recommender *new) {
    pthread_mutex_lock(&s->lock);
    served_recommender *old = s->current.recommender;
    s->current.recommender = new;
    pthread_mutex_unlock(&s->lock);
    close_recommender(old);
}

void serving_take(serving_source *s, serving *out) {
    pthread_mutex_lock(&s->lock);
    *out = s->current;
    atomic_fetch_add(&out->models->uses, 1);
    for (unsigned i = 0; i < MAGPIE_SPACES; i++)
        if (out->index[i]) atomic_fetch_add(&out->index[i]->uses, 1);
    if (out->recommender) atomic_fetch_add(&out->recommender->uses, 1);
    pthread_mutex_unlock(&s->lock);
}

void serving_give_back(serving *view) {
    if (!view->store) return;
    close_models(view->models);
    for (unsigned i = 0; i < MAGPIE_SPACES; i++) close_index(view->index[i]);
    close_recommender(view->recommender);
    *view = (serving){0};
}

/* ---- keeping fresh ------------------------------------------------------------------------------------- */

/* Once, though it may be tried again some times a second. */
static void say_failure(serving_source *s, const char *what) {
    magpie_text words = {0};
    magpie_text_printf(&words, "%s: %s", what, magpie_error());
    const lru_key said = lru_hash(0, (magpie_string){words.data, words.size});
    pthread_mutex_lock(&s->lock);
    const bool again = memcmp(&said, &s->said, sizeof said) == 0;
    s->said = said;
    pthread_mutex_unlock(&s->lock);
    if (words.data && !again) s->options.log("error", words.data);
    magpie_text_free(&words);
}

/* An index of a space that has come to be another model's is opened anew. */
static magpie_status refresh_index(serving_source *s, const magpie_store_stats *stats, magpie_space space) {
    served_index *held = s->current.index[space], *new = NULL;
    magpie_status status = held ? magpie_index_refresh(held->index) : MAGPIE_OK;
    if (held && status != MAGPIE_E_MISMATCH) return status;
    if (!held && !storage_should_have_index(stats, space)) return MAGPIE_OK;
    status = open_index(s->current.store, space, &new);
    if (status == MAGPIE_OK) replace_index(s, space, new);
    return status;
}

static magpie_status refresh_indexes(serving_source *s, bool asked) {
    magpie_store_stats stats;
    magpie_status status = magpie_store_get_stats(s->current.store, &stats);
    const bool changed = status == MAGPIE_OK && stats.sequence != s->sequence;
    for (unsigned i = 0; i < MAGPIE_SPACES && status == MAGPIE_OK && (changed || asked); i++)
        status = refresh_index(s, &stats, i);
    if (status != MAGPIE_OK) return status;
    pthread_mutex_lock(&s->lock);
    s->unsaved |= changed && s->saves;
    s->sequence = stats.sequence;
    s->interactions = stats.interactions_sequence;
    pthread_mutex_unlock(&s->lock);
    return MAGPIE_OK;
}

/* The store's spaces are of other models than when ours were opened: the first item came, or `magpie fuse`. */
static bool are_outdated(const serving_source *s, const heads_store *now) {
    for (unsigned i = 0; i < MAGPIE_SPACES; i++)
        if (!magpie_space_same_binding(&now->of[i], &s->spaces.of[i])) return true;
    return false;
}

static magpie_status refresh_models(serving_source *s, bool reload) {
    heads_store now;
    served_models *new;
    magpie_status status = heads_read_store(s->current.store, &now);
    if (status == MAGPIE_OK && !reload && !are_outdated(s, &now)) return status;
    if (status == MAGPIE_OK) {
        s->spaces = now;
        status = open_models(s, &new);
    }
    if (status == MAGPIE_OK) {
        replace_models(s, new);
        s->options.log("info", "models were opened anew");
        return status;
    }
    say_failure(s, "models stay as they were");
    return status;
}

/* Only this thread replaces models and indexes, so it reads them without the lock. */
static magpie_status take_in(serving_source *s, bool asked, bool reload) {
    magpie_status status = refresh_models(s, reload);
    if (status == MAGPIE_OK && (status = refresh_indexes(s, asked)) != MAGPIE_OK)
        say_failure(s, "an index was not brought up to date");
    return status;
}

/* With the lock held: sleeps until something changes, `look_every` at most. */
static void wait_a_while(serving_source *s) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += (long)(look_every * 1e9);
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_cond_clockwait(&s->changed, &s->lock, CLOCK_MONOTONIC, &until);
}

static void *keep_fresh(void *argument) {
    serving_source *s = argument;
    pthread_mutex_lock(&s->lock);
    while (!s->ending) {
        const uint64_t round = s->wanted;
        const bool reload = s->reload, asked = s->wanted != s->done;
        s->reload = false;
        pthread_mutex_unlock(&s->lock);
        magpie_status status = take_in(s, asked, reload);
        pthread_mutex_lock(&s->lock);
        s->failed = status != MAGPIE_OK;
        s->done = round;
        pthread_cond_broadcast(&s->changed);
        if (s->wanted == s->done && !s->reload && !s->ending) wait_a_while(s);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* ---- what takes longer ---------------------------------------------------------------------------------- */

/* With the lock held. */
static bool needs_recommender(const serving_source *s) {
    const double since = magpie_seconds() - s->recommended;
    if (!s->tries || s->reopen) return true;
    if (s->recommended_sequence == s->sequence && s->recommended_interactions == s->interactions)
        return false;
    return since > recommender_every && since > recommender_costs * s->recommender_cost;
}

/* With the lock held, which is given up meanwhile. */
static void renew_recommender(serving_source *s) {
    served_recommender *new;
    const double start = magpie_seconds();
    s->reopen = false;
    s->recommended_sequence = s->sequence;
    s->recommended_interactions = s->interactions;
    pthread_mutex_unlock(&s->lock);
    if (open_recommender(s->current.store, &new) == MAGPIE_OK)
        replace_recommender(s, new);
    else
        say_failure(s, "recommendations go on as before");
    pthread_mutex_lock(&s->lock);
    s->recommended = magpie_seconds();
    s->recommender_cost = s->recommended - start;
    s->tries++;
    pthread_cond_broadcast(&s->changed);
}

/* Whether all are. */
static bool save_indexes(serving_source *s) {
    serving view;
    bool all = true;
    serving_take(s, &view);
    for (unsigned i = 0; i < MAGPIE_SPACES; i++) {
        if (!view.index[i] || magpie_index_save(view.index[i]->index) == MAGPIE_OK) continue;
        say_failure(s, "an index was not saved; until it is, it is caught up from the store at a start");
        all = false;
    }
    serving_give_back(&view);
    return all;
}

static void *keep_tended(void *argument) {
    serving_source *s = argument;
    pthread_mutex_lock(&s->lock);
    while (!s->ending) {
        if (needs_recommender(s)) renew_recommender(s);
        if (s->unsaved && magpie_seconds() - s->saved > save_every) {
            s->unsaved = false;
            pthread_mutex_unlock(&s->lock);
            const bool saved = save_indexes(s);
            pthread_mutex_lock(&s->lock);
            s->unsaved |= !saved;
            s->saved = magpie_seconds();
        }
        if (!s->ending && !needs_recommender(s)) wait_a_while(s);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

magpie_status serving_wait_for_recommender(serving_source *s) {
    pthread_mutex_lock(&s->lock);
    while (!s->tries && !s->ending) pthread_cond_wait(&s->changed, &s->lock);
    const bool there = s->current.recommender != NULL;
    pthread_mutex_unlock(&s->lock);
    return there ? MAGPIE_OK
                 : magpie_fail(MAGPIE_E_BUSY, "the recommender cannot be opened; the log has the reason");
}

static void wake(serving_source *s, bool reload) {
    pthread_mutex_lock(&s->lock);
    s->wanted++;
    s->reload |= reload;
    s->reopen |= reload;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

void serving_wrote(serving_source *s) { wake(s, false); }

void serving_reload(serving_source *s) { wake(s, true); }

magpie_status serving_catch_up(serving_source *s) {
    magpie_status status = MAGPIE_OK;
    pthread_mutex_lock(&s->lock);
    const uint64_t round = ++s->wanted;
    pthread_cond_broadcast(&s->changed);
    while (s->done < round && !s->ending) pthread_cond_wait(&s->changed, &s->lock);
    if (s->failed)
        status = magpie_fail(MAGPIE_E_BUSY, "models and indexes are not up to date; the log has the reason");
    pthread_mutex_unlock(&s->lock);
    return status;
}

/* ---- opening ------------------------------------------------------------------------------------------- */

static void free_source(serving_source *s) {
    for (unsigned i = 0; i < MAGPIE_SPACES; i++) close_index(s->current.index[i]);
    close_recommender(s->current.recommender);
    close_models(s->current.models);
    magpie_store_close(s->current.store);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static void end_thread(serving_source *s, pthread_t thread) {
    pthread_mutex_lock(&s->lock);
    s->ending = true;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    pthread_join(thread, NULL);
}

static magpie_status start_threads(serving_source *s) {
    int error = pthread_create(&s->fresh, NULL, keep_fresh, s);
    if (!error && (error = pthread_create(&s->tended, NULL, keep_tended, s)) != 0) end_thread(s, s->fresh);
    return error ? magpie_fail_errno(error, "cannot start a thread") : MAGPIE_OK;
}

magpie_status serving_open(const serving_options *options, storage_mode mode, serving_source **out) {
    serving_source *s = magpie_alloc(1, sizeof *s);
    magpie_store_stats stats;
    if (!s) return MAGPIE_E_NO_MEMORY;
    s->options = *options;
    s->saved = magpie_seconds();
    s->saves = mode != STORAGE_READ;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    model_without_teams();
    magpie_status status = storage_open(mode, &s->current.store);
    if (status == MAGPIE_OK) status = open_models(s, &s->current.models);
    if (status == MAGPIE_OK) status = magpie_store_get_stats(s->current.store, &stats);
    for (unsigned i = 0; i < MAGPIE_SPACES && status == MAGPIE_OK; i++)
        if (storage_should_have_index(&stats, i))
            status = open_index(s->current.store, i, &s->current.index[i]);
    if (status == MAGPIE_OK) {
        s->sequence = stats.sequence;
        s->interactions = stats.interactions_sequence;
        s->spaces = s->current.models->spaces;
        status = start_threads(s);
    }
    if (status == MAGPIE_OK)
        *out = s;
    else
        free_source(s);
    return status;
}

void serving_close(serving_source *s) {
    if (!s) return;
    end_thread(s, s->fresh);
    end_thread(s, s->tended);
    if (s->unsaved) (void)save_indexes(s);
    free_source(s);
}
