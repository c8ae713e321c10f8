/* neural_gpu.c - see neural_gpu.h: queues, products, and scores.
 *
 * An item's vector is [gmf | base | bias], its bias -INFINITY where it is not known; one such stands
 * behind all, for items that have come since. Pairs go through the tower some thousands at a time, so that
 * what is between its layers stays in the device's cache. */
#include "neural_gpu.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* ---- lanes ---- */

enum { COPY = 1 << 20 /* elements: what is copied goes through pinned memory as large */ };

magpie_status neural_lane_open(magpie_device device, neural_lane *lane) {
    *lane = (neural_lane){0};
    magpie_status status = gpu_open(device, MAGPIE_PRECISION_F32, &lane->device);
    if (status != MAGPIE_OK || !lane->device) return status;
    lane->arena.device = lane->device;
    status = gpu_base_of(lane->device)->driver->queue_create(lane->device, &lane->queue);
    if (status != MAGPIE_OK) neural_lane_close(lane);
    return status;
}

void neural_lane_close(neural_lane *lane) {
    if (!lane->device) return;
    const gpu_driver *driver = gpu_base_of(lane->device)->driver;
    if (lane->queue) driver->queue_free(lane->queue);
    gpu_arena_free(&lane->arena);
    driver->close(lane->device);
    *lane = (neural_lane){0};
}

gpu_buffer neural_lane_take(neural_lane *lane, size_t elements) {
    gpu_buffer out = {0};
    if (lane->status == MAGPIE_OK)
        lane->status = gpu_arena_take(&lane->arena, elements * sizeof(float), &out);
    return out;
}

void neural_lane_write(neural_lane *lane, gpu_buffer to, size_t first, const void *from, size_t elements) {
    for (size_t i = 0, some; i < elements && lane->status == MAGPIE_OK; i += some) {
        some = elements - i < COPY ? elements - i : COPY;
        lane->status = gpu_driver_of(lane->queue)
                           ->write(lane->queue, to, (first + i) * sizeof(float), (const float *)from + i,
                                   some * sizeof(float));
    }
}

void neural_lane_read(neural_lane *lane, gpu_buffer from, void *to, size_t elements) {
    if (lane->status == MAGPIE_OK)
        lane->status = gpu_driver_of(lane->queue)->read(lane->queue, from, 0, to, elements * sizeof(float));
}

void neural_lane_product(neural_lane *lane, const neural_product *p) {
    enum { ROWS = 64, COLUMNS = 32, DEPTH = 16 }; /* neumf.cl's tile */
    const size_t slices = p->slices ? p->slices : 1,
                 slice = ((p->depth + slices - 1) / slices + DEPTH - 1) / DEPTH * DEPTH;
    if (lane->status != MAGPIE_OK) return;
    lane->status = GPU_RUN(lane->queue, GPU_neumf_product, 0, (p->rows + ROWS - 1) / ROWS,
                           (p->columns + COLUMNS - 1) / COLUMNS, slices, gpu_at(p->a.of), gpu_uint(p->a.at),
                           gpu_uint(p->a.down), gpu_uint(p->a.across), gpu_at(p->b.of), gpu_uint(p->b.at),
                           gpu_uint(p->b.down), gpu_uint(p->b.across), gpu_at(p->c.of), gpu_uint(p->c.at),
                           gpu_uint(p->c.down), gpu_uint(p->rows), gpu_uint(p->columns), gpu_uint(p->depth),
                           gpu_uint(slice), gpu_uint(p->c_slice), gpu_at(p->added), gpu_uint(p->added_at),
                           gpu_uint(p->every), gpu_uint(p->relu), gpu_at(p->mask));
}

/* ---- items ---- */

enum {
    USERS = 1 << 10,   /* at a time */
    NUMBERS = 1 << 22, /* of the first layer, at a time */
    PAIRS = 1 << 16,   /* at most, at a time */
    ITEMS = 1 << 12    /* whose vectors are made at a time */
};

