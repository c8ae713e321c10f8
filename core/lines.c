/* lines.c - a file, a pipe or any stream of bytes, line by line, in memory bounded by the limit on a line. */
#include "core.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { READ_BYTES = 1 << 18 };

struct magpie_lines {
    int fd;               /* -1: it is a stream */
    magpie_stream stream; /* without a file */
    char *path;
    char *buffer; /* [capacity + 1]; bytes start .. end are read and not yet given out */
    size_t capacity, start, end, limit, number;
    uint64_t offset, total; /* offset: in the file, of buffer[start] */
    bool at_end;
};

static magpie_status create(const magpie_lines *begin, const char *name, magpie_lines **out) {
    magpie_lines *lines = magpie_alloc(1, sizeof *lines);
    if (!lines) return MAGPIE_E_NO_MEMORY;
    *lines = *begin;
    lines->path = strdup(name);
    /* a whole line of the limit and one read fit */
    lines->capacity = lines->limit + READ_BYTES;
    lines->buffer = malloc(lines->capacity + 1);
    if (lines->path && lines->buffer) return *out = lines, MAGPIE_OK;
    free(lines->path);
    free(lines->buffer);
    free(lines);
    return magpie_fail(MAGPIE_E_NO_MEMORY, "out of memory for lines of %s", name);
}

magpie_status magpie_lines_open(const char *path, size_t limit, uint64_t offset, size_t number,
                                magpie_lines **out) {
    bool standard_input = strcmp(path, "-") == 0;
    int fd = standard_input ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return magpie_fail_errno(errno, "cannot open %s", standard_input ? "standard input" : path);
    struct stat st;
    bool regular = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
    magpie_status status = MAGPIE_OK;
    if (S_ISDIR(st.st_mode)) status = magpie_fail(MAGPIE_E_INPUT, "%s is a folder", path);
    if (status == MAGPIE_OK && offset && lseek(fd, (off_t)offset, SEEK_SET) < 0)
        status =
            magpie_fail_errno(errno, "cannot go on at byte %llu of %s", (unsigned long long)offset, path);
    const magpie_lines begin = {.fd = fd,
                                .limit = limit,
                                .number = number,
                                .offset = offset,
                                .total = regular ? (uint64_t)st.st_size : 0};
    if (status == MAGPIE_OK) status = create(&begin, standard_input ? "standard input" : path, out);
    if (status != MAGPIE_OK) close(fd);
    return status;
}

magpie_status magpie_lines_open_stream(const magpie_stream *stream, const char *name, size_t limit,
                                       magpie_lines **out) {
    const magpie_lines begin = {.fd = -1, .stream = *stream, .limit = limit};
    return create(&begin, name, out);
}

static magpie_status read_file(const magpie_lines *lines, char *to, size_t most, size_t *got) {
    ssize_t n;
    do n = read(lines->fd, to, most);
    while (n < 0 && errno == EINTR);
    if (n < 0) return magpie_fail_errno(errno, "cannot read %s", lines->path);
    *got = (size_t)n;
    return MAGPIE_OK;
}

static magpie_status refill(magpie_lines *lines) {
    if (lines->start) {
        memmove(lines->buffer, lines->buffer + lines->start, lines->end - lines->start);
        lines->end -= lines->start;
        lines->start = 0;
    }
    char *to = lines->buffer + lines->end;
    size_t most = lines->capacity - lines->end, got = 0;
    magpie_status status = lines->fd < 0 ? lines->stream.read(lines->stream.context, to, most, &got)
                                         : read_file(lines, to, most, &got);
    if (status != MAGPIE_OK) return status;
    lines->at_end = got == 0;
    lines->end += got;
    return MAGPIE_OK;
}

magpie_status magpie_lines_next(magpie_lines *lines, magpie_line *line, bool *got) {
    size_t searched = 0; /* bytes after start known to hold no newline */
    size_t dropped = 0;  /* bytes of an over-long line already forgotten */
    *got = false;
    for (;;) {
        char *from = lines->buffer + lines->start;
        size_t have = lines->end - lines->start;
        char *newline = memchr(from + searched, '\n', have - searched);
        if (newline || (lines->at_end && (have || dropped))) {
            size_t size = newline ? (size_t)(newline - from) : have, whole = dropped + size;
            from[size] = 0; /* over the newline, or into the spare byte behind the buffer */
            lines->start += size + (newline != NULL);
            lines->offset += size + (newline != NULL);
            bool too_long = whole > lines->limit;
            *line = (magpie_line){too_long ? NULL : from, whole, ++lines->number, lines->offset, too_long};
            *got = true;
            return MAGPIE_OK;
        }
        if (lines->at_end) return MAGPIE_OK;
        searched = have;
        if (have > lines->limit) {
            dropped += have;
            lines->offset += have;
            lines->start = lines->end;
            searched = 0;
        }
        magpie_status status = refill(lines);
        if (status != MAGPIE_OK) return status;
    }
}

uint64_t magpie_lines_total_bytes(const magpie_lines *lines) { return lines->total; }

void magpie_lines_close(magpie_lines *lines) {
    if (!lines) return;
    if (lines->fd >= 0) close(lines->fd);
    free(lines->path);
    free(lines->buffer);
    free(lines);
}
