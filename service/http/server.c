/* server.c - from a connection's bytes to a handler, and back: see server.h and http.h. */
#include "server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    CONNECTION_BYTES =
        32 << 10, /* libmicrohttpd's, of a connection: request and answer's header, pieces of a body */
    HEADER_BYTES = 16 << 10, /* of these, for a request's header, so that its answer's has room */
    VALUE_BYTES = 64,        /* what libmicrohttpd takes for each value of a header beside its bytes */
    LINES_BLOCK = 128 << 10, /* of a body of lines, that a worker is given at once */
    WASTE_MAX = 64 << 20,    /* of a body that is too large, that is read past before the connection is cut */
    SMALL_ANSWER = 8 << 10,  /* is sent in any case, as all errors are */
    BACKLOG = 4096,
    SPARE_FILES = 64 /* descriptors for what is not a connection */
};

static const char page_policy[] =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' "
    "blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/* ---- a client's time ----------------------------------------------------------------------------------- */

static connection *connection_of(const http_request *r) {
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info ? info->socket_context : NULL;
}

static void set_deadline(http_request *r, double seconds) {
    connections_set_deadline(r->server->connections, connection_of(r), magpie_seconds() + seconds);
}

/* What so many bytes may take on their way. */
static double rate_seconds(const http_request *r, size_t bytes) {
    return (double)bytes / r->server->options.body_rate;
}

/* ---- the answer goes out ------------------------------------------------------------------------------- */

static void add_header(struct MHD_Response *response, const char *name, const char *value) {
    if (value) (void)MHD_add_response_header(response, name, value);
}

static void add_headers(const http_request *r, struct MHD_Response *response) {
    const http_options *options = &r->server->options;
    add_header(response, "Content-Type", r->answered && r->type ? r->type : NULL);
    add_header(response, "X-Request-Id", r->id);
    add_header(response, "X-Content-Type-Options", "nosniff");
    add_header(response, "Cache-Control", r->cache ? r->cache : "no-store");
    add_header(response, "Allow", *r->allow ? r->allow : NULL);
    if (r->type && strncmp(r->type, "text/html", 9) == 0)
        add_header(response, "Content-Security-Policy", page_policy);
    else
        add_header(response, "Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'");
    add_header(response, "Referrer-Policy", "no-referrer");
    if (r->status == MHD_HTTP_TOO_MANY_REQUESTS || r->status == MHD_HTTP_SERVICE_UNAVAILABLE)
        add_header(response, "Retry-After", "1");
    if (r->status == MHD_HTTP_UNAUTHORIZED) add_header(response, "WWW-Authenticate", "Bearer");
    if (!options->cors) return;
    add_header(response, "Access-Control-Allow-Origin", options->cors);
    add_header(response, "Access-Control-Allow-Methods", "GET, POST, PATCH, DELETE");
    add_header(response, "Access-Control-Allow-Headers",
               "Authorization, Content-Type, X-Api-Key, X-Request-Id");
    add_header(response, "Vary", "Origin");
}

static size_t answer_size(const http_request *r) { return r->fixed ? r->fixed->size : r->answer.size; }

/* A client that has its answer is never refused for the request that it was to: it ends before. */
static void leave_flight(http_request *r) {
    if (r->in_flight) atomic_fetch_sub(&r->server->in_flight, 1);
    r->in_flight = false;
}

/* Whether there is room for them; they are counted in any case. */
static bool hold(http_request *r, size_t bytes) {
    r->held += bytes;
    return atomic_fetch_add(&r->server->bodies, bytes) + bytes <= r->server->options.bodies;
}

void http_release(http_request *r, size_t bytes) {
    atomic_fetch_sub(&r->server->bodies, bytes);
    r->held -= bytes;
}

static void refuse_for_room(http_request *r) {
    http_error(r, MHD_HTTP_TOO_MANY_REQUESTS, NULL, NULL, "too much at once: try again later");
}

bool http_hold(http_request *r, size_t bytes) {
    if (hold(r, bytes)) return true;
    refuse_for_room(r);
    return false;
}

