/* fake_microhttpd.h - libmicrohttpd without sockets: requests are handed to the server's callbacks as the library
 * would hand them over, in the threads of whoever calls, a hundred thousand a minute.
 *
 * It is linked in place of the library's functions of the same names. As the library does, it hands over the
 * next chunk of a body that is in its buffer though the connection has been put to sleep; so a handler that takes
 * bytes and sleeps with them meets another thread, which a sanitizer sees. */
#ifndef MAGPIE_FAKE_MICROHTTPD_H
#define MAGPIE_FAKE_MICROHTTPD_H

#include <microhttpd.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

enum { FAKE_VALUES = 64, FAKE_PATIENCE = 120 /* seconds after which a connection was forgotten */ };

struct MHD_Response {
    size_t size;
    char *data;
    bool owned;
    char type[64];
    unsigned uses;
};

struct MHD_Connection {
    const char *method, *url;
    struct {
        enum MHD_ValueKind kind;
        const char *name, *value;
    } values[FAKE_VALUES];
    size_t count, header_size;
    void *socket_context, *state;
    bool asleep; /* guarded by fake.lock */
    unsigned status;
    struct MHD_Response *response; /* NULL: none yet */
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t woken;
    MHD_AccessHandlerCallback handle;
    MHD_RequestCompletedCallback completed;
    MHD_NotifyConnectionCallback connected;
    void *handle_context, *completed_context, *connected_context;
} fake = {.lock = PTHREAD_MUTEX_INITIALIZER, .woken = PTHREAD_COND_INITIALIZER};

/* ---- what the server calls ---- */

struct MHD_Daemon *MHD_start_daemon(unsigned flags, uint16_t port, MHD_AcceptPolicyCallback accept,
                                    void *accept_context, MHD_AccessHandlerCallback handle, void *context,
                                    ...) {
    va_list options;
    (void)flags, (void)port, (void)accept, (void)accept_context;
    fake.handle = handle;
    fake.handle_context = context;
    va_start(options, context);
    for (enum MHD_OPTION option; (option = va_arg(options, enum MHD_OPTION)) != MHD_OPTION_END;) {
        if (option == MHD_OPTION_NOTIFY_COMPLETED) {
            fake.completed = va_arg(options, MHD_RequestCompletedCallback);
            fake.completed_context = va_arg(options, void *);
        } else if (option == MHD_OPTION_NOTIFY_CONNECTION) {
            fake.connected = va_arg(options, MHD_NotifyConnectionCallback);
            fake.connected_context = va_arg(options, void *);
        } else if (option == MHD_OPTION_UNESCAPE_CALLBACK) {
            (void)va_arg(options, void *);
            (void)va_arg(options, void *);
        } else if (option == MHD_OPTION_CONNECTION_MEMORY_LIMIT) {
            (void)va_arg(options, size_t);
        } else {
            (void)va_arg(options, unsigned);
        }
    }
    va_end(options);
    return (struct MHD_Daemon *)&fake;
}

void MHD_stop_daemon(struct MHD_Daemon *daemon) { (void)daemon; }

const char *MHD_lookup_connection_value(struct MHD_Connection *c, enum MHD_ValueKind kind, const char *name) {
    for (size_t i = 0; i < c->count; i++)
        if (c->values[i].kind == kind && strcasecmp(c->values[i].name, name) == 0) return c->values[i].value;
    return NULL;
}

int MHD_get_connection_values(struct MHD_Connection *c, enum MHD_ValueKind kind, MHD_KeyValueIterator visit,
                              void *context) {
    for (size_t i = 0; i < c->count; i++)
        if (c->values[i].kind & kind)
            visit(context, c->values[i].kind, c->values[i].name, c->values[i].value);
    return (int)c->count;
}

const union MHD_ConnectionInfo *MHD_get_connection_info(struct MHD_Connection *c,
                                                        enum MHD_ConnectionInfoType type, ...) {
    static _Thread_local union MHD_ConnectionInfo info;
    if (type == MHD_CONNECTION_INFO_SOCKET_CONTEXT)
        info.socket_context = c->socket_context;
    else if (type == MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE)
        info.header_size = c->header_size;
    else
        info.connect_fd = -1;
    return &info;
}

