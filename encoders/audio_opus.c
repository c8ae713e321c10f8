/* audio_opus.c - Opus in Ogg (RFC 7845) by libopus.
 *
 * Positions are in samples at 48 kHz, whatever rate is decoded at: the lowest of libopus's that is no lower
 * than the recording's was, as libsndfile has it, so that a telephone call comes out at 8 kHz. */
#include "audio_ogg.h"

#include <opus_multistream.h>
#include <stdlib.h>
#include <string.h>

enum {
    RATE = 48000,
    PACKET_MAX = 5760, /* samples of a packet at 48 kHz: 120 ms */
    HEAD = 19          /* bytes of OpusHead without its table of channels */
};

typedef struct opus_state {
    audio_packets *packets;
    OpusMSDecoder *decoder;
    size_t factor;    /* RATE is so many times the rate that comes out */
    size_t at, count; /* of `buffer`, in frames: given out, decoded */
    size_t skip;      /* frames to be dropped before the first */
    uint64_t decoded; /* at 48 kHz */
    int64_t start;    /* the position of the first sample decoded; -1 as long as no page has told */
    float buffer[PACKET_MAX * MAGPIE_AUDIO_CHANNELS_MAX]; /* a packet, [count, channels] */
} opus_state;

/* ---- headers ---- */

static size_t factor_of(uint32_t recorded_rate) {
    return recorded_rate > 24000   ? 1
           : recorded_rate > 16000 ? 2
           : recorded_rate > 12000 ? 3
           : recorded_rate > 8000  ? 4
                                   : 6;
}

static magpie_status read_head(opus_state *state, const ogg_packet *packet, audio_stream *stream) {
    static const uint8_t one_stream[2] = {0, 1};
    const uint8_t *head = packet->packet;
    if (packet->bytes < HEAD || (head[8] & 0xF0) != 0)
        return magpie_fail(MAGPIE_E_INPUT, "broken Opus header");
    unsigned channels = head[9], family = head[18], streams = 1, pairs = channels == 2;
    const uint8_t *table = one_stream;
    if (family != 0 && family != 1 && family != 255)
        return magpie_fail(MAGPIE_E_UNSUPPORTED, "an Opus whose channels are of family %u", family);
    if (family != 0) {
        if (packet->bytes < (long)(HEAD + 2 + channels))
            return magpie_fail(MAGPIE_E_INPUT, "broken Opus header");
        streams = head[HEAD];
        pairs = head[HEAD + 1];
        table = head + HEAD + 2;
    }
    state->factor = factor_of(audio_u32(head + 12, false));
    state->skip = audio_u16(head + 10, false) / state->factor;
    stream->channels = channels;
    stream->rate = RATE / state->factor;
    magpie_status status = audio_check(channels, stream->rate);
    if (status != MAGPIE_OK) return status;
    int error = OPUS_BAD_ARG;
    if (family != 0 || channels <= 2)
        state->decoder = opus_multistream_decoder_create((opus_int32)stream->rate, (int)channels,
                                                         (int)streams, (int)pairs, table, &error);
    if (!state->decoder) return magpie_fail(MAGPIE_E_INPUT, "broken Opus header: %s", opus_strerror(error));
    int gain = (int16_t)audio_u16(head + 16, false);
    if (opus_multistream_decoder_ctl(state->decoder, OPUS_SET_GAIN(gain)) != OPUS_OK)
        return magpie_fail(MAGPIE_E_INTERNAL, "libopus takes no gain");
    return MAGPIE_OK;
}

/* ---- samples ---- */

/* Frames of a packet that are to be heard: all but what the last page, by its position, leaves off. */
static size_t trim(opus_state *state, const ogg_packet *packet, size_t frames) {
    uint64_t before = state->decoded;
    state->decoded += frames * state->factor;
    if (state->packets->hole) state->start = -1; /* the pages that are missing are not counted */
    if (!state->packets->last) {
        /* Of a page's packets the last one has its position. */
        if (state->start < 0 && packet->granulepos >= (int64_t)state->decoded)
            state->start = packet->granulepos - (int64_t)state->decoded;
        return frames;
    }
    int64_t start = state->start < 0 ? 0 : state->start, end = state->packets->granule;
    if (end < start || (uint64_t)(end -= start) >= state->decoded) return frames;
    return (uint64_t)end <= before ? 0 : (size_t)((uint64_t)end - before) / state->factor;
}

static bool decode_packet(audio_stream *stream) {
    opus_state *state = stream->state;
    ogg_packet packet;
    if (!audio_packets_next(state->packets, &packet)) return false;
    int got = opus_multistream_decode_float(state->decoder, packet.packet, (opus_int32)packet.bytes,
                                            state->buffer, PACKET_MAX, 0);
    if (got < 0) return false;
    state->count = trim(state, &packet, (size_t)got);
    state->at = state->skip < state->count ? state->skip : state->count;
    state->skip -= state->at;
    return true;
}

static magpie_status opus_read(audio_stream *stream, float *frames, size_t most, size_t *count) {
    opus_state *state = stream->state;
    *count = 0;
    while (state->at == state->count)
        if (!decode_packet(stream)) return MAGPIE_OK;
    size_t left = state->count - state->at;
    *count = left < most ? left : most;
    memcpy(frames, state->buffer + state->at * stream->channels, *count * stream->channels * sizeof *frames);
    state->at += *count;
    return MAGPIE_OK;
}

static void opus_close(audio_stream *stream) {
    opus_state *state = stream->state;
    audio_packets_free(state->packets);
    opus_multistream_decoder_destroy(state->decoder);
    free(state);
}

static const audio_format opus_format = {NULL, opus_read, opus_close};

magpie_status audio_opus_open(audio_packets *packets, const ogg_packet *head, audio_stream *stream) {
    opus_state *state = magpie_alloc(1, sizeof *state);
    if (!state) return MAGPIE_E_NO_MEMORY;
    ogg_packet tags;
    state->packets = packets;
    state->start = -1;
    magpie_status status = read_head(state, head, stream);
    if (status == MAGPIE_OK && (!audio_packets_next(packets, &tags) || packets->hole || tags.bytes < 8 ||
                                memcmp(tags.packet, "OpusTags", 8) != 0))
        status = magpie_fail(MAGPIE_E_INPUT, "broken Opus: a header is missing");
    if (status != MAGPIE_OK) {
        if (state->decoder) opus_multistream_decoder_destroy(state->decoder);
        free(state);
        return status;
    }
    stream->format = &opus_format;
    stream->state = state;
    return MAGPIE_OK;
}
