/* train_labels.c - magpie train labels: a model that tells an attribute's value from an item's vector. */
#include "command.h"
#include "labelled.h"
#include "output.h"
#include "storage.h"
#include "terminal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { LEAST_MOST = 1 << 30, NAME_COLUMNS = 24, TRAINED_MAX = 3 };

static struct {
    const char *attribute, *output;
    magpie_space space; /* MAGPIE_SPACES: all */
    size_t level, least, seed;
} given = {.space = MAGPIE_SPACE_FUSED, .level = 1, .least = 10};

/* What was trained on one space. */
typedef struct trained {
    magpie_space space;
    char *folder;
    magpie_labels *labels;
    magpie_labels_fit_report fit;
    magpie_labels_report report;
    size_t *confusion; /* [labels, labels] */
} trained;

typedef struct training {
    magpie_store *store;
    features features;
    labelled labelled;
    trained models[TRAINED_MAX];
    size_t count;
} training;

/* ---- training ------------------------------------------------------------------------------------------ */

static magpie_status fit(const training *t, trained *m) {
    const magpie_space_binding *binding = &t->features.spaces.of[m->space];
    const magpie_labels_info about = {.attribute = given.attribute,
                                      .level = given.level,
                                      .space = magpie_space_name(m->space),
                                      .fingerprint = binding->fingerprint,
                                      .dimension = binding->dimension,
                                      .count = t->labelled.count,
                                      .labels = t->labelled.names};
    float *vectors[LABELLED_PARTS] = {0};
    magpie_labels_examples parts[LABELLED_PARTS];
    magpie_status status = MAGPIE_OK;
    for (labelled_part p = 0; p < LABELLED_PARTS && status == MAGPIE_OK; p++)
        status = labelled_examples(&t->labelled, &t->features, p, m->space, &vectors[p], &parts[p]);
    if (status == MAGPIE_OK)
        status = magpie_labels_fit(&about, &parts[LABELLED_TRAINING], &parts[LABELLED_VALIDATION], 0, &m->fit,
                                   &m->labels);
    m->confusion = magpie_alloc(about.count, about.count * sizeof *m->confusion);
    if (!m->confusion) status = MAGPIE_E_NO_MEMORY;
    if (status == MAGPIE_OK)
        status = magpie_labels_evaluate(m->labels, &parts[LABELLED_HELD_OUT], m->confusion, &m->report);
    for (labelled_part p = 0; p < LABELLED_PARTS; p++) free(vectors[p]);
    return status;
}

static magpie_status check_space(const training *t, magpie_space space) {
    if (t->features.spaces.of[space].dimension) return MAGPIE_OK;
    return magpie_fail(MAGPIE_E_NOT_FOUND, "%s has no %s vectors", storage_directory(),
                       magpie_space_name(space));
}

static magpie_status open_items(training *t) {
    static const magpie_space all[] = {MAGPIE_SPACE_TEXT, MAGPIE_SPACE_IMAGE, MAGPIE_SPACE_FUSED};
    const bool every = given.space == MAGPIE_SPACES;
    labelled_options options = {given.attribute, given.level, given.least, given.seed, {0}};
    magpie_status status = storage_open(STORAGE_READ, &t->store);
    if (status == MAGPIE_OK) status = features_open(t->store, FEATURES_ALL, NULL, &t->features);
    t->count = every ? sizeof all / sizeof *all : 1;
    for (size_t i = 0; i < t->count && status == MAGPIE_OK; i++) {
        t->models[i].space = every ? all[i] : given.space;
        options.spaces[t->models[i].space] = true;
        status = check_space(t, t->models[i].space);
    }
    return status == MAGPIE_OK ? labelled_open(&t->features, &options, &t->labelled) : status;
}

/* Of several models each has a folder in the output's. */
static magpie_status save(const training *t, trained *m) {
    if (t->count > 1 && mkdir(given.output, 0777) != 0 && errno != EEXIST)
        return magpie_fail_errno(errno, "cannot make %s", given.output);
    m->folder =
        t->count > 1 ? magpie_path_join(given.output, magpie_space_name(m->space)) : strdup(given.output);
    return m->folder ? magpie_labels_save(m->labels, m->folder)
                     : magpie_fail(MAGPIE_E_NO_MEMORY, "out of memory");
}

