/* sink.c - the two formats of magpie encode. */
#include "sink.h"
#include "vector_text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { COPY_BYTES = 1 << 16 };

static magpie_status write_failed(const sink *s) {
    return magpie_fail_errno(errno, "cannot write %s", s->name);
}

static magpie_status write_header(const sink *s) {
    char header[MAGPIE_NPY_HEADER];
    magpie_npy_header(s->rows, s->dimension, header);
    return fwrite(header, 1, sizeof header, s->stream) == sizeof header ? MAGPIE_OK : write_failed(s);
}

/* A file without a name, in TMPDIR. */
static FILE *open_spool(void) {
    const char *folder = getenv("TMPDIR");
    char *path = magpie_path_join(folder && *folder ? folder : "/tmp", "magpie-XXXXXX");
    int fd = path ? mkstemp(path) : -1;
    if (fd >= 0) unlink(path);
    free(path);
    return fd >= 0 ? fdopen(fd, "w+") : NULL;
}

magpie_status sink_open(sink *s, sink_format format, const char *path, size_t dimension) {
    *s = (sink){
        .format = format, .dimension = dimension, .name = path ? path : "standard output", .stream = stdout};
    magpie_status status = MAGPIE_OK;
    if (path) {
        status = magpie_atomic_open(path, &s->file);
        if (status == MAGPIE_OK) s->stream = magpie_atomic_stream(s->file);
    } else if (format == SINK_NPY) {
        s->stream = s->spool = open_spool();
        if (!s->spool) status = magpie_fail_errno(errno, "cannot create a temporary file in TMPDIR");
    }
    if (status == MAGPIE_OK && format == SINK_NPY) status = write_header(s); /* holds its place */
    if (status != MAGPIE_OK) sink_abort(s);
    return status;
}

/* As much of the words as is UTF-8: they were cut to fit, maybe in the middle of a character. */
static void append_reason(magpie_text *out, const char *reason) {
    magpie_string words = magpie_string_of(reason);
    while (words.size && magpie_utf8_check(words) != MAGPIE_OK) words.size--;
    magpie_text_json_string(out, words.data, words.size);
}

magpie_status sink_write_text(sink *s, magpie_string text) {
    bool written = fwrite(text.data, 1, text.size, s->stream) == text.size;
    return written && fflush(s->stream) == 0 ? MAGPIE_OK
                                             : write_failed(s); /* the next program waits for it */
}

static magpie_status write_jsonl(sink *s, const magpie_string *ids, const float *vectors,
                                 const magpie_outcome *outcomes, size_t n) {
    magpie_text_clear(&s->text);
    for (size_t i = 0; i < n; i++) {
        magpie_text_append(&s->text, "{\"id\": ", 7);
        magpie_text_json_string(&s->text, ids[i].data, ids[i].size);
        if (outcomes[i].status == MAGPIE_OK) {
            magpie_text_append(&s->text, ", \"vector\": ", 12);
            vector_append_json(&s->text, vectors + i * s->dimension, s->dimension);
        } else {
            magpie_text_append(&s->text, ", \"error\": ", 11);
            append_reason(&s->text, outcomes[i].reason);
        }
        magpie_text_append(&s->text, "}\n", 2);
    }
    magpie_status status = magpie_text_status(&s->text);
    if (status != MAGPIE_OK) return status;
    return sink_write_text(s, (magpie_string){s->text.data, s->text.size});
}

magpie_status sink_write(sink *s, const magpie_string *ids, const float *vectors,
                         const magpie_outcome *outcomes, size_t n) {
    s->rows += n;
    if (!n) return MAGPIE_OK;
    if (s->format == SINK_JSONL) return write_jsonl(s, ids, vectors, outcomes, n);
    size_t numbers = n * s->dimension;
    return fwrite(vectors, sizeof *vectors, numbers, s->stream) == numbers ? MAGPIE_OK : write_failed(s);
}

static magpie_status copy_spool(sink *s) {
    char *bytes = magpie_alloc(COPY_BYTES, 1);
    if (!bytes) return MAGPIE_E_NO_MEMORY;
    magpie_status status = fseek(s->spool, 0, SEEK_SET) == 0 ? MAGPIE_OK : write_failed(s);
    for (size_t n; status == MAGPIE_OK && (n = fread(bytes, 1, COPY_BYTES, s->spool)) > 0;)
        if (fwrite(bytes, 1, n, stdout) != n) status = write_failed(s);
    if (status == MAGPIE_OK && (ferror(s->spool) || fflush(stdout) != 0)) status = write_failed(s);
    free(bytes);
    return status;
}

magpie_status sink_finish(sink *s) {
    magpie_status status = MAGPIE_OK;
    if (s->format == SINK_NPY) {
        if (fseek(s->stream, 0, SEEK_SET) != 0) status = write_failed(s);
        if (status == MAGPIE_OK) status = write_header(s);
        if (status == MAGPIE_OK && fflush(s->stream) != 0) status = write_failed(s);
    }
    if (status == MAGPIE_OK && s->spool) status = copy_spool(s);
    if (status == MAGPIE_OK && s->file) {
        status = magpie_atomic_commit(s->file);
        s->file = NULL;
    }
    sink_abort(s);
    return status;
}

void sink_abort(sink *s) {
    magpie_atomic_abort(s->file);
    if (s->spool) fclose(s->spool);
    magpie_text_free(&s->text);
    *s = (sink){0};
}
