/* jobs.c - magpie jobs: list, show, resume, cancel. */
#include "command.h"
#include "ingest.h"
#include "item.h"
#include "output.h"
#include "storage.h"
#include "terminal.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *text_of(const json_t *job, const char *key) {
    const char *value = json_string_value(json_object_get(job, key));
    return value ? value : "";
}

static long long number_of(const json_t *job, const char *key) {
    return (long long)json_number_value(json_object_get(job, key));
}

/* *out is an array of the records, the newest first. */
static magpie_status read_jobs(json_t **out) {
    magpie_store *store = NULL;
    magpie_text lines = {0};
    *out = json_array();
    magpie_status status = storage_file_status(storage_open(STORAGE_READ, &store));
    if (status == MAGPIE_OK) status = magpie_jobs_list(store, &lines);
    for (char *line = lines.data, *end; status == MAGPIE_OK && line && *line; line = end + 1) {
        end = strchr(line, '\n');
        json_array_append_new(*out, json_loadb(line, (size_t)(end - line), 0, NULL));
    }
    magpie_text_free(&lines);
    magpie_store_close(store);
    return status;
}

static magpie_status find_job(const json_t *jobs, const char *id, json_t **out) {
    size_t i;
    json_array_foreach(jobs, i, *out) if (strcmp(text_of(*out, "id"), id) == 0) return MAGPIE_OK;
    return magpie_fail(MAGPIE_E_NOT_FOUND, "there is no job \"%s\"; magpie jobs list shows those there are",
                       id);
}

static exit_code end_with(magpie_status status) {
    print_error("%s", magpie_error());
    return status == MAGPIE_E_NOT_FOUND ? EXIT_MISSING : EXIT_FAILED;
}

/* ---- list and show --------------------------------------------------------------------------------------- */

static void append_json(magpie_text *out, const json_t *job) {
    char *line = json_dumps(job, 0);
    if (line) magpie_text_printf(out, "%s\n", line);
    free(line);
}

static void append_command(magpie_text *out, const json_t *job) {
    size_t i;
    json_t *word;
    magpie_text_printf(out, "magpie");
    json_array_foreach(json_object_get(json_object_get(job, "command"), "arguments"), i, word)
        magpie_text_printf(out, " %s", json_string_value(word));
}

static void append_row(magpie_text *out, const json_t *job) {
    magpie_text command = {0};
    magpie_text_printf(out, "%s  %-9s  ", text_of(job, "id"), text_of(job, "state"));
    item_append_time(out, number_of(job, "started"));
    magpie_text_printf(out, "  %9lld  ", number_of(job, "lines"));
    append_command(&command, job);
    if (command.data)
        terminal_append_cut(out, (magpie_string){command.data, command.size}, terminal_columns_left(60));
    magpie_text_append(out, "\n", 1);
    magpie_text_free(&command);
}

static void append_time(magpie_text *out, const char *what, const json_t *job, const char *key) {
    magpie_text_printf(out, "%-10s ", what);
    item_append_time(out, number_of(job, key));
    magpie_text_append(out, "\n", 1);
}

static void append_details(magpie_text *out, const json_t *job) {
    magpie_text command = {0};
    magpie_text_printf(out, "job        %s\nstate      %s%s%s\n", text_of(job, "id"), text_of(job, "state"),
                       *text_of(job, "why") ? ": " : "", text_of(job, "why"));
    append_time(out, "started", job, "started");
    append_time(out, "updated", job, "updated");
    magpie_text_printf(out, "seconds    %.1f in %lld run%s\n",
                       json_number_value(json_object_get(job, "seconds")), number_of(job, "runs"),
                       number_of(job, "runs") == 1 ? "" : "s");
    static const char *const counters[] = {"lines",   "encoded",  "changed",  "unchanged",
                                           "deleted", "rejected", "pictures", "sounds"};
    for (size_t i = 0; i < sizeof counters / sizeof *counters; i++)
        magpie_text_printf(out, "%-10s %lld\n", counters[i], number_of(job, counters[i]));
    append_command(&command, job);
    magpie_text_printf(out, "%-10s ", "command");
    if (command.data) terminal_append(out, (magpie_string){command.data, command.size});
    magpie_text_printf(out, "\n%-10s %s\n", "in", text_of(json_object_get(job, "command"), "folder"));
    magpie_text_free(&command);
}

static exit_code run_list(char **operands, int count) {
    json_t *jobs, *job = NULL;
    size_t i;
    magpie_text out = {0};
    (void)operands, (void)count;
    magpie_status status = read_jobs(&jobs);
    if (status == MAGPIE_OK && !output_json && json_array_size(jobs))
        magpie_text_printf(&out, "%-8s  %-9s  %-24s  %9s  command\n", "job", "state", "started", "lines");
    json_array_foreach(jobs, i, job)(output_json ? append_json : append_row)(&out, job);
    json_decref(jobs);
    return status == MAGPIE_OK ? output_and_free(&out) : print_failure();
}

