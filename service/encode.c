/* encode.c - magpie encode: lines in, vectors out, in the same order. A filter, so that whatever distributes
 * work over machines can run it unchanged.
 *
 * ORDER. Line n in is line n out (row n of the .npy). A bad line therefore ends the run; it can be left out
 * on request where the ids still tell which vector is whose, and never from a .npy, which has no ids. A
 * picture or sound that cannot be read is no bad line: in JSON lines its place is taken by the reason, and a
 * .npy, which has no place for one, cannot be made.
 *
 * TEXTS, PICTURES AND SOUNDS may come mixed where one model takes them; otherwise their vectors would not be
 * comparable, and what has come out of two models looks all the same. */
#include "command.h"
#include "encode_items.h"
#include "ingest_into.h"
#include "output.h"
#include "sink.h"
#include "terminal.h"

#include <stdlib.h>
#include <string.h>

enum {
    BLOCK_LINES = 1024,
    BLOCK_BYTES = 65536 /* of text: enough to keep many cores busy, and seen within a second on few */
};

/* Files of a block, for the same reason; 0: it is no matter. */
static const size_t files_a_thread[SENSES] = {[SENSE_IMAGE] = 8, [SENSE_AUDIO] = 2};

static struct {
    const char *output;
    sink_format format;
    magpie_text_role role;
    model_sense modality; /* SENSES: what there is a model for */
    const char *media_root;
    bool skip_bad, items;
} given = {.modality = SENSES};

/* What of a block is of one sense, side by side as an encoder wants it. */
typedef struct selection {
    size_t lines[BLOCK_LINES]; /* [n], of the block */
    magpie_string texts[BLOCK_LINES];
    magpie_media files[BLOCK_LINES];
    magpie_outcome outcomes[BLOCK_LINES];
    float *vectors; /* [BLOCK_LINES, dimension] */
    size_t n;
} selection;

/* Lines that are encoded by one call. Two of them: one is encoded while the other is written. */
typedef struct block {
    magpie_catalogue_line lines[BLOCK_LINES];
    magpie_string ids[BLOCK_LINES];
    size_t numbers[BLOCK_LINES]; /* of the lines */
    model_sense senses[BLOCK_LINES];
    magpie_media files[BLOCK_LINES]; /* where it is not the text that is encoded */
    void *memory[BLOCK_LINES];       /* that they are in */
    float *vectors;                  /* [BLOCK_LINES, dimension] */
    magpie_outcome outcomes[BLOCK_LINES];
    size_t n, bytes, file_count;
} block;

typedef struct encoding {
    model_encoder encoders[SENSES]; /* what has none open is passed over */
    size_t dimension;
    magpie_lines *input;
    const char *input_name, *base; /* in words, and where references begin */
    sink sink;
    magpie_handover *writer;
    block blocks[2];
    selection chosen;
    size_t lines, skipped, refused[SENSES], files_a_block;
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
        free(b->memory[i]);
    }
    b->n = b->bytes = b->file_count = 0;
}

static magpie_string part_of(const magpie_item *item, model_sense sense) {
    return sense == SENSE_TEXT ? item->text : sense == SENSE_IMAGE ? item->image : item->audio;
}

/* A text may be "", a path may not. */
static bool has_part(const magpie_item *item, model_sense sense) {
    magpie_string part = part_of(item, sense);
    return sense == SENSE_TEXT ? part.data != NULL : part.size != 0;
}

/* Why none of a line's parts is it: of those that there is an encoder for it has several, or none. */
static magpie_status fail_to_choose(const encoding *e, const magpie_item *item, bool several) {
    static const char *const with_article[] = {"a text", "an image", "a sound"};
    magpie_text list = {0};
    for (model_sense sense = SENSE_TEXT; sense < SENSES; sense++) {
        if (!e->encoders[sense].name || (several && !has_part(item, sense))) continue;
        magpie_text_printf(&list, "%s%s",
                           !list.size ? ""
                           : several  ? " and "
                                      : " or ",
                           several ? with_article[sense] : model_sense_name(sense));
    }
    magpie_status status = magpie_text_status(&list);
    if (status == MAGPIE_OK)
        status = several
                     ? magpie_fail(MAGPIE_E_INPUT, "it has %s: say by --modality which is wanted", list.data)
                     : magpie_fail(MAGPIE_E_INPUT, "%s is missing", list.data);
    magpie_text_free(&list);
    return status;
}

