/* search.c - POST /v1/search, GET /v1/items/{id}/similar: what lies nearest to a query.
 *
 * Three steps: the query is read; its parts are encoded, together with those of others (batcher.h), while the
 * connection sleeps; the index is asked. The first and the last are done where the request came in, unless
 * they may take long (a large body, a filter, a deep page): then on a worker.
 *
 * FOR A USER the best hits, some more than are asked for, are brought into another order: by (1 - w)
 * relevance + w preference (recommender.h), each scaled to 0 .. 1 among them.
 *
 * AN ANSWER IS REMEMBERED under all that it depends on: the request, the models, and what store and
 * indexes held. So it is never an old one, and after the next change of an item it is not found any more.
 * One for a user is not remembered, for it changes with every like. */
#include "../item.h"
#include "handlers.h"
#include "multipart.h"
#include "query_json.h"
#include "server.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    LARGE_BODY = 64 << 10,
    LARGE_SCAN = 50000, /* vectors that are compared one by one */
    DEEP = 1000,
    RERANKED_LEAST = 100, /* hits, for a user; */
    RERANKED_TIMES = 4,   /* of these for each that is asked for */
    DEFAULT_K = 10
};

enum { START, READ, ENCODED }; /* r->step */

typedef struct search {
    query_json json;
    magpie_space space; /* until the query is read MAGPIE_SPACES: as that is */
    size_t k, offset;
    double least; /* score; -INFINITY: any */
    unsigned fields;
    bool explain, exact;
    magpie_filter *filter;
    magpie_string user; /* empty: nobody's */
    double user_weight;
    lru_key key; /* of the answer */
    bool has_key;
    /* Of the last step: */
    magpie_snapshot *snapshot;
    served_index *index; /* the request's */
    magpie_hit *hits;    /* [count] */
    float *relevance;    /* [count]; NULL: it is the hits' score, for there is no user */
    magpie_item *items;  /* [count], in the snapshot */
    float *shares;       /* [count, parts, MAGPIE_MODALITIES]; NULL: not asked for */
    size_t count;
} search;

static void free_search(void *state) {
    search *s = state;
    query_json_free(&s->json);
    magpie_filter_free(s->filter);
    free(s->hits);
    free(s->items);
    free(s->relevance);
    free(s->shares);
    free(s);
}

static search *begin(http_request *r) {
    search *s = magpie_alloc(1, sizeof *s);
    if (!s) return http_failure(r, MAGPIE_E_NO_MEMORY, NULL), NULL;
    *s = (search){
        .space = MAGPIE_SPACES, .k = DEFAULT_K, .least = -INFINITY, .user_weight = 0.5, .fields = ITEM_ALL};
    r->state = s;
    r->free_state = free_search;
    return s;
}

/* ---- reading ------------------------------------------------------------------------------------------- */

static bool read_space(http_request *r, json_t *body, search *s) {
    magpie_string name = {0};
    if (!http_get_string(r, body, "", "space", &name)) return false;
    if (!name.data || storage_parse_space(name.data, &s->space) == MAGPIE_OK) return true;
    http_failure(r, MAGPIE_E_INPUT, "space");
    return false;
}

static bool read_fields(http_request *r, json_t *body, search *s) {
    json_t *fields = json_object_get(body, "fields"), *field;
    size_t i;
    if (!fields || json_is_null(fields)) return true;
    s->fields = 0;
    bool fine = json_is_array(fields);
    json_array_foreach(fields, i, field) {
        const unsigned bit = json_is_string(field) ? item_field(json_string_value(field)) : 0;
        s->fields |= bit;
        fine &= bit != 0;
    }
    if (!fine)
        http_error(r, MHD_HTTP_BAD_REQUEST, NULL, "fields",
                   "fields should be an array of text, image, audio, attributes, timestamp");
    return fine;
}