static magpie_status train(training *t) {
    magpie_status status = open_items(t);
    for (size_t i = 0; i < t->count && status == MAGPIE_OK; i++) {
        status = fit(t, &t->models[i]);
        if (status == MAGPIE_OK) status = save(t, &t->models[i]);
    }
    return status;
}

/* ---- figures of one label ------------------------------------------------------------------------------ */

typedef struct label_figures {
    size_t items, told, right;    /* that have it, were given it, and both */
    double precision, recall, f1; /* below 0: there is nothing to divide by */
} label_figures;

static label_figures figures_of(const trained *m, size_t k) {
    const size_t count = magpie_labels_get_info(m->labels)->count;
    label_figures f = {.right = m->confusion[k * count + k]};
    for (size_t j = 0; j < count; j++) {
        f.items += m->confusion[k * count + j];
        f.told += m->confusion[j * count + k];
    }
    f.precision = f.told ? (double)f.right / (double)f.told : -1;
    f.recall = f.items ? (double)f.right / (double)f.items : -1;
    f.f1 = f.items + f.told ? 2 * (double)f.right / (double)(f.items + f.told) : -1;
    return f;
}

/* ---- JSON ---------------------------------------------------------------------------------------------- */

static void append_ratio(magpie_text *out, const char *key, double value) {
    magpie_text_printf(out, value < 0 ? ", \"%s\": null" : ", \"%s\": %.9g", key, value);
}

static void append_labels_json(magpie_text *out, const trained *m) {
    const magpie_labels_info *info = magpie_labels_get_info(m->labels);
    magpie_text_printf(out, ", \"labels\": [");
    for (size_t k = 0; k < info->count; k++) {
        const label_figures f = figures_of(m, k);
        magpie_text_printf(out, "%s{\"label\": ", k ? ", " : "");
        magpie_text_json_string(out, info->labels[k], strlen(info->labels[k]));
        magpie_text_printf(out, ", \"items\": %zu", f.items);
        append_ratio(out, "precision", f.precision);
        append_ratio(out, "recall", f.recall);
        append_ratio(out, "f1", f.f1);
        magpie_text_printf(out, "}");
    }
    magpie_text_printf(out, "], \"confusion\": [");
    for (size_t k = 0; k < info->count; k++) {
        magpie_text_printf(out, "%s[", k ? ", " : "");
        for (size_t j = 0; j < info->count; j++)
            magpie_text_printf(out, "%s%zu", j ? ", " : "", m->confusion[k * info->count + j]);
        magpie_text_printf(out, "]");
    }
    magpie_text_printf(out, "]");
}

static void append_model_json(magpie_text *out, const trained *m) {
    const magpie_labels_info *info = magpie_labels_get_info(m->labels);
    magpie_text_printf(out, "{\"space\": \"%s\", \"output\": ", info->space);
    magpie_text_json_string(out, m->folder, strlen(m->folder));
    magpie_text_printf(
        out,
        ", \"strength\": %.9g, \"temperature\": %.9g, \"iterations\": %zu, \"gradient\": %.9g, "
        "\"validation_log_loss\": %.9g, \"accuracy\": %.9g, \"top3\": %.9g, \"log_loss\": %.9g, "
        "\"calibration_error\": %.9g",
        info->strength, (double)info->temperature, m->fit.iterations, m->fit.gradient, m->fit.log_loss,
        m->report.accuracy, m->report.top3, m->report.log_loss, m->report.calibration_error);
    append_labels_json(out, m);
    magpie_text_printf(out, "}");
}

static void append_json(const training *t, magpie_text *out) {
    const labelled *l = &t->labelled;
    magpie_text_printf(out, "{\"attribute\": ");
    magpie_text_json_string(out, given.attribute, strlen(given.attribute));
    magpie_text_printf(
        out,
        ", \"level\": %zu, \"training\": %zu, \"validation\": %zu, \"held_out\": %zu, \"left_out\": "
        "{\"labels\": %zu, \"items\": %zu}, \"models\": [",
        given.level, l->part[LABELLED_TRAINING].n, l->part[LABELLED_VALIDATION].n,
        l->part[LABELLED_HELD_OUT].n, l->rare, l->rare_items);
    for (size_t i = 0; i < t->count; i++) {
        if (i) magpie_text_printf(out, ", ");
        append_model_json(out, &t->models[i]);
    }
    magpie_text_printf(out, "]}\n");
}