void MHD_suspend_connection(struct MHD_Connection *c) {
    pthread_mutex_lock(&fake.lock);
    if (c->asleep) abort();
    c->asleep = true;
    pthread_mutex_unlock(&fake.lock);
}

void MHD_resume_connection(struct MHD_Connection *c) {
    pthread_mutex_lock(&fake.lock);
    if (!c->asleep) abort();
    c->asleep = false;
    pthread_cond_broadcast(&fake.woken);
    pthread_mutex_unlock(&fake.lock);
}

struct MHD_Response *MHD_create_response_from_buffer(size_t size, void *data,
                                                     enum MHD_ResponseMemoryMode mode) {
    struct MHD_Response *response = calloc(1, sizeof *response);
    if (response) *response = (struct MHD_Response){size, data, mode == MHD_RESPMEM_MUST_FREE, "", 1};
    return response;
}

enum MHD_Result MHD_add_response_header(struct MHD_Response *response, const char *name, const char *value) {
    if (strpbrk(name, "\r\n") || strpbrk(value, "\r\n")) abort();
    if (strcmp(name, "Content-Type") == 0) strncpy(response->type, value, sizeof response->type - 1);
    return MHD_YES;
}

enum MHD_Result MHD_queue_response(struct MHD_Connection *c, unsigned status, struct MHD_Response *response) {
    if (c->response || c->asleep) abort();
    c->status = status;
    c->response = response;
    response->uses++;
    return MHD_YES;
}

void MHD_destroy_response(struct MHD_Response *response) {
    if (--response->uses) return;
    if (response->owned) free(response->data);
    free(response);
}

/* ---- what a target calls ---- */

static bool fake_call(struct MHD_Connection *c, const char *bytes, size_t *size) {
    return fake.handle(fake.handle_context, c, c->url, c->method, "HTTP/1.1", bytes, size, &c->state) ==
           MHD_YES;
}

static bool fake_is_asleep(struct MHD_Connection *c) {
    pthread_mutex_lock(&fake.lock);
    const bool asleep = c->asleep;
    pthread_mutex_unlock(&fake.lock);
    return asleep;
}

static void fake_wait(struct MHD_Connection *c) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += FAKE_PATIENCE;
    pthread_mutex_lock(&fake.lock);
    while (c->asleep)
        if (pthread_cond_timedwait(&fake.woken, &fake.lock, &until) != 0) abort();
    pthread_mutex_unlock(&fake.lock);
}

/* A whole request of its own connection, its body in pieces of `piece` bytes; `chunked`: pieces are chunks, several in
 * one buffer. true: c->response is what came of it, for fake_end; false: the connection was cut. */
static bool fake_request(struct MHD_Connection *c, const char *body, size_t size, size_t piece,
                         bool chunked) {
    size_t none = 0;
    fake.connected(fake.connected_context, c, &c->socket_context, MHD_CONNECTION_NOTIFY_STARTED);
    bool fine = fake_call(c, NULL, &none);
    for (size_t at = 0; fine && !c->response && at < size;) {
        const size_t given = size - at < piece ? size - at : piece;
        size_t left = given;
        fine = fake_call(c, body + at, &left);
        at += given - left;
        if (!chunked || left) fake_wait(c);
    }
    fake_wait(c);
    while (fine && !c->response) {
        fine = fake_call(c, NULL, &none);
        if (!fake_is_asleep(c) && fine && !c->response) continue; /* it was quick */
        fake_wait(c);
    }
    return fine;
}

static void fake_end(struct MHD_Connection *c) {
    fake.completed(fake.completed_context, c, &c->state, MHD_REQUEST_TERMINATED_COMPLETED_OK);
    fake.connected(fake.connected_context, c, &c->socket_context, MHD_CONNECTION_NOTIFY_CLOSED);
    if (c->response) MHD_destroy_response(c->response);
}

#endif
