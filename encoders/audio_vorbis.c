/* audio_vorbis.c - Vorbis by libvorbis.
 *
 * A Vorbis file brings its own Huffman codes. libvorbis 1.3.7 believes how many there are: a header of 54
 * bytes may announce a book of eight million words, for which libvorbis takes 64 MiB off the stack, where
 * there are 8 MiB, or 256 such books, for which it takes 4 GiB. So the books are gone through first. */
#include "audio_ogg.h"

#include <stdlib.h>
#include <string.h>
#include <vorbis/codec.h>

enum {
    WORDS_MAX =
        1 << 15, /* in one book, of which libvorbis puts 12 bytes each on the stack; encoders have 6,561 */
    VALUES_MAX = 1 << 22, /* in all books, words times dimensions */
    SIGNATURE = 7         /* bytes of a header's type and "vorbis" */
};

typedef struct vorbis_state {
    audio_packets *packets;
    vorbis_info info;
    vorbis_comment comment;
    vorbis_dsp_state dsp;
    vorbis_block block;
} vorbis_state;

/* ---- code books ---- */

static int bits_of(long number) {
    int bits = 0;
    for (; number > 0; number >>= 1) bits++;
    return bits;
}

/* The largest number whose power `dimensions` is at most `words`. */
static long lattice_side(long words, long dimensions) {
    for (long side = 1;; side++) {
        long power = 1;
        for (long i = 0; i < dimensions && power <= words; i++) power *= side + 1;
        if (power > words) return side;
    }
}

/* Steps over the lengths of the words: of each, or (ordered) how many there are of each length. */
static bool skip_lengths(oggpack_buffer *bits, long words) {
    enum { LENGTH = 5 };
    if (oggpack_read(bits, 1) == 1) {
        long count, done = 0;
        if (oggpack_read(bits, LENGTH) < 0) return false;
        for (; done < words; done += count)
            if ((count = oggpack_read(bits, bits_of(words - done))) < 0) return false;
        return done == words;
    }
    bool sparse = oggpack_read(bits, 1) == 1;
    for (long i = 0; i < words; i++) {
        long used = sparse ? oggpack_read(bits, 1) : 1;
        if (used < 0 || (used && oggpack_read(bits, LENGTH) < 0)) return false;
    }
    return true;
}

static bool skip_values(oggpack_buffer *bits, long words, long dimensions) {
    enum { NONE, LATTICE, LISTED };
    long kind = oggpack_read(bits, 4);
    if (kind == NONE) return true;
    if (kind != LATTICE && kind != LISTED) return false;
    oggpack_adv(bits, 32 + 32); /* the least value and the step */
    long size = oggpack_read(bits, 4) + 1,
         values = kind == LATTICE ? lattice_side(words, dimensions) : words * dimensions;
    oggpack_adv(bits, 1);
    for (long i = 0; i < values; i++)
        if (oggpack_read(bits, (int)size) < 0) return false;
    return true;
}

static magpie_status check_books(const ogg_packet *setup) {
    enum { SYNC = 0x564342 };
    oggpack_buffer bits;
    oggpack_readinit(&bits, setup->packet, (int)setup->bytes);
    oggpack_adv(&bits, SIGNATURE * 8);
    long books = oggpack_read(&bits, 8) + 1, total = 0;
    for (long i = 0; i < books; i++) {
        long sync = oggpack_read(&bits, 24), dimensions = oggpack_read(&bits, 16),
             words = oggpack_read(&bits, 24);
        if (sync != SYNC || dimensions < 1 || words < 0)
            return magpie_fail(MAGPIE_E_INPUT, "broken Ogg Vorbis: its code book %ld is none", i);
        total += words * dimensions;
        if (words > WORDS_MAX || total > VALUES_MAX)
            return magpie_fail(MAGPIE_E_TOO_LARGE,
                               "an Ogg Vorbis whose code book %ld has %ld words of %ld values", i, words,
                               dimensions);
        if (!skip_lengths(&bits, words) || !skip_values(&bits, words, dimensions))
            return magpie_fail(MAGPIE_E_INPUT, "broken Ogg Vorbis: its code book %ld breaks off", i);
    }
    return MAGPIE_OK;
}

