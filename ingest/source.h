/* source.h - catalogues, whatever they are files of: one item after the other, each as a line of JSON.
 * Private to ingest/.
 *
 * A KIND of source (a row in source.c) makes of its records what a catalogue of JSON lines would say: so
 * limits, words and hashes are those of catalogue.c for all of them. What only an archive has beside the
 * line are the bytes of the item's picture and sound.
 *
 * GOING ON. Lines of a file that is not compressed go on at a byte; everything else is read from its
 * start, and what was committed is passed over. */
#ifndef MAGPIE_SOURCE_H
#define MAGPIE_SOURCE_H

#include "media.h"

/* An item of a catalogue, or what should have been one. */
typedef struct magpie_entry {
    magpie_line
        line; /* number: of line, record or item, in its catalogue. end_offset: bytes of its file read */
    /* NULL, or why there is no item; the line has what the record begins with. The source's, like all but the
     * catalogue's name, until the next call. */
    const char *bad;
    magpie_string id; /* of what is bad, where it is known */
    magpie_origin origin;
    size_t file;    /* which of the catalogues */
    uint64_t bytes; /* of all catalogues, read so far */
} magpie_entry;

typedef struct magpie_sources magpie_sources;

/* The catalogues of `options` in their order. Goes on after entry number `after` of catalogue `file`,
 * behind which a file of lines goes on at byte `offset`. */
MAGPIE_CHECK_RESULT magpie_status magpie_sources_open(const magpie_ingest_options *options, size_t file,
                                                      uint64_t offset, size_t after, magpie_sources **out);
/* *got false at the end of all. MAGPIE_E_CORRUPT: a file is cut off or damaged; what came before is whole. */
MAGPIE_CHECK_RESULT magpie_status magpie_sources_next(magpie_sources *sources, magpie_entry *out, bool *got);
uint64_t magpie_sources_total_bytes(const magpie_sources *sources); /* 0: not known */
size_t magpie_sources_passed_over(const magpie_sources *sources);   /* files that are of no kind of ours */
void magpie_sources_close(magpie_sources *sources);

/* What decides, besides the catalogue, which items it has. */
uint64_t magpie_sources_salt(const magpie_ingest_options *options);

/* ---- the kinds ---- */

typedef struct magpie_source_start {
    const char *path;
    magpie_catalogue_format format; /* never MAGPIE_CATALOGUE_BY_NAME */
    const char *map;                /* NULL: none */
    size_t line_max;                /* bytes of a line of JSON */
    uint64_t offset;
    size_t after; /* what comes before may be given out without its files' bytes: no one looks at it */
} magpie_source_start;

typedef struct magpie_source_kind {
    magpie_status (*open)(const magpie_source_start *start, void **source);
    /* Fills in line, bad and origin; `out` is all zero before, but for origin.catalogue. */
    magpie_status (*next)(void *source, magpie_entry *out, bool *got);
    size_t (*passed_over)(const void *source); /* NULL: nothing ever is */
    void (*close)(void *source);
} magpie_source_kind;

extern const magpie_source_kind magpie_source_lines, magpie_source_csv, magpie_source_folder,
    magpie_source_tar;

/* Of the files below a folder that may be items: so of what a job would find. */
MAGPIE_CHECK_RESULT magpie_status magpie_folder_hash(const char *path, uint64_t *out);

#endif
