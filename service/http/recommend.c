/* recommend.c - POST /v1/recommend: what a user may like next, or somebody who likes some items (recommender.h). */
#include "../recommend_json.h"
#include "handlers.h"
#include "server.h"

#include <stdlib.h>
#include <string.h>

enum { LIKED_MOST = 256, K_MOST = 1000, DEFAULT_K = 10 };

typedef struct asked {
    recommend_request request;
    magpie_string liked[LIKED_MOST];
    magpie_filter *filter;
} asked;

static bool read_items(http_request *r, json_t *body, asked *a) {
    json_t *items = json_object_get(body, "items"), *item;
    size_t i;
    if (!items || json_is_null(items)) return true;
    bool fine = json_is_array(items) && json_array_size(items) <= LIKED_MOST;
    json_array_foreach(items, i, item) {
        if (!(fine = fine && json_string_length(item) && json_string_length(item) <= MAGPIE_ID_MAX)) break;
        a->liked[i] = (magpie_string){json_string_value(item), json_string_length(item)};
    }
    a->request.liked_n = fine ? json_array_size(items) : 0;
    if (!fine)
        http_error(r, MHD_HTTP_BAD_REQUEST, NULL, "items", "items should be an array of at most %d ids",
                   LIKED_MOST);
    return fine;
}

bool recommend_read_user(http_request *r, json_t *body, magpie_string *out) {
    if (!http_get_string(r, body, "", "user", out)) return false;
    if (!out->data || (out->size && out->size <= MAGPIE_ID_MAX)) return true;
    http_error(r, MHD_HTTP_BAD_REQUEST, NULL, "user", "an id has 1 to %d bytes", MAGPIE_ID_MAX);
    return false;
}

static bool read_request(http_request *r, asked *a) {
    static const char *const names[] = {"user",         "items",     "k",       "filter",
                                        "exclude_seen", "diversity", "explain", NULL};
    json_t *body = http_json(r);
    double diversity = 0;
    if (!body || !http_check_names(r, body, "", names) || !recommend_read_user(r, body, &a->request.user) ||
        !read_items(r, body, a) || !http_get_count(r, body, "", "k", 1, K_MOST, &a->request.k) ||
        !http_get_bool(r, body, "", "exclude_seen", &a->request.exclude_seen) ||
        !http_get_number(r, body, "", "diversity", 0, 1, &diversity) ||
        !http_get_bool(r, body, "", "explain", &a->request.explain) || !http_get_filter(r, body, &a->filter))
        return false;
    a->request.diversity = (float)diversity;
    a->request.filter = a->filter;
    a->request.liked = a->liked;
    if (!a->request.user.size != !a->request.liked_n) return true;
    http_error(r, MHD_HTTP_BAD_REQUEST, NULL, "user", "either user or items is wanted");
    return false;
}

/* Shares are told by the heads that made the vectors; where those are not there, they are cosines. */
static const magpie_fusion *heads_of(const http_request *r) {
    const served_models *models = r->view.models;
    const served_index *index = r->view.index[MAGPIE_SPACE_FUSED];
    if (!index || !models->fusion || heads_text_alone(&models->spaces)) return NULL;
    const char *made_by = magpie_index_get_binding(index->index)->fingerprint;
    return strcmp(magpie_fusion_get_info(models->fusion)->fingerprint, made_by) == 0 ? models->fusion : NULL;
}

static http_outcome ask(http_request *r, const asked *a) {
    magpie_snapshot *snapshot;
    recommend_answer answer = {0};
    const served_index *index = r->view.index[MAGPIE_SPACE_FUSED];
    const recommender *recommender = r->view.recommender->recommender;
    const double start = magpie_seconds();
    magpie_status status = magpie_snapshot_open(r->view.store, &snapshot);
    if (status != MAGPIE_OK) return http_failure(r, status, NULL);
    status = recommender_ask(recommender, snapshot, index ? index->index : NULL, heads_of(r), &a->request,
                             &answer);
    r->stage[HTTP_RANK] = magpie_seconds() - start;
    if (status == MAGPIE_OK) {
        magpie_text out = {0};
        recommend_append_json(&out, &answer, recommender, a->request.explain);
        magpie_text_printf(&out, ", \"took_ms\": %.3f}\n", (magpie_seconds() - r->dispatched) * 1000);
        http_answer_json(r, MHD_HTTP_OK, &out);
    } else {
        http_failure(r, status, NULL);
    }
    recommend_answer_free(&answer);
    magpie_snapshot_close(snapshot);
    return HTTP_DONE;
}

/* It is opened behind the first requests, since it may take longer than all else. */
bool recommend_wait(http_request *r) {
    serving now;
    if (r->view.recommender || serving_wait_for_recommender(r->server->source) != MAGPIE_OK)
        return r->view.recommender;
    serving_take(r->server->source, &now);
    r->view.recommender = now.recommender;
    now.recommender = NULL;
    serving_give_back(&now);
    return r->view.recommender;
}

http_outcome recommend_post(http_request *r) {
    asked a = {.request.k = DEFAULT_K};
    if (read_request(r, &a)) {
        if (recommend_wait(r))
            (void)ask(r, &a);
        else
            http_error(r, MHD_HTTP_SERVICE_UNAVAILABLE, NULL, NULL,
                       "the recommender cannot be opened; the log has the reason");
    }
    magpie_filter_free(a.filter);
    return HTTP_DONE;
}
