/* ingest.c - magpie ingest: catalogues into a store, and the indexes brought up to date. */
#include "command.h"
#include "heads.h"
#include "ingest_into.h"
#include "ingest_report.h"
#include "interrupt.h"
#include "memory.h"
#include "operands.h"
#include "output.h"
#include "scratch.h"
#include "storage.h"
#include "terminal.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum { COMMIT_MOST = 1 << 20, LABELS_MOST = 16 };

static struct {
    const char *rejects, *media_base;
    size_t commit_items;
    magpie_catalogue_format format;
    const char *map;
    bool acknowledge, wait, delete_missing, dry_run;
    const char *labels[LABELS_MOST]; /* [label_count] */
    size_t label_count;
    double labels_least;
} given = {.labels_least = 0.5};

/* What the callbacks need. */
typedef struct run {
    magpie_text line;
    ingest_pace pace;
} run;

static bool show_progress(void *context, const magpie_ingest_progress *p) {
    run *r = context;
    ingest_report_progress(&r->pace, p);
    return !interrupt_came() && !ferror(stdout);
}

/* Flushed at once: whoever reads the id may rely on it from then on. */
static void acknowledge(void *context, magpie_string id) {
    magpie_text *line = &((run *)context)->line;
    magpie_text_clear(line);
    if (output_json) {
        magpie_text_printf(line, "{\"id\": ");
        magpie_text_json_string(line, id.data, id.size);
        magpie_text_append(line, "}\n", 2);
    } else {
        magpie_text_append(line, id.data, id.size);
        magpie_text_append(line, "\n", 1);
    }
    fwrite(line->data, 1, line->size, stdout);
    fflush(stdout);
}

static magpie_status update_indexes(magpie_store *store, double *seconds) {
    double start = magpie_seconds();
    magpie_status status = storage_update_indexes(store);
    *seconds = magpie_seconds() - start;
    if (status == MAGPIE_OK) return status;
    return magpie_fail(status, "the items are stored, but an index is not: %s; magpie rebuild makes it anew",
                       magpie_error());
}

static exit_code print_report(const magpie_ingest_progress *p, const char *rejects, double index_seconds) {
    magpie_text out = {0};
    exit_code code = EXIT_FINE;
    if (given.dry_run && !output_json) magpie_text_printf(&out, "nothing is written; this would be done:\n");
    ingest_report_append(&out, p, rejects, index_seconds);
    if (given.acknowledge && !output_json) /* standard output is for ids */
        fputs(out.data ? out.data : "", stderr);
    else
        code = output_text(&out);
    magpie_text_free(&out);
    return code == EXIT_FINE && (ingest_report_has_rejects(p) || p->not_deleted) ? EXIT_MISSING : code;
}

static exit_code fill(magpie_store *store, const ingest_source *source, const magpie_fusion *fusion,
                      magpie_labels *const *labels, const char *rejects) {
    const magpie_ingest_encoders encoders = {source->encoders[SENSE_TEXT].text,
                                             source->encoders[SENSE_IMAGE].image,
                                             source->encoders[SENSE_AUDIO].audio, fusion};
    run r = {0};
    magpie_text note = {0};
    command_append_words(&note);
    magpie_ingest_options options = *source->catalogues;
    options.rejects = rejects;
    options.media_base = given.media_base;
    options.commit_items = given.commit_items;
    options.labels = (const magpie_labels *const *)labels;
    options.label_count = given.label_count;
    options.labels_least = given.labels_least;
    options.note = note.data;
    options.wait = given.wait;
    options.delete_missing = given.delete_missing;
    options.dry_run = given.dry_run;
    options.progress = show_progress;
    options.acknowledge = given.acknowledge ? acknowledge : NULL;
    options.context = &r;
    magpie_ingest_progress done;
    double index_seconds = 0;
    interrupt_listen();
    magpie_status status = magpie_ingest_run(store, &encoders, &options, &done);
    for (size_t i = 0; i < SENSES; i++) model_close(&source->encoders[i]); /* indexes want the memory */
    magpie_text_free(&r.line);
    magpie_text_free(&note);
    terminal_clear_progress();
    if (status == MAGPIE_OK && !given.dry_run) status = update_indexes(store, &index_seconds);
    if (status == MAGPIE_OK) return print_report(&done, rejects, index_seconds);
    if (status == MAGPIE_E_CANCELLED && ferror(stdout))
        status = magpie_fail(MAGPIE_E_IO, "cannot write standard output, and so stopped");
    print_error("%s (%zu items were committed by this run)%s", magpie_error(), done.committed,
                status == MAGPIE_E_NO_SPACE ? "; make room and run it again" : "");
    return status == MAGPIE_E_CANCELLED ? EXIT_INTERRUPTED : EXIT_FAILED;
}

