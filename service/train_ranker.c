/* train_ranker.c - magpie train ranker: a model of who likes what, out of a store's interactions. */
#include "command.h"
#include "curve.h"
#include "interrupt.h"
#include "likes.h"
#include "output.h"
#include "ranker_parameters.h"
#include "rankers.h"
#include "storage.h"
#include "terminal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FROM_MOST = 8 };

static struct {
    const char *curve, *from;
    bool resume, go_on, validate;
} given;

/* One training, and what its progress tells of. */
typedef struct run {
    likes likes;
    char *folder;              /* STORE/ranker/MODEL */
    char *from[FROM_MOST + 1]; /* ends with NULL */
    curve_point *curve;        /* [count] */
    size_t count, capacity;
    size_t before; /* epochs of an earlier run, told again or not */
    bool begun;
    magpie_text line;
    magpie_ranker_report report;
} run;

/* ---- epoch by epoch ------------------------------------------------------------------------------------ */

/* HR@10 of 0 is none: there is no validation. */
static void append_hit_rate(magpie_text *out, double hit_rate) {
    if (hit_rate > 0)
        magpie_text_printf(out, ", \"hr@10\": %.6g, ", hit_rate);
    else
        magpie_text_printf(out, ", \"hr@10\": null, ");
}

static magpie_status print_epoch_json(run *r, const magpie_ranker_progress *p) {
    magpie_text_printf(&r->line, "{\"epoch\": %zu, \"epochs\": %zu, \"loss\": %.6g", p->epoch, p->epochs,
                       p->loss);
    append_hit_rate(&r->line, p->hit_rate);
    magpie_text_printf(
        &r->line, "\"samples_per_second\": %.0f, \"best\": %s, \"resumed\": %s, \"seconds\": %.3f}\n",
        p->samples_per_second, p->best ? "true" : "false", p->resumed ? "true" : "false", p->seconds);
    if (output_text(&r->line) != EXIT_FINE) return magpie_fail(MAGPIE_E_CANCELLED, "standard output is gone");
    return fflush(stdout) == 0 ? MAGPIE_OK : magpie_fail_errno(errno, "cannot write standard output");
}

/* One line, which is drawn anew on a terminal, and in a file stays of each epoch that has ended. */
static void print_progress(const run *r, const magpie_ranker_progress *p) {
    char line[240];
    const bool terminal = isatty(STDERR_FILENO);
    const double done = (double)(p->epoch - 1 - r->before) + p->done, all = (double)(p->epochs - r->before);
    int n = snprintf(line, sizeof line, "epoch %zu/%zu  loss %.4f  %.0f samples/s", p->epoch, p->epochs,
                     p->loss, p->samples_per_second);
    if (p->hit_rate > 0)
        n += snprintf(line + n, sizeof line - (size_t)n, "  HR@10 %.4f%s", p->hit_rate, p->best ? "*" : " ");
    if (!terminal) {
        if (p->epoch_ended) fprintf(stderr, "%s%s\n", line, p->resumed ? "  (before)" : "");
        return;
    }
    if (!p->resumed && done > 0)
        snprintf(line + n, sizeof line - (size_t)n, "  %.0f s left at most",
                 p->seconds / done * (all - done));
    terminal_show_line(line);
}

static magpie_status keep_point(run *r, const magpie_ranker_progress *p) {
    magpie_status status = magpie_grow((void **)&r->curve, &r->capacity, r->count + 1, sizeof *r->curve);
    if (status == MAGPIE_OK) r->curve[r->count++] = (curve_point){p->epoch, p->loss, p->hit_rate, p->best};
    return status;
}

static magpie_status take_progress(void *context, const magpie_ranker_progress *p) {
    run *r = context;
    magpie_status status = MAGPIE_OK;
    if (p->resumed || !r->begun) r->before = p->epoch - !p->resumed;
    r->begun = true;
    if (p->epoch_ended) status = keep_point(r, p);
    if (!output_json) print_progress(r, p);
    if (output_json && p->epoch_ended && status == MAGPIE_OK) status = print_epoch_json(r, p);
    if (status != MAGPIE_OK || !interrupt_came()) return status;
    return magpie_fail(MAGPIE_E_CANCELLED, "interrupted in epoch %zu%s", p->epoch,
                       ranker_chosen.kind == MAGPIE_RANKER_IALS ? "" : "; --resume goes on from there");
}

/* ---- the report ---------------------------------------------------------------------------------------- */

static void append_report_json(const run *r, magpie_text *out) {
    const magpie_likes *l = &r->likes.all;
    magpie_text_printf(out, "{\"model\": \"%s\", \"output\": ", magpie_ranker_kind_name(ranker_chosen.kind));
    magpie_text_json_string(out, r->folder, strlen(r->folder));
    magpie_text_printf(out,
                       ", \"users\": %zu, \"items\": %zu, \"likes\": %llu, \"epochs\": %zu, "
                       "\"best_epoch\": %zu, \"loss\": %.6g",
                       l->users, l->items, (unsigned long long)l->begin[l->users], r->report.epochs,
                       r->report.best_epoch, r->report.loss);
    append_hit_rate(out, r->report.hit_rate);
    magpie_text_printf(out, "\"parameters\": %llu, \"seconds\": %.3f}\n",
                       (unsigned long long)r->report.parameters, r->report.seconds);
}

