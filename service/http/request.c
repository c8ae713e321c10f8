/* request.c - reading a request, and answering it: see http.h. */
#include "media_type.h"
#include "server.h"

#include <malloc.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- answering ----------------------------------------------------------------------------------------- */

http_outcome http_answer(http_request *r, unsigned status, const char *type, magpie_text *text) {
    if (text->failed) {
        magpie_text_free(text);
        return http_error(r, MHD_HTTP_SERVICE_UNAVAILABLE, NULL, NULL, "memory is short: try again later");
    }
    magpie_text_free(&r->answer);
    r->answer = *text;
    *text = (magpie_text){0};
    r->status = status;
    r->type = type;
    r->answered = true;
    return HTTP_DONE;
}

http_outcome http_answer_json(http_request *r, unsigned status, magpie_text *text) {
    return http_answer(r, status, "application/json", text);
}

http_outcome http_answer_fixed(http_request *r, const char *type, const magpie_string *bytes) {
    magpie_text none = {0};
    r->fixed = bytes;
    return http_answer(r, MHD_HTTP_OK, type, &none);
}

static const struct {
    unsigned status;
    const char *code;
} codes[] = {{MHD_HTTP_BAD_REQUEST, "invalid_request"},
             {MHD_HTTP_UNAUTHORIZED, "unauthorized"},
             {MHD_HTTP_FORBIDDEN, "forbidden"},
             {MHD_HTTP_NOT_FOUND, "not_found"},
             {MHD_HTTP_METHOD_NOT_ALLOWED, "method_not_allowed"},
             {MHD_HTTP_CONFLICT, "conflict"},
             {MHD_HTTP_CONTENT_TOO_LARGE, "too_large"},
             {MHD_HTTP_REQUEST_HEADER_FIELDS_TOO_LARGE, "too_large"},
             {MHD_HTTP_UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type"},
             {MHD_HTTP_UNPROCESSABLE_CONTENT, "unprocessable"},
             {MHD_HTTP_TOO_MANY_REQUESTS, "too_many_requests"},
             {MHD_HTTP_SERVICE_UNAVAILABLE, "unavailable"},
             {MHD_HTTP_INSUFFICIENT_STORAGE, "no_space"}};

const char *http_code_of(unsigned status) {
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (codes[i].status == status) return codes[i].code;
    return "internal";
}

void http_append_error(magpie_text *out, const char *code, const char *field, const char *words) {
    magpie_text_printf(out, "\"error\": {\"code\": \"%s\", \"message\": ", code);
    magpie_text_json_string(out, words, strlen(words));
    magpie_text_printf(out, ", \"field\": ");
    if (field)
        magpie_text_json_string(out, field, strlen(field));
    else
        magpie_text_printf(out, "null");
    magpie_text_append(out, "}", 1);
}

http_outcome http_error(http_request *r, unsigned status, const char *code, const char *field,
                        const char *format, ...) {
    char words[1024];
    magpie_text out = {0};
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(words, sizeof words, format, arguments);
    va_end(arguments);
    if (size < 0) size = 0;
    if ((size_t)size >= sizeof words) { /* not in the middle of a character */
        size = sizeof words - 1;
        while (size && ((unsigned char)words[size] & 0xC0) == 0x80) size--;
    }
    magpie_text_append(&out, "{", 1);
    http_append_error(&out, code ? code : http_code_of(status), field, words);
    magpie_text_append(&out, "}\n", 2);
    r->fixed = NULL;
    if (!out.failed) return http_answer_json(r, status, &out);
    magpie_text_free(&out);
    r->status = MHD_HTTP_SERVICE_UNAVAILABLE;
    r->answered = true; /* without a body */
    return HTTP_DONE;
}

unsigned http_status_of(magpie_status status) {
    switch (status) {
    case MAGPIE_OK: return MHD_HTTP_OK;
    case MAGPIE_E_ARGUMENT:
    case MAGPIE_E_INPUT: return MHD_HTTP_BAD_REQUEST;
    case MAGPIE_E_TOO_LARGE: return MHD_HTTP_CONTENT_TOO_LARGE;
    case MAGPIE_E_NOT_FOUND: return MHD_HTTP_NOT_FOUND;
    case MAGPIE_E_MISMATCH: return MHD_HTTP_CONFLICT;
    case MAGPIE_E_UNSUPPORTED: return MHD_HTTP_UNPROCESSABLE_CONTENT;
    case MAGPIE_E_NO_SPACE: return MHD_HTTP_INSUFFICIENT_STORAGE;
    case MAGPIE_E_NO_MEMORY:
    case MAGPIE_E_BUSY:
    case MAGPIE_E_CANCELLED: return MHD_HTTP_SERVICE_UNAVAILABLE;
    default: return MHD_HTTP_INTERNAL_SERVER_ERROR;
    }
}

const char *http_words(http_request *r, unsigned status, const char *words) {
    if (status != MHD_HTTP_INTERNAL_SERVER_ERROR && status != MHD_HTTP_INSUFFICIENT_STORAGE) return words;
    access_log_message(r->server->log, "error", words);
    return status == MHD_HTTP_INSUFFICIENT_STORAGE ? "the server's disk is full"
                                                   : "the server failed; its log has the reason";
}

http_outcome http_failure(http_request *r, magpie_status status, const char *field) {
    char words[1024];
    snprintf(words, sizeof words, "%s", magpie_error());
    const unsigned http = http_status_of(status);
    return http_error(r, http, NULL, field, "%s", http_words(r, http, words));
}

http_outcome http_refused_thing(http_request *r, const magpie_outcome *outcome, const char *field) {
    if (outcome->status == MAGPIE_E_INPUT || outcome->status == MAGPIE_E_UNSUPPORTED)
        return http_error(r, MHD_HTTP_UNPROCESSABLE_CONTENT, NULL, field, "%s: %s", field, outcome->reason);
    return http_failure(r, magpie_fail(outcome->status, "%s", outcome->reason), field);
}

/* ---- reading ------------------------------------------------------------------------------------------- */

const char *http_query(http_request *r, const char *name) {
    const char *given = MHD_lookup_connection_value(r->connection, MHD_GET_ARGUMENT_KIND, name);
    size_t i = 0;
    while (given && i < HTTP_QUERY_MAX && r->decoded[i]) i++;
    if (!given || i == HTTP_QUERY_MAX || !(r->decoded[i] = strdup(given))) return NULL;
    MHD_http_unescape(r->decoded[i]);
    return r->decoded[i];
}

const char *http_header(http_request *r, const char *name) {
    return MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, name);
}

