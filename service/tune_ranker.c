/* tune_ranker.c - magpie tune ranker: better parameters for a model of who likes what. */
#include "command.h"
#include "likes.h"
#include "output.h"
#include "ranker_parameters.h"
#include "storage.h"
#include "tune_search.h"

#include <stdlib.h>
#include <string.h>

enum { BUDGET_MOST = 30 * 24 * 3600, SHOWN = 10 };

static struct {
    const char *report, *output;
    size_t budget, candidates;
} given = {.budget = 60, .candidates = 64};

/* ---- the best ------------------------------------------------------------------------------------------ */

static magpie_status write_options(const tune_result *result) {
    magpie_text out = {0};
    magpie_text_printf(&out, "{\"%s\": ", magpie_ranker_kind_name(ranker_chosen.kind));
    magpie_ranker_parameters_print(&result->candidates[0].options, &out);
    magpie_text_append(&out, "}\n", 2);
    magpie_status status = magpie_atomic_write(given.output, &out);
    magpie_text_free(&out);
    return status;
}

/* ---- the report ---------------------------------------------------------------------------------------- */

/* How a table is written: what is before, between and after the cells of a line. */
typedef struct table_style {
    const char *before, *between, *after;
} table_style;

static const table_style markdown = {"| ", " | ", " |\n"}, html = {"<tr><td>", "</td><td>", "</td></tr>\n"};

static void append_heads(magpie_text *out, const magpie_ranker_options *start, const table_style *style) {
    double from, to;
    magpie_text_printf(out, "%scandidate%sHR@10%sepochs%sseconds", style->before, style->between,
                       style->between, style->between);
    for (const magpie_ranker_parameter *p = magpie_ranker_parameters; p->name; p++)
        if (tune_is_searched(start, p, &from, &to)) magpie_text_printf(out, "%s%s", style->between, p->name);
    magpie_text_printf(out, "%s", style->after);
}

/* The line under Markdown's heads. */
static void append_rule(magpie_text *out, const magpie_ranker_options *start) {
    double from, to;
    magpie_text_printf(out, "|---|---|---|---|");
    for (const magpie_ranker_parameter *p = magpie_ranker_parameters; p->name; p++)
        if (tune_is_searched(start, p, &from, &to)) magpie_text_printf(out, "---|");
    magpie_text_append(out, "\n", 1);
}

static void append_candidate(magpie_text *out, const tune_candidate *c, const table_style *style) {
    double from, to;
    magpie_text_printf(out, "%s%zu%s%.4f%s%zu%s%.1f", style->before, c->number, style->between, c->hit_rate,
                       style->between, c->epochs, style->between, c->seconds);
    for (const magpie_ranker_parameter *p = magpie_ranker_parameters; p->name; p++)
        if (tune_is_searched(&c->options, p, &from, &to))
            magpie_text_printf(out, "%s%.4g", style->between, magpie_ranker_parameter_of(&c->options, p));
    magpie_text_printf(out, "%s", style->after);
}

static void append_table(magpie_text *out, const tune_result *result, size_t n, bool as_html) {
    const table_style *style = as_html ? &html : &markdown;
    append_heads(out, &result->candidates[0].options, style);
    if (!as_html) append_rule(out, &result->candidates[0].options);
    for (size_t i = 0; i < n; i++) append_candidate(out, &result->candidates[i], style);
}

static void append_summary(magpie_text *out, const tune_result *result) {
    magpie_text_printf(out,
                       "%s: %zu candidates in %.1f s%s, the best first. Number 0 is what the search began "
                       "with; HR@10 is of the last like of each user among 99 others.\n",
                       magpie_ranker_kind_name(ranker_chosen.kind), result->n, result->seconds,
                       result->interrupted ? ", interrupted" : "");
}

static magpie_status write_report(const tune_result *result) {
    magpie_text out = {0};
    const char *end = strrchr(given.report, '.');
    const bool as_html = end && strcmp(end, ".html") == 0;
    magpie_text_printf(&out, as_html
                                 ? "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n"
                                   "<title>Tuning of a ranker</title>\n<style>body { font: 15px sans-serif; "
                                   "margin: 2em } td { padding: 2px 12px; text-align: right } "
                                   "tr:nth-child(-n+2) { font-weight: bold }</style>\n<p>"
                                 : "# Tuning of a ranker\n\n");
    append_summary(&out, result);
    magpie_text_printf(&out, as_html ? "</p>\n<table>\n" : "\n");
    append_table(&out, result, result->n, as_html);
    magpie_text_printf(&out, as_html ? "</table>\n</html>\n" : "");
    magpie_status status = magpie_atomic_write(given.report, &out);
    magpie_text_free(&out);
    return status;
}

