/* fuzz_http.c - any request at all, to the whole service but its sockets: a request line, header lines, an empty line,
 * a body. It is answered, with what its own document promises: never 500, errors with their schema, JSON where JSON
 * is said.
 *
 * The store is on memory where there is any, is filled by the first inputs, and goes on through all of them. */
#include "fuzz.h"

#include "fake_microhttpd.h"
#include "server.h"
#include "test_fused.h"
#include "test_pictures.h"
#include "test_sounds.h"

enum { SEEDS = 31, ITEMS = 6 /* the first of them */, ROOM = 16 << 10, PATH = 512 };

fuzz_seed fuzz_seeds[SEEDS];
const size_t fuzz_seed_count = SEEDS;

static http_server server;
static serving_source *source;
static char folder[PATH];

/* ---- seeds ---- */

static char *base64_of_file(const char *name) {
    char path[2 * PATH], *bytes;
    size_t size;
    magpie_text out = {0};
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (magpie_file_read(path, 1 << 20, &bytes, &size) != MAGPIE_OK) abort();
    magpie_base64_encode(&out, bytes, size);
    free(bytes);
    return out.data;
}

static void add_seed(const char *format, ...) {
    static char room[SEEDS][ROOM];
    static size_t n;
    va_list arguments;
    va_start(arguments, format);
    const int size = vsnprintf(room[n], ROOM, format, arguments);
    va_end(arguments);
    if (n == SEEDS || size < 0 || size >= ROOM) abort();
    fuzz_seeds[n] = (fuzz_seed){room[n], (size_t)size};
    n++;
}

#define JSON_HEAD "Content-Type: application/json\n\n"

static void make_seeds(void) {
    char *picture = base64_of_file("a.png"), *sound = base64_of_file("a.wav");
    static const char *const gets[] = {
        "/v1/items/a/similar?k=3",
        "/v1/items/a%20b",
        "/v1/items/a/image?size=16",
        "/v1/items/a/audio",
        "/v1/stats",
        "/metrics",
        "/",
        "/v1/users/u",
        "/v1/attributes?filter={%22must%22:[{%22key%22:%22price%22,%22range%22:{%22lt%22:9}}]}",
        "/v1/map",
        "/v1/models"};
    for (size_t i = 0; i < 4; i++)
        add_seed("POST /v1/items\n" JSON_HEAD
                 "{\"id\": \"%c\", \"text\": \"red\", \"image\": \"%s\", \"attributes\": "
                 "{\"price\": %zu, \"tags\": [\"x\", \"y\"]}, \"timestamp\": 1700000000}",
                 "abcd"[i], picture, i);
    add_seed("POST /v1/items\n" JSON_HEAD "[{\"id\": \"e\", \"audio\": \"%s\"}, {\"id\": 7}]", sound);
    add_seed("POST /v1/items\nContent-Type: application/x-ndjson\n\n{\"id\": \"f\", \"text\": "
             "\"\"}\n{\"id\": \"g\", "
             "\"image\": \"data:image/png;base64,%s\"}\n\n{broken\n{\"id\": \"h\"}",
             picture);
    add_seed("POST /v1/search\n" JSON_HEAD
             "{\"query\": [{\"image\": \"%s\"}, {\"item\": \"a\", \"weight\": -0.5}], "
             "\"weights\": {\"image\": 2}, \"k\": 5, \"offset\": 1, \"filter\": {\"must\": [{\"key\": "
             "\"price\", \"range\": {\"gte\": 1}}]}, "
             "\"explain\": true, \"fields\": [\"attributes\"]}",
             picture);
    add_seed("POST /v1/search\n" JSON_HEAD
             "{\"query\": {\"audio\": \"%s\"}, \"space\": \"audio\", \"min_score\": 0.1}",
             sound);
    add_seed("POST /v1/search\nContent-Type: multipart/form-data; boundary=b\n\n--b\r\nContent-Disposition: "
             "form-data; "
             "name=\"request\"\r\n\r\n{\"k\": 2, \"query\": {\"item\": "
             "\"b\"}}\r\n--b\r\nContent-Disposition: form-data; "
             "name=\"image\"; filename=\"x.png\"\r\n\r\n\x89PNG\r\n\x1a\n\r\n--b--\r\n");
    add_seed("POST /v1/search\n" JSON_HEAD
             "{\"query\": [{\"vector\": [1, 0, -1e-3, 2.5, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, "
             "0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]}, {\"item\": \"b\"}], "
             "\"space\": \"fused\", \"exact\": true, \"user\": \"u\", \"user_weight\": 0.5}");
    add_seed(
        "POST /v1/search\n" JSON_HEAD
        "{\"query\": {\"item\": \"a\"}, \"filter\": {\"should\": [{\"key\": \"tags\", "
        "\"match\": {\"value\": \"x\"}}, {\"key\": \"price\", \"match\": {\"any\": [1, 2]}}], \"must_not\": "
        "[{\"has_id\": [\"b\"]}, {\"key\": \"colour\", \"exists\": true}]}, \"k\": 3}");
    add_seed("POST /v1/recommend\n" JSON_HEAD
             "{\"user\": \"u\", \"k\": 3, \"exclude_seen\": true, \"diversity\": 0.5, "
             "\"explain\": true, \"filter\": {\"must\": []}}");
    add_seed("POST /v1/recommend\n" JSON_HEAD "{\"items\": [\"a\", \"b\", \"nobody\"]}");
    add_seed("POST /v1/interactions\n" JSON_HEAD
             "[{\"user\": \"u\", \"item\": \"a\", \"kind\": \"like\", \"weight\": 2, "
             "\"time\": 1700000000}, {\"user\": \"u\", \"item\": \"b\"}]");
    add_seed("PATCH /v1/items/a\n" JSON_HEAD "{\"attributes\": {\"price\": 7, \"tags\": null}}");
    add_seed("DELETE /v1/items/h\n\n");
    add_seed("POST /v1/items/delete\n" JSON_HEAD "{\"ids\": [\"f\", \"g\"]}");
    add_seed("POST /v1/items/delete\n" JSON_HEAD
             "{\"filter\": {\"must\": [{\"key\": \"price\", \"match\": {\"value\": 99}}]}}");
    add_seed("POST /v1/embeddings\n" JSON_HEAD
             "{\"input\": [{\"image\": \"%s\"}, {\"image\": \"\"}], \"model\": \"image\", "
             "\"encoding_format\": \"base64\"}",
             picture);
    add_seed("POST /v1/rerank\n" JSON_HEAD
             "{\"query\": {\"image\": \"%s\"}, \"documents\": [{\"image\": \"iVBORw0KGgo=\"}], "
             "\"top_n\": 1, \"return_documents\": true}",
             picture);
    for (size_t i = 0; i < sizeof gets / sizeof *gets; i++)
        add_seed("GET %s\nHost: localhost\nAuthorization: Bearer x\nX-Request-Id: r-1\n\n", gets[i]);
    free(picture);
    free(sound);
}