static bool read_body(http_request *r, json_t *body, search *s) {
    static const char *const names[] = {"query", "weights",     "k",    "offset", "filter",
                                        "space", "min_score",   "user", "fields", "explain",
                                        "exact", "user_weight", NULL};
    const http_options *options = &r->server->options;
    if (!http_check_names(r, body, "", names)) return false;
    json_t *query = json_object_get(body, "query");
    if (query && !json_is_null(query) && !query_json_read(r, query, "query", &s->json)) return false;
    if (!http_get_count(r, body, "", "k", 1, options->k_most, &s->k) ||
        !http_get_count(r, body, "", "offset", 0, options->depth_most - options->k_most, &s->offset) ||
        !http_get_number(r, body, "", "min_score", -1, 1, &s->least) ||
        !http_get_bool(r, body, "", "explain", &s->explain) ||
        !http_get_bool(r, body, "", "exact", &s->exact) || !http_get_filter(r, body, &s->filter) ||
        !recommend_read_user(r, body, &s->user) ||
        !http_get_number(r, body, "", "user_weight", 0, 1, &s->user_weight) || !read_space(r, body, s) ||
        !read_fields(r, body, s))
        return false;
    s->has_key &= !s->user.size;
    return true;
}

/* A form: "request" is the JSON, files are parts of the query. */
static bool read_form(http_request *r, search *s) {
    http_multipart form;
    http_part part;
    bool got = true, fine = true;
    magpie_status status = http_multipart_open(http_header(r, "Content-Type"),
                                               (magpie_string){r->body.data, r->body.size}, &form);
    while (fine && status == MAGPIE_OK && (status = http_multipart_next(&form, &part, &got)) == MAGPIE_OK &&
           got) {
        const bool image = part.name.size == 5 && memcmp(part.name.data, "image", 5) == 0;
        const bool audio = part.name.size == 5 && memcmp(part.name.data, "audio", 5) == 0;
        if (image || audio) {
            fine = query_json_add(r, &s->json, image ? QUERY_IMAGE : QUERY_AUDIO, part.bytes,
                                  image ? "image" : "audio");
        } else if (part.name.size == 7 && memcmp(part.name.data, "request", 7) == 0 && !r->json) {
            json_error_t error;
            r->json = http_parse(r, part.bytes, &error);
            fine = r->json && read_body(r, r->json, s);
            if (!r->json && !r->answered) http_bad_json(r, &error, "request");
        } else {
            http_error(r, MHD_HTTP_BAD_REQUEST, NULL, "body",
                       "the fields of a form are request, image and audio");
            fine = false;
        }
    }
    if (status != MAGPIE_OK) http_failure(r, status, "body");
    return fine && status == MAGPIE_OK;
}

static bool is_form(http_request *r) {
    const char *type = http_header(r, "Content-Type");
    return type && strncasecmp(type, "multipart/", 10) == 0;
}

static bool read_request(http_request *r, search *s) {
    json_t *body = NULL;
    if (is_form(r) ? !read_form(r, s) : !((body = http_json(r)) && read_body(r, body, s))) return false;
    body = r->json;
    if (!s->json.query.count) {
        http_error(r, MHD_HTTP_BAD_REQUEST, NULL, "query", "query is missing: what is to be found?");
        return false;
    }
    if (body && !query_json_weigh(r, &s->json, json_object_get(body, "weights"))) return false;
    if (s->space == MAGPIE_SPACES) s->space = query_space(&s->json.query, &r->view.models->spaces);
    if (s->space == MAGPIE_SPACE_FUSED || (query_is_single(&s->json.query) && !s->explain)) return true;
    http_error(r, MHD_HTTP_UNPROCESSABLE_CONTENT, NULL, "space",
               s->explain ? "only in the fused space a score is a sum that can be explained"
                          : "this space takes one thing that is wanted; a mix is for the fused space");
    return false;
}

/* ---- asking the index ---------------------------------------------------------------------------------- */

