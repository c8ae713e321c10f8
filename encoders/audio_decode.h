/* audio_decode.h - a sound to samples: one channel, at the rate that a model wants. Private to encoders/.
 *
 * What is read, and what is refused, stands in encoders.h under "sounds". WAV, AIFF and FLAC are
 * libsndfile's, of which it sees the samples alone (audio_sndfile.c); Ogg Vorbis, Ogg Opus and MP3 (layers II
 * and III) are libvorbis's, libopus's and libmpg123's. ID3 tags in front of any of them are stepped over. Of
 * an Ogg file the first stream is heard.
 *
 * Everything is read in blocks of a fixed size, and what decoders may read without giving a sample is
 * bounded (audio_source.h): memory depends on neither the length of a file nor on what its header says.
 *
 * Channels: their mean, added up in f32 in their order. Resampling: soxr at SOXR_HQ in f32, librosa's
 * default; none where the rates are equal, and then samples are what the file has, to the bit. */
#ifndef MAGPIE_AUDIO_DECODE_H
#define MAGPIE_AUDIO_DECODE_H

#include "encoders.h"

/* One thread's: buffers, the resampler and the open sound. */
typedef struct audio_decoder audio_decoder;

/* rate: Hz of what comes out, MAGPIE_AUDIO_RATE_MIN to _MAX. */
MAGPIE_CHECK_RESULT magpie_status audio_decoder_create(size_t rate, audio_decoder **out);
void audio_decoder_free(audio_decoder *decoder);

/* Ends what was open before. At most `seconds` of it will be given out, to the nearest sample of the file's;
 * INFINITY: all. sound->bytes have to stay as long as it is open, sound->path has not. The first samples are
 * decoded here, so that a file without any is refused here. Errors of a path begin with it, here and in
 * audio_decoder_read; after one nothing is open. */
MAGPIE_CHECK_RESULT magpie_status audio_decoder_open(audio_decoder *decoder, const magpie_media *sound,
                                                     double seconds);
/* Up to `most` samples, mono, fewer only at the end; *count 0: the end, and again after it. The same samples
 * whatever is asked for at once. */
MAGPIE_CHECK_RESULT magpie_status audio_decoder_read(audio_decoder *decoder, float *samples, size_t most,
                                                     size_t *count);

#endif
