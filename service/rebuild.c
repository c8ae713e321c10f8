/* rebuild.c - magpie rebuild: the vector indexes anew from the store, of another kind if wanted. */
#include "command.h"
#include "output.h"
#include "storage.h"

static struct { magpie_space space; /* MAGPIE_SPACES: each that has an index */ } given = {MAGPIE_SPACES};

static magpie_status rebuild(magpie_index *index) {
    magpie_index_stats stats;
    magpie_index_get_stats(index, &stats);
    /* one that had no fit file was built by opening it */
    magpie_status status = stats.loaded ? magpie_index_rebuild(index) : MAGPIE_OK;
    return status == MAGPIE_OK ? magpie_index_save(index) : status;
}

static exit_code print_report(magpie_space space, magpie_index *index, double seconds) {
    magpie_index_stats stats;
    magpie_text out = {0};
    magpie_index_get_stats(index, &stats);
    magpie_text_printf(
        &out,
        output_json ? "{\"space\": \"%s\", \"kind\": \"%s\", \"vectors\": %llu, \"seconds\": %.3f}\n"
                    : "%s: %s index of %llu vectors, built in %.1f s\n",
        magpie_space_name(space), storage_kind_name(stats.kind), (unsigned long long)stats.vectors, seconds);
    return output_and_free(&out);
}

static exit_code rebuild_space(magpie_store *store, magpie_space space) {
    magpie_index *index = NULL;
    double start = magpie_seconds();
    magpie_status status = storage_open_index(store, space, &index);
    if (status == MAGPIE_OK) status = rebuild(index);
    exit_code code =
        status == MAGPIE_OK ? print_report(space, index, magpie_seconds() - start) : print_failure();
    magpie_index_close(index);
    return code;
}

static exit_code rebuild_all(magpie_store *store) {
    magpie_store_stats stats;
    exit_code code = magpie_store_get_stats(store, &stats) == MAGPIE_OK ? EXIT_FINE : print_failure();
    bool any = false;
    for (unsigned s = 0; s < MAGPIE_SPACES && code == EXIT_FINE; s++) {
        if (!storage_should_have_index(&stats, s)) continue;
        any = true;
        code = rebuild_space(store, s);
    }
    if (any || code != EXIT_FINE) return code;
    print_error("%s has no vectors yet", storage_directory());
    return EXIT_FAILED;
}

static exit_code run_rebuild(char **operands, int count) {
    (void)operands;
    (void)count;
    magpie_store *store = NULL;
    if (storage_open(STORAGE_WRITE, &store) != MAGPIE_OK) return print_failure();
    exit_code code = given.space == MAGPIE_SPACES ? rebuild_all(store) : rebuild_space(store, given.space);
    magpie_store_close(store);
    return code;
}

static const option_row own_options[] = {
    {.name = "space",
     .argument = "S",
     .parse = storage_parse_space,
     .target = &given.space,
     .help = "fused, text, image or audio (default: each that has an index)"},
    {0}};

static const option_row *const tables[] = {storage_options, own_options, build_options, json_options, NULL};

const command rebuild_command = {
    .name = "rebuild",
    .summary = "build the vector indexes anew",
    .operands = "",
    .tables = tables,
    .details = "The space of deleted items comes back. Searches go on meanwhile. --json: one object a line.\n"
               "Where the fused vectors are the texts', the text space has no index until this makes one.\n",
    .run = run_rebuild};
