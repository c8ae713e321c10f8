/* http.h - what a handler of the service sees: a request, and the ways to answer it.
 *
 * THREADS. libmicrohttpd has a few threads that each serve many connections by epoll: none may ever wait. So
 * a handler runs HTTP_HERE, on such a thread, where it takes no more than about a millisecond; or as
 * HTTP_WORKER, on a thread of its own, where it may wait, for the disk or for a turn. A handler that is here
 * and has to wait (for an encoder, with others of its kind) says so: it returns HTTP_WAIT with r->submit set,
 * and is called again after http_resume. Its connection sleeps meanwhile.
 *
 * MEMORY. A request owns its body, its JSON and its state, which live until it has been answered. An answer's
 * text is handed over, and lives until the client has read it. */
#ifndef MAGPIE_HTTP_H
#define MAGPIE_HTTP_H

#include <jansson.h>

#include "serving.h"

typedef struct http_request http_request;
typedef struct http_server http_server;

enum { HTTP_ALLOW_MAX = 48, HTTP_QUERY_MAX = 8 /* values that one handler asks for */ };

typedef enum http_outcome {
    HTTP_DONE, /* it has been answered */
    HTTP_WAIT  /* r->submit is to be called now, and the handler again after http_resume */
} http_outcome;

typedef enum http_place { HTTP_HERE, HTTP_WORKER } http_place;

/* What is accepted as a body. */
typedef enum http_body { HTTP_NO_BODY, HTTP_JSON, HTTP_JSON_OR_FORM, HTTP_JSON_OR_LINES } http_body;

enum {
    HTTP_OPEN = 1,   /* needs no key */
    HTTP_WRITES = 2, /* a key that only reads is refused */
    HTTP_MEDIA = 4   /* its body may have pictures and sounds in it: the larger limit */
};

typedef struct http_route {
    const char *method, *path; /* "/v1/items/{id}/image": {id} is one segment, percent-decoded */
    http_outcome (*run)(http_request *r);
    http_place place;
    http_body body;
    unsigned flags;
    /* Of a body of lines that comes in: called on a worker with some of it in r->body; it takes whole lines
     * off, and may say that it has to wait, after which it is called with more. NULL: bodies are taken
     * whole. */
    http_outcome (*take)(http_request *r);
} http_route;

/* Stages that time is counted by. */
typedef enum http_stage { HTTP_QUEUE, HTTP_ENCODE, HTTP_SEARCH, HTTP_RANK, HTTP_STAGES } http_stage;

struct http_request {
    http_server *server;
    const http_route *route; /* NULL: there is none */
    char id[40];             /* "X-Request-Id": the client's, or ours */
    const char *method;
    char *path;         /* without the query */
    char *parameter;    /* {id}; NULL: the route has none */
    magpie_text body;   /* as it came; or what has come of it, see `take` */
    bool is_lines;      /* the body is one of lines */
    bool body_is_whole; /* nothing more will come */
    serving view;       /* models, indexes and recommender, from the time at which it was dispatched */
    /* For a handler's own use. */
    int step;
    void *state;
    void (*free_state)(void *state);
    /* With HTTP_WAIT: called once the connection sleeps. */
    void (*submit)(http_request *r);
    void *waiting_for;         /* whatever submit wants to know */
    bool on_worker;            /* the handler runs on a worker now */
    double stage[HTTP_STAGES]; /* seconds */

    /* The server's. */
    json_t *json;
    struct MHD_Connection *connection;
    const struct http_key *key;
    http_request *next;
    double began, dispatched, waiting_since; /* magpie_seconds() */
    double reading_since;                    /* likewise: the body, or what is left of it */
    size_t received;                         /* bytes of it since then */
    size_t held;                             /* bytes, as counted among the bodies */
    size_t wasted;                           /* bytes that came after the answer */
    bool looked_at;                          /* `take` has seen what is in the body */
    bool malformed;                          /* in its header: nothing behind it is read */
    bool answered;
    bool in_flight; /* as counted */
    unsigned status;
    magpie_text answer;
    const char *type;
    char allow[HTTP_ALLOW_MAX];    /* methods; empty: it is not to be told */
    char *decoded[HTTP_QUERY_MAX]; /* values of the query */
    const char *cache;             /* Cache-Control; NULL: no-store */
    const magpie_string *fixed;    /* the answer is this, which lasts as long as the process */
};

/* ---- reading ------------------------------------------------------------------------------------------- */