/* ---- the service ---- */

static void remove_store(void) {
    char command[2 * PATH];
    http_server_stop(&server);
    serving_close(source);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    if (system(command) != 0) abort();
}

/* Pictures and sounds have one space; texts have no model, for it would take most of the time. */
static void write_heads(const char *pictures, const char *sounds) {
    magpie_image_encoder *image = open_image_model(pictures);
    magpie_audio_encoder *audio = open_audio_model(sounds);
    const magpie_image_encoder_info *seen = magpie_image_encoder_get_info(image);
    const magpie_audio_encoder_info *heard = magpie_audio_encoder_get_info(audio);
    const magpie_modality_source sources[MAGPIE_MODALITIES] = {
        [MAGPIE_IMAGE] = {seen->dimension, seen->fingerprint},
        [MAGPIE_AUDIO] = {heard->dimension, heard->fingerprint}};
    magpie_fusion_close(make_fusion(folder, 1, sources));
    magpie_image_encoder_close(image);
    magpie_audio_encoder_close(audio);
}

static void set_option(const option_row *rows, const char *name, const char *value) {
    while (strcmp(rows->name, name) != 0) rows++;
    if (rows->string)
        *rows->string = strdup(value);
    else
        *rows->number = strtoul(value, NULL, 10);
}

static void log_nothing(const char *level, const char *message) { (void)level, (void)message; }

/* Before main, so that the seeds are there when it begins. */
__attribute__((constructor)) static void begin(void) {
    char store[2 * PATH], pictures[2 * PATH], sounds[2 * PATH], file[2 * PATH];
    const char *parent = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(folder, sizeof folder, "%s/magpie-fuzz-XXXXXX", parent);
    if (!mkdtemp(folder)) abort();
    snprintf(store, sizeof store, "%s/store", folder);
    snprintf(pictures, sizeof pictures, "%s/pictures", folder);
    snprintf(sounds, sizeof sounds, "%s/sounds", folder);
    write_image_model(pictures, 1);
    write_audio_model(sounds, 1);
    write_heads(pictures, sounds);
    snprintf(file, sizeof file, "%s/a.png", folder);
    write_picture(file, 1);
    snprintf(file, sizeof file, "%s/a.wav", folder);
    write_sound(file, 1, 0.1);
    make_seeds();
    set_option(storage_options, "store", store);
    set_option(model_options, "image-model", pictures);
    set_option(model_options, "audio-model", sounds);
    snprintf(file, sizeof file, "%s/heads 1", folder);
    set_option(model_options, "fusion-model", file);
    set_option(model_options, "threads", "1");
    const http_options options = {.host = "localhost",
                                  .threads = 1,
                                  .workers = 2,
                                  .in_flight = 8,
                                  .connections = 8,
                                  .body = 64 << 10,
                                  .media_body = 64 << 10,
                                  .bodies = 1 << 20,
                                  .header_seconds = 1e6,
                                  .idle_seconds = 1e6,
                                  .body_rate = 1,
                                  .answer_bytes = 1 << 20,
                                  .k_most = 100,
                                  .depth_most = 1000};
    const serving_options serving = {
        .batch_texts = 4, .batch_wait = 0, .vector_bytes = 1 << 20, .log = log_nothing};
    http_count_json();
    if (serving_open(&serving, STORAGE_CREATE, &source) != MAGPIE_OK ||
        http_server_start(&server, &options, source, NULL, NULL) != MAGPIE_OK) {
        fprintf(stderr, "%s\n", magpie_error());
        abort();
    }
    atexit(remove_store);
}

