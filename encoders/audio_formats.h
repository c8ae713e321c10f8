/* audio_formats.h - what the formats give to audio_decode.c: samples as they are stored, all channels, at the
 * file's rate. Private to audio_decode.c and its formats.
 *
 * libsndfile could open every one of them, and does not get to: of a file it sees samples alone. What stands
 * around them is read here, since a header is where a file that was made to do harm does it: libsndfile 1.2
 * has parsers for thirty more formats behind a WAV's or an AIFF's, its MP3 decoder prints to standard error,
 * and its Ogg decoder hands libvorbis headers that end the process (audio_ogg.c). */
#ifndef MAGPIE_AUDIO_FORMATS_H
#define MAGPIE_AUDIO_FORMATS_H

#include "audio_source.h"

typedef struct audio_format audio_format;

/* An open sound. */
typedef struct audio_stream {
    const audio_format *format; /* NULL: none is open */
    void *state;                /* the format's */
    size_t channels, rate;
} audio_stream;

struct audio_format {
    /* Fills in stream->state, channels and rate: within MAGPIE_AUDIO_CHANNELS_MAX and the bounds of the rate
     * (audio_check). The source outlives the stream, and its `begin` is the format's first byte. */
    magpie_status (*open)(audio_source *source, audio_stream *stream);
    /* Up to `most` frames [most, channels] of the sound; *count 0: the end, or where it is too damaged to go
     * on. */
    magpie_status (*read)(audio_stream *stream, float *frames, size_t most, size_t *count);
    void (*close)(audio_stream *stream);
};

extern const audio_format audio_wav, audio_aiff, audio_flac, audio_ogg, audio_mp3;

/* MAGPIE_E_UNSUPPORTED outside what encoders.h says under "sounds". */
MAGPIE_CHECK_RESULT magpie_status audio_check(uint64_t channels, uint64_t rate);

/* The length in bytes of the MPEG frame that these four bytes begin: layer II or III, a bitrate that is
 * written down; 0 where they begin none. */
size_t audio_mp3_frame(const uint8_t *header);

static inline uint32_t audio_u16(const uint8_t *p, bool big) {
    return big ? (uint32_t)p[0] << 8 | p[1] : (uint32_t)p[1] << 8 | p[0];
}

static inline uint32_t audio_u32(const uint8_t *p, bool big) {
    return audio_u16(p + (big ? 0 : 2), big) << 16 | audio_u16(p + (big ? 2 : 0), big);
}

static inline uint64_t audio_u64(const uint8_t *p, bool big) {
    return (uint64_t)audio_u32(p + (big ? 0 : 4), big) << 32 | audio_u32(p + (big ? 4 : 0), big);
}

#endif
