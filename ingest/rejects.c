/* rejects.c - opened at the first bad line, so that a clean catalogue leaves no empty file behind; and at once where
 * there is something to be cut off. */
#include "rejects.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utf8proc.h>

static magpie_status open_stream(magpie_rejects *rejects) {
    struct stat st;
    int fd = open(rejects->path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) return magpie_fail_errno(errno, "cannot create %s", rejects->path);
    bool regular = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
    if (regular && (uint64_t)st.st_size > rejects->keep && ftruncate(fd, (off_t)rejects->keep) != 0) {
        magpie_status status = magpie_fail_errno(errno, "cannot cut %s", rejects->path);
        close(fd);
        return status;
    }
    off_t end = regular ? lseek(fd, 0, SEEK_END) : 0;
    rejects->keep = rejects->size = end > 0 ? (uint64_t)end : 0;
    rejects->stream = fdopen(fd, "w");
    if (rejects->stream) return MAGPIE_OK;
    close(fd);
    return magpie_fail(MAGPIE_E_NO_MEMORY, "out of memory for %s", rejects->path);
}

magpie_status magpie_rejects_begin(magpie_rejects *rejects, const char *path, uint64_t keep) {
    struct stat st;
    bool regular;
    *rejects = (magpie_rejects){.path = path, .keep = keep, .size = keep};
    /* a device or a pipe is written to as it is */
    regular = path && lstat(path, &st) == 0 && S_ISREG(st.st_mode);
    if (regular && keep && (uint64_t)st.st_size > keep) return open_stream(rejects);
    if (regular && !keep && unlink(path) != 0) return magpie_fail_errno(errno, "cannot replace %s", path);
    return MAGPIE_OK;
}

magpie_string magpie_reject_start(const magpie_line *line) {
    if (!line->data) return (magpie_string){0};
    size_t size = line->size;
    if (size > MAGPIE_REJECT_START)
        for (size = MAGPIE_REJECT_START; size > MAGPIE_REJECT_START - 4; size--)
            if (((unsigned char)line->data[size] & 0xC0) != 0x80) break;
    return (magpie_string){line->data, size};
}

/* Appends bytes as a JSON string; those that are not UTF-8 become U+FFFD. */
static void append_repaired(magpie_text *text, magpie_string bytes) {
    magpie_text repaired = {0};
    for (size_t i = 0; i < bytes.size;) {
        utf8proc_int32_t point;
        utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)bytes.data + i,
                                              (utf8proc_ssize_t)(bytes.size - i), &point);
        if (n > 0)
            magpie_text_append(&repaired, bytes.data + i, (size_t)n);
        else
            magpie_text_append(&repaired, "\xEF\xBF\xBD", 3);
        i += n > 0 ? (size_t)n : 1;
    }
    magpie_text_json_string(text, repaired.data, repaired.size);
    text->failed |= repaired.failed;
    magpie_text_free(&repaired);
}

static magpie_status write_line(magpie_rejects *rejects) {
    const magpie_text *line = &rejects->line;
    magpie_status status = magpie_text_status(line);
    if (status == MAGPIE_OK && !rejects->stream) status = open_stream(rejects);
    if (status != MAGPIE_OK) return status;
    rejects->size += line->size;
    if (fwrite(line->data, 1, line->size, rejects->stream) == line->size) return MAGPIE_OK;
    return magpie_fail_errno(errno, "cannot write %s", rejects->path);
}

static void append_place(magpie_text *line, const char *catalogue, size_t number) {
    magpie_text_printf(line, "{");
    if (catalogue) {
        magpie_text_printf(line, "\"catalogue\": ");
        append_repaired(line, magpie_string_of(catalogue));
        magpie_text_printf(line, ", ");
    }
    magpie_text_printf(line, "\"line\": %zu, ", number);
}

magpie_status magpie_rejects_add(magpie_rejects *rejects, const char *catalogue, size_t number,
                                 const char *reason, magpie_string id, magpie_string start) {
    if (!rejects->path) return MAGPIE_OK;
    magpie_text *line = &rejects->line;
    magpie_text_clear(line);
    append_place(line, catalogue, number);
    magpie_text_printf(line, "\"reason\": ");
    append_repaired(line, magpie_string_of(reason)); /* before the next failure overwrites it */
    if (id.size && id.size <= MAGPIE_ID_MAX) {
        magpie_text_printf(line, ", \"id\": ");
        append_repaired(line, id);
    }
    magpie_text_printf(line, ", \"start\": ");
    append_repaired(line, start);
    magpie_text_printf(line, "}\n");
    return write_line(rejects);
}

magpie_status magpie_rejects_add_modality(magpie_rejects *rejects, const char *catalogue, size_t number,
                                          magpie_string id, const char *modality, magpie_string reason) {
    if (!rejects->path) return MAGPIE_OK;
    magpie_text *line = &rejects->line;
    magpie_text_clear(line);
    append_place(line, catalogue, number);
    magpie_text_printf(line, "\"id\": ");
    magpie_text_json_string(line, id.data, id.size);
    magpie_text_printf(line, ", \"modality\": \"%s\", \"kept\": true, \"reason\": ", modality);
    magpie_text_json_string(line, reason.data, reason.size);
    magpie_text_printf(line, "}\n");
    return write_line(rejects);
}

magpie_status magpie_rejects_sync(magpie_rejects *rejects) {
    if (!rejects->stream) return MAGPIE_OK;
    if (fflush(rejects->stream) != 0) return magpie_fail_errno(errno, "cannot write %s", rejects->path);
    if (rejects->size > rejects->keep && fdatasync(fileno(rejects->stream)) != 0 && errno != EINVAL &&
        errno != EROFS)
        return magpie_fail_errno(errno, "cannot write %s", rejects->path); /* EINVAL: a pipe or a terminal */
    rejects->keep = rejects->size;
    return MAGPIE_OK;
}

void magpie_rejects_close(magpie_rejects *rejects) {
    if (rejects->stream) fclose(rejects->stream);
    magpie_text_free(&rejects->line);
    *rejects = (magpie_rejects){0};
}
