/* routes.c - which handler answers which method and path. */
#include "handlers.h"
#include "server.h"

#include <string.h>

const http_route http_routes[] = {
    {"POST", "/v1/search", search_post, HTTP_HERE, HTTP_JSON_OR_FORM, HTTP_MEDIA, NULL},
    {"POST", "/v1/recommend", recommend_post, HTTP_WORKER, HTTP_JSON, 0, NULL},
    {"POST", "/v1/items", items_post, HTTP_WORKER, HTTP_JSON_OR_LINES, HTTP_WRITES | HTTP_MEDIA,
     item_lines_take},
    {"POST", "/v1/items/delete", items_delete_many, HTTP_WORKER, HTTP_JSON, HTTP_WRITES, NULL},
    {"GET", "/v1/items/{id}", items_get, HTTP_HERE, HTTP_NO_BODY, 0, NULL},
    {"PATCH", "/v1/items/{id}", items_patch, HTTP_WORKER, HTTP_JSON, HTTP_WRITES, NULL},
    {"DELETE", "/v1/items/{id}", items_delete, HTTP_HERE, HTTP_NO_BODY, HTTP_WRITES, NULL},
    {"GET", "/v1/items/{id}/similar", search_similar, HTTP_HERE, HTTP_NO_BODY, 0, NULL},
    {"GET", "/v1/items/{id}/image", media_image, HTTP_WORKER, HTTP_NO_BODY, 0, NULL},
    {"GET", "/v1/items/{id}/audio", media_audio, HTTP_WORKER, HTTP_NO_BODY, 0, NULL},
    {"POST", "/v1/interactions", interactions_post, HTTP_WORKER, HTTP_JSON, HTTP_WRITES, NULL},
    {"GET", "/v1/users/{id}", users_get, HTTP_WORKER, HTTP_NO_BODY, 0, NULL},
    {"DELETE", "/v1/users/{id}", users_delete, HTTP_WORKER, HTTP_NO_BODY, HTTP_WRITES, NULL},
    {"POST", "/v1/embeddings", embeddings_post, HTTP_HERE, HTTP_JSON, HTTP_MEDIA, NULL},
    {"POST", "/v1/rerank", rerank_post, HTTP_HERE, HTTP_JSON, HTTP_MEDIA, NULL},
    {"GET", "/v1/models", models_get, HTTP_HERE, HTTP_NO_BODY, 0, NULL},
    {"GET", "/v1/attributes", attributes_get, HTTP_WORKER, HTTP_NO_BODY, 0, NULL},
    {"GET", "/v1/map", map_get, HTTP_HERE, HTTP_NO_BODY, 0, NULL},
    {"GET", "/v1/stats", health_stats, HTTP_HERE, HTTP_NO_BODY, 0, NULL},
    {"GET", "/metrics", health_metrics, HTTP_HERE, HTTP_NO_BODY, 0, NULL},
    {"GET", "/healthz", health_live, HTTP_HERE, HTTP_NO_BODY, HTTP_OPEN, NULL},
    {"GET", "/readyz", health_ready, HTTP_HERE, HTTP_NO_BODY, HTTP_OPEN, NULL},
    {"GET", "/", web_page, HTTP_HERE, HTTP_NO_BODY, HTTP_OPEN, NULL},
    {"GET", "/{id}", web_page, HTTP_HERE, HTTP_NO_BODY, HTTP_OPEN, NULL},
    {0}};

static int digit(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* One segment, decoded; false where it is empty, or holds a NUL or half an escape. */
static bool decode(const char *segment, size_t size, char *out) {
    size_t n = 0;
    for (size_t i = 0; i < size; i++) {
        if (segment[i] != '%') {
            out[n++] = segment[i];
            continue;
        }
        const int high = i + 2 < size ? digit(segment[i + 1]) : -1,
                  low = high < 0 ? -1 : digit(segment[i + 2]);
        if (low < 0 || !(high | low)) return false;
        out[n++] = (char)(high << 4 | low);
        i += 2;
    }
    out[n] = 0;
    return n > 0;
}

static bool matches(const char *pattern, const char *path, char *parameter) {
    const char *open = strchr(pattern, '{');
    if (!open) return strcmp(pattern, path) == 0;
    const size_t before = (size_t)(open - pattern);
    if (strncmp(pattern, path, before) != 0) return false;
    const char *segment = path + before, *after = strchr(open, '}') + 1;
    const size_t size = strcspn(segment, "/");
    return strcmp(after, segment + size) == 0 && decode(segment, size, parameter);
}

const http_route *http_route_find(const char *method, const char *path, char *parameter,
                                  char allow[HTTP_ALLOW_MAX]) {
    bool exact = false;
    *allow = 0;
    for (const http_route *route = http_routes; route->path; route++) {
        if (!matches(route->path, path, parameter)) continue;
        if (strcmp(route->method, method) == 0) return *allow = 0, route;
        /* "/v1/items/delete" is what it is, though there may be an item of that name. */
        if (strstr(allow, route->method) || (exact && strchr(route->path, '{'))) continue;
        exact |= !strchr(route->path, '{');
        strcat(allow, route->method);
        strcat(allow, ", ");
    }
    if (*allow) strcat(allow, "OPTIONS");
    return NULL;
}
