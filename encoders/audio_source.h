/* audio_source.h - the bytes of a sound, from a regular file or from memory. Private to encoders/.
 *
 * A file is read piece by piece and not mapped: one that shrinks meanwhile breaks off then, and is no
 * SIGBUS.
 *
 * ALLOWANCE. The libraries below look for the next thing that makes sense as long as there are bytes, and
 * some keep what they have passed meanwhile (libogg keeps a packet until its end has come). So only so many
 * bytes are handed out between two blocks of samples; after that the source is at its end, and memory and
 * time are bounded whatever a file says. */
#ifndef MAGPIE_AUDIO_SOURCE_H
#define MAGPIE_AUDIO_SOURCE_H

#include "encoders.h"

enum { AUDIO_ALLOWANCE = 32 << 20 /* bytes without a sample: more than any cover picture in a header */ };

typedef struct audio_source {
    int fd;              /* -1: `bytes` */
    magpie_string bytes; /* the caller's, until the source is closed */
    uint64_t begin, end; /* what there is of the file or of `bytes`; may be narrowed */
    uint64_t at;         /* counted from the start of the file, as the two above */
    size_t allowance;    /* bytes that may be read until it is set again */
    int error_number;    /* of a read that the system refused; 0 */
} audio_source;

/* MAGPIE_E_INPUT for what is not a regular file. A FIFO or a device is not waited for. */
MAGPIE_CHECK_RESULT magpie_status audio_source_open(audio_source *source, const magpie_media *sound);
void audio_source_close(audio_source *source); /* again is harmless */

/* Bytes that there were, `size` but for the end; from `at`, which moves on. */
size_t audio_source_read(audio_source *source, void *to, size_t size);
/* The same from `offset` behind `begin`, for a look: nothing moves, and no allowance is taken. */
size_t audio_source_peek(audio_source *source, uint64_t offset, void *to, size_t size);
/* As lseek, counted from `begin`; -1 outside. */
int64_t audio_source_seek(audio_source *source, int64_t offset, int whence);

#endif
