/* rerank.c - POST /v1/rerank: which documents fit a query best, by the cosine of their vectors. */
#include "handlers.h"
#include "server.h"
#include "things.h"

#include <stdlib.h>

typedef struct scored {
    size_t index;
    double score;
} scored;

typedef struct reranking {
    things things; /* the query, then the documents */
    json_t *documents;
    scored *results; /* [documents] */
    size_t top;
    bool with_documents;
} reranking;

static void free_reranking(void *state) {
    reranking *k = state;
    things_free(&k->things);
    free(k->results);
    free(k);
}

static bool read_documents(http_request *r, reranking *k, json_t *body) {
    char field[32];
    json_t *one, *query = json_object_get(body, "query");
    size_t i;
    k->documents = json_object_get(body, "documents");
    const size_t n = json_array_size(k->documents);
    if (!n || n > THINGS_MAX) {
        http_error(r, MHD_HTTP_BAD_REQUEST, NULL, "documents", "documents should be an array of 1 to %d",
                   THINGS_MAX);
        return false;
    }
    if (!things_begin(r, &k->things, n + 1) || !things_add(&k->things, query, "query", MAGPIE_QUERY))
        return false;
    json_array_foreach(k->documents, i, one) {
        snprintf(field, sizeof field, "documents[%zu]", i);
        if (!things_add(&k->things, one, field, MAGPIE_PASSAGE)) return false;
    }
    return true;
}

static bool read_request(http_request *r) {
    static const char *const names[] = {"model", "query", "documents", "top_n", "return_documents", NULL};
    reranking *k = r->state;
    k->top = THINGS_MAX;
    json_t *body = http_json(r);
    return body && http_check_names(r, body, "", names) &&
           http_get_count(r, body, "", "top_n", 1, THINGS_MAX, &k->top) &&
           http_get_bool(r, body, "", "return_documents", &k->with_documents) && read_documents(r, k, body) &&
           things_choose_model(&k->things, body);
}

static int compare(const void *a, const void *b) {
    const scored *x = a, *y = b;
    if (x->score != y->score) return x->score < y->score ? 1 : -1;
    return x->index < y->index ? -1 : 1;
}

static bool rank(reranking *k) {
    const things *t = &k->things;
    const float *query = things_vector(t, 0);
    const size_t n = t->n - 1;
    if (!(k->results = magpie_alloc(n, sizeof *k->results))) return false;
    for (size_t i = 0; i < n; i++) {
        const float *document = things_vector(t, i + 1);
        double score = 0;
        for (size_t j = 0; j < t->dimension; j++) score += (double)query[j] * (double)document[j];
        k->results[i] = (scored){i, score};
    }
    qsort(k->results, n, sizeof *k->results, compare);
    if (k->top > n) k->top = n;
    return true;
}

/* As it came, but that a text is an object. */
static void append_document(magpie_text *out, const json_t *document) {
    char *text = json_dumps(document, JSON_ENCODE_ANY | JSON_COMPACT);
    if (text)
        magpie_text_printf(
            out, json_is_string(document) ? ", \"document\": {\"text\": %s}" : ", \"document\": %s", text);
    else
        out->failed = true;
    free(text);
}

static http_outcome answer(http_request *r) {
    reranking *k = r->state;
    magpie_text out = {0};
    if (!rank(k)) return http_failure(r, MAGPIE_E_NO_MEMORY, NULL);
    magpie_text_printf(&out, "{\"model\": \"%s\", \"results\": [", magpie_space_name(k->things.model));
    for (size_t i = 0; i < k->top; i++) {
        const scored *one = &k->results[i];
        magpie_text_printf(&out, "%s{\"index\": %zu, \"relevance_score\": %.9g", i ? ", " : "", one->index,
                           one->score);
        if (k->with_documents) append_document(&out, json_array_get(k->documents, one->index));
        magpie_text_append(&out, "}", 1);
    }
    magpie_text_printf(&out, "], \"usage\": {\"total_tokens\": %zu}}\n", k->things.tokens);
    return http_answer_json(r, MHD_HTTP_OK, &out);
}

http_outcome rerank_post(http_request *r) {
    reranking *k = r->state ? r->state : magpie_alloc(1, sizeof *k);
    if (!k) return http_failure(r, MAGPIE_E_NO_MEMORY, NULL);
    r->state = k;
    r->free_state = free_reranking;
    return things_run(r, &k->things, read_request, answer);
}
