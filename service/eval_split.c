/* eval_split.c - see eval_split.h. */
#include "eval_split.h"

#include "interrupt.h"
#include "ranker_parameters.h"
#include "scratch.h"
#include "terminal.h"

#include <stdlib.h>
#include <string.h>

static const char by_chance[] = "random";

typedef struct entrant {
    char name[MODEL_NAME_MAX];
    bool by_chance;
    magpie_ranker_options options;
    measured *rounds; /* [seeds] */
} entrant;

typedef struct run {
    const likes *likes;
    const eval_split_options *options;
    scratch scratch;
    entrant models[EVAL_MODELS_MAX];
    size_t n, round;
    const entrant *current; /* being trained */
    /* of this round */
    bool *test_flags, *among;
    magpie_likes seen, test;
    magpie_block seen_block, test_block;
    eval_pairs pairs;
} run;

/* ---- which models -------------------------------------------------------------------------------------- */

static magpie_status add_model(run *r, const char *name, size_t size) {
    if (r->n == EVAL_MODELS_MAX) return magpie_fail(MAGPIE_E_ARGUMENT, "%d models at most", EVAL_MODELS_MAX);
    entrant *e = &r->models[r->n++];
    snprintf(e->name, sizeof e->name, "%.*s", (int)size, name);
    e->by_chance = strcmp(e->name, by_chance) == 0;
    e->rounds = magpie_alloc(r->options->seeds, sizeof *e->rounds);
    if (!e->rounds) return MAGPIE_E_NO_MEMORY;
    for (size_t i = 0; i + 1 < r->n; i++)
        if (strcmp(r->models[i].name, e->name) == 0)
            return magpie_fail(MAGPIE_E_ARGUMENT, "%s is named twice", e->name);
    magpie_ranker_kind kind = MAGPIE_RANKER_KINDS;
    magpie_status status = e->by_chance ? MAGPIE_OK : magpie_ranker_kind_parse(e->name, &kind);
    if (status != MAGPIE_OK || e->by_chance) return status;
    e->options = magpie_ranker_defaults(kind);
    return r->options->settings ? ranker_parameters_read(r->options->settings, &e->options) : MAGPIE_OK;
}

static magpie_status choose_models(run *r) {
    magpie_status status = MAGPIE_OK;
    for (const char *at = r->options->models; status == MAGPIE_OK && *at;) {
        const size_t size = strcspn(at, ",");
        status = add_model(r, at, size);
        at += size + (at[size] == ',');
    }
    return status;
}

/* ---- one round ----------------------------------------------------------------------------------------- */

static magpie_status find_cold_items(run *r) {
    r->among = magpie_alloc(r->test.items, sizeof *r->among);
    if (!r->among) return MAGPIE_E_NO_MEMORY;
    for (uint64_t i = 0; i < r->test.begin[r->test.users]; i++) r->among[r->test.item[i]] = true;
    return MAGPIE_OK;
}

static magpie_status split(run *r) {
    const magpie_likes *all = &r->likes->all;
    const eval_split_options *o = r->options;
    r->test_flags = magpie_alloc(all->begin[all->users], sizeof *r->test_flags);
    if (!r->test_flags) return MAGPIE_E_NO_MEMORY;
    magpie_status status = magpie_ranker_split_likes(all, o->split, o->share, r->round + 1, r->test_flags);
    if (status == MAGPIE_OK)
        status = magpie_likes_select(all, r->test_flags, false, &r->seen, &r->seen_block);
    if (status == MAGPIE_OK) status = magpie_likes_select(all, r->test_flags, true, &r->test, &r->test_block);
    if (status == MAGPIE_OK && !r->test.begin[r->test.users])
        return magpie_fail(MAGPIE_E_ARGUMENT, "the split leaves no likes for the test");
    if (status == MAGPIE_OK && o->split == MAGPIE_SPLIT_COLD_ITEMS) status = find_cold_items(r);
    if (status != MAGPIE_OK || o->protocol != EVAL_ONE) return status;
    status = eval_pairs_of(&r->test, &r->pairs);
    return status == MAGPIE_OK ? eval_pairs_draw(&r->pairs, &r->seen, &r->test, r->among, r->round + 1)
                               : status;
}

