/* recommend.c - magpie recommend: what a user, or somebody in a session, may like next (recommender.h). */
#include "command.h"
#include "heads.h"
#include "item.h"
#include "output.h"
#include "page.h"
#include "rankers.h"
#include "recommend_json.h"
#include "recommender.h"
#include "storage.h"
#include "terminal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { K_MOST = 1000, LIKED_MOST = 256, SHOWN_LIKED = 8, SCORE_COLUMNS = 7, ID_COLUMNS = 40 };

static struct {
    const char *user, *filter, *model;
    magpie_string liked[LIKED_MOST];
    size_t liked_n, k;
    bool exclude_seen, explain;
    double diversity;
} given = {.k = 10};

typedef struct recommending {
    magpie_store *store;
    magpie_snapshot *snapshot;
    magpie_index *index; /* NULL: nothing is fused */
    magpie_fusion *fusion;
    magpie_filter *filter;
    recommender *recommender;
    recommend_answer answer;
    double opening, answering; /* seconds */
} recommending;

/* ---- opening ------------------------------------------------------------------------------------------- */

static magpie_status open_index(recommending *x) {
    magpie_space_binding fused;
    magpie_status status = magpie_snapshot_get_binding(x->snapshot, MAGPIE_SPACE_FUSED, &fused);
    if (status != MAGPIE_OK || !fused.dimension) return status;
    return storage_open_index_to_search(x->store, MAGPIE_SPACE_FUSED, &x->index);
}

/* The heads that split cosines up, where the store was fused by some and they are named. */
static magpie_status open_fusion(recommending *x) {
    heads_store spaces;
    model_folders folders;
    magpie_status status = heads_read_store(x->store, &spaces);
    if (status != MAGPIE_OK || heads_text_alone(&spaces)) return status;
    status = model_find_any(&folders);
    if (status != MAGPIE_OK || !folders.fusion) return status;
    status = heads_open(&folders, NULL, &spaces, false, &x->fusion);
    if (status != MAGPIE_OK) return status;
    const char *made_by = spaces.of[MAGPIE_SPACE_FUSED].fingerprint;
    if (strcmp(magpie_fusion_get_info(x->fusion)->fingerprint, made_by) == 0) return MAGPIE_OK;
    return magpie_fail(MAGPIE_E_MISMATCH, "%s is not what the fused space was made by: --explain needs that",
                       folders.fusion);
}

static magpie_status open_all(recommending *x) {
    char *models = rankers_folder();
    magpie_status status = models ? storage_open(STORAGE_READ, &x->store) : MAGPIE_E_NO_MEMORY;
    if (status == MAGPIE_OK) status = magpie_snapshot_open(x->store, &x->snapshot);
    if (status == MAGPIE_OK) status = storage_read_filter(given.filter, &x->filter);
    if (status == MAGPIE_OK) status = open_index(x);
    if (status == MAGPIE_OK && given.explain) status = open_fusion(x);
    if (status == MAGPIE_OK) status = recommender_open(x->snapshot, models, given.model, &x->recommender);
    free(models);
    return status;
}

static magpie_status ask(recommending *x) {
    const double start = magpie_seconds();
    magpie_status status = open_all(x);
    x->opening = magpie_seconds() - start;
    if (status != MAGPIE_OK) return status;
    const recommend_request request = {.user = given.user ? magpie_string_of(given.user) : (magpie_string){0},
                                       .liked = given.liked,
                                       .liked_n = given.liked_n,
                                       .k = given.k,
                                       .filter = x->filter,
                                       .exclude_seen = given.exclude_seen,
                                       .diversity = (float)given.diversity,
                                       .explain = given.explain};
    status = recommender_ask(x->recommender, x->snapshot, x->index, x->fusion, &request, &x->answer);
    x->answering = magpie_seconds() - start - x->opening;
    return status;
}

static void close_all(recommending *x) {
    recommend_answer_free(&x->answer);
    recommender_close(x->recommender);
    magpie_filter_free(x->filter);
    magpie_fusion_close(x->fusion);
    magpie_snapshot_close(x->snapshot);
    magpie_index_close(x->index);
    magpie_store_close(x->store);
}

/* ---- text ---------------------------------------------------------------------------------------------- */