/* Which of its parts a line is encoded for. */
static magpie_status choose_part(const encoding *e, const magpie_item *item, model_sense *out) {
    unsigned n = 0;
    for (model_sense sense = SENSE_TEXT; sense < SENSES; sense++)
        if (e->encoders[sense].name && has_part(item, sense)) *out = sense, n++;
    return n == 1 ? MAGPIE_OK : fail_to_choose(e, item, n > 1);
}

static magpie_status parse_line(const magpie_line *line, magpie_catalogue_line *out,
                                magpie_string bytes[MAGPIE_MODALITIES]) {
    *out = (magpie_catalogue_line){0};
    if (line->too_long)
        return magpie_fail(MAGPIE_E_TOO_LARGE, "the line has %zu bytes; the limit is %d", line->size,
                           MAGPIE_DATA_LINE_MAX);
    return magpie_catalogue_parse_data(line->data, line->size, false, out, bytes);
}

/* What is to be read, and *memory that it is in. */
static magpie_status find_file(const encoding *e, const magpie_item *item, model_sense sense,
                               magpie_string *bytes, magpie_media *out, void **memory) {
    if (bytes->data) {
        *out = (magpie_media){.bytes = *bytes};
        *memory = (void *)(uintptr_t)bytes->data;
        *bytes = (magpie_string){0};
        return MAGPIE_OK;
    }
    char *path = magpie_catalogue_resolve(e->base, part_of(item, sense));
    *out = (magpie_media){.path = path};
    *memory = path;
    return path ? MAGPIE_OK : MAGPIE_E_NO_MEMORY;
}

