/* eval_retrieval.c - magpie eval retrieval: for every way of asking, how often the right item comes first. */
#include "command.h"
#include "eval_queries.h"
#include "gallery.h"
#include "output.h"
#include "storage.h"

#include <stdlib.h>
#include <string.h>

enum { DIRECTIONS_MAX = GALLERY_KINDS * GALLERY_KINDS };

static struct {
    const char *ids, *queries;
    features_split split;
} given = {.split = FEATURES_HELD_OUT};

typedef struct direction {
    size_t query, among; /* kinds of the gallery */
    size_t queries, candidates;
    magpie_retrieval_figures figures, chance;
} direction;

typedef struct evaluation {
    magpie_store *store;
    gallery gallery;
    eval_queries queries;
    direction own[DIRECTIONS_MAX],
        asked[DIRECTIONS_MAX]; /* by the items' own vectors; by the queries of the file */
    size_t own_count, asked_count;
} evaluation;

/* ---- measuring ----------------------------------------------------------------------------------------- */

/* One direction, as the ranking wants it. */
typedef struct ranking {
    float *queries, *candidates; /* [n, dimension], [m, dimension] */
    size_t *own;                 /* [n] */
    magpie_rank *ranks;
    size_t n, m;
} ranking;

static magpie_status make_room(ranking *r, size_t n, size_t m, size_t dimension) {
    r->queries = magpie_alloc(n, dimension * sizeof *r->queries);
    r->candidates = magpie_alloc(m, dimension * sizeof *r->candidates);
    r->own = magpie_alloc(n, sizeof *r->own);
    r->ranks = magpie_alloc(n, sizeof *r->ranks);
    return r->queries && r->candidates && r->own && r->ranks ? MAGPIE_OK : MAGPIE_E_NO_MEMORY;
}

static void free_ranking(ranking *r) {
    free(r->queries);
    free(r->candidates);
    free(r->own);
    free(r->ranks);
}

/* Appends the direction where there is anything to rank. */
static magpie_status measure(const ranking *r, size_t dimension, size_t query, size_t among,
                             direction *directions, size_t *count) {
    if (!r->n) return MAGPIE_OK;
    direction *d = &directions[*count];
    *d = (direction){.query = query, .among = among, .queries = r->n, .candidates = r->m};
    magpie_status status =
        magpie_retrieval_rank(r->queries, r->n, r->candidates, r->m, dimension, r->own, 0, r->ranks);
    if (status == MAGPIE_OK) status = magpie_retrieval_summarise(r->ranks, r->n, &d->figures);
    magpie_retrieval_chance(r->m, &d->chance);
    if (status == MAGPIE_OK) ++*count;
    return status;
}

/* Items that have both, each asking for itself. */
static magpie_status measure_own(evaluation *e, size_t query, size_t among) {
    const gallery *g = &e->gallery;
    const size_t n = g->features.n, d = g->dimension;
    ranking r = {0};
    if (!g->has[query] || !g->has[among]) return MAGPIE_OK;
    magpie_status status = make_room(&r, n, n, d);
    for (size_t i = 0; i < n && status == MAGPIE_OK; i++) {
        if (!g->has[query][i] || !g->has[among][i]) continue;
        memcpy(r.queries + r.n * d, g->vectors[query] + i * d, d * sizeof(float));
        memcpy(r.candidates + r.n * d, g->vectors[among] + i * d, d * sizeof(float));
        r.own[r.n] = r.n;
        r.m = ++r.n;
    }
    if (status == MAGPIE_OK) status = measure(&r, d, query, among, e->own, &e->own_count);
    free_ranking(&r);
    return status;
}

/* Queries of the file, among all items that have the kind. */
static magpie_status measure_asked(evaluation *e, magpie_modality query, size_t among) {
    const gallery *g = &e->gallery;
    const eval_query_set *set = &e->queries.of[query];
    const size_t n = g->features.n, d = g->dimension;
    ranking r = {0};
    if (!set->n || !g->has[among]) return MAGPIE_OK;
    size_t *places = magpie_alloc(n, sizeof *places);
    magpie_status status = places ? make_room(&r, set->n, n, d) : MAGPIE_E_NO_MEMORY;
    for (size_t i = 0; i < n && status == MAGPIE_OK; i++) {
        places[i] = r.m;
        if (g->has[among][i]) memcpy(r.candidates + r.m++ * d, g->vectors[among] + i * d, d * sizeof(float));
    }
    for (size_t i = 0; i < set->n && status == MAGPIE_OK; i++) {
        if (!g->has[among][set->items[i]]) continue;
        memcpy(r.queries + r.n * d, set->vectors + i * d, d * sizeof(float));
        r.own[r.n++] = places[set->items[i]];
    }
    if (status == MAGPIE_OK) status = measure(&r, d, query, among, e->asked, &e->asked_count);
    free(places);
    free_ranking(&r);
    return status;
}

