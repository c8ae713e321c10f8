/* things.c - see things.h. */
#include "things.h"
#include "models.h"
#include "server.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    MUCH_BODY = 4 << 10, /* what is no more is read where it comes in, and answered there */
    MUCH = 16,           /* vectors */
    ANSWER_BYTES = 16    /* of a number in an answer */
};

enum { START, READ, ENCODED }; /* r->step */

bool things_begin(http_request *r, things *t, size_t most) {
    t->r = r;
    t->most = most;
    t->of = magpie_alloc(most, sizeof *t->of);
    return t->of || (http_failure(r, MAGPIE_E_NO_MEMORY, NULL), false);
}

void things_free(things *t) {
    for (size_t i = 0; i < t->n; i++) free(t->of[i].bytes);
    free(t->of);
    free(t->ids);
    free(t->features);
    free(t->projected);
}

const float *things_vector(const things *t, size_t i) {
    return t->projected ? t->projected + i * t->dimension : t->features + i * t->width;
}

/* ---- reading ------------------------------------------------------------------------------------------- */

static bool refuse(const things *t, unsigned status, const char *field, const char *why) {
    http_error(t->r, status, NULL, field, "%s: %s", field, why);
    return false;
}

/* NULL, and it has been answered, where nothing encodes such things. */
static thing *add(things *t, model_sense sense, const char *field) {
    if (!t->r->view.models->encoders[sense].name) {
        http_error(t->r, MHD_HTTP_UNPROCESSABLE_CONTENT, NULL, field,
                   "the service has no model of %s: see --model", model_sense_things(sense));
        return NULL;
    }
    thing *one = &t->of[t->n++];
    one->task.sense = sense;
    snprintf(one->field, sizeof one->field, "%s", field);
    return one;
}

/* Room for the tokens of one more text, as many as the model takes. NULL: it has been answered. */
static int32_t *reserve(things *t, const magpie_text_encoder_info *info) {
    magpie_status status =
        magpie_grow((void **)&t->ids, &t->capacity, t->tokens + info->max_tokens, sizeof *t->ids);
    if (status == MAGPIE_OK) return t->ids + t->tokens;
    http_failure(t->r, status, NULL);
    return NULL;
}

static void keep_tokens(things *t, thing *one, size_t count) {
    one->start = t->tokens;
    one->task.count = count;
    t->tokens += count;
}

static bool add_text(things *t, const json_t *value, const char *field, magpie_text_role role) {
    thing *one = add(t, SENSE_TEXT, field);
    size_t count;
    if (!one) return false;
    magpie_text_encoder *encoder = t->r->view.models->encoders[SENSE_TEXT].text;
    int32_t *ids = reserve(t, magpie_text_encoder_get_info(encoder));
    if (!ids) return false;
    const magpie_string text = {json_string_value(value), json_string_length(value)};
    magpie_status status = magpie_text_encoder_tokenize(encoder, text, role, ids, &count);
    if (status != MAGPIE_OK) return http_failure(t->r, status, field), false;
    keep_tokens(t, one, count);
    return true;
}

bool things_add_tokens(things *t, json_t *value, const char *field) {
    thing *one = add(t, SENSE_TEXT, field);
    if (!one) return false;
    const magpie_text_encoder_info *info =
        magpie_text_encoder_get_info(t->r->view.models->encoders[SENSE_TEXT].text);
    const size_t count = json_array_size(value);
    if (!count) return refuse(t, MHD_HTTP_BAD_REQUEST, field, "it has no tokens");
    if (count > info->max_tokens)
        return refuse(t, MHD_HTTP_UNPROCESSABLE_CONTENT, field, "it has more tokens than the model takes");
    int32_t *ids = reserve(t, info);
    if (!ids) return false;
    for (size_t i = 0; i < count; i++) {
        const json_t *number = json_array_get(value, i);
        const double id = json_number_value(number);
        if (!json_is_number(number) || id < 0 || id != floor(id))
            return refuse(t, MHD_HTTP_BAD_REQUEST, field, "tokens are whole numbers, from 0 on");
        if (id >= (double)info->vocabulary)
            return refuse(t, MHD_HTTP_UNPROCESSABLE_CONTENT, field,
                          "one of its tokens is not of the model's vocabulary");
        ids[i] = (int32_t)id;
    }
    keep_tokens(t, one, count);
    return true;
}

