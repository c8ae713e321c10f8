/* encode.c - magpie encode: lines in, vectors out, in the same order. A filter, so that whatever distributes
 * work over machines can run it unchanged.
 *
 * ORDER. Line n in is line n out (row n of the .npy). A bad line therefore ends the run; it can be left out
 * on request where the ids still tell which vector is whose, and never from a .npy, which has no ids. A
 * picture that cannot be read is no bad line: in JSON lines its place is taken by the reason, and a .npy,
 * which has no place for one, cannot be made.
 *
 * TEXTS AND PICTURES may come mixed where one model takes both; otherwise their vectors would not be
 * comparable, and what has come out of two models looks all the same. */
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
    BLOCK_BYTES = 65536,  /* of text: enough to keep many cores busy, and seen within a second on few */
    PICTURES_A_THREAD = 8 /* of a block, for the same reason */
};

typedef enum modality { EITHER, TEXT, IMAGE } modality;

static struct {
    const char *output;
    sink_format format;
    magpie_text_role role;
    modality modality;
    bool skip_bad;
} given;

/* The texts or the pictures of a block, side by side as an encoder wants them. */
typedef struct selection {
    size_t lines[BLOCK_LINES]; /* [n], of the block */
    magpie_string texts[BLOCK_LINES];
    magpie_media images[BLOCK_LINES];
    magpie_outcome outcomes[BLOCK_LINES];
    float *vectors; /* [BLOCK_LINES, dimension] */
    size_t n;
} selection;

/* Lines that are encoded by one call. Two of them: one is encoded while the other is written. */
typedef struct block {
    magpie_catalogue_line lines[BLOCK_LINES];
    magpie_string ids[BLOCK_LINES];
    size_t numbers[BLOCK_LINES]; /* of the lines */
    char *pictures[BLOCK_LINES]; /* paths; NULL: it is the text that is encoded */
    float *vectors;              /* [BLOCK_LINES, dimension] */
    magpie_outcome outcomes[BLOCK_LINES];
    size_t n, bytes, picture_count;
} block;

typedef struct encoding {
    magpie_text_encoder *text;   /* NULL: texts are passed over */
    magpie_image_encoder *image; /* NULL: pictures are */
    size_t dimension;
    magpie_lines *input;
    const char *input_path, *input_name;
    sink sink;
    handover *writer;
    block blocks[2];
    selection chosen;
    size_t lines, skipped, refused, pictures_a_block;
    uint64_t bytes; /* of the input, read */
    double started;
    bool at_end;
} encoding;

static magpie_status write_block(void *context, void *argument) {
    const block *b = argument;
    return sink_write(context, b->ids, b->vectors, b->outcomes, b->n);
}

static void clear_block(block *b) {
    for (size_t i = 0; i < b->n; i++) {
        magpie_catalogue_line_free(&b->lines[i]);
        free(b->pictures[i]);
    }
    b->n = b->bytes = b->picture_count = 0;
}

/* Which of its two parts a line is encoded for. */
static magpie_status choose_part(const encoding *e, const magpie_item *item, bool *picture) {
    bool text = e->text && item->text.data;
    *picture = e->image && item->image.size;
    if (text && *picture)
        return magpie_fail(MAGPIE_E_INPUT, "it has a text and an image: say by --modality which is wanted");
    if (text || *picture) return MAGPIE_OK;
    return magpie_fail(MAGPIE_E_INPUT, "%s is missing",
                       !e->image  ? "text"
                       : !e->text ? "image"
                                  : "text or image");
}

static magpie_status parse_line(const magpie_line *line, magpie_catalogue_line *out) {
    *out = (magpie_catalogue_line){0};
    if (line->too_long)
        return magpie_fail(MAGPIE_E_TOO_LARGE, "the line has %zu bytes; the limit is %d", line->size,
                           MAGPIE_LINE_MAX);
    return magpie_catalogue_parse(line->data, line->size, out);
}

