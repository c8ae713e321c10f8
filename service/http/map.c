/* map.c - GET /v1/map: the catalogue on a plane, to wander in (magpie_neighbour_map).
 *
 * One is made at a time, on a worker, for all who wait for it, and is held as the text of its answer. It
 * is given as long as the store is what it was; while the next one is being made; and, so that a store
 * that always changes does not always have one made, for ten times as long as it took: some ten seconds
 * for some thousand items. */
#include "map.h"
#include "handlers.h"
#include "server.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { POINTS = 20000 };

static const double patience = 10;

struct catalogue_map {
    pthread_mutex_t lock; /* guards all below */
    bool making;
    http_request *waiting; /* for the one that is being made; chained by next */
    magpie_text answer;    /* empty: there is none yet */
    uint64_t sequence;     /* of the store when it was made */
    double made, cost;     /* when, and seconds that it took */
};

magpie_status catalogue_map_create(catalogue_map **out) {
    *out = magpie_alloc(1, sizeof **out);
    if (!*out) return MAGPIE_E_NO_MEMORY;
    pthread_mutex_init(&(*out)->lock, NULL);
    return MAGPIE_OK;
}

void catalogue_map_free(catalogue_map *map) {
    if (!map) return;
    magpie_text_free(&map->answer);
    pthread_mutex_destroy(&map->lock);
    free(map);
}

/* ---- making it ----------------------------------------------------------------------------------------- */

typedef struct point {
    magpie_string id;
    const float *vector;
} point;

typedef struct making {
    magpie_snapshot *snapshot;
    point *points; /* [n], of all that have a fused vector, in order of row */
    size_t n, capacity;
    float *vectors; /* [drawn, dimension] */
    size_t drawn, dimension;
    uint64_t sequence;
    magpie_text text;
} making;

static magpie_status take_item(void *context, const magpie_item *item) {
    making *m = context;
    point p = {.id = item->id};
    magpie_status status = magpie_snapshot_vector(m->snapshot, MAGPIE_SPACE_FUSED, item->row, &p.vector);
    if (status != MAGPIE_OK || !p.vector) return status;
    status = magpie_grow((void **)&m->points, &m->capacity, m->n + 1, sizeof *m->points);
    if (status == MAGPIE_OK) m->points[m->n++] = p;
    return status;
}

/* Writes their ids, and copies their vectors. */
static magpie_status draw(making *m) {
    m->drawn = m->n < POINTS ? m->n : POINTS;
    m->vectors = magpie_alloc(m->drawn * m->dimension, sizeof *m->vectors);
    if (!m->vectors) return MAGPIE_E_NO_MEMORY;
    magpie_text_printf(&m->text, "{\"ids\": [");
    for (size_t i = 0; i < m->drawn; i++) {
        const point *p = &m->points[i * m->n / m->drawn];
        magpie_text_append(&m->text, ", ", i ? 2 : 0);
        magpie_text_json_string(&m->text, p->id.data, p->id.size);
        memcpy(m->vectors + i * m->dimension, p->vector, m->dimension * sizeof *m->vectors);
    }
    return MAGPIE_OK;
}

/* The snapshot is closed before the work begins: a long one is in the writers' way. */
static magpie_status gather(magpie_store *store, making *m) {
    magpie_space_binding binding = {0};
    magpie_status status = magpie_snapshot_open(store, &m->snapshot);
    if (status != MAGPIE_OK) return status;
    status = magpie_snapshot_sequence(m->snapshot, &m->sequence);
    if (status == MAGPIE_OK) status = magpie_snapshot_get_binding(m->snapshot, MAGPIE_SPACE_FUSED, &binding);
    m->dimension = binding.dimension;
    if (status == MAGPIE_OK && m->dimension) status = magpie_snapshot_each(m->snapshot, 0, take_item, m);
    if (status == MAGPIE_OK) status = draw(m);
    magpie_snapshot_close(m->snapshot);
    return status;
}

/* The middle of all to 0, the farthest coordinate to 1. */
static void fit(float *places, size_t n) {
    float middle[2], most = 0;
    for (size_t c = 0; c < 2; c++) {
        float low = INFINITY, high = -INFINITY;
        for (size_t i = 0; i < n; i++) {
            low = fminf(low, places[2 * i + c]);
            high = fmaxf(high, places[2 * i + c]);
        }
        middle[c] = (low + high) / 2;
        most = fmaxf(most, (high - low) / 2);
    }
    for (size_t i = 0; i < 2 * n; i++) places[i] = most > 0 ? (places[i] - middle[i % 2]) / most : 0;
}