static bool add_media(things *t, const json_t *value, model_sense sense, const char *field) {
    thing *one = add(t, sense, field);
    size_t size;
    if (!one || !http_get_media(t->r, value, field, &one->bytes, &size)) return false;
    one->task.media.bytes = (magpie_string){(char *)one->bytes, size};
    return true;
}

static bool add_object(things *t, json_t *value, const char *name, magpie_text_role role) {
    static const char *const names[] = {"text", "image", "audio", NULL}; /* by model_sense */
    char path[32], field[40];
    unsigned sense = 0;
    snprintf(path, sizeof path, "%s.", name);
    if (!http_check_names(t->r, value, path, names)) return false;
    if (json_object_size(value) != 1)
        return refuse(t, MHD_HTTP_BAD_REQUEST, name, "one of text, image and audio is wanted");
    while (!json_object_get(value, names[sense])) sense++;
    snprintf(field, sizeof field, "%s%s", path, names[sense]);
    value = json_object_get(value, names[sense]);
    if (sense != SENSE_TEXT) return add_media(t, value, (model_sense)sense, field);
    if (!json_string_length(value))
        return refuse(t, MHD_HTTP_BAD_REQUEST, field, "a string is wanted, and not an empty one");
    return add_text(t, value, field, role);
}

bool things_add(things *t, json_t *value, const char *field, magpie_text_role role) {
    if (json_is_string(value)) return add_text(t, value, field, role);
    if (json_is_object(value)) return add_object(t, value, field, role);
    return refuse(t, MHD_HTTP_BAD_REQUEST, field, "a string or an object is wanted");
}

/* ---- which model --------------------------------------------------------------------------------------- */

/* NULL: the model takes all of them. */
static const thing *find_misfit(const things *t, magpie_space model) {
    for (size_t i = 0; i < t->n; i++)
        if (!models_takes(t->r->view.models, model, t->of[i].task.sense)) return &t->of[i];
    return NULL;
}

static bool choose_any(things *t) {
    for (unsigned i = 1; i <= MAGPIE_SPACES; i++) {
        t->model = (magpie_space)(i % MAGPIE_SPACES); /* as they are listed: the fused one last */
        if (!find_misfit(t, t->model)) return true;
    }
    http_error(t->r, MHD_HTTP_UNPROCESSABLE_CONTENT, NULL, "model",
               "no model takes all of these together: see /v1/models");
    return false;
}

bool things_choose_model(things *t, json_t *body) {
    const served_models *models = t->r->view.models;
    magpie_string name = {0};
    if (!http_get_string(t->r, body, "", "model", &name)) return false;
    if (!name.data && !choose_any(t)) return false;
    const bool known = !name.data || storage_parse_space(name.data, &t->model) == MAGPIE_OK;
    t->dimension = known ? models_dimension(models, t->model) : 0;
    if (!t->dimension) {
        http_error(t->r, MHD_HTTP_NOT_FOUND, NULL, "model", "there is no model \"%.200s\": see /v1/models",
                   name.data);
        return false;
    }
    const thing *misfit = find_misfit(t, t->model);
    if (!misfit) return true;
    http_error(t->r, MHD_HTTP_UNPROCESSABLE_CONTENT, NULL, misfit->field,
               "%s: the model \"%s\" takes no %s: see /v1/models", misfit->field, magpie_space_name(t->model),
               model_sense_things(misfit->task.sense));
    return false;
}

/* ---- encoding ------------------------------------------------------------------------------------------ */

/* Of a service that ends and has waited long enough, no more is begun. The caller holds one of `left`. */
static void submit_next(things *t) {
    for (size_t i; (i = atomic_fetch_add(&t->next, 1)) < t->n;) {
        encode_task *task = &t->of[i].task;
        if (!atomic_load(&t->r->server->stopping)) {
            batcher_submit(t->r->view.models->batchers[task->sense], task);
            return;
        }
        task->outcome = (magpie_outcome){MAGPIE_E_CANCELLED, "the service is ending"};
        atomic_fetch_sub(&t->left, 1);
    }
}

