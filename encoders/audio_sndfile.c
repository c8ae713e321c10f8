/* audio_sndfile.c - WAV, AIFF and FLAC by libsndfile, which is shown the samples alone: those of WAV and AIFF
 * as "raw" ones, of which it is told what they are; of a FLAC its first block of metadata and then its
 * frames, without the comments, cue sheets and pictures in between.
 *
 * Why a file does not open libsndfile tells through a variable of the process, which another thread's file
 * may have overwritten: it is not asked, and what can be said beforehand is said here. */
#include "audio_chunks.h"
#include "audio_formats.h"

#include <sndfile.h>
#include <stdlib.h>
#include <string.h>

enum { INFO = 34, PREFIX = 4 + 4 + INFO /* bytes of STREAMINFO; of it behind "fLaC" and a block's header */ };

typedef struct sndfile_state {
    SNDFILE *file;
    audio_source *source;
    uint8_t prefix[PREFIX]; /* what libsndfile reads before the source */
    sf_count_t prefix_size, at;
} sndfile_state;

/* ---- what libsndfile reads ---- */

static sf_count_t file_length(void *user) {
    const sndfile_state *state = user;
    return state->prefix_size + (sf_count_t)(state->source->end - state->source->begin);
}

static sf_count_t file_seek(sf_count_t offset, int whence, void *user) {
    sndfile_state *state = user;
    sf_count_t length = file_length(user), from = whence == SEEK_SET   ? 0
                                                  : whence == SEEK_CUR ? state->at
                                                                       : length;
    if (offset < -from || offset > length - from) return -1;
    return state->at = from + offset;
}

static sf_count_t file_read(void *to, sf_count_t size, void *user) {
    sndfile_state *state = user;
    uint8_t *bytes = to;
    sf_count_t done = 0;
    if (size <= 0) return 0;
    if (state->at < state->prefix_size) {
        done = state->prefix_size - state->at < size ? state->prefix_size - state->at : size;
        memcpy(bytes, state->prefix + state->at, (size_t)done);
    }
    if (done < size && audio_source_seek(state->source, state->at + done - state->prefix_size, SEEK_SET) >= 0)
        done += (sf_count_t)audio_source_read(state->source, bytes + done, (size_t)(size - done));
    state->at += done;
    return done;
}

static sf_count_t file_tell(void *user) { return ((const sndfile_state *)user)->at; }

static SF_VIRTUAL_IO file_calls = {
    .get_filelen = file_length, .seek = file_seek, .read = file_read, .tell = file_tell};

/* ---- the three formats ---- */

static magpie_status open_raw(audio_source *source, const audio_raw *raw, audio_stream *stream) {
    magpie_status status = audio_check(raw->channels, raw->rate);
    if (status != MAGPIE_OK) return status;
    sndfile_state *state = magpie_alloc(1, sizeof *state);
    if (!state) return MAGPIE_E_NO_MEMORY;
    source->begin += raw->offset;
    source->end = source->begin + raw->size;
    state->source = source;
    SF_INFO info = {
        .samplerate = (int)raw->rate, .channels = (int)raw->channels, .format = SF_FORMAT_RAW | raw->coding};
    state->file = sf_open_virtual(&file_calls, SFM_READ, &info, state);
    if (!state->file) {
        free(state);
        return magpie_fail(MAGPIE_E_INTERNAL, "libsndfile does not take samples of kind 0x%X",
                           (unsigned)raw->coding);
    }
    stream->state = state;
    stream->channels = raw->channels;
    stream->rate = raw->rate;
    return MAGPIE_OK;
}

static magpie_status wav_open(audio_source *source, audio_stream *stream) {
    audio_raw raw;
    magpie_status status = audio_find_wav(source, &raw);
    return status == MAGPIE_OK ? open_raw(source, &raw, stream) : status;
}

static magpie_status aiff_open(audio_source *source, audio_stream *stream) {
    audio_raw raw;
    magpie_status status = audio_find_aiff(source, &raw);
    return status == MAGPIE_OK ? open_raw(source, &raw, stream) : status;
}