struct neural_gpu {
    neural_lane lane;
    pthread_mutex_t lock; /* of the lane, and what is beneath */
    neural_shape shape;
    size_t items, pairs;                           /* known and not; at a time */
    gpu_buffer vector, half, dense;                /* [items + 1, vector], [items + 1, width 0] */
    gpu_buffer user_vector, user_half, of, logits; /* [USERS, ..], [pairs] */
    gpu_buffer hidden[2];                          /* [pairs, width 0], [pairs, width 1] */
    uint32_t *staged;                              /* [pairs] */
};

static size_t first_width(const neural_shape *s) { return s->layers ? s->width[0] : 0; }

static size_t last_width(const neural_shape *s) { return s->layers ? s->width[s->layers - 1] : 0; }

static void fill_vector(const neural *net, size_t item, float *out) {
    const neural_shape *s = &net->shape;
    const bool known = item < net->prepared && net->known[item];
    memset(out, 0, neural_gpu_vector(s) * sizeof *out);
    out[s->gmf + s->base] = known ? 0 : -INFINITY;
    if (!known) return;
    const float *row = net->item_row + item * s->row;
    memcpy(out, row, s->gmf * sizeof *out);
    if (item < s->items && s->base) memcpy(out + s->gmf, net->base + item * s->base, s->base * sizeof *out);
    if (s->bias) out[s->gmf + s->base] = row[s->row - 1];
}

static void write_items(neural_gpu *g, const neural *net) {
    const size_t n = neural_gpu_vector(&net->shape), width = first_width(&net->shape);
    float *vectors = magpie_alloc(ITEMS * n + width, sizeof *vectors);
    if (!vectors && g->lane.status == MAGPIE_OK) g->lane.status = MAGPIE_E_NO_MEMORY;
    for (size_t first = 0, end; first <= g->items && g->lane.status == MAGPIE_OK; first = end) {
        end = first + ITEMS <= g->items ? first + ITEMS : g->items + 1;
        for (size_t i = first; i < end; i++) fill_vector(net, i, vectors + (i - first) * n);
        neural_lane_write(&g->lane, g->vector, first * n, vectors, (end - first) * n);
    }
    neural_lane_write(&g->lane, g->half, 0, net->item_half, g->items * width);
    if (vectors) {
        memset(vectors, 0, width * sizeof *vectors);
        neural_lane_write(&g->lane, g->half, g->items * width, vectors, width);
    }
    free(vectors);
}

static void fill(neural_gpu *g, const neural *net) {
    const neural_shape *s = &g->shape;
    const size_t width = first_width(s), second = s->layers > 1 ? s->width[1] : 0;
    g->pairs = width && NUMBERS / width < PAIRS ? NUMBERS / width : PAIRS;
    g->vector = neural_lane_take(&g->lane, (g->items + 1) * neural_gpu_vector(s));
    g->half = neural_lane_take(&g->lane, (g->items + 1) * width);
    g->dense = neural_lane_take(&g->lane, s->dense);
    g->user_vector = neural_lane_take(&g->lane, USERS * neural_gpu_vector(s));
    g->user_half = neural_lane_take(&g->lane, USERS * width);
    g->of = neural_lane_take(&g->lane, g->pairs);
    g->logits = neural_lane_take(&g->lane, g->pairs);
    g->hidden[0] = neural_lane_take(&g->lane, g->pairs * width);
    g->hidden[1] = neural_lane_take(&g->lane, g->pairs * second);
    g->staged = magpie_alloc(g->pairs, sizeof *g->staged);
    if (!g->staged && g->lane.status == MAGPIE_OK) g->lane.status = MAGPIE_E_NO_MEMORY;
    neural_lane_write(&g->lane, g->dense, 0, net->table[TABLE_DENSE].values, s->dense);
    write_items(g, net);
}

magpie_status neural_gpu_open(const neural *net, magpie_device device, neural_gpu **out) {
    neural_lane lane;
    *out = NULL;
    magpie_status status = neural_lane_open(device, &lane);
    if (status != MAGPIE_OK || !lane.device) return status;
    neural_gpu *g = magpie_alloc(1, sizeof *g);
    if (!g) return neural_lane_close(&lane), MAGPIE_E_NO_MEMORY;
    g->lane = lane;
    g->shape = net->shape;
    g->items = net->prepared;
    pthread_mutex_init(&g->lock, NULL);
    fill(g, net);
    status = g->lane.status;
    if (status == MAGPIE_OK)
        *out = g;
    else
        neural_gpu_close(g);
    return status;
}