/* All but the answer. */
static void let_go(http_request *r) {
    http_release(r, r->held);
    if (r->free_state) r->free_state(r->state);
    r->free_state = NULL;
    serving_give_back(&r->view);
    json_decref(r->json);
    r->json = NULL;
    magpie_text_free(&r->body);
}

/* A client may take its time to read. Where there is no room for that it is told so, unless it wrote. */
static void hold_answer(http_request *r) {
    const size_t size = r->answer.size;
    if (size <= SMALL_ANSWER || hold(r, size) || (r->route->flags & HTTP_WRITES)) return;
    http_release(r, size);
    refuse_for_room(r);
}

static enum MHD_Result send_answer(http_request *r) {
    leave_flight(r);
    let_go(r);
    hold_answer(r);
    struct MHD_Response *response;
    if (r->fixed) {
        response = MHD_create_response_from_buffer(r->fixed->size, (void *)(uintptr_t)r->fixed->data,
                                                   MHD_RESPMEM_PERSISTENT);
    } else {
        response = MHD_create_response_from_buffer(r->answer.size, r->answer.data, MHD_RESPMEM_MUST_FREE);
        if (response) r->answer.data = NULL; /* its size is for the log */
    }
    if (!response) return MHD_NO;
    add_headers(r, response);
    if (atomic_load(&r->server->draining)) add_header(response, "Connection", "close");
    set_deadline(r, r->server->options.idle_seconds + rate_seconds(r, answer_size(r)));
    enum MHD_Result result = MHD_queue_response(r->connection, r->status, response);
    MHD_destroy_response(response);
    return result;
}

/* ---- who may ask --------------------------------------------------------------------------------------- */

static bool is_loopback_name(const char *host, const char *ours) {
    const char *const names[] = {"localhost", "127.0.0.1", "[::1]", ours};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const size_t size = strlen(names[i]);
        if (strncasecmp(host, names[i], size) == 0 && (!host[size] || host[size] == ':')) return true;
    }
    return false;
}

/* 403 for a page of another site; see "from other sites". */
static bool check_site(http_request *r) {
    const http_options *options = &r->server->options;
    const char *host = http_header(r, "Host"), *site = http_header(r, "Sec-Fetch-Site");
    if (host && r->server->is_loopback && !is_loopback_name(host, options->host)) {
        http_error(r, MHD_HTTP_FORBIDDEN, NULL, NULL,
                   "this service answers to localhost alone, not to %.100s", host);
        return false;
    }
    if (site && strcmp(site, "cross-site") == 0 && !options->cors && strcmp(r->method, "GET") != 0) {
        http_error(r, MHD_HTTP_FORBIDDEN, NULL, NULL,
                   "a page of another site asks, and --cors does not allow it");
        return false;
    }
    return true;
}

static bool check_key(http_request *r) {
    static const char bearer[] = "Bearer ";
    const http_keys *keys = r->server->keys;
    if (!keys || (r->route->flags & HTTP_OPEN)) return true;
    const char *given = http_header(r, "Authorization");
    given = given && strncasecmp(given, bearer, strlen(bearer)) == 0 ? given + strlen(bearer)
                                                                     : http_header(r, "X-Api-Key");
    r->key = given ? http_keys_find(keys, given) : NULL;
    if (!r->key) {
        http_error(r, MHD_HTTP_UNAUTHORIZED, NULL, NULL,
                   given ? "this key is not known" : "a key is needed: Authorization: Bearer KEY");
        return false;
    }
    if (!(r->route->flags & HTTP_WRITES) || r->key->writes) return true;
    http_error(r, MHD_HTTP_FORBIDDEN, NULL, NULL, "this key may read alone");
    return false;
}

static bool check_may_write(http_request *r) {
    if (!(r->route->flags & HTTP_WRITES) || !r->server->options.read_only) return true;
    http_error(r, MHD_HTTP_FORBIDDEN, NULL, NULL, "this service was started to read alone");
    return false;
}

/* ---- a header has come --------------------------------------------------------------------------------- */

static bool starts_with_type(const char *given, const char *type) {
    const size_t size = strlen(type);
    return given && strncasecmp(given, type, size) == 0 && (!given[size] || strchr("; \t", given[size]));
}

