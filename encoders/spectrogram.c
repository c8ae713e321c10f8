/* spectrogram.c - a sound in pieces: which samples make a frame, what is made up at its ends, and what is
 * kept between.
 *
 * With `center` the sound is taken to be longer by n_fft / 2 samples at either end. Places are counted
 * from the first of these, so frame t always begins at place t hop. The mirrored start needs samples that
 * come after it, so the first piece is held back until they are there; the end needs what came before it,
 * so that much is kept. */
#include "spectrogram_kernels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct spectrogram {
    const spectrogram_plan *plan;
    void *kernel_state;
    float *samples; /* [held], from place `origin` on */
    size_t held, capacity;
    uint64_t origin;
    uint64_t next; /* frame to be computed */
    bool started;  /* the made-up start is there */
    float *frames; /* [ready, bands] */
    size_t ready, frames_capacity;
};

magpie_status spectrogram_create(const spectrogram_plan *plan, spectrogram **out) {
    spectrogram *s = magpie_alloc(1, sizeof *s);
    if (!s) return MAGPIE_E_NO_MEMORY;
    s->plan = plan;
    s->kernel_state = magpie_alloc(plan->kernels->size(plan), 1);
    if (!s->kernel_state) {
        spectrogram_free(s);
        return MAGPIE_E_NO_MEMORY;
    }
    plan->kernels->begin(plan, s->kernel_state);
    spectrogram_begin(s);
    *out = s;
    return MAGPIE_OK;
}

void spectrogram_free(spectrogram *s) {
    if (!s) return;
    free(s->kernel_state);
    free(s->samples);
    free(s->frames);
    free(s);
}

/* ---- samples ---- */

static size_t made_up(const spectrogram_config *c) { return c->center ? c->n_fft / 2 : 0; }

void spectrogram_begin(spectrogram *s) {
    s->held = s->ready = 0;
    s->origin = s->next = 0;
    s->started = !s->plan->config.center;
}

/* Room for n samples more behind those that are held. */
static magpie_status reserve(spectrogram *s, size_t n) {
    return magpie_grow((void **)&s->samples, &s->capacity, s->held + n, sizeof *s->samples);
}

/* Sample i, from -made_up on, of a sound that is mirrored at its first and last of n samples as often as
 * need be. */
static size_t mirrored(ptrdiff_t i, size_t n) {
    if (n == 1) return 0;
    ptrdiff_t period = 2 * (ptrdiff_t)(n - 1);
    i = ((i % period) + period) % period;
    return (size_t)(i < (ptrdiff_t)n ? i : period - i);
}

/* The made-up start, once there is enough to mirror, or with `all` there is no more. */
static magpie_status start(spectrogram *s, bool all) {
    const spectrogram_config *c = &s->plan->config;
    size_t pad = made_up(c), n = s->held;
    if (!all && n <= pad) return MAGPIE_OK;
    magpie_status status = reserve(s, pad);
    if (status != MAGPIE_OK) return status;
    float *sound = s->samples + pad;
    memmove(sound, s->samples, n * sizeof *sound);
    for (size_t i = 1; i <= pad; i++)
        s->samples[pad - i] = c->reflect ? sound[mirrored(-(ptrdiff_t)i, n)] : 0;
    s->held += pad;
    s->started = true;
    return MAGPIE_OK;
}

/* The made-up end; all that it mirrors is still held. */
static magpie_status end(spectrogram *s) {
    const spectrogram_config *c = &s->plan->config;
    size_t pad = made_up(c), n = s->held;
    if (!c->center) pad = s->origin == 0 && n < c->window ? c->window - n : 0;
    magpie_status status = reserve(s, pad);
    if (status != MAGPIE_OK) return status;
    size_t before = s->origin == 0 ? made_up(c) : 0; /* a short sound is mirrored without its made-up start */
    const float *sound = s->samples + before;
    for (size_t i = 0; i < pad; i++)
        s->samples[n + i] =
            c->center && c->reflect ? sound[mirrored((ptrdiff_t)(n - before + i), n - before)] : 0;
    s->held += pad;
    return MAGPIE_OK;
}