/* Between different kinds there is something to measure where two modalities are in the one space. */
static magpie_status check_kinds(const gallery *g) {
    size_t n = 0;
    for (magpie_modality m = 0; m < MAGPIE_MODALITIES; m++) n += g->has[m] != NULL;
    if (n > 1 || given.queries) return MAGPIE_OK;
    return magpie_fail(
        MAGPIE_E_NOT_FOUND,
        "no two modalities of %s are in one space, so there is nothing to compare: it takes heads, "
        "named by --fusion-model DIR and made by magpie train fusion, or a joint model",
        storage_directory());
}

static magpie_status measure_all(evaluation *e) {
    magpie_status status = check_kinds(&e->gallery);
    for (magpie_modality query = 0; query < MAGPIE_MODALITIES; query++)
        for (size_t among = 0; among < GALLERY_KINDS && status == MAGPIE_OK; among++) {
            if (among != query) status = measure_own(e, query, among);
            if (status == MAGPIE_OK) status = measure_asked(e, query, among);
        }
    return status;
}

/* ---- answering ----------------------------------------------------------------------------------------- */

static void append_figures_json(magpie_text *out, const magpie_retrieval_figures *figures) {
    magpie_text_printf(out, "\"recall\": {");
    for (size_t k = 0; k < MAGPIE_RECALLS; k++)
        magpie_text_printf(out, "%s\"%zu\": %.9g", k ? ", " : "", magpie_recall_at[k], figures->recall[k]);
    magpie_text_printf(out, "}, \"mrr\": %.9g, \"median_rank\": %.9g", figures->mrr, figures->median_rank);
}

static void append_directions_json(magpie_text *out, const direction *directions, size_t n) {
    magpie_text_printf(out, "[");
    for (size_t i = 0; i < n; i++) {
        const direction *d = &directions[i];
        magpie_text_printf(out,
                           "%s{\"query\": \"%s\", \"among\": \"%s\", \"queries\": %zu, \"candidates\": %zu, ",
                           i ? ", " : "", gallery_kind_name(d->query), gallery_kind_name(d->among),
                           d->queries, d->candidates);
        append_figures_json(out, &d->figures);
        magpie_text_printf(out, ", \"chance\": {");
        append_figures_json(out, &d->chance);
        magpie_text_printf(out, "}}");
    }
    magpie_text_printf(out, "]");
}

/* "ids", "held-out" or "all" */
static const char *name_of_split(void) {
    return given.ids ? "ids" : given.split == FEATURES_HELD_OUT ? "held-out" : "all";
}

static void append_json(const evaluation *e, magpie_text *out) {
    const magpie_fusion_info *info = magpie_fusion_get_info(e->gallery.fusion);
    magpie_text_printf(out, "{\"split\": \"%s\", \"items\": %zu, \"fusion\": {\"name\": ", name_of_split(),
                       e->gallery.features.n);
    magpie_text_json_string(out, info->name, strlen(info->name));
    magpie_text_printf(out, ", \"fingerprint\": \"%s\"}, \"directions\": ", info->fingerprint);
    append_directions_json(out, e->own, e->own_count);
    if (given.queries) {
        magpie_text_printf(
            out, ", \"queries\": {\"lines\": %zu, \"elsewhere\": %zu, \"refused\": %zu, \"directions\": ",
            e->queries.lines, e->queries.elsewhere, e->queries.refused);
        append_directions_json(out, e->asked, e->asked_count);
        magpie_text_printf(out, "}");
    }
    magpie_text_printf(out, "}\n");
}

static void append_cells(magpie_text *out, const magpie_retrieval_figures *figures) {
    for (size_t k = 0; k < MAGPIE_RECALLS; k++) magpie_text_printf(out, " %6.4f", figures->recall[k]);
    magpie_text_printf(out, " %6.4f %8.1f", figures->mrr, figures->median_rank);
}

static void append_rows(magpie_text *out, const direction *directions, size_t n) {
    magpie_text_printf(out, "\n%-13s %7s %6s %6s %6s %6s %6s %8s   by chance\n", "", "queries", "items",
                       "R@1", "R@5", "R@10", "MRR", "median");
    for (size_t i = 0; i < n; i++) {
        const direction *d = &directions[i];
        magpie_text_printf(out, "%5s > %-5s %7zu %6zu", gallery_kind_name(d->query),
                           gallery_kind_name(d->among), d->queries, d->candidates);
        append_cells(out, &d->figures);
        magpie_text_append(out, "  ", 2);
        append_cells(out, &d->chance);
        magpie_text_append(out, "\n", 1);
    }
}

