/* classify.c - magpie classify: which of some labels fits a text, a picture, a sound, an item or a mix of
 * them; by labels that were learned, or by words alone (zero-shot). */
#include "classify_words.h"
#include "command.h"
#include "output.h"
#include "query_line.h"
#include "storage.h"
#include "terminal.h"

#include <stdlib.h>
#include <string.h>

enum { LABELS_SHOWN_MAX = 1 << 20 };

/* That of CLIP's training, for a space that no training has left a temperature for. */
static const double IDENTITY_TEMPERATURE = 0.01;

static struct {
    const char *words, *labels_model, *pattern;
    double temperature; /* 0: the fusion's */
    size_t k;
} given = {.pattern = "{}", .k = 10};

typedef struct classification {
    magpie_store *store; /* NULL: none is given; the next two then are empty */
    magpie_snapshot *snapshot;
    heads_store spaces;
    classify_words words;
    magpie_labels *labels; /* NULL: by words */
    query_line line;
    magpie_space space;       /* that it is done in */
    bool missing;             /* an item that is named is */
    const char *const *names; /* [count] */
    size_t count;
    float *probabilities; /* [count] */
    double took;          /* seconds, of encoding and comparing */
} classification;

/* ---- by learned labels --------------------------------------------------------------------------------- */

/* The vectors are to be of the model that the labels were learned on: the query's, and those of stored
 * items. */
static magpie_status open_learned(classification *c) {
    const magpie_labels_info *info = magpie_labels_get_info(c->labels);
    const magpie_space_binding *stored = &c->spaces.of[c->space];
    magpie_space_binding wanted = {.dimension = info->dimension};
    snprintf(wanted.model, sizeof wanted.model, "of the labels");
    snprintf(wanted.fingerprint, sizeof wanted.fingerprint, "%s", info->fingerprint);
    if (query_items(&c->line.query) &&
        (stored->dimension != wanted.dimension || strcmp(stored->fingerprint, wanted.fingerprint) != 0))
        return magpie_fail(
            MAGPIE_E_MISMATCH, "%s was learned on other %s vectors (%s) than %s has (%s): train it again",
            info->name, info->space, info->fingerprint, storage_directory(), stored->fingerprint);
    magpie_status status = query_line_open_encoders(&c->line, c->space);
    if (status != MAGPIE_OK) return status;
    status = query_line_open_fusion(&c->line, c->space, &c->spaces, &wanted, false);
    return status == MAGPIE_OK ? status : magpie_fail(status, "%s: %s", info->name, magpie_error());
}

static magpie_status open_labels(classification *c) {
    magpie_status status = magpie_labels_open(given.labels_model, &c->labels);
    if (status != MAGPIE_OK) return status;
    const magpie_labels_info *info = magpie_labels_get_info(c->labels);
    c->names = info->labels;
    c->count = info->count;
    status = storage_parse_space(info->space, &c->space);
    return status == MAGPIE_OK
               ? status
               : magpie_fail(MAGPIE_E_CORRUPT, "%s: its space: %s", info->name, magpie_error());
}

static magpie_status compare_learned(classification *c) {
    magpie_status status = query_line_make(&c->line, c->space, magpie_labels_get_info(c->labels)->dimension,
                                           c->snapshot, &c->missing);
    return status == MAGPIE_OK ? magpie_labels_predict(c->labels, c->line.query.vector, 1, c->probabilities)
                               : status;
}

/* ---- by words ------------------------------------------------------------------------------------------ */

static magpie_status take_words(classification *c) {
    magpie_status status = classify_words_parse(given.words, &c->words);
    c->names = c->words.names;
    c->count = c->words.count;
    return status;
}

static magpie_status need_head(const classification *c, size_t kind, const char *what) {
    const magpie_fusion_info *info = magpie_fusion_get_info(c->line.fusion);
    if (info->kind[kind]) return MAGPIE_OK;
    return magpie_fail(
        MAGPIE_E_UNSUPPORTED,
        "%s: nothing brings %s into the one space: that takes a fusion model (--fusion-model DIR) or a "
        "joint model",
        what, model_sense_things((model_sense)kind));
}

