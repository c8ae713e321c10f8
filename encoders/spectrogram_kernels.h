/* spectrogram_kernels.h - frames to bands, compiled once for each width of vector (as simd.h's kernels
 * are). The oracle is spectrogram_reference. Private to encoders/spectrogram*. */
#ifndef MAGPIE_SPECTROGRAM_KERNELS_H
#define MAGPIE_SPECTROGRAM_KERNELS_H

#include "spectrogram.h"

struct spectrogram_kernels {
    const char *name;
    size_t lanes; /* frames that are computed at once */
    /* Bytes of what one thread needs for this plan, and the making of it there, 64-byte aligned. */
    size_t (*size)(const spectrogram_plan *plan);
    void (*begin)(const spectrogram_plan *plan, void *state);
    /* frames, 1 to `lanes`, of plan->config.window samples, plan->config.hop apart -> out [frames, bands] */
    void (*run)(const spectrogram_plan *plan, void *state, const float *samples, size_t frames, float *out);
};

/* Of the levels that this CPU runs, number i, the widest first; NULL past them. */
const spectrogram_kernels *spectrogram_kernels_level(size_t i);

#endif
