/* items_write.c - POST /v1/items, PATCH and DELETE /v1/items/{id}, POST /v1/items/delete. Lines of items are in
 * item_lines.c.
 *
 * DELETING BY A FILTER goes by blocks: what passes is found at once, by the inverted index, and each item is
 * looked at again in the moment in which it is deleted. What comes to pass meanwhile stays. */
#include "handlers.h"
#include "item_json.h"
#include "server.h"

#include <stdlib.h>
#include <string.h>

enum { ITEMS_MOST = 1000, IDS_MOST = 10000, DELETED_AT_ONCE = 1000 };

/* ---- one or several ------------------------------------------------------------------------------------ */

typedef struct writing {
    write_task task;
    bool wait, several;
} writing;

static void free_writing(void *state) {
    writing *w = state;
    write_task_free(&w->task);
    free(w);
}

static writing *begin(http_request *r) {
    writing *w = magpie_alloc(1, sizeof *w);
    if (!w) return http_failure(r, MAGPIE_E_NO_MEMORY, NULL), NULL;
    r->state = w;
    r->free_state = free_writing;
    r->step = 1;
    return w;
}

static write_one *add(http_request *r, write_task *task) {
    write_one *one = write_task_add(task);
    if (!one) http_failure(r, MAGPIE_E_NO_MEMORY, NULL);
    return one;
}

static bool read_items(http_request *r, json_t *items, writing *w) {
    json_t *item;
    size_t i;
    w->several = true;
    if (!json_is_array(items) || !json_array_size(items) || json_array_size(items) > ITEMS_MOST)
        return http_error(r, MHD_HTTP_BAD_REQUEST, NULL, "items", "an array of 1 to %d items is wanted",
                          ITEMS_MOST),
               false;
    json_array_foreach(items, i, item) {
        write_one *one = add(r, &w->task);
        if (!one) return false;
        item_json_read(r, item, one);
        w->task.bytes += one->line.size;
    }
    return true;
}

static bool read_body(http_request *r, writing *w) {
    static const char *const names[] = {"items", NULL};
    json_t *body = http_json(r);
    if (!body || !item_json_wants_wait(r, &w->wait)) return false;
    if (json_is_array(body)) return read_items(r, body, w);
    if (!json_is_object(body))
        return http_error(r, MHD_HTTP_BAD_REQUEST, NULL, NULL, "an item, or an array of items, is wanted"),
               false;
    if (json_object_get(body, "items"))
        return http_check_names(r, body, "", names) && read_items(r, json_object_get(body, "items"), w);
    write_one *one = add(r, &w->task);
    if (one) item_json_read(r, body, one);
    if (one) w->task.bytes = one->line.size;
    return one != NULL;
}

/* Whether all have failed, and by no fault of theirs: the disk is full, the models are others. */
static bool nothing_could_be_written(const write_task *task) {
    for (size_t i = 0; i < task->count; i++) {
        const magpie_status status = task->ones[i].status;
        if (status == MAGPIE_OK || status == MAGPIE_E_INPUT || status == MAGPIE_E_TOO_LARGE ||
            status == MAGPIE_E_UNSUPPORTED)
            return false;
    }
    return true;
}

static http_outcome answer_items(http_request *r, const writing *w) {
    magpie_text out = {0};
    const write_one *first = w->task.ones;
    if ((!w->several && first->status != MAGPIE_OK) || nothing_could_be_written(&w->task))
        return item_json_fail(r, first);
    if (w->wait && !item_json_wait(r)) return HTTP_DONE;
    if (w->several) magpie_text_printf(&out, "{\"items\": [");
    for (size_t i = 0; i < w->task.count; i++) {
        if (i) magpie_text_append(&out, ", ", 2);
        item_json_append(r, &out, &w->task.ones[i], 0);
    }
    magpie_text_printf(&out, w->several ? "]}\n" : "\n");
    return http_answer_json(r, MHD_HTTP_OK, &out);
}

http_outcome items_post(http_request *r) {
    if (r->is_lines) return item_lines_end(r);
    if (r->step) return answer_items(r, r->state);
    writing *w = begin(r);
    return w && read_body(r, w) ? writer_wait(r, &w->task) : HTTP_DONE;
}

/* ---- one that is there --------------------------------------------------------------------------------- */

http_outcome items_patch(http_request *r) {
    static const char *const names[] = {"attributes", NULL};
    if (r->step) return answer_items(r, r->state);
    json_t *body = http_json(r);
    if (!body || !http_check_names(r, body, "", names)) return HTTP_DONE;
    const json_t *attributes = json_object_get(body, "attributes");
    if (!json_is_object(attributes))
        return http_error(r, MHD_HTTP_BAD_REQUEST, NULL, "attributes", "attributes should be an object");
    writing *w = begin(r);
    write_one *one = w ? add(r, &w->task) : NULL;
    if (!one) return HTTP_DONE;
    one->kind = WRITE_PATCH;
    one->id = magpie_string_of(r->parameter);
    if (!(one->own_line = json_dumps(attributes, JSON_COMPACT)))
        return http_failure(r, MAGPIE_E_NO_MEMORY, NULL);
    one->line = magpie_string_of(one->own_line);
    w->task.bytes = one->line.size;
    return writer_wait(r, &w->task);
}

static http_outcome answer_deleted(http_request *r, size_t n) {
    magpie_text out = {0};
    magpie_text_printf(&out, "{\"deleted\": %zu}\n", n);
    return http_answer_json(r, MHD_HTTP_OK, &out);
}