static bool check_type(http_request *r) {
    const char *type = http_header(r, "Content-Type");
    const http_body wanted = r->route->body;
    if (wanted == HTTP_NO_BODY || starts_with_type(type, "application/json")) return true;
    if (wanted == HTTP_JSON_OR_FORM && starts_with_type(type, "multipart/form-data")) return true;
    r->is_lines =
        starts_with_type(type, "application/x-ndjson") || starts_with_type(type, "application/jsonl");
    if (wanted == HTTP_JSON_OR_LINES && r->is_lines) return true;
    http_error(r, MHD_HTTP_UNSUPPORTED_MEDIA_TYPE, NULL, NULL, "the Content-Type should be %s",
               wanted == HTTP_JSON           ? "application/json"
               : wanted == HTTP_JSON_OR_FORM ? "application/json or multipart/form-data"
                                             : "application/json or application/x-ndjson");
    return false;
}

static size_t body_limit(const http_request *r) {
    const http_options *options = &r->server->options;
    if (r->route->body == HTTP_NO_BODY) return 0;
    if (r->is_lines) return SIZE_MAX;
    return r->route->flags & HTTP_MEDIA ? options->media_body : options->body;
}

static void refuse_size(http_request *r) {
    http_error(r, MHD_HTTP_CONTENT_TOO_LARGE, NULL, NULL, "the body is larger than %zu bytes", body_limit(r));
}

static bool check_size(http_request *r) {
    const char *length = http_header(r, "Content-Length");
    if (!length || strtoull(length, NULL, 10) <= body_limit(r)) return true;
    refuse_size(r);
    return false;
}

typedef struct header_count {
    size_t values, lengths, codings;
    bool nul;
} header_count;

static enum MHD_Result count_value(void *context, enum MHD_ValueKind kind, const char *name,
                                   const char *value) {
    header_count *count = context;
    count->values++;
    if (kind == MHD_HEADER_KIND) {
        count->lengths += strcasecmp(name, "Content-Length") == 0;
        count->codings += strcasecmp(name, "Transfer-Encoding") == 0;
    } else if (kind == MHD_GET_ARGUMENT_KIND) {
        count->nul |= strstr(name, "%00") || (value && strstr(value, "%00"));
    }
    return MHD_YES;
}

/* A request whose end others may see elsewhere than we do is refused, and its connection closed (two lengths, or one
 * beside chunks: who sits between us and the client could be led to take a body for a request); so is a NUL, which
 * would end a value early, and what takes all the room of a connection and leaves none for the answer. */
static bool check_header(http_request *r) {
    header_count count = {0};
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    (void)MHD_get_connection_values(r->connection, MHD_HEADER_KIND | MHD_COOKIE_KIND | MHD_GET_ARGUMENT_KIND,
                                    count_value, &count);
    const bool too_large = (info ? info->header_size : 0) + count.values * VALUE_BYTES > HEADER_BYTES;
    r->malformed = too_large || count.lengths + count.codings > 1 || count.nul;
    if (!r->malformed) return true;
    if (too_large)
        http_error(r, MHD_HTTP_REQUEST_HEADER_FIELDS_TOO_LARGE, NULL, NULL,
                   "the header is larger than %d bytes", HEADER_BYTES);
    else
        http_error(r, MHD_HTTP_BAD_REQUEST, NULL, NULL,
                   count.nul ? "there is a NUL behind the ?" : "the body's length is told more than once");
    return false;
}

static bool find_route(http_request *r) {
    const char *method = strcmp(r->method, "HEAD") == 0 ? "GET" : r->method;
    r->parameter = malloc(strlen(r->path) + 1);
    r->route = r->parameter ? http_route_find(method, r->path, r->parameter, r->allow) : NULL;
    if (r->route) return true;
    if (*r->allow && strcmp(method, "OPTIONS") == 0) {
        magpie_text none = {0};
        http_answer(r, MHD_HTTP_NO_CONTENT, NULL, &none);
    } else if (*r->allow) {
        http_error(r, MHD_HTTP_METHOD_NOT_ALLOWED, NULL, NULL, "%.20s is not for this path: it takes %s",
                   method, r->allow);
    } else {
        http_error(r, MHD_HTTP_NOT_FOUND, NULL, NULL, "there is nothing at this path; see /openapi.json");
    }
    return false;
}