/* ---- tables -------------------------------------------------------------------------------------------- */

static void append_row(magpie_text *out, const training *t, const char *name,
                       double (*value)(const trained *)) {
    magpie_text_printf(out, "%-20s", name);
    for (size_t i = 0; i < t->count; i++) magpie_text_printf(out, " %9.4g", value(&t->models[i]));
    magpie_text_append(out, "\n", 1);
}

static double accuracy_of(const trained *m) { return m->report.accuracy; }
static double top3_of(const trained *m) { return m->report.top3; }
static double log_loss_of(const trained *m) { return m->report.log_loss; }
static double calibration_error_of(const trained *m) { return m->report.calibration_error; }
static double temperature_of(const trained *m) {
    return (double)magpie_labels_get_info(m->labels)->temperature;
}
static double strength_of(const trained *m) { return magpie_labels_get_info(m->labels)->strength; }

static void append_side_by_side(magpie_text *out, const training *t) {
    magpie_text_printf(out, "\n%-20s", "on held-out titles");
    for (size_t i = 0; i < t->count; i++)
        magpie_text_printf(out, " %9s", magpie_space_name(t->models[i].space));
    magpie_text_append(out, "\n", 1);
    append_row(out, t, "accuracy", accuracy_of);
    append_row(out, t, "among the best 3", top3_of);
    append_row(out, t, "log loss", log_loss_of);
    append_row(out, t, "calibration error", calibration_error_of);
    append_row(out, t, "temperature", temperature_of);
    append_row(out, t, "strength", strength_of);
}

static void append_cell(magpie_text *out, double value) {
    if (value < 0)
        magpie_text_printf(out, " %5s", "-");
    else
        magpie_text_printf(out, " %5.3f", value);
}

/* A row a label: what it is told by, and as what its items were told. */
static void append_confusion(magpie_text *out, const trained *m) {
    const magpie_labels_info *info = magpie_labels_get_info(m->labels);
    magpie_text_printf(out, "\n%4s %-*s %5s %5s %5s %5s  told as", "", NAME_COLUMNS, info->space, "items",
                       "prec", "rec", "f1");
    for (size_t k = 0; k < info->count; k++) magpie_text_printf(out, k ? " %4zu" : "%4zu", k + 1);
    magpie_text_append(out, "\n", 1);
    for (size_t k = 0; k < info->count; k++) {
        const label_figures f = figures_of(m, k);
        magpie_text_printf(out, "%4zu ", k + 1);
        terminal_append_cell(out, magpie_string_of(info->labels[k]), NAME_COLUMNS);
        magpie_text_printf(out, " %5zu", f.items);
        append_cell(out, f.precision);
        append_cell(out, f.recall);
        append_cell(out, f.f1);
        magpie_text_printf(out, "%9s", "");
        for (size_t j = 0; j < info->count; j++) {
            const size_t n = m->confusion[k * info->count + j];
            if (n)
                magpie_text_printf(out, j ? " %4zu" : "%4zu", n);
            else
                magpie_text_printf(out, j ? " %4s" : "%4s", ".");
        }
        magpie_text_append(out, "\n", 1);
    }
}

static void append_table(const training *t, magpie_text *out) {
    const labelled *l = &t->labelled;
    magpie_text_printf(out, "%zu labels; %zu items for training, %zu for validation, %zu held out\n",
                       l->count, l->part[LABELLED_TRAINING].n, l->part[LABELLED_VALIDATION].n,
                       l->part[LABELLED_HELD_OUT].n);
    if (l->rare)
        magpie_text_printf(out, "left out: %zu labels of fewer than %zu training items, with %zu items\n",
                           l->rare, given.least, l->rare_items);
    append_side_by_side(out, t);
    for (size_t i = 0; i < t->count; i++) append_confusion(out, &t->models[i]);
}

