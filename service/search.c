/* search.c - magpie search: the nearest items of a text, of a picture, of a sound or of another item.
 *
 * SPACES. A query is compared with the vectors of one space, so it must be encoded by the model of that
 * space: the text model for fused and text, the image model for image, the audio model for audio. Where that
 * model takes text and pictures (CLIP), either kind of query goes with either.
 *
 * From process start to answer it is mostly the model that takes its time, so the store and the index are
 * opened by a second thread meanwhile. */
#include "command.h"
#include "item.h"
#include "model.h"
#include "output.h"
#include "page.h"
#include "storage.h"
#include "terminal.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { FILTER_BYTES_MAX = 1 << 20, EF_MAX = 1 << 20, SCORE_COLUMNS = 7, ID_COLUMNS = 40 };

static struct {
    const char *text, *image, *audio, *like, *filter;
    magpie_space space; /* MAGPIE_SPACES: as the query is */
    size_t k, ef_search, nprobe;
    bool exact;
} given = {.k = 10, .space = MAGPIE_SPACES};

typedef struct search {
    magpie_store *store;
    magpie_index *index;
    magpie_snapshot *snapshot;
    magpie_space space;
    model_encoder encoder; /* of the query; not open for --like */
    magpie_filter *filter; /* NULL: none */
    float *query;          /* [dimension] */
    magpie_hit *hits;      /* [k + 1]: an item is its own nearest neighbour */
    magpie_item *items;    /* [k + 1], of the hits */
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
    if (status == MAGPIE_OK) status = storage_open_index_to_search(s->store, s->space, &s->index);
    return status == MAGPIE_OK ? magpie_snapshot_open(s->store, &s->snapshot) : status;
}

static void *open_storage_aside(void *argument) {
    opening *o = argument;
    o->status = open_storage(o->s);
    if (o->status != MAGPIE_OK) o->why = strdup(magpie_error());
    return NULL;
}

static magpie_status check_model(search *s) {
    const magpie_space_model model = {s->encoder.name, s->encoder.fingerprint, s->encoder.dimension};
    return magpie_store_bind(s->store, s->space, &model);
}

/* By what a space is filled. */
static model_sense sense_of_space(magpie_space space) {
    return space == MAGPIE_SPACE_IMAGE ? SENSE_IMAGE : space == MAGPIE_SPACE_AUDIO ? SENSE_AUDIO : SENSE_TEXT;
}

static model_sense sense_of_query(void) {
    return given.text ? SENSE_TEXT : given.image ? SENSE_IMAGE : SENSE_AUDIO;
}

/* The model of the space, by the side of it that takes the query. */
static magpie_status open_model(search *s) {
    model_folders folders;
    magpie_model_senses senses;
    const char *folder;
    magpie_status status = model_find(&folders);
    if (status != MAGPIE_OK) return status;
    status = model_require(&folders, sense_of_space(s->space), &folder);
    if (status != MAGPIE_OK)
        return magpie_fail(status, "the %s space cannot be searched: %s", magpie_space_name(s->space),
                           magpie_error());
    status = magpie_model_get_senses(folder, &senses);
    if (status != MAGPIE_OK) return status;
    if (!model_has_sense(&senses, sense_of_query()))
        return magpie_fail(
            MAGPIE_E_UNSUPPORTED,
            "%s takes no %s, so the %s space cannot be searched by it: that takes a joint model", folder,
            model_sense_things(sense_of_query()), magpie_space_name(s->space));
    return model_open(folder, sense_of_query(), false, &s->encoder);
}

static magpie_status open_all(search *s) {
    pthread_t thread;
    opening o = {.s = s};
    if (given.like) return open_storage(s);
    int error = pthread_create(&thread, NULL, open_storage_aside, &o);
    if (error) return magpie_fail_errno(error, "cannot start a thread");
    magpie_status status = open_model(s);
    pthread_join(thread, NULL);
    if (o.status != MAGPIE_OK)
        status = magpie_fail(o.status, "%s", o.why ? o.why : magpie_status_name(o.status));
    free(o.why);
    return status == MAGPIE_OK ? check_model(s) : status;
}

static magpie_status read_filter(search *s) {
    const char *json = given.filter;
    char *file = NULL;
    if (!json) return MAGPIE_OK;
    if (*json == '@') {
        magpie_status status = magpie_file_read(json + 1, FILTER_BYTES_MAX, &file, NULL);
        if (status != MAGPIE_OK) return status;
        json = file;
    }
    magpie_status status = magpie_filter_parse(json, strlen(json), &s->filter);
    free(file);
    return status;
}

/* ---- searching ----------------------------------------------------------------------------------------- */

