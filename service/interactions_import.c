/* interactions_import.c - magpie interactions import: a file of interactions into a store. */
#include "command.h"
#include "ingest.h"
#include "interrupt.h"
#include "output.h"
#include "storage.h"
#include "terminal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { COMMIT_MOST = 1 << 24 };

static struct {
    magpie_import_format format;
    magpie_interaction_kind kind;
    const char *rejects;
    size_t commit_lines;
} given = {.kind = MAGPIE_INTERACTION_KINDS};

static bool show_progress(void *context, const magpie_import_progress *p) {
    terminal_show_file(context, p->bytes, p->total_bytes, p->lines, p->seconds);
    return !interrupt_came();
}

static exit_code print_report(const magpie_import_progress *p, const char *rejects) {
    magpie_text out = {0};
    if (output_json) {
        magpie_text_printf(&out,
                           "{\"lines\": %zu, \"interactions\": %zu, \"rejected\": %zu, \"resumed_at\": %zu, "
                           "\"seconds\": %.3f, \"commit_seconds\": %.3f, \"rejects\": ",
                           p->lines, p->interactions, p->rejected, p->resumed_at, p->seconds,
                           p->commit_seconds);
        if (p->rejected)
            magpie_text_json_string(&out, rejects, strlen(rejects));
        else
            magpie_text_printf(&out, "null");
        magpie_text_printf(&out, "}\n");
    } else {
        if (p->resumed_at) magpie_text_printf(&out, "went on after line %zu\n", p->resumed_at);
        magpie_text_printf(&out, "%zu lines: %zu interactions, %zu rejected, in %.2f s (%.0f/s)\n", p->lines,
                           p->interactions, p->rejected, p->seconds,
                           p->seconds > 0 ? (double)p->interactions / p->seconds : 0);
        if (p->rejected) magpie_text_printf(&out, "what was rejected, and why, is in %s\n", rejects);
    }
    exit_code code = output_and_free(&out);
    return code == EXIT_FINE && p->rejected ? EXIT_MISSING : code;
}

static exit_code import_into(magpie_store *store, const char *path, const char *rejects) {
    terminal_file file = {0};
    magpie_import_progress done;
    const magpie_import_options options = {.path = path,
                                           .format = given.format,
                                           .kind = given.kind,
                                           .rejects = rejects,
                                           .commit_lines = given.commit_lines,
                                           .progress = show_progress,
                                           .context = &file};
    interrupt_listen();
    magpie_status status = magpie_import_run(store, &options, &done);
    terminal_clear_progress();
    if (status == MAGPIE_OK) return print_report(&done, rejects);
    print_error("%s (%zu interactions were committed by this run)%s", magpie_error(), done.interactions,
                status == MAGPIE_E_NO_SPACE ? "; make room and run it again" : "");
    return status == MAGPIE_E_CANCELLED ? EXIT_INTERRUPTED : EXIT_FAILED;
}

/* Before anything is made: a misspelt name should leave no empty store behind. */
static magpie_status check_file(const char *path) {
    if (strcmp(path, "-") == 0 || access(path, R_OK) == 0) return MAGPIE_OK;
    return magpie_fail_errno(errno, "cannot read %s", path);
}

static exit_code run_import(char **operands, int count) {
    (void)count;
    magpie_store *store = NULL;
    char *own_rejects = given.rejects ? NULL : magpie_path_join(storage_directory(), STORAGE_IMPORT_REJECTS);
    const char *rejects = given.rejects ? given.rejects : own_rejects;
    magpie_status status = rejects ? check_file(operands[0]) : MAGPIE_E_NO_MEMORY;
    if (status == MAGPIE_OK) status = storage_open(STORAGE_CREATE, &store);
    exit_code code = status == MAGPIE_OK ? import_into(store, operands[0], rejects) : print_failure();
    magpie_store_close(store);
    free(own_rejects);
    return code;
}

static magpie_status parse_format(const char *value, void *target) {
    return magpie_import_format_parse(value, target);
}

static magpie_status parse_kind(const char *value, void *target) {
    return magpie_interaction_kind_parse(magpie_string_of(value), target);
}

static const option_row own_options[] = {
    {.name = "format",
     .argument = "F",
     .parse = parse_format,
     .target = &given.format,
     .help = "csv, tsv, jsonl, inter, rating or negative (default: by the ending of the name)"},
    {.name = "kind",
     .argument = "K",
     .parse = parse_kind,
     .target = &given.kind,
     .help = "view, like, buy or rating: of lines that name none (default: rating where there are ratings, "
             "else view)"},
    {.name = "rejects",
     .argument = "FILE",
     .string = &given.rejects,
     .help = "where bad lines go, with number and reason (default: STORE/import-rejects.jsonl)"},
    {.name = "commit",
     .argument = "N",
     .number = &given.commit_lines,
     .least = 1,
     .most = COMMIT_MOST,
     .help = "interactions a transaction (default: 262144)"},
    {0}};

static const option_row *const tables[] = {storage_options, own_options, json_options, NULL};

extern const command interactions_import_command;
const command interactions_import_command = {
    .name = "interactions import",
    .summary = "read a file of interactions, store them",
    .operands = "FILE",
    .least_operands = 1,
    .most_operands = 1,
    .tables = tables,
    .details =
        "FILE is one of these, or - for standard input:\n"
        "  csv, tsv  with a first line that names the columns: user or user_id, item or item_id, and maybe\n"
        "            kind, weight or rating, time or timestamp\n"
        "  jsonl     lines {\"user\", \"item\", \"kind\"?, \"weight\"?, \"time\"?}\n"
        "  inter     RecBole's: user_id:token, item_id:token, rating:float, timestamp:float\n"
        "  rating    user, item, rating, seconds, with tabs between: .train.rating and .test.rating of the\n"
        "            NCF repository; negative is its .test.negative, of which the pairs are taken\n"
        "A time is in seconds, in milliseconds where it is more than 1e11, or like 2024-02-29T12:30:00Z.\n"
        "The job can be stopped anywhere and run again. Of several lines with one user, item and kind\n"
        "the last counts. Lines that are bad are left out and count as rejected (exit code 3).\n",
    .run = run_import};
