/* encode.c - magpie encode: lines in, vectors out, in the same order. A filter, so that whatever distributes
 * work over machines can run it unchanged.
 *
 * ORDER. Line n in is line n out (row n of the .npy). A bad line therefore ends the run; it can be left out
 * on request where the ids still tell which vector is whose, and never from a .npy, which has no ids. */
#include "command.h"
#include "handover.h"
#include "ingest.h"
#include "model.h"
#include "output.h"
#include "sink.h"
#include "terminal.h"

#include <stdlib.h>
#include <string.h>

enum {
    BLOCK_LINES = 1024,
    BLOCK_BYTES = 65536 /* of text: enough to keep many cores busy, and seen within a second on few */
};

static struct {
    const char *output;
    sink_format format;
    magpie_text_role role;
    bool skip_bad;
} given;

/* Lines that are encoded by one call. Two of them: one is encoded while the other is written. */
typedef struct block {
    magpie_catalogue_line lines[BLOCK_LINES];
    magpie_string ids[BLOCK_LINES], texts[BLOCK_LINES];
    float *vectors; /* [BLOCK_LINES, dimension] */
    size_t n, bytes, first_line;
} block;

typedef struct encoding {
    magpie_text_encoder *encoder;
    magpie_lines *input;
    const char *input_name;
    sink sink;
    handover *writer;
    block blocks[2];
    size_t lines, skipped;
    uint64_t bytes; /* of the input, read */
    double started;
    bool at_end;
} encoding;

static magpie_status write_block(void *context, void *argument) {
    const block *b = argument;
    return sink_write(context, b->ids, b->vectors, b->n);
}

static void clear_block(block *b) {
    for (size_t i = 0; i < b->n; i++) magpie_catalogue_line_free(&b->lines[i]);
    b->n = b->bytes = 0;
}

static magpie_status parse_line(const magpie_line *line, magpie_catalogue_line *out) {
    *out = (magpie_catalogue_line){0};
    if (line->too_long)
        return magpie_fail(MAGPIE_E_TOO_LARGE, "the line has %zu bytes; the limit is %d", line->size,
                           MAGPIE_LINE_MAX);
    magpie_status status = magpie_catalogue_parse(line->data, line->size, out);
    if (status == MAGPIE_OK && !out->item.text.data) return magpie_fail(MAGPIE_E_INPUT, "text is missing");
    return status;
}

/* Takes the line into the block, or says what is wrong with it. */
static magpie_status take_line(encoding *e, block *b, const magpie_line *line) {
    magpie_catalogue_line *parsed = &b->lines[b->n];
    magpie_status status = parse_line(line, parsed);
    if (status == MAGPIE_OK) {
        b->ids[b->n] = parsed->item.id;
        b->texts[b->n++] = parsed->item.text;
        b->bytes += parsed->item.text.size;
        return MAGPIE_OK;
    }
    magpie_catalogue_line_free(parsed);
    bool bad = status == MAGPIE_E_INPUT || status == MAGPIE_E_TOO_LARGE;
    status = magpie_fail(status, "%s, line %zu: %s", e->input_name, line->number, magpie_error());
    if (!bad || !given.skip_bad) return status;
    print_error("%s; left out", magpie_error());
    e->skipped++;
    return MAGPIE_OK;
}

/* A bad line leaves in the block what came before it. */
static magpie_status fill_block(encoding *e, block *b) {
    magpie_line line;
    bool got;
    clear_block(b);
    b->first_line = e->lines + 1;
    while (b->n < BLOCK_LINES && b->bytes < BLOCK_BYTES) {
        magpie_status status = magpie_lines_next(e->input, &line, &got);
        if (status == MAGPIE_OK && got) status = take_line(e, b, &line);
        if (status != MAGPIE_OK) return status;
        if (!got) {
            e->at_end = true;
            break;
        }
        e->lines++;
        e->bytes = line.end_offset;
    }
    return MAGPIE_OK;
}

static magpie_status encode_block(encoding *e, block *b) {
    terminal_show_progress(&(terminal_progress){.done = (double)e->bytes,
                                                .total = (double)magpie_lines_total_bytes(e->input),
                                                .items = e->lines,
                                                .seconds = magpie_seconds() - e->started});
    magpie_status status = magpie_text_encoder_encode(e->encoder, b->texts, b->n, given.role, b->vectors);
    if (status == MAGPIE_OK) return handover_give(e->writer, b);
    return magpie_fail(status, "%s, from line %zu: %s", e->input_name, b->first_line, magpie_error());
}