/* Puts STREAMINFO into the prefix, as the last block of metadata, and the source's `begin` to the first
 * frame. */
static magpie_status read_flac_head(audio_source *source, sndfile_state *state) {
    enum { MAGIC = 4, HEAD = 4, LAST = 0x80, BLOCKS_MAX = 1024 };
    uint8_t *prefix = state->prefix, head[HEAD];
    if (audio_source_peek(source, 0, prefix, PREFIX) < PREFIX ||
        (audio_u32(prefix + MAGIC, true) & 0x7FFFFFFF) != INFO)
        return magpie_fail(MAGPIE_E_INPUT, "broken FLAC: it does not begin with a description");
    bool last = prefix[MAGIC] & LAST;
    uint64_t at = PREFIX;
    for (size_t n = 0; n < BLOCKS_MAX && !last; n++) {
        if (audio_source_peek(source, at, head, HEAD) < HEAD)
            return magpie_fail(MAGPIE_E_INPUT, "broken FLAC: it ends before its first sample");
        last = head[0] & LAST;
        at += HEAD + (audio_u32(head, true) & 0xFFFFFF);
    }
    if (!last || at > source->end - source->begin)
        return magpie_fail(MAGPIE_E_INPUT, "broken FLAC: it ends before its first sample");
    prefix[MAGIC] |= LAST;
    state->prefix_size = PREFIX;
    source->begin += at;
    return MAGPIE_OK;
}

/* Of STREAMINFO's bits 80 on: 20 of rate, 3 of channels less one, 5 of bits less one. */
static magpie_status check_flac(const uint8_t *info, audio_stream *stream) {
    uint32_t packed = audio_u32(info + 10, true);
    unsigned bits = (packed >> 4 & 31) + 1;
    stream->rate = packed >> 12;
    stream->channels = (packed >> 9 & 7) + 1;
    if (bits != 8 && bits != 16 && bits != 24)
        return magpie_fail(MAGPIE_E_UNSUPPORTED, "a FLAC of %u bits: 8, 16 and 24 are read", bits);
    return audio_check(stream->channels, stream->rate);
}

static magpie_status flac_open(audio_source *source, audio_stream *stream) {
    sndfile_state *state = magpie_alloc(1, sizeof *state);
    if (!state) return MAGPIE_E_NO_MEMORY;
    SF_INFO info = {0};
    state->source = source;
    magpie_status status = read_flac_head(source, state);
    if (status == MAGPIE_OK) status = check_flac(state->prefix + PREFIX - INFO, stream);
    if (status == MAGPIE_OK) {
        state->file = sf_open_virtual(&file_calls, SFM_READ, &info, state);
        if (!state->file || (info.format & SF_FORMAT_TYPEMASK) != SF_FORMAT_FLAC ||
            info.channels != (int)stream->channels || info.samplerate != (int)stream->rate)
            status = magpie_fail(MAGPIE_E_INPUT, "broken FLAC");
    }
    if (status != MAGPIE_OK) {
        if (state->file) sf_close(state->file);
        free(state);
        return status;
    }
    stream->state = state;
    return MAGPIE_OK;
}

/* A FLAC that is damaged gives what it has up to there, and nothing after. */
static magpie_status sndfile_read(audio_stream *stream, float *frames, size_t most, size_t *count) {
    sndfile_state *state = stream->state;
    sf_count_t got = sf_readf_float(state->file, frames, (sf_count_t)most);
    *count = got > 0 ? (size_t)got : 0;
    return MAGPIE_OK;
}

static void sndfile_close(audio_stream *stream) {
    sndfile_state *state = stream->state;
    sf_close(state->file);
    free(state);
}

const audio_format audio_wav = {wav_open, sndfile_read, sndfile_close},
                   audio_aiff = {aiff_open, sndfile_read, sndfile_close},
                   audio_flac = {flac_open, sndfile_read, sndfile_close};
