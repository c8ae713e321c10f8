/* export.c - magpie export: a store's items and vectors, for other programs or another store. One
 * snapshot, walked over once for the items and once for each array, so that nothing of their size is held.
 *
 * ARRAYS have a row for every line of items.jsonl, NaN where that item has no vector: so row n is line n
 * in all of them, and numpy.isnan tells the rest. */
#include "command.h"
#include "ingest.h"
#include "interrupt.h"
#include "output.h"
#include "storage.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef enum export_format { EXPORT_LINES, EXPORT_NPY, EXPORT_SAFETENSORS } export_format;

static struct {
    const char *output, *filter;
    export_format format;
} given;

typedef struct export {
    magpie_snapshot *snapshot;
    uint64_t *rows; /* [row_count], of items that pass the filter; NULL: all do */
    size_t row_count, count;
    size_t dimension[MAGPIE_SPACES]; /* of the spaces that there are */
    magpie_vector_header header;
    FILE *stream;
    magpie_space space; /* of the array at hand */
    float *missing;     /* [dimension], NaN */
    magpie_text line;
}
export;

static magpie_status write_bytes(const export *e, const void *bytes, size_t size) {
    if (interrupt_came()) return magpie_fail(MAGPIE_E_CANCELLED, "stopped");
    return !size || fwrite(bytes, 1, size, e->stream) == size
               ? MAGPIE_OK
               : magpie_fail_errno(errno, "cannot write %s", given.output);
}

static magpie_status write_item(void *context, const magpie_item *item) {
    export *e = context;
    const float *vectors[MAGPIE_SPACES];
    magpie_status status = MAGPIE_OK;
    magpie_text_clear(&e->line);
    for (unsigned s = 0; s < MAGPIE_SPACES && status == MAGPIE_OK; s++)
        status = magpie_snapshot_vector(e->snapshot, s, item->row, &vectors[s]);
    if (status == MAGPIE_OK)
        status = magpie_vector_line_write(item, given.format == EXPORT_LINES ? vectors : NULL, &e->header,
                                          true, &e->line);
    e->count++;
    return status == MAGPIE_OK ? write_bytes(e, e->line.data, e->line.size) : status;
}

static magpie_status write_row(void *context, const magpie_item *item) {
    export *e = context;
    const float *vector;
    magpie_status status = magpie_snapshot_vector(e->snapshot, e->space, item->row, &vector);
    return status == MAGPIE_OK
               ? write_bytes(e, vector ? vector : e->missing, e->dimension[e->space] * sizeof *vector)
               : status;
}

static magpie_status each(export *e, magpie_item_callback callback) {
    magpie_status status = MAGPIE_OK;
    magpie_item item;
    if (!e->rows) return magpie_snapshot_each(e->snapshot, 0, callback, e);
    for (size_t i = 0; i < e->row_count && status == MAGPIE_OK; i++) {
        status = magpie_snapshot_get_row(e->snapshot, e->rows[i], &item);
        if (status == MAGPIE_OK) status = callback(e, &item);
    }
    return status;
}

/* ---- what there is -------------------------------------------------------------------------------------- */

/* No salt: each line has its hashes. */
static magpie_status read_spaces(export *e) {
    magpie_status status = MAGPIE_OK;
    size_t most = 0;
    for (unsigned s = 0; s < MAGPIE_SPACES && status == MAGPIE_OK; s++) {
        magpie_space_binding binding;
        magpie_vector_source *source = &e->header.of[s];
        status = magpie_snapshot_get_binding(e->snapshot, s, &binding);
        if (status != MAGPIE_OK || !binding.dimension) continue;
        e->dimension[s] = binding.dimension;
        most = most > binding.dimension ? most : binding.dimension;
        if (s == MAGPIE_SPACE_FUSED) continue;
        source->dimension = binding.dimension;
        memcpy(source->model, binding.model, sizeof source->model);
        memcpy(source->fingerprint, binding.fingerprint, sizeof source->fingerprint);
    }
    if (status == MAGPIE_OK && !(e->missing = magpie_alloc(most, sizeof *e->missing)))
        status = MAGPIE_E_NO_MEMORY;
    for (size_t i = 0; i < most && status == MAGPIE_OK; i++) e->missing[i] = NAN;
    return status;
}

static magpie_status begin(export *e, magpie_store *store) {
    magpie_filter *filter;
    magpie_status status = storage_read_filter(given.filter, &filter);
    if (status == MAGPIE_OK) status = magpie_snapshot_open(store, &e->snapshot);
    if (status == MAGPIE_OK && filter)
        status = magpie_filter_rows(filter, e->snapshot, &e->rows, &e->row_count);
    magpie_filter_free(filter);
    return status == MAGPIE_OK ? read_spaces(e) : status;
}

/* ---- files ---------------------------------------------------------------------------------------------- */

static magpie_status write_lines(export *e) {
    magpie_status status = MAGPIE_OK;
    if (given.format == EXPORT_LINES) status = magpie_vector_header_write(&e->header, &e->line);
    if (status == MAGPIE_OK) status = write_bytes(e, e->line.data, e->line.size);
    return status == MAGPIE_OK ? each(e, write_item) : status;
}

static magpie_status write_npy(export *e) {
    char header[MAGPIE_NPY_HEADER];
    magpie_npy_header(e->count, e->dimension[e->space], header);
    magpie_status status = write_bytes(e, header, sizeof header);
    return status == MAGPIE_OK ? each(e, write_row) : status;
}