/* Ours, or the client's where it can stand in a log and a header as it is. */
static void name_request(http_request *r) {
    static atomic_uint_fast64_t count;
    const char *given = http_header(r, "X-Request-Id");
    if (given && *given && strlen(given) < sizeof r->id &&
        strspn(given, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == strlen(given)) {
        strcpy(r->id, given);
        return;
    }
    uint64_t state = (uint64_t)magpie_unix_millis() << 20 ^ atomic_fetch_add(&count, 1);
    snprintf(r->id, sizeof r->id, "%016llx", (unsigned long long)magpie_random(&state));
}

/* What needs no key costs nothing, and is not counted: a service that is busy is healthy. */
static bool is_probe(const http_request *r) { return (r->route->flags & HTTP_OPEN) != 0; }

static http_request *begin_request(http_server *s, struct MHD_Connection *connection, const char *url,
                                   const char *method) {
    http_request *r = magpie_alloc(1, sizeof *r);
    if (!r) return NULL;
    r->server = s;
    r->connection = connection;
    r->began = r->reading_since = magpie_seconds();
    r->method = method;
    r->path = strdup(url);
    if (!r->path) return free(r), NULL;
    name_request(r);
    const bool fine = check_header(r) && check_site(r) && find_route(r) && check_key(r) &&
                      check_may_write(r) && check_type(r) && check_size(r);
    if (fine && !is_probe(r) && atomic_load(&s->in_flight) >= s->options.in_flight)
        http_error(r, MHD_HTTP_TOO_MANY_REQUESTS, NULL, NULL, "%zu requests are in flight already",
                   s->options.in_flight);
    atomic_fetch_add(&s->begun, 1);
    set_deadline(r, s->options.header_seconds);
    return r;
}

/* ---- its body comes ------------------------------------------------------------------------------------ */

/* Of one that was refused by its header: many a client sends all before it reads. One that asks first (Expect),
 * or is about to send very much, is answered at once, and its connection closed. */
static bool body_is_awaited(http_request *r) {
    const char *length = http_header(r, "Content-Length");
    return !http_header(r, "Expect") && (!length || strtoull(length, NULL, 10) <= WASTE_MAX);
}

/* In the middle of a body libmicrohttpd takes no answer, and behind a header that takes all its room it sends none.
 * Nothing else is on its way to this client, so that the socket has room. */
static void answer_at_once(http_request *r) {
    magpie_text out = {0};
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    magpie_text_printf(&out,
                       "HTTP/1.1 %u %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
                       "X-Request-Id: %s\r\nConnection: close\r\n\r\n",
                       r->status, MHD_get_reason_phrase_for(r->status), answer_size(r), r->id);
    magpie_text_append(&out, r->answer.data, r->answer.size);
    if (info && !out.failed) (void)send(info->connect_fd, out.data, out.size, MSG_DONTWAIT | MSG_NOSIGNAL);
    magpie_text_free(&out);
}

/* What was answered already is read past, so that the client gets to read why; in the time that it had then. */
static enum MHD_Result waste_body(http_request *r, size_t n) {
    leave_flight(r);
    let_go(r);
    if ((r->wasted += n) <= WASTE_MAX) return MHD_YES;
    answer_at_once(r);
    return MHD_NO;
}

static enum MHD_Result take_body(http_request *r, const char *bytes, size_t *size) {
    const size_t n = *size;
    *size = 0;
    if (r->answered) return waste_body(r, n);
    const bool has_room = hold(r, n);
    r->received += n;
    r->looked_at = false;
    connections_set_deadline(r->server->connections, connection_of(r),
                             r->reading_since + r->server->options.header_seconds +
                                 rate_seconds(r, r->received));
    if (r->body.size + n <= body_limit(r) && has_room) {
        magpie_text_append(&r->body, bytes, n);
        return MHD_YES;
    }
    if (!has_room)
        http_error(r, MHD_HTTP_TOO_MANY_REQUESTS, NULL, NULL, "too many bodies at once: try again later");
    else
        refuse_size(r);
    set_deadline(r, r->server->options.header_seconds);
    let_go(r);
    return MHD_YES;
}

/* ---- it is answered ------------------------------------------------------------------------------------ */

/* From here on it counts as being in flight; false: it has been answered. */
static bool dispatch(http_request *r) {
    http_server *s = r->server;
    if (r->dispatched > 0) return true;
    r->in_flight = !is_probe(r);
    if (r->in_flight && atomic_fetch_add(&s->in_flight, 1) >= s->options.in_flight) {
        leave_flight(r);
        http_error(r, MHD_HTTP_TOO_MANY_REQUESTS, NULL, NULL, "%zu requests are in flight already",
                   s->options.in_flight);
        return false;
    }
    r->dispatched = magpie_seconds();
    serving_take(s->source, &r->view);
    return true;
}

/* false: it has been answered, for the server is about to stop, and nobody may fall asleep any more. Until
 * http_resume the request is whoever's it is given to. */
static bool sleep_now(http_request *r) {
    http_server *s = r->server;
    atomic_fetch_add(&s->asleep, 1);
    if (atomic_load(&s->stopping)) {
        atomic_fetch_sub(&s->asleep, 1);
        http_error(r, MHD_HTTP_SERVICE_UNAVAILABLE, NULL, NULL, "the service is ending");
        return false;
    }
    connections_set_deadline(s->connections, connection_of(r), INFINITY);
    MHD_suspend_connection(r->connection);
    return true;
}

void http_resume(http_request *r) {
    http_server *s = r->server; /* the request may be gone once it is resumed */
    r->received = 0;
    r->reading_since = magpie_seconds();
    set_deadline(r, s->options.header_seconds); /* it may have been answered with more of its body to come */
    MHD_resume_connection(r->connection);
    atomic_fetch_sub(&s->asleep, 1);
}

/* Not on a connection's thread: a tree may have millions of values. */
static void free_json(http_request *r) {
    json_decref(r->json);
    r->json = NULL;
    http_trim(r->held);
}

/* On a worker's thread. */
static void work(http_request *r) {
    r->stage[HTTP_QUEUE] += magpie_seconds() - r->waiting_since;
    r->on_worker = true;
    http_outcome outcome;
    if (r->body_is_whole) {
        outcome = r->route->run(r);
    } else {
        const size_t had = r->body.size;
        outcome = r->route->take(r);
        http_release(r, had - r->body.size);
        r->looked_at = true;
    }
    r->on_worker = false;
    if (outcome == HTTP_DONE && r->json) free_json(r);
    if (outcome == HTTP_WAIT)
        r->submit(r); /* its connection is asleep already */
    else
        http_resume(r);
}

/* With its connection asleep. */
static void submit_to_worker(http_request *r) {
    r->waiting_since = magpie_seconds();
    if (workers_give(r->server->workers, r)) return;
    http_error(r, MHD_HTTP_TOO_MANY_REQUESTS, NULL, NULL, "too many requests wait: try again later");
    http_resume(r);
}

http_outcome http_move_to_worker(http_request *r) {
    r->submit = submit_to_worker;
    return HTTP_WAIT;
}

static bool give_to_worker(http_request *r) {
    if (!sleep_now(r)) return false;
    submit_to_worker(r);
    return true;
}

/* Enough lines have come for a worker, and it has not seen them yet. */
static bool has_block(const http_request *r) {
    return r->is_lines && !r->answered && !r->looked_at && r->body.size >= LINES_BLOCK;
}

static enum MHD_Result go_on(http_request *r) {
    if (r->answered) return send_answer(r);
    if (!dispatch(r)) return send_answer(r);
    if (r->route->place == HTTP_WORKER) return give_to_worker(r) ? MHD_YES : send_answer(r);
    atomic_fetch_add(&r->server->coming, 1);
    const http_outcome outcome = r->route->run(r);
    atomic_fetch_sub(&r->server->coming, 1);
    if (outcome == HTTP_DONE || !sleep_now(r)) return send_answer(r);
    r->submit(r);
    return MHD_YES;
}

static enum MHD_Result on_request(void *context, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_size, void **state) {
    http_request *r = *state;
    (void)version;
    if (!r) {
        if (!(*state = r = begin_request(context, connection, url, method))) return MHD_NO;
        if (r->malformed) return answer_at_once(r), MHD_NO;
        return r->answered && !body_is_awaited(r) ? send_answer(r) : MHD_YES;
    }
    if (*upload_size) {
        /* These bytes are left where they are then: of those that are taken libmicrohttpd may bring the next chunk
         * without looking whether the connection sleeps. They come again after it. */
        if (has_block(r) && dispatch(r) && give_to_worker(r)) return MHD_YES;
        return take_body(r, upload, upload_size);
    }
    r->body_is_whole = true;
    return go_on(r);
}

static void on_completed(void *context, struct MHD_Connection *connection, void **state,
                         enum MHD_RequestTerminationCode code) {
    http_server *s = context;
    http_request *r = *state;
    (void)connection;
    (void)code;
    if (!r) return;
    *state = NULL;
    const double took = magpie_seconds() - r->began;
    if (r->answered) {
        metrics_request(s->metrics, r, took);
        access_log_request(s->log, r, answer_size(r), took);
    }
    leave_flight(r);
    set_deadline(r, s->options.idle_seconds + s->options.header_seconds);
    let_go(r);
    atomic_fetch_sub(&s->begun, 1);
    magpie_text_free(&r->answer);
    for (size_t i = 0; i < HTTP_QUERY_MAX; i++) free(r->decoded[i]);
    free(r->parameter);
    free(r->path);
    free(r);
}

static void on_connection(void *context, struct MHD_Connection *one, void **socket_context,
                          enum MHD_ConnectionNotificationCode code) {
    http_server *s = context;
    if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
        connections_remove(s->connections, *socket_context);
        return;
    }
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(one, MHD_CONNECTION_INFO_CONNECTION_FD);
    if (info)
        *socket_context =
            connections_add(s->connections, info->connect_fd,
                            magpie_seconds() + s->options.idle_seconds + s->options.header_seconds);
}

