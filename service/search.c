/* search.c - magpie search: the nearest items of a query (query.h).
 *
 * From process start to answer it is mostly the models that take their time, so the store and the index are
 * opened by a second thread meanwhile. */
#include "command.h"
#include "item.h"
#include "output.h"
#include "page_search.h"
#include "query_line.h"
#include "storage.h"
#include "terminal.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { EF_MAX = 1 << 20, SCORE_COLUMNS = 7, ID_COLUMNS = 40 };

static struct {
    const char *filter;
    magpie_space space; /* MAGPIE_SPACES: as the query is */
    size_t k, ef_search, nprobe;
    bool exact, explain;
} given = {.k = 10, .space = MAGPIE_SPACES};

typedef struct search {
    magpie_store *store;
    magpie_index *index;
    magpie_snapshot *snapshot;
    heads_store spaces; /* as they were before the index was opened */
    magpie_space space;
    query_line line;
    bool missing;          /* an item of the query is */
    magpie_filter *filter; /* NULL: none */
    magpie_hit *hits;      /* [k + items of the query]: an item is its own nearest neighbour */
    magpie_item *items;    /* as many, of the hits */
    float *shares;         /* [as many, parts of the query, MAGPIE_MODALITIES]; NULL: not asked for */
    size_t count;
    double took; /* seconds, of encoding and searching */
} search;

/* ---- opening ------------------------------------------------------------------------------------------- */

typedef struct opening {
    search *s;
    magpie_status status;
    char *why; /* a message belongs to its thread, so it is carried over */
} opening;

static magpie_status open_storage(search *s) {
    magpie_status status = storage_open(STORAGE_READ, &s->store);
    if (status == MAGPIE_OK) status = heads_read_store(s->store, &s->spaces);
    if (status != MAGPIE_OK) return status;
    s->space = given.space == MAGPIE_SPACES ? query_space(&s->line.query, &s->spaces) : given.space;
    if (given.explain && s->space != MAGPIE_SPACE_FUSED)
        return magpie_fail(
            MAGPIE_E_UNSUPPORTED,
            "--explain is for the fused space; this store compares such a query in the %s space",
            magpie_space_name(s->space));
    status = storage_open_index_to_search(s->store, s->space, &s->index);
    return status == MAGPIE_OK ? magpie_snapshot_open(s->store, &s->snapshot) : status;
}

static void *open_storage_aside(void *argument) {
    opening *o = argument;
    o->status = open_storage(o->s);
    if (o->status != MAGPIE_OK) o->why = strdup(magpie_error());
    return NULL;
}

/* Index, snapshot and what was read first are three moments; a space may be given to another model between
 * them. */
static magpie_status check_moments(const search *s) {
    magpie_space_binding now;
    magpie_status status = magpie_snapshot_get_binding(s->snapshot, s->space, &now);
    if (status != MAGPIE_OK) return status;
    if (magpie_space_same_binding(&now, magpie_index_get_binding(s->index)) &&
        magpie_space_same_binding(&now, &s->spaces.of[s->space]))
        return MAGPIE_OK;
    return magpie_fail(MAGPIE_E_BUSY, "the %s vectors are being made anew: search again",
                       magpie_space_name(s->space));
}

static magpie_status open_all(search *s) {
    pthread_t thread;
    opening o = {.s = s};
    int error = pthread_create(&thread, NULL, open_storage_aside, &o);
    if (error) return magpie_fail_errno(error, "cannot start a thread");
    magpie_status status = query_line_open_encoders(&s->line, given.space);
    pthread_join(thread, NULL);
    if (o.status != MAGPIE_OK)
        status = magpie_fail(o.status, "%s", o.why ? o.why : magpie_status_name(o.status));
    free(o.why);
    if (status == MAGPIE_OK) status = check_moments(s);
    if (status != MAGPIE_OK) return status;
    return query_line_open_fusion(&s->line, s->space, &s->spaces, magpie_index_get_binding(s->index),
                                  given.explain);
}

/* ---- searching ----------------------------------------------------------------------------------------- */

/* Reads the items of the hits, and leaves out those that are no answer: items that the query names, and what
 * another process deleted since the index was opened. */
static magpie_status fetch_items(search *s) {
    size_t kept = 0;
    for (size_t i = 0; i < s->count && kept < given.k; i++) {
        magpie_item *item = &s->items[kept];
        magpie_status status = magpie_snapshot_get_row(s->snapshot, s->hits[i].row, item);
        if (status == MAGPIE_E_NOT_FOUND) continue;
        if (status != MAGPIE_OK) return status;
        if (query_names(&s->line.query, item->id)) continue;
        s->hits[kept++] = s->hits[i];
    }
    s->count = kept;
    return MAGPIE_OK;
}

static size_t shares_a_hit(const search *s) { return s->line.query.count * MAGPIE_MODALITIES; }

