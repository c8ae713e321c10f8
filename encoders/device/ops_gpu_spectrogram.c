/* ops_gpu_spectrogram.c - see ops_gpu_spectrogram.h: the plan's tables to the device, then frames by the
 * kernels of kernels/spectrogram.cl, as many at a time as bins have room. */
#include "ops_gpu_spectrogram.h"
#include "ops_gpu.h"

#include <math.h>
#include <stdlib.h>

enum { FFT_LARGEST = 4096 /* twice the kernel's FFT_POINTS */, BINS_AT_A_TIME = 1 << 22 };

static magpie_status write(ops_lane *lane, gpu_buffer *to, const void *from, size_t bytes) {
    magpie_status status = ops_gpu_room(lane, to, bytes);
    return status == MAGPIE_OK ? lane->device->driver->write(lane->queue, *to, 0, from, bytes) : status;
}

/* [n_fft, 2]: cos and -sin of 2 pi k / n_fft. */
static magpie_status write_turns(ops_lane *lane, size_t n) {
    float *turns = magpie_alloc(2 * n, sizeof *turns);
    if (!turns) return MAGPIE_E_NO_MEMORY;
    for (size_t k = 0; k < n; k++) {
        const double angle = 2 * 3.14159265358979323846 * (double)k / (double)n;
        turns[2 * k] = (float)cos(angle);
        turns[2 * k + 1] = (float)-sin(angle);
    }
    magpie_status status = write(lane, &lane->spectrogram.turns, turns, 2 * n * sizeof *turns);
    free(turns);
    return status;
}

static magpie_status write_filters(ops_lane *lane, const spectrogram_plan *plan) {
    size_t used = 0;
    if (!plan->filters) return MAGPIE_OK;
    uint32_t *filters = magpie_alloc(plan->bands, 3 * sizeof *filters);
    if (!filters) return MAGPIE_E_NO_MEMORY;
    for (size_t b = 0; b < plan->bands; b++) {
        const spectrogram_filter *f = &plan->filters[b];
        filters[3 * b] = (uint32_t)f->first;
        filters[3 * b + 1] = (uint32_t)f->count;
        filters[3 * b + 2] = (uint32_t)used;
        used += f->count; /* their weights are one behind the other */
    }
    magpie_status status =
        write(lane, &lane->spectrogram.filters, filters, 3 * plan->bands * sizeof *filters);
    free(filters);
    return status == MAGPIE_OK
               ? write(lane, &lane->spectrogram.weights, plan->weights, used * sizeof *plan->weights)
               : status;
}

static magpie_status write_tables(ops_lane *lane, const spectrogram_plan *plan) {
    const spectrogram_config *c = &plan->config;
    magpie_status status =
        write(lane, &lane->spectrogram.window, plan->window, c->window * sizeof *plan->window);
    if (status == MAGPIE_OK) status = write_turns(lane, c->n_fft);
    return status == MAGPIE_OK ? write_filters(lane, plan) : status;
}

/* bins [frames, plan->bins] of the samples in lane->sums. */
static magpie_status make_bins(ops_lane *lane, const spectrogram_plan *plan, size_t frames) {
    const spectrogram_config *c = &plan->config;
    const bool fft = (c->n_fft & (c->n_fft - 1)) == 0 && c->n_fft <= FFT_LARGEST;
    size_t log_n = 0;
    while ((size_t)1 << log_n < c->n_fft) log_n++;
    return OPS_GPU_RUN(lane, fft ? GPU_spectrum_fft : GPU_spectrum_sum, 0, frames,
                       fft ? 1 : ops_gpu_blocks(plan->bins, 128), 1, gpu_at(lane->sums),
                       gpu_at(lane->spectrogram.window), gpu_at(lane->spectrogram.turns),
                       gpu_at(lane->spectrogram.bins), gpu_uint(c->hop), gpu_uint(c->window),
                       gpu_uint(fft ? log_n : c->n_fft), gpu_uint(c->remove_dc),
                       gpu_float((float)c->preemphasis), gpu_uint(c->magnitude));
}

static magpie_status make_bands(ops_lane *lane, const spectrogram_plan *plan, size_t frames) {
    const spectrogram_config *c = &plan->config;
    return OPS_GPU_RUN(lane, GPU_gather_bands, 0, ops_gpu_blocks(frames * plan->bands, 128), 1, 1,
                       gpu_at(lane->spectrogram.bins), gpu_at(lane->spectrogram.filters),
                       gpu_at(lane->spectrogram.weights), gpu_at(lane->result),
                       gpu_uint(frames * plan->bands), gpu_uint(plan->bands), gpu_uint(plan->bins),
                       gpu_uint(plan->filters != NULL), gpu_uint(c->log != SPECTROGRAM_LINEAR),
                       gpu_float((float)c->log_scale), gpu_float((float)c->log_offset),
                       gpu_float((float)c->log_floor), gpu_float(plan->log_factor));
}

static magpie_status make_frames(ops_lane *lane, const spectrogram_plan *plan, const float *samples,
                                 size_t frames, float *out) {
    const spectrogram_config *c = &plan->config;
    const size_t count = (frames - 1) * c->hop + c->window, bytes = frames * plan->bands * sizeof *out;
    magpie_status status = write(lane, &lane->sums, samples, count * sizeof *samples);
    if (status == MAGPIE_OK)
        status = ops_gpu_room(lane, &lane->spectrogram.bins, frames * plan->bins * sizeof(float));
    if (status == MAGPIE_OK) status = ops_gpu_room(lane, &lane->result, bytes);
    if (status == MAGPIE_OK) status = make_bins(lane, plan, frames);
    if (status == MAGPIE_OK) status = make_bands(lane, plan, frames);
    return status == MAGPIE_OK ? lane->device->driver->read(lane->queue, lane->result, 0, out, bytes)
                               : status;
}

magpie_status ops_gpu_spectrogram(ops_lane *lane, const spectrogram_plan *plan, const float *samples,
                                  size_t frames, float *out) {
    const size_t most = plan->bins < BINS_AT_A_TIME ? BINS_AT_A_TIME / plan->bins : 1;
    magpie_status status = write_tables(lane, plan);
    for (size_t t = 0, n; t < frames && status == MAGPIE_OK; t += n) {
        n = frames - t < most ? frames - t : most;
        status = make_frames(lane, plan, samples + t * plan->config.hop, n, out + t * plan->bands);
    }
    return status;
}