/* ---- the server ---------------------------------------------------------------------------------------- */

static bool is_loopback(const struct sockaddr_storage *address) {
    if (address->ss_family != AF_INET6)
        return ntohl(((const struct sockaddr_in *)address)->sin_addr.s_addr) >> 24 == 127;
    const struct in6_addr *six = &((const struct sockaddr_in6 *)address)->sin6_addr;
    return IN6_IS_ADDR_LOOPBACK(six) || (IN6_IS_ADDR_V4MAPPED(six) && six->s6_addr[12] == 127);
}

static magpie_status open_socket(http_server *s) {
    const http_options *options = &s->options;
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    char service[8];
    const int one = 1;
    snprintf(service, sizeof service, "%u", options->port);
    /* "localhost" may be ::1 first, which people who type 127.0.0.1 would not find. */
    const char *host = strcmp(options->host, "localhost") == 0 ? "127.0.0.1" : options->host;
    int error = getaddrinfo(host, service, &hints, &found);
    if (error)
        return magpie_fail(MAGPIE_E_ARGUMENT, "cannot listen to %s: %s", options->host, gai_strerror(error));
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_storage address;
    socklen_t size = sizeof address;
    bool fine = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0 &&
                bind(fd, found->ai_addr, found->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0 &&
                getsockname(fd, (struct sockaddr *)&address, &size) == 0;
    error = errno;
    freeaddrinfo(found);
    if (!fine) {
        if (fd >= 0) close(fd);
        return magpie_fail_errno(error, "cannot listen to %s, port %u", options->host, options->port);
    }
    s->listening = fd;
    s->is_loopback = is_loopback(&address);
    s->port = ntohs(address.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&address)->sin6_port
                                                  : ((struct sockaddr_in *)&address)->sin_port);
    return MAGPIE_OK;
}

