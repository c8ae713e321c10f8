/* rejects.h - the file of lines that were refused, and of pictures and sounds. Private to ingest/. */
#ifndef MAGPIE_REJECTS_H
#define MAGPIE_REJECTS_H

#include "index.h"

enum { MAGPIE_REJECT_START = 200 /* bytes of a bad line that are shown */ };

typedef struct magpie_rejects {
    const char *path; /* NULL: none is written */
    FILE *stream;     /* NULL until there is something to write */
    uint64_t keep;    /* bytes of the file that earlier runs of this job wrote and committed */
    uint64_t size;    /* bytes of the file now */
    magpie_text line;
} magpie_rejects;

/* `keep` 0 is a fresh start: what an earlier job left under this name is removed, so that no one takes it for
 * this one's. Else that many bytes stay, and what is beyond them, written but never committed, will be
 * written again. */
MAGPIE_CHECK_RESULT magpie_status magpie_rejects_begin(magpie_rejects *rejects, const char *path,
                                                       uint64_t keep);
/* The first bytes of a line, cut between two characters. */
magpie_string magpie_reject_start(const magpie_line *line);
/* One line. `catalogue` NULL: it need not be named. `id` may be empty; one that is too long is none, and
 * `start` shows it. `start` [start_size] are the line's first bytes, and need not be UTF-8. */
MAGPIE_CHECK_RESULT magpie_status magpie_rejects_add(magpie_rejects *rejects, const char *catalogue,
                                                     size_t number, const char *reason, magpie_string id,
                                                     magpie_string start);
/* One line, of an item that is kept without one of its modalities. `reason` is UTF-8. */
MAGPIE_CHECK_RESULT magpie_status magpie_rejects_add_modality(magpie_rejects *rejects, const char *catalogue,
                                                              size_t number, magpie_string id,
                                                              const char *modality, magpie_string reason);
/* What was added is on the disk. To be called before the commit whose checkpoint lies after those lines. */
MAGPIE_CHECK_RESULT magpie_status magpie_rejects_sync(magpie_rejects *rejects);
void magpie_rejects_close(magpie_rejects *rejects); /* what was not synced may be lost */

#endif