bool http_query_number(http_request *r, const char *name, size_t least, size_t most, size_t *value) {
    const char *given = http_query(r, name);
    char *end;
    if (!given) return true;
    const unsigned long long number = strtoull(given, &end, 10);
    if (strspn(given, "0123456789") == strlen(given) && *given && strlen(given) < 19 && number >= least &&
        number <= most)
        return *value = (size_t)number, true;
    http_error(r, MHD_HTTP_BAD_REQUEST, NULL, name, "a whole number from %zu to %zu is wanted", least, most);
    return false;
}

http_outcome http_bad_json(http_request *r, const json_error_t *error, const char *field) {
    const bool is_json = json_error_code(error) == json_error_numeric_overflow;
    return http_error(r, is_json ? MHD_HTTP_UNPROCESSABLE_CONTENT : MHD_HTTP_BAD_REQUEST, NULL, field,
                      "what should be JSON, at byte %d: %s", error->position, error->text);
}

enum { LARGE_TREE = 16 << 20 /* bytes */ };

/* A tree may take eighty times the bytes of its text ("[{},{},{}]"). So while a thread parses for a request, what
 * jansson takes is held by that, and where there is no room it gets none. */
static _Thread_local http_request *parsing;
static _Thread_local size_t most; /* that it held meanwhile */

static void give_memory(void *memory) {
    if (parsing) http_release(parsing, malloc_usable_size(memory));
    free(memory);
}

static void *take_memory(size_t size) {
    void *memory = malloc(size);
    http_request *r = parsing;
    if (!memory || !r) return memory;
    const bool fits = http_hold(r, malloc_usable_size(memory));
    if (r->held > most) most = r->held;
    if (fits) return memory;
    if (r->held > r->server->options.bodies) /* it alone */
        http_error(r, MHD_HTTP_CONTENT_TOO_LARGE, NULL, NULL, "the JSON has too many values");
    give_memory(memory);
    return NULL;
}

void http_count_json(void) { json_set_alloc_funcs(take_memory, give_memory); }

void http_trim(size_t bytes) {
    if (bytes >= LARGE_TREE) (void)malloc_trim(0);
}

json_t *http_parse(http_request *r, magpie_string text, json_error_t *error) {
    const size_t before = most = r->held;
    parsing = r;
    json_t *json =
        json_loadb(text.data ? text.data : "", text.size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, error);
    parsing = NULL;
    if (!json) http_trim(most - before);
    return json;
}

json_t *http_json(http_request *r) {
    json_error_t error;
    if (r->json) return r->json;
    r->json = http_parse(r, (magpie_string){r->body.data, r->body.size}, &error);
    if (!r->json && !r->answered) http_bad_json(r, &error, NULL);
    return r->json;
}