/* ---- a request ---- */

static void add_value(struct MHD_Connection *c, enum MHD_ValueKind kind, const char *name,
                      const char *value) {
    if (c->count == FAKE_VALUES) return;
    c->values[c->count].kind = kind;
    c->values[c->count].name = name;
    c->values[c->count++].value = value;
}

/* Takes up to one of `stops` off the front, which is overwritten with a NUL; *stop is what it was, 0 at the end. */
static char *take(char **at, const char *stops, char *stop) {
    char *taken = *at;
    *at += strcspn(*at, stops);
    if ((*stop = **at)) *(*at)++ = 0;
    return taken;
}

/* The header, which is cut up; where its empty line is, the body begins. */
static void read_header(struct MHD_Connection *c, char *text) {
    char stop, *line = take(&text, "\n", &stop);
    c->method = take(&line, " ", &stop);
    c->url = take(&line, "?", &stop);
    while (*line) {
        char *pair = take(&line, "&", &stop), *name = take(&pair, "=", &stop);
        add_value(c, MHD_GET_ARGUMENT_KIND, name, stop ? pair : NULL);
    }
    while (*text) {
        line = take(&text, "\n", &stop);
        const char *name = take(&line, ":", &stop);
        if (stop) add_value(c, MHD_HEADER_KIND, name, line + strspn(line, " "));
    }
}

static void complain(const uint8_t *data, size_t size, const struct MHD_Connection *c, const char *what) {
    fprintf(stderr, "%s: status %u, %.*s\nthe request:\n", what, c->status, (int)c->response->size,
            c->response->data);
    fwrite(data, 1, size, stderr);
    abort();
}

static bool has_error_schema(const json_t *json) {
    const json_t *error = json_object_get(json, "error"), *field = json_object_get(error, "field");
    return json_object_size(json) == 1 && json_object_size(error) == 3 &&
           json_is_string(json_object_get(error, "code")) &&
           json_is_string(json_object_get(error, "message")) &&
           (json_is_null(field) || json_is_string(field));
}

static void check(const uint8_t *data, size_t size, const struct MHD_Connection *c) {
    const struct MHD_Response *response = c->response;
    if (c->status == MHD_HTTP_INTERNAL_SERVER_ERROR) complain(data, size, c, "it failed");
    const bool lines = strcmp(response->type, "application/x-ndjson") == 0;
    if (strcmp(response->type, "application/json") != 0 && c->status < 400) return;
    json_t *json = json_loadb(response->data, response->size, lines ? JSON_DISABLE_EOF_CHECK : 0, NULL);
    if (!json) complain(data, size, c, "no JSON");
    if (c->status >= 400 && !has_error_schema(json)) complain(data, size, c, "no error as they should be");
    json_decref(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static size_t inputs;
    if (++inputs == ITEMS + 1 && serving_catch_up(source) != MAGPIE_OK)
        abort(); /* and from here on they are found */
    const char *end = size ? memmem(data, size, "\n\n", 2) : NULL;
    const size_t head = end ? (size_t)(end - (const char *)data) : size, body = end ? size - head - 2 : 0;
    struct MHD_Connection c = {.header_size = head};
    char *header = strndup((const char *)data, head);
    uint64_t dice = size * 31 + (size ? data[size / 2] : 0);
    if (!header) abort();
    read_header(&c, header);
    const size_t piece = 1 + (size_t)(magpie_random(&dice) % (body + 1));
    if (fake_request(&c, (const char *)data + size - body, body, piece, magpie_random(&dice) % 2))
        check(data, size, &c);
    fake_end(&c);
    if (atomic_load(&server.bodies)) abort(); /* all that it held has been given back */
    free(header);
    return 0;
}