static void append_table(const evaluation *e, magpie_text *out) {
    const gallery *g = &e->gallery;
    const char *which = given.ids                          ? "that were named"
                        : given.split == FEATURES_HELD_OUT ? "of held-out titles"
                                                           : "there are";
    magpie_text_printf(out, "%zu items %s, by %s\n", g->features.n, which,
                       magpie_fusion_get_info(g->fusion)->name);
    for (magpie_modality m = 0; m < MAGPIE_MODALITIES; m++)
        if (g->features.source[m].dimension && !g->has[m])
            magpie_text_printf(out, "%s is left out: nothing brings its vectors into the one space\n",
                               magpie_modality_name(m));
    if (e->own_count) append_rows(out, e->own, e->own_count);
    if (!given.queries) return;
    magpie_text_printf(out, "\n%zu queries of %s", e->queries.lines, given.queries);
    if (e->queries.elsewhere) magpie_text_printf(out, ", %zu of other items left out", e->queries.elsewhere);
    if (e->queries.refused)
        magpie_text_printf(out, ", %zu that could not be read left out", e->queries.refused);
    magpie_text_append(out, "\n", 1);
    if (e->asked_count) append_rows(out, e->asked, e->asked_count);
}

static exit_code answer(const evaluation *e) {
    magpie_text out = {0};
    if (output_json)
        append_json(e, &out);
    else
        append_table(e, &out);
    exit_code code = output_and_free(&out);
    return code == EXIT_FINE && e->queries.refused ? EXIT_MISSING : code;
}

static exit_code run_retrieval(char **operands, int count) {
    (void)operands;
    (void)count;
    evaluation *e = magpie_alloc(1, sizeof *e);
    model_folders folders;
    if (!e) return print_failure();
    magpie_status status = model_find_any(&folders);
    if (status == MAGPIE_OK) status = storage_open(STORAGE_READ, &e->store);
    if (status == MAGPIE_OK) status = gallery_open(e->store, given.split, given.ids, &folders, &e->gallery);
    if (status == MAGPIE_OK && given.queries)
        status = eval_queries_read(given.queries, &e->gallery, &folders, &e->queries);
    if (status == MAGPIE_OK) status = measure_all(e);
    exit_code code = status == MAGPIE_OK ? answer(e) : print_failure();
    eval_queries_free(&e->queries);
    gallery_close(&e->gallery);
    magpie_store_close(e->store);
    free(e);
    return code;
}

static magpie_status parse_split(const char *value, void *target) {
    const bool all = strcmp(value, "all") == 0;
    *(features_split *)target = all ? FEATURES_ALL : FEATURES_HELD_OUT;
    if (all || strcmp(value, "held-out") == 0) return MAGPIE_OK;
    return magpie_fail(MAGPIE_E_ARGUMENT, "held-out or all is wanted, not \"%s\"", value);
}

static const option_row own_options[] = {
    {.name = "split",
     .argument = "S",
     .parse = parse_split,
     .target = &given.split,
     .help = "held-out: items of titles that no head was trained on (default); or all"},
    {.name = "ids",
     .argument = "FILE",
     .string = &given.ids,
     .help = "exactly these items instead, one id a line"},
    {.name = "queries",
     .argument = "FILE",
     .string = &given.queries,
     .help = "measure these too: lines {\"id\", \"text\"}, {\"id\", \"image\"} or {\"id\", \"audio\"}"},
    {0}};

static const option_row *const tables[] = {storage_options,      own_options,   json_options,
                                           heads_weight_options, model_options, audio_seconds_options,
                                           query_prefix_options, NULL};

const command eval_retrieval_command = {
    .name = "eval retrieval",
    .summary = "how well the items of a store are found, in every direction",
    .operands = "",
    .tables = tables,
    .details =
        "text > image: each item's text vector is compared with the image vectors of all items that have "
        "both, in the one space, from what the store has: nothing is encoded. Right is the item itself, "
        "and it alone: another of the same title counts as wrong. R@k is the share of items that are "
        "among the k best, MRR the mean of 1/rank; of equal scores every order is taken to be as likely, "
        "and figures are the mean over them. By chance: what guessing comes to, in expectation. A fused "
        "vector holds the query's own modality, so text > fused says how well an item is found by a text "
        "of its own, and nothing about crossing.\n"
        "\n"
        "An item is of a held-out title where the hash of its attribute \"title\" (else of its text) says "
        "so; things called alike are on one side. Heads are those of --fusion-model or of the set "
        "--model; without, texts and pictures of one joint model are compared, and all else is left out.\n"
        "\n"
        "--queries: each line is encoded, texts as queries, files relative to FILE, and compared with all "
        "items of the same choice that have a vector of the kind. Lines whose id is not among these are "
        "counted. So are pictures and sounds that cannot be read; the exit code is then 3.\n"
        "\n"
        "--json: {\"split\", \"items\", \"fusion\": {\"name\", \"fingerprint\"}, \"directions\": "
        "[{\"query\", \"among\", \"queries\", \"candidates\", \"recall\": {\"1\", \"5\", \"10\"}, "
        "\"mrr\", \"median_rank\", \"chance\": {\"recall\", \"mrr\", \"median_rank\"}}]}, with --queries "
        "also \"queries\": {\"lines\", \"elsewhere\", \"refused\", \"directions\"}.\n",
    .run = run_retrieval};
