/* query_json.h - a query as a request says it, in JSON or as a form, and its way through the encoders.
 *
 * A text, or a part, or an array of parts: openapi.json, "Query". Texts and media that were asked for lately are
 * not encoded again. */
#ifndef MAGPIE_QUERY_JSON_H
#define MAGPIE_QUERY_JSON_H

#include "../query.h"
#include "http.h"

typedef struct query_json {
    query query;
    query_part parts[QUERY_PARTS_MAX];
    char names[QUERY_PARTS_MAX][48]; /* "query[2]": the field of each */
    encode_task tasks[QUERY_PARTS_MAX];
    lru_key keys[QUERY_PARTS_MAX];
    unsigned char *media[QUERY_PARTS_MAX]; /* owned: decoded base64 */
    float *features[QUERY_PARTS_MAX];      /* owned */
    atomic_size_t left;                    /* tasks that are not done, and one while they are handed in */
    http_request *r;
} query_json;

/* Reads `value`, which is called `name` in messages. false: it has been answered. q begins as zeros. */
bool query_json_read(http_request *r, json_t *value, const char *name, query_json *q);
/* Adds a part that is bytes of a picture or a sound, which stay the caller's. */
bool query_json_add(http_request *r, query_json *q, query_kind kind, magpie_string bytes, const char *name);
/* Multiplies what parts weigh by their kind: {"text": 1, "image": 0.5}. */
bool query_json_weigh(http_request *r, query_json *q, json_t *weights);
void query_json_free(query_json *q);

/* *wait: some parts have to be encoded: return HTTP_WAIT then, r->submit is set; query_json_collect comes after
 * the wait. false: it has been answered. */
bool query_json_encode(http_request *r, query_json *q, magpie_text_role role, bool *wait);
bool query_json_collect(http_request *r, query_json *q);

#endif
