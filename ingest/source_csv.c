/* source_csv.c - a catalogue of comma or tab separated values (RFC 4180): a record an item, columns named
 * by the first. libcsv takes records apart, and is fed up to one end of line at a time, so that one ends
 * at most.
 *
 * A record over the limit is not given to it to the end, for it would keep all of it: what is left is
 * passed over up to an end of line outside of quotes. Blanks are part of a cell, as RFC 4180 has it. */
#include "source.h"
#include "source_bytes.h"
#include "source_columns.h"

#include <csv.h>
#include <stdlib.h>
#include <string.h>

enum { READ_BYTES = 1 << 16, START_MAX = 256 /* of a record, for messages */ };

typedef struct csv_source {
    magpie_bytes *bytes;
    struct csv_parser parser;
    bool parser_made;
    unsigned char separator;
    magpie_columns columns;
    size_t number; /* of the last record, without the header */
    /* The record at hand. */
    magpie_text fields; /* one after the other */
    size_t *ends;       /* [count], in fields */
    magpie_string *cells;
    size_t count, ends_capacity, cells_capacity;
    bool complete, quoted; /* its end has been read; an odd number of quotes has */
    magpie_status status;  /* of what libcsv's callbacks did */
    size_t size;           /* bytes of it */
    magpie_text start;     /* the first of them */
    magpie_text line;
    char words[256];
    size_t at, have; /* of the buffer: bytes at .. have are not yet taken */
    bool at_end;
    char buffer[READ_BYTES];
} csv_source;

/* ---- a record ------------------------------------------------------------------------------------------ */

static void take_field(void *data, size_t size, void *context) {
    csv_source *s = context;
    if (size) magpie_text_append(&s->fields, data, size);
    if (s->status == MAGPIE_OK)
        s->status = magpie_grow((void **)&s->ends, &s->ends_capacity, s->count + 1, sizeof *s->ends);
    if (s->status == MAGPIE_OK) s->ends[s->count++] = s->fields.size;
}

static void take_end(int character, void *context) {
    (void)character;
    ((csv_source *)context)->complete = true;
}

/* libcsv would trim blanks. */
static int is_no_blank(unsigned char character) {
    (void)character;
    return 0;
}

static magpie_status begin_parser(csv_source *s) {
    if (s->parser_made) csv_free(&s->parser);
    s->parser_made = csv_init(&s->parser, 0) == 0;
    if (!s->parser_made) return magpie_fail(MAGPIE_E_NO_MEMORY, "out of memory");
    csv_set_delim(&s->parser, s->separator);
    csv_set_space_func(&s->parser, is_no_blank);
    return MAGPIE_OK;
}

static bool is_newline(char c) { return c == '\n' || c == '\r'; }

static magpie_status refill(csv_source *s) {
    if (s->at < s->have || s->at_end) return MAGPIE_OK;
    magpie_status status = magpie_bytes_read(s->bytes, s->buffer, sizeof s->buffer, &s->have);
    s->at = 0;
    if (status != MAGPIE_OK) s->have = 0;
    s->at_end = s->have == 0;
    return status;
}

/* Up to the next end of line, with it, or to the end of the buffer. */
static magpie_string take_piece(csv_source *s) {
    const size_t from = s->at;
    while (s->at < s->have && !is_newline(s->buffer[s->at])) s->quoted ^= s->buffer[s->at++] == '"';
    s->at += s->at < s->have;
    const magpie_string piece = {s->buffer + from, s->at - from};
    const size_t room = START_MAX - s->start.size;
    magpie_text_append(&s->start, piece.data, piece.size < room ? piece.size : room);
    s->size += piece.size;
    return piece;
}

static magpie_status refuse(csv_source *s, const char *words) {
    snprintf(s->words, sizeof s->words, "%s", words);
    return MAGPIE_OK;
}

/* `piece`: the last of it that was read. */
static magpie_status pass_over(csv_source *s, magpie_string piece) {
    magpie_status status = begin_parser(s);
    while (status == MAGPIE_OK && (s->quoted || !is_newline(piece.data[piece.size - 1]))) {
        status = refill(s);
        if (s->at_end) break;
        if (status == MAGPIE_OK) piece = take_piece(s);
    }
    (void)magpie_fail(MAGPIE_E_TOO_LARGE, "the record has %zu bytes; the limit is %d", s->size,
                      MAGPIE_LINE_MAX);
    return status == MAGPIE_OK ? refuse(s, magpie_error()) : status;
}

static magpie_status feed(csv_source *s, magpie_string piece) {
    if (csv_parse(&s->parser, piece.data, piece.size, take_field, take_end, s) != piece.size)
        return magpie_fail(MAGPIE_E_NO_MEMORY, "%s: %s", magpie_bytes_name(s->bytes),
                           csv_strerror(csv_error(&s->parser)));
    return s->status;
}

/* Quotes in the middle of a cell are let be, but not a cell that lacks its last. */
static magpie_status end_of_file(csv_source *s) {
    csv_set_opts(&s->parser, CSV_STRICT | CSV_STRICT_FINI);
    if (csv_fini(&s->parser, take_field, take_end, s) != 0 && !s->complete)
        return refuse(s, "a quoted field does not end");
    return s->status;
}

