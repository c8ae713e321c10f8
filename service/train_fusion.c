/* train_fusion.c - magpie train fusion: the heads of a fusion model, out of the vectors that a store has. */
#include "command.h"
#include "interrupt.h"
#include "curve.h"
#include "features.h"
#include "output.h"
#include "storage.h"
#include "terminal.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { EPOCHS_MAX = 100000, DIMENSION_MOST = 16384, BATCH_MOST = 4096, THREADS_MOST = 1024 };

static struct {
    const char *output, *curve;
    const char *kind;
    size_t dimension, epochs, batch, patience, seed, validation, threads;
    double rate, weight_decay, dropout, temperature;
    bool all, keep_text, resume, f32;
    magpie_precision precision;
} given = {.kind = "linear", /* magpie_fusion_train_defaults, which the help repeats */
           .epochs = 60,
           .batch = 512,
           .patience = 12,
           .rate = 1e-3,
           .weight_decay = 0.1,
           .dropout = 0.1,
           .temperature = 0.07,
           .precision = MAGPIE_PRECISION_AUTO,
           .seed = 1,
           .validation = 10};

/* What the progress tells of. */
typedef struct run {
    magpie_fusion_epoch *curve; /* [count] */
    size_t count, capacity;
    double seconds; /* of the epochs that were run now */
    size_t run_now;
    magpie_text line;
} run;

/* ---- epoch by epoch ------------------------------------------------------------------------------------ */

static void append_weights_json(magpie_text *out, const float *weights) {
    magpie_text_printf(out, "\"weights\": {");
    for (size_t m = 0, n = 0; m < MAGPIE_MODALITIES; m++)
        if (weights[m] > 0)
            magpie_text_printf(out, "%s\"%s\": %.6g", n++ ? ", " : "",
                               magpie_modality_name((magpie_modality)m), (double)weights[m]);
    magpie_text_printf(out, "}");
}

static magpie_status print_epoch_json(run *r, const magpie_fusion_epoch *e) {
    magpie_text_printf(&r->line,
                       "{\"epoch\": %zu, \"epochs\": %zu, \"loss\": %.6g, \"recall\": %.6g, \"rate\": %.6g, ",
                       e->epoch, e->epochs, e->loss, e->recall, e->rate);
    magpie_text_printf(&r->line, "\"temperature\": %.6g, \"best\": %s, \"resumed\": %s, \"seconds\": %.4f, ",
                       e->temperature, e->best ? "true" : "false", e->resumed ? "true" : "false", e->seconds);
    append_weights_json(&r->line, e->weights);
    magpie_text_append(&r->line, "}\n", 2);
    if (output_text(&r->line) != EXIT_FINE) return magpie_fail(MAGPIE_E_CANCELLED, "standard output is gone");
    return fflush(stdout) == 0 ? MAGPIE_OK : magpie_fail_errno(errno, "cannot write standard output");
}

/* One line, which stays in a file and is drawn anew on a terminal. */
static void print_epoch(run *r, const magpie_fusion_epoch *e) {
    char line[200];
    double left = r->run_now ? r->seconds / (double)r->run_now * (double)(e->epochs - e->epoch) : 0;
    int n = snprintf(line, sizeof line, "epoch %zu/%zu  loss %.4f  recall@10 %.4f%s  rate %.2e  %.2f s",
                     e->epoch, e->epochs, e->loss, e->recall, e->best ? "*" : " ", e->rate, e->seconds);
    if (!isatty(STDERR_FILENO)) {
        fprintf(stderr, "%s%s\n", line, e->resumed ? "  (before)" : "");
        return;
    }
    if (r->run_now) snprintf(line + n, sizeof line - (size_t)n, "  %.0f s left at most", left);
    terminal_show_line(line);
}