static bool misfit(http_request *r, const char *path, const char *name, const char *wanted) {
    char field[256];
    snprintf(field, sizeof field, "%s%s", path, name);
    http_error(r, MHD_HTTP_BAD_REQUEST, NULL, field, "%s should be %s", field, wanted);
    return false;
}

static bool is_absent(const json_t *value) { return !value || json_is_null(value); }

bool http_get_string(http_request *r, json_t *object, const char *path, const char *name,
                     magpie_string *out) {
    json_t *value = json_object_get(object, name);
    if (is_absent(value)) return true;
    if (!json_is_string(value)) return misfit(r, path, name, "a string");
    *out = (magpie_string){json_string_value(value), json_string_length(value)};
    return true;
}

bool http_get_number(http_request *r, json_t *object, const char *path, const char *name, double least,
                     double most, double *out) {
    char wanted[96];
    json_t *value = json_object_get(object, name);
    if (is_absent(value)) return true;
    const double number = json_number_value(value);
    if (json_is_number(value) && number >= least && number <= most) return *out = number, true;
    snprintf(wanted, sizeof wanted, "a number from %g to %g", least, most);
    return misfit(r, path, name, wanted);
}

bool http_get_count(http_request *r, json_t *object, const char *path, const char *name, size_t least,
                    size_t most, size_t *out) {
    char wanted[96];
    json_t *value = json_object_get(object, name);
    if (is_absent(value)) return true;
    const double number = json_number_value(value); /* 10.0 is a whole number too */
    if (json_is_number(value) && number >= (double)least && number <= (double)most && number == floor(number))
        return *out = (size_t)number, true;
    snprintf(wanted, sizeof wanted, "a whole number from %zu to %zu", least, most);
    return misfit(r, path, name, wanted);
}

bool http_get_bool(http_request *r, json_t *object, const char *path, const char *name, bool *out) {
    json_t *value = json_object_get(object, name);
    if (is_absent(value)) return true;
    if (!json_is_boolean(value)) return misfit(r, path, name, "true or false");
    *out = json_is_true(value);
    return true;
}

bool http_check_names(http_request *r, json_t *object, const char *path, const char *const *names) {
    const char *key;
    json_t *value;
    if (!json_is_object(object)) {
        http_error(r, MHD_HTTP_BAD_REQUEST, NULL, *path ? path : NULL, "an object is wanted%s%s",
                   *path ? " at " : "", path);
        return false;
    }
    json_object_foreach(object, key, value) {
        size_t i = 0;
        while (names[i] && strcmp(names[i], key) != 0) i++;
        if (names[i]) continue;
        char field[256];
        snprintf(field, sizeof field, "%s%.100s", path, key);
        http_error(r, MHD_HTTP_BAD_REQUEST, NULL, field, "there is no such field");
        return false;
    }
    return true;
}

magpie_status http_decode_media(const json_t *value, size_t limit, unsigned char **bytes, size_t *size) {
    const magpie_string text = {json_string_value(value), json_string_length(value)};
    if (!text.size) return magpie_fail(MAGPIE_E_INPUT, "base64 or a data: URL is wanted");
    if (magpie_base64_room(text.size) > limit + 1024) /* a data: URL has some words in front */
        return magpie_fail(MAGPIE_E_TOO_LARGE, "it is larger than %zu bytes", limit);
    *bytes = malloc(magpie_base64_room(text.size) + 1);
    return *bytes ? magpie_base64_decode(text, *bytes, size)
                  : magpie_fail(MAGPIE_E_NO_MEMORY, "memory is short: try again later");
}

bool http_get_media(http_request *r, const json_t *value, const char *field, unsigned char **bytes,
                    size_t *size) {
    magpie_status status = http_decode_media(value, SOUND_BYTES_MAX, bytes, size);
    if (status != MAGPIE_OK) http_failure(r, magpie_fail(status, "%s: %s", field, magpie_error()), field);
    return status == MAGPIE_OK;
}

bool http_get_filter(http_request *r, json_t *object, magpie_filter **out) {
    json_t *value = json_object_get(object, "filter");
    if (is_absent(value)) return true;
    parsing = r;
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    magpie_status status =
        text ? magpie_filter_parse(text, strlen(text), out) : magpie_fail(MAGPIE_E_NO_MEMORY, "no memory");
    parsing = NULL;
    free(text);
    if (status != MAGPIE_OK && !r->answered) http_failure(r, status, "filter");
    return status == MAGPIE_OK;
}
