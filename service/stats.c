/* stats.c - magpie stats: how much of what there is. */
#include "command.h"
#include "output.h"
#include "storage.h"

#include <string.h>

typedef unsigned long long big;

static bool is_bound(const magpie_store_stats *store, unsigned space) { return store->dimension[space] != 0; }

static void append_index_json(magpie_text *out, magpie_index *index) {
    magpie_index_stats stats;
    if (!index) {
        magpie_text_printf(out, "null");
        return;
    }
    magpie_index_get_stats(index, &stats);
    magpie_text_printf(out,
                       "{\"kind\": \"%s\", \"vectors\": %llu, \"dead\": %llu, \"sequence\": %llu, "
                       "\"loaded\": %s, \"replayed\": %llu, \"bytes\": %llu}",
                       storage_kind_name(stats.kind), (big)stats.vectors, (big)stats.dead,
                       (big)stats.sequence, stats.loaded ? "true" : "false", (big)stats.replayed,
                       (big)stats.bytes);
}

static void append_json(magpie_text *out, const magpie_store_stats *store, magpie_index *const *indexes) {
    magpie_text_printf(out,
                       "{\"items\": %llu, \"sequence\": %llu, \"tombstones\": %llu, \"users\": %llu, "
                       "\"interactions\": %llu, \"file_bytes\": %llu, \"map_bytes\": %llu, \"spaces\": {",
                       (big)store->items, (big)store->sequence, (big)store->tombstones, (big)store->users,
                       (big)store->interactions, (big)store->file_bytes, (big)store->map_bytes);
    const char *comma = "";
    for (unsigned s = 0; s < MAGPIE_SPACES; s++) {
        if (!is_bound(store, s)) continue;
        magpie_text_printf(out, "%s\"%s\": {\"vectors\": %llu, \"dimension\": %zu, \"model\": ", comma,
                           magpie_space_name(s), (big)store->vectors[s], store->dimension[s]);
        magpie_text_json_string(out, store->model[s], strlen(store->model[s]));
        magpie_text_printf(out, ", \"index\": ");
        append_index_json(out, indexes[s]);
        magpie_text_append(out, "}", 1);
        comma = ", ";
    }
    magpie_text_printf(out, "}}\n");
}

static void append_index_line(magpie_text *out, magpie_index *index) {
    magpie_index_stats stats;
    magpie_index_get_stats(index, &stats);
    magpie_text_printf(out, "%-12sindex: %s, %llu vectors, %llu dead, %.1f MB, %s\n", "",
                       storage_kind_name(stats.kind), (big)stats.vectors, (big)stats.dead,
                       (double)stats.bytes / 1e6,
                       stats.loaded ? "loaded from its file" : "built when it was opened");
}

static void append_lines(magpie_text *out, const magpie_store_stats *store, magpie_index *const *indexes) {
    magpie_text_printf(out, "items       %llu\nsequence    %llu, %llu tombstones\nfile        %.1f MB\n",
                       (big)store->items, (big)store->sequence, (big)store->tombstones,
                       (double)store->file_bytes / 1e6);
    if (store->interactions)
        magpie_text_printf(out, "users       %llu, %llu interactions\n", (big)store->users,
                           (big)store->interactions);
    for (unsigned s = 0; s < MAGPIE_SPACES; s++) {
        if (!is_bound(store, s)) continue;
        magpie_text_printf(out, "%-12s%llu vectors x %zu by %s\n", magpie_space_name(s),
                           (big)store->vectors[s], store->dimension[s], store->model[s]);
        if (indexes[s]) append_index_line(out, indexes[s]);
    }
}

static exit_code print_stats(const magpie_store_stats *store, magpie_index *const *indexes) {
    magpie_text out = {0};
    if (output_json)
        append_json(&out, store, indexes);
    else
        append_lines(&out, store, indexes);
    exit_code code = output_text(&out);
    magpie_text_free(&out);
    return code;
}

static exit_code run_stats(char **operands, int count) {
    (void)operands;
    (void)count;
    magpie_store *store = NULL;
    magpie_index *indexes[MAGPIE_SPACES] = {0};
    magpie_store_stats stats;
    magpie_status status = storage_open(STORAGE_READ, &store);
    if (status == MAGPIE_OK) status = storage_open_indexes(store, &stats, indexes);
    exit_code code = status == MAGPIE_OK ? print_stats(&stats, indexes) : print_failure();
    storage_close_indexes(indexes);
    magpie_store_close(store);
    return code;
}

static const option_row *const tables[] = {storage_options, json_options, NULL};

const command stats_command = {
    .name = "stats",
    .summary = "print how much a store holds",
    .operands = "",
    .tables = tables,
    .details = "A space is the vectors of one model: of texts, of pictures, of sounds, and\n"
               "the fused ones that a search looks among by default.\n",
    .run = run_stats};
