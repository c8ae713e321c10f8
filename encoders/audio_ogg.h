/* audio_ogg.h - the packets of an Ogg file, for audio_vorbis.c and audio_opus.c. Private to encoders/.
 *
 * One logical stream is followed: that of the first page, to its end. What is multiplexed with it (subtitles)
 * or chained behind it (the next piece of a radio's recording) is not heard. */
#ifndef MAGPIE_AUDIO_OGG_H
#define MAGPIE_AUDIO_OGG_H

#include "audio_formats.h"

#include <ogg/ogg.h>

typedef struct audio_packets {
    audio_source *source;
    ogg_sync_state sync;
    ogg_stream_state stream;
    /* Of the page that the last packet ended on. */
    int64_t granule; /* its position, in the codec's own units; -1: none */
    bool last;       /* it is the stream's last */
    bool hole;       /* pages are missing in front of the last packet */
} audio_packets;

/* The next packet, its bytes valid until the next call; false at the end. */
bool audio_packets_next(audio_packets *packets, ogg_packet *out);

/* The two codecs: `packets` are behind the first packet, which is `head`. They are the codec's from then on,
 * and go with its stream; after a failure they are still the caller's. */
magpie_status audio_vorbis_open(audio_packets *packets, ogg_packet *head, audio_stream *stream);
magpie_status audio_opus_open(audio_packets *packets, const ogg_packet *head, audio_stream *stream);

void audio_packets_free(audio_packets *packets); /* takes NULL */

#endif
