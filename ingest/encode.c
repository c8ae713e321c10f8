/* encode.c - a catalogue to vector lines, without a store: what an ingest does until it would commit, by
 * the same code, so that what comes out is what an ingest would have stored. */
#include "intake.h"
#include "source.h"

#include <stdlib.h>
#include <string.h>

enum { BLOCK_ITEMS = 256, BLOCK_BYTES = 16 << 20 };

typedef struct encoding {
    const magpie_encode_options *options;
    magpie_ingest_options from;
    magpie_text_encoder *text;
    magpie_medium media[MAGPIE_MEDIA];
    magpie_vector_header header;
    magpie_pending pending;
    magpie_sources *sources;
    magpie_text out;
    uint64_t bytes;
    size_t count; /* lines read */
    size_t *refused;
} encoding;

/* MAGPIE_OK where it may be left out. */
static magpie_status bad_line(encoding *e, const char *catalogue, size_t number, magpie_status status) {
    status = magpie_fail(status, "%s, line %zu: %s",
                         strcmp(catalogue, "-") == 0 ? "standard input" : catalogue, number, magpie_error());
    bool concerns_it = status == MAGPIE_E_INPUT || status == MAGPIE_E_TOO_LARGE;
    return concerns_it && e->options->skip && e->options->skip(e->options->context) ? MAGPIE_OK : status;
}

static magpie_status refused(void *context, magpie_pending_item *item, magpie_status why) {
    item->refused = true;
    return bad_line(context, item->catalogue, item->number, why);
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
        !o->progress || o->progress(o->context, e->bytes, magpie_sources_total_bytes(e->sources), e->count);
    return go_on ? MAGPIE_OK : magpie_fail(MAGPIE_E_CANCELLED, "stopped");
}

/* ---- a block -------------------------------------------------------------------------------------------- */

static magpie_status write_items(encoding *e) {
    magpie_status status = MAGPIE_OK;
    magpie_text_clear(&e->out);
    for (size_t i = 0; i < e->pending.count && status == MAGPIE_OK; i++) {
        const magpie_pending_item *item = &e->pending.items[i];
        const float *vectors[MAGPIE_SPACES];
        for (unsigned s = 0; s < MAGPIE_SPACES; s++) vectors[s] = magpie_pending_vector(&e->pending, item, s);
        if (!item->refused)
            status = magpie_vector_line_write(&item->line.item, vectors, &e->header, false, &e->out);
    }
    return status == MAGPIE_OK && e->out.size
               ? e->options->write(e->options->context, (magpie_string){e->out.data, e->out.size})
               : status;
}

static magpie_status flush(encoding *e) {
    const magpie_pending_hooks hooks = {refused, file_refused, encoded_block, e};
    magpie_status status = magpie_pending_encode(&e->pending, e->text, e->media, &hooks);
    if (status == MAGPIE_OK) status = write_items(e);
    magpie_pending_clear(&e->pending);
    return status;
}

/* ---- a line --------------------------------------------------------------------------------------------- */

static magpie_status take_item(encoding *e, const magpie_entry *entry, magpie_catalogue_line *parsed,
                               magpie_member members[MAGPIE_MEDIA]) {
    magpie_origin origin = entry->origin;
    magpie_vector_plan plan = {0};
    magpie_item *item = &parsed->item;
    origin.members = members;
    if (item->text.size && e->text) plan.state[MAGPIE_SPACE_TEXT] = MAGPIE_VECTOR_WANTED;
    for (unsigned m = 0; m < MAGPIE_MEDIA; m++) {
        const magpie_medium *medium = &e->media[m];
        magpie_string reference = magpie_medium_reference(medium, item);
        if (!reference.size || !medium->encoder) continue;
        plan.state[medium->space] = MAGPIE_VECTOR_WANTED;
        /* of what is no file, or not there, the hash is written: so that it is tried where it is */
        item->encoded_hash[medium->space] = magpie_catalogue_is_archived(reference)
                                                ? magpie_member_hash(medium, &members[m])
                                                : MAGPIE_HASH_OF_FILE;
    }
    return magpie_pending_add(&e->pending, parsed, &entry->line, &origin, &plan);
}

/* Bytes of an archive, or of the line. */
static void take_members(const magpie_entry *entry, magpie_string data[MAGPIE_MODALITIES],
                         magpie_member members[MAGPIE_MEDIA]) {
    const magpie_modality of[MAGPIE_MEDIA] = {
        [MAGPIE_MEDIUM_IMAGE] = MAGPIE_IMAGE, [MAGPIE_MEDIUM_AUDIO] = MAGPIE_AUDIO};
    for (unsigned m = 0; m < MAGPIE_MEDIA; m++) {
        members[m] = (magpie_member){(char *)(uintptr_t)data[of[m]].data, data[of[m]].size};
        if (!entry->origin.members || members[m].bytes) continue;
        members[m] = entry->origin.members[m];
        entry->origin.members[m] = (magpie_member){0};
    }
}

static magpie_status take_entry(encoding *e, const magpie_entry *entry) {
    magpie_catalogue_line parsed = {0};
    magpie_string data[MAGPIE_MODALITIES] = {0};
    magpie_member members[MAGPIE_MEDIA] = {0};
    if (!entry->bad && strspn(entry->line.data, " \t\r") == entry->line.size) return MAGPIE_OK;
    magpie_status status =
        entry->bad ? magpie_fail(MAGPIE_E_INPUT, "%s", entry->bad)
                   : magpie_catalogue_parse_data(entry->line.data, entry->line.size, true, &parsed, data);
    take_members(entry, data, members);
    if (status == MAGPIE_OK) status = take_item(e, entry, &parsed, members);
    if (status != MAGPIE_OK) status = bad_line(e, entry->origin.catalogue, entry->line.number, status);
    magpie_catalogue_line_free(&parsed);
    for (unsigned m = 0; m < MAGPIE_MEDIA; m++) free(members[m].bytes);
    return status;
}

/* ---- the run -------------------------------------------------------------------------------------------- */

static magpie_status read_entries(encoding *e) {
    magpie_entry entry;
    bool got;
    magpie_status status;
    while ((status = magpie_sources_next(e->sources, &entry, &got)) == MAGPIE_OK && got) {
        e->bytes = entry.bytes;
        e->count++;
        status = take_entry(e, &entry);
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
    magpie_status status = magpie_sources_open(&e->from, 0, 0, 0, &e->sources);
    if (status == MAGPIE_OK) status = magpie_vector_header_write(&e->header, &e->out);
    return status == MAGPIE_OK
               ? e->options->write(e->options->context, (magpie_string){e->out.data, e->out.size})
               : status;
}

magpie_status magpie_ingest_encode(const magpie_ingest_encoders *encoders,
                                   const magpie_encode_options *options,
                                   size_t refused_out[MAGPIE_MODALITIES]) {
    encoding e = {.options = options, .from = *options->from, .text = encoders->text, .refused = refused_out};
    e.from.line_max = MAGPIE_DATA_LINE_MAX;
    memset(refused_out, 0, MAGPIE_MODALITIES * sizeof *refused_out);
    magpie_status status = begin(&e, encoders);
    if (status == MAGPIE_OK) status = read_entries(&e);
    magpie_sources_close(e.sources);
    magpie_pending_free(&e.pending);
    magpie_text_free(&e.out);
    return status;
}