static magpie_status make_query(search *s, size_t dimension) {
    if (given.text) {
        magpie_string text = {given.text, strlen(given.text)};
        return magpie_text_encoder_encode(s->encoder.text, &text, 1, MAGPIE_QUERY, s->query);
    }
    if (given.image || given.audio) {
        const magpie_media file = {.path = given.image ? given.image : given.audio};
        return model_encode_files(&s->encoder, &file, 1, s->query, NULL);
    }
    magpie_item item;
    const float *vector;
    magpie_status status =
        magpie_snapshot_get(s->snapshot, (magpie_string){given.like, strlen(given.like)}, &item);
    if (status == MAGPIE_OK) status = magpie_snapshot_vector(s->snapshot, s->space, item.row, &vector);
    if (status != MAGPIE_OK) return status;
    if (!vector)
        return magpie_fail(MAGPIE_E_NOT_FOUND, "item \"%s\" has no vector in the %s space to compare with",
                           given.like, magpie_space_name(s->space));
    memcpy(s->query, vector, dimension * sizeof *vector);
    return MAGPIE_OK;
}

/* Reads the items of the hits, and leaves out those that are no answer: the item itself that others should be
 * like, and what another process deleted since the index was opened. */
static magpie_status fetch_items(search *s) {
    size_t kept = 0;
    for (size_t i = 0; i < s->count && kept < given.k; i++) {
        magpie_item *item = &s->items[kept];
        magpie_status status = magpie_snapshot_get_row(s->snapshot, s->hits[i].row, item);
        if (status == MAGPIE_E_NOT_FOUND) continue;
        if (status != MAGPIE_OK) return status;
        if (given.like && item->id.size == strlen(given.like) &&
            memcmp(item->id.data, given.like, item->id.size) == 0)
            continue;
        s->hits[kept++] = s->hits[i];
    }
    s->count = kept;
    return MAGPIE_OK;
}

static magpie_status find(search *s) {
    magpie_store_stats stats;
    const magpie_search_options options = {.ef_search = (unsigned)given.ef_search,
                                           .nprobe = (unsigned)given.nprobe,
                                           .mode = given.exact ? MAGPIE_SEARCH_EXACT : MAGPIE_SEARCH_AUTO};
    size_t k = given.k + (given.like && given.k < MAGPIE_SEARCH_K_MAX);
    magpie_status status = magpie_store_get_stats(s->store, &stats);
    if (status != MAGPIE_OK) return status;
    size_t dimension = stats.dimension[s->space];
    s->query = magpie_alloc(dimension, sizeof *s->query);
    s->hits = magpie_alloc(k, sizeof *s->hits);
    s->items = magpie_alloc(k, sizeof *s->items);
    if (!s->query || !s->hits || !s->items) return MAGPIE_E_NO_MEMORY;
    double start = magpie_seconds();
    status = make_query(s, dimension);
    if (status == MAGPIE_OK)
        status = magpie_index_search(s->index, 1, s->query, k, s->filter, &options, s->hits, &s->count);
    if (status == MAGPIE_OK) status = fetch_items(s);
    s->took = magpie_seconds() - start;
    return status;
}

/* ---- answering ----------------------------------------------------------------------------------------- */

static void append_json(const search *s, magpie_text *out) {
    magpie_text_printf(out, "{\"hits\": [");
    for (size_t i = 0; i < s->count; i++) {
        magpie_text_printf(out, "%s{", i ? ", " : "");
        item_append_id(out, &s->items[i]);
        magpie_text_printf(out, ", \"score\": %.7g", (double)s->hits[i].score);
        item_append_content(out, &s->items[i]);
        magpie_text_printf(out, "}");
    }
    magpie_text_printf(out, "], \"took_ms\": %.3f}\n", s->took * 1000);
}

/* What a person knows an item by. */
static magpie_string words_of(const magpie_item *item) {
    return item->text.size ? item->text : item->image.size ? item->image : item->audio;
}

static void append_table(const search *s, magpie_text *out) {
    size_t columns = terminal_columns(), before_text = 4 + 2 + SCORE_COLUMNS + 2 + ID_COLUMNS + 2;
    size_t text_columns = columns > before_text + 20 ? columns - before_text : 20;
    for (size_t i = 0; i < s->count; i++) {
        magpie_text_printf(out, "%4zu  %*.4f  ", i + 1, SCORE_COLUMNS, (double)s->hits[i].score);
        terminal_append_cell(out, s->items[i].id, ID_COLUMNS);
        magpie_text_append(out, "  ", 2);
        terminal_append_cut(out, words_of(&s->items[i]), text_columns);
        magpie_text_append(out, "\n", 1);
    }
    magpie_text_printf(out, "%zu found in %.1f ms\n", s->count, s->took * 1000);
}

