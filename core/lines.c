/* lines.c - a file or a pipe, line by line, in memory bounded by the limit on a line. */
#include "core.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { READ_BYTES = 1 << 18 };

struct magpie_lines {
    int fd;
    char *path;
    char *buffer; /* [capacity + 1]; bytes start .. end are read and not yet given out */
    size_t capacity, start, end, limit, number;
    uint64_t offset, total; /* offset: in the file, of buffer[start] */
    bool at_end;
};

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
    magpie_lines *lines = status == MAGPIE_OK ? magpie_alloc(1, sizeof *lines) : NULL;
    if (lines) {
        *lines = (magpie_lines){.fd = fd, .limit = limit, .number = number, .offset = offset};
        lines->total = regular ? (uint64_t)st.st_size : 0;
        lines->path = strdup(standard_input ? "standard input" : path);
        /* a whole line of the limit and one read fit */
        lines->capacity = limit + READ_BYTES;
        lines->buffer = malloc(lines->capacity + 1);
    }
    if (!lines || !lines->path || !lines->buffer) {
        close(fd);
        if (lines) {
            free(lines->path);
            free(lines->buffer);
            free(lines);
        }
        return status != MAGPIE_OK ? status
                                   : magpie_fail(MAGPIE_E_NO_MEMORY, "out of memory for lines of %s", path);
    }
    *out = lines;
    return MAGPIE_OK;
}

static magpie_status refill(magpie_lines *lines) {
    if (lines->start) {
        memmove(lines->buffer, lines->buffer + lines->start, lines->end - lines->start);
        lines->end -= lines->start;
        lines->start = 0;
    }
    ssize_t n;
    do n = read(lines->fd, lines->buffer + lines->end, lines->capacity - lines->end);
    while (n < 0 && errno == EINTR);
    if (n < 0) return magpie_fail_errno(errno, "cannot read %s", lines->path);
    if (n == 0) lines->at_end = true;
    lines->end += (size_t)n;
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
    close(lines->fd);
    free(lines->path);
    free(lines->buffer);
    free(lines);
}