/* The heads; of a store that items are of, as its fused vectors were made. */
static magpie_status open_heads(classification *c) {
    query_line *l = &c->line;
    if (query_items(&l->query))
        return query_line_open_fusion(l, c->space, &c->spaces, &c->spaces.of[c->space], true);
    magpie_status status = heads_open(&l->folders, l->encoders, &c->spaces, false, &l->fusion);
    l->query.fusion = l->fusion;
    if (status == MAGPIE_OK && !l->fusion)
        status = magpie_fail(MAGPIE_E_NOT_FOUND, "nothing fills the one space");
    for (size_t i = 0; i < l->query.count && status == MAGPIE_OK; i++)
        status = need_head(c, l->query.parts[i].kind, l->query.parts[i].name);
    return status;
}

static magpie_status open_words(classification *c) {
    query_line *l = &c->line;
    const char *folder;
    magpie_status status = query_line_open_encoders(l, c->space);
    if (status == MAGPIE_OK && !l->encoders[SENSE_TEXT].name) {
        status = model_require(&l->folders, SENSE_TEXT, &folder);
        if (status == MAGPIE_OK) status = model_open(folder, SENSE_TEXT, false, &l->encoders[SENSE_TEXT]);
        if (status != MAGPIE_OK) return magpie_fail(status, "--labels: %s", magpie_error());
    }
    if (status == MAGPIE_OK) status = open_heads(c);
    return status == MAGPIE_OK ? need_head(c, MAGPIE_TEXT, "--labels") : status;
}

static bool is_identity(const magpie_fusion_info *info) {
    for (magpie_modality m = 0; m < MAGPIE_MODALITIES; m++)
        if (info->kind[m] && strcmp(info->kind[m], "identity") != 0) return false;
    return true;
}

static magpie_status compare_words(classification *c) {
    const magpie_fusion_info *info = magpie_fusion_get_info(c->line.fusion);
    const double temperature = given.temperature > 0 ? given.temperature
                               : is_identity(info)   ? IDENTITY_TEMPERATURE
                                                     : (double)info->temperature;
    magpie_status status = query_line_make(&c->line, c->space, info->dimension, c->snapshot, &c->missing);
    if (status != MAGPIE_OK) return status;
    return classify_words_compare(&c->words, given.pattern, c->line.encoders[SENSE_TEXT].text, c->line.fusion,
                                  c->line.query.vector, temperature, c->probabilities);
}

/* ---- all of it ----------------------------------------------------------------------------------------- */

static magpie_status open_store(classification *c) {
    if (!storage_directory()) return MAGPIE_OK;
    magpie_status status = storage_open(STORAGE_READ, &c->store);
    if (status == MAGPIE_OK) status = magpie_snapshot_open(c->store, &c->snapshot);
    return status == MAGPIE_OK ? heads_read(c->snapshot, &c->spaces) : status;
}

static magpie_status classify(classification *c) {
    magpie_status status = open_store(c);
    if (status == MAGPIE_OK) status = c->labels ? open_learned(c) : open_words(c);
    c->probabilities = magpie_alloc(c->count, sizeof *c->probabilities);
    if (status == MAGPIE_OK && !c->probabilities) status = MAGPIE_E_NO_MEMORY;
    const double start = magpie_seconds();
    if (status == MAGPIE_OK) status = c->labels ? compare_learned(c) : compare_words(c);
    c->took = magpie_seconds() - start;
    return status;
}

/* ---- answering ----------------------------------------------------------------------------------------- */

typedef struct answer_row {
    const char *name;
    float probability;
    size_t index;
} answer_row;

static int compare_rows(const void *a, const void *b) {
    const answer_row *x = a, *y = b;
    if (x->probability != y->probability) return x->probability < y->probability ? 1 : -1;
    return (x->index > y->index) - (x->index < y->index);
}

static void append_rows(const answer_row *rows, size_t n, magpie_text *out) {
    for (size_t i = 0; i < n; i++) {
        const magpie_string name = magpie_string_of(rows[i].name);
        if (output_json) {
            magpie_text_printf(out, "%s{\"label\": ", i ? ", " : "");
            magpie_text_json_string(out, name.data, name.size);
            magpie_text_printf(out, ", \"probability\": %.7g}", (double)rows[i].probability);
        } else {
            magpie_text_printf(out, "%4zu  %.4f  ", i + 1, (double)rows[i].probability);
            terminal_append(out, name);
            magpie_text_append(out, "\n", 1);
        }
    }
}

