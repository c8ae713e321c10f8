/* access_log.c - see access_log.h. */
#include "access_log.h"
#include "../item.h"
#include "keys.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { GATHERED_MAX = 64 << 10 };

struct access_log {
    char *path;           /* NULL: standard error */
    pthread_mutex_t lock; /* guards the rest */
    int file;
    magpie_text lines;
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

/* With the lock held. What cannot be written is lost: a full disk must not stop a search. */
static void write_lines(access_log *log) {
    for (size_t at = 0; at < log->lines.size;) {
        ssize_t n = write(log->file, log->lines.data + at, log->lines.size - at);
        if (n <= 0) break;
        at += (size_t)n;
    }
    magpie_text_clear(&log->lines);
    log->lines.failed = false;
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
    magpie_text_printf(&log->lines, "{\"time\": \"");
    item_append_time(&log->lines, magpie_unix_millis());
    magpie_text_printf(&log->lines, "\", \"level\": \"%s\"", level);
}

static void end_line(access_log *log) {
    magpie_text_printf(&log->lines, "}\n");
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