void neural_gpu_close(neural_gpu *g) {
    if (!g) return;
    neural_lane_close(&g->lane);
    pthread_mutex_destroy(&g->lock);
    free(g->staged);
    free(g);
}

/* ---- scores ---- */

static void run_tower(neural_gpu *g, gpu_buffer of, size_t first, size_t each, size_t count) {
    const neural_shape *s = &g->shape;
    if (!s->layers) return;
    NEURAL_RUN(&g->lane, GPU_neumf_first, count * s->width[0], gpu_at(g->user_half), gpu_at(g->half),
               gpu_at(of), gpu_at(g->hidden[0]), gpu_uint(first), gpu_uint(each), gpu_uint(count),
               gpu_uint(s->width[0]));
    for (size_t l = 1; l < s->layers; l++) {
        const size_t in = s->width[l - 1], out = s->width[l];
        neural_lane_product(&g->lane, &(neural_product){.a = {g->hidden[(l - 1) % 2], 0, in, 1},
                                                        .b = {g->dense, s->layer[l], out, 1},
                                                        .c = {g->hidden[l % 2], 0, out, 1},
                                                        .rows = count,
                                                        .columns = out,
                                                        .depth = in,
                                                        .added = g->dense,
                                                        .added_at = s->layer_bias[l],
                                                        .every = UINT32_MAX,
                                                        .relu = true});
    }
}

/* Pairs first .. first+count-1 of the users whose vectors are there; `items` is the first pair's. */
static void score_some(neural_gpu *g, size_t first, size_t each, size_t count, const uint32_t *items,
                       float *scores) {
    const neural_shape *s = &g->shape;
    const gpu_buffer of = items ? g->of : (gpu_buffer){0};
    for (size_t i = 0; i < count && items; i++)
        g->staged[i] = items[i] < g->items ? items[i] : (uint32_t)g->items;
    if (items) neural_lane_write(&g->lane, of, 0, g->staged, count);
    run_tower(g, of, first, each, count);
    NEURAL_RUN(&g->lane, GPU_neumf_logits, count, gpu_at(g->user_vector), gpu_at(g->vector),
               gpu_uint(neural_gpu_vector(s)), gpu_at(of),
               gpu_at(g->hidden[s->layers ? (s->layers - 1) % 2 : 0]), gpu_at(g->dense), gpu_uint(s->out_gmf),
               gpu_uint(s->out_mlp), gpu_uint(s->out_bias), gpu_uint(s->gmf + s->base),
               gpu_uint(last_width(s)), gpu_uint(true), gpu_uint(false), gpu_uint(first), gpu_uint(each),
               gpu_uint(count), gpu_at(g->logits));
    neural_lane_read(&g->lane, g->logits, scores, count);
}

magpie_status neural_gpu_score(neural_gpu *g, const float *vectors, const float *halves, size_t users,
                               const uint32_t *items, size_t each, float *scores) {
    const size_t n = neural_gpu_vector(&g->shape), width = first_width(&g->shape),
                 most = each > UINT32_MAX / USERS ? 1 : USERS;
    if (!items && each > g->items)
        return magpie_fail(MAGPIE_E_ARGUMENT, "%zu items are asked for of %zu", each, g->items);
    pthread_mutex_lock(&g->lock);
    g->lane.status = MAGPIE_OK;
    for (size_t user = 0, some; user < users && each; user += some) {
        some = users - user < most ? users - user : most;
        neural_lane_write(&g->lane, g->user_vector, 0, vectors + user * n, some * n);
        neural_lane_write(&g->lane, g->user_half, 0, halves + user * width, some * width);
        for (size_t first = 0, count; first < some * each; first += count) {
            const size_t at = user * each + first;
            count = some * each - first < g->pairs ? some * each - first : g->pairs;
            score_some(g, first, each, count, items ? items + at : NULL, scores + at);
        }
    }
    magpie_status status = g->lane.status;
    pthread_mutex_unlock(&g->lock);
    return status;
}
