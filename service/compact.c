/* compact.c - magpie compact: the store's file anew, without what was deleted. */
#include "command.h"
#include "index.h"
#include "output.h"
#include "scratch.h"
#include "storage.h"

static exit_code run_compact(char **operands, int count) {
    (void)operands;
    (void)count;
    uint64_t before, after;
    magpie_text out = {0};
    magpie_status status = magpie_store_compact(storage_directory(), &before, &after);
    if (status == MAGPIE_OK) status = scratch_sweep(storage_directory());
    if (status != MAGPIE_OK) return print_failure();
    if (output_json)
        magpie_text_printf(&out, "{\"before_bytes\": %llu, \"after_bytes\": %llu}\n",
                           (unsigned long long)before, (unsigned long long)after);
    else
        magpie_text_printf(&out, "%.1f MB, before %.1f MB\n", (double)after / 1e6, (double)before / 1e6);
    return output_and_free(&out);
}

static const option_row *const tables[] = {storage_options, json_options, NULL};

const command compact_command = {
    .name = "compact",
    .summary = "write a store's file anew, without what was deleted",
    .operands = "",
    .tables = tables,
    .details =
        "The space of what was deleted comes back, and its bytes are in no file of the folder any more.\n"
        "Nobody else may have the store open; who opens it meanwhile waits.\n",
    .run = run_compact};