static void end_round(run *r) {
    free(r->test_flags);
    free(r->among);
    r->test_flags = r->among = NULL;
    magpie_block_free(&r->seen_block);
    magpie_block_free(&r->test_block);
    eval_pairs_free(&r->pairs);
}

static magpie_status show_training(void *context, const magpie_ranker_progress *p) {
    const run *r = context;
    char line[200];
    snprintf(line, sizeof line, "%s  round %zu/%zu  epoch %zu/%zu  loss %.4f  HR@10 %.4f  %.0f s",
             r->current->name, r->round + 1, r->options->seeds, p->epoch, p->epochs, p->loss, p->hit_rate,
             p->seconds);
    terminal_show_line(line);
    return interrupt_came() ? magpie_fail(MAGPIE_E_CANCELLED, "interrupted") : MAGPIE_OK;
}

static magpie_status train(run *r, entrant *e, const char *folder) {
    const eval_question question = {
        r->options->protocol, r->options->k, &r->seen, &r->test, &r->pairs, r->among};
    magpie_ranker *ranker = NULL;
    magpie_status status = MAGPIE_OK;
    if (!e->by_chance) {
        r->current = e;
        e->options.seed = r->round + 1;
        status =
            magpie_ranker_train(&r->seen, &r->likes->content, &e->options, folder, show_training, r, NULL);
        terminal_clear_progress();
        if (status == MAGPIE_OK) status = magpie_ranker_open(folder, &r->likes->content, &ranker);
    }
    if (status == MAGPIE_OK)
        status = eval_measure(&question, ranker, e->name, r->round + 1, &e->rounds[r->round]);
    magpie_ranker_close(ranker);
    return status;
}

/* A model is gone before the next one is trained: only one of them takes room on the disk. */
static magpie_status train_all(run *r) {
    magpie_status status = MAGPIE_OK;
    for (size_t i = 0; i < r->n && status == MAGPIE_OK; i++) {
        char *folder = magpie_path_join(r->scratch.path, r->models[i].name);
        status = folder ? train(r, &r->models[i], folder) : MAGPIE_E_NO_MEMORY;
        if (status == MAGPIE_OK) status = scratch_remove_folder(folder);
        free(folder);
        if (status == MAGPIE_OK && interrupt_came()) status = magpie_fail(MAGPIE_E_CANCELLED, "interrupted");
    }
    return status;
}

/* ---- all rounds ---------------------------------------------------------------------------------------- */

static magpie_status run_rounds(run *r) {
    magpie_status status = MAGPIE_OK;
    for (r->round = 0; r->round < r->options->seeds && status == MAGPIE_OK; r->round++) {
        status = split(r);
        if (status == MAGPIE_OK) status = train_all(r);
        end_round(r);
    }
    return status;
}

magpie_status eval_split_run(const likes *likes, const char *directory, const eval_split_options *options,
                             measured *out, size_t *n) {
    run *r = magpie_alloc(1, sizeof *r);
    if (!r) return MAGPIE_E_NO_MEMORY;
    *r = (run){.likes = likes, .options = options};
    interrupt_listen();
    magpie_status status = choose_models(r);
    if (status == MAGPIE_OK) status = scratch_create(directory, &r->scratch);
    if (status == MAGPIE_OK) status = run_rounds(r);
    status = scratch_end(&r->scratch, status);
    *n = r->n;
    for (size_t i = 0; i < r->n; i++) {
        if (status == MAGPIE_OK) eval_measure_mean(r->models[i].rounds, options->seeds, &out[i]);
        free(r->models[i].rounds);
    }
    free(r);
    return status;
}