/* A value of the query behind '?', decoded; NULL: it is not there. Valid as long as the request. */
const char *http_query(http_request *r, const char *name);
/* The same as a whole number from `least` to `most`; answers 400 and returns false where it is none. */
bool http_query_number(http_request *r, const char *name, size_t least, size_t most, size_t *value);
/* The body as JSON, the request's; NULL, and 400 has been answered, where it is none, or that there is no room. */
json_t *http_json(http_request *r);
/* The same of any text, of the caller's; it is held by the request (http_hold). NULL: *error says why, unless it
 * has been answered that there is no room. */
json_t *http_parse(http_request *r, magpie_string text, json_error_t *error);
/* To be called once, before there are threads: http_parse counts by what it sets. */
void http_count_json(void);
/* After a tree of so many bytes has been freed: the allocator would keep them, for each thread that had a tree. A large
 * one's go back to the system. */
void http_trim(size_t bytes);
/* What is wrong with JSON: 400, or 422 where it is a number that is too large for us. */
http_outcome http_bad_json(http_request *r, const json_error_t *error, const char *field);
/* A header of the request; NULL: it is not there. */
const char *http_header(http_request *r, const char *name);

/* Members of an object; each answers 400 with the field's name and returns false where the member is of
 * another kind or out of bounds, and leaves *out where it is absent or null. `path` is in front of the name
 * in messages ("query[1]."), "" at the top. */
bool http_get_string(http_request *r, json_t *object, const char *path, const char *name, magpie_string *out);
bool http_get_number(http_request *r, json_t *object, const char *path, const char *name, double least,
                     double most, double *out);
bool http_get_count(http_request *r, json_t *object, const char *path, const char *name, size_t least,
                    size_t most, size_t *out);
bool http_get_bool(http_request *r, json_t *object, const char *path, const char *name, bool *out);
/* 400 where it has a member of no name in `names`, which ends with NULL: a misspelt one is not lost. */
bool http_check_names(http_request *r, json_t *object, const char *path, const char *const *names);
/* A picture or a sound of at most about `limit` bytes: base64 or a data: URL of it, decoded, *bytes to be freed with
 * free(). */
MAGPIE_CHECK_RESULT magpie_status http_decode_media(const json_t *value, size_t limit, unsigned char **bytes,
                                                    size_t *size);
/* The same of a part of a request; 400 with the field's name. */
bool http_get_media(http_request *r, const json_t *value, const char *field, unsigned char **bytes,
                    size_t *size);
/* The member "filter", parsed, the caller's. */
bool http_get_filter(http_request *r, json_t *object, magpie_filter **out);

/* ---- answering ----------------------------------------------------------------------------------------- */

/* Each answers and returns HTTP_DONE, so that a handler may end with it. `text` is taken over. */
http_outcome http_answer(http_request *r, unsigned status, const char *type, magpie_text *text);
http_outcome http_answer_json(http_request *r, unsigned status, magpie_text *text);
http_outcome http_answer_fixed(http_request *r, const char *type, const magpie_string *bytes);
/* {"error": {"code", "message", "field"}}; `code` NULL: that which the status has. */
http_outcome http_error(http_request *r, unsigned status, const char *code, const char *field,
                        const char *format, ...) MAGPIE_PRINTF(5, 6);
/* "error": {...}, a member of an object. */
void http_append_error(magpie_text *out, const char *code, const char *field, const char *words);
/* What this thread's last failure was, with the HTTP status that fits. */
http_outcome http_failure(http_request *r, magpie_status status, const char *field);
/* What an encoder said of a thing: 422 for what is well said and cannot be understood. */
http_outcome http_refused_thing(http_request *r, const magpie_outcome *outcome, const char *field);
unsigned http_status_of(magpie_status status);
/* What a client is told of a failure in these words: those that may speak of files and folders of this
 * machine are for the log. Those of a store or an index that is busy or another model's name none. */
const char *http_words(http_request *r, unsigned status, const char *words);
const char *http_code_of(unsigned status); /* "not_found" */

/* Counts bytes that the request needs besides its body until it is answered; 429, and false, where all
 * requests together have too many. */
bool http_hold(http_request *r, size_t bytes);
/* Some of them are needed no more. */
void http_release(http_request *r, size_t bytes);

/* ---- waiting ------------------------------------------------------------------------------------------- */

/* Calls the handler of a request that sleeps again, on its connection's thread. From any thread. */
void http_resume(http_request *r);
/* For a handler to end with: it is called again, on a worker. */
http_outcome http_move_to_worker(http_request *r);

#endif