static void append_explanation(const recommending *x, const recommendation *r, magpie_text *out) {
    magpie_text_printf(out, "%6s", "");
    if (r->nearest.size) {
        magpie_text_printf(out, "%*.4f like ", SCORE_COLUMNS, (double)r->cosine);
        terminal_append(out, r->nearest);
        magpie_text_printf(out, x->answer.shares_sum ? " =" : ":");
        for (magpie_modality m = 0; m < MAGPIE_MODALITIES; m++)
            if (!isnan(r->shares[m]))
                magpie_text_printf(out, " %.4f %s", (double)r->shares[m], magpie_modality_name(m));
        magpie_text_printf(out, "\n%6s", "");
    }
    if (!isnan(r->behaviour))
        magpie_text_printf(out, "%*.4f by %s: number %zu of all\n%6s", SCORE_COLUMNS, (double)r->behaviour,
                           recommend_model(&x->answer, x->recommender), r->rank, "");
    magpie_text_printf(out, "%*s ", SCORE_COLUMNS, "from");
    recommend_append_sources(out, r->from, "");
    magpie_text_append(out, "\n", 1);
}

static void append_table(const recommending *x, magpie_text *out) {
    const recommend_answer *a = &x->answer;
    const size_t text_columns = terminal_columns_left(4 + 2 + SCORE_COLUMNS + 2 + ID_COLUMNS + 2);
    for (size_t i = 0; i < a->count; i++) {
        const recommendation *r = &a->items[i];
        if (isnan(r->score))
            magpie_text_printf(out, "%4zu  %*s  ", i + 1, SCORE_COLUMNS, "-");
        else
            magpie_text_printf(out, "%4zu  %*.4f  ", i + 1, SCORE_COLUMNS, (double)r->score);
        terminal_append_cell(out, r->item.id, ID_COLUMNS);
        magpie_text_append(out, "  ", 2);
        terminal_append_cut(out, item_words(&r->item), text_columns);
        magpie_text_append(out, "\n", 1);
        if (given.explain) append_explanation(x, r, out);
    }
    magpie_text_printf(out, "%zu by %s in %.1f ms, after %.1f ms of opening\n", a->count,
                       recommend_model(&x->answer, x->recommender)
                           ? recommend_model(&x->answer, x->recommender)
                           : recommend_way_name(a->way),
                       x->answering * 1000, x->opening * 1000);
}

static void append_json(const recommending *x, magpie_text *out) {
    recommend_append_json(out, &x->answer, x->recommender, given.explain);
    magpie_text_printf(out, ", \"opening_ms\": %.3f, \"took_ms\": %.3f}\n", x->opening * 1000,
                       x->answering * 1000);
}

static exit_code answer(const recommending *x) {
    magpie_text out = {0};
    (output_json ? append_json : append_table)(x, &out);
    exit_code code = output_and_free(&out);
    if (!x->answer.unknown || code != EXIT_FINE) return code;
    print_error("recommend: %zu of --like are not in the store", x->answer.unknown);
    return EXIT_MISSING;
}

/* ---- the page ------------------------------------------------------------------------------------------ */

/* What was liked last is what was asked with. A model's scores mean nothing to people: ranks are shown. */
static magpie_status write_page(const recommending *x) {
    const recommend_answer *a = &x->answer;
    page_part parts[SHOWN_LIKED + 1];
    magpie_item liked[SHOWN_LIKED];
    size_t n = 0, shown = 0;
    if (!page_path()) return MAGPIE_OK;
    page_card *cards = magpie_alloc(a->count, sizeof *cards);
    magpie_status status = cards ? MAGPIE_OK : MAGPIE_E_NO_MEMORY;
    if (given.user) parts[n++] = (page_part){.label = "for", .words = magpie_string_of(given.user)};
    for (; shown < a->liked_n && shown < SHOWN_LIKED && status == MAGPIE_OK; shown++) {
        status = magpie_snapshot_get(x->snapshot, a->liked[shown], &liked[shown]);
        parts[n++] = (page_part){.label = "liked", .item = &liked[shown], .aside = true};
    }
    for (size_t i = 0; i < a->count && status == MAGPIE_OK; i++)
        cards[i] = (page_card){.item = &a->items[i].item, .rank = i + 1, .score = NAN};
    char summary[96];
    snprintf(summary, sizeof summary, "%zu by %s", a->count,
             recommend_model(&x->answer, x->recommender) ? recommend_model(&x->answer, x->recommender)
                                                         : recommend_way_name(a->way));
    const page_section section = {.cards = cards, .count = a->count};
    const page p = {"magpie recommend", summary, parts, n, &section, 1};
    if (status == MAGPIE_OK) status = page_write(&p, page_path());
    free(cards);
    return status;
}