static exit_code answer(const classification *c) {
    answer_row *rows = magpie_alloc(c->count, sizeof *rows);
    magpie_text out = {0};
    if (!rows) return print_failure();
    for (size_t i = 0; i < c->count; i++) rows[i] = (answer_row){c->names[i], c->probabilities[i], i};
    qsort(rows, c->count, sizeof *rows, compare_rows);
    if (output_json) {
        const char *attribute = c->labels ? magpie_labels_get_info(c->labels)->attribute : NULL;
        magpie_text_printf(&out, "{\"attribute\": ");
        if (attribute)
            magpie_text_json_string(&out, attribute, strlen(attribute));
        else
            magpie_text_printf(&out, "null");
        magpie_text_printf(&out, ", \"labels\": [");
    }
    append_rows(rows, c->count < given.k ? c->count : given.k, &out);
    if (output_json) magpie_text_printf(&out, "], \"took_ms\": %.3f}\n", c->took * 1000);
    exit_code code = output_and_free(&out);
    free(rows);
    return code;
}

static exit_code misused(const char *why) {
    print_error("classify: %s; see magpie classify --help", why);
    return EXIT_USAGE;
}

/* What is to be chosen from, and what is asked for. */
static exit_code take_usage(classification *c) {
    if (!given.words == !given.labels_model) return misused("either --labels or --labels-model is needed");
    const char *place = strstr(given.pattern, "{}");
    if (!place || strstr(place + 2, "{}")) return misused("--template: {} is wanted in it, once");
    if ((given.words ? take_words(c) : open_labels(c)) != MAGPIE_OK) return print_failure();
    exit_code code = query_line_begin(&c->line, "classify", c->space);
    if (code != EXIT_FINE) return code;
    return query_items(&c->line.query) && !storage_directory() ? misused("--item takes a --store")
                                                               : EXIT_FINE;
}

static void close_all(classification *c) {
    query_line_end(&c->line);
    magpie_labels_close(c->labels);
    classify_words_free(&c->words);
    magpie_snapshot_close(c->snapshot);
    magpie_store_close(c->store);
    free(c->probabilities);
}

static exit_code run_classify(char **operands, int count) {
    (void)operands;
    (void)count;
    classification c = {.space = MAGPIE_SPACE_FUSED};
    exit_code code = take_usage(&c);
    if (code == EXIT_FINE) {
        magpie_status status = classify(&c);
        code = status == MAGPIE_OK ? answer(&c) : print_failure();
        if (status == MAGPIE_E_NOT_FOUND && c.missing) code = EXIT_MISSING;
    }
    close_all(&c);
    return code;
}

static magpie_status parse_temperature(const char *value, void *target) {
    if (option_read_real(value, target) && *(double *)target > 0) return MAGPIE_OK;
    return magpie_fail(MAGPIE_E_ARGUMENT, "a number above 0 is wanted, not \"%s\"", value);
}

static const option_row own_options[] = {
    {.name = "labels",
     .letter = 'l',
     .argument = "A,B,...",
     .string = &given.words,
     .help = "words to choose from"},
    {.name = "labels-model",
     .argument = "DIR",
     .string = &given.labels_model,
     .help = "or: what magpie train labels has made"},
    {.name = "template",
     .argument = "TEXT",
     .string = &given.pattern,
     .help = "what the words are put into, as in \"a picture of {}\" (default: {})"},
    {.name = "temperature",
     .argument = "X",
     .parse = parse_temperature,
     .target = &given.temperature,
     .help =
         "of words: what scores are divided by (default: the fusion model's; without heads 0.01, CLIP's)"},
    {.letter = 'k',
     .name = "count",
     .argument = "N",
     .number = &given.k,
     .least = 1,
     .most = LABELS_SHOWN_MAX,
     .help = "how many of the likeliest (default: 10)"},
    {0}};

static const option_row *const tables[] = {own_options,  query_options, storage_optional_options,
                                           json_options, model_options, audio_seconds_options,
                                           NULL};

const command classify_command = {
    .name = "classify",
    .summary = "say which of some labels fits a text, a picture, a sound or an item",
    .operands = "",
    .tables = tables,
    .details =
        "--labels: words that nobody has learned. Each is encoded as a text, brought into the one space, "
        "and compared with what is to be labelled; the probabilities are those of these words alone, and "
        "as good as the space is.\n"
        "--labels-model: calibrated probabilities of the values of an attribute. The models (--model, "
        "...) are those whose vectors it was learned on; of one space other than fused, one thing is "
        "taken, of its kind.\n"
        "--item: of the store, by the vector that is there.\n"
        "\n"
        "--json: {\"attribute\", \"labels\": [{\"label\", \"probability\"}], \"took_ms\"}, likeliest "
        "first; attribute is null for words; took_ms is without opening the models.\n",
    .run = run_classify};