static magpie_status take_epoch(void *context, const magpie_fusion_epoch *e) {
    run *r = context;
    magpie_status status = magpie_grow((void **)&r->curve, &r->capacity, r->count + 1, sizeof *r->curve);
    if (status != MAGPIE_OK) return status;
    r->curve[r->count++] = *e;
    if (!e->resumed) r->seconds += e->seconds;
    if (!e->resumed) r->run_now++;
    if (!output_json)
        print_epoch(r, e);
    else if ((status = print_epoch_json(r, e)) != MAGPIE_OK)
        return status;
    if (!interrupt_came()) return MAGPIE_OK;
    return magpie_fail(MAGPIE_E_CANCELLED, "interrupted after epoch %zu; --resume goes on from there",
                       e->epoch);
}

/* ---- the report ---------------------------------------------------------------------------------------- */

static void append_report_json(magpie_text *out, const run *r, const magpie_fusion_report *report,
                               const magpie_fusion_epoch *kept) {
    magpie_text_printf(out, "{\"output\": ");
    magpie_text_json_string(out, given.output, strlen(given.output));
    magpie_text_printf(out, ", \"training\": %zu, \"validation\": %zu, \"held_out\": %zu, \"epochs\": %zu, ",
                       report->training, report->validation, report->held_out, report->epochs);
    magpie_text_printf(out, "\"best_epoch\": %zu, \"loss\": %.6g, \"recall\": %.6g, \"first_recall\": %.6g, ",
                       report->best_epoch, report->loss, report->recall, report->first_recall);
    magpie_text_printf(out, "\"temperature\": %.6g, \"parameters\": %llu, \"seconds\": %.3f, ",
                       kept->temperature, (unsigned long long)report->parameters, r->seconds);
    append_weights_json(out, kept->weights);
    magpie_text_append(out, "}\n", 2);
}

static void append_report(magpie_text *out, const run *r, const magpie_fusion_report *report,
                          const magpie_fusion_epoch *kept) {
    magpie_text_printf(out, "items         %zu to train on, %zu for validation, %zu held out\n",
                       report->training, report->validation, report->held_out);
    magpie_text_printf(out, "epochs        %zu in %.1f s; number %zu is kept\n", report->epochs, r->seconds,
                       report->best_epoch);
    magpie_text_printf(out, "loss          %.4f\n", report->loss);
    if (report->validation)
        magpie_text_printf(out, "recall@10     %.4f across modalities, %.4f before training\n",
                           report->recall, report->first_recall);
    magpie_text_printf(out, "temperature   %.4f\nweights      ", kept->temperature);
    for (size_t m = 0; m < MAGPIE_MODALITIES; m++)
        if (kept->weights[m] > 0)
            magpie_text_printf(out, " %s %.3f", magpie_modality_name((magpie_modality)m),
                               (double)kept->weights[m]);
    magpie_text_printf(out, "\nmodel         %s, %llu numbers\n", given.output,
                       (unsigned long long)report->parameters);
}

static exit_code print_report(const run *r, const magpie_fusion_report *report) {
    magpie_text out = {0};
    const magpie_fusion_epoch *kept = &r->curve[report->best_epoch - 1];
    terminal_clear_progress();
    if (output_json)
        append_report_json(&out, r, report, kept);
    else
        append_report(&out, r, report, kept);
    exit_code code = output_text(&out);
    magpie_text_free(&out);
    return code;
}

/* ---- training ------------------------------------------------------------------------------------------ */

/* The features as the trainer takes them, in one block. */
static magpie_status take_features(const features *f, magpie_fusion_data *out, magpie_block *block) {
    for (int pass = 0; pass < 2; pass++) {
        uint64_t *titles = magpie_carve(block, f->n, sizeof *titles);
        *out = (magpie_fusion_data){.n = f->n, .titles = titles};
        for (size_t i = 0; titles && i < f->n; i++) titles[i] = f->items[i].title;
        for (size_t m = 0; m < MAGPIE_MODALITIES; m++) {
            if (!f->source[m].dimension) continue;
            const float **rows = magpie_carve(block, f->n, sizeof *rows);
            for (size_t i = 0; rows && i < f->n; i++) rows[i] = f->items[i].of[m];
            out->source[m] = f->source[m];
            out->features[m] = rows;
        }
        magpie_status status = pass ? MAGPIE_OK : magpie_block_alloc(block);
        if (status != MAGPIE_OK) return status;
    }
    return MAGPIE_OK;
}

