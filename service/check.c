/* check.c - magpie check: reads everything, and says all that is wrong. */
#include "command.h"
#include "output.h"
#include "storage.h"

#include <string.h>

/* Problems go out as they are found: a damaged store may have millions. */
static void print_problem(void *context, const char *problem) {
    magpie_text *out = context;
    if (output_json) {
        if (out->size) magpie_text_append(out, ", ", 2);
        magpie_text_json_string(out, problem, strlen(problem));
    } else {
        print_error("%s", problem);
    }
}

static exit_code print_report(const magpie_check_report *report, const magpie_text *problems) {
    magpie_text out = {0};
    const char *format =
        output_json
            ? "{\"ok\": %s, \"items\": %llu, \"vectors\": %llu, \"postings\": %llu, \"indexed\": %llu, "
              "\"users\": %llu, \"interactions\": %llu, \"problems\": [%s]}\n"
            : "%s: %llu items, %llu vectors, %llu postings, %llu in the indexes, %llu users, "
              "%llu interactions%s\n";
    const char *verdict =
        output_json ? (report->problems ? "false" : "true") : (report->problems ? "damaged" : "sound");
    magpie_text_printf(&out, format, verdict, (unsigned long long)report->items,
                       (unsigned long long)report->vectors, (unsigned long long)report->postings,
                       (unsigned long long)report->indexed, (unsigned long long)report->users,
                       (unsigned long long)report->interactions, problems->size ? problems->data : "");
    exit_code code = output_text(&out);
    magpie_text_free(&out);
    return code == EXIT_FINE && report->problems ? EXIT_PROBLEMS : code;
}

static exit_code run_check(char **operands, int count) {
    (void)operands;
    (void)count;
    magpie_store *store = NULL;
    magpie_index *indexes[MAGPIE_SPACES] = {0};
    magpie_store_stats stats;
    magpie_check_report report;
    magpie_text problems = {0};
    magpie_status status = storage_open(STORAGE_READ, &store);
    if (status == MAGPIE_OK) status = storage_open_indexes(store, &stats, indexes);
    if (status == MAGPIE_OK) status = magpie_store_check(store, indexes, print_problem, &problems, &report);
    exit_code code = status == MAGPIE_OK ? print_report(&report, &problems) : print_failure();
    magpie_text_free(&problems);
    storage_close_indexes(indexes);
    magpie_store_close(store);
    return code;
}

static const option_row *const tables[] = {storage_options, json_options, NULL};

const command check_command = {.name = "check",
                               .summary = "verify that a store and its indexes are sound and agree",
                               .operands = "",
                               .tables = tables,
                               .details = "",
                               .run = run_check};