static void be_done(encode_task *task) {
    things *t = task->owner;
    submit_next(t);
    if (atomic_fetch_sub(&t->left, 1) == 1) http_resume(t->r);
}

static void submit(http_request *r) {
    things *t = r->waiting_for;
    const size_t turn = encode_turn_cost(&r->view.models->encoders[t->of->task.sense]);
    size_t cost = 0;
    for (size_t i = 0; i < t->n; i++) cost += encode_task_cost(&t->of[i].task);
    const bool bulk = cost > turn;
    const size_t at_once = bulk ? turn * t->n / cost + 1 : t->n;
    for (size_t i = 0; i < t->n; i++) t->of[i].task.bulk = bulk;
    t->submitted = magpie_seconds();
    for (size_t i = 0; i < at_once; i++) submit_next(t);
    if (atomic_fetch_sub(&t->left, 1) == 1) http_resume(r);
}

static bool allocate(things *t) {
    for (size_t i = 0; i < t->n; i++) {
        const size_t dimension = t->r->view.models->encoders[t->of[i].task.sense].dimension;
        if (dimension > t->width) t->width = dimension;
    }
    const size_t numbers = t->width + t->dimension;
    if (!http_hold(t->r, t->n * (sizeof *t->of + numbers * sizeof(float) + t->dimension * ANSWER_BYTES)))
        return false;
    t->features = magpie_alloc(t->n * t->width, sizeof *t->features);
    const bool fused = t->model == MAGPIE_SPACE_FUSED;
    if (fused) t->projected = magpie_alloc(t->n * t->dimension, sizeof *t->projected);
    if (t->features && (t->projected || !fused)) return true;
    http_failure(t->r, MAGPIE_E_NO_MEMORY, NULL);
    return false;
}

static bool prepare(things *t) {
    if (!allocate(t)) return false;
    for (size_t i = 0; i < t->n; i++) {
        thing *one = &t->of[i];
        if (one->task.sense == SENSE_TEXT) one->task.ids = t->ids + one->start;
        one->task.out = t->features + i * t->width;
        one->task.done = be_done;
        one->task.owner = t;
    }
    atomic_store(&t->left, t->n + 1);
    t->r->submit = submit;
    t->r->waiting_for = t;
    return true;
}

static magpie_status project(things *t) {
    magpie_status status = MAGPIE_OK;
    for (size_t i = 0; i < t->n && t->projected && status == MAGPIE_OK; i++)
        status = magpie_fusion_project(t->r->view.models->fusion, (magpie_modality)t->of[i].task.sense,
                                       t->features + i * t->width, 1, t->projected + i * t->dimension);
    return status;
}

static bool collect(http_request *r, things *t) {
    for (size_t i = 0; i < t->n; i++)
        if (t->of[i].task.outcome.status != MAGPIE_OK)
            return http_refused_thing(r, &t->of[i].task.outcome, t->of[i].field), false;
    magpie_status status = project(t);
    if (status != MAGPIE_OK) http_failure(r, status, NULL);
    return status == MAGPIE_OK;
}

static void count_time(http_request *r, const things *t) {
    const double queued = t->of->task.queued;
    r->stage[HTTP_QUEUE] += queued;
    r->stage[HTTP_ENCODE] = magpie_seconds() - t->submitted - queued;
}

http_outcome things_run(http_request *r, things *t, bool (*read)(http_request *r),
                        http_outcome (*answer)(http_request *r)) {
    if (r->step == START) {
        r->step = READ;
        if (r->body.size > MUCH_BODY) return http_move_to_worker(r);
    }
    if (r->step == READ) {
        r->step = ENCODED;
        return read(r) && prepare(t) ? HTTP_WAIT : HTTP_DONE;
    }
    if (!r->stage[HTTP_ENCODE]) count_time(r, t);
    if (t->n > MUCH && !r->on_worker) return http_move_to_worker(r);
    return collect(r, t) ? answer(r) : HTTP_DONE;
}
