/* pending.c - what is encoded together, and what one bad item among many does: it is refused alone.
 *
 * TEXTS. The encoder fails as a whole, naming no more than an index, so a block that it refuses is given to
 * it once more, text by text. That is slow and hardly ever happens: the catalogue's lines were checked
 * before.
 *
 * PICTURES are bad more often, and the encoder says of each how it fared. An item whose picture is refused
 * goes on without it.
 *
 * ROWS. All vectors of an item share a row, and an index looks at new rows alone. So where one of them
 * changes, the others are read out of the store and put again beside it; where none does, the row stays. */
#include "pending.h"
#include "pictures.h"

#include <stdlib.h>
#include <string.h>

enum {
    BLOCK_TEXTS = 1024,
    BLOCK_BYTES = 32768, /* of text: some tenth of a second's work, after which a job can be stopped */
    BLOCK_PICTURES = 512,
    PICTURES_A_THREAD =
        8 /* of a block: few enough to stop soon, enough for no thread to wait long at its end */
};

magpie_status magpie_pending_add(magpie_pending *pending, magpie_catalogue_line *line,
                                 const magpie_line *source, const magpie_vector_plan *plan) {
    magpie_status status =
        magpie_grow((void **)&pending->items, &pending->capacity, pending->count + 1, sizeof *pending->items);
    if (status != MAGPIE_OK) return status;
    magpie_pending_item *item = &pending->items[pending->count++];
    *item = (magpie_pending_item){.line = *line, .number = source->number, .plan = *plan};
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
    for (size_t i = 0; i < pending->count; i++) {
        magpie_catalogue_line_free(&pending->items[i].line);
        free(pending->items[i].problems);
    }
    for (unsigned s = 0; s < MAGPIE_SPACES; s++) pending->vectors[s].used = 0;
    pending->count = pending->bytes = 0;
    pending->new_rows = false;
}

void magpie_pending_free(magpie_pending *pending) {
    magpie_pending_clear(pending);
    for (unsigned s = 0; s < MAGPIE_SPACES; s++) free(pending->vectors[s].data);
    free(pending->items);
    *pending = (magpie_pending){0};
}

/* ---- encoding ------------------------------------------------------------------------------------------ */

static bool concerns_one_item(magpie_status status) {
    return status == MAGPIE_E_INPUT || status == MAGPIE_E_TOO_LARGE;
}

static bool is_wanted(const magpie_pending_item *item, magpie_space space) {
    return item->plan.state[space] == MAGPIE_VECTOR_WANTED && !item->refused;
}

/* Room for n vectors more; *out is where they go. */
static magpie_status reserve(magpie_pending *pending, magpie_space space, size_t n, float **out) {
    struct magpie_pending_vectors *v = &pending->vectors[space];
    magpie_status status = magpie_grow((void **)&v->data, &v->capacity, v->used + n,
                                       pending->dimensions[space] * sizeof *v->data);
    if (status == MAGPIE_OK) *out = v->data + v->used * pending->dimensions[space];
    return status;
}

static void note_made(magpie_pending_item *item, magpie_space space, size_t at) {
    item->plan.state[space] = MAGPIE_VECTOR_MADE;
    item->made[space] = at;
}

/* ---- texts ---- */

/* Some items whose texts are encoded by one call. */
typedef struct text_block {
    magpie_pending_item *items[BLOCK_TEXTS];
    magpie_string texts[BLOCK_TEXTS];
    size_t n, bytes;
} text_block;

/* Takes in items from *next on, until the block is full. */
static void fill_texts(magpie_pending *pending, size_t *next, text_block *b) {
    b->n = b->bytes = 0;
    for (; *next < pending->count && b->n < BLOCK_TEXTS && b->bytes < BLOCK_BYTES; ++*next) {
        magpie_pending_item *item = &pending->items[*next];
        if (!is_wanted(item, MAGPIE_SPACE_TEXT)) continue;
        b->items[b->n] = item;
        b->texts[b->n++] = item->line.item.text;
        b->bytes += item->line.item.text.size;
    }
}

static magpie_status encode_texts(magpie_pending *pending, magpie_text_encoder *encoder,
                                  magpie_pending_item **items, const magpie_string *texts, size_t n) {
    float *out;
    magpie_status status = reserve(pending, MAGPIE_SPACE_TEXT, n, &out);
    if (status == MAGPIE_OK) status = magpie_text_encoder_encode(encoder, texts, n, MAGPIE_PASSAGE, out);
    for (size_t i = 0; i < n && status == MAGPIE_OK; i++)
        note_made(items[i], MAGPIE_SPACE_TEXT, pending->vectors[MAGPIE_SPACE_TEXT].used++);
    return status;
}