/* The index of the space that is asked; where texts alone fill the fused space, that is the texts' too. */
static bool choose_space(http_request *r, search *s) {
    if (s->space == MAGPIE_SPACE_TEXT && !r->view.index[s->space] &&
        heads_text_alone(&r->view.models->spaces))
        s->space = MAGPIE_SPACE_FUSED;
    s->index = r->view.index[s->space];
    if (s->index) return true;
    http_error(r, MHD_HTTP_UNPROCESSABLE_CONTENT, NULL, "space",
               "nothing in the store has a vector in the %s space", magpie_space_name(s->space));
    return false;
}

/* Index, snapshot and models are three moments; a space may be given to another model between them. */
static bool check_moments(http_request *r, search *s) {
    magpie_space_binding now;
    magpie_status status = magpie_snapshot_get_binding(s->snapshot, s->space, &now);
    const magpie_space_binding *bound = magpie_index_get_binding(s->index->index);
    if (status == MAGPIE_OK && !magpie_space_same_binding(&now, bound))
        status = magpie_fail(MAGPIE_E_BUSY, "the %s vectors are being made anew: search again",
                             magpie_space_name(s->space));
    if (status != MAGPIE_OK) return http_failure(r, status, NULL), false;
    for (size_t i = 0; i < s->json.query.count; i++)
        if (s->json.parts[i].kind == QUERY_VECTOR && s->json.parts[i].value.size != bound->dimension) {
            http_error(r, MHD_HTTP_UNPROCESSABLE_CONTENT, NULL, s->json.names[i],
                       "a vector of the %s space has %zu numbers", magpie_space_name(s->space),
                       bound->dimension);
            return false;
        }
    return true;
}

static bool choose_fusion(http_request *r, search *s) {
    const served_models *models = r->view.models;
    query *q = &s->json.query;
    const bool heads = s->explain || query_needs_encoder(q);
    q->fusion = s->space != MAGPIE_SPACE_FUSED ? NULL : heads ? models->fusion : s->index->mixer;
    magpie_status status = MAGPIE_OK;
    if (heads && s->space == MAGPIE_SPACE_FUSED && !q->fusion) {
        http_error(r, MHD_HTTP_UNPROCESSABLE_CONTENT, NULL, s->explain ? "explain" : "query",
                   "the service has no model that fills the fused space: see --model");
        return false;
    }
    if (heads) status = query_check(q, s->space, models->encoders, magpie_index_get_binding(s->index->index));
    if (status != MAGPIE_OK) http_failure(r, status, NULL);
    return status == MAGPIE_OK;
}

/* Leaves out what is no answer: items that the query names, those that were deleted meanwhile, low scores,
 * the first `offset`, and those after `most`. */
static magpie_status fetch_items(search *s, size_t offset, size_t most) {
    size_t kept = 0, skipped = 0;
    magpie_status status = MAGPIE_OK;
    for (size_t i = 0; i < s->count && kept < most; i++) {
        magpie_item *item = &s->items[kept];
        if ((double)s->hits[i].score < s->least) break;
        status = magpie_snapshot_get_row(s->snapshot, s->hits[i].row, item);
        if (status == MAGPIE_E_NOT_FOUND) continue;
        if (status != MAGPIE_OK) return status;
        if (query_names(&s->json.query, item->id) || skipped++ < offset) continue;
        s->hits[kept++] = s->hits[i];
    }
    s->count = kept;
    return MAGPIE_OK;
}

/* ---- for a user ---------------------------------------------------------------------------------------- */

typedef struct ranked {
    float score;
    size_t at; /* among the hits by relevance */
} ranked;

static int compare_ranked(const void *a, const void *b) {
    const ranked *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return (x->at > y->at) - (x->at < y->at);
}

/* By relevance alone where there is no recommender; where there is one, a search fails as it does (the fused vectors
 * are being made anew, say). */
