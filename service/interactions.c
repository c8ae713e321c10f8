/* interactions.c - magpie interactions: import (in its own file), history, delete. */
#include "command.h"
#include "forget.h"
#include "item.h"
#include "output.h"
#include "storage.h"
#include "terminal.h"

#include <stdlib.h>
#include <string.h>

static const char *user;

/* ---- history ------------------------------------------------------------------------------------------- */

static void append_json(magpie_text *out, const magpie_interaction *one, magpie_string item) {
    magpie_text_printf(out, "{\"item\": ");
    magpie_text_json_string(out, item.data, item.size);
    magpie_text_printf(out, ", \"kind\": \"%s\", \"weight\": %.9g, \"time\": ",
                       magpie_interaction_kind_name(one->kind), (double)one->weight);
    if (!one->time) {
        magpie_text_printf(out, "null}\n");
        return;
    }
    magpie_text_append(out, "\"", 1);
    item_append_time(out, one->time);
    magpie_text_printf(out, "\"}\n");
}

static void append_line(magpie_text *out, const magpie_interaction *one, magpie_string item) {
    magpie_text time = {0};
    if (one->time) item_append_time(&time, one->time);
    magpie_text_printf(out, "%-24s  %-6s  %6g  ", time.size ? time.data : "-",
                       magpie_interaction_kind_name(one->kind), (double)one->weight);
    terminal_append(out, item);
    magpie_text_append(out, "\n", 1);
    magpie_text_free(&time);
}

static magpie_status append_history(magpie_text *out, magpie_snapshot *snapshot) {
    magpie_interaction *history = NULL;
    size_t capacity = 0, count = 0;
    uint32_t number;
    magpie_status status = magpie_snapshot_user_number(snapshot, magpie_string_of(user), &number);
    if (status == MAGPIE_OK) status = magpie_snapshot_history(snapshot, number, &history, &capacity, &count);
    for (size_t i = 0; i < count && status == MAGPIE_OK; i++) {
        magpie_string item;
        status = magpie_snapshot_item_id(snapshot, history[i].item, &item);
        if (status == MAGPIE_OK) (output_json ? append_json : append_line)(out, &history[i], item);
    }
    free(history);
    return status;
}

static exit_code run_history(char **operands, int count) {
    (void)operands;
    (void)count;
    magpie_store *store = NULL;
    magpie_snapshot *snapshot = NULL;
    magpie_text out = {0};
    magpie_status status = storage_open(STORAGE_READ, &store);
    if (status == MAGPIE_OK) status = magpie_snapshot_open(store, &snapshot);
    if (status == MAGPIE_OK) status = append_history(&out, snapshot);
    exit_code code = status == MAGPIE_OK ? output_text(&out) : print_failure();
    bool missing = status == MAGPIE_E_NOT_FOUND && snapshot;
    magpie_text_free(&out);
    magpie_snapshot_close(snapshot);
    magpie_store_close(store);
    return missing ? EXIT_MISSING : code;
}

/* ---- delete -------------------------------------------------------------------------------------------- */

/* All places in which something is known of the user. The models first: once the store has forgotten the
 * number, nothing would find their rows. And after that again, for those whose training has begun in between. */
static magpie_status delete_user(magpie_store *store, magpie_commit *done) {
    magpie_batch *batch;
    magpie_snapshot *snapshot;
    uint32_t number;
    magpie_status status = magpie_snapshot_open(store, &snapshot);
    if (status != MAGPIE_OK) return status;
    status = magpie_snapshot_user_number(snapshot, magpie_string_of(user), &number);
    magpie_snapshot_close(snapshot);
    const bool there = status == MAGPIE_OK;
    if (status == MAGPIE_E_NOT_FOUND) status = MAGPIE_OK;
    if (there) status = forget_in_models(number);
    if (status == MAGPIE_OK) status = magpie_batch_create(&batch);
    if (status != MAGPIE_OK) return status;
    status = magpie_batch_delete_user(batch, magpie_string_of(user));
    if (status == MAGPIE_OK) status = magpie_store_commit(store, batch, done);
    if (status == MAGPIE_OK && there) status = forget_in_models(number);
    if (status == MAGPIE_OK) status = forget_in_files(user);
    magpie_batch_free(batch);
    return status;
}

static exit_code run_delete(char **operands, int count) {
    (void)operands;
    (void)count;
    magpie_store *store = NULL;
    magpie_commit done = {0};
    magpie_text out = {0};
    magpie_status status = storage_open(STORAGE_WRITE, &store);
    if (status == MAGPIE_OK) status = delete_user(store, &done);
    magpie_store_close(store);
    if (status != MAGPIE_OK) return print_failure();
    magpie_text_printf(
        &out, output_json ? "{\"deleted\": %zu, \"missing\": %zu}\n" : "%zu deleted, %zu not there\n",
        done.users_deleted, done.missing);
    exit_code code = output_and_free(&out);
    return code == EXIT_FINE && done.missing ? EXIT_MISSING : code;
}

/* ---- the parts ----------------------------------------------------------------------------------------- */

static const option_row user_options[] = {
    {.name = "user", .argument = "U", .string = &user, .help = "the user's id", .required = true}, {0}};

static const option_row *const tables[] = {storage_options, user_options, json_options, NULL};

static const command history_command = {
    .name = "interactions history",
    .summary = "what a user did, the oldest first",
    .operands = "",
    .tables = tables,
    .details = "--json: {\"item\", \"kind\", \"weight\", \"time\"}, one a line; time null: not known.\n",
    .run = run_history};

static const command delete_part = {
    .name = "interactions delete",
    .summary = "delete a user and all interactions of theirs",
    .operands = "",
    .tables = tables,
    .details =
        "They are gone for every reader, and so is what the store's models know of them; one that is being\n"
        "trained meanwhile will not know them either. Their bytes stay in free pages of the file until\n"
        "magpie compact writes it anew. Lines that were rejected go too where the user could be read in\n"
        "them.\n",
    .run = run_delete};

extern const command interactions_import_command;

static const command *const parts[] = {&interactions_import_command, &history_command, &delete_part, NULL};

const command interactions_command = {
    .name = "interactions", .summary = "who did what with which item", .details = "", .parts = parts};