/* As many descriptors as connections may come. */
static void allow_files(size_t wanted) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted) return;
    limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

static unsigned connection_limit(const http_options *options) {
    struct rlimit limit;
    allow_files(options->connections + SPARE_FILES);
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < options->connections + SPARE_FILES)
        return limit.rlim_cur > 2 * SPARE_FILES ? (unsigned)(limit.rlim_cur - SPARE_FILES) : SPARE_FILES;
    return (unsigned)options->connections;
}

/* A slash within an id is not one between segments, so paths are decoded after they have been taken apart, and
 * values when they are asked for. */
static size_t leave_escaped(void *context, struct MHD_Connection *connection, char *text) {
    (void)context;
    (void)connection;
    return strlen(text);
}

static magpie_status start_daemon(http_server *s) {
    magpie_status status = open_socket(s);
    if (status != MAGPIE_OK) return status;
    s->daemon = MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_TURBO | MHD_ALLOW_SUSPEND_RESUME, s->port, NULL, NULL,
        on_request, s, MHD_OPTION_LISTEN_SOCKET, (MHD_socket)s->listening, MHD_OPTION_THREAD_POOL_SIZE,
        s->options.threads, MHD_OPTION_CONNECTION_LIMIT, connection_limit(&s->options),
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)s->options.idle_seconds, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)CONNECTION_BYTES, MHD_OPTION_NOTIFY_COMPLETED, on_completed, s, MHD_OPTION_NOTIFY_CONNECTION,
        on_connection, s, MHD_OPTION_UNESCAPE_CALLBACK, leave_escaped, NULL, MHD_OPTION_END);
    if (s->daemon) return MAGPIE_OK;
    close(s->listening);
    return magpie_fail(MAGPIE_E_INTERNAL, "cannot start the server on %s, port %u", s->options.host, s->port);
}

