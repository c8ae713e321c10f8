/* sink.h - where vectors go: JSON lines, .npy, or text that is made elsewhere; a file or standard output. */
#ifndef MAGPIE_SINK_H
#define MAGPIE_SINK_H

#include "encoders.h"

typedef enum sink_format { SINK_JSONL, SINK_NPY, SINK_TEXT } sink_format;

typedef struct sink {
    sink_format format;
    size_t dimension;
    uint64_t rows;            /* so far */
    FILE *stream;             /* standard output, the atomic file's, or `spool` */
    magpie_atomic_file *file; /* NULL: standard output */
    FILE *spool;      /* .npy on standard output: its header, which counts the rows, can only come last */
    const char *name; /* for messages */
    magpie_text text;
} sink;

/* `path` NULL: standard output. A file appears under its name when it is whole. */
MAGPIE_CHECK_RESULT magpie_status sink_open(sink *s, sink_format format, const char *path, size_t dimension);
/* ids [n]; vectors [n, dimension]; outcomes [n]: where one is not MAGPIE_OK, its reason is written in place
 * of the vector (JSON lines) or it should not have come here (.npy). */
MAGPIE_CHECK_RESULT magpie_status sink_write(sink *s, const magpie_string *ids, const float *vectors,
                                             const magpie_outcome *outcomes, size_t n);
MAGPIE_CHECK_RESULT magpie_status sink_write_text(sink *s, magpie_string text); /* SINK_TEXT: as it is */
MAGPIE_CHECK_RESULT magpie_status sink_finish(sink *s); /* closes it, whatever comes of it */
void sink_abort(sink *s);                               /* a file that was being written is not left behind */

#endif
