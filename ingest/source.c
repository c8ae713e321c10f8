/* source.c - which kind a catalogue is, and one after the other. */
#include "source.h"
#include "source_bytes.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

static const struct {
    const char *name, *endings[2];
    const magpie_source_kind *kind;
} formats[] = {
    [MAGPIE_CATALOGUE_BY_NAME] = {"auto", {NULL}, NULL},
    [MAGPIE_CATALOGUE_JSONL] = {"jsonl", {".jsonl"}, &magpie_source_lines},
    [MAGPIE_CATALOGUE_CSV] = {"csv", {".csv"}, &magpie_source_csv},
    [MAGPIE_CATALOGUE_TSV] = {"tsv", {".tsv"}, &magpie_source_csv},
    [MAGPIE_CATALOGUE_FOLDER] = {"folder", {NULL}, &magpie_source_folder},
    [MAGPIE_CATALOGUE_TAR] = {"tar", {".tar", ".tgz"}, &magpie_source_tar},
};
enum { FORMATS = sizeof formats / sizeof *formats };

struct magpie_sources {
    const magpie_ingest_options *options;
    char **names; /* [options->catalogue_count]: a folder's has a slash behind it */
    size_t file;  /* which of them is open, or comes next */
    const magpie_source_kind *kind;
    void *source;    /* NULL: none is open */
    uint64_t offset; /* where the next one begins, */
    size_t after;    /* and entries of the open one that are passed over */
    uint64_t bytes_before, total;
    size_t passed_over;
};

/* ---- what a catalogue is ------------------------------------------------------------------------------- */

magpie_status magpie_catalogue_format_parse(const char *name, magpie_catalogue_format *out) {
    for (unsigned f = 0; f < FORMATS; f++)
        if (strcmp(formats[f].name, name) == 0) return *out = (magpie_catalogue_format)f, MAGPIE_OK;
    return magpie_fail(MAGPIE_E_ARGUMENT, "auto, jsonl, csv, tsv, folder or tar is wanted, not \"%s\"", name);
}

