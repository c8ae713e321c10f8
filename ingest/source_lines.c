/* source_lines.c - a catalogue of JSON lines, compressed or not. */
#include "source.h"
#include "source_bytes.h"

#include <stdlib.h>

typedef struct lines_source {
    magpie_lines *lines;
    magpie_bytes *bytes; /* NULL: it is a plain file */
    size_t line_max;
    char words[96];
} lines_source;

static void close_lines(void *source) {
    lines_source *s = source;
    magpie_lines_close(s->lines);
    magpie_bytes_close(s->bytes);
    free(s);
}

/* A plain file is opened once more, for core's lines, which can go on at a byte. */
static magpie_status open_kind(lines_source *s, const magpie_source_start *start) {
    magpie_status status = magpie_bytes_open(start->path, &s->bytes);
    if (status != MAGPIE_OK) return status;
    if (!magpie_bytes_plain(s->bytes)) {
        const magpie_stream stream = magpie_bytes_stream(s->bytes);
        return magpie_lines_open_stream(&stream, start->path, start->line_max, &s->lines);
    }
    magpie_bytes_close(s->bytes);
    s->bytes = NULL;
    return magpie_lines_open(start->path, start->line_max, start->offset, start->after, &s->lines);
}

static magpie_status open_lines(const magpie_source_start *start, void **out) {
    lines_source *s = magpie_alloc(1, sizeof *s);
    if (!s) return MAGPIE_E_NO_MEMORY;
    s->line_max = start->line_max;
    magpie_status status = open_kind(s, start);
    if (status == MAGPIE_OK)
        *out = s;
    else
        close_lines(s);
    return status;
}

static magpie_status next_line(void *source, magpie_entry *out, bool *got) {
    lines_source *s = source;
    magpie_status status = magpie_lines_next(s->lines, &out->line, got);
    if (status != MAGPIE_OK || !*got) return status;
    if (s->bytes) out->line.end_offset = magpie_bytes_done(s->bytes);
    if (out->line.too_long) {
        snprintf(s->words, sizeof s->words, "the line has %zu bytes; the limit is %zu", out->line.size,
                 s->line_max);
        out->bad = s->words;
    }
    return MAGPIE_OK;
}

const magpie_source_kind magpie_source_lines = {open_lines, next_line, NULL, close_lines};
