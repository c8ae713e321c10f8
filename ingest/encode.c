/* encode.c - a catalogue to vector lines, without a store: what an ingest does until it would commit, by the same
 * code, so that what comes out is what an ingest would have stored. */
#include "intake.h"

#include <stdlib.h>
#include <string.h>

enum { BLOCK_ITEMS = 256, BLOCK_BYTES = 16 << 20 };

typedef struct encoding {
    const magpie_encode_options *options;
    const char *name, *base; /* of the catalogue, in words, and where its references begin */
    magpie_text_encoder *text;
    magpie_medium media[MAGPIE_MEDIA];
    magpie_vector_header header;
    magpie_pending pending;
    magpie_lines *lines;
    magpie_text out, image, audio; /* the last two: names of an item's */
    uint64_t bytes;
    size_t count; /* lines read */
    size_t *refused;
} encoding;

static magpie_status bad_line(encoding *e, size_t number, magpie_status status) {
    status = magpie_fail(status, "%s, line %zu: %s", e->name, number, magpie_error());
    bool concerns_it = status == MAGPIE_E_INPUT || status == MAGPIE_E_TOO_LARGE;
    return concerns_it && e->options->skip && e->options->skip(e->options->context) ? MAGPIE_OK : status;
}

static magpie_status refused(void *context, magpie_pending_item *item, magpie_status why) {
    item->refused = true;
    return bad_line(context, item->number, why);
}

static magpie_status file_refused(void *context, const magpie_pending_item *item, unsigned which) {
    encoding *e = context;
    (void)item;
    e->refused[which == MAGPIE_MEDIUM_IMAGE ? MAGPIE_IMAGE : MAGPIE_AUDIO]++;
    return MAGPIE_OK;
}

static magpie_status encoded_block(void *context) {
    encoding *e = context;
    const magpie_encode_options *o = e->options;
    bool go_on =
        !o->progress || o->progress(o->context, e->bytes, magpie_lines_total_bytes(e->lines), e->count);
    return go_on ? MAGPIE_OK : magpie_fail(MAGPIE_E_CANCELLED, "stopped");
}

/* ---- a block -------------------------------------------------------------------------------------------- */

/* What an item of a store would refer to, of data: URLs. */
static magpie_status name_data(magpie_string *reference, magpie_text *memory) {
    if (!reference->size) return MAGPIE_OK;
    magpie_status status = magpie_catalogue_data_name(*reference, memory);
    *reference = (magpie_string){memory->data, memory->size};
    return status;
}

static magpie_status write_item(encoding *e, const magpie_pending_item *item) {
    const float *vectors[MAGPIE_SPACES];
    magpie_item named = item->line.item;
    for (unsigned s = 0; s < MAGPIE_SPACES; s++) vectors[s] = magpie_pending_vector(&e->pending, item, s);
    magpie_status status = name_data(&named.image, &e->image);
    if (status == MAGPIE_OK) status = name_data(&named.audio, &e->audio);
    return status == MAGPIE_OK ? magpie_vector_line_write(&named, vectors, &e->header, false, &e->out)
                               : status;
}

static magpie_status write_items(encoding *e) {
    magpie_status status = MAGPIE_OK;
    magpie_text_clear(&e->out);
    for (size_t i = 0; i < e->pending.count && status == MAGPIE_OK; i++) {
        const magpie_pending_item *item = &e->pending.items[i];
        if (!item->refused) status = write_item(e, item);
    }
    return status == MAGPIE_OK && e->out.size
               ? e->options->write(e->options->context, (magpie_string){e->out.data, e->out.size})
               : status;
}

static magpie_status flush(encoding *e) {
    const magpie_pending_hooks hooks = {refused, file_refused, encoded_block, e};
    magpie_status status = magpie_pending_encode(&e->pending, e->text, e->media, e->base, &hooks);
    if (status == MAGPIE_OK) status = write_items(e);
    magpie_pending_clear(&e->pending);
    return status;
}

/* ---- a line --------------------------------------------------------------------------------------------- */