static magpie_status mix(http_request *r, const search *s, ranked *out) {
    const served_index *fused = r->view.index[MAGPIE_SPACE_FUSED];
    const float w = (float)s->user_weight, best = s->count ? s->hits[0].score : 0,
                range = s->count ? best - s->hits[s->count - 1].score : 0;
    uint64_t *rows = magpie_alloc(s->count, sizeof *rows);
    float *preference = magpie_alloc(s->count, sizeof *preference);
    magpie_status status = rows && preference ? MAGPIE_OK : MAGPIE_E_NO_MEMORY;
    for (size_t i = 0; i < s->count && rows; i++) rows[i] = s->hits[i].row;
    if (status == MAGPIE_OK && r->view.recommender)
        status = recommender_prefer(r->view.recommender->recommender, s->snapshot,
                                    fused ? fused->index : NULL, s->user, rows, s->count, preference);
    for (size_t i = 0; i < s->count && status == MAGPIE_OK; i++) {
        const float relevance = range > 0 ? 1 - (best - s->hits[i].score) / range : 1;
        out[i] = (ranked){(1 - w) * relevance + w * preference[i], i};
    }
    free(rows);
    free(preference);
    return status;
}

/* What hits and items become: those of the page that is asked for. */
static magpie_status turn_page(search *s, const ranked *order) {
    const size_t first = s->offset < s->count ? s->offset : s->count,
                 n = s->count - first < s->k ? s->count - first : s->k;
    magpie_hit *hits = magpie_alloc(n, sizeof *hits);
    magpie_item *items = magpie_alloc(n, sizeof *items);
    s->relevance = magpie_alloc(n, sizeof *s->relevance);
    const bool fine = hits && items && s->relevance;
    for (size_t i = 0; i < n && fine; i++) {
        const ranked *one = &order[first + i];
        hits[i] = (magpie_hit){s->hits[one->at].row, one->score};
        items[i] = s->items[one->at];
        s->relevance[i] = s->hits[one->at].score;
    }
    free(s->hits);
    free(s->items);
    s->hits = hits;
    s->items = items;
    s->count = fine ? n : 0;
    return fine ? MAGPIE_OK : MAGPIE_E_NO_MEMORY;
}

static magpie_status rerank(http_request *r, search *s) {
    const double start = magpie_seconds();
    ranked *order = magpie_alloc(s->count, sizeof *order);
    magpie_status status = order ? mix(r, s, order) : MAGPIE_E_NO_MEMORY;
    if (status == MAGPIE_OK) {
        qsort(order, s->count, sizeof *order, compare_ranked);
        status = turn_page(s, order);
    }
    free(order);
    r->stage[HTTP_RANK] = magpie_seconds() - start;
    return status;
}

/* ---- all of it ----------------------------------------------------------------------------------------- */

static magpie_status explain(search *s) {
    const size_t a_hit = s->json.query.count * MAGPIE_MODALITIES;
    magpie_status status = MAGPIE_OK;
    if (!s->explain) return status;
    s->shares = magpie_alloc(s->count * a_hit, sizeof *s->shares);
    if (!s->shares) return MAGPIE_E_NO_MEMORY;
    for (size_t i = 0; i < s->count && status == MAGPIE_OK; i++)
        status = query_explain(&s->json.query, s->snapshot, s->hits[i].row, s->shares + i * a_hit);
    return status;
}

static magpie_status ask(http_request *r, search *s, const char **field) {
    const magpie_search_options options = {.mode = s->exact ? MAGPIE_SEARCH_EXACT : MAGPIE_SEARCH_AUTO};
    size_t wanted = s->offset + s->k, fault;
    bool missing;
    if (s->user.size) wanted *= RERANKED_TIMES;
    if (s->user.size && wanted < RERANKED_LEAST) wanted = RERANKED_LEAST;
    const size_t most = s->user.size ? wanted : s->k;
    wanted += query_items(&s->json.query);
    if (wanted > MAGPIE_SEARCH_K_MAX) wanted = MAGPIE_SEARCH_K_MAX;
    s->hits = magpie_alloc(wanted, sizeof *s->hits);
    s->items = magpie_alloc(wanted, sizeof *s->items);
    if (!s->hits || !s->items) return MAGPIE_E_NO_MEMORY;
    magpie_status status =
        query_make(&s->json.query, s->space, magpie_index_get_binding(s->index->index)->dimension,
                   s->snapshot, &missing, &fault);
    if (status != MAGPIE_OK) return *field = missing ? s->json.names[fault] : "query", status;
    status = magpie_index_search(s->index->index, 1, s->json.query.vector, wanted, s->filter, &options,
                                 s->hits, &s->count);
    if (status == MAGPIE_OK) status = fetch_items(s, s->user.size ? 0 : s->offset, most);
    if (status == MAGPIE_OK && s->user.size) status = rerank(r, s);
    return status == MAGPIE_OK ? explain(s) : status;
}

