/* ingest.h - a job that reads a catalogue, encodes what is new in it, commits, and can be stopped anywhere.
 *
 * A CATALOGUE is a file of lines, one JSON object an item; all but the id may be absent or null:
 *
 *     {"id": "...", "text": "...", "image": "PATH", "audio": "PATH", "attributes": {...}, "timestamp": ...}
 *
 * id: 1-511 bytes of UTF-8. timestamp: seconds since 1970 (a number) or RFC 3339 (a string). Relative paths
 * are relative to the catalogue's folder. Unknown keys are refused, so that a misspelt one is not lost in
 * silence. Blank lines are passed over.
 *
 * WHAT IS DONE TWICE. Nothing that was committed is encoded again: a line whose content is in the store is
 * skipped, one that differs in its attributes, references or timestamp alone keeps its vectors. A job that
 * was killed goes on where its last commit was, and a whole second run is only a reading of the catalogue.
 * The passage prefix of the encoder counts as content: with another one, everything is encoded anew.
 *
 * GOING ON. Each transaction holds a checkpoint beside its items. It is used where the catalogue's path,
 * size, inode and time of change are what they were; a catalogue that was changed, and a pipe, are read from
 * the start, which costs reading alone. The last transaction removes it. An item that is deleted between
 * the stopped run and the one that goes on is not put back by the latter.
 *
 * BAD LINES (broken JSON or UTF-8, no id or an over-long one, over 1 MiB) go to a rejects file, one JSON
 * object a line: {"line", "reason", "id"?, "start": the first bytes of the line}; the job goes on. A run
 * that goes on from a checkpoint appends to the file, any other replaces it.
 *
 * THE SAME ID TWICE in one catalogue: the first line that can be read counts. A later one with the same
 * content is passed over as unchanged, one with other content is rejected. So a second run finds everything
 * unchanged, wherever the first one was stopped. Costs 11 to 22 bytes of memory a line.
 *
 * An item of this version gets a text vector, and its fused vector is the same: images and sounds are kept as
 * references until their encoders come. An item without text is kept without vectors. */
#ifndef MAGPIE_INGEST_H
#define MAGPIE_INGEST_H

#include "core.h"
#include "encoders.h"
#include "index.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { MAGPIE_LINE_MAX = 1 << 20 /* bytes of a catalogue's line */ };

/* One line, parsed. Everything points into the line's own memory, which magpie_catalogue_line_free gives
 * back, and ends with a NUL that its size does not count. A text that is "" has data, one that is absent has
 * none. */
typedef struct magpie_catalogue_line {
    magpie_item item; /* hashes included; attributes as compact JSON with sorted keys */
    void *memory;
} magpie_catalogue_line;

/* MAGPIE_E_INPUT or MAGPIE_E_TOO_LARGE with the reason in words; where the id could be read, out->item.id has
 * it even then, and _free is due in any case. */
MAGPIE_CHECK_RESULT magpie_status magpie_catalogue_parse(const char *line, size_t size,
                                                         magpie_catalogue_line *out);
void magpie_catalogue_line_free(magpie_catalogue_line *line);

typedef struct magpie_ingest_progress {
    size_t lines;     /* read, in this run */
    size_t encoded;   /* items committed with vectors that this run computed */
    size_t updated;   /* items committed without: their attributes changed, or they have no text */
    size_t unchanged; /* items that were in the store already */
    size_t rejected;  /* lines in the rejects file: with those of the run that this one goes on from */
    size_t committed; /* items made durable by this run: encoded + updated */
    uint64_t bytes, total_bytes;           /* of the catalogue; total 0: not known (a pipe) */
    double seconds;                        /* since the start of this run */
    double encode_seconds, commit_seconds; /* of these, where the time went */
    size_t resumed_at; /* lines skipped because an earlier run had committed them; 0: from the start */
} magpie_ingest_progress;

typedef struct magpie_ingest_options {
    const char *catalogue; /* a path, or "-" for standard input */
    const char *rejects;   /* a path; NULL: none is written. Made when the first line is rejected. */
    size_t commit_items;   /* a transaction; 0 for 256 */
    /* Called after each commit and some times a second between; false stops the job after what is durable,
     * with MAGPIE_E_CANCELLED. NULL: none. */
    bool (*progress)(void *context, const magpie_ingest_progress *progress);
    /* Called once for each item that this run wrote, when it is durable. NULL: none. */
    void (*acknowledge)(void *context, magpie_string id);
    void *context;
} magpie_ingest_options;

/* Runs the job to its end. `encoder` fills the text space and the fused one; the store is bound to it first,
 * and refused where another model filled it. `report` (may be NULL) is filled in any case. The vector index
 * is not touched: magpie_index_refresh takes the new items in. MAGPIE_E_NO_SPACE: what was committed stays;
 * run again when there is room. */
MAGPIE_CHECK_RESULT magpie_status magpie_ingest_run(magpie_store *store, magpie_text_encoder *encoder,
                                                    const magpie_ingest_options *options,
                                                    magpie_ingest_progress *report);

#ifdef __cplusplus
}
#endif
#endif