static magpie_status take_item(encoding *e, const magpie_line *line, magpie_catalogue_line *parsed) {
    magpie_vector_plan plan = {0};
    magpie_item *item = &parsed->item, named = *item;
    magpie_status status = name_data(&named.image, &e->image);
    if (status == MAGPIE_OK) status = name_data(&named.audio, &e->audio);
    if (status != MAGPIE_OK) return status;
    if (item->text.size && e->text) plan.state[MAGPIE_SPACE_TEXT] = MAGPIE_VECTOR_WANTED;
    for (unsigned m = 0; m < MAGPIE_MEDIA; m++) {
        const magpie_space space = e->media[m].space;
        if (!magpie_medium_reference(&e->media[m], item).size || !e->media[m].encoder) continue;
        plan.state[space] = MAGPIE_VECTOR_WANTED;
        item->encoded_hash[space] = 1; /* what is to be tried again will have 0 */
    }
    return magpie_pending_add(&e->pending, parsed, line, &plan);
}

static magpie_status take_line(encoding *e, const magpie_line *line) {
    magpie_catalogue_line parsed = {0};
    if (!line->too_long && strspn(line->data, " \t\r") == line->size) return MAGPIE_OK;
    magpie_status status = line->too_long
                               ? magpie_fail(MAGPIE_E_TOO_LARGE, "the line has %zu bytes; the limit is %d",
                                             line->size, MAGPIE_DATA_LINE_MAX)
                               : magpie_catalogue_parse_data(line->data, line->size, &parsed);
    if (status == MAGPIE_OK) status = take_item(e, line, &parsed);
    if (status != MAGPIE_OK) status = bad_line(e, line->number, status);
    magpie_catalogue_line_free(&parsed);
    return status;
}

/* ---- the run -------------------------------------------------------------------------------------------- */

static magpie_status read_lines(encoding *e) {
    magpie_line line;
    bool got;
    magpie_status status;
    while ((status = magpie_lines_next(e->lines, &line, &got)) == MAGPIE_OK && got) {
        e->bytes = line.end_offset;
        e->count++;
        status = take_line(e, &line);
        if (status == MAGPIE_OK && (e->pending.count >= BLOCK_ITEMS || e->pending.bytes >= BLOCK_BYTES))
            status = flush(e);
        if (status != MAGPIE_OK) break;
    }
    if (status == MAGPIE_OK) return flush(e);
    /* what came before a bad line is answered, and then it is said */
    char *why = strdup(magpie_error());
    magpie_status before = flush(e);
    if (before == MAGPIE_OK) (void)magpie_fail(status, "%s", why ? why : "out of memory");
    free(why);
    return before == MAGPIE_OK ? status : before;
}

static magpie_status begin(encoding *e, const magpie_ingest_encoders *encoders) {
    if (!encoders->text && !encoders->image && !encoders->audio)
        return magpie_fail(MAGPIE_E_ARGUMENT,
                           "to encode needs an encoder, of texts, of pictures or of sounds");
    magpie_media_describe(encoders, e->media);
    magpie_vector_header_describe(encoders, &e->header);
    for (unsigned s = 0; s < MAGPIE_SPACES; s++) e->pending.dimensions[s] = e->header.of[s].dimension;
    magpie_status status = magpie_lines_open(e->options->catalogue, MAGPIE_DATA_LINE_MAX, 0, 0, &e->lines);
    if (status == MAGPIE_OK) status = magpie_vector_header_write(&e->header, &e->out);
    return status == MAGPIE_OK
               ? e->options->write(e->options->context, (magpie_string){e->out.data, e->out.size})
               : status;
}

magpie_status magpie_ingest_encode(const magpie_ingest_encoders *encoders,
                                   const magpie_encode_options *options,
                                   size_t refused_out[MAGPIE_MODALITIES]) {
    encoding e = {.options = options, .text = encoders->text, .refused = refused_out};
    e.name = strcmp(options->catalogue, "-") == 0 ? "standard input" : options->catalogue;
    e.base = options->media_base ? options->media_base : options->catalogue;
    memset(refused_out, 0, MAGPIE_MODALITIES * sizeof *refused_out);
    magpie_status status = begin(&e, encoders);
    if (status == MAGPIE_OK) status = read_lines(&e);
    magpie_lines_close(e.lines);
    magpie_pending_free(&e.pending);
    magpie_text_free(&e.out);
    magpie_text_free(&e.image);
    magpie_text_free(&e.audio);
    return status;
}