static bool is_folder(const char *path) {
    struct stat st;
    return strcmp(path, "-") != 0 && stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static magpie_catalogue_format find_format(const char *path) {
    const size_t size = magpie_bytes_bare_name(path);
    if (is_folder(path)) return MAGPIE_CATALOGUE_FOLDER;
    for (unsigned f = MAGPIE_CATALOGUE_JSONL; f < FORMATS; f++)
        for (size_t e = 0; e < 2 && formats[f].endings[e]; e++) {
            const size_t n = strlen(formats[f].endings[e]);
            if (size >= n && memcmp(path + size - n, formats[f].endings[e], n) == 0)
                return (magpie_catalogue_format)f;
        }
    return MAGPIE_CATALOGUE_JSONL;
}

static magpie_status open_kind(const magpie_ingest_options *options, const magpie_source_start *from,
                               const magpie_source_kind **kind, void **out) {
    magpie_source_start start = *from;
    start.map = options->map;
    start.line_max = options->line_max ? options->line_max : MAGPIE_LINE_MAX;
    start.format = options->format ? options->format : find_format(start.path);
    if (is_folder(start.path) != (start.format == MAGPIE_CATALOGUE_FOLDER))
        return magpie_fail(MAGPIE_E_INPUT, "%s is %s", start.path,
                           is_folder(start.path) ? "a folder" : "no folder");
    *kind = formats[start.format].kind;
    if (start.map && *kind != &magpie_source_csv)
        return magpie_fail(MAGPIE_E_ARGUMENT, "%s has no columns that a map could be of", start.path);
    return (*kind)->open(&start, out);
}

magpie_status magpie_ingest_check(const magpie_ingest_options *options) {
    magpie_status status = MAGPIE_OK;
    for (size_t i = 0; i < options->catalogue_count && status == MAGPIE_OK; i++) {
        const magpie_source_start start = {.path = options->catalogues[i]};
        const magpie_source_kind *kind;
        void *source;
        struct stat st;
        if (strcmp(start.path, "-") == 0) continue;
        /* who opens a pipe takes from it */
        if (stat(start.path, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) continue;
        status = open_kind(options, &start, &kind, &source);
        if (status == MAGPIE_OK) kind->close(source);
    }
    return status;
}

uint64_t magpie_sources_salt(const magpie_ingest_options *options) {
    const char *map = options->map ? options->map : "";
    if (!options->format && !*map) return 0;
    return XXH3_64bits_withSeed(map, strlen(map), 1 + options->format);
}

/* ---- all of them --------------------------------------------------------------------------------------- */

static magpie_status take_names(magpie_sources *s) {
    const size_t n = s->options->catalogue_count;
    s->names = magpie_alloc(n, sizeof *s->names);
    if (!s->names) return MAGPIE_E_NO_MEMORY;
    for (size_t i = 0; i < n; i++) {
        const char *path = s->options->catalogues[i];
        s->names[i] = is_folder(path) ? magpie_path_join(path, "") : strdup(path);
        if (!s->names[i]) return magpie_fail(MAGPIE_E_NO_MEMORY, "out of memory");
    }
    return MAGPIE_OK;
}

/* false, and 0, for what is no regular file. */
static bool find_size(const char *path, uint64_t *out) {
    struct stat st;
    const int result = strcmp(path, "-") == 0 ? fstat(STDIN_FILENO, &st) : stat(path, &st);
    const bool regular = result == 0 && S_ISREG(st.st_mode);
    *out = regular ? (uint64_t)st.st_size : 0;
    return regular;
}

static void add_sizes(magpie_sources *s) {
    bool known = true;
    for (size_t i = 0; i < s->options->catalogue_count; i++) {
        uint64_t size;
        known &= find_size(s->options->catalogues[i], &size);
        s->total += size;
        if (i < s->file) s->bytes_before += size;
    }
    if (!known) s->total = 0;
}

magpie_status magpie_sources_open(const magpie_ingest_options *options, size_t file, uint64_t offset,
                                  size_t after, magpie_sources **out) {
    if (!options->catalogue_count) return magpie_fail(MAGPIE_E_ARGUMENT, "there is no catalogue");
    magpie_sources *s = magpie_alloc(1, sizeof *s);
    if (!s) return MAGPIE_E_NO_MEMORY;
    *s = (magpie_sources){.options = options, .file = file, .offset = offset, .after = after};
    add_sizes(s);
    magpie_status status = take_names(s);
    if (status == MAGPIE_OK)
        *out = s;
    else
        magpie_sources_close(s);
    return status;
}

static void close_source(magpie_sources *s) {
    if (!s->source) return;
    if (s->kind->passed_over) s->passed_over += s->kind->passed_over(s->source);
    s->kind->close(s->source);
    s->source = NULL;
}

static void go_to_next(magpie_sources *s) {
    uint64_t size;
    close_source(s);
    (void)find_size(s->options->catalogues[s->file++], &size);
    s->bytes_before += size;
    s->offset = s->after = 0;
}

static magpie_status next_of_source(magpie_sources *s, magpie_entry *out, bool *got) {
    const magpie_source_start start = {
        .path = s->options->catalogues[s->file], .offset = s->offset, .after = s->after};
    magpie_status status = s->source ? MAGPIE_OK : open_kind(s->options, &start, &s->kind, &s->source);
    *got = true;
    while (status == MAGPIE_OK && *got) {
        const char *name = s->names[s->file], *base = s->options->media_base;
        *out = (magpie_entry){.origin = {.catalogue = name, .base = base ? base : name}, .file = s->file};
        status = s->kind->next(s->source, out, got);
        if (status == MAGPIE_OK && *got && out->line.number > s->after) break;
    }
    return status;
}

magpie_status magpie_sources_next(magpie_sources *s, magpie_entry *out, bool *got) {
    magpie_status status = MAGPIE_OK;
    *got = false;
    while (s->file < s->options->catalogue_count && !*got && status == MAGPIE_OK) {
        status = next_of_source(s, out, got);
        if (status == MAGPIE_OK && !*got) go_to_next(s);
    }
    out->bytes = s->bytes_before + out->line.end_offset;
    return status;
}

uint64_t magpie_sources_total_bytes(const magpie_sources *s) { return s->total; }

size_t magpie_sources_passed_over(const magpie_sources *s) {
    return s->passed_over + (s->source && s->kind->passed_over ? s->kind->passed_over(s->source) : 0);
}

void magpie_sources_close(magpie_sources *s) {
    if (!s) return;
    close_source(s);
    for (size_t i = 0; s->names && i < s->options->catalogue_count; i++) free(s->names[i]);
    free(s->names);
    free(s);
}