static magpie_status open_encoders(const model_folders *folders, model_encoder out[SENSES]) {
    magpie_status status = MAGPIE_OK;
    for (model_sense sense = SENSE_TEXT; sense < SENSES && status == MAGPIE_OK; sense++)
        if (folders->of[sense]) status = model_open(folders->of[sense], sense, true, &out[sense]);
    return status;
}

static magpie_status open_labels(magpie_labels *out[LABELS_MOST]) {
    magpie_status status = MAGPIE_OK;
    for (size_t i = 0; i < given.label_count && status == MAGPIE_OK; i++)
        status = magpie_labels_open(given.labels[i], &out[i]);
    return status;
}

/* For a dry run: to be read, or, where there is none, an empty one in a folder of its own, *without, to be removed. */
static magpie_status open_to_try(magpie_store **store, char **without) {
    const char *folder = getenv("TMPDIR");
    char *data = magpie_path_join(storage_directory(), "data.mdb");
    if (!data) return MAGPIE_E_NO_MEMORY;
    const bool is_there = magpie_path_exists(data);
    free(data);
    if (is_there) return storage_open(STORAGE_READ, store);
    *without = magpie_path_join(folder && *folder ? folder : "/tmp", "magpie-dry-run-XXXXXX");
    if (!*without) return MAGPIE_E_NO_MEMORY;
    if (!mkdtemp(*without)) return magpie_fail_errno(errno, "cannot make the folder %s", *without);
    return magpie_store_open(*without, &(magpie_store_options){.create = true}, store);
}

static magpie_status remove_tried(char *without) {
    magpie_status status = without ? scratch_remove_folder(without) : MAGPIE_OK;
    free(without);
    return status;
}

/* Heads that do not fit leave no empty store behind either. */
static magpie_status open_store(const model_folders *folders, const model_encoder *encoders,
                                magpie_store **store, char **without, magpie_fusion **fusion) {
    heads_store spaces = {0};
    magpie_status status = heads_open(folders, encoders, &spaces, true, fusion);
    magpie_fusion_close(*fusion);
    *fusion = NULL;
    if (status == MAGPIE_OK)
        status = given.dry_run ? open_to_try(store, without) : storage_open(STORAGE_CREATE, store);
    if (status == MAGPIE_OK) status = heads_read_store(*store, &spaces);
    if (status == MAGPIE_OK) status = heads_open(folders, encoders, &spaces, false, fusion);
    return status == MAGPIE_OK && *fusion ? model_place(*fusion) : status;
}

exit_code ingest_into(const ingest_source *source) {
    magpie_store *store = NULL;
    magpie_fusion *fusion = NULL;
    magpie_labels *labels[LABELS_MOST] = {0};
    char *without = NULL;
    char *own_rejects = given.rejects ? NULL : magpie_path_join(storage_directory(), "rejects.jsonl");
    const char *rejects = given.rejects || given.dry_run ? given.rejects : own_rejects;
    magpie_status status = given.rejects || own_rejects ? open_labels(labels) : MAGPIE_E_NO_MEMORY;
    if (status == MAGPIE_OK)
        status = open_store(source->folders, source->encoders, &store, &without, &fusion);
    exit_code code = status == MAGPIE_OK ? fill(store, source, fusion, labels, rejects) : print_failure();
    magpie_store_close(store);
    if (remove_tried(without) != MAGPIE_OK && code == EXIT_FINE) code = print_failure();
    magpie_fusion_close(fusion);
    for (size_t i = 0; i < given.label_count; i++) magpie_labels_close(labels[i]);
    free(own_rejects);
    return code;
}

static exit_code run_ingest(char **words, int count) {
    operands files = {0};
    model_folders folders;
    model_encoder opened[SENSES] = {0};
    magpie_status status = operands_expand(words, count, &files);
    size_t picture_bytes = 0;
    magpie_ingest_options catalogues = {.catalogues = (const char *const *)files.paths,
                                        .catalogue_count = files.count,
                                        .format = given.format,
                                        .map = given.map};
    /* before anything is made: a misspelt name should leave no empty store behind */
    if (status == MAGPIE_OK) status = magpie_ingest_check(&catalogues);
    if (status == MAGPIE_OK) status = model_find(&folders);
    if (status == MAGPIE_OK) status = memory_divide(&folders, &catalogues.batch_bytes, &picture_bytes);
    model_limit_pictures(picture_bytes);
    if (status == MAGPIE_OK) status = open_encoders(&folders, opened);
    exit_code code =
        status == MAGPIE_OK ? ingest_into(&(ingest_source){&catalogues, &folders, opened}) : print_failure();
    for (size_t i = 0; i < SENSES; i++) model_close(&opened[i]);
    operands_free(&files);
    return code;
}

magpie_status ingest_parse_media_root(const char *value, void *target) {
    char *folder = *value ? magpie_path_join(value, "") : NULL; /* lasts as long as the process */
    *(const char **)target = folder;
    return folder ? MAGPIE_OK : magpie_fail(MAGPIE_E_ARGUMENT, "a folder is wanted");
}