/* huggingface/safetensors: the size of a JSON header, the header, the numbers; safetensors.h has more. */
static magpie_status write_safetensors(export *e) {
    uint64_t end = 0, size;
    magpie_text_clear(&e->line);
    for (unsigned s = 0; s < MAGPIE_SPACES; s++) {
        const uint64_t bytes = (uint64_t)e->count * e->dimension[s] * sizeof(float);
        if (!e->dimension[s]) continue;
        magpie_text_printf(
            &e->line, "%s\"%s\": {\"dtype\": \"F32\", \"shape\": [%zu, %zu], \"data_offsets\": [%llu, %llu]}",
            end || e->line.size ? ", " : "{", magpie_space_name(s), e->count, e->dimension[s],
            (unsigned long long)end, (unsigned long long)(end + bytes));
        end += bytes;
    }
    magpie_text_append(&e->line, e->line.size ? "}" : "{}", e->line.size ? 1 : 2);
    while (e->line.size % 8 && !e->line.failed) magpie_text_append(&e->line, " ", 1);
    size = e->line.size; /* little-endian, as floats are */
    magpie_status status = magpie_text_status(&e->line);
    if (status == MAGPIE_OK) status = write_bytes(e, &size, sizeof size);
    if (status == MAGPIE_OK) status = write_bytes(e, e->line.data, e->line.size);
    for (e->space = 0; e->space < MAGPIE_SPACES && status == MAGPIE_OK; e->space++)
        if (e->dimension[e->space]) status = each(e, write_row);
    return status;
}

/* A file of the folder, which appears when it is whole. */
static magpie_status write_file(export *e, const char *name, magpie_status (*write)(export *e)) {
    magpie_atomic_file *file = NULL;
    char *path = magpie_path_join(given.output, name);
    magpie_status status = path ? magpie_atomic_open(path, &file) : MAGPIE_E_NO_MEMORY;
    free(path);
    if (status != MAGPIE_OK) return status;
    e->stream = magpie_atomic_stream(file);
    status = write(e);
    if (status == MAGPIE_OK) return magpie_atomic_commit(file);
    magpie_atomic_abort(file);
    return status;
}

static magpie_status write_all(export *e) {
    char name[32];
    if (strcmp(given.output, "-") == 0) {
        e->stream = stdout;
        return write_lines(e);
    }
    if (mkdir(given.output, 0777) != 0 && errno != EEXIST)
        return magpie_fail_errno(errno, "cannot make the folder %s", given.output);
    magpie_status status = write_file(e, "items.jsonl", write_lines);
    if (given.format == EXPORT_SAFETENSORS && status == MAGPIE_OK)
        return write_file(e, "vectors.safetensors", write_safetensors);
    for (e->space = 0; given.format == EXPORT_NPY && e->space < MAGPIE_SPACES && status == MAGPIE_OK;
         e->space++) {
        if (!e->dimension[e->space]) continue;
        snprintf(name, sizeof name, "%s.npy", magpie_space_name(e->space));
        status = write_file(e, name, write_npy);
    }
    return status;
}

static exit_code run_export(char **operands, int count) {
    (void)operands, (void)count;
    export e = {0};
    magpie_store *store = NULL;
    magpie_text out = {0};
    const bool piped = strcmp(given.output, "-") == 0;
    if (piped && given.format != EXPORT_LINES) {
        print_error("export: arrays are files: --output should name a folder");
        return EXIT_USAGE;
    }
    interrupt_listen();
    magpie_status status = storage_open(STORAGE_READ, &store);
    if (status == MAGPIE_OK) status = begin(&e, store);
    if (status == MAGPIE_OK) status = write_all(&e);
    exit_code code = status == MAGPIE_OK            ? EXIT_FINE
                     : status == MAGPIE_E_CANCELLED ? (print_failure(), EXIT_INTERRUPTED)
                                                    : print_failure();
    magpie_snapshot_close(e.snapshot);
    magpie_store_close(store);
    free(e.rows);
    free(e.missing);
    magpie_text_free(&e.line);
    if (code != EXIT_FINE || piped) return code;
    magpie_text_printf(&out, output_json ? "{\"items\": %zu}\n" : "%zu items\n", e.count);
    return output_and_free(&out);
}

static magpie_status parse_format(const char *value, void *target) {
    static const char *const names[] = {"lines", "npy", "safetensors"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(value, names[i]) == 0) return *(export_format *)target = (export_format)i, MAGPIE_OK;
    return magpie_fail(MAGPIE_E_ARGUMENT, "lines, npy or safetensors is wanted, not \"%s\"", value);
}

static const option_row own_options[] = {
    {.name = "output",
     .letter = 'o',
     .argument = "DIR",
     .string = &given.output,
     .required = true,
     .help = "a folder, made where there is none; - for lines on standard output"},
    {.name = "format",
     .argument = "F",
     .parse = parse_format,
     .target = &given.format,
     .help = "lines, npy or safetensors (default: lines)"},
    {.name = "filter",
     .argument = "JSON",
     .string = &given.filter,
     .help = "items that pass alone; or @FILE"},
    {0}};

static const option_row *const tables[] = {storage_options, own_options, json_options, NULL};

const command export_command = {
    .name = "export",
    .summary = "a store's items and vectors, for other programs",
    .operands = "",
    .tables = tables,
    .details =
        "lines:       items.jsonl, for magpie import-vectors, which makes an equal store of it: of items "
        "and\n"
        "             vectors, with the same fusion model. Interactions are not in it.\n"
        "npy:         items.jsonl, a catalogue in the store's order, and a NAME.npy for each space (fused, "
        "text,\n"
        "             image, audio) whose row n is line n, NaN where that item has no vector of the space.\n"
        "safetensors: the same arrays in one vectors.safetensors.\n"
        "It is the store of one moment, whoever writes meanwhile, and memory does not grow with it.\n",
    .run = run_export};