static void append_json(magpie_text *out, const tune_result *result) {
    magpie_text_printf(out, "{\"model\": \"%s\", \"seconds\": %.3f, \"interrupted\": %s, \"hr@10\": %.6g, ",
                       magpie_ranker_kind_name(ranker_chosen.kind), result->seconds,
                       result->interrupted ? "true" : "false", result->candidates[0].hit_rate);
    magpie_text_printf(out, "\"best\": ");
    magpie_ranker_parameters_print(&result->candidates[0].options, out);
    magpie_text_printf(out, ", \"candidates\": [");
    for (size_t i = 0; i < result->n; i++) {
        const tune_candidate *c = &result->candidates[i];
        magpie_text_printf(
            out, "%s{\"number\": %zu, \"hr@10\": %.6g, \"epochs\": %zu, \"seconds\": %.3f, \"parameters\": ",
            i ? ", " : "", c->number, c->hit_rate, c->epochs, c->seconds);
        magpie_ranker_parameters_print(&c->options, out);
        magpie_text_append(out, "}", 1);
    }
    magpie_text_printf(out, "]}\n");
}

static exit_code print_result(const tune_result *result) {
    magpie_text out = {0};
    if (output_json)
        append_json(&out, result);
    else {
        append_summary(&out, result);
        append_table(&out, result, result->n < SHOWN ? result->n : SHOWN, false);
    }
    return output_and_free(&out);
}

/* ---- the command --------------------------------------------------------------------------------------- */

static magpie_status search(const likes *likes, tune_result *result) {
    tune_options options = {.budget = (double)given.budget, .candidates = given.candidates};
    magpie_status status = ranker_chosen_options(&options.start);
    if (status == MAGPIE_OK) status = tune_search(likes, storage_directory(), &options, result);
    if (status == MAGPIE_OK && given.output) status = write_options(result);
    return status == MAGPIE_OK && given.report ? write_report(result) : status;
}

static exit_code run_tune_ranker(char **operands, int count) {
    (void)operands;
    (void)count;
    magpie_store *store = NULL;
    likes likes = {0};
    tune_result *result = magpie_alloc(1, sizeof *result);
    magpie_status status = result ? storage_open(STORAGE_READ, &store) : MAGPIE_E_NO_MEMORY;
    if (status == MAGPIE_OK) status = likes_open(store, storage_directory(), &likes);
    if (status == MAGPIE_OK) status = search(&likes, result);
    exit_code code = status == MAGPIE_OK ? print_result(result) : print_failure();
    if (result && result->interrupted) code = EXIT_INTERRUPTED;
    likes_close(&likes);
    magpie_store_close(store);
    free(result);
    return code;
}

static const option_row own_options[] = {
    {.name = "budget",
     .argument = "SECONDS",
     .number = &given.budget,
     .least = 1,
     .most = BUDGET_MOST,
     .help = "how long to search (default: 60)"},
    {.name = "candidates",
     .argument = "N",
     .number = &given.candidates,
     .least = 1,
     .most = TUNE_CANDIDATES_MOST,
     .help = "as many at most (default: 64)"},
    {.name = "output",
     .argument = "FILE",
     .string = &given.output,
     .help = "the best parameters, for train ranker --options and eval ranker --settings"},
    {.name = "report",
     .argument = "FILE",
     .string = &given.report,
     .help = "a table of all candidates: HTML where it ends in .html, else Markdown"},
    {0}};

static const option_row *const tables[] = {storage_options,          ranker_choice_options, own_options,
                                           ranker_parameter_options, json_options,          NULL};

extern const command tune_ranker_command;
const command tune_ranker_command = {
    .name = "tune ranker",
    .summary = "search for better parameters of a model of who likes what",
    .operands = "",
    .tables = tables,
    .prepare = ranker_parameters_prepare,
    .details =
        "Many candidates are trained for a few epochs, the better half of them for twice as many, and so\n"
        "on; a model that is had in one step is trained with as many candidates as there is time for. What\n"
        "is compared is HR@10 of the last like of each user, which is set aside. The first candidate has\n"
        "the defaults, or what --options says; others differ from it in some parameters, drawn by the seed.\n"
        "What is given as an option, --factors 16 for one, stays so in all. Which candidates the time is\n"
        "enough for depends on the machine. An interrupt ends the search with what there is.\n",
    .run = run_tune_ranker};
