/* access_log.h - a line of JSON for every request that was answered, and for what happens behind them.
 *
 *     {"time": "2026-...Z", "level": "info", "request": "ID", "key": NAME or null, "method", "path", "status",
 *      "bytes": of the answer, "ms", "queue_ms", "encode_ms", "search_ms", "rank_ms"}
 *     {"time", "level": "info" or "error", "message"}
 *
 * Neither bodies nor what is behind '?' are in it: what people look for is theirs. Lines are gathered and written
 * some times a second. */
#ifndef MAGPIE_ACCESS_LOG_H
#define MAGPIE_ACCESS_LOG_H

#include "http.h"

typedef struct access_log access_log;

/* `path` "-": standard error. NULL: none is written. A file is appended to. */
MAGPIE_CHECK_RESULT magpie_status access_log_open(const char *path, access_log **out);
void access_log_close(access_log *log);
void access_log_request(access_log *log, const http_request *r, size_t bytes, double seconds);
void access_log_message(access_log *log, const char *level, const char *message);
/* Writes what has gathered; to be called some times a second. */
void access_log_flush(access_log *log);
/* Opens the file anew, which somebody may have moved away. */
void access_log_reopen(access_log *log);

#endif
