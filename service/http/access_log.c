/* access_log.c - see access_log.h.
 *
 * Whoever reads it may stop to: a pipe is full then, and who wrote to it would wait with the lock held, and
 * behind it all connections. So no more is written than is taken at once, and what does not fit here
 * meanwhile is lost. */
#include "access_log.h"
#include "../item.h"
#include "keys.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { GATHERED_MAX = 64 << 10, WAITING_MAX = 1 << 20 /* bytes that nobody takes */ };

struct access_log {
    char *path;           /* NULL: standard error */
    pthread_mutex_t lock; /* guards the rest */
    int file;
    magpie_text lines;
    size_t line; /* where the one at hand begins */
};

static int open_file(const char *path) {
    return path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640) : STDERR_FILENO;
}

magpie_status access_log_open(const char *path, access_log **out) {
    *out = NULL;
    if (!path) return MAGPIE_OK;
    access_log *log = magpie_alloc(1, sizeof *log);
    if (!log) return MAGPIE_E_NO_MEMORY;
    log->path = strcmp(path, "-") == 0 ? NULL : strdup(path);
    log->file = open_file(log->path);
    pthread_mutex_init(&log->lock, NULL);
    *out = log;
    if (log->file >= 0) return MAGPIE_OK;
    access_log_close(log);
    *out = NULL;
    return magpie_fail_errno(errno, "cannot write %s", path);
}

/* What it takes at once when it is ready: a pipe so much, a file all. */
static size_t piece_of(int file) {
    struct stat st;
    return fstat(file, &st) == 0 && S_ISREG(st.st_mode) ? SIZE_MAX : PIPE_BUF;
}

/* With the lock held. What cannot be written is lost: a full disk must not stop a search. */
static void write_lines(access_log *log) {
    magpie_text *lines = &log->lines;
    struct pollfd ready = {.fd = log->file, .events = POLLOUT};
    const size_t most = piece_of(log->file);
    size_t at = 0;
    while (at < lines->size && poll(&ready, 1, 0) > 0) {
        const size_t rest = lines->size - at;
        ssize_t n = write(log->file, lines->data + at, rest < most ? rest : most);
        at = n > 0 ? at + (size_t)n : lines->size;
    }
    if (!at) return;
    lines->size -= at;
    memmove(lines->data, lines->data + at, lines->size);
}

void access_log_flush(access_log *log) {
    if (!log) return;
    pthread_mutex_lock(&log->lock);
    write_lines(log);
    pthread_mutex_unlock(&log->lock);
}

void access_log_reopen(access_log *log) {
    if (!log || !log->path) return;
    pthread_mutex_lock(&log->lock);
    write_lines(log);
    int file = open_file(log->path);
    if (file >= 0) {
        close(log->file);
        log->file = file;
    }
    pthread_mutex_unlock(&log->lock);
}

void access_log_close(access_log *log) {
    if (!log) return;
    access_log_flush(log);
    if (log->path && log->file >= 0) close(log->file);
    pthread_mutex_destroy(&log->lock);
    magpie_text_free(&log->lines);
    free(log->path);
    free(log);
}

static void begin_line(access_log *log, const char *level) {
    log->line = log->lines.size;
    magpie_text_printf(&log->lines, "{\"time\": \"");
    item_append_time(&log->lines, magpie_unix_millis());
    magpie_text_printf(&log->lines, "\", \"level\": \"%s\"", level);
}

static void end_line(access_log *log) {
    magpie_text_printf(&log->lines, "}\n");
    if (log->lines.failed || log->lines.size > WAITING_MAX) log->lines.size = log->line;
    log->lines.failed = false;
    if (log->lines.size > GATHERED_MAX) write_lines(log);
}

void access_log_message(access_log *log, const char *level, const char *message) {
    if (!log) return;
    pthread_mutex_lock(&log->lock);
    begin_line(log, level);
    magpie_text_printf(&log->lines, ", \"message\": ");
    magpie_text_json_string(&log->lines, message, strlen(message));
    end_line(log);
    write_lines(log);
    pthread_mutex_unlock(&log->lock);
}

void access_log_request(access_log *log, const http_request *r, size_t bytes, double seconds) {
    static const char *const names[HTTP_STAGES] = {"queue", "encode", "search", "rank"};
    if (!log) return;
    pthread_mutex_lock(&log->lock);
    magpie_text *out = &log->lines;
    begin_line(log, r->status >= 500 ? "error" : "info");
    magpie_text_printf(out, ", \"request\": \"%s\", \"key\": ", r->id);
    if (r->key)
        magpie_text_json_string(out, r->key->name, strlen(r->key->name));
    else
        magpie_text_printf(out, "null");
    magpie_text_printf(out, ", \"method\": ");
    magpie_text_json_string(out, r->method, strlen(r->method));
    magpie_text_printf(out, ", \"path\": ");
    magpie_text_json_string(out, r->path, strlen(r->path));
    magpie_text_printf(out, ", \"status\": %u, \"bytes\": %zu, \"ms\": %.3f", r->status, bytes,
                       seconds * 1000);
    for (unsigned i = 0; i < HTTP_STAGES; i++)
        if (r->stage[i] > 0) magpie_text_printf(out, ", \"%s_ms\": %.3f", names[i], r->stage[i] * 1000);
    end_line(log);
    pthread_mutex_unlock(&log->lock);
}
