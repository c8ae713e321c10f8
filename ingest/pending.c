/* pending.c - what is encoded together, and what one bad item among many does: it is refused alone.
 *
 * TEXTS. The encoder fails as a whole, naming no more than an index, so a block that it refuses is given to
 * it once more, text by text. That is slow and hardly ever happens: the catalogue's lines were checked
 * before.
 *
 * PICTURES AND SOUNDS are bad more often, and their encoders say of each how it fared. An item whose file is
 * refused goes on without it.
 *
 * FUSED VECTORS are made last, out of what an item will have: what was made just now and what is kept.
 *
 * ROWS. All vectors of an item share a row, and an index looks at new rows alone. So where one of them
 * changes, the others are read out of the store and put again beside it; where none does, the row stays. */
#include "pending.h"
#include "fused.h"

#include <stdlib.h>
#include <string.h>

enum {
    BLOCK_TEXTS = 1024,
    BLOCK_BYTES = 32768 /* of text: some tenth of a second's work, after which a job can be stopped */
};

magpie_status magpie_pending_add(magpie_pending *pending, magpie_catalogue_line *line,
                                 const magpie_line *source, const magpie_origin *origin,
                                 const magpie_vector_plan *plan) {
    magpie_status status =
        magpie_grow((void **)&pending->items, &pending->capacity, pending->count + 1, sizeof *pending->items);
    if (status != MAGPIE_OK) return status;
    magpie_pending_item *item = &pending->items[pending->count++];
    *item = (magpie_pending_item){.line = *line,
                                  .number = source->number,
                                  .catalogue = origin->catalogue,
                                  .base = origin->base,
                                  .plan = *plan};
    magpie_string start = magpie_reject_start(source);
    memcpy(item->start, start.data, start.size);
    item->start_size = start.size;
    pending->bytes += source->size;
    *line = (magpie_catalogue_line){0};
    for (unsigned m = 0; m < MAGPIE_MEDIA && origin->members; m++) {
        item->members[m] = origin->members[m];
        origin->members[m] = (magpie_member){0};
        if (item->members[m].bytes) pending->bytes += item->members[m].size;
    }
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
        for (unsigned m = 0; m < MAGPIE_MEDIA; m++) free(pending->items[i].members[m].bytes);
    }
    for (unsigned s = 0; s < MAGPIE_SPACES; s++) pending->vectors[s].used = 0;
    pending->count = pending->bytes = 0;
    pending->new_rows = false;
}