static exit_code answer(const search *s) {
    magpie_text out = {0};
    if (output_json)
        append_json(s, &out);
    else
        append_table(s, &out);
    exit_code code = output_text(&out);
    magpie_text_free(&out);
    return code;
}

static magpie_status write_page(const search *s) {
    magpie_item like;
    page_part part = {.image = given.image, .audio = given.audio};
    if (given.text) part.words = (magpie_string){given.text, strlen(given.text)};
    if (given.like) {
        magpie_status status =
            magpie_snapshot_get(s->snapshot, (magpie_string){given.like, strlen(given.like)}, &like);
        if (status != MAGPIE_OK) return status;
        part = (page_part){.label = "like", .item = &like};
    }
    return page_write_hits(&part, 1, s->hits, s->items, NULL, s->count, s->took);
}

static void close_all(search *s) {
    magpie_filter_free(s->filter);
    magpie_snapshot_close(s->snapshot);
    magpie_index_close(s->index);
    magpie_store_close(s->store);
    model_close(&s->encoder);
    free(s->query);
    free(s->hits);
    free(s->items);
}

static exit_code run_search(char **operands, int count) {
    (void)operands;
    (void)count;
    search s = {.space = given.space};
    if (!!given.text + !!given.image + !!given.audio + !!given.like != 1) {
        print_error("search: either --text, --image, --audio or --like is needed; see magpie search --help");
        return EXIT_USAGE;
    }
    if (s.space == MAGPIE_SPACES)
        s.space = given.image ? MAGPIE_SPACE_IMAGE : given.audio ? MAGPIE_SPACE_AUDIO : MAGPIE_SPACE_FUSED;
    magpie_status status = MAGPIE_OK;
    if (given.text &&
        (status = magpie_utf8_check((magpie_string){given.text, strlen(given.text)})) != MAGPIE_OK)
        status = magpie_fail(status, "--text: %s", magpie_error());
    if (status == MAGPIE_OK) status = read_filter(&s);
    if (status == MAGPIE_OK) status = open_all(&s);
    if (status == MAGPIE_OK) status = find(&s);
    if (status == MAGPIE_OK && page_path()) status = write_page(&s);
    exit_code code = status == MAGPIE_OK ? answer(&s) : print_failure();
    if (status == MAGPIE_E_NOT_FOUND && given.like && s.snapshot) code = EXIT_MISSING;
    close_all(&s);
    return code;
}

static const option_row own_options[] = {
    {.name = "text",
     .letter = 't',
     .argument = "TEXT",
     .string = &given.text,
     .help = "what to look for, in words"},
    {.name = "image",
     .letter = 'i',
     .argument = "FILE",
     .string = &given.image,
     .help = "or: a picture, a JPEG or PNG"},
    {.name = "audio",
     .letter = 'a',
     .argument = "FILE",
     .string = &given.audio,
     .help = "or: a sound, a WAV, FLAC, Ogg, MP3 or AIFF"},
    {.name = "like",
     .argument = "ID",
     .string = &given.like,
     .help = "or: an item, whose neighbours are wanted"},
    {.name = "space",
     .argument = "S",
     .parse = storage_parse_space,
     .target = &given.space,
     .help = "whose vectors: fused, text, image or audio (default: that of --image or --audio, else fused)"},
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

static const option_row *const tables[] = {storage_options,      own_options,   page_options,
                                           json_options,         model_options, audio_seconds_options,
                                           query_prefix_options, NULL};

const command search_command = {
    .name = "search",
    .summary = "find the items nearest to a text, a picture, a sound or another item",
    .operands = "",
    .tables = tables,
    .details =
        "A picture is compared with the items' pictures, a sound with their sounds, a text with their "
        "texts.\n"
        "With a joint model (CLIP), --text ... --space image finds pictures by words.\n\n"
        "A filter, as in Qdrant:\n"
        "  {\"must\": [{\"key\": \"source\", \"match\": {\"value\": \"tuxpaint\"}},\n"
        "            {\"key\": \"price\", \"range\": {\"lt\": 20}}]}\n"
        "with must, should, must_not; match value, any, except; range gt, gte, lt, lte; exists, has_id.\n\n"
        "--json: {\"hits\": [{\"id\", \"score\", \"text\", \"image\", \"audio\", \"attributes\", "
        "\"timestamp\"}],\n"
        "\"took_ms\"}, best first; what an item does not have is null; took_ms is encoding and searching.\n",
    .run = run_search};