static magpie_status parse_format(const char *value, void *target) {
    return magpie_catalogue_format_parse(value, target);
}

static magpie_status parse_labels_model(const char *value, void *target) {
    (void)target;
    if (!*value) return magpie_fail(MAGPIE_E_ARGUMENT, "it is empty");
    if (given.label_count == LABELS_MOST)
        return magpie_fail(MAGPIE_E_ARGUMENT, "%d at most are possible", LABELS_MOST);
    given.labels[given.label_count++] = value;
    return MAGPIE_OK;
}

static magpie_status parse_least(const char *value, void *target) {
    double *number = target;
    if (option_read_real(value, number) && *number <= 1) return MAGPIE_OK;
    return magpie_fail(MAGPIE_E_ARGUMENT, "a number from 0 to 1 is wanted, not \"%s\"", value);
}

static const option_row own_options[] = {
    {.name = "format",
     .argument = "NAME",
     .parse = parse_format,
     .target = &given.format,
     .help = "what the catalogues are: auto (the default: by name), jsonl, csv, tsv, folder or tar"},
    {.name = "map",
     .argument = "KEY=COLUMN,...",
     .string = &given.map,
     .help =
         "of a CSV or TSV, what its columns are: id=sku,text=title+description,image=photo,attributes=price"},
    {0}};

const option_row ingest_options[] = {
    {.name = "media-root",
     .argument = "DIR",
     .parse = ingest_parse_media_root,
     .target = &given.media_base,
     .help = "what relative paths of pictures and sounds are relative to (default: the catalogue's folder)"},
    {.name = "rejects",
     .argument = "FILE",
     .string = &given.rejects,
     .help =
         "where bad lines, pictures and sounds go, with number and reason (default: STORE/rejects.jsonl)"},
    {.name = "commit",
     .argument = "N",
     .number = &given.commit_items,
     .least = 1,
     .most = COMMIT_MOST,
     .help = "items a transaction (default: 256)"},
    {.name = "labels-model",
     .argument = "DIR",
     .parse = parse_labels_model,
     .help = "what magpie train labels has made: tells its attribute to items that lack it; may be repeated"},
    {.name = "labels-least",
     .argument = "P",
     .parse = parse_least,
     .target = &given.labels_least,
     .help = "the least probability with which it is told (default: 0.5)"},
    {.name = "delete-missing",
     .flag = &given.delete_missing,
     .help = "delete what is in the store and on no line of the catalogue"},
    {.name = "dry-run",
     .flag = &given.dry_run,
     .help =
         "read and decode all, say what would be done, and write nothing (but --rejects, where it is given)"},
    {.name = "wait",
     .flag = &given.wait,
     .help = "wait while another job fills the store, instead of failing"},
    {.name = "acknowledge",
     .flag = &given.acknowledge,
     .help = "print each id once it is durable; with --json as {\"id\": ...} lines before the report"},
    {0}};

static const option_row *const tables[] = {
    storage_options,        model_options, heads_weight_options, audio_seconds_options,
    passage_prefix_options, own_options,   ingest_options,       memory_options,
    ingest_report_options,  json_options,  build_options,        NULL};

const command ingest_command = {
    .name = "ingest",
    .summary = "read catalogues, encode what is new, store it",
    .operands = "CATALOGUE...",
    .least_operands = 1,
    .most_operands = INT_MAX,
    .tables = tables,
    .details =
        "CATALOGUE is a file of lines, or - for standard input:\n"
        "  {\"id\": \"...\", \"text\": \"...\", \"image\": \"PATH\", \"audio\": \"PATH\",\n"
        "   \"attributes\": {...}, \"timestamp\": seconds or \"2024-02-29T12:30:00Z\"}\n"
        "All but the id may be left out; relative paths are relative to the catalogue. Or it is a CSV or TSV "
        "whose header names these columns (--map: or others), a folder (photo.jpg, photo.txt and photo.json "
        "are the item photo), or a .tar in webdataset's layout (KEY.jpg, KEY.txt, KEY.json); each may be "
        "compressed: .gz, .zst, .xz, .bz2. Several are one job, in their order; a pattern in quotes is "
        "expanded, sorted.\n"
        "The job can be stopped anywhere and run again (or by magpie jobs resume): nothing that was "
        "committed "
        "is encoded twice. Of two lines with one id the first counts.\n"
        "Texts are encoded by a model of text, pictures by one of pictures, sounds by one of sounds; what "
        "there is no model for is kept as it is. A fusion model makes one vector of what an item has; the "
        "store remembers its weights, and magpie fuse changes them. A picture or sound that cannot be "
        "read leaves its item without it, and counts as refused (exit code 3); it is tried again when its "
        "file has changed.\n"
        "What a model of labels tells of an attribute NAME has NAME_probability beside it, which keeps "
        "magpie train labels from learning from it.\n",
    .run = run_ingest};
