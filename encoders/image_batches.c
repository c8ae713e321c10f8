/* image_batches.c - see image_batches.h.
 *
 * Two threads do the same by turns: take the next pictures, have them decoded (which one of them does at a
 * time, with the pool's threads), run them. Lanes and memory are as large as the largest batch was, so
 * single queries take little. */
#include "image_batches.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum {
    LANES = 2,
    A_BATCH = 256,    /* pictures at most */
    LEAST = 32,       /* pictures; fewer leave most of a GPU idle */
    A_TURN = 4,       /* batches */
    MEMORY_SHARE = 4, /* of the device's, one part is for activations */
};

struct image_batches {
    resnet *network;
    const image_preprocess *preprocess;
    magpie_pool *pool, *drivers; /* drivers: one a lane */
    bool unit;
    size_t most; /* pictures in a batch */
    pthread_mutex_t decoding;
    struct batch {
        resnet_lane *lane;
        size_t room;            /* pictures, of the lane */
        image_packed *pictures; /* [A_BATCH] */
        bool fine[A_BATCH];
        size_t first, n; /* of the call */
    } batches[LANES];
};

/* What the lanes of one call share. */
typedef struct call {
    image_batches *batches;
    image_source source; /* NULL: pixels */
    void *context;
    const uint8_t *pixels;
    size_t n, each, next; /* pictures; of a batch; that nobody has taken. `next` with the lock `decoding` */
    float *out;
} call;

magpie_status image_batches_create(resnet *network, const image_preprocess *preprocess, magpie_pool *pool,
                                   size_t memory, bool unit, image_batches **out) {
    image_batches *b = magpie_alloc(1, sizeof *b);
    if (!b) return MAGPIE_E_NO_MEMORY;
    *b = (image_batches){
        .network = network, .preprocess = preprocess, .pool = pool, .unit = unit, .most = A_BATCH};
    const size_t room = memory / MEMORY_SHARE / LANES, each = resnet_picture_bytes(network);
    while (b->most > 1 && b->most * each > room) b->most /= 2;
    pthread_mutex_init(&b->decoding, NULL);
    magpie_status status = magpie_pool_create(LANES, &b->drivers);
    for (int i = 0; i < LANES; i++)
        if (!(b->batches[i].pictures = magpie_alloc(A_BATCH, sizeof(image_packed))))
            status = MAGPIE_E_NO_MEMORY;
    if (status == MAGPIE_OK)
        *out = b;
    else
        image_batches_free(b);
    return status;
}

void image_batches_free(image_batches *b) {
    if (!b) return;
    for (int i = 0; i < LANES; i++) {
        struct batch *batch = &b->batches[i];
        resnet_lane_free(batch->lane);
        for (size_t k = 0; batch->pictures && k < A_BATCH; k++) image_packed_free(&batch->pictures[k]);
        free(batch->pictures);
    }
    magpie_pool_free(b->drivers);
    pthread_mutex_destroy(&b->decoding);
    free(b);
}

size_t image_batches_turn(const image_batches *b) { return A_TURN * b->most; }

/* ---- a batch ---- */

typedef struct decoding {
    const call *call;
    struct batch *batch;
} decoding;

static magpie_status decode_task(void *context, size_t task, unsigned worker) {
    const decoding *d = context;
    struct batch *batch = d->batch;
    return d->call->source(d->call->context, batch->first + task, worker, &batch->pictures[task],
                           &batch->fine[task]);
}

/* The next pictures of the call, decoded; n 0: there are none. */
static magpie_status take(call *c, struct batch *batch) {
    magpie_status status = MAGPIE_OK;
    pthread_mutex_lock(&c->batches->decoding);
    batch->first = c->next;
    batch->n = c->n - c->next < c->each ? c->n - c->next : c->each;
    c->next += batch->n;
    if (c->source) status = magpie_pool_run(c->batches->pool, batch->n, decode_task, &(decoding){c, batch});
    if (status != MAGPIE_OK) c->next = c->n; /* the other lane need not go on */
    pthread_mutex_unlock(&c->batches->decoding);
    return status;
}

/* A lane for `n` pictures; a larger one than before takes its place. */
static magpie_status need_lane(image_batches *b, struct batch *batch, size_t n) {
    if (batch->room >= n) return MAGPIE_OK;
    size_t room = 1;
    while (room < n) room *= 2;
    resnet_lane_free(batch->lane);
    batch->lane = NULL;
    batch->room = 0;
    magpie_status status = resnet_lane_create(b->network, 1, room, &batch->lane);
    if (status == MAGPIE_OK) batch->room = room;
    return status;
}

/* Pictures that are fine to the front, each with its memory; how many. */
static size_t gather(struct batch *batch) {
    size_t count = 0;
    for (size_t i = 0; i < batch->n; i++) {
        if (!batch->fine[i]) continue;
        const image_packed keep = batch->pictures[count];
        batch->pictures[count++] = batch->pictures[i];
        batch->pictures[i] = keep;
    }
    return count;
}

/* The vectors of `count` pictures that were fine, one behind the other, each to its picture's place. */
static void spread(const struct batch *batch, size_t count, size_t dimension, float *out) {
    for (size_t i = batch->n; i-- > 0;)
        if (batch->fine[i])
            memmove(out + i * dimension, out + --count * dimension, dimension * sizeof *out);
        else
            memset(out + i * dimension, 0, dimension * sizeof *out);
}

static magpie_status run_batch(const call *c, struct batch *batch) {
    image_batches *b = c->batches;
    const resnet_config *config = resnet_get_config(b->network);
    const size_t dimension = resnet_dimension(config);
    float *out = c->out + batch->first * dimension;
    magpie_status status = need_lane(b, batch, batch->n);
    if (status != MAGPIE_OK) return status;
    if (!c->source)
        return resnet_run(batch->lane, c->pixels + batch->first * config->height * config->width * 3,
                          batch->n, b->preprocess, b->unit, out);
    const size_t count = gather(batch);
    if (count) status = resnet_run_pictures(batch->lane, batch->pictures, count, b->preprocess, b->unit, out);
    if (status == MAGPIE_OK) spread(batch, count, dimension, out);
    return status;
}

/* ---- a call ---- */

static magpie_status drive(void *context, size_t task, unsigned worker) {
    (void)worker;
    call *c = context;
    struct batch *batch = &c->batches->batches[task];
    for (;;) {
        magpie_status status = take(c, batch);
        if (status == MAGPIE_OK && batch->n > 0) status = run_batch(c, batch);
        if (status != MAGPIE_OK || batch->n == 0) return status;
    }
}

static magpie_status run_call(call c) {
    image_batches *b = c.batches;
    /* What one batch could hold is cut, too: a part is decoded while the one before it runs. */
    c.each = (c.n + 2 * LANES - 1) / (2 * LANES);
    if (c.each < LEAST) c.each = LEAST;
    if (c.each > b->most) c.each = b->most;
    return magpie_pool_run(b->drivers, c.n > c.each ? LANES : 1, drive, &c);
}

magpie_status image_batches_run(image_batches *b, image_source source, void *context, size_t n, float *out) {
    return run_call((call){.batches = b, .source = source, .context = context, .n = n, .out = out});
}

magpie_status image_batches_run_pixels(image_batches *b, const uint8_t *pixels, size_t n, float *out) {
    return run_call((call){.batches = b, .pixels = pixels, .n = n, .out = out});
}
