/* query_json.c - see query_json.h. */
#include "query_json.h"
#include "server.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const kinds[] = {"text", "image", "audio", "item", "vector"}; /* by query_kind */

enum { KINDS = sizeof kinds / sizeof *kinds };

static const double weight_most = 1000;

void query_json_free(query_json *q) {
    for (size_t i = 0; i < q->query.count; i++) {
        free(q->media[i]);
        free(q->features[i]);
    }
    query_free(&q->query);
}

/* ---- reading ------------------------------------------------------------------------------------------- */

static bool refuse(http_request *r, const char *field, const char *why) {
    http_error(r, MHD_HTTP_BAD_REQUEST, NULL, field, "%s: %s", field, why);
    return false;
}

static query_part *add_part(http_request *r, query_json *q, query_kind kind, const char *name, float weight) {
    const size_t i = q->query.count;
    if (i == QUERY_PARTS_MAX) {
        http_error(r, MHD_HTTP_CONTENT_TOO_LARGE, NULL, name, "a query has at most %d parts",
                   QUERY_PARTS_MAX);
        return NULL;
    }
    snprintf(q->names[i], sizeof q->names[i], "%.47s", name);
    q->parts[i] = (query_part){.kind = kind, .weight = weight, .name = q->names[i]};
    q->query.parts = q->parts;
    q->query.count++;
    return &q->parts[i];
}

bool query_json_add(http_request *r, query_json *q, query_kind kind, magpie_string bytes, const char *name) {
    const size_t i = q->query.count;
    if (!add_part(r, q, kind, name, 1)) return false;
    q->tasks[i].media = (magpie_media){.bytes = bytes};
    return true;
}

/* The decoded bytes are the query's. */
static bool read_media(http_request *r, query_json *q, size_t i, json_t *value) {
    size_t size;
    if (!http_get_media(r, value, q->names[i], &q->media[i], &size)) return false;
    q->tasks[i].media.bytes = (magpie_string){(char *)q->media[i], size};
    return true;
}

static bool read_vector(http_request *r, query_json *q, size_t i, json_t *value) {
    const size_t n = json_array_size(value);
    double squares = 0;
    if (!json_is_array(value) || !n || n > MAGPIE_DIMENSION_MAX)
        return refuse(r, q->names[i], "an array of numbers is wanted");
    float *v = q->features[i] = magpie_alloc(n, sizeof *v);
    if (!v) return http_failure(r, MAGPIE_E_NO_MEMORY, NULL), false;
    for (size_t j = 0; j < n; j++) {
        const json_t *number = json_array_get(value, j);
        if (!json_is_number(number)) return refuse(r, q->names[i], "an array of numbers is wanted");
        v[j] = (float)json_number_value(number);
        squares += (double)v[j] * (double)v[j];
    }
    const double length = sqrt(squares);
    if (!isfinite(length) || !(length > 1e-30))
        return http_error(r, MHD_HTTP_UNPROCESSABLE_CONTENT, NULL, q->names[i],
                          "%s: its length should be finite, and not 0", q->names[i]),
               false;
    for (size_t j = 0; j < n; j++) v[j] = (float)((double)v[j] / length);
    q->parts[i].feature = v;
    q->parts[i].value.size = n; /* its dimension */
    return true;
}

static bool read_value(http_request *r, query_json *q, size_t i, json_t *value) {
    query_part *part = &q->parts[i];
    if (part->kind == QUERY_VECTOR) return read_vector(r, q, i, value);
    if (part->kind == QUERY_IMAGE || part->kind == QUERY_AUDIO) return read_media(r, q, i, value);
    part->value = (magpie_string){json_string_value(value), json_string_length(value)};
    if (!json_is_string(value) || !part->value.size)
        return refuse(r, q->names[i], "a string is wanted, and not an empty one");
    if (part->value.size > MAGPIE_TEXT_MAX) return refuse(r, q->names[i], "it is too long");
    return true;
}

static bool read_part(http_request *r, query_json *q, json_t *value, const char *name) {
    static const char *const names[] = {"text", "image", "audio", "item", "vector", "weight", NULL};
    char path[40], field[48];
    double weight = 1;
    size_t kind = KINDS, given = 0;
    snprintf(path, sizeof path, "%.30s.", name);
    if (json_is_string(value)) {
        const size_t i = q->query.count;
        return add_part(r, q, QUERY_TEXT, name, 1) && read_value(r, q, i, value);
    }
    if (!http_check_names(r, value, path, names)) return false;
    for (size_t i = 0; i < KINDS; i++)
        if (json_object_get(value, kinds[i])) kind = i, given++;
    if (given != 1) return refuse(r, name, "one of text, image, audio, item and vector is wanted");
    if (!http_get_number(r, value, path, "weight", -weight_most, weight_most, &weight)) return false;
    if (fabs(weight) < 1e-6) return refuse(r, name, "a weight of 0 counts for nothing: leave the part out");
    const size_t i = q->query.count;
    snprintf(field, sizeof field, "%s%s", path, kinds[kind]);
    return add_part(r, q, (query_kind)kind, field, (float)weight) &&
           read_value(r, q, i, json_object_get(value, kinds[kind]));
}

