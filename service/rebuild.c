/* rebuild.c - magpie rebuild: the vector index anew from the store, of another kind if wanted. */
#include "command.h"
#include "output.h"
#include "storage.h"

static magpie_status rebuild(magpie_index *index) {
    magpie_index_stats stats;
    magpie_index_get_stats(index, &stats);
    /* one that had no fit file was built by opening it */
    magpie_status status = stats.loaded ? magpie_index_rebuild(index) : MAGPIE_OK;
    return status == MAGPIE_OK ? magpie_index_save(index) : status;
}

static exit_code print_report(magpie_index *index, double seconds) {
    magpie_index_stats stats;
    magpie_text out = {0};
    magpie_index_get_stats(index, &stats);
    magpie_text_printf(&out,
                       output_json ? "{\"kind\": \"%s\", \"vectors\": %llu, \"seconds\": %.3f}\n"
                                   : "%s index of %llu vectors, built in %.1f s\n",
                       storage_kind_name(stats.kind), (unsigned long long)stats.vectors, seconds);
    exit_code code = output_text(&out);
    magpie_text_free(&out);
    return code;
}

static exit_code run_rebuild(char **operands, int count) {
    (void)operands;
    (void)count;
    magpie_store *store = NULL;
    magpie_index *index = NULL;
    double start = magpie_seconds();
    magpie_status status = storage_open(STORAGE_WRITE, &store);
    if (status == MAGPIE_OK) status = storage_open_index(store, &index);
    if (status == MAGPIE_OK) status = rebuild(index);
    exit_code code = status == MAGPIE_OK ? print_report(index, magpie_seconds() - start) : print_failure();
    magpie_index_close(index);
    magpie_store_close(store);
    return code;
}

static const option_row *const tables[] = {storage_options, build_options, json_options, NULL};

const command rebuild_command = {.name = "rebuild",
                                 .summary = "build the vector index anew",
                                 .operands = "",
                                 .tables = tables,
                                 .details =
                                     "The space of deleted items comes back. Searches go on meanwhile.\n",
                                 .run = run_rebuild};
