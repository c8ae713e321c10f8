/* serve.c - magpie serve: search and recommendation over HTTP, and a page (http/). */
#include "command.h"
#include "http/server.h"
#include "output.h"

#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

enum {
    DEFAULT_PORT = 8700,
    WORKERS = 8,
    MIB = 1 << 20,
    LOOK_MILLISECONDS = 200 /* how often slow connections are cut and the log is written */
};

static const double drain_seconds = 20, body_rate = 4096;

static struct {
    const char *host, *keys, *log, *cors, *media_root;
    size_t port, threads, workers, in_flight, connections, body, media_body, bodies, header_seconds,
        idle_seconds, answer_cache, vector_cache, batch, k_most;
    double batch_wait;
    bool create, read_only;
} given = {.host = "localhost",
           .log = "-",
           .port = DEFAULT_PORT,
           .workers = WORKERS,
           .in_flight = 1024,
           .connections = 20000,
           .body = 1,
           .media_body = 64,
           .bodies = 512,
           .header_seconds = 10,
           .idle_seconds = 60,
           .answer_cache = 64,
           .vector_cache = 16,
           .batch = 64,
           .k_most = 1000,
           .batch_wait = 2};

static http_server server;
static access_log *log_of_all; /* what happens behind requests is said by threads of the serving's */

static void count_batch(model_sense sense, size_t n) {
    if (server.metrics) metrics_batch(server.metrics, sense, n);
}

static void log_message(const char *level, const char *message) {
    access_log_message(log_of_all, level, message);
}

/* ---- until a signal ends it ---------------------------------------------------------------------------- */

static magpie_status block_signals(int *out) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &set, NULL); /* in every thread that is started from here on */
    *out = signalfd(-1, &set, SFD_CLOEXEC);
    return *out < 0 ? magpie_fail_errno(errno, "cannot wait for signals") : MAGPIE_OK;
}

/* The signal; 0: none in this time. */
static unsigned wait_for_signal(int signals) {
    struct signalfd_siginfo info;
    struct pollfd poller = {.fd = signals, .events = POLLIN};
    if (poll(&poller, 1, LOOK_MILLISECONDS) <= 0 || read(signals, &info, sizeof info) != sizeof info)
        return 0;
    return info.ssi_signo;
}

static void serve(serving_source *source, int signals) {
    for (unsigned signal; (signal = wait_for_signal(signals)) != SIGTERM && signal != SIGINT;) {
        if (signal == SIGHUP) {
            access_log_reopen(log_of_all);
            serving_reload(source);
        }
        connections_cut(server.connections);
        access_log_flush(log_of_all);
    }
    log_message("info", "ending: what is in flight is answered first");
    http_server_drain(&server, drain_seconds);
}

/* ---- the command --------------------------------------------------------------------------------------- */

static http_options options_of_server(void) {
    return (http_options){.host = given.host,
                          .port = (uint16_t)given.port,
                          .threads = given.threads ? (unsigned)given.threads : magpie_cpu_count(),
                          .workers = (unsigned)given.workers,
                          .in_flight = given.in_flight,
                          .connections = given.connections,
                          .body = given.body * MIB,
                          .media_body = given.media_body * MIB,
                          .bodies = given.bodies * MIB,
                          .header_seconds = (double)given.header_seconds,
                          .idle_seconds = (double)given.idle_seconds,
                          .body_rate = body_rate,
                          .answer_bytes = given.answer_cache * MIB,
                          .k_most = given.k_most,
                          .depth_most = MAGPIE_SEARCH_K_MAX,
                          .cors = given.cors,
                          .media_root = given.media_root,
                          .read_only = given.read_only};
}

static void say_where(void) {
    char words[256];
    const bool six = strchr(given.host, ':') != NULL;
    snprintf(words, sizeof words, "listening to http://%s%s%s:%u/", six ? "[" : "", given.host,
             six ? "]" : "", server.port);
    printf("magpie serve: %s\n", words);
    fflush(stdout);
    log_message("info", words);
}

static exit_code run_serve(char **operands, int count) {
    (void)operands;
    (void)count;
    serving_source *source = NULL;
    http_keys *keys = NULL;
    int signals = -1;
    const storage_mode mode = given.create ? STORAGE_CREATE : given.read_only ? STORAGE_READ : STORAGE_WRITE;
    const http_options options = options_of_server();
    const serving_options serving = {.batch_texts = (unsigned)given.batch,
                                     .batch_wait = given.batch_wait / 1000,
                                     .coming = &server.coming,
                                     .batched = count_batch,
                                     .vector_bytes = given.vector_cache * MIB,
                                     .log = log_message};
    http_count_json();
    /* What is replaced whole again and again goes back to the system. Left alone, glibc takes ever larger pieces out of
     * its heaps, where small ones that live longer keep them apart: a sixth more memory after 36,000 requests. */
    mallopt(M_MMAP_THRESHOLD, MIB);
    magpie_status status = block_signals(&signals);
    if (status == MAGPIE_OK)
        status = access_log_open(strcmp(given.log, "none") == 0 ? NULL : given.log, &log_of_all);
    if (status == MAGPIE_OK && given.keys) status = http_keys_read(given.keys, &keys);
    if (status == MAGPIE_OK) status = serving_open(&serving, mode, &source);
    if (status == MAGPIE_OK) status = http_server_start(&server, &options, source, keys, log_of_all);
    if (status == MAGPIE_OK) {
        say_where();
        serve(source, signals);
        http_server_stop(&server);
    }
    const exit_code code = status == MAGPIE_OK ? EXIT_FINE : print_failure();
    serving_close(source);
    access_log_close(log_of_all);
    http_keys_free(keys);
    if (signals >= 0) close(signals);
    return code;
}