/* Takes the line into the block, or says what is wrong with it. */
static magpie_status take_line(encoding *e, block *b, const magpie_line *line) {
    magpie_catalogue_line *parsed = &b->lines[b->n];
    bool picture;
    magpie_status status = parse_line(line, parsed);
    if (status == MAGPIE_OK) status = choose_part(e, &parsed->item, &picture);
    b->pictures[b->n] = NULL;
    if (status == MAGPIE_OK && picture &&
        !(b->pictures[b->n] = magpie_catalogue_resolve(e->input_path, parsed->item.image)))
        status = MAGPIE_E_NO_MEMORY;
    if (status == MAGPIE_OK) {
        b->ids[b->n] = parsed->item.id;
        b->numbers[b->n++] = line->number;
        b->bytes += picture ? 0 : parsed->item.text.size;
        b->picture_count += picture;
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
    while (b->n < BLOCK_LINES && b->bytes < BLOCK_BYTES && b->picture_count < e->pictures_a_block) {
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

static void choose(selection *s, const block *b, bool pictures) {
    s->n = 0;
    for (size_t i = 0; i < b->n; i++) {
        if (!b->pictures[i] == pictures) continue;
        s->lines[s->n] = i;
        s->texts[s->n] = b->lines[i].item.text;
        s->images[s->n++] = (magpie_media){.path = b->pictures[i]};
    }
    memset(s->outcomes, 0, s->n * sizeof *s->outcomes);
}

/* Back to where they belong. */
static void place(const encoding *e, block *b) {
    const selection *s = &e->chosen;
    for (size_t i = 0; i < s->n; i++) {
        memcpy(b->vectors + s->lines[i] * e->dimension, s->vectors + i * e->dimension,
               e->dimension * sizeof *b->vectors);
        b->outcomes[s->lines[i]] = s->outcomes[i];
    }
}

static magpie_status encode_texts(encoding *e, block *b) {
    selection *s = &e->chosen;
    choose(s, b, false);
    if (!s->n) return MAGPIE_OK;
    magpie_status status = magpie_text_encoder_encode(e->text, s->texts, s->n, given.role, s->vectors);
    if (status != MAGPIE_OK)
        return magpie_fail(status, "%s, from line %zu: %s", e->input_name, b->numbers[s->lines[0]],
                           magpie_error());
    place(e, b);
    return MAGPIE_OK;
}

static magpie_status encode_pictures(encoding *e, block *b) {
    selection *s = &e->chosen;
    choose(s, b, true);
    if (!s->n) return MAGPIE_OK;
    magpie_status status = magpie_image_encoder_encode(e->image, s->images, s->n, s->vectors, s->outcomes);
    if (status != MAGPIE_OK)
        return magpie_fail(status, "%s, from line %zu: %s", e->input_name, b->numbers[s->lines[0]],
                           magpie_error());
    for (size_t i = 0; i < s->n; i++) {
        status = s->outcomes[i].status;
        if (status == MAGPIE_OK) continue;
        if (given.format == SINK_NPY || status == MAGPIE_E_NO_MEMORY || status == MAGPIE_E_INTERNAL)
            return magpie_fail(status, "%s, line %zu: %s", e->input_name, b->numbers[s->lines[i]],
                               s->outcomes[i].reason);
        e->refused++;
    }
    place(e, b);
    return MAGPIE_OK;
}

static magpie_status encode_block(encoding *e, block *b) {
    terminal_show_progress(&(terminal_progress){.done = (double)e->bytes,
                                                .total = (double)magpie_lines_total_bytes(e->input),
                                                .items = e->lines,
                                                .seconds = magpie_seconds() - e->started});
    magpie_status status = e->text ? encode_texts(e, b) : MAGPIE_OK;
    if (status == MAGPIE_OK && e->image) status = encode_pictures(e, b);
    return status == MAGPIE_OK ? handover_give(e->writer, b) : status;
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

static magpie_status open_encoders(encoding *e) {
    model_folders folders;
    magpie_status status = model_find(&folders);
    if (status != MAGPIE_OK) return status;
    if (given.modality == TEXT) folders.image = NULL;
    if (given.modality == IMAGE) folders.text = NULL;
    if (!folders.text && !folders.image)
        return magpie_fail(MAGPIE_E_ARGUMENT, "no model of %s is given",
                           given.modality == TEXT ? "text" : "pictures");
    if (folders.text) status = model_open_text(folders.text, false, &e->text);
    if (status == MAGPIE_OK && folders.image) status = model_open_image(folders.image, false, &e->image);
    if (status != MAGPIE_OK) return status;
    const magpie_text_encoder_info *text = e->text ? magpie_text_encoder_get_info(e->text) : NULL;
    const magpie_image_encoder_info *image = e->image ? magpie_image_encoder_get_info(e->image) : NULL;
    if (text && image && strcmp(text->fingerprint, image->fingerprint) != 0)
        return magpie_fail(MAGPIE_E_MISMATCH,
                           "the vectors of %s and %s are not comparable: say by --modality which are wanted",
                           folders.text, folders.image);
    e->dimension = text ? text->dimension : image->dimension;
    e->pictures_a_block = image ? image->threads * PICTURES_A_THREAD : 1;
    return MAGPIE_OK;
}

static magpie_status open_all(encoding *e, const char *path) {
    e->input_path = path;
    e->input_name = strcmp(path, "-") == 0 ? "standard input" : path;
    e->started = magpie_seconds();
    magpie_status status = magpie_lines_open(path, MAGPIE_LINE_MAX, 0, 0, &e->input);
    if (status == MAGPIE_OK) status = open_encoders(e);
    if (status != MAGPIE_OK) return status;
    size_t numbers;
    if (!magpie_size_mul(e->dimension, BLOCK_LINES, &numbers))
        return magpie_fail(MAGPIE_E_TOO_LARGE, "too many dimensions");
    float **vectors[] = {&e->blocks[0].vectors, &e->blocks[1].vectors, &e->chosen.vectors};
    for (size_t i = 0; i < 3; i++)
        if (!(*vectors[i] = magpie_alloc(numbers, sizeof(float)))) return MAGPIE_E_NO_MEMORY;
    status = sink_open(&e->sink, given.format, given.output, e->dimension);
    return status == MAGPIE_OK ? handover_start(write_block, &e->sink, &e->writer) : status;
}

static void close_all(encoding *e) {
    sink_abort(&e->sink);
    for (size_t i = 0; i < 2; i++) {
        clear_block(&e->blocks[i]);
        free(e->blocks[i].vectors);
    }
    free(e->chosen.vectors);
    magpie_text_encoder_close(e->text);
    magpie_image_encoder_close(e->image);
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
    exit_code code = status != MAGPIE_OK        ? print_failure()
                     : e->skipped || e->refused ? EXIT_MISSING
                                                : EXIT_FINE;
    if (code == EXIT_MISSING && e->refused)
        print_error("%zu pictures could not be encoded; their lines say why", e->refused);
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

static magpie_status parse_modality(const char *value, void *target) {
    modality *out = target;
    *out = strcmp(value, "image") == 0 ? IMAGE : TEXT;
    if (*out == IMAGE || strcmp(value, "text") == 0) return MAGPIE_OK;
    return magpie_fail(MAGPIE_E_ARGUMENT, "text or image is wanted, not \"%s\"", value);
}

static const option_row own_options[] = {
    {.name = "modality",
     .argument = "M",
     .parse = parse_modality,
     .target = &given.modality,
     .help = "text or image: what to encode of lines that have both (default: what there is a model for)"},
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
    .summary = "turn texts and pictures into vectors, in the same order",
    .operands = "[FILE]",
    .most_operands = 1,
    .tables = tables,
    .details =
        "In:    lines {\"id\": \"...\", \"text\": \"...\"} or {\"id\": \"...\", \"image\": \"PATH\"} of FILE "
        "or standard input;\n"
        "       a catalogue will do. Paths are relative to FILE. A joint model takes both kinds, mixed.\n"
        "jsonl: lines {\"id\": \"...\", \"vector\": [...]}, ten decimals a number. A picture that cannot be "
        "read has\n"
        "       {\"id\": \"...\", \"error\": \"...\"} in its place, and the exit code is 3.\n"
        "npy:   lines x dimension little-endian float32, NumPy's format 1.0. Such a picture ends the run.\n"
        "Vectors have unit length.\n",
    .run = run_encode};