static magpie_status encode_text_block(magpie_pending *pending, magpie_text_encoder *encoder, text_block *b,
                                       const magpie_pending_hooks *hooks) {
    magpie_status status = encode_texts(pending, encoder, b->items, b->texts, b->n);
    if (!concerns_one_item(status)) return status;
    for (size_t i = 0; i < b->n; i++) {
        status = encode_texts(pending, encoder, &b->items[i], &b->texts[i], 1);
        if (concerns_one_item(status)) status = hooks->refused(hooks->context, b->items[i]);
        if (status != MAGPIE_OK) return status;
    }
    return MAGPIE_OK;
}

static magpie_status encode_all_texts(magpie_pending *pending, magpie_text_encoder *encoder,
                                      const magpie_pending_hooks *hooks) {
    text_block *b = magpie_alloc(1, sizeof *b);
    if (!b) return MAGPIE_E_NO_MEMORY;
    magpie_status status = MAGPIE_OK;
    for (size_t next = 0; next < pending->count && status == MAGPIE_OK;) {
        fill_texts(pending, &next, b);
        if (!b->n) break;
        status = encode_text_block(pending, encoder, b, hooks);
        if (status == MAGPIE_OK) status = hooks->encoded(hooks->context);
    }
    free(b);
    return status;
}

/* ---- pictures ---- */

typedef struct picture_block {
    magpie_pending_item *items[BLOCK_PICTURES];
    magpie_media images[BLOCK_PICTURES];
    char *paths[BLOCK_PICTURES]; /* owned */
    magpie_outcome outcomes[BLOCK_PICTURES];
    size_t n, most;
} picture_block;

/* As much of the words as is UTF-8: they were cut to fit, maybe in the middle of a character. */
static magpie_string whole_characters(const char *words) {
    magpie_string s = {words, strlen(words)};
    while (s.size && magpie_utf8_check(s) != MAGPIE_OK) s.size--;
    return s;
}

/* The item goes on without its picture, and the words say why. With `try_again` it is forgotten that this
 * one was tried: a file that the system refused to read may be readable without having changed. */
static magpie_status refuse_picture(magpie_pending_item *item, bool try_again, const char *words,
                                    const magpie_pending_hooks *hooks) {
    magpie_text problems = {0};
    magpie_string reason = whole_characters(words);
    magpie_text_printf(&problems, "%s%.*s", MAGPIE_IMAGE_PROBLEM, (int)reason.size, reason.data);
    if (magpie_text_status(&problems) != MAGPIE_OK) return MAGPIE_E_NO_MEMORY;
    item->problems = problems.data;
    item->line.item.problems = (magpie_string){problems.data, problems.size};
    item->plan.state[MAGPIE_SPACE_IMAGE] = MAGPIE_VECTOR_NONE;
    if (try_again) item->line.item.encoded_hash[MAGPIE_SPACE_IMAGE] = 0;
    return hooks->picture_refused(hooks->context, item);
}

/* These say nothing of the picture: the job ends. */
static bool is_no_fault_of_a_picture(magpie_status status) {
    return status == MAGPIE_E_NO_MEMORY || status == MAGPIE_E_INTERNAL || status == MAGPIE_E_CANCELLED;
}

static magpie_status add_picture(picture_block *b, magpie_pending_item *item, const char *catalogue,
                                 const magpie_pending_hooks *hooks) {
    char *path = magpie_catalogue_resolve(catalogue, item->line.item.image);
    if (!path) return MAGPIE_E_NO_MEMORY;
    magpie_status status = magpie_picture_check(path);
    if (status != MAGPIE_OK) {
        free(path);
        return is_no_fault_of_a_picture(status) ? status : refuse_picture(item, false, magpie_error(), hooks);
    }
    b->items[b->n] = item;
    b->images[b->n] = (magpie_media){.path = path};
    b->paths[b->n++] = path;
    return MAGPIE_OK;
}

static void clear_pictures(picture_block *b) {
    for (size_t i = 0; i < b->n; i++) free(b->paths[i]);
    b->n = 0;
}

static magpie_status fill_pictures(magpie_pending *pending, size_t *next, const char *catalogue,
                                   picture_block *b, const magpie_pending_hooks *hooks) {
    magpie_status status = MAGPIE_OK;
    clear_pictures(b);
    for (; *next < pending->count && b->n < b->most && status == MAGPIE_OK; ++*next)
        if (is_wanted(&pending->items[*next], MAGPIE_SPACE_IMAGE))
            status = add_picture(b, &pending->items[*next], catalogue, hooks);
    return status;
}

