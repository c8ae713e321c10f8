/* log.c - the log callback and the clocks. */
#include "core.h"

#include <time.h>

static magpie_log_function log_function;
static void *log_context;
static magpie_log_level log_least;

void magpie_log_to(magpie_log_function function, void *context, magpie_log_level least) {
    log_function = function;
    log_context = context;
    log_least = least;
}

void magpie_log(magpie_log_level level, const char *format, ...) {
    if (!log_function || level < log_least) return;
    char message[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    log_function(log_context, level, message);
}

double magpie_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

int64_t magpie_unix_millis(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}