bool query_json_read(http_request *r, json_t *value, const char *name, query_json *q) {
    char field[48];
    json_t *part;
    size_t i;
    if (!json_is_array(value)) return read_part(r, q, value, name);
    if (!json_array_size(value)) return refuse(r, name, "it has no part");
    json_array_foreach(value, i, part) {
        snprintf(field, sizeof field, "%.16s[%zu]", name, i);
        if (!read_part(r, q, part, field)) return false;
    }
    return true;
}

bool query_json_weigh(http_request *r, query_json *q, json_t *weights) {
    static const char *const names[] = {"text", "image", "audio", "item", "vector", NULL};
    if (!weights || json_is_null(weights)) return true;
    if (!http_check_names(r, weights, "weights.", names)) return false;
    for (size_t kind = 0; kind < KINDS; kind++) {
        double weight = 1;
        if (!http_get_number(r, weights, "weights.", kinds[kind], 1e-6, weight_most, &weight)) return false;
        for (size_t i = 0; i < q->query.count; i++)
            if (q->parts[i].kind == (query_kind)kind) q->parts[i].weight *= (float)weight;
    }
    return true;
}

/* ---- encoding ------------------------------------------------------------------------------------------ */

static void be_done(encode_task *task) {
    query_json *q = task->owner;
    if (atomic_fetch_sub(&q->left, 1) == 1) http_resume(q->r);
}

static void submit(http_request *r) {
    query_json *q = r->waiting_for;
    const served_models *models = r->view.models;
    for (size_t i = 0; i < q->query.count; i++)
        if (q->tasks[i].done) batcher_submit(models->batchers[q->tasks[i].sense], &q->tasks[i]);
    if (atomic_fetch_sub(&q->left, 1) == 1) http_resume(r);
}

static bool prepare(http_request *r, query_json *q, size_t i, magpie_text_role role, bool *wait) {
    query_part *part = &q->parts[i];
    encode_task *task = &q->tasks[i];
    served_models *models = r->view.models;
    const model_sense sense = (model_sense)part->kind;
    const model_encoder *encoder = &models->encoders[sense];
    if (!encoder->name) {
        http_error(r, MHD_HTTP_UNPROCESSABLE_CONTENT, NULL, part->name,
                   "the service has no model of %s: see --model", model_sense_things(sense));
        return false;
    }
    q->features[i] = magpie_alloc(encoder->dimension, sizeof(float));
    if (!q->features[i]) return http_failure(r, MAGPIE_E_NO_MEMORY, NULL), false;
    part->feature = q->features[i];
    const magpie_string bytes = sense == SENSE_TEXT ? part->value : task->media.bytes;
    q->keys[i] = lru_hash((uint64_t)sense * 2 + role, bytes);
    if (lru_read(models->vectors, q->keys[i], q->features[i], encoder->dimension * sizeof(float)))
        return true;
    task->sense = sense;
    task->role = role;
    task->text = part->value;
    task->out = q->features[i];
    task->done = be_done;
    task->owner = q;
    atomic_fetch_add(&q->left, 1);
    return *wait = true;
}

bool query_json_encode(http_request *r, query_json *q, magpie_text_role role, bool *wait) {
    *wait = false;
    q->r = r;
    atomic_store(&q->left, 1);
    for (size_t i = 0; i < q->query.count; i++)
        if (q->parts[i].kind < QUERY_ITEM && !prepare(r, q, i, role, wait)) return false;
    r->submit = submit;
    r->waiting_for = q;
    return true;
}

bool query_json_collect(http_request *r, query_json *q) {
    for (size_t i = 0; i < q->query.count; i++) {
        const encode_task *task = &q->tasks[i];
        if (!task->done) continue;
        if (task->queued > r->stage[HTTP_QUEUE]) r->stage[HTTP_QUEUE] = task->queued;
        if (task->encoded > r->stage[HTTP_ENCODE]) r->stage[HTTP_ENCODE] = task->encoded;
        if (task->outcome.status != MAGPIE_OK)
            return http_refused_thing(r, &task->outcome, q->names[i]), false;
        lru_put(r->view.models->vectors, q->keys[i], task->out,
                r->view.models->encoders[task->sense].dimension * sizeof(float));
    }
    return true;
}