magpie_status http_server_start(http_server *s, const http_options *options, serving_source *source,
                                const http_keys *keys, access_log *log) {
    s->options = *options;
    s->source = source;
    s->keys = keys;
    s->log = log;
    magpie_status status = connections_create(&s->connections);
    if (status == MAGPIE_OK) status = metrics_create(&s->metrics);
    if (status == MAGPIE_OK) status = lru_create(options->answer_bytes, &s->answers);
    if (status == MAGPIE_OK) status = catalogue_map_create(&s->map);
    if (status == MAGPIE_OK) status = workers_start(options->workers, options->in_flight, work, &s->workers);
    if (status == MAGPIE_OK && !options->read_only) status = writer_start(source, log, &s->writer);
    if (status == MAGPIE_OK) status = start_daemon(s);
    if (status != MAGPIE_OK) http_server_stop(s);
    return status;
}

static const struct timespec moment = {.tv_nsec = 10000000};

/* MHD_quiesce_daemon would do, but that it ends the process where a thread of the pool takes the socket out of
 * its set at the same moment. So its number is given to what never becomes ready, which closes the socket. */
static void stop_listening(http_server *s) {
    const int nothing = eventfd(0, EFD_CLOEXEC);
    if (nothing < 0) return;
    (void)dup3(nothing, s->listening, O_CLOEXEC);
    close(nothing);
}

void http_server_drain(http_server *s, double seconds) {
    const double until = magpie_seconds() + seconds;
    atomic_store(&s->draining, true);
    stop_listening(s);
    while (atomic_load(&s->begun) && magpie_seconds() < until) {
        connections_cut(s->connections);
        access_log_flush(s->log);
        nanosleep(&moment, NULL);
    }
}

void http_server_stop(http_server *s) {
    atomic_store(&s->stopping, true);
    while (atomic_load(&s->asleep))
        nanosleep(&moment, NULL); /* a daemon cannot end with a connection asleep */
    workers_stop(s->workers);
    writer_stop(s->writer);
    s->workers = NULL;
    s->writer = NULL;
    if (s->daemon) MHD_stop_daemon(s->daemon);
    s->daemon = NULL;
    connections_free(s->connections);
    metrics_free(s->metrics);
    lru_free(s->answers);
    catalogue_map_free(s->map);
    s->connections = NULL;
    s->metrics = NULL;
    s->answers = NULL;
    s->map = NULL;
}
