/* ops_gpu_spectrogram.h - frames of a spectrogram on a GPU. Private to encoders/.
 *
 * No encoder calls it: their samples come out of decoders on the CPU, which take 4 (WAV that is resampled)
 * to 40 times (Vorbis) as long as the CPU's own spectrogram, and frames are as many bytes as the samples.
 * It is for samples that need no decoding. */
#ifndef MAGPIE_OPS_GPU_SPECTROGRAM_H
#define MAGPIE_OPS_GPU_SPECTROGRAM_H

#include "ops.h"
#include "spectrogram.h"

/* samples [(frames - 1) hop + window] -> out [frames, bands], both host memory: what spectrogram_reference
 * gives of each frame, in f32 whatever the device's precision. */
MAGPIE_CHECK_RESULT magpie_status ops_gpu_spectrogram(ops_lane *lane, const spectrogram_plan *plan,
                                                      const float *samples, size_t frames, float *out);

#endif
