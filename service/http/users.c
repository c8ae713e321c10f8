/* users.c - GET and DELETE /v1/users/{id}: what a user did, and to forget it. */
#include "../forget.h"
#include "../item.h"
#include "handlers.h"
#include "server.h"

#include <stdlib.h>
#include <string.h>

enum { SHOWN_MOST = 1000 };

typedef struct history {
    uint32_t user;
    magpie_interaction *of; /* [n], the earliest first */
    size_t n, capacity;
} history;

static magpie_status read_history(http_request *r, magpie_snapshot *snapshot, history *out) {
    magpie_status status = magpie_snapshot_user_number(snapshot, magpie_string_of(r->parameter), &out->user);
    return status == MAGPIE_OK
               ? magpie_snapshot_history(snapshot, out->user, &out->of, &out->capacity, &out->n)
               : status;
}

/* ---- showing ------------------------------------------------------------------------------------------- */

static magpie_status append_one(magpie_text *out, magpie_snapshot *snapshot, const magpie_interaction *one) {
    magpie_string item;
    magpie_status status = magpie_snapshot_item_id(snapshot, one->item, &item);
    if (status != MAGPIE_OK) return status;
    magpie_text_printf(out, "{\"item\": ");
    magpie_text_json_string(out, item.data, item.size);
    magpie_text_printf(out, ", \"kind\": \"%s\", \"weight\": %.9g, \"time\": ",
                       magpie_interaction_kind_name(one->kind), (double)one->weight);
    if (one->time) {
        magpie_text_append(out, "\"", 1);
        item_append_time(out, one->time);
        magpie_text_append(out, "\"}", 2);
    } else {
        magpie_text_printf(out, "null}");
    }
    return MAGPIE_OK;
}

static magpie_status append_newest(magpie_text *out, magpie_snapshot *snapshot, const history *h) {
    magpie_status status = MAGPIE_OK;
    for (size_t i = h->n; i-- && h->n - i <= SHOWN_MOST && status == MAGPIE_OK;) {
        if (i + 1 < h->n) magpie_text_append(out, ", ", 2);
        status = append_one(out, snapshot, &h->of[i]);
    }
    return status;
}

http_outcome users_get(http_request *r) {
    magpie_snapshot *snapshot;
    history h = {0};
    magpie_text out = {0};
    if (strlen(r->parameter) > MAGPIE_ID_MAX)
        return http_error(r, MHD_HTTP_BAD_REQUEST, NULL, "id", "an id has %d bytes at most", MAGPIE_ID_MAX);
    magpie_status status = magpie_snapshot_open(r->view.store, &snapshot);
    if (status != MAGPIE_OK) return http_failure(r, status, NULL);
    status = read_history(r, snapshot, &h);
    if (status == MAGPIE_E_NOT_FOUND) status = MAGPIE_OK; /* nobody is no error: nothing is known of them */
    magpie_text_printf(&out, "{\"id\": ");
    magpie_text_json_string(&out, r->parameter, strlen(r->parameter));
    magpie_text_printf(&out, ", \"interactions\": [");
    if (status == MAGPIE_OK) status = append_newest(&out, snapshot, &h);
    magpie_text_printf(&out, "]}\n");
    free(h.of);
    magpie_snapshot_close(snapshot);
    if (status == MAGPIE_OK) return http_answer_json(r, MHD_HTTP_OK, &out);
    magpie_text_free(&out);
    return http_failure(r, status, "id");
}

/* ---- forgetting ---------------------------------------------------------------------------------------- */

typedef struct forgetting {
    write_task task;
    uint32_t user;
    size_t interactions;
} forgetting;

static void free_forgetting(void *state) {
    forgetting *f = state;
    write_task_free(&f->task);
    free(f);
}

static magpie_status look_up(http_request *r, forgetting *f) {
    magpie_snapshot *snapshot;
    history h = {0};
    magpie_status status = magpie_snapshot_open(r->view.store, &snapshot);
    if (status != MAGPIE_OK) return status;
    status = read_history(r, snapshot, &h);
    f->user = h.user;
    f->interactions = h.n;
    free(h.of);
    magpie_snapshot_close(snapshot);
    return status;
}

/* The store knows nothing of the user; files may, where one that was to forget was stopped half-way. */
static http_outcome finish_former(http_request *r) {
    magpie_status status = forget_in_files(r->parameter);
    return status == MAGPIE_OK ? http_error(r, MHD_HTTP_NOT_FOUND, NULL, "id", "there is no user of this id")
                               : http_failure(r, status, "id");
}

static http_outcome begin(http_request *r) {
    forgetting *f = magpie_alloc(1, sizeof *f);
    if (!f) return http_failure(r, MAGPIE_E_NO_MEMORY, NULL);
    r->state = f;
    r->free_state = free_forgetting;
    magpie_status status = look_up(r, f);
    if (status == MAGPIE_E_NOT_FOUND) return finish_former(r);
    if (status == MAGPIE_OK) status = forget_in_models(f->user);
    write_one *one = status == MAGPIE_OK ? write_task_add(&f->task) : NULL;
    if (status != MAGPIE_OK) return http_failure(r, status, "id");
    if (!one) return http_failure(r, MAGPIE_E_NO_MEMORY, NULL);
    one->kind = WRITE_FORGET;
    one->id = magpie_string_of(r->parameter);
    return writer_wait(r, &f->task);
}

http_outcome users_delete(http_request *r) {
    const forgetting *f = r->state;
    if (!f) return begin(r);
    const write_one *one = f->task.ones;
    magpie_text out = {0};
    magpie_status status = one->status;
    if (status != MAGPIE_OK)
        (void)magpie_fail(status, "%s", one->words ? one->words : "memory is short");
    else
        status = forget_in_models(f->user);
    if (status == MAGPIE_OK) status = forget_in_files(r->parameter);
    if (status != MAGPIE_OK) return http_failure(r, status, "id");
    magpie_text_printf(&out, "{\"deleted\": %zu}\n", f->interactions);
    return http_answer_json(r, MHD_HTTP_OK, &out);
}