static void append_report(const run *r, magpie_text *out) {
    const magpie_likes *l = &r->likes.all;
    magpie_text_printf(out, "likes         %llu, by %zu users, of %zu items\n",
                       (unsigned long long)l->begin[l->users], l->users, l->items);
    if (r->report.epochs)
        magpie_text_printf(out, "epochs        %zu; number %zu is kept\nloss          %.4f\n",
                           r->report.epochs, r->report.best_epoch, r->report.loss);
    if (r->report.hit_rate > 0)
        magpie_text_printf(out, "HR@10         %.4f, the last like of each user among 99 others\n",
                           r->report.hit_rate);
    magpie_text_printf(out, "time          %.1f s\nmodel         %s, %llu numbers\n", r->report.seconds,
                       r->folder, (unsigned long long)r->report.parameters);
}

static exit_code print_report(const run *r) {
    magpie_text out = {0};
    terminal_clear_progress();
    if (output_json)
        append_report_json(r, &out);
    else
        append_report(r, &out);
    return output_and_free(&out);
}

/* ---- training ------------------------------------------------------------------------------------------ */

static magpie_status make_folder(const char *path) {
    if (mkdir(path, 0777) == 0 || errno == EEXIST) return MAGPIE_OK;
    return magpie_fail_errno(errno, "cannot make %s", path);
}

/* STORE/ranker, where there are the folders of all models. */
static magpie_status find_folders(run *r, const char *models) {
    size_t n = 0;
    char name[64];
    r->folder = magpie_path_join(models, magpie_ranker_kind_name(ranker_chosen.kind));
    if (!r->folder) return MAGPIE_E_NO_MEMORY;
    if (given.go_on && !(r->from[n++] = strdup(r->folder)))
        return magpie_fail(MAGPIE_E_NO_MEMORY, "out of memory");
    for (const char *at = given.from; at && *at;) {
        const size_t size = strcspn(at, ",");
        magpie_ranker_kind kind;
        snprintf(name, sizeof name, "%.*s", (int)size, at);
        magpie_status status = magpie_ranker_kind_parse(name, &kind);
        if (status == MAGPIE_OK && n == FROM_MOST)
            status = magpie_fail(MAGPIE_E_ARGUMENT, "--from: too many");
        if (status != MAGPIE_OK) return status;
        if (!(r->from[n++] = magpie_path_join(models, name))) return MAGPIE_E_NO_MEMORY;
        at += size + (at[size] == ',');
    }
    return MAGPIE_OK;
}

/* Before likes are read: a user who is deleted from then on is noted in the model's folder. */
static magpie_status prepare_folders(run *r) {
    char *models = rankers_folder();
    magpie_status status = models ? find_folders(r, models) : MAGPIE_E_NO_MEMORY;
    if (status == MAGPIE_OK) status = make_folder(models);
    if (status == MAGPIE_OK) status = make_folder(r->folder);
    free(models);
    return status;
}

static magpie_status train(run *r) {
    magpie_ranker_options options;
    magpie_status status = ranker_chosen_options(&options);
    options.validate = given.validate;
    options.resume = given.resume;
    options.device = rankers_device;
    options.from = (const char *const *)r->from;
    if (status == MAGPIE_OK)
        status = magpie_ranker_train(&r->likes.all, &r->likes.content, &options, r->folder, take_progress, r,
                                     &r->report);
    if (status == MAGPIE_OK && given.curve)
        status = curve_write(given.curve, "Training of a ranker", "HR@10", r->curve, r->count);
    return status;
}

static exit_code run_train_ranker(char **operands, int count) {
    (void)operands;
    (void)count;
    magpie_store *store = NULL;
    run r = {0};
    interrupt_listen();
    magpie_status status = storage_open(STORAGE_READ, &store);
    if (status == MAGPIE_OK) status = prepare_folders(&r);
    if (status == MAGPIE_OK) status = likes_open(store, storage_directory(), &r.likes);
    if (status == MAGPIE_OK) status = train(&r);
    exit_code code = status == MAGPIE_OK ? print_report(&r) : print_failure();
    if (status == MAGPIE_E_CANCELLED && interrupt_came()) code = EXIT_INTERRUPTED;
    likes_close(&r.likes);
    magpie_store_close(store);
    magpie_text_free(&r.line);
    for (size_t i = 0; r.from[i]; i++) free(r.from[i]);
    free(r.folder);
    free(r.curve);
    return code;
}

/* ---- options ------------------------------------------------------------------------------------------- */

static const option_row own_options[] = {
    {.name = "validate",
     .flag = &given.validate,
     .help =
         "set aside the last like of each user and measure, where training would not: what is left is the "
         "model"},
    {.name = "resume", .flag = &given.resume, .help = "go on where a training of this model was stopped"},
    {.name = "continue",
     .flag = &given.go_on,
     .help = "begin from the model that is there: takes in what was liked since"},
    {.name = "from",
     .argument = "M,M",
     .string = &given.from,
     .help = "begin from what these models of the store have in common with it: gmf,mlp for neumf"},
    {.name = "curve",
     .argument = "FILE",
     .string = &given.curve,
     .help = "draw loss and HR@10 by epoch, as SVG"},
    {0}};

static const option_row *const tables[] = {
    storage_options,          ranker_choice_options, own_options, rankers_device_options,
    ranker_parameter_options, json_options,          NULL};

const command train_ranker_command = {
    .name = "train ranker",
    .summary = "train a model of who likes what",
    .operands = "",
    .tables = tables,
    .prepare = ranker_parameters_prepare,
    .details = "The store's interactions are what is trained on, into STORE/ranker/MODEL; magpie also takes\n"
               "the items' fused vectors. The parameters' defaults are in brackets, for each model that\n"
               "has them. Where training has epochs and a patience, the last like of each user is set\n"
               "aside and tells which epoch is kept. The same store, seed and options give the same bytes.\n"
               "--json: a line an epoch, then one of what was reached.\n",
    .run = run_train_ranker};
