/* fuse.c - magpie fuse: the fused vectors of a store anew, by other heads or other weights, and their
 * index. */
#include "command.h"
#include "heads.h"
#include "ingest.h"
#include "interrupt.h"
#include "output.h"
#include "storage.h"
#include "terminal.h"

#include <string.h>

enum { COMMIT_MOST = 1 << 20 };

static struct { size_t commit_items; } given;

static bool show_progress(void *context, const magpie_fuse_progress *p) {
    (void)context;
    size_t done = p->fused + p->kept + p->bare;
    terminal_show_progress(&(terminal_progress){
        .done = (double)done, .total = (double)p->items, .items = done, .seconds = p->seconds});
    return !interrupt_came();
}

static exit_code print_report(const magpie_fuse_progress *p, const char *model) {
    magpie_text out = {0};
    if (output_json) {
        magpie_text_printf(&out, "{\"items\": %zu, \"fused\": %zu, \"kept\": %zu, \"bare\": %zu, \"model\": ",
                           p->items, p->fused, p->kept, p->bare);
        magpie_text_json_string(&out, model, strlen(model));
        magpie_text_printf(&out, ", \"seconds\": %.3f}\n", p->seconds);
    } else {
        magpie_text_printf(&out,
                           "%zu items: %zu fused by %s, %zu kept, %zu with nothing to fuse, in %.1f s\n",
                           p->items, p->fused, model, p->kept, p->bare, p->seconds);
    }
    return output_and_free(&out);
}

static magpie_status open_fusion(magpie_store *store, magpie_fusion **out) {
    model_folders folders;
    heads_store spaces;
    *out = NULL;
    magpie_status status = model_find_any(&folders);
    if (status == MAGPIE_OK) status = heads_read_store(store, &spaces);
    if (status == MAGPIE_OK) status = heads_open(&folders, NULL, &spaces, true, out);
    if (status == MAGPIE_OK && !*out)
        status = magpie_fail(MAGPIE_E_ARGUMENT,
                             "%s has no texts to fuse: name a fusion model by --fusion-model DIR",
                             storage_directory());
    return status == MAGPIE_OK ? model_place(*out) : status;
}

static exit_code run_fuse(char **operands, int count) {
    (void)operands;
    (void)count;
    const magpie_fuse_options options = {.commit_items = given.commit_items, .progress = show_progress};
    magpie_store *store = NULL;
    magpie_fusion *fusion = NULL;
    magpie_fuse_progress done;
    magpie_status status = storage_open(STORAGE_WRITE, &store);
    if (status == MAGPIE_OK) status = open_fusion(store, &fusion);
    interrupt_listen();
    if (status == MAGPIE_OK) status = magpie_ingest_fuse(store, fusion, &options, &done);
    terminal_clear_progress();
    if (status == MAGPIE_OK) status = storage_update_indexes(store);
    exit_code code =
        status == MAGPIE_OK ? print_report(&done, magpie_fusion_get_info(fusion)->name) : print_failure();
    magpie_fusion_close(fusion);
    magpie_store_close(store);
    return status == MAGPIE_E_CANCELLED ? EXIT_INTERRUPTED : code;
}

static const option_row own_options[] = {{.name = "commit",
                                          .argument = "N",
                                          .number = &given.commit_items,
                                          .least = 1,
                                          .most = COMMIT_MOST,
                                          .help = "items a transaction (default: 1024)"},
                                         {0}};

static const option_row *const tables[] = {
    storage_options, model_options, heads_weight_options, own_options, json_options, build_options, NULL};

const command fuse_command = {
    .name = "fuse",
    .summary = "make the fused vectors anew, by other heads or weights",
    .operands = "",
    .tables = tables,
    .details =
        "Out of the vectors that the store has; nothing is encoded. Without a fusion model, texts and\n"
        "pictures of one joint model (CLIP) are fused as they are; else the fused vector is the\n"
        "text's. The store remembers the weights. What is stopped on its way is finished by running\n"
        "it again.\n",
    .run = run_fuse};
