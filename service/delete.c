/* delete.c - magpie delete: all that are there are deleted in one transaction; those that are not are named.
 */
#include "command.h"
#include "output.h"
#include "storage.h"

#include <limits.h>

/* Fills the batch with what is there. */
static magpie_status collect(magpie_store *store, magpie_batch *batch, char **ids, int count,
                             size_t *missing) {
    magpie_snapshot *snapshot;
    magpie_item item;
    magpie_status status = magpie_snapshot_open(store, &snapshot);
    if (status != MAGPIE_OK) return status;
    for (int i = 0; i < count && status == MAGPIE_OK; i++) {
        magpie_string id = magpie_string_of(ids[i]);
        status = magpie_snapshot_get(snapshot, id, &item);
        if (status == MAGPIE_OK) {
            status = magpie_batch_delete(batch, id);
        } else if (status == MAGPIE_E_NOT_FOUND) {
            (void)print_failure();
            ++*missing;
            status = MAGPIE_OK;
        }
    }
    magpie_snapshot_close(snapshot);
    return status;
}

static exit_code print_result(const magpie_commit *commit, size_t missing) {
    magpie_text out = {0};
    missing += commit->missing; /* an id given twice, or deleted by someone else meanwhile */
    magpie_text_printf(
        &out, output_json ? "{\"deleted\": %zu, \"missing\": %zu}\n" : "%zu deleted, %zu not there\n",
        commit->deleted, missing);
    exit_code code = output_and_free(&out);
    return code == EXIT_FINE && missing ? EXIT_MISSING : code;
}

static exit_code run_delete(char **operands, int count) {
    magpie_store *store = NULL;
    magpie_batch *batch = NULL;
    magpie_commit commit = {0};
    size_t missing = 0;
    magpie_status status = storage_open(STORAGE_WRITE, &store);
    if (status == MAGPIE_OK) status = magpie_batch_create(&batch);
    if (status == MAGPIE_OK) status = collect(store, batch, operands, count, &missing);
    if (status == MAGPIE_OK && magpie_batch_count(batch)) {
        status = magpie_store_commit(store, batch, &commit);
        if (status == MAGPIE_OK) status = storage_update_indexes(store);
    }
    exit_code code = status == MAGPIE_OK ? print_result(&commit, missing) : print_failure();
    magpie_batch_free(batch);
    magpie_store_close(store);
    return code;
}

static const option_row *const tables[] = {storage_options, json_options, NULL};

const command delete_command = {.name = "delete",
                                .summary = "delete items by their ids",
                                .operands = "ID...",
                                .least_operands = 1,
                                .most_operands = INT_MAX,
                                .tables = tables,
                                .details = "An id that begins with a dash goes behind --.\n",
                                .run = run_delete};
