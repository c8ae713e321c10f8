/* pending.c - what is encoded together, and what one bad item among many does: it is refused alone.
 *
 * The encoder fails as a whole, naming no more than an index, so a block that it refuses is given to it once
 * more, text by text. That is slow and hardly ever happens: the catalogue's lines were checked before. */
#include "pending.h"

#include <stdlib.h>
#include <string.h>

enum {
    BLOCK_TEXTS = 1024,
    BLOCK_BYTES = 32768 /* of text: some tenth of a second's work, after which a job can be stopped */
};

magpie_status magpie_pending_add(magpie_pending *pending, magpie_catalogue_line *line,
                                 const magpie_line *source, bool keeps_vectors) {
    magpie_status status =
        magpie_grow((void **)&pending->items, &pending->capacity, pending->count + 1, sizeof *pending->items);
    if (status != MAGPIE_OK) return status;
    magpie_pending_item *item = &pending->items[pending->count++];
    *item = (magpie_pending_item){.line = *line, .number = source->number, .keeps_vectors = keeps_vectors};
    magpie_string start = magpie_reject_start(source);
    memcpy(item->start, start.data, start.size);
    item->start_size = start.size;
    pending->bytes += source->size;
    *line = (magpie_catalogue_line){0};
    return MAGPIE_OK;
}

const magpie_pending_item *magpie_pending_find(const magpie_pending *pending, magpie_string id) {
    for (size_t i = 0; i < pending->count; i++) {
        magpie_string other = pending->items[i].line.item.id;
        if (other.size == id.size && memcmp(other.data, id.data, id.size) == 0) return &pending->items[i];
    }
    return NULL;
}

void magpie_pending_clear(magpie_pending *pending) {
    for (size_t i = 0; i < pending->count; i++) magpie_catalogue_line_free(&pending->items[i].line);
    pending->count = pending->bytes = pending->vectors_used = 0;
}

void magpie_pending_free(magpie_pending *pending) {
    magpie_pending_clear(pending);
    free(pending->items);
    free(pending->vectors);
    *pending = (magpie_pending){0};
}

/* ---- encoding ------------------------------------------------------------------------------------------ */

/* Some items whose texts are encoded by one call. */
typedef struct block {
    magpie_pending_item *items[BLOCK_TEXTS];
    magpie_string texts[BLOCK_TEXTS];
    size_t n, bytes;
} block;

static bool concerns_one_item(magpie_status status) {
    return status == MAGPIE_E_INPUT || status == MAGPIE_E_TOO_LARGE;
}

static bool needs_vector(const magpie_pending_item *item) {
    return item->line.item.text.size && !item->keeps_vectors && !item->encoded && !item->refused;
}

/* Takes in items from *next on, until the block is full. */
static void fill_block(magpie_pending *pending, size_t *next, block *b) {
    b->n = b->bytes = 0;
    for (; *next < pending->count && b->n < BLOCK_TEXTS && b->bytes < BLOCK_BYTES; ++*next) {
        magpie_pending_item *item = &pending->items[*next];
        if (!needs_vector(item)) continue;
        b->items[b->n] = item;
        b->texts[b->n++] = item->line.item.text;
        b->bytes += item->line.item.text.size;
    }
}

static magpie_status encode_texts(magpie_pending *pending, magpie_text_encoder *encoder,
                                  magpie_pending_item **items, const magpie_string *texts, size_t n) {
    float *out = pending->vectors + pending->vectors_used * pending->dimension;
    magpie_status status = magpie_text_encoder_encode(encoder, texts, n, MAGPIE_PASSAGE, out);
    for (size_t i = 0; i < n && status == MAGPIE_OK; i++) {
        items[i]->encoded = true;
        items[i]->vector = pending->vectors_used++;
    }
    return status;
}

static magpie_status encode_block(magpie_pending *pending, magpie_text_encoder *encoder, block *b,
                                  const magpie_pending_hooks *hooks) {
    magpie_status status =
        magpie_grow((void **)&pending->vectors, &pending->vectors_capacity, pending->vectors_used + b->n,
                    pending->dimension * sizeof *pending->vectors);
    if (status != MAGPIE_OK) return status;
    status = encode_texts(pending, encoder, b->items, b->texts, b->n);
    if (!concerns_one_item(status)) return status;
    for (size_t i = 0; i < b->n; i++) {
        status = encode_texts(pending, encoder, &b->items[i], &b->texts[i], 1);
        if (concerns_one_item(status)) status = hooks->refused(hooks->context, b->items[i]);
        if (status != MAGPIE_OK) return status;
    }
    return MAGPIE_OK;
}

magpie_status magpie_pending_encode(magpie_pending *pending, magpie_text_encoder *encoder,
                                    const magpie_pending_hooks *hooks) {
    block *b = magpie_alloc(1, sizeof *b);
    if (!b) return MAGPIE_E_NO_MEMORY;
    pending->dimension = magpie_text_encoder_get_info(encoder)->dimension;
    magpie_status status = MAGPIE_OK;
    for (size_t next = 0; next < pending->count && status == MAGPIE_OK;) {
        fill_block(pending, &next, b);
        if (!b->n) break;
        status = encode_block(pending, encoder, b, hooks);
        if (status == MAGPIE_OK) status = hooks->encoded(hooks->context);
    }
    free(b);
    return status;
}

/* ---- storing ------------------------------------------------------------------------------------------- */

static magpie_status put_item(const magpie_pending *pending, const magpie_pending_item *item,
                              magpie_batch *batch) {
    const float *vector = item->encoded ? pending->vectors + item->vector * pending->dimension : NULL;
    const float *vectors[MAGPIE_SPACES] = {[MAGPIE_SPACE_FUSED] = vector, [MAGPIE_SPACE_TEXT] = vector};
    const size_t dimensions[MAGPIE_SPACES] = {
        [MAGPIE_SPACE_FUSED] = pending->dimension, [MAGPIE_SPACE_TEXT] = pending->dimension};
    if (item->keeps_vectors) return magpie_batch_put(batch, &item->line.item, NULL, NULL);
    return magpie_batch_put(batch, &item->line.item, vectors, dimensions);
}

magpie_status magpie_pending_put(magpie_pending *pending, magpie_batch *batch,
                                 const magpie_pending_hooks *hooks) {
    for (size_t i = 0; i < pending->count; i++) {
        magpie_pending_item *item = &pending->items[i];
        magpie_status status = item->refused ? MAGPIE_OK : put_item(pending, item, batch);
        if (concerns_one_item(status)) status = hooks->refused(hooks->context, item);
        if (status != MAGPIE_OK) return status;
    }
    return MAGPIE_OK;
}
