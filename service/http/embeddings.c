/* embeddings.c - POST /v1/embeddings: OpenAI's contract, and objects as Jina's multimodal API takes them. */
#include "../vector_text.h"
#include "handlers.h"
#include "server.h"
#include "things.h"

#include <stdlib.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "vectors go out as they lie in memory");

typedef struct embeddings {
    things things;
    bool base64;
} embeddings;

static void free_embeddings(void *state) {
    embeddings *e = state;
    things_free(&e->things);
    free(e);
}

/* ---- reading ------------------------------------------------------------------------------------------- */

/* *second: it is that of the two. */
static bool read_choice(http_request *r, json_t *body, const char *name, const char *first,
                        const char *second, bool *is_second) {
    magpie_string value = {0};
    if (!http_get_string(r, body, "", name, &value)) return false;
    *is_second = value.data && strcmp(value.data, second) == 0;
    if (!value.data || *is_second || strcmp(value.data, first) == 0) return true;
    http_error(r, MHD_HTTP_BAD_REQUEST, NULL, name, "%s should be %s or %s", name, first, second);
    return false;
}

/* One thing, the tokens of one text, or a list of things and tokens. */
static bool read_input(http_request *r, things *t, json_t *input, magpie_text_role role) {
    char field[32];
    json_t *one;
    size_t i;
    const bool is_list = json_is_array(input) && !json_is_number(json_array_get(input, 0));
    const size_t n = json_array_size(input);
    if (is_list && (!n || n > THINGS_MAX)) {
        http_error(r, MHD_HTTP_BAD_REQUEST, NULL, "input", "input should have 1 to %d things", THINGS_MAX);
        return false;
    }
    if (!things_begin(r, t, is_list ? n : 1)) return false;
    if (!is_list)
        return json_is_array(input) ? things_add_tokens(t, input, "input")
                                    : things_add(t, input, "input", role);
    json_array_foreach(input, i, one) {
        snprintf(field, sizeof field, "input[%zu]", i);
        if (json_is_array(one) ? !things_add_tokens(t, one, field) : !things_add(t, one, field, role))
            return false;
    }
    return true;
}

static bool check_dimension(http_request *r, json_t *body, const things *t) {
    size_t dimension = t->dimension;
    if (!http_get_count(r, body, "", "dimensions", 1, MAGPIE_DIMENSION_MAX, &dimension)) return false;
    if (dimension == t->dimension) return true;
    http_error(r, MHD_HTTP_UNPROCESSABLE_CONTENT, NULL, "dimensions",
               "the model's vectors have %zu dimensions", t->dimension);
    return false;
}

static bool read_request(http_request *r) {
    static const char *const names[] = {"input", "model", "encoding_format", "dimensions", "user",
                                        "task",  NULL};
    embeddings *e = r->state;
    magpie_string user;
    bool is_query;
    json_t *body = http_json(r);
    return body && http_check_names(r, body, "", names) && http_get_string(r, body, "", "user", &user) &&
           read_choice(r, body, "encoding_format", "float", "base64", &e->base64) &&
           read_choice(r, body, "task", "retrieval.passage", "retrieval.query", &is_query) &&
           read_input(r, &e->things, json_object_get(body, "input"),
                      is_query ? MAGPIE_QUERY : MAGPIE_PASSAGE) &&
           things_choose_model(&e->things, body) && check_dimension(r, body, &e->things);
}

/* ---- answering ----------------------------------------------------------------------------------------- */

static void append_vector(magpie_text *out, const float *vector, size_t n, bool base64) {
    if (!base64) {
        vector_append_json(out, vector, n);
        return;
    }
    magpie_text_append(out, "\"", 1);
    magpie_base64_encode(out, vector, n * sizeof *vector);
    magpie_text_append(out, "\"", 1);
}

static http_outcome answer(http_request *r) {
    const embeddings *e = r->state;
    const things *t = &e->things;
    magpie_text out = {0};
    magpie_text_printf(&out, "{\"object\": \"list\", \"model\": \"%s\", \"data\": [",
                       magpie_space_name(t->model));
    for (size_t i = 0; i < t->n; i++) {
        magpie_text_printf(&out,
                           "%s{\"object\": \"embedding\", \"index\": %zu, \"embedding\": ", i ? ", " : "", i);
        append_vector(&out, things_vector(t, i), t->dimension, e->base64);
        magpie_text_append(&out, "}", 1);
    }
    magpie_text_printf(&out, "], \"usage\": {\"prompt_tokens\": %zu, \"total_tokens\": %zu}}\n", t->tokens,
                       t->tokens);
    return http_answer_json(r, MHD_HTTP_OK, &out);
}

http_outcome embeddings_post(http_request *r) {
    embeddings *e = r->state ? r->state : magpie_alloc(1, sizeof *e);
    if (!e) return http_failure(r, MAGPIE_E_NO_MEMORY, NULL);
    r->state = e;
    r->free_state = free_embeddings;
    return things_run(r, &e->things, read_request, answer);
}