static magpie_status explain(search *s) {
    magpie_status status = MAGPIE_OK;
    if (!given.explain) return status;
    s->shares = magpie_alloc(s->count * shares_a_hit(s), sizeof *s->shares);
    if (!s->shares) return MAGPIE_E_NO_MEMORY;
    for (size_t i = 0; i < s->count && status == MAGPIE_OK; i++)
        status = query_explain(&s->line.query, s->snapshot, s->hits[i].row, s->shares + i * shares_a_hit(s));
    return status;
}

static magpie_status find(search *s) {
    const magpie_search_options options = {.ef_search = (unsigned)given.ef_search,
                                           .nprobe = (unsigned)given.nprobe,
                                           .mode = given.exact ? MAGPIE_SEARCH_EXACT : MAGPIE_SEARCH_AUTO};
    size_t k = given.k + query_items(&s->line.query);
    if (k > MAGPIE_SEARCH_K_MAX) k = MAGPIE_SEARCH_K_MAX;
    s->hits = magpie_alloc(k, sizeof *s->hits);
    s->items = magpie_alloc(k, sizeof *s->items);
    if (!s->hits || !s->items) return MAGPIE_E_NO_MEMORY;
    double start = magpie_seconds();
    magpie_status status = query_line_make(&s->line, s->space, magpie_index_get_binding(s->index)->dimension,
                                           s->snapshot, &s->missing);
    if (status == MAGPIE_OK)
        status = magpie_index_search(s->index, 1, s->line.query.vector, k, s->filter, &options, s->hits,
                                     &s->count);
    if (status == MAGPIE_OK) status = fetch_items(s);
    if (status == MAGPIE_OK) status = explain(s);
    s->took = magpie_seconds() - start;
    return status;
}

/* ---- answering ----------------------------------------------------------------------------------------- */

/* [{"query": "--text", "value", "weight", "shares": {"text": 0.3, "image": 0.2}}, ...]: of one hit. */
static void append_shares_json(const search *s, const float *shares, magpie_text *out) {
    magpie_text_printf(out, ", \"explain\": [");
    for (size_t i = 0; i < s->line.query.count; i++) {
        const query_part *part = &s->line.query.parts[i];
        const char *comma = "";
        magpie_text_printf(out, "%s{\"query\": \"%s\", \"value\": ", i ? ", " : "", part->name);
        magpie_text_json_string(out, part->value.data, part->value.size);
        magpie_text_printf(out, ", \"weight\": %.9g, \"shares\": {", (double)s->line.query.mixed[i].weight);
        for (magpie_modality m = 0; m < MAGPIE_MODALITIES; m++) {
            float share = shares[i * MAGPIE_MODALITIES + m];
            if (isnan(share)) continue;
            magpie_text_printf(out, "%s\"%s\": %.9g", comma, magpie_modality_name(m), (double)share);
            comma = ", ";
        }
        magpie_text_printf(out, "}}");
    }
    magpie_text_append(out, "]", 1);
}

static void append_json(const search *s, magpie_text *out) {
    magpie_text_printf(out, "{\"hits\": [");
    for (size_t i = 0; i < s->count; i++) {
        magpie_text_printf(out, "%s{", i ? ", " : "");
        item_append_id(out, &s->items[i]);
        magpie_text_printf(out, ", \"score\": %.7g", (double)s->hits[i].score);
        if (s->shares) append_shares_json(s, s->shares + i * shares_a_hit(s), out);
        item_append_fields(out, &s->items[i], ITEM_ALL);
        magpie_text_printf(out, "}");
    }
    magpie_text_printf(out, "], \"took_ms\": %.3f}\n", s->took * 1000);
}

/* A line for each part of the query: how much of the score it has with the item's text, picture and sound. */
static void append_shares(const search *s, const float *shares, magpie_text *out) {
    for (size_t i = 0; i < s->line.query.count; i++) {
        const query_part *part = &s->line.query.parts[i];
        size_t start = out->size;
        magpie_text_printf(out, "%6s", "");
        for (magpie_modality m = 0; m < MAGPIE_MODALITIES; m++) {
            float share = shares[i * MAGPIE_MODALITIES + m];
            if (!isnan(share))
                magpie_text_printf(out, "%*.4f %s  ", SCORE_COLUMNS, (double)share, magpie_modality_name(m));
        }
        magpie_text_printf(out, "by %s ", part->name);
        terminal_append_cut(out, part->value, terminal_columns_left(out->size - start));
        magpie_text_append(out, "\n", 1);
    }
}

