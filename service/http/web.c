/* web.c - the page, its files and openapi.json, which are in the program (cmake/embed.cmake). */
#include "handlers.h"
#include "server.h"
#include "web_files.h"

#include <string.h>

static const struct {
    const char *ending, *type;
} types[] = {{".html", "text/html; charset=utf-8"},
             {".css", "text/css; charset=utf-8"},
             {".js", "text/javascript; charset=utf-8"},
             {".svg", "image/svg+xml"},
             {".json", "application/json"},
             {".webmanifest", "application/manifest+json"}};

static const char *type_of(const char *name) {
    const char *ending = strrchr(name, '.');
    for (size_t i = 0; ending && i < sizeof types / sizeof *types; i++)
        if (strcmp(ending, types[i].ending) == 0) return types[i].type;
    return "application/octet-stream";
}

http_outcome web_page(http_request *r) {
    const char *name = strcmp(r->path, "/") == 0 ? "index.html" : r->parameter;
    for (const web_file *file = web_files; file->name; file++)
        if (strcmp(file->name, name) == 0) {
            r->cache = "no-cache";
            return http_answer_fixed(r, type_of(name), &file->bytes);
        }
    return http_error(r, MHD_HTTP_NOT_FOUND, NULL, NULL, "there is nothing at this path; see /openapi.json");
}