/* ---- the command --------------------------------------------------------------------------------------- */

static exit_code run_recommend(char **operands, int count) {
    (void)operands;
    (void)count;
    if (!given.user == !given.liked_n) {
        print_error("recommend: either --user U or --like ITEM,ITEM is needed");
        return EXIT_USAGE;
    }
    recommending x = {0};
    magpie_status status = ask(&x);
    if (status == MAGPIE_OK) status = write_page(&x);
    exit_code code = status == MAGPIE_OK ? answer(&x) : print_failure();
    close_all(&x);
    return code;
}

static magpie_status parse_liked(const char *value, void *target) {
    (void)target;
    for (const char *at = value; *at;) {
        const size_t size = strcspn(at, ",");
        if (given.liked_n == LIKED_MOST)
            return magpie_fail(MAGPIE_E_ARGUMENT, "%d items at most", LIKED_MOST);
        if (size) given.liked[given.liked_n++] = (magpie_string){at, size};
        at += size + (at[size] == ',');
    }
    return given.liked_n ? MAGPIE_OK : magpie_fail(MAGPIE_E_ARGUMENT, "it is empty");
}

static magpie_status parse_diversity(const char *value, void *target) {
    double diversity;
    if (!option_read_real(value, &diversity) || diversity > 1)
        return magpie_fail(MAGPIE_E_ARGUMENT, "a number from 0 to 1 is wanted, not \"%s\"", value);
    return *(double *)target = diversity, MAGPIE_OK;
}

static const option_row own_options[] = {
    {.name = "user", .letter = 'u', .argument = "U", .string = &given.user, .help = "the user's id"},
    {.name = "like",
     .argument = "ID,ID",
     .parse = parse_liked,
     .help = "items that somebody likes whom nothing else is known of, the earliest first"},
    {.letter = 'k',
     .name = "count",
     .argument = "N",
     .number = &given.k,
     .least = 1,
     .most = K_MOST,
     .help = "how many (default: 10)"},
    {.name = "filter",
     .letter = 'f',
     .argument = "JSON",
     .string = &given.filter,
     .help = "only items whose attributes pass, as in magpie search; @FILE reads it from a file"},
    {.name = "exclude-seen", .flag = &given.exclude_seen, .help = "nothing that the user has met already"},
    {.name = "diversity",
     .argument = "X",
     .parse = parse_diversity,
     .target = &given.diversity,
     .help =
         "0 to 1: how much less something counts that is like what is recommended before it (default: 0)"},
    {.name = "explain", .flag = &given.explain, .help = "tell where each comes from"},
    {.name = "model",
     .argument = "M",
     .string = &given.model,
     .help = "one of the store's models (default: magpie, else neumf, ease, ials, mf, gmf, itemknn, puresvd, "
             "mlp, as one is trained)"},
    {0}};

static const option_row *const tables[] = {storage_options, own_options,  rankers_device_options,
                                           page_options,    json_options, NULL};

const command recommend_command = {
    .name = "recommend",
    .summary = "what a user may like next, or who likes some items",
    .operands = "",
    .tables = tables,
    .details =
        "Candidates lie near to what was liked last, or are the model's own best, popular, or new. The\n"
        "model ranks them (magpie train ranker); for whom it knows nothing of, likeness to what was liked;\n"
        "where there is nothing of that either, popularity, every fourth one new. What the store has of a\n"
        "user's likes counts at once, without training. Items of --like are not recommended again.\n\n"
        "--explain tells the liked item that is nearest, the cosine of the two, and what of it is by text,\n"
        "picture and sound (these sum to it where MAGPIE_MODEL or MAGPIE_FUSION_MODEL names the heads; else\n"
        "each is the cosine in its own space); and the model's score, with its place among all items.\n\n"
        "--json: {\"hits\": [{\"id\", \"score\", \"text\", \"image\", \"audio\", \"attributes\", "
        "\"timestamp\"}],\n"
        "\"by\": \"model\", \"content\" or \"popularity\", \"model\", \"unknown\": items of --like that are "
        "not\n"
        "there, \"opening_ms\", \"took_ms\"}. With --explain a hit has \"explain\": {\"from\": "
        "[\"content\",\n"
        "\"model\", \"popular\", \"new\"], \"nearest\": {\"id\", \"cosine\", \"shares\" or \"cosines\"},\n"
        "\"behaviour\": {\"score\", \"rank\"}}. A score is null where the model knows nothing of the item.\n",
    .run = run_recommend};