/* Forgets what neither a frame to come nor the made-up end will ask for. */
static void forget(spectrogram *s) {
    const spectrogram_config *c = &s->plan->config;
    uint64_t needed = s->next * c->hop, after = s->origin + s->held, keep = made_up(c) + 1;
    if (needed + keep > after) needed = after > keep ? after - keep : 0;
    if (needed <= s->origin) return;
    size_t gone = (size_t)(needed - s->origin);
    memmove(s->samples, s->samples + gone, (s->held - gone) * sizeof *s->samples);
    s->held -= gone;
    s->origin = needed;
}

/* ---- frames ---- */

/* How many frames have all of their samples. */
static uint64_t complete(const spectrogram *s) {
    const spectrogram_config *c = &s->plan->config;
    uint64_t places = s->origin + s->held, span = c->center ? c->n_fft : c->window;
    return places < span ? 0 : (places - span) / c->hop + 1;
}

/* Computes the frames that are complete: in full groups of lanes, or with `all` the rest of them, too. */
static magpie_status compute(spectrogram *s, bool all) {
    const spectrogram_plan *plan = s->plan;
    const spectrogram_config *c = &plan->config;
    size_t lanes = plan->kernels->lanes, inset = c->center ? (c->n_fft - c->window) / 2 : 0;
    uint64_t most = complete(s);
    size_t count = most > s->next ? (size_t)(most - s->next) : 0;
    if (!all) count -= count % lanes;
    magpie_status status = magpie_grow((void **)&s->frames, &s->frames_capacity, s->ready + count,
                                       plan->bands * sizeof *s->frames);
    if (status != MAGPIE_OK) return status;
    while (count > 0) {
        size_t n = count < lanes ? count : lanes;
        const float *from = s->samples + (s->next * c->hop - s->origin) + inset;
        plan->kernels->run(plan, s->kernel_state, from, n, s->frames + s->ready * plan->bands);
        s->next += n;
        s->ready += n;
        count -= n;
    }
    return MAGPIE_OK;
}

magpie_status spectrogram_push(spectrogram *s, const float *samples, size_t n) {
    magpie_status status = reserve(s, n);
    if (status != MAGPIE_OK) return status;
    memcpy(s->samples + s->held, samples, n * sizeof *samples);
    s->held += n;
    if (!s->started) status = start(s, false);
    if (status != MAGPIE_OK || !s->started) return status;
    status = compute(s, false);
    forget(s);
    return status;
}

magpie_status spectrogram_finish(spectrogram *s) {
    if (s->held == 0) return MAGPIE_OK;
    magpie_status status = s->started ? MAGPIE_OK : start(s, true);
    if (status == MAGPIE_OK) status = end(s);
    return status == MAGPIE_OK ? compute(s, true) : status;
}

const float *spectrogram_ready(const spectrogram *s, size_t *count) {
    *count = s->ready;
    return s->frames;
}

void spectrogram_drop(spectrogram *s, size_t count) {
    size_t bands = s->plan->bands;
    s->ready -= count;
    memmove(s->frames, s->frames + count * bands, s->ready * bands * sizeof *s->frames);
}

/* ---- a network's window ---- */

static void scale(float *x, size_t n, double mean, double deviation) {
    for (size_t i = 0; i < n; i++) x[i] = (float)(((double)x[i] - mean) / deviation);
}

static void scale_by_itself(float *x, size_t n) {
    double mean = 0, squares = 0;
    for (size_t i = 0; i < n; i++) mean += (double)x[i];
    mean /= (double)n;
    for (size_t i = 0; i < n; i++) squares += ((double)x[i] - mean) * ((double)x[i] - mean);
    scale(x, n, mean, sqrt(squares / (double)(n > 1 ? n - 1 : 1)) + 1e-9);
}

void spectrogram_window(const spectrogram_plan *plan, const float *frames, size_t count, float *out) {
    const spectrogram_config *c = &plan->config;
    size_t bands = plan->bands, n = c->frames * bands;
    for (size_t t = 0; t < c->frames; t++)
        if (t < count || c->repeat)
            memcpy(out + t * bands, frames + t % count * bands, bands * sizeof *out);
        else
            for (size_t b = 0; b < bands; b++) out[t * bands + b] = (float)c->padding;
    if (c->normalize == SPECTROGRAM_FIXED) scale(out, n, c->mean, c->deviation);
    if (c->normalize == SPECTROGRAM_WINDOW) scale_by_itself(out, n);
}
