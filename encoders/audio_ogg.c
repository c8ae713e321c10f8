/* audio_ogg.c - pages of an Ogg file to packets, by libogg, and which codec they are for.
 *
 * Not by libsndfile, since that
 * - hands libvorbis any setup header, and 54 bytes of one are enough to end the process (audio_vorbis.c);
 * - loses what it has allocated for a Vorbis header that is broken;
 * - makes half a day of silence, in an allocation of 8 GiB, of an Opus file whose last positions say so. */
#include "audio_ogg.h"

#include <stdlib.h>
#include <string.h>

enum { READ = 4096 /* bytes at a time */ };

void audio_packets_free(audio_packets *packets) {
    if (!packets) return;
    ogg_stream_clear(&packets->stream);
    ogg_sync_clear(&packets->sync);
    free(packets);
}

/* A page with the right checksum; what lies between two is stepped over. */
static bool next_page(audio_packets *packets, ogg_page *page) {
    for (;;) {
        int found = ogg_sync_pageout(&packets->sync, page);
        if (found > 0) return true;
        if (found < 0) continue;
        char *buffer = ogg_sync_buffer(&packets->sync, READ);
        size_t got = buffer ? audio_source_read(packets->source, buffer, READ) : 0;
        if (got == 0 || ogg_sync_wrote(&packets->sync, (long)got) != 0) return false;
    }
}

bool audio_packets_next(audio_packets *packets, ogg_packet *out) {
    packets->hole = false;
    for (;;) {
        int found = ogg_stream_packetout(&packets->stream, out);
        if (found > 0) return true;
        if (found < 0) {
            packets->hole = true;
            continue;
        }
        ogg_page page;
        if (packets->last || !next_page(packets, &page)) return false;
        if (ogg_page_serialno(&page) != packets->stream.serialno) continue;
        packets->granule = ogg_page_granulepos(&page);
        packets->last = ogg_page_eos(&page) != 0;
        if (ogg_stream_pagein(&packets->stream, &page) != 0) return false;
    }
}

static magpie_status open_first(audio_source *source, audio_packets **out, ogg_packet *head) {
    ogg_page page;
    audio_packets *packets = *out = magpie_alloc(1, sizeof *packets);
    if (!packets) return MAGPIE_E_NO_MEMORY;
    packets->source = source;
    ogg_sync_init(&packets->sync);
    if (!next_page(packets, &page))
        return magpie_fail(MAGPIE_E_INPUT, "broken Ogg: its first page is not whole");
    if (ogg_stream_init(&packets->stream, ogg_page_serialno(&page)) != 0)
        return magpie_fail(MAGPIE_E_NO_MEMORY, "libogg: no memory");
    if (ogg_stream_pagein(&packets->stream, &page) != 0 || ogg_stream_packetout(&packets->stream, head) != 1)
        return magpie_fail(MAGPIE_E_INPUT, "broken Ogg: its first page has no packet");
    return MAGPIE_OK;
}

static bool begins_with(const ogg_packet *packet, const char *magic, size_t size) {
    return packet->bytes >= (long)size && memcmp(packet->packet, magic, size) == 0;
}

static magpie_status open_codec(audio_packets *packets, ogg_packet *head, audio_stream *stream) {
    static const struct {
        const char *name;
        unsigned char size;
        const char *magic;
    } known[] = {{"FLAC", 5,
                  "\x7F"
                  "FLAC"},
                 {"FLAC", 4, "fLaC"},
                 {"Speex", 8, "Speex   "},
                 {"Theora, a film", 7, "\x80theora"},
                 {"several streams", 8, "fishead\0"},
                 {"CELT", 8, "CELT    "},
                 {"PCM", 8, "PCM     "}};
    if (begins_with(head, "\1vorbis", 7)) return audio_vorbis_open(packets, head, stream);
    if (begins_with(head, "OpusHead", 8)) return audio_opus_open(packets, head, stream);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (begins_with(head, known[i].magic, known[i].size))
            return magpie_fail(MAGPIE_E_UNSUPPORTED, "an Ogg of %s: Vorbis and Opus are read", known[i].name);
    return magpie_fail(MAGPIE_E_UNSUPPORTED, "an Ogg of a codec that is not known: Vorbis and Opus are read");
}

static magpie_status open_ogg(audio_source *source, audio_stream *stream) {
    audio_packets *packets;
    ogg_packet head;
    magpie_status status = open_first(source, &packets, &head);
    if (status == MAGPIE_OK) status = open_codec(packets, &head, stream);
    if (status != MAGPIE_OK) audio_packets_free(packets);
    return status;
}

/* A codec puts its own table into the stream. */
const audio_format audio_ogg = {open_ogg, NULL, NULL};
