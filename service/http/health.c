/* health.c - how the service is: for load balancers, Prometheus and people. */
#include "handlers.h"
#include "server.h"

#include <string.h>

http_outcome health_live(http_request *r) {
    magpie_text out = {0};
    magpie_text_printf(&out, "{\"status\": \"alive\"}\n");
    return http_answer_json(r, MHD_HTTP_OK, &out);
}

/* The listening socket is opened when all is; so only a service that is about to end is not ready. */
http_outcome health_ready(http_request *r) {
    magpie_text out = {0};
    if (atomic_load(&r->server->draining))
        return http_error(r, MHD_HTTP_SERVICE_UNAVAILABLE, NULL, NULL, "the service is ending");
    magpie_text_printf(&out, "{\"status\": \"ready\"}\n");
    return http_answer_json(r, MHD_HTTP_OK, &out);
}

static size_t count_queued(const http_request *r) {
    size_t n = workers_depth(r->server->workers);
    if (r->server->writer) n += writer_depth(r->server->writer);
    for (unsigned i = 0; i < SENSES; i++)
        if (r->view.models->batchers[i]) n += batcher_depth(r->view.models->batchers[i]);
    return n;
}

http_outcome health_metrics(http_request *r) {
    http_server *s = r->server;
    magpie_text out = {0};
    magpie_status status = metrics_write(s->metrics, &r->view, atomic_load(&s->in_flight), count_queued(r),
                                         connections_count(s->connections), &out);
    if (status == MAGPIE_OK)
        return http_answer(r, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8", &out);
    magpie_text_free(&out);
    return http_failure(r, status, NULL);
}

static void append_model(magpie_text *out, const char *name, const char *model, size_t dimension) {
    magpie_text_printf(out, "\"%s\": {\"model\": ", name);
    magpie_text_json_string(out, model, strlen(model));
    magpie_text_printf(out, ", \"dimension\": %zu}", dimension);
}

static void append_models(magpie_text *out, const served_models *models) {
    const char *comma = "";
    magpie_text_printf(out, ", \"models\": {");
    for (model_sense s = 0; s < SENSES; s++) {
        const model_encoder *encoder = &models->encoders[s];
        if (!encoder->name) continue;
        magpie_text_printf(out, "%s", comma);
        append_model(out, model_sense_name(s), encoder->name, encoder->dimension);
        comma = ", ";
    }
    if (models->fusion) {
        const magpie_fusion_info *info = magpie_fusion_get_info(models->fusion);
        magpie_text_printf(out, "%s", comma);
        append_model(out, "fused", info->name, info->dimension);
    }
    magpie_text_printf(out, "}");
}

static void append_spaces(magpie_text *out, const magpie_store_stats *stats, const serving *view) {
    const char *comma = "";
    magpie_text_printf(out, ", \"spaces\": {");
    for (unsigned s = 0; s < MAGPIE_SPACES; s++) {
        magpie_index_stats index;
        if (!stats->dimension[s]) continue;
        magpie_text_printf(out, "%s\"%s\": {\"vectors\": %llu, \"dimension\": %zu, \"index\": ", comma,
                           magpie_space_name(s), (unsigned long long)stats->vectors[s], stats->dimension[s]);
        comma = ", ";
        if (!view->index[s]) {
            magpie_text_printf(out, "null}");
            continue;
        }
        magpie_index_get_stats(view->index[s]->index, &index);
        magpie_text_printf(
            out,
            "{\"kind\": \"%s\", \"vectors\": %llu, \"dead\": %llu, \"sequence\": %llu, \"bytes\": "
            "%llu}}",
            storage_kind_name(index.kind), (unsigned long long)index.vectors, (unsigned long long)index.dead,
            (unsigned long long)index.sequence, (unsigned long long)index.bytes);
    }
    magpie_text_printf(out, "}");
}

http_outcome health_stats(http_request *r) {
    magpie_store_stats stats;
    magpie_text out = {0};
    magpie_status status = magpie_store_get_stats(r->view.store, &stats);
    if (status != MAGPIE_OK) return http_failure(r, status, NULL);
    http_server *s = r->server;
    magpie_text_printf(
        &out,
        "{\"version\": \"%s\", \"uptime_seconds\": %.3f, \"requests\": %llu, \"in_flight\": %zu, "
        "\"connections\": %zu, \"resident_bytes\": %zu, \"items\": %llu, \"sequence\": %llu, "
        "\"tombstones\": %llu, \"users\": %llu, \"interactions\": %llu, \"file_bytes\": %llu",
        MAGPIE_VERSION, metrics_uptime(s->metrics), (unsigned long long)metrics_requests(s->metrics),
        atomic_load(&s->in_flight), connections_count(s->connections), metrics_resident(),
        (unsigned long long)stats.items, (unsigned long long)stats.sequence,
        (unsigned long long)stats.tombstones, (unsigned long long)stats.users,
        (unsigned long long)stats.interactions, (unsigned long long)stats.file_bytes);
    append_spaces(&out, &stats, &r->view);
    append_models(&out, r->view.models);
    magpie_text_printf(&out, ", \"recommender\": ");
    const char *model = r->view.recommender && r->view.recommender->recommender->ranker
                            ? r->view.recommender->recommender->model
                            : NULL;
    if (model)
        magpie_text_json_string(&out, model, strlen(model));
    else
        magpie_text_printf(&out, "null");
    magpie_text_printf(&out, "}\n");
    return http_answer_json(r, MHD_HTTP_OK, &out);
}