static exit_code answer(const training *t) {
    magpie_text out = {0};
    if (output_json)
        append_json(t, &out);
    else
        append_table(t, &out);
    return output_and_free(&out);
}

/* ---- the command --------------------------------------------------------------------------------------- */

static exit_code run_labels(char **operands, int count) {
    (void)operands;
    (void)count;
    training *t = magpie_alloc(1, sizeof *t);
    if (!t) return print_failure();
    magpie_status status = train(t);
    exit_code code = status == MAGPIE_OK ? answer(t) : print_failure();
    for (size_t i = 0; i < TRAINED_MAX; i++) {
        magpie_labels_close(t->models[i].labels);
        free(t->models[i].folder);
        free(t->models[i].confusion);
    }
    labelled_close(&t->labelled);
    features_close(&t->features);
    magpie_store_close(t->store);
    free(t);
    return code;
}

static magpie_status parse_space(const char *value, void *target) {
    if (strcmp(value, "all") == 0) return *(magpie_space *)target = MAGPIE_SPACES, MAGPIE_OK;
    magpie_status status = storage_parse_space(value, target);
    return status == MAGPIE_OK
               ? status
               : magpie_fail(status, "fused, text, image, audio or all is wanted, not \"%s\"", value);
}

static const option_row own_options[] = {
    {.name = "attribute",
     .argument = "NAME",
     .string = &given.attribute,
     .required = true,
     .help = "whose values are to be told, of the attributes' top level; a string"},
    {.name = "output",
     .letter = 'o',
     .argument = "DIR",
     .string = &given.output,
     .required = true,
     .help = "the folder of the model; made where there is none"},
    {.name = "level",
     .argument = "N",
     .number = &given.level,
     .most = MAGPIE_LABELS_LEVEL_MAX,
     .help = "of a path, the first N parts: animals of animals/birds (default: 1); 0: the whole value"},
    {.name = "space",
     .argument = "S",
     .parse = parse_space,
     .target = &given.space,
     .help = "fused, text, image or audio: whose vectors are learned from (default: fused); or all: text, "
             "image and fused side by side"},
    {.name = "least",
     .argument = "N",
     .number = &given.least,
     .least = 1,
     .most = LEAST_MOST,
     .help = "labels of fewer training items are left out (default: 10)"},
    {.name = "seed",
     .argument = "N",
     .number = &given.seed,
     .most = SIZE_MAX,
     .help = "draws the titles for validation (default: 0)"},
    {0}};

static const option_row *const tables[] = {storage_options, own_options, json_options, NULL};

const command train_labels_command = {
    .name = "train labels",
    .summary = "learn to tell the value of an attribute from an item's vector",
    .operands = "",
    .tables = tables,
    .details =
        "A multinomial logistic regression over the vectors that the store has: nothing is encoded. Items "
        "of held-out titles are not learned from, and are what the report is about. Of the other titles "
        "one in five is for validation: how strongly the weights are held back (L2) is what gives the "
        "least log loss there, and so is the temperature by which the probabilities are calibrated. The "
        "rest is trained on until no component of the gradient is beyond 1e-5. The same store and seed "
        "give the same bytes.\n"
        "\n"
        "With --space all, the items are those that have all three vectors, so that the figures compare, "
        "and the models are DIR/text, DIR/image and DIR/fused.\n"
        "\n"
        "The report: accuracy, and how often the label is among the three likeliest; log loss; by how "
        "much probabilities and accuracy differ (expected calibration error, 15 ranges); for each label "
        "precision, recall, F1, and as what its items were told.\n"
        "\n"
        "--json: {\"attribute\", \"level\", \"training\", \"validation\", \"held_out\", \"left_out\": "
        "{\"labels\", \"items\"}, \"models\": [{\"space\", \"output\", \"strength\", \"temperature\", "
        "\"iterations\", \"gradient\", \"validation_log_loss\", \"accuracy\", \"top3\", \"log_loss\", "
        "\"calibration_error\", \"labels\": [{\"label\", \"items\", \"precision\", \"recall\", \"f1\"}], "
        "\"confusion\": [[...]]}]}; confusion: a row a label, a column an answer; null where there is "
        "nothing to divide by.\n",
    .run = run_labels};