static magpie_status encode_picture_block(magpie_pending *pending, magpie_image_encoder *encoder,
                                          picture_block *b, const magpie_pending_hooks *hooks) {
    float *out;
    magpie_status status = reserve(pending, MAGPIE_SPACE_IMAGE, b->n, &out);
    if (status == MAGPIE_OK) status = magpie_image_encoder_encode(encoder, b->images, b->n, out, b->outcomes);
    for (size_t i = 0; i < b->n && status == MAGPIE_OK; i++) {
        const magpie_outcome *outcome = &b->outcomes[i];
        size_t at =
            pending->vectors[MAGPIE_SPACE_IMAGE].used++; /* of a refused one: zeros that no one names */
        if (outcome->status == MAGPIE_OK)
            note_made(b->items[i], MAGPIE_SPACE_IMAGE, at);
        else if (is_no_fault_of_a_picture(outcome->status))
            status = magpie_fail(outcome->status, "%s: %s", b->paths[i], outcome->reason);
        else
            status = refuse_picture(b->items[i], outcome->status == MAGPIE_E_IO, outcome->reason, hooks);
    }
    return status;
}

static magpie_status encode_all_pictures(magpie_pending *pending, magpie_image_encoder *encoder,
                                         const char *catalogue, const magpie_pending_hooks *hooks) {
    picture_block *b = magpie_alloc(1, sizeof *b);
    if (!b) return MAGPIE_E_NO_MEMORY;
    size_t threads = magpie_image_encoder_get_info(encoder)->threads;
    b->most = threads < BLOCK_PICTURES / PICTURES_A_THREAD ? threads * PICTURES_A_THREAD : BLOCK_PICTURES;
    magpie_status status = MAGPIE_OK;
    for (size_t next = 0; next < pending->count && status == MAGPIE_OK;) {
        status = fill_pictures(pending, &next, catalogue, b, hooks);
        if (status == MAGPIE_OK && b->n) status = encode_picture_block(pending, encoder, b, hooks);
        if (status == MAGPIE_OK) status = hooks->encoded(hooks->context);
    }
    clear_pictures(b);
    free(b);
    return status;
}

magpie_status magpie_pending_encode(magpie_pending *pending, const magpie_ingest_encoders *encoders,
                                    const char *catalogue, const magpie_pending_hooks *hooks) {
    double start = magpie_seconds();
    magpie_status status = encoders->text ? encode_all_texts(pending, encoders->text, hooks) : MAGPIE_OK;
    double between = magpie_seconds();
    pending->text_seconds += between - start;
    if (status == MAGPIE_OK && encoders->image)
        status = encode_all_pictures(pending, encoders->image, catalogue, hooks);
    pending->image_seconds += magpie_seconds() - between;
    return status;
}

/* ---- storing ------------------------------------------------------------------------------------------- */

/* Until there is fusion, the fused vector is the text's. */
static const float *made_vector(const magpie_pending *pending, const magpie_pending_item *item,
                                magpie_space space) {
    magpie_space source = space == MAGPIE_SPACE_FUSED ? MAGPIE_SPACE_TEXT : space;
    if (item->plan.state[source] != MAGPIE_VECTOR_MADE) return NULL;
    return pending->vectors[source].data + item->made[source] * pending->dimensions[source];
}

static magpie_status put_item(const magpie_pending *pending, const magpie_pending_item *item,
                              magpie_snapshot *snapshot, magpie_batch *batch) {
    const float *vectors[MAGPIE_SPACES] = {0};
    bool same_row = item->plan.row && !pending->new_rows;
    for (unsigned s = 0; s < MAGPIE_SPACES; s++) {
        const float *stored = NULL;
        magpie_status status =
            item->plan.row ? magpie_snapshot_vector(snapshot, s, item->plan.row, &stored) : MAGPIE_OK;
        if (status != MAGPIE_OK) return status;
        vectors[s] = item->plan.state[s] == MAGPIE_VECTOR_KEPT ? stored : made_vector(pending, item, s);
        same_row &= vectors[s] == stored;
    }
    return magpie_batch_put(batch, &item->line.item, same_row ? NULL : vectors, pending->dimensions);
}

magpie_status magpie_pending_put(magpie_pending *pending, magpie_snapshot *snapshot, magpie_batch *batch,
                                 const magpie_pending_hooks *hooks) {
    for (size_t i = 0; i < pending->count; i++) {
        magpie_pending_item *item = &pending->items[i];
        magpie_status status = item->refused ? MAGPIE_OK : put_item(pending, item, snapshot, batch);
        if (concerns_one_item(status)) status = hooks->refused(hooks->context, item);
        if (status != MAGPIE_OK) return status;
    }
    return MAGPIE_OK;
}