static magpie_fusion_train_options options_for(const magpie_fusion_data *data) {
    magpie_fusion_train_options o = magpie_fusion_train_defaults();
    size_t text = data->source[MAGPIE_TEXT].dimension;
    o.kind = given.kind;
    o.dimension = given.dimension ? given.dimension : text ? text : o.dimension;
    o.epochs = given.epochs;
    o.batch = given.batch;
    o.patience = given.patience;
    o.rate = given.rate;
    o.weight_decay = given.weight_decay;
    o.dropout = given.dropout;
    o.keep_text = given.keep_text;
    o.temperature = given.temperature;
    o.seed = given.seed;
    o.validation = given.validation;
    o.threads = (unsigned)given.threads;
    o.precision = given.precision;
    o.all = given.all;
    o.resume = given.resume;
    o.f32 = given.f32;
    return o;
}

static magpie_status write_curve(const run *r) {
    curve_point *points = magpie_alloc(r->count, sizeof *points);
    if (!points) return MAGPIE_E_NO_MEMORY;
    for (size_t i = 0; i < r->count; i++)
        points[i] = (curve_point){r->curve[i].epoch, r->curve[i].loss, r->curve[i].recall, r->curve[i].best};
    magpie_status status =
        curve_write(given.curve, "Training of a fusion model", "recall@10", points, r->count);
    free(points);
    return status;
}

static magpie_status train(const features *f, run *r, magpie_fusion_report *report) {
    magpie_fusion_data data;
    magpie_block block = {0};
    magpie_status status = take_features(f, &data, &block);
    const magpie_fusion_train_options options = options_for(&data);
    if (status == MAGPIE_OK)
        status = magpie_fusion_train(&data, &options, given.output, take_epoch, r, report);
    if (status == MAGPIE_OK && given.curve) status = write_curve(r);
    magpie_block_free(&block);
    return status;
}

static exit_code run_train_fusion(char **operands, int count) {
    (void)operands;
    (void)count;
    magpie_store *store = NULL;
    features f = {0};
    run r = {0};
    magpie_fusion_report report;
    interrupt_listen();
    magpie_status status = storage_open(STORAGE_READ, &store);
    if (status == MAGPIE_OK) status = features_open(store, FEATURES_ALL, NULL, &f);
    if (status == MAGPIE_OK) status = train(&f, &r, &report);
    exit_code code = status == MAGPIE_OK ? print_report(&r, &report) : print_failure();
    if (status == MAGPIE_E_CANCELLED && interrupt_came()) code = EXIT_INTERRUPTED;
    features_close(&f);
    magpie_store_close(store);
    magpie_text_free(&r.line);
    free(r.curve);
    return code;
}

/* ---- options ------------------------------------------------------------------------------------------- */

static magpie_status parse_kind(const char *value, void *target) {
    if (strcmp(value, "linear") != 0 && strcmp(value, "residual") != 0)
        return magpie_fail(MAGPIE_E_ARGUMENT, "linear or residual is wanted, not \"%s\"", value);
    *(const char **)target = value;
    return MAGPIE_OK;
}

/* A number of 0 or more; what is too large for its option, the training says. */
static magpie_status parse_real(const char *value, void *target) {
    char *end;
    double number = strtod(value, &end);
    if (!*value || *end || !isfinite(number) || number < 0)
        return magpie_fail(MAGPIE_E_ARGUMENT, "a number of 0 or more is wanted, not \"%s\"", value);
    *(double *)target = number;
    return MAGPIE_OK;
}