/* Takes the line into the block, or says what is wrong with it. */
static magpie_status take_line(encoding *e, block *b, const magpie_line *line) {
    magpie_catalogue_line *parsed = &b->lines[b->n];
    model_sense *sense = &b->senses[b->n];
    void **memory = &b->memory[b->n];
    magpie_string bytes[MAGPIE_MODALITIES] = {0};
    magpie_status status = parse_line(line, parsed, bytes);
    if (status == MAGPIE_OK) status = choose_part(e, &parsed->item, sense);
    *memory = NULL;
    if (status == MAGPIE_OK && *sense != SENSE_TEXT)
        status = find_file(e, &parsed->item, *sense, &bytes[*sense], &b->files[b->n], memory);
    for (magpie_modality m = 0; m < MAGPIE_MODALITIES; m++) free((void *)(uintptr_t)bytes[m].data);
    if (status == MAGPIE_OK) {
        b->ids[b->n] = parsed->item.id;
        b->numbers[b->n++] = line->number;
        b->bytes += *memory ? line->size : parsed->item.text.size;
        b->file_count += *memory != NULL;
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
    while (b->n < BLOCK_LINES && b->bytes < BLOCK_BYTES && b->file_count < e->files_a_block) {
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

static void choose(selection *s, const block *b, model_sense sense) {
    s->n = 0;
    for (size_t i = 0; i < b->n; i++) {
        if (b->senses[i] != sense) continue;
        s->lines[s->n] = i;
        s->texts[s->n] = b->lines[i].item.text;
        s->files[s->n++] = b->files[i];
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

/* Counts those that could not be encoded, where the run can go on without them. */
static magpie_status check_outcomes(encoding *e, const block *b, model_sense sense) {
    const selection *s = &e->chosen;
    for (size_t i = 0; i < s->n; i++) {
        magpie_status status = s->outcomes[i].status;
        if (status == MAGPIE_OK) continue;
        if (given.format == SINK_NPY || status == MAGPIE_E_NO_MEMORY || status == MAGPIE_E_INTERNAL)
            return magpie_fail(status, "%s, line %zu: %s", e->input_name, b->numbers[s->lines[i]],
                               s->outcomes[i].reason);
        e->refused[sense]++;
    }
    return MAGPIE_OK;
}

static magpie_status encode_sense(encoding *e, block *b, model_sense sense) {
    selection *s = &e->chosen;
    const model_encoder *encoder = &e->encoders[sense];
    choose(s, b, sense);
    if (!s->n) return MAGPIE_OK;
    magpie_status status =
        encoder->text ? magpie_text_encoder_encode(encoder->text, s->texts, s->n, given.role, s->vectors)
                      : model_encode_files(encoder, s->files, s->n, s->vectors, s->outcomes);
    if (status != MAGPIE_OK)
        return magpie_fail(status, "%s, from line %zu: %s", e->input_name, b->numbers[s->lines[0]],
                           magpie_error());
    status = check_outcomes(e, b, sense);
    if (status == MAGPIE_OK) place(e, b);
    return status;
}

static magpie_status encode_block(encoding *e, block *b) {
    terminal_show_progress(&(terminal_progress){.done = (double)e->bytes,
                                                .total = (double)magpie_lines_total_bytes(e->input),
                                                .items = e->lines,
                                                .seconds = magpie_seconds() - e->started});
    magpie_status status = MAGPIE_OK;
    for (model_sense sense = SENSE_TEXT; sense < SENSES && status == MAGPIE_OK; sense++)
        status = encode_sense(e, b, sense);
    return status == MAGPIE_OK ? magpie_handover_give(e->writer, b) : status;
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
    magpie_status written = magpie_handover_end(e->writer);
    e->writer = NULL;
    if (status == MAGPIE_OK) status = written;
    if (status == MAGPIE_OK && filled != MAGPIE_OK)
        status = magpie_fail(filled, "%s", why ? why : "out of memory");
    free(why);
    return status;
}

/* What has an encoder may come mixed, so they are all of one model. */
static magpie_status open_encoder(encoding *e, const model_folders *folders, model_sense sense) {
    model_encoder *encoder = &e->encoders[sense];
    const char *folder = folders->of[sense];
    if (!folder || (given.modality != SENSES && sense != given.modality)) return MAGPIE_OK;
    magpie_status status = model_open(folder, sense, false, encoder);
    if (status != MAGPIE_OK) return status;
    for (model_sense before = SENSE_TEXT; before < sense; before++)
        if (e->encoders[before].name && strcmp(e->encoders[before].fingerprint, encoder->fingerprint) != 0)
            return magpie_fail(
                MAGPIE_E_MISMATCH,
                "the vectors of %s and %s are not comparable: say by --modality which are wanted",
                folders->of[before], folder);
    size_t files = files_a_thread[sense] * encoder->threads;
    if (files && files < e->files_a_block) e->files_a_block = files;
    e->dimension = encoder->dimension;
    return MAGPIE_OK;
}

static magpie_status open_encoders(encoding *e) {
    model_folders folders;
    const char *folder;
    e->files_a_block = BLOCK_LINES;
    magpie_status status = model_find(&folders);
    if (status == MAGPIE_OK && given.modality != SENSES)
        status = model_require(&folders, given.modality, &folder);
    for (model_sense sense = SENSE_TEXT; sense < SENSES && status == MAGPIE_OK; sense++)
        status = open_encoder(e, &folders, sense);
    return status;
}

static magpie_status open_all(encoding *e, const char *path) {
    e->base = given.media_root ? given.media_root : path;
    e->input_name = strcmp(path, "-") == 0 ? "standard input" : path;
    e->started = magpie_seconds();
    magpie_status status = magpie_lines_open(path, MAGPIE_DATA_LINE_MAX, 0, 0, &e->input);
    if (status == MAGPIE_OK) status = open_encoders(e);
    if (status != MAGPIE_OK) return status;
    size_t numbers;
    if (!magpie_size_mul(e->dimension, BLOCK_LINES, &numbers))
        return magpie_fail(MAGPIE_E_TOO_LARGE, "too many dimensions");
    float **vectors[] = {&e->blocks[0].vectors, &e->blocks[1].vectors, &e->chosen.vectors};
    for (size_t i = 0; i < 3; i++)
        if (!(*vectors[i] = magpie_alloc(numbers, sizeof(float)))) return MAGPIE_E_NO_MEMORY;
    status = sink_open(&e->sink, given.format, given.output, e->dimension);
    return status == MAGPIE_OK ? magpie_handover_start(write_block, &e->sink, &e->writer) : status;
}

static void close_all(encoding *e) {
    sink_abort(&e->sink);
    for (size_t i = 0; i < 2; i++) {
        clear_block(&e->blocks[i]);
        free(e->blocks[i].vectors);
    }
    free(e->chosen.vectors);
    for (size_t i = 0; i < SENSES; i++) model_close(&e->encoders[i]);
    magpie_lines_close(e->input);
}

static exit_code report(const encoding *e) {
    exit_code code = e->skipped ? EXIT_MISSING : EXIT_FINE;
    for (model_sense sense = SENSE_TEXT; sense < SENSES; sense++) {
        if (!e->refused[sense]) continue;
        print_error("%zu %s could not be encoded; their lines say why", e->refused[sense],
                    model_sense_things(sense));
        code = EXIT_MISSING;
    }
    return code;
}

static exit_code run_encode(char **operands, int count) {
    encoding *e;
    if (given.items)
        return encode_items(&(encode_items_options){.catalogue = count ? operands[0] : "-",
                                                    .media_base = given.media_root,
                                                    .output = given.output,
                                                    .only = given.modality,
                                                    .skip_bad = given.skip_bad});
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
    exit_code code = status == MAGPIE_OK ? report(e) : print_failure();
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
    model_sense sense = model_sense_find(value);
    if (sense == SENSES)
        return magpie_fail(MAGPIE_E_ARGUMENT, "text, image or audio is wanted, not \"%s\"", value);
    *(model_sense *)target = sense;
    return MAGPIE_OK;
}

static const option_row own_options[] = {
    {.name = "items",
     .flag = &given.items,
     .help =
         "write what magpie import-vectors reads: each line as it is, with the vectors of all that it has"},
    {.name = "media-root",
     .argument = "DIR",
     .parse = ingest_parse_media_root,
     .target = &given.media_root,
     .help = "what relative paths are relative to (default: FILE's folder)"},
    {.name = "modality",
     .argument = "M",
     .parse = parse_modality,
     .target = &given.modality,
     .help = "text, image or audio: what to encode of lines that have several (default: what there is a "
             "model for)"},
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

static const option_row *const tables[] = {
    model_options, own_options, audio_seconds_options, passage_prefix_options, query_prefix_options, NULL};

const command encode_command = {
    .name = "encode",
    .summary = "turn texts, pictures and sounds into vectors, in the same order",
    .operands = "[FILE]",
    .most_operands = 1,
    .tables = tables,
    .details =
        "In:    lines {\"id\": \"...\", \"text\": \"...\"}, {\"id\": \"...\", \"image\": \"PATH\"} or "
        "{\"id\": \"...\", \"audio\": \"PATH\"}\n"
        "       of FILE or standard input; a catalogue will do. Paths are relative to FILE, and may be data: "
        "URLs.\n"
        "       A joint model takes more than one kind, mixed.\n"
        "jsonl: lines {\"id\": \"...\", \"vector\": [...]}, ten decimals a number. A picture or sound that "
        "cannot be read\n"
        "       has {\"id\": \"...\", \"error\": \"...\"} in its place, and the exit code is 3.\n"
        "items: a header that names the models, then each line with \"vectors\": {\"text\": ...}, float32 in "
        "base64.\n"
        "       A data: URL has a name there: data:image/png;name=cats%2F1.png;base64,...\n"
        "npy:   lines x dimension little-endian float32, NumPy's format 1.0. Such a file ends the run.\n"
        "Vectors have unit length.\n",
    .run = run_encode};