static magpie_status place(making *m) {
    double explained[2] = {0};
    float *places = magpie_alloc(m->drawn * 2, sizeof *places);
    if (!places) return MAGPIE_E_NO_MEMORY;
    magpie_status status = magpie_neighbour_map(m->vectors, m->drawn, m->dimension, places, explained);
    if (status == MAGPIE_OK) fit(places, m->drawn);
    for (size_t c = 0; c < 2 && status == MAGPIE_OK; c++) {
        magpie_text_printf(&m->text, "], \"%c\": [", "xy"[c]);
        for (size_t i = 0; i < m->drawn; i++)
            magpie_text_printf(&m->text, i ? ", %.4f" : "%.4f", (double)places[2 * i + c]);
    }
    magpie_text_printf(&m->text, "], \"dimension\": %zu, \"explained\": [%.6g, %.6g]}\n", m->dimension,
                       explained[0], explained[1]);
    free(places);
    return status == MAGPIE_OK ? magpie_text_status(&m->text) : status;
}

/* ---- giving it ----------------------------------------------------------------------------------------- */

static void give(http_request *r) {
    catalogue_map *map = r->server->map;
    magpie_text out = {0};
    pthread_mutex_lock(&map->lock);
    magpie_text_append(&out, map->answer.data, map->answer.size);
    pthread_mutex_unlock(&map->lock);
    http_answer_json(r, MHD_HTTP_OK, &out);
}

static bool holds(catalogue_map *map, uint64_t now) {
    pthread_mutex_lock(&map->lock);
    const bool fresh =
                   map->sequence == now || map->making || magpie_seconds() - map->made < patience * map->cost,
               there = map->answer.size;
    pthread_mutex_unlock(&map->lock);
    return there && fresh;
}

/* Whether it is this one who is to. */
static bool begin_making(catalogue_map *map) {
    pthread_mutex_lock(&map->lock);
    const bool begins = !map->making;
    map->making = true;
    pthread_mutex_unlock(&map->lock);
    return begins;
}

/* Gives it to those who wait; what they would have been told in its place is this thread's last failure. */
static void end_making(http_request *r, making *m, magpie_status status, double cost) {
    catalogue_map *map = r->server->map;
    pthread_mutex_lock(&map->lock);
    http_request *waiting = map->waiting, *next;
    map->waiting = NULL;
    map->making = false;
    if (status == MAGPIE_OK) {
        magpie_text old = map->answer;
        map->answer = m->text;
        m->text = old;
        map->sequence = m->sequence;
        map->made = magpie_seconds();
        map->cost = cost;
    }
    pthread_mutex_unlock(&map->lock);
    for (http_request *one = waiting; one; one = next) {
        next = one->next;
        if (status == MAGPIE_OK)
            give(one);
        else
            http_failure(one, status, NULL);
        http_resume(one);
    }
}

/* With the connection asleep. Where it has been made meanwhile, the handler finds it. */
static void wait_for_it(http_request *r) {
    catalogue_map *map = r->server->map;
    pthread_mutex_lock(&map->lock);
    const bool making = map->making;
    if (making) {
        r->next = map->waiting;
        map->waiting = r;
    }
    pthread_mutex_unlock(&map->lock);
    if (!making) http_resume(r);
}

static http_outcome make(http_request *r) {
    making m = {0};
    const double began = magpie_seconds();
    magpie_status status = gather(r->view.store, &m);
    if (status == MAGPIE_OK) status = place(&m);
    end_making(r, &m, status, magpie_seconds() - began);
    if (status == MAGPIE_OK)
        give(r);
    else
        http_failure(r, status, NULL);
    free(m.points);
    free(m.vectors);
    magpie_text_free(&m.text);
    return HTTP_DONE;
}

http_outcome map_get(http_request *r) {
    magpie_snapshot *snapshot;
    uint64_t now;
    magpie_status status = magpie_snapshot_open(r->view.store, &snapshot);
    if (status != MAGPIE_OK) return http_failure(r, status, NULL);
    status = magpie_snapshot_sequence(snapshot, &now);
    magpie_snapshot_close(snapshot);
    if (status != MAGPIE_OK) return http_failure(r, status, NULL);
    if (holds(r->server->map, now)) return give(r), HTTP_DONE;
    if (!r->on_worker) return http_move_to_worker(r);
    if (begin_making(r->server->map)) return make(r);
    r->submit = wait_for_it;
    return HTTP_WAIT;
}
