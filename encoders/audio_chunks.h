/* audio_chunks.h - where the samples of a WAV or an AIFF lie, and what they are. Private to encoders/. */
#ifndef MAGPIE_AUDIO_CHUNKS_H
#define MAGPIE_AUDIO_CHUNKS_H

#include "audio_source.h"

/* Samples without anything around them. */
typedef struct audio_raw {
    int coding; /* libsndfile's SF_FORMAT_PCM_16 and so on, with SF_ENDIAN_LITTLE or SF_ENDIAN_BIG */
    size_t channels, rate;
    uint64_t offset, size; /* behind the source's `begin`, in bytes; not past its end */
} audio_raw;

/* RIFF, RIFX, RF64 and BW64; whole numbers of 8 to 32 bits, float, double, A-law and mu-law, plain or under
 * WAVE_FORMAT_EXTENSIBLE. MAGPIE_E_UNSUPPORTED for other codings, named where they are known. A length that
 * the file does not have, or that was never written (0, where the RIFF's own says so too), is what the file
 * has. */
MAGPIE_CHECK_RESULT magpie_status audio_find_wav(audio_source *source, audio_raw *out);
/* AIFF and AIFF-C, the same codings. */
MAGPIE_CHECK_RESULT magpie_status audio_find_aiff(audio_source *source, audio_raw *out);

#endif
