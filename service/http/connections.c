/* connections.c - see connections.h. */
#include "connections.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>

struct connection {
    connection *next, *previous;
    int socket;
    double deadline;
};

struct connections {
    pthread_mutex_t lock;
    connection *first;
    size_t count;
};

magpie_status connections_create(connections **out) {
    *out = magpie_alloc(1, sizeof **out);
    if (!*out) return MAGPIE_E_NO_MEMORY;
    pthread_mutex_init(&(*out)->lock, NULL);
    return MAGPIE_OK;
}

void connections_free(connections *all) {
    if (!all) return;
    pthread_mutex_destroy(&all->lock);
    free(all);
}

connection *connections_add(connections *all, int socket, double deadline) {
    connection *one = malloc(sizeof *one);
    if (!one) return NULL;
    pthread_mutex_lock(&all->lock);
    *one = (connection){.next = all->first, .socket = socket, .deadline = deadline};
    if (one->next) one->next->previous = one;
    all->first = one;
    all->count++;
    pthread_mutex_unlock(&all->lock);
    return one;
}

/* libmicrohttpd closes the socket only after this, so that a descriptor is never another's here. */
void connections_remove(connections *all, connection *one) {
    if (!one) return;
    pthread_mutex_lock(&all->lock);
    *(one->previous ? &one->previous->next : &all->first) = one->next;
    if (one->next) one->next->previous = one->previous;
    all->count--;
    pthread_mutex_unlock(&all->lock);
    free(one);
}

void connections_set_deadline(connections *all, connection *one, double deadline) {
    if (!one) return;
    pthread_mutex_lock(&all->lock);
    one->deadline = deadline;
    pthread_mutex_unlock(&all->lock);
}

void connections_cut(connections *all) {
    const double now = magpie_seconds();
    pthread_mutex_lock(&all->lock);
    for (connection *one = all->first; one; one = one->next)
        if (one->deadline < now) shutdown(one->socket, SHUT_RDWR);
    pthread_mutex_unlock(&all->lock);
}

size_t connections_count(connections *all) {
    pthread_mutex_lock(&all->lock);
    const size_t count = all->count;
    pthread_mutex_unlock(&all->lock);
    return count;
}