void magpie_pending_free(magpie_pending *pending) {
    magpie_pending_clear(pending);
    for (unsigned s = 0; s < MAGPIE_SPACES; s++) free(pending->vectors[s].data);
    free(pending->items);
    free(pending->features);
    free(pending->any);
    magpie_text_free(&pending->labelling.attributes);
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
    if (pending->dry_run) return *out = NULL, MAGPIE_OK;
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
    if (status == MAGPIE_OK && out)
        status = magpie_text_encoder_encode(encoder, texts, n, MAGPIE_PASSAGE, out);
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
        if (concerns_one_item(status)) status = hooks->refused(hooks->context, b->items[i], status);
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

/* ---- pictures and sounds ---- */

/* Encodes what pending items refer to, one kind of file after the other. */
typedef struct file_work {
    magpie_pending *pending;
    const magpie_medium *media;  /* [MAGPIE_MEDIA] */
    const magpie_medium *medium; /* the kind at hand: media[which] */
    unsigned which;
    const magpie_pending_hooks *hooks;
    /* Those that one call encodes. */
    magpie_pending_item *items[MAGPIE_MEDIUM_BLOCK_MAX];
    magpie_media files[MAGPIE_MEDIUM_BLOCK_MAX];
    char *paths[MAGPIE_MEDIUM_BLOCK_MAX]; /* owned; NULL: it is a member */
    magpie_outcome outcomes[MAGPIE_MEDIUM_BLOCK_MAX];
    size_t n;
} file_work;

/* The item goes on without its file, and the words say why. */
static magpie_status refuse(magpie_pending_item *item, const magpie_medium *media, unsigned which,
                            const char *words, const magpie_pending_hooks *hooks) {
    char *problems = magpie_problems_with(item->line.item.problems, media, which, words);
    if (!problems) return MAGPIE_E_NO_MEMORY;
    free(item->problems);
    item->problems = problems;
    item->line.item.problems = magpie_string_of(problems);
    item->plan.state[media[which].space] = MAGPIE_VECTOR_NONE;
    return hooks->file_refused(hooks->context, item, which);
}

/* The same with the file's name in the words as the line has it: who reads them need not know where the
 * catalogue lies. With `try_again` it is forgotten that this one was tried: a file that the system refused
 * to read may be readable without having changed. `path` NULL: it is a member, and they have no name. */
static magpie_status refuse_file(file_work *w, magpie_pending_item *item, const char *path, bool try_again,
                                 const char *words) {
    magpie_text text = {0};
    const char *named = path ? strstr(words, path) : words;
    const magpie_string reference = magpie_medium_reference(w->medium, &item->line.item);
    if (named) {
        magpie_text_append(&text, words, (size_t)(named - words));
        magpie_text_append(&text, reference.data, reference.size);
        if (!path) magpie_text_append(&text, ": ", 2);
        words = path ? named + strlen(path) : words;
    }
    magpie_text_append(&text, words, strlen(words));
    if (try_again) item->line.item.encoded_hash[w->medium->space] = 0;
    magpie_status status = magpie_text_status(&text);
    if (status == MAGPIE_OK) status = refuse(item, w->media, w->which, text.data, w->hooks);
    magpie_text_free(&text);
    return status;
}

/* These say nothing of the file: the job ends. */
static bool is_no_fault_of_a_file(magpie_status status) {
    return status == MAGPIE_E_NO_MEMORY || status == MAGPIE_E_INTERNAL || status == MAGPIE_E_CANCELLED;
}

static magpie_status add_member(file_work *w, magpie_pending_item *item, const magpie_member *member) {
    if (!member->bytes) {
        (void)magpie_fail(MAGPIE_E_TOO_LARGE, "it has %zu bytes; the limit in an archive is %d", member->size,
                          MAGPIE_MEMBER_MAX);
        return refuse(item, w->media, w->which, magpie_error(), w->hooks);
    }
    w->items[w->n] = item;
    w->files[w->n] = (magpie_media){.bytes = {member->bytes, member->size}};
    w->paths[w->n++] = NULL;
    return MAGPIE_OK;
}

static magpie_status add_file(file_work *w, magpie_pending_item *item) {
    const magpie_member *member = &item->members[w->which];
    if (magpie_member_is_there(member)) return add_member(w, item, member);
    char *path = magpie_catalogue_resolve(item->base, magpie_medium_reference(w->medium, &item->line.item));
    if (!path) return MAGPIE_E_NO_MEMORY;
    magpie_status status = magpie_media_check(path);
    if (status != MAGPIE_OK) {
        /* when its line was read it may have been there: it is to be tried again once it is back */
        item->line.item.encoded_hash[w->medium->space] =
            magpie_medium_hash(w->medium, path, magpie_medium_reference(w->medium, &item->line.item));
        if (!is_no_fault_of_a_file(status)) status = refuse_file(w, item, path, false, magpie_error());
        free(path);
        return status;
    }
    w->items[w->n] = item;
    w->files[w->n] = (magpie_media){.path = path};
    w->paths[w->n++] = path;
    return MAGPIE_OK;
}

static void clear_files(file_work *w) {
    for (size_t i = 0; i < w->n; i++) free(w->paths[i]);
    w->n = 0;
}

/* Takes in items from *next on, until the block is full. */
static magpie_status fill_files(file_work *w, size_t *next) {
    magpie_status status = MAGPIE_OK;
    clear_files(w);
    for (; *next < w->pending->count && w->n < w->medium->block && status == MAGPIE_OK; ++*next) {
        magpie_pending_item *item = &w->pending->items[*next];
        if (is_wanted(item, w->medium->space)) status = add_file(w, item);
    }
    return status;
}

/* What was wrong is not in the file: it could not be read, or what it takes was not allowed (picture_bytes). */
static bool may_be_fine_later(magpie_status status) {
    return status == MAGPIE_E_IO || status == MAGPIE_E_NO_SPACE;
}

static magpie_status encode_file_block(file_work *w) {
    const magpie_medium *medium = w->medium;
    float *out;
    magpie_status status = reserve(w->pending, medium->space, w->n, &out);
    if (status == MAGPIE_OK) status = medium->encode(medium->encoder, w->files, w->n, out, w->outcomes);
    for (size_t i = 0; i < w->n && status == MAGPIE_OK; i++) {
        const magpie_outcome *outcome = &w->outcomes[i];
        size_t at = w->pending->vectors[medium->space].used++; /* of a refused one: zeros that no one names */
        if (outcome->status == MAGPIE_OK)
            note_made(w->items[i], medium->space, at);
        else if (is_no_fault_of_a_file(outcome->status))
            status = magpie_fail(outcome->status, "%s: %s",
                                 w->paths[i] ? w->paths[i] : w->items[i]->catalogue, outcome->reason);
        else
            status =
                refuse_file(w, w->items[i], w->paths[i], may_be_fine_later(outcome->status), outcome->reason);
    }
    return status;
}

static magpie_status encode_medium(file_work *w) {
    magpie_status status = MAGPIE_OK;
    for (size_t next = 0; next < w->pending->count && status == MAGPIE_OK;) {
        status = fill_files(w, &next);
        if (status == MAGPIE_OK && w->n) status = encode_file_block(w);
        if (status == MAGPIE_OK) status = w->hooks->encoded(w->hooks->context);
    }
    clear_files(w);
    return status;
}

static magpie_status encode_all_files(magpie_pending *pending, const magpie_medium *media,
                                      const magpie_pending_hooks *hooks) {
    file_work *w = magpie_alloc(1, sizeof *w);
    if (!w) return MAGPIE_E_NO_MEMORY;
    w->pending = pending, w->media = media, w->hooks = hooks;
    magpie_status status = MAGPIE_OK;
    for (unsigned m = 0; m < MAGPIE_MEDIA && status == MAGPIE_OK; m++) {
        double start = magpie_seconds();
        w->medium = &media[w->which = m];
        if (w->medium->encoder) status = encode_medium(w);
        pending->seconds[w->medium->space] += magpie_seconds() - start;
    }
    free(w);
    return status;
}

magpie_status magpie_pending_encode(magpie_pending *pending, magpie_text_encoder *text,
                                    const magpie_medium media[MAGPIE_MEDIA],
                                    const magpie_pending_hooks *hooks) {
    double start = magpie_seconds();
    magpie_status status = text ? encode_all_texts(pending, text, hooks) : MAGPIE_OK;
    pending->seconds[MAGPIE_SPACE_TEXT] += magpie_seconds() - start;
    return status == MAGPIE_OK ? encode_all_files(pending, media, hooks) : status;
}

/* ---- what came with the line ---- */

magpie_status magpie_pending_give(magpie_pending *pending, const magpie_line_vectors *given,
                                  const magpie_medium media[MAGPIE_MEDIA],
                                  const magpie_pending_hooks *hooks) {
    magpie_pending_item *item = &pending->items[pending->count - 1];
    magpie_status status = MAGPIE_OK;
    float *out;
    for (unsigned s = 0; s < MAGPIE_SPACES && status == MAGPIE_OK; s++) {
        if (!given->values[s] || !is_wanted(item, s)) continue;
        status = reserve(pending, s, 1, &out);
        if (status != MAGPIE_OK) break;
        if (out) memcpy(out, given->values[s], pending->dimensions[s] * sizeof *out); /* NULL: a dry run */
        note_made(item, s, pending->vectors[s].used++);
    }
    for (unsigned m = 0; m < MAGPIE_MEDIA && status == MAGPIE_OK; m++)
        if (given->refused[media[m].space] && is_wanted(item, media[m].space))
            status = refuse(item, media, m, given->refused[media[m].space], hooks);
    return status;
}

/* ---- storing ------------------------------------------------------------------------------------------- */

const float *magpie_pending_vector(const magpie_pending *pending, const magpie_pending_item *item,
                                   magpie_space space) {
    if (item->plan.state[space] != MAGPIE_VECTOR_MADE) return NULL;
    return pending->vectors[space].data + item->made[space] * pending->dimensions[space];
}

/* Room to fuse all that are pending; *out is where their vectors go. */
static magpie_status reserve_fusing(magpie_pending *pending, float **out) {
    const size_t n = pending->count, before = pending->fusing_capacity;
    size_t capacity = before;
    magpie_status status =
        magpie_grow((void **)&pending->features, &capacity, n, MAGPIE_MODALITIES * sizeof *pending->features);
    if (status != MAGPIE_OK) return status;
    bool *any = capacity > before ? realloc(pending->any, capacity * sizeof *any) : pending->any;
    if (!any) return magpie_fail(MAGPIE_E_NO_MEMORY, "out of memory");
    pending->any = any;
    pending->fusing_capacity = capacity;
    pending->vectors[MAGPIE_SPACE_FUSED].used = 0;
    return reserve(pending, MAGPIE_SPACE_FUSED, n, out);
}

/* What the item will have in a space but the fused one. */
static magpie_status find_vector(const magpie_pending *pending, const magpie_pending_item *item,
                                 magpie_snapshot *snapshot, magpie_space space, const float **out) {
    *out = NULL;
    if (item->plan.state[space] != MAGPIE_VECTOR_KEPT) {
        *out = magpie_pending_vector(pending, item, space);
        return MAGPIE_OK;
    }
    return item->plan.row ? magpie_snapshot_vector(snapshot, space, item->plan.row, out) : MAGPIE_OK;
}

static bool is_to_be_fused(const magpie_pending_item *item) {
    return !item->refused && item->plan.state[MAGPIE_SPACE_FUSED] == MAGPIE_VECTOR_WANTED;
}

/* All that are wanted, together: heads are matrix products. */
static magpie_status fuse(magpie_pending *pending, magpie_snapshot *snapshot) {
    struct magpie_pending_vectors *made = &pending->vectors[MAGPIE_SPACE_FUSED];
    float *out = NULL;
    if (!pending->fusion || !pending->count) return MAGPIE_OK;
    magpie_status status = reserve_fusing(pending, &out);
    for (size_t i = 0; i < pending->count && status == MAGPIE_OK; i++) {
        magpie_pending_item *item = &pending->items[i];
        if (!is_to_be_fused(item)) continue;
        const float **features = pending->features + made->used * MAGPIE_MODALITIES;
        for (magpie_modality m = 0; m < MAGPIE_MODALITIES && status == MAGPIE_OK; m++)
            status = find_vector(pending, item, snapshot, magpie_space_of_modality(m), &features[m]);
        item->made[MAGPIE_SPACE_FUSED] = made->used++;
    }
    if (status == MAGPIE_OK && made->used)
        status = magpie_fusion_fuse_many(pending->fusion, pending->features, made->used, out, pending->any);
    for (size_t i = 0; i < pending->count && status == MAGPIE_OK; i++)
        if (is_to_be_fused(&pending->items[i]))
            pending->items[i].fused = pending->any[pending->items[i].made[MAGPIE_SPACE_FUSED]];
    return status;
}

/* A file that was refused on the way may have changed what the fused vector is made of. */
static void hash_fused(const magpie_pending *pending, const magpie_vector_plan *plan, magpie_item *item) {
    if (pending->fusion && plan->state[MAGPIE_SPACE_FUSED] != MAGPIE_VECTOR_KEPT)
        item->encoded_hash[MAGPIE_SPACE_FUSED] = magpie_fused_hash(pending->fusion, item->encoded_hash);
}

static magpie_status put_item(magpie_pending *pending, magpie_pending_item *item, magpie_snapshot *snapshot,
                              magpie_batch *batch) {
    const float *vectors[MAGPIE_SPACES] = {0}, *stored[MAGPIE_SPACES] = {0};
    const magpie_vector_plan *plan = &item->plan;
    bool same_row = plan->row && !pending->new_rows;
    magpie_status status = MAGPIE_OK;
    for (unsigned s = 0; s < MAGPIE_SPACES && status == MAGPIE_OK; s++) {
        if (plan->row) status = magpie_snapshot_vector(snapshot, s, plan->row, &stored[s]);
        vectors[s] =
            plan->state[s] == MAGPIE_VECTOR_KEPT ? stored[s] : magpie_pending_vector(pending, item, s);
    }
    if (status != MAGPIE_OK) return status;
    if (is_to_be_fused(item) && item->fused)
        vectors[MAGPIE_SPACE_FUSED] =
            pending->vectors[MAGPIE_SPACE_FUSED].data +
            item->made[MAGPIE_SPACE_FUSED] * pending->dimensions[MAGPIE_SPACE_FUSED];
    for (unsigned s = 0; s < MAGPIE_SPACES; s++) same_row &= vectors[s] == stored[s];
    magpie_item filled = item->line.item;
    hash_fused(pending, plan, &filled);
    status = magpie_labelling_fill(&pending->labelling, item->line.item.attributes, plan->attributes, vectors,
                                   &filled.attributes);
    return status == MAGPIE_OK
               ? magpie_batch_put(batch, &filled, same_row ? NULL : vectors, pending->dimensions)
               : status;
}

magpie_status magpie_pending_put(magpie_pending *pending, magpie_snapshot *snapshot, magpie_batch *batch,
                                 const magpie_pending_hooks *hooks) {
    magpie_status status = fuse(pending, snapshot);
    for (size_t i = 0; i < pending->count && status == MAGPIE_OK; i++) {
        magpie_pending_item *item = &pending->items[i];
        status = item->refused ? MAGPIE_OK : put_item(pending, item, snapshot, batch);
        if (concerns_one_item(status)) status = hooks->refused(hooks->context, item, status);
    }
    return status;
}
