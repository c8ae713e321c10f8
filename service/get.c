/* get.c - magpie get: items as they are stored. */
#include "command.h"
#include "item.h"
#include "output.h"
#include "storage.h"
#include "terminal.h"

#include <limits.h>
#include <string.h>

static void append_field(magpie_text *out, const char *name, magpie_string value) {
    if (!value.size) return;
    magpie_text_printf(out, "%-12s", name);
    terminal_append(out, value);
    magpie_text_append(out, "\n", 1);
}

/* One line of the answer for each of the value. */
static void append_field_lines(magpie_text *out, const char *name, magpie_string value) {
    while (value.size) {
        const char *end = memchr(value.data, '\n', value.size);
        size_t size = end ? (size_t)(end - value.data) : value.size, next = end ? size + 1 : size;
        append_field(out, name, (magpie_string){value.data, size});
        value = (magpie_string){value.data + next, value.size - next};
        name = "";
    }
}

static magpie_status append_fields(magpie_text *out, magpie_snapshot *snapshot, const magpie_item *item) {
    magpie_text spaces = {0};
    magpie_status status = item_append_spaces(&spaces, snapshot, item, "");
    append_field(out, "id", item->id);
    append_field(out, "text", item->text);
    append_field(out, "image", item->image);
    append_field(out, "audio", item->audio);
    append_field(out, "attributes", item->attributes);
    append_field(out, "vectors", (magpie_string){spaces.data, spaces.size});
    append_field_lines(out, "problems", item->problems);
    if (item->timestamp != INT64_MIN) {
        magpie_text_printf(out, "%-12s", "timestamp");
        item_append_time(out, item->timestamp);
        magpie_text_append(out, "\n", 1);
    }
    magpie_text_printf(out, "%-12s", "updated");
    item_append_time(out, item->updated);
    magpie_text_append(out, "\n", 1);
    out->failed |= spaces.failed;
    magpie_text_free(&spaces);
    return status;
}

static exit_code get_items(magpie_snapshot *snapshot, char **ids, int count) {
    magpie_text out = {0};
    exit_code code = EXIT_FINE;
    for (int i = 0; i < count && code != EXIT_FAILED; i++) {
        magpie_item item;
        magpie_status status = magpie_snapshot_get(snapshot, magpie_string_of(ids[i]), &item);
        if (status != MAGPIE_OK) {
            code = print_failure();
            if (status == MAGPIE_E_NOT_FOUND) code = EXIT_MISSING;
            continue;
        }
        status =
            output_json ? item_append_stored(&out, snapshot, &item) : append_fields(&out, snapshot, &item);
        if (status != MAGPIE_OK) {
            code = print_failure();
            break;
        }
        if (output_json || i + 1 < count) magpie_text_append(&out, "\n", 1);
        if (output_text(&out) != EXIT_FINE) code = EXIT_FAILED;
    }
    magpie_text_free(&out);
    return code;
}

static exit_code run_get(char **operands, int count) {
    magpie_store *store = NULL;
    magpie_snapshot *snapshot = NULL;
    magpie_status status = storage_open(STORAGE_READ, &store);
    if (status == MAGPIE_OK) status = magpie_snapshot_open(store, &snapshot);
    exit_code code = status == MAGPIE_OK ? get_items(snapshot, operands, count) : print_failure();
    magpie_snapshot_close(snapshot);
    magpie_store_close(store);
    return code;
}

static const option_row *const tables[] = {storage_options, json_options, NULL};

const command get_command = {
    .name = "get",
    .summary = "print items by their ids",
    .operands = "ID...",
    .least_operands = 1,
    .most_operands = INT_MAX,
    .tables = tables,
    .details = "--json: one object a line, in the order asked for. \"vectors\" names the spaces in\n"
               "which the item has one; \"problems\" says what was wrong with its picture.\n"
               "An id that begins with a dash goes behind --.\n",
    .run = run_get};
