/* ops_gpu_spectrogram.h - frames of a spectrogram on a GPU. Private to encoders/.
 *
 * No encoder calls it: samples come from decoders on the CPU, a block at a time, which takes several times as long as
 * the CPU's own spectrogram of them (docs/design.md, 41). It is for samples that are on the device or come without
 * decoding. */
#ifndef MAGPIE_OPS_GPU_SPECTROGRAM_H
#define MAGPIE_OPS_GPU_SPECTROGRAM_H

#include "ops.h"
#include "spectrogram.h"

/* samples [(frames - 1) hop + window] -> out [frames, bands], both host memory: what spectrogram_reference gives of each
 * frame, in f32 whatever the device's precision. */
MAGPIE_CHECK_RESULT magpie_status ops_gpu_spectrogram(ops_lane *lane, const spectrogram_plan *plan,
                                                      const float *samples, size_t frames, float *out);

#endif