static exit_code run_show(char **operands, int count) {
    json_t *jobs, *job = NULL;
    magpie_text out = {0};
    (void)count;
    magpie_status status = read_jobs(&jobs);
    if (status == MAGPIE_OK) status = find_job(jobs, operands[0], &job);
    if (status == MAGPIE_OK) (output_json ? append_json : append_details)(&out, job);
    json_decref(jobs);
    return status == MAGPIE_OK ? output_and_free(&out) : end_with(status);
}

/* ---- resume and cancel ----------------------------------------------------------------------------------- */

/* The words that the job was started with, in an array that ends with NULL; they belong to `job`. */
static magpie_status read_command(const json_t *job, char ***out, int *count, const command **found) {
    const json_t *words = json_object_get(json_object_get(job, "command"), "arguments");
    *count = (int)json_array_size(words);
    *found = NULL;
    for (const command *const *c = all_commands; *count && *c; c++)
        if (strcmp((*c)->name, json_string_value(json_array_get(words, 0))) == 0) *found = *c;
    if (!*found)
        return magpie_fail(MAGPIE_E_ARGUMENT, "it is not known what job %s was started with",
                           text_of(job, "id"));
    *out = magpie_alloc((size_t)*count + 1, sizeof **out);
    for (int i = 0; *out && i < *count; i++)
        (*out)[i] = (char *)(uintptr_t)json_string_value(json_array_get(words, (size_t)i));
    return *out ? MAGPIE_OK : MAGPIE_E_NO_MEMORY;
}

static magpie_status check_may_resume(const json_t *job) {
    const char *state = text_of(job, "state");
    if (strcmp(state, "stopped") == 0 || strcmp(state, "failed") == 0) return MAGPIE_OK;
    return magpie_fail(MAGPIE_E_ARGUMENT, "job %s is %s: only one that was stopped or has failed goes on",
                       text_of(job, "id"), state);
}

static exit_code run_resume(char **operands, int count) {
    json_t *jobs, *job = NULL;
    const command *self = NULL;
    char **words = NULL;
    int n = 0;
    (void)count;
    magpie_status status = read_jobs(&jobs);
    if (status == MAGPIE_OK) status = find_job(jobs, operands[0], &job);
    if (status == MAGPIE_OK) status = check_may_resume(job);
    if (status == MAGPIE_OK) status = read_command(job, &words, &n, &self);
    const char *folder = status == MAGPIE_OK ? text_of(json_object_get(job, "command"), "folder") : "";
    if (status == MAGPIE_OK && chdir(folder) != 0)
        status = magpie_fail_errno(errno, "cannot enter %s", folder);
    exit_code code = status == MAGPIE_OK ? command_main(self, n, words) : end_with(status);
    free(words);
    json_decref(jobs);
    return code;
}

static exit_code run_cancel(char **operands, int count) {
    magpie_store *store = NULL;
    bool runs = false;
    magpie_text out = {0};
    (void)count;
    magpie_status status = storage_file_status(storage_open(STORAGE_WRITE, &store));
    if (status == MAGPIE_OK) status = magpie_job_cancel(store, operands[0], &runs);
    magpie_store_close(store);
    if (status != MAGPIE_OK) return end_with(status);
    if (output_json)
        magpie_text_printf(&out, "{\"id\": \"%s\", \"runs\": %s}\n", operands[0], runs ? "true" : "false");
    else
        magpie_text_printf(&out, "%s\n", runs ? "it ends after its next transaction" : "cancelled");
    return output_and_free(&out);
}

/* ---- the commands ---------------------------------------------------------------------------------------- */

static const option_row *const tables[] = {storage_options, json_options, NULL};

static const command list = {.name = "jobs list",
                             .summary = "the last hundred jobs, the newest first",
                             .operands = "",
                             .tables = tables,
                             .details = "",
                             .run = run_list};
static const command show = {.name = "jobs show",
                             .summary = "what is known of a job",
                             .operands = "ID",
                             .least_operands = 1,
                             .most_operands = 1,
                             .tables = tables,
                             .details = "",
                             .run = run_show};
static const command resume_job = {
    .name = "jobs resume",
    .summary = "let a job that was stopped or has failed go on",
    .operands = "ID",
    .least_operands = 1,
    .most_operands = 1,
    .tables = tables,
    .details = "It is started with the same words in the same folder, and goes on after what it had "
               "committed. To give its command once more does the same.\n",
    .run = run_resume};
static const command cancel = {
    .name = "jobs cancel",
    .summary = "end a job, and forget how far it had come",
    .operands = "ID",
    .least_operands = 1,
    .most_operands = 1,
    .tables = tables,
    .details = "What it has stored stays. A job that runs ends after its next transaction.\n",
    .run = run_cancel};

static const command *const parts[] = {&list, &show, &resume_job, &cancel, NULL};

const command jobs_command = {
    .name = "jobs", .summary = "what was ingested when, and how it went", .operands = "", .parts = parts};