http_outcome items_delete(http_request *r) {
    if (r->step) {
        const write_one *one = ((writing *)r->state)->task.ones;
        return one->status == MAGPIE_OK ? answer_deleted(r, 1) : item_json_fail(r, one);
    }
    writing *w = begin(r);
    write_one *one = w ? add(r, &w->task) : NULL;
    if (!one) return HTTP_DONE;
    one->kind = WRITE_DELETE;
    one->id = magpie_string_of(r->parameter);
    return writer_wait(r, &w->task);
}

/* ---- many ---------------------------------------------------------------------------------------------- */

typedef struct deleting {
    write_task task; /* of the block at hand */
    magpie_filter *filter;
    uint64_t *rows; /* [n], of those that pass; NULL: ids are given */
    size_t n, next, deleted;
} deleting;

static void free_deleting(void *state) {
    deleting *d = state;
    write_task_free(&d->task);
    magpie_filter_free(d->filter);
    free(d->rows);
    free(d);
}

static bool read_ids(http_request *r, json_t *ids, deleting *d) {
    char field[32];
    json_t *id;
    size_t i;
    if (!json_is_array(ids) || !json_array_size(ids) || json_array_size(ids) > IDS_MOST)
        return http_error(r, MHD_HTTP_BAD_REQUEST, NULL, "ids", "an array of 1 to %d ids is wanted",
                          IDS_MOST),
               false;
    json_array_foreach(ids, i, id) {
        const size_t size = json_string_length(id);
        snprintf(field, sizeof field, "ids[%zu]", i);
        if (!size || size > MAGPIE_ID_MAX)
            return http_error(r, MHD_HTTP_BAD_REQUEST, NULL, field, "a string of 1 to %d bytes is wanted",
                              MAGPIE_ID_MAX),
                   false;
        write_one *one = add(r, &d->task);
        if (!one) return false;
        one->kind = WRITE_DELETE;
        one->id = (magpie_string){json_string_value(id), size};
    }
    return true;
}

static bool find_passing(http_request *r, json_t *body, deleting *d) {
    magpie_snapshot *snapshot;
    if (!http_get_filter(r, body, &d->filter)) return false;
    magpie_status status = magpie_snapshot_open(r->view.store, &snapshot);
    if (status == MAGPIE_OK) {
        status = magpie_filter_rows(d->filter, snapshot, &d->rows, &d->n);
        magpie_snapshot_close(snapshot);
    }
    if (status != MAGPIE_OK) http_failure(r, status, "filter");
    return status == MAGPIE_OK;
}

static bool read_deletion(http_request *r, deleting *d) {
    static const char *const names[] = {"ids", "filter", NULL};
    json_t *body = http_json(r);
    if (!body || !http_check_names(r, body, "", names)) return false;
    json_t *ids = json_object_get(body, "ids"), *filter = json_object_get(body, "filter");
    const bool by_ids = ids && !json_is_null(ids), by_filter = filter && !json_is_null(filter);
    if (by_ids == by_filter)
        return http_error(r, MHD_HTTP_BAD_REQUEST, NULL, "ids", "either ids or a filter is wanted"), false;
    return by_ids ? read_ids(r, ids, d) : find_passing(r, body, d);
}

static bool add_row(http_request *r, deleting *d, const magpie_item *item) {
    write_one *one = add(r, &d->task);
    if (!one) return false;
    one->kind = WRITE_DELETE;
    one->filter = d->filter;
    if (!(one->own_id = strndup(item->id.data, item->id.size)))
        return http_failure(r, MAGPIE_E_NO_MEMORY, NULL), false;
    one->id = (magpie_string){one->own_id, item->id.size};
    return true;
}

/* The next rows of those that are still there. */
static bool fill_block(http_request *r, deleting *d) {
    magpie_snapshot *snapshot;
    magpie_item item;
    magpie_status status = magpie_snapshot_open(r->view.store, &snapshot);
    if (status != MAGPIE_OK) return http_failure(r, status, NULL), false;
    while (d->next < d->n && d->task.count < DELETED_AT_ONCE && !r->answered) {
        status = magpie_snapshot_get_row(snapshot, d->rows[d->next++], &item);
        if (status == MAGPIE_OK)
            (void)add_row(r, d, &item);
        else if (status != MAGPIE_E_NOT_FOUND)
            http_failure(r, status, NULL);
    }
    magpie_snapshot_close(snapshot);
    return !r->answered;
}

/* Counts what the block before has come to. */
static bool take_block(http_request *r, deleting *d) {
    for (size_t i = 0; i < d->task.count; i++) {
        const write_one *one = &d->task.ones[i];
        d->deleted += one->status == MAGPIE_OK;
        if (one->status == MAGPIE_OK || one->status == MAGPIE_E_NOT_FOUND) continue;
        item_json_fail(r, one);
        return false;
    }
    write_task_clear(&d->task);
    return true;
}

http_outcome items_delete_many(http_request *r) {
    deleting *d = r->state;
    if (d) {
        if (!take_block(r, d)) return HTTP_DONE;
    } else {
        if (!(d = magpie_alloc(1, sizeof *d))) return http_failure(r, MAGPIE_E_NO_MEMORY, NULL);
        r->state = d;
        r->free_state = free_deleting;
        if (!read_deletion(r, d)) return HTTP_DONE;
    }
    if (d->rows && !fill_block(r, d)) return HTTP_DONE;
    if (!d->task.count) return answer_deleted(r, d->deleted);
    d->task.goes_on = d->next > DELETED_AT_ONCE;
    return writer_wait(r, &d->task);
}