/* ---- answering ----------------------------------------------------------------------------------------- */

static void append_shares(const search *s, const float *shares, magpie_text *out) {
    magpie_text_printf(out, ", \"explain\": [");
    for (size_t i = 0; i < s->json.query.count; i++) {
        const char *comma = "";
        magpie_text_printf(out, "%s{\"query\": \"%s\", \"weight\": %.9g, \"shares\": {", i ? ", " : "",
                           s->json.names[i], (double)s->json.query.mixed[i].weight);
        for (magpie_modality m = 0; m < MAGPIE_MODALITIES; m++) {
            const float share = shares[i * MAGPIE_MODALITIES + m];
            if (isnan(share)) continue;
            magpie_text_printf(out, "%s\"%s\": %.9g", comma, magpie_modality_name(m), (double)share);
            comma = ", ";
        }
        magpie_text_printf(out, "}}");
    }
    magpie_text_append(out, "]", 1);
}

static void append_hits(const search *s, magpie_text *out) {
    const size_t a_hit = s->json.query.count * MAGPIE_MODALITIES;
    magpie_text_printf(out, "{\"hits\": [");
    for (size_t i = 0; i < s->count; i++) {
        magpie_text_append(out, ", {", i ? 3 : 0);
        if (!i) magpie_text_append(out, "{", 1);
        item_append_id(out, &s->items[i]);
        magpie_text_printf(out, ", \"score\": %.7g", (double)s->hits[i].score);
        if (s->relevance) magpie_text_printf(out, ", \"relevance\": %.7g", (double)s->relevance[i]);
        if (s->shares) append_shares(s, s->shares + i * a_hit, out);
        item_append_fields(out, &s->items[i], s->fields);
        magpie_text_append(out, "}", 1);
    }
    magpie_text_append(out, "]", 1);
}

static http_outcome answer(http_request *r, search *s) {
    magpie_text out = {0};
    append_hits(s, &out);
    if (s->has_key && !out.failed) lru_put(r->server->answers, s->key, out.data, out.size);
    magpie_text_printf(&out, ", \"took_ms\": %.3f}\n", (magpie_seconds() - r->dispatched) * 1000);
    return http_answer_json(r, MHD_HTTP_OK, &out);
}

static http_outcome finish(http_request *r, search *s) {
    const char *field = NULL;
    if (s->user.size) (void)recommend_wait(r);
    const double start = magpie_seconds();
    if (!choose_space(r, s)) return HTTP_DONE;
    magpie_status status = magpie_snapshot_open(r->view.store, &s->snapshot);
    if (status != MAGPIE_OK) return http_failure(r, status, NULL);
    if (check_moments(r, s) && choose_fusion(r, s)) {
        status = ask(r, s, &field);
        r->stage[HTTP_SEARCH] = magpie_seconds() - start - r->stage[HTTP_RANK];
        if (status == MAGPIE_OK)
            (void)answer(r, s);
        else /* it was well said; but parts cancel out, say */
            http_failure(r, status == MAGPIE_E_INPUT ? MAGPIE_E_UNSUPPORTED : status, field);
    }
    magpie_snapshot_close(s->snapshot);
    return HTTP_DONE;
}