static magpie_status encode_all(encoding *e) {
    magpie_status filled = MAGPIE_OK, status = MAGPIE_OK;
    char *why = NULL;
    for (unsigned turn = 0; filled == MAGPIE_OK && status == MAGPIE_OK && !e->at_end; turn++) {
        block *b = &e->blocks[turn % 2];
        filled = fill_block(e, b);
        if (filled != MAGPIE_OK) why = strdup(magpie_error()); /* first the lines before it are answered */
        if (b->n) status = encode_block(e, b);
    }
    magpie_status written = handover_end(e->writer);
    e->writer = NULL;
    if (status == MAGPIE_OK) status = written;
    if (status == MAGPIE_OK && filled != MAGPIE_OK)
        status = magpie_fail(filled, "%s", why ? why : "out of memory");
    free(why);
    return status;
}

static magpie_status open_all(encoding *e, const char *path) {
    e->input_name = strcmp(path, "-") == 0 ? "standard input" : path;
    e->started = magpie_seconds();
    magpie_status status = magpie_lines_open(path, MAGPIE_LINE_MAX, 0, 0, &e->input);
    if (status == MAGPIE_OK) status = model_open(false, &e->encoder);
    if (status != MAGPIE_OK) return status;
    size_t dimension = magpie_text_encoder_get_info(e->encoder)->dimension, numbers;
    if (!magpie_size_mul(dimension, BLOCK_LINES, &numbers))
        return magpie_fail(MAGPIE_E_TOO_LARGE, "too many dimensions");
    for (size_t i = 0; i < 2; i++)
        if (!(e->blocks[i].vectors = magpie_alloc(numbers, sizeof(float)))) return MAGPIE_E_NO_MEMORY;
    status = sink_open(&e->sink, given.format, given.output, dimension);
    return status == MAGPIE_OK ? handover_start(write_block, &e->sink, &e->writer) : status;
}

static void close_all(encoding *e) {
    sink_abort(&e->sink);
    for (size_t i = 0; i < 2; i++) {
        clear_block(&e->blocks[i]);
        free(e->blocks[i].vectors);
    }
    magpie_text_encoder_close(e->encoder);
    magpie_lines_close(e->input);
}

static exit_code run_encode(char **operands, int count) {
    encoding *e;
    if (given.skip_bad && given.format == SINK_NPY) {
        print_error("encode: --skip-bad goes with --format jsonl only: rows without ids would no longer be "
                    "told apart");
        return EXIT_USAGE;
    }
    if (!(e = magpie_alloc(1, sizeof *e))) return print_failure();
    magpie_status status = open_all(e, count ? operands[0] : "-");
    if (status == MAGPIE_OK) status = encode_all(e);
    if (status == MAGPIE_OK) status = sink_finish(&e->sink);
    terminal_clear_progress();
    exit_code code = status != MAGPIE_OK ? print_failure() : e->skipped ? EXIT_MISSING : EXIT_FINE;
    close_all(e);
    free(e);
    return code;
}

static magpie_status parse_format(const char *value, void *target) {
    sink_format *format = target;
    *format = strcmp(value, "npy") == 0 ? SINK_NPY : SINK_JSONL;
    if (*format == SINK_NPY || strcmp(value, "jsonl") == 0) return MAGPIE_OK;
    return magpie_fail(MAGPIE_E_ARGUMENT, "jsonl or npy is wanted, not \"%s\"", value);
}

static magpie_status parse_role(const char *value, void *target) {
    magpie_text_role *role = target;
    *role = strcmp(value, "query") == 0 ? MAGPIE_QUERY : MAGPIE_PASSAGE;
    if (*role == MAGPIE_QUERY || strcmp(value, "passage") == 0) return MAGPIE_OK;
    return magpie_fail(MAGPIE_E_ARGUMENT, "passage or query is wanted, not \"%s\"", value);
}

static const option_row own_options[] = {
    {.name = "format",
     .argument = "F",
     .parse = parse_format,
     .target = &given.format,
     .help = "jsonl or npy (default: jsonl)"},
    {.name = "output",
     .letter = 'o',
     .argument = "FILE",
     .string = &given.output,
     .help = "appears when it is whole (default: standard output)"},
    {.name = "role",
     .argument = "R",
     .parse = parse_role,
     .target = &given.role,
     .help = "passage or query, for models that tell them apart (default: passage)"},
    {.name = "skip-bad",
     .flag = &given.skip_bad,
     .help = "leave bad lines out, saying so; else the first ends the run"},
    {0}};

static const option_row *const tables[] = {model_options, own_options, passage_prefix_options,
                                           query_prefix_options, NULL};

const command encode_command = {
    .name = "encode",
    .summary = "turn lines of text into vectors, in the same order",
    .operands = "[FILE]",
    .most_operands = 1,
    .tables = tables,
    .details =
        "In:    lines {\"id\": \"...\", \"text\": \"...\"} of FILE or standard input; a catalogue will do.\n"
        "jsonl: lines {\"id\": \"...\", \"vector\": [...]}, ten decimals a number.\n"
        "npy:   lines x dimension little-endian float32, NumPy's format 1.0.\n"
        "Vectors have unit length.\n",
    .run = run_encode};
