/* audio_source.c - reads of a file or of memory within a window. */
#include "audio_source.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

magpie_status audio_source_open(audio_source *source, const magpie_media *sound) {
    *source = (audio_source){.fd = -1, .bytes = sound->bytes, .end = sound->bytes.size};
    source->allowance = AUDIO_ALLOWANCE;
    if (!sound->path) return MAGPIE_OK;
    /* O_NONBLOCK: opening a FIFO or a device would wait for its other end otherwise. */
    int fd = open(sound->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) return magpie_fail_errno(errno, "%s", sound->path);
    struct stat info;
    magpie_status status = MAGPIE_OK;
    if (fstat(fd, &info) != 0)
        status = magpie_fail_errno(errno, "%s", sound->path);
    else if (!S_ISREG(info.st_mode))
        status = magpie_fail(MAGPIE_E_INPUT, "%s: not a regular file", sound->path);
    if (status != MAGPIE_OK) {
        close(fd);
        return status;
    }
    source->fd = fd;
    source->end = (uint64_t)info.st_size;
    return MAGPIE_OK;
}

void audio_source_close(audio_source *source) {
    if (source->fd >= 0) close(source->fd);
    *source = (audio_source){.fd = -1};
}

static size_t read_at(audio_source *source, uint64_t at, uint8_t *to, size_t size) {
    if (at >= source->end) return 0;
    if (size > source->end - at) size = (size_t)(source->end - at);
    if (source->fd < 0) {
        memcpy(to, source->bytes.data + at, size);
        return size;
    }
    size_t done = 0;
    while (done < size) {
        ssize_t got = pread(source->fd, to + done, size - done, (off_t)(at + done));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) source->error_number = errno;
        if (got <= 0) break;
        done += (size_t)got;
    }
    return done;
}

size_t audio_source_read(audio_source *source, void *to, size_t size) {
    if (size > source->allowance) size = source->allowance;
    size_t got = read_at(source, source->at, to, size);
    source->allowance -= got;
    source->at += got;
    return got;
}

size_t audio_source_peek(audio_source *source, uint64_t offset, void *to, size_t size) {
    return offset > source->end - source->begin ? 0 : read_at(source, source->begin + offset, to, size);
}

int64_t audio_source_seek(audio_source *source, int64_t offset, int whence) {
    int64_t from = whence == SEEK_SET   ? (int64_t)source->begin
                   : whence == SEEK_CUR ? (int64_t)source->at
                                        : (int64_t)source->end;
    int64_t room = (int64_t)source->end - from;
    if (offset > room || offset < (int64_t)source->begin - from) return -1;
    source->at = (uint64_t)(from + offset);
    return (int64_t)(source->at - source->begin);
}