static magpie_status parse_wait(const char *value, void *target) {
    double milliseconds;
    if (!option_read_real(value, &milliseconds) || milliseconds > 1000)
        return magpie_fail(MAGPIE_E_ARGUMENT, "milliseconds from 0 to 1000 are wanted, not \"%s\"", value);
    return *(double *)target = milliseconds, MAGPIE_OK;
}

#define NUMBER(field, from, to) .argument = "N", .number = &given.field, .least = from, .most = to

static const option_row own_options[] = {
    {.name = "host",
     .argument = "ADDRESS",
     .string = &given.host,
     .help = "where to listen (default: localhost)"},
    {.name = "port", .letter = 'p', NUMBER(port, 0, 65535), .help = "0: any that is free (default: 8700)"},
    {.name = "create", .flag = &given.create, .help = "make the store where there is none"},
    {.name = "read-only", .flag = &given.read_only, .help = "write nothing, the index files included"},
    {.name = "api-key-file",
     .argument = "FILE",
     .string = &given.keys,
     .help = "who may ask: lines KEY read|write [NAME] (default: everybody who reaches the port)"},
    {.name = "media-root",
     .argument = "DIR",
     .string = &given.media_root,
     .help = "pictures and sounds of items that lie beneath it may be shown (default: those alone that came "
             "in by "
             "the service)"},
    {.name = "cors",
     .argument = "ORIGIN",
     .string = &given.cors,
     .help = "pages of this origin may ask, * for all"},
    {.name = "access-log",
     .argument = "FILE",
     .string = &given.log,
     .help = "a line of JSON for each request; - for standard error, none (default: -)"},
    {.name = "http-threads",
     NUMBER(threads, 1, 256),
     .help = "that serve connections (default: as many as CPUs)"},
    {.name = "workers",
     NUMBER(workers, 1, 256),
     .help = "threads for what waits: writes, filters, media (default: 8)"},
    {.name = "batch",
     NUMBER(batch, 1, 1024),
     .help = "texts, pictures or sounds encoded together; 1: one by one "
             "(default: 64)"},
    {.name = "batch-wait",
     .argument = "MS",
     .parse = parse_wait,
     .target = &given.batch_wait,
     .help = "what the first of a batch waits at most, while others come (default: 2)"},
    {.name = "vector-cache",
     NUMBER(vector_cache, 0, 65536),
     .help = "MiB of query vectors remembered (default: 16)"},
    {.name = "answer-cache",
     NUMBER(answer_cache, 0, 65536),
     .help = "MiB of answers remembered (default: 64)"},
    {.name = "max-body", NUMBER(body, 1, 1024), .help = "MiB of a request (default: 1)"},
    {.name = "max-media-body", NUMBER(media_body, 1, 1024), .help = "MiB of one with media (default: 64)"},
    {.name = "max-bodies", NUMBER(bodies, 1, 65536), .help = "MiB of all at once (default: 512)"},
    {.name = "max-k", NUMBER(k_most, 1, MAGPIE_SEARCH_K_MAX / 2), .help = "hits of a search (default: 1000)"},
    {.name = "max-in-flight", NUMBER(in_flight, 1, 1 << 20), .help = "requests; beyond: 429 (default: 1024)"},
    {.name = "max-connections", NUMBER(connections, 1, 1 << 20), .help = "(default: 20000)"},
    {.name = "header-timeout",
     NUMBER(header_seconds, 1, 3600),
     .help = "seconds for a header; bodies and answers have one more for each 4 KiB (default: 10)"},
    {.name = "idle-timeout",
     NUMBER(idle_seconds, 1, 3600),
     .help = "seconds without a request (default: 60)"},
    {0}};

static const option_row *const tables[] = {
    storage_options,        own_options,          config_options, model_options, audio_seconds_options,
    passage_prefix_options, query_prefix_options, build_options,  NULL};

const command serve_command = {
    .name = "serve",
    .summary = "answer searches and recommendations over HTTP, with a page to look at",
    .operands = "",
    .tables = tables,
    .details =
        "Open http://localhost:8700/ for the page; /openapi.json tells what can be asked. SIGTERM ends it "
        "when\n"
        "what is in flight has been answered; SIGHUP opens models and log anew, and drops nothing.\n"
        "It listens to this machine alone unless --host says otherwise; then give it --api-key-file.\n",
    .configurable = true,
    .run = run_serve};