static void begin_record(csv_source *s) {
    magpie_text_clear(&s->fields);
    magpie_text_clear(&s->start);
    s->count = s->size = 0;
    s->complete = s->quoted = false;
    s->words[0] = 0;
}

/* *got false at the end; s->words, where it is bad. */
static magpie_status next_record(csv_source *s, bool *got) {
    magpie_status status = MAGPIE_OK;
    begin_record(s);
    while (status == MAGPIE_OK && !s->complete && !s->words[0]) {
        if ((status = refill(s)) != MAGPIE_OK) break;
        if (s->at_end) {
            status = s->size ? end_of_file(s) : MAGPIE_OK;
            break;
        }
        if (!s->size && is_newline(s->buffer[s->at])) { /* a blank line, or the end of a CR LF */
            s->at++;
            continue;
        }
        const magpie_string piece = take_piece(s);
        status = s->size > MAGPIE_LINE_MAX ? pass_over(s, piece) : feed(s, piece);
    }
    *got = s->complete || s->words[0];
    return status == MAGPIE_OK ? magpie_text_status(&s->fields) : status;
}

static magpie_status make_cells(csv_source *s) {
    magpie_status status =
        magpie_grow((void **)&s->cells, &s->cells_capacity, s->count + 1, sizeof *s->cells);
    for (size_t c = 0, from = 0; c < s->count && status == MAGPIE_OK; from = s->ends[c++])
        s->cells[c] = (magpie_string){s->fields.data + from, s->ends[c] - from};
    return status;
}

/* One by one: two broken halves beside each other would look whole. */
static magpie_status check_cells(const csv_source *s) {
    for (size_t c = 0; c < s->count; c++)
        if (magpie_utf8_check(s->cells[c]) != MAGPIE_OK)
            return magpie_fail(MAGPIE_E_INPUT, "broken UTF-8 in field %zu: %s", c + 1, magpie_error());
    return MAGPIE_OK;
}

/* ---- the catalogue ------------------------------------------------------------------------------------- */

static magpie_status make_line(csv_source *s) {
    if (s->count != s->columns.count) {
        (void)magpie_fail(MAGPIE_E_INPUT, "the record has %zu fields, the header %zu", s->count,
                          s->columns.count);
        return refuse(s, magpie_error());
    }
    magpie_text_clear(&s->line);
    magpie_status status = make_cells(s);
    if (status == MAGPIE_OK && check_cells(s) != MAGPIE_OK) return refuse(s, magpie_error());
    return status == MAGPIE_OK ? magpie_columns_line(&s->columns, s->cells, &s->line) : status;
}

static magpie_status next_item(void *source, magpie_entry *out, bool *got) {
    csv_source *s = source;
    magpie_status status = next_record(s, got);
    if (status == MAGPIE_OK && *got && !s->words[0]) status = make_line(s);
    if (status != MAGPIE_OK || !*got) return status;
    out->bad = s->words[0] ? s->words : NULL;
    const magpie_text *shown = out->bad ? &s->start : &s->line;
    out->line = (magpie_line){.data = shown->data,
                              .size = shown->size,
                              .number = ++s->number,
                              .end_offset = magpie_bytes_done(s->bytes)};
    return magpie_text_status(shown);
}

static magpie_status read_header(csv_source *s, const char *map) {
    bool got;
    magpie_status status = refill(s);
    if (s->have >= 3 && memcmp(s->buffer, "\xEF\xBB\xBF", 3) == 0)
        s->at = 3; /* what Windows begins files with */
    if (status == MAGPIE_OK) status = next_record(s, &got);
    if (status == MAGPIE_OK && (!got || s->words[0]))
        status = magpie_fail(MAGPIE_E_INPUT, "there is no header that names its columns%s%s", got ? ": " : "",
                             s->words);
    if (status == MAGPIE_OK) status = make_cells(s);
    if (status == MAGPIE_OK) status = check_cells(s);
    return status == MAGPIE_OK ? magpie_columns_begin(&s->columns, s->cells, s->count, map) : status;
}

static void close_csv(void *source) {
    csv_source *s = source;
    magpie_bytes_close(s->bytes);
    if (s->parser_made) csv_free(&s->parser);
    magpie_columns_free(&s->columns);
    magpie_text_free(&s->fields);
    magpie_text_free(&s->start);
    magpie_text_free(&s->line);
    free(s->ends);
    free(s->cells);
    free(s);
}

static magpie_status open_csv(const magpie_source_start *start, void **out) {
    csv_source *s = magpie_alloc(1, sizeof *s);
    if (!s) return MAGPIE_E_NO_MEMORY;
    s->separator = start->format == MAGPIE_CATALOGUE_TSV ? CSV_TAB : CSV_COMMA;
    magpie_status status = magpie_bytes_open(start->path, &s->bytes);
    if (status == MAGPIE_OK) status = begin_parser(s);
    if (status == MAGPIE_OK) {
        status = read_header(s, start->map);
        if (status == MAGPIE_E_INPUT || status == MAGPIE_E_ARGUMENT)
            status = magpie_fail(status, "%s: %s", start->path, magpie_error());
    }
    if (status == MAGPIE_OK)
        *out = s;
    else
        close_csv(s);
    return status;
}

const magpie_source_kind magpie_source_csv = {open_csv, next_item, NULL, close_csv};
