/* interactions.c - POST /v1/interactions: who did what with which item. All of a request are checked before
 * any is written. */
#include "handlers.h"
#include "server.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { INTERACTIONS_MOST = 10000 };

static const double weight_most = 1e9;

static void free_task(void *state) {
    write_task_free(state);
    free(state);
}

/* ---- reading ------------------------------------------------------------------------------------------- */

static bool refuse(http_request *r, const char *path, const char *name, const char *why) {
    char field[64];
    snprintf(field, sizeof field, "%s%s", path, name);
    http_error(r, MHD_HTTP_BAD_REQUEST, NULL, field, "%s: %s", field, why);
    return false;
}

static bool read_id(http_request *r, json_t *one, const char *path, const char *name, magpie_string *out) {
    if (!http_get_string(r, one, path, name, out)) return false;
    if (out->size && out->size <= MAGPIE_ID_MAX) return true;
    return refuse(r, path, name, "an id of 1 to 511 bytes is wanted");
}

static bool read_kind(http_request *r, json_t *one, const char *path, magpie_interaction_kind *out) {
    magpie_string name = {0};
    *out = MAGPIE_LIKE;
    if (!http_get_string(r, one, path, "kind", &name)) return false;
    if (!name.data || magpie_interaction_kind_parse(name, out) == MAGPIE_OK) return true;
    return refuse(r, path, "kind", magpie_error());
}

static bool read_time(http_request *r, json_t *one, const char *path, int64_t *out) {
    const json_t *time = json_object_get(one, "time");
    magpie_status status;
    *out = magpie_unix_millis();
    if (!time || json_is_null(time)) return true;
    if (json_is_number(time))
        status = magpie_import_time(json_number_value(time), out);
    else if (json_is_string(time))
        status =
            magpie_import_time_parse((magpie_string){json_string_value(time), json_string_length(time)}, out);
    else
        status = magpie_fail(MAGPIE_E_INPUT, "seconds since 1970, or RFC 3339, are wanted");
    return status == MAGPIE_OK || refuse(r, path, "time", magpie_error());
}

static bool read_one(http_request *r, json_t *value, const char *path, write_one *one) {
    static const char *const names[] = {"user", "item", "kind", "weight", "time", NULL};
    double weight = 1;
    one->kind = WRITE_INTERACTION;
    if (!http_check_names(r, value, path, names) || !read_id(r, value, path, "user", &one->id) ||
        !read_id(r, value, path, "item", &one->interaction.item) ||
        !read_kind(r, value, path, &one->interaction.kind) ||
        !http_get_number(r, value, path, "weight", -weight_most, weight_most, &weight) ||
        !read_time(r, value, path, &one->interaction.time))
        return false;
    one->interaction.weight = (float)weight;
    return true;
}

static bool add(http_request *r, json_t *value, const char *path, write_task *task) {
    write_one *one = write_task_add(task);
    if (!one) return http_failure(r, MAGPIE_E_NO_MEMORY, NULL), false;
    task->bytes += sizeof *one;
    return read_one(r, value, path, one);
}

static bool read_array(http_request *r, json_t *array, write_task *task) {
    char path[32];
    json_t *value;
    size_t i;
    if (!json_is_array(array) || !json_array_size(array) || json_array_size(array) > INTERACTIONS_MOST)
        return http_error(r, MHD_HTTP_BAD_REQUEST, NULL, "interactions",
                          "an array of 1 to %d interactions is wanted", INTERACTIONS_MOST),
               false;
    json_array_foreach(array, i, value) {
        snprintf(path, sizeof path, "[%zu].", i);
        if (!add(r, value, path, task)) return false;
    }
    return true;
}

static bool read_body(http_request *r, write_task *task) {
    static const char *const names[] = {"interactions", NULL};
    json_t *body = http_json(r);
    if (!body) return false;
    if (json_is_array(body)) return read_array(r, body, task);
    json_t *inner = json_object_get(body, "interactions");
    if (inner) return http_check_names(r, body, "", names) && read_array(r, inner, task);
    return add(r, body, "", task);
}

/* ---- the handler --------------------------------------------------------------------------------------- */

static http_outcome answer(http_request *r, const write_task *task) {
    magpie_text out = {0};
    for (size_t i = 0; i < task->count; i++)
        if (task->ones[i].status != MAGPIE_OK)
            return http_failure(r,
                                magpie_fail(task->ones[i].status, "%s",
                                            task->ones[i].words ? task->ones[i].words : "memory is short"),
                                NULL);
    magpie_text_printf(&out, "{\"accepted\": %zu}\n", task->count);
    return http_answer_json(r, MHD_HTTP_OK, &out);
}

http_outcome interactions_post(http_request *r) {
    if (r->state) return answer(r, r->state);
    write_task *task = magpie_alloc(1, sizeof *task);
    if (!task) return http_failure(r, MAGPIE_E_NO_MEMORY, NULL);
    r->state = task;
    r->free_state = free_task;
    return read_body(r, task) ? writer_wait(r, task) : HTTP_DONE;
}