static magpie_status parse_precision(const char *value, void *target) {
    return magpie_precision_parse(value, target);
}

static const option_row own_options[] = {
    {.name = "output",
     .letter = 'o',
     .argument = "DIR",
     .string = &given.output,
     .required = true,
     .help = "the fusion model's folder; it is made where there is none"},
    {.name = "kind",
     .argument = "K",
     .parse = parse_kind,
     .target = &given.kind,
     .help = "of the heads: linear (default) or residual, which is two layers"},
    {.name = "dimension",
     .argument = "N",
     .number = &given.dimension,
     .least = 1,
     .most = DIMENSION_MOST,
     .help = "of the space (default: the text vectors')"},
    {.name = "epochs",
     .argument = "N",
     .number = &given.epochs,
     .least = 1,
     .most = EPOCHS_MAX,
     .help = "at most (default: 60)"},
    {.name = "patience",
     .argument = "N",
     .number = &given.patience,
     .most = EPOCHS_MAX,
     .help = "end after N epochs that were no better (default: 12; 0: run all)"},
    {.name = "batch",
     .argument = "N",
     .number = &given.batch,
     .least = 2,
     .most = BATCH_MOST,
     .help = "items that are told apart at a time (default: 512)"},
    {.name = "lr",
     .argument = "X",
     .parse = parse_real,
     .target = &given.rate,
     .help = "the rate of learning at its highest (default: 0.001)"},
    {.name = "weight-decay",
     .argument = "X",
     .parse = parse_real,
     .target = &given.weight_decay,
     .help = "of the matrices (default: 0.1)"},
    {.name = "dropout",
     .argument = "X",
     .parse = parse_real,
     .target = &given.dropout,
     .help = "share of a vector's numbers left out in training (default: 0.1)"},
    {.name = "temperature",
     .argument = "X",
     .parse = parse_real,
     .target = &given.temperature,
     .help = "to begin with; it is learned (default: 0.07)"},
    {.name = "seed",
     .argument = "N",
     .number = &given.seed,
     .most = SIZE_MAX,
     .help = "of all chance (default: 1)"},
    {.name = "validation",
     .argument = "N",
     .number = &given.validation,
     .most = 1000000,
     .help = "one title in N, a multiple of 5, tells when to stop (default: 10; 0: none)"},
    {.name = "keep-text",
     .flag = &given.keep_text,
     .help = "leave texts as they are, and bring the rest to them: texts find texts as without heads"},
    {.name = "all", .flag = &given.all, .help = "train on the titles that are held out for eval, too"},
    {.name = "f32", .flag = &given.f32, .help = "write numbers of 32 bits, not of 16"},
    {.name = "precision",
     .argument = "P",
     .parse = parse_precision,
     .target = &given.precision,
     .help = "of products: f32, or auto: bf16 where the CPU has it (default)"},
    {.name = "resume", .flag = &given.resume, .help = "go on where a training into this folder was stopped"},
    {.name = "curve",
     .argument = "FILE",
     .string = &given.curve,
     .help = "draw loss and recall by epoch, as SVG"},
    {.name = "threads",
     .argument = "N",
     .number = &given.threads,
     .least = 1,
     .most = THREADS_MOST,
     .help = "(default: one a CPU); they change nothing but the time"},
    {0}};

static const option_row *const tables[] = {storage_options, own_options, json_options, NULL};

const command train_fusion_command = {
    .name = "train fusion",
    .summary = "train heads that bring texts, pictures and sounds into one space",
    .operands = "",
    .tables = tables,
    .details = "The store's vectors are what is trained on; nothing is encoded. An item counts\n"
               "that has two of text, picture and sound. One title in five (the attribute\n"
               "\"title\", else the text) is held out for magpie eval, and one in ten tells\n"
               "which epoch is best. Use the model by --fusion-model DIR.\n"
               "--json: a line an epoch, then one of what was reached.\n",
    .run = run_train_fusion};
