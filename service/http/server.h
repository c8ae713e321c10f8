/* server.h - the server: connections, from which requests come (http.h), within limits.
 *
 * LIMITS stand before work: a request without a route, a key, or room is refused by its header alone. Its body is
 * read past, some time and bytes long, for many a client sends all of it before it reads why. What is in flight
 * is bounded in number, its bodies and the answers that are not read yet in bytes; beyond, 429 with
 * Retry-After. A client has a time for its header and a rate for its body and its answer; one that is slower
 * holds a descriptor that long and no thread ever.
 *
 * FROM OTHER SITES. A browser page of somebody else must not reach a service on this machine: a server that
 * listens to loopback answers only those who call it by a loopback name (DNS rebinding). JSON and lines need
 * their own Content-Type, which makes a browser ask first, and nobody is allowed across unless --cors says
 * so. A form, which the search takes too, is sent without asking: what the browser says of it
 * (Sec-Fetch-Site) is what stops that one. */
#ifndef MAGPIE_SERVER_H
#define MAGPIE_SERVER_H

#include <microhttpd.h>

#include "access_log.h"
#include "connections.h"
#include "http.h"
#include "keys.h"
#include "lru.h"
#include "map.h"
#include "metrics.h"
#include "workers.h"
#include "writer.h"

typedef struct http_options {
    const char *host; /* an address, or "localhost" */
    uint16_t port;    /* 0: any that is free */
    unsigned threads; /* that serve connections */
    unsigned workers; /* that wait for requests */
    size_t in_flight; /* requests */
    size_t connections;
    size_t body, media_body;   /* bytes of a request's body */
    size_t bodies;             /* bytes of all bodies, their JSON and large answers together */
    double header_seconds;     /* for a request's header to come */
    double idle_seconds;       /* a connection without a request */
    double body_rate;          /* bytes a second, of bodies and answers, after the first header_seconds */
    size_t answer_bytes;       /* of answers that are remembered */
    size_t k_most, depth_most; /* of a search: k, and offset + k */
    const char *cors;          /* the origin that is allowed; NULL: none */
    const char *media_root;    /* files beneath it may be shown; NULL: the store's own alone */
    bool read_only;            /* what writes is refused */
} http_options;

struct http_server {
    http_options options;
    uint16_t port;
    bool is_loopback; /* the address that it listens to */
    struct MHD_Daemon *daemon;
    serving_source *source;
    const http_keys *keys; /* NULL: everybody may do everything */
    workers *workers;
    writer *writer; /* NULL: nothing is written */
    connections *connections;
    metrics *metrics;
    access_log *log;
    lru *answers;
    catalogue_map *map;
    int listening;
    atomic_size_t begun;             /* requests whose header has come */
    atomic_size_t in_flight, bodies; /* requests; bytes */
    atomic_size_t coming;            /* dispatched, and not waiting for anything */
    atomic_size_t asleep;            /* connections that wait for http_resume */
    atomic_bool draining, stopping;
};

/* `source` and `keys` stay the caller's. */
MAGPIE_CHECK_RESULT magpie_status http_server_start(http_server *s, const http_options *options,
                                                    serving_source *source, const http_keys *keys,
                                                    access_log *log);
/* No new connections; waits until what is in flight is answered, `seconds` at most. */
void http_server_drain(http_server *s, double seconds);
void http_server_stop(http_server *s);

/* Every route there is; ends with a path of NULL. */
extern const http_route http_routes[];
/* The route of a method and path. *parameter [strlen(path) + 1] gets its {id}. NULL: there is none; `allow` names
 * the methods of those that there are at this path. */
const http_route *http_route_find(const char *method, const char *path, char *parameter,
                                  char allow[HTTP_ALLOW_MAX]);

#endif