/* ---- headers ---- */

static magpie_status next_header(audio_packets *packets, char type, ogg_packet *out) {
    if (!audio_packets_next(packets, out) || packets->hole || out->bytes < SIGNATURE ||
        out->packet[0] != type || memcmp(out->packet + 1, "vorbis", SIGNATURE - 1) != 0)
        return magpie_fail(MAGPIE_E_INPUT, "broken Ogg Vorbis: a header is missing");
    return MAGPIE_OK;
}

/* Of the comments there, which may be megabytes of cover picture, libvorbis gets to see an empty list. */
static magpie_status read_headers(vorbis_state *state, ogg_packet *head) {
    unsigned char no_comments[] = "\3vorbis\0\0\0\0\0\0\0\0\1";
    ogg_packet packet, comments = {.packet = no_comments, .bytes = sizeof no_comments - 1, .packetno = 1};
    if (vorbis_synthesis_headerin(&state->info, &state->comment, head) != 0)
        return magpie_fail(MAGPIE_E_INPUT, "broken Ogg Vorbis: its first header makes no sense");
    magpie_status status = audio_check((uint64_t)state->info.channels, (uint64_t)state->info.rate);
    if (status == MAGPIE_OK) status = next_header(state->packets, 3, &packet);
    if (status == MAGPIE_OK) status = next_header(state->packets, 5, &packet);
    if (status == MAGPIE_OK) status = check_books(&packet);
    if (status != MAGPIE_OK) return status;
    if (vorbis_synthesis_headerin(&state->info, &state->comment, &comments) != 0 ||
        vorbis_synthesis_headerin(&state->info, &state->comment, &packet) != 0 ||
        vorbis_synthesis_init(&state->dsp, &state->info) != 0 ||
        vorbis_block_init(&state->dsp, &state->block) != 0)
        return magpie_fail(MAGPIE_E_INPUT, "broken Ogg Vorbis: its setup header makes no sense");
    return MAGPIE_OK;
}

/* All but the packets. */
static void clear(vorbis_state *state) {
    vorbis_block_clear(&state->block);
    vorbis_dsp_clear(&state->dsp);
    vorbis_comment_clear(&state->comment);
    vorbis_info_clear(&state->info);
    free(state);
}

/* ---- samples ---- */

/* libvorbis itself cuts off at both ends what the positions of the pages say. */
static magpie_status vorbis_read(audio_stream *stream, float *frames, size_t most, size_t *count) {
    vorbis_state *state = stream->state;
    float **channels;
    int ready;
    *count = 0;
    while ((ready = vorbis_synthesis_pcmout(&state->dsp, &channels)) <= 0) {
        ogg_packet packet;
        if (!audio_packets_next(state->packets, &packet)) return MAGPIE_OK;
        if (state->packets->hole) vorbis_synthesis_restart(&state->dsp);
        if (vorbis_synthesis(&state->block, &packet) == 0)
            vorbis_synthesis_blockin(&state->dsp, &state->block);
    }
    *count = (size_t)ready < most ? (size_t)ready : most;
    for (size_t i = 0; i < *count; i++)
        for (size_t c = 0; c < stream->channels; c++) frames[i * stream->channels + c] = channels[c][i];
    vorbis_synthesis_read(&state->dsp, (int)*count);
    return MAGPIE_OK;
}

static void vorbis_close(audio_stream *stream) {
    vorbis_state *state = stream->state;
    audio_packets_free(state->packets);
    clear(state);
}

static const audio_format vorbis_format = {NULL, vorbis_read, vorbis_close};

magpie_status audio_vorbis_open(audio_packets *packets, ogg_packet *head, audio_stream *stream) {
    vorbis_state *state = magpie_alloc(1, sizeof *state);
    if (!state) return MAGPIE_E_NO_MEMORY;
    state->packets = packets;
    vorbis_info_init(&state->info);
    vorbis_comment_init(&state->comment);
    magpie_status status = read_headers(state, head);
    if (status != MAGPIE_OK) {
        clear(state);
        return status;
    }
    *stream = (audio_stream){&vorbis_format, state, (size_t)state->info.channels, (size_t)state->info.rate};
    return MAGPIE_OK;
}
