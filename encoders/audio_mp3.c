/* audio_mp3.c - MP3 by libmpg123, the decoder inside of libsndfile's, which is used without libsndfile
 * because that leaves it to print to standard error whatever it stumbles over. What else is set is as
 * libsndfile sets it, so that the samples are the same: the encoder's delay and padding cut off where the
 * file knows them, and an end where the format changes (two files glued together). */
#include "audio_formats.h"

#include <mpg123.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Bitrate in kbit/s by its four bits; 0: not written down ("free"), or none. */
static const uint16_t bitrates[3][16] = {
    {0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 0}, /* MPEG 1, layer II */
    {0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0},  /* MPEG 1, layer III */
    {0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0}};     /* MPEG 2 and 2.5, both */

size_t audio_mp3_frame(const uint8_t *header) {
    enum { LAYER_3 = 1, LAYER_2 = 2, MPEG_2_5 = 0, RESERVED = 1, MPEG_1 = 3 };
    static const uint16_t rates[3] = {44100, 48000, 32000};
    unsigned version = header[1] >> 3 & 3, layer = header[1] >> 1 & 3, rate = header[2] >> 2 & 3;
    if (header[0] != 0xFF || header[1] < 0xE0 || version == RESERVED ||
        (layer != LAYER_3 && layer != LAYER_2) || rate == 3)
        return 0;
    size_t bits = bitrates[version != MPEG_1 ? 2 : layer == LAYER_3][header[2] >> 4] * 1000u;
    size_t hertz = rates[rate] >> (version == MPEG_1 ? 0 : version == MPEG_2_5 ? 2 : 1);
    size_t samples = layer == LAYER_3 && version != MPEG_1 ? 576 : 1152;
    return bits ? samples / 8 * bits / hertz + (header[2] >> 1 & 1) : 0;
}

typedef struct mp3_state {
    mpg123_handle *handle;
    bool ended; /* or the format has changed: what follows has other channels or another rate */
} mp3_state;

static ssize_t file_read(void *user, void *to, size_t size) {
    return (ssize_t)audio_source_read(user, to, size);
}

static off_t file_seek(void *user, off_t offset, int whence) {
    return audio_source_seek(user, offset, whence);
}

static void init_once(void) { (void)mpg123_init(); }

/* libmpg123 1.31 leaves its working memory as malloc gives it, and reads of it what a damaged frame has not
 * written: what came out would depend on what was on the heap before. A frame of silence in two channels
 * writes all of it; a second one follows because it asks for it. */
static void clear_memory(mpg123_handle *handle) {
    enum { FRAME_MAX = 128, SAMPLES = 2 * 1152, TRIES = 3 /* the first tells of the format alone */ };
    static const uint8_t header[4] = {0xFF, 0xFB, 0x10}; /* MPEG 1, layer III, 32 kbit/s, 44.1 kHz, stereo */
    uint8_t silence[2 * FRAME_MAX] = {0};
    float samples[SAMPLES];
    size_t size = audio_mp3_frame(header), done = 0;
    memcpy(silence, header, sizeof header);
    memcpy(silence + size, header, sizeof header);
    audio_source source = {
        .fd = -1, .bytes = {(const char *)silence, 2 * size}, .end = 2 * size, .allowance = 16 * size};
    if (mpg123_open_handle(handle, &source) == MPG123_OK)
        for (int i = 0; i < TRIES && !done; i++)
            (void)mpg123_read(handle, (unsigned char *)samples, sizeof samples, &done);
    (void)mpg123_close(handle);
}

static magpie_status open_handle(mpg123_handle *handle, audio_source *source, audio_stream *stream) {
    int channels = 0, encoding = 0;
    long rate = 0, flags = MPG123_QUIET | MPG123_FORCE_FLOAT | MPG123_GAPLESS | MPG123_NO_FRANKENSTEIN |
                           MPG123_SKIP_ID3V2;
    if (mpg123_param(handle, MPG123_REMOVE_FLAGS, MPG123_AUTO_RESAMPLE, 0) != MPG123_OK ||
        mpg123_param(handle, MPG123_ADD_FLAGS, flags, 0) != MPG123_OK ||
        mpg123_replace_reader_handle(handle, file_read, file_seek, NULL) != MPG123_OK)
        return magpie_fail(MAGPIE_E_INTERNAL, "libmpg123: %s", mpg123_strerror(handle));
    clear_memory(handle);
    if (mpg123_open_handle(handle, source) != MPG123_OK ||
        mpg123_getformat(handle, &rate, &channels, &encoding) != MPG123_OK)
        return magpie_fail(MAGPIE_E_INPUT, "broken MP3: it has no whole frame");
    if (encoding != MPG123_ENC_FLOAT_32) return magpie_fail(MAGPIE_E_INTERNAL, "libmpg123 gives no floats");
    stream->channels = (size_t)channels;
    stream->rate = (size_t)rate;
    return audio_check(stream->channels, stream->rate);
}

static magpie_status mp3_open(audio_source *source, audio_stream *stream) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, init_once);
    mp3_state *state = magpie_alloc(1, sizeof *state);
    if (!state) return MAGPIE_E_NO_MEMORY;
    state->handle = mpg123_new(NULL, NULL);
    magpie_status status = state->handle ? open_handle(state->handle, source, stream)
                                         : magpie_fail(MAGPIE_E_NO_MEMORY, "libmpg123: no memory");
    if (status != MAGPIE_OK) {
        mpg123_delete(state->handle);
        free(state);
        return status;
    }
    stream->state = state;
    return MAGPIE_OK;
}

static magpie_status mp3_read(audio_stream *stream, float *frames, size_t most, size_t *count) {
    mp3_state *state = stream->state;
    size_t frame = stream->channels * sizeof *frames, done = 0;
    if (!state->ended)
        state->ended = mpg123_read(state->handle, (unsigned char *)frames, most * frame, &done) != MPG123_OK;
    *count = done / frame;
    return MAGPIE_OK;
}

static void mp3_close(audio_stream *stream) {
    mp3_state *state = stream->state;
    mpg123_delete(state->handle);
    free(state);
}

const audio_format audio_mp3 = {mp3_open, mp3_read, mp3_close};
