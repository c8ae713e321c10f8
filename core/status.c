/* status.c - failures in words, kept per thread (see core.h for why). */
#include "core.h"

#include <errno.h>
#include <string.h>

enum { MESSAGE_BYTES = 1024 };

static _Thread_local char message[MESSAGE_BYTES];

const char *magpie_status_name(magpie_status status) {
    switch (status) {
    case MAGPIE_OK: return "ok";
    case MAGPIE_E_ARGUMENT: return "bad argument";
    case MAGPIE_E_INPUT: return "bad input";
    case MAGPIE_E_TOO_LARGE: return "too large";
    case MAGPIE_E_NOT_FOUND: return "not found";
    case MAGPIE_E_MISMATCH: return "mismatch";
    case MAGPIE_E_CORRUPT: return "corrupt";
    case MAGPIE_E_UNSUPPORTED: return "unsupported";
    case MAGPIE_E_NO_SPACE: return "no space";
    case MAGPIE_E_NO_MEMORY: return "no memory";
    case MAGPIE_E_IO: return "i/o error";
    case MAGPIE_E_BUSY: return "busy";
    case MAGPIE_E_CANCELLED: return "cancelled";
    case MAGPIE_E_INTERNAL: return "internal error";
    }
    return "unknown status";
}

const char *magpie_error(void) { return message; }

/* Formats aside first: the arguments may point into `message`. */
static void set_message(const char *format, va_list arguments, const char *suffix) {
    char text[MESSAGE_BYTES];
    int n = vsnprintf(text, sizeof text, format, arguments);
    size_t used = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
    if (suffix) snprintf(text + used, sizeof text - used, ": %s", suffix);
    memcpy(message, text, sizeof message);
}

magpie_status magpie_fail(magpie_status status, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    set_message(format, arguments, NULL);
    va_end(arguments);
    return status;
}

magpie_status magpie_fail_errno(int error_number, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    set_message(format, arguments, strerror(error_number));
    va_end(arguments);
    switch (error_number) {
    case ENOENT: return MAGPIE_E_NOT_FOUND;
    case ENOSPC:
    case EDQUOT: return MAGPIE_E_NO_SPACE;
    case ENOMEM: return MAGPIE_E_NO_MEMORY;
    default: return MAGPIE_E_IO;
    }
}
