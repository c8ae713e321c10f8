/* connections.h - the clock of every connection: whoever is too slow with a header or a body is cut off.
 *
 * libmicrohttpd closes connections on which nothing happens; one byte a second is something. So each has a
 * deadline here, which moves with what it gets done. */
#ifndef MAGPIE_CONNECTIONS_H
#define MAGPIE_CONNECTIONS_H

#include "core.h"

typedef struct connections connections;
typedef struct connection connection;

MAGPIE_CHECK_RESULT magpie_status connections_create(connections **out);
void connections_free(connections *all);
/* NULL: no memory; then it has no deadline. */
connection *connections_add(connections *all, int socket, double deadline);
void connections_remove(connections *all, connection *one);
/* By magpie_seconds(); INFINITY: none, while it is us who take our time. */
void connections_set_deadline(connections *all, connection *one, double deadline);
/* Shuts those down whose deadline is past; to be called some times a second. */
void connections_cut(connections *all);
size_t connections_count(connections *all);

#endif