static void append_table(const search *s, magpie_text *out) {
    const size_t text_columns = terminal_columns_left(4 + 2 + SCORE_COLUMNS + 2 + ID_COLUMNS + 2);
    for (size_t i = 0; i < s->count; i++) {
        magpie_text_printf(out, "%4zu  %*.4f  ", i + 1, SCORE_COLUMNS, (double)s->hits[i].score);
        terminal_append_cell(out, s->items[i].id, ID_COLUMNS);
        magpie_text_append(out, "  ", 2);
        terminal_append_cut(out, item_words(&s->items[i]), text_columns);
        magpie_text_append(out, "\n", 1);
        if (s->shares) append_shares(s, s->shares + i * shares_a_hit(s), out);
    }
    magpie_text_printf(out, "%zu found in %.1f ms\n", s->count, s->took * 1000);
}

static exit_code answer(const search *s) {
    magpie_text out = {0};
    if (output_json)
        append_json(s, &out);
    else
        append_table(s, &out);
    return output_and_free(&out);
}

static void close_all(search *s) {
    magpie_filter_free(s->filter);
    magpie_snapshot_close(s->snapshot);
    magpie_index_close(s->index);
    magpie_store_close(s->store);
    query_line_end(&s->line);
    free(s->hits);
    free(s->items);
    free(s->shares);
}

static exit_code run_search(char **operands, int count) {
    (void)operands;
    (void)count;
    search s = {0};
    exit_code code = query_line_begin(&s.line, "search", given.space);
    if (code != EXIT_FINE) return code;
    if (given.explain && given.space != MAGPIE_SPACES && given.space != MAGPIE_SPACE_FUSED) {
        print_error("search: --explain is for the fused space: only there a score is a sum");
        return EXIT_USAGE;
    }
    magpie_status status = storage_read_filter(given.filter, &s.filter);
    if (status == MAGPIE_OK) status = open_all(&s);
    if (status == MAGPIE_OK) status = find(&s);
    if (status == MAGPIE_OK)
        status = page_write_search(&s.line.query, s.snapshot, s.hits, s.items, s.shares, s.count, s.took);
    code = status == MAGPIE_OK ? answer(&s) : print_failure();
    if (status == MAGPIE_E_NOT_FOUND && s.missing) code = EXIT_MISSING;
    close_all(&s);
    return code;
}

static const option_row own_options[] = {
    {.name = "space",
     .argument = "S",
     .parse = storage_parse_space,
     .target = &given.space,
     .help = "whose vectors: fused, text, image or audio (default: fused; of a store without heads, that of "
             "a single --image or --audio)"},
    {.letter = 'k',
     .name = "count",
     .argument = "N",
     .number = &given.k,
     .least = 1,
     .most = MAGPIE_SEARCH_K_MAX,
     .help = "how many (default: 10)"},
    {.name = "filter",
     .letter = 'f',
     .argument = "JSON",
     .string = &given.filter,
     .help = "only items whose attributes pass; @FILE reads it from a file"},
    {.name = "explain", .flag = &given.explain, .help = "tell where each score comes from"},
    {.name = "exact", .flag = &given.exact, .help = "compare with every item"},
    {.name = "ef-search",
     .argument = "N",
     .number = &given.ef_search,
     .least = 1,
     .most = EF_MAX,
     .help = "hnsw: breadth of the search (default: 192)"},
    {.name = "nprobe",
     .argument = "N",
     .number = &given.nprobe,
     .least = 1,
     .most = EF_MAX,
     .help = "ivf: lists visited (default: 16)"},
    {0}};

static const option_row *const tables[] = {storage_options,       query_options,        own_options,
                                           page_options,          json_options,         model_options,
                                           audio_seconds_options, query_prefix_options, NULL};

const command search_command = {
    .name = "search",
    .summary = "find the items nearest to texts, pictures, sounds, items, or any mix of them",
    .operands = "",
    .tables = tables,
    .details =
        "Each of --text, --image, --audio, --item and their --not-... may be given several times. In a "
        "store with a fusion model all are compared with all that an item has: a text finds pictures. In "
        "one without, a picture is compared with the items' pictures, a sound with their sounds, a text "
        "with their texts; with a joint model (CLIP), --text ... --space image finds pictures by words.\n"
        "What is not wanted counts half, and against. A part counts what its modality does in items, "
        "times --weight. --explain splits each score into what each part of the query has with the item's "
        "text, picture and sound; they sum to it.\n"
        "\n"
        "A filter, as in Qdrant:\n"
        "  {\"must\": [{\"key\": \"source\", \"match\": {\"value\": \"tuxpaint\"}},\n"
        "            {\"key\": \"price\", \"range\": {\"lt\": 20}}]}\n"
        "with must, should, must_not; match value, any, except; range gt, gte, lt, lte; exists, has_id.\n"
        "\n"
        "--json: {\"hits\": [{\"id\", \"score\", \"text\", \"image\", \"audio\", \"attributes\", "
        "\"timestamp\"}], \"took_ms\"}, best first; what an item does not have is null; took_ms is "
        "encoding and searching. With --explain a hit has \"explain\": [{\"query\": \"--text\", "
        "\"value\", \"weight\", \"shares\": {\"text\": ...}}].\n",
    .run = run_search};