static bool may_take_long(const http_request *r, const search *s) {
    magpie_index_stats stats;
    const served_index *index = r->view.index[s->space];
    if (s->filter || s->user.size || s->offset + s->k > DEEP) return true;
    if (!index) return false;
    magpie_index_get_stats(index->index, &stats);
    return stats.vectors > LARGE_SCAN && (s->exact || stats.kind == MAGPIE_INDEX_FLAT);
}

/* ---- remembered answers -------------------------------------------------------------------------------- */

/* Whether there was one, and it has been given. */
static bool give_remembered(http_request *r, search *s, magpie_string request) {
    magpie_snapshot *snapshot;
    uint64_t of[2 + MAGPIE_SPACES] = {r->view.models->number};
    if (!r->server->options.answer_bytes || magpie_snapshot_open(r->view.store, &snapshot) != MAGPIE_OK)
        return false;
    magpie_status status = magpie_snapshot_sequence(snapshot, &of[1]);
    magpie_snapshot_close(snapshot);
    for (unsigned i = 0; i < MAGPIE_SPACES; i++) {
        magpie_index_stats stats;
        if (!r->view.index[i]) continue;
        magpie_index_get_stats(r->view.index[i]->index, &stats);
        of[2 + i] = stats.sequence + 1;
    }
    if (status != MAGPIE_OK) return false;
    /* A body may say what a path does, and is another request. */
    const lru_key moment =
        lru_hash((uint64_t)(uintptr_t)r->route, (magpie_string){(const char *)of, sizeof of});
    s->key = lru_hash(moment.of[0], request);
    s->has_key = true;
    magpie_text out = {0};
    const bool found = lru_append(r->server->answers, s->key, &out);
    metrics_answer_cache(r->server->metrics, found);
    if (!found) return false;
    magpie_text_printf(&out, ", \"took_ms\": %.3f}\n", (magpie_seconds() - r->dispatched) * 1000);
    http_answer_json(r, MHD_HTTP_OK, &out);
    return true;
}

/* ---- handlers ------------------------------------------------------------------------------------------ */

static http_outcome encode(http_request *r, search *s) {
    bool wait;
    if (!query_json_encode(r, &s->json, MAGPIE_QUERY, &wait)) return HTTP_DONE;
    r->step = ENCODED;
    if (wait) return HTTP_WAIT;
    return may_take_long(r, s) && !r->on_worker ? http_move_to_worker(r) : finish(r, s);
}

http_outcome search_post(http_request *r) {
    search *s = r->state;
    if (!s && !(s = begin(r))) return HTTP_DONE;
    if (r->step == START) {
        if (!is_form(r) && give_remembered(r, s, (magpie_string){r->body.data, r->body.size}))
            return HTTP_DONE;
        r->step = READ;
        if (r->body.size > LARGE_BODY) return http_move_to_worker(r);
    }
    if (r->step == READ) return read_request(r, s) ? encode(r, s) : HTTP_DONE;
    if (!query_json_collect(r, &s->json)) return HTTP_DONE;
    return may_take_long(r, s) && !r->on_worker ? http_move_to_worker(r) : finish(r, s);
}

http_outcome search_similar(http_request *r) {
    search *s = r->state;
    if (s) return finish(r, s);
    if (!(s = begin(r)) || !http_query_number(r, "k", 1, r->server->options.k_most, &s->k)) return HTTP_DONE;
    magpie_text request = {0};
    magpie_text_printf(&request, "%zu %s", s->k, r->path);
    const bool remembered =
        !request.failed && give_remembered(r, s, (magpie_string){request.data, request.size});
    magpie_text_free(&request);
    if (remembered) return HTTP_DONE;
    s->json.parts[0] =
        (query_part){.kind = QUERY_ITEM, .weight = 1, .name = "id", .value = magpie_string_of(r->parameter)};
    strcpy(s->json.names[0], "id");
    s->json.query.parts = s->json.parts;
    s->json.query.count = 1;
    s->space = MAGPIE_SPACE_FUSED;
    return may_take_long(r, s) ? http_move_to_worker(r) : finish(r, s);
}
