/* spectrogram_plan.c - what does not depend on the sound: window and mel filters; and a frame by the
 * formula. */
#include "simd.h"
#include "spectrogram_kernels.h"

#include <math.h>
#include <stdlib.h>

static const double pi = 3.14159265358979323846;

/* ---- mel ---- */

static double slaney_log_step(void) { return log(6.4) / 27; }

static double to_mel(mel_scale scale, double hz) {
    switch (scale) {
    case MEL_SLANEY: return hz < 1000 ? hz * 3 / 200 : 15 + log(hz / 1000) / slaney_log_step();
    case MEL_KALDI: return 1127 * log(1 + hz / 700);
    default: return 2595 * log10(1 + hz / 700);
    }
}

static double to_hz(mel_scale scale, double mel) {
    switch (scale) {
    case MEL_SLANEY: return mel < 15 ? mel * 200 / 3 : 1000 * exp((mel - 15) * slaney_log_step());
    case MEL_KALDI: return 700 * (exp(mel / 1127) - 1);
    default: return 700 * (pow(10, mel / 2595) - 1);
    }
}

/* Where a band begins, has its peak and ends, and what a bin is compared with these in: Hz, or Kaldi's
 * mels. */
typedef struct triangle {
    double left, peak, right;
} triangle;

static triangle triangle_of(const spectrogram_config *c, size_t band) {
    double least = to_mel(c->scale, c->f_min), most = to_mel(c->scale, c->f_max), at[3];
    for (size_t i = 0; i < 3; i++) {
        at[i] = least + (most - least) * (double)(band + i) / (double)(c->mels + 1);
        if (c->scale != MEL_KALDI) at[i] = to_hz(c->scale, at[i]);
    }
    return (triangle){at[0], at[1], at[2]};
}

static double weight_of(const spectrogram_config *c, const triangle *t, size_t bin) {
    double f = (double)bin * (double)c->rate / (double)c->n_fft;
    if (c->scale == MEL_KALDI) f = to_mel(MEL_KALDI, f);
    double weight = fmin((f - t->left) / (t->peak - t->left), (t->right - f) / (t->right - t->peak));
    if (weight <= 0) return 0;
    return c->area_norm ? weight * 2 / (t->right - t->left) : weight;
}

/* The last one at or below a place in the triangle's unit. */
static size_t bin_of(const spectrogram_config *c, double place) {
    double hz = c->scale == MEL_KALDI ? to_hz(MEL_KALDI, place) : place;
    return (size_t)(hz * (double)c->n_fft / (double)c->rate);
}

/* Counts them with `weights` NULL, else fills filters [mels] and weights in. */
static size_t make_filters(const spectrogram_plan *plan, spectrogram_filter *filters, float *weights) {
    const spectrogram_config *c = &plan->config;
    size_t used = 0;
    for (size_t b = 0; b < c->mels; b++) {
        triangle t = triangle_of(c, b);
        spectrogram_filter f = {0};
        size_t past = bin_of(c, t.right) + 2;
        for (size_t k = bin_of(c, t.left); k < plan->bins && k < past; k++) {
            double weight = weight_of(c, &t, k);
            if (weight == 0) continue;
            if (f.count == 0) f.first = k;
            if (weights) weights[used + f.count] = (float)weight;
            f.count++;
        }
        if (weights) f.weights = weights + used;
        if (filters) filters[b] = f;
        used += f.count;
    }
    return used;
}

/* ---- the plan ---- */

static float log_factor(const spectrogram_config *c) {
    double of_ten = 1 / log(10);
    switch (c->log) {
    case SPECTROGRAM_LOG10: return (float)of_ten;
    case SPECTROGRAM_DB: return (float)((c->magnitude ? 20 : 10) * of_ten);
    default: return 1;
    }
}

size_t spectrogram_bands(const spectrogram_config *config) {
    return config->mels ? config->mels : config->n_fft / 2 + 1;
}

magpie_status spectrogram_plan_create(const spectrogram_config *config, spectrogram_plan **out) {
    spectrogram_plan *p = magpie_alloc(1, sizeof *p);
    if (!p) return MAGPIE_E_NO_MEMORY;
    size_t n = config->window;
    *p = (spectrogram_plan){.config = *config,
                            .bins = config->n_fft / 2 + 1,
                            .bands = spectrogram_bands(config),
                            .window = magpie_alloc(n, sizeof *p->window),
                            .log_factor = log_factor(config),
                            .kernels = spectrogram_kernels_level(0)};
    bool fine = p->window;
    if (config->mels) {
        p->weights = magpie_alloc(make_filters(p, NULL, NULL), sizeof *p->weights);
        p->filters = magpie_alloc(config->mels, sizeof *p->filters);
        fine = fine && p->weights && p->filters;
    }
    if (!fine) {
        spectrogram_plan_free(p);
        return MAGPIE_E_NO_MEMORY;
    }
    if (p->filters) make_filters(p, p->filters, p->weights);
    double period = (double)(config->symmetric ? n - 1 : n);
    for (size_t i = 0; i < n; i++) p->window[i] = (float)(0.5 - 0.5 * cos(2 * pi * (double)i / period));
    *out = p;
    return MAGPIE_OK;
}

void spectrogram_plan_free(spectrogram_plan *p) {
    if (!p) return;
    free(p->window);
    free(p->weights);
    free(p->filters);
    free(p);
}

/* ---- kernels ---- */

extern const spectrogram_kernels spectrogram_kernels_base;
#ifdef MAGPIE_SIMD_X86
extern const spectrogram_kernels spectrogram_kernels_v3, spectrogram_kernels_v4;
#endif

const spectrogram_kernels *spectrogram_kernels_level(size_t i) {
    const spectrogram_kernels *levels[3];
    size_t n = 0;
#ifdef MAGPIE_SIMD_X86
    if (simd_runs_v4()) levels[n++] = &spectrogram_kernels_v4;
    if (simd_runs_v3()) levels[n++] = &spectrogram_kernels_v3;
#endif
    levels[n++] = &spectrogram_kernels_base;
    return i < n ? levels[i] : NULL;
}

/* ---- the reference ---- */

static void windowed(const spectrogram_plan *plan, const float *samples, double *x) {
    const spectrogram_config *c = &plan->config;
    double mean = 0;
    for (size_t i = 0; i < c->window; i++) mean += (double)samples[i] / (double)c->window;
    for (size_t i = 0; i < c->window; i++) x[i] = (double)samples[i] - (c->remove_dc ? mean : 0);
    for (size_t i = c->window; i-- > 0;) x[i] -= c->preemphasis * x[i ? i - 1 : 0];
    for (size_t i = 0; i < c->window; i++) x[i] *= (double)plan->window[i];
}

static double bin(const spectrogram_config *c, const double *x, size_t k) {
    double re = 0, im = 0;
    for (size_t i = 0; i < c->window; i++) {
        double angle = 2 * pi * (double)(i * k % c->n_fft) / (double)c->n_fft;
        re += x[i] * cos(angle);
        im -= x[i] * sin(angle);
    }
    return c->magnitude ? sqrt(re * re + im * im) : re * re + im * im;
}

static double logarithm(const spectrogram_config *c, double x) {
    x = fmax(c->log_scale * x + c->log_offset, c->log_floor);
    switch (c->log) {
    case SPECTROGRAM_LN: return log(x);
    case SPECTROGRAM_LOG10: return log10(x);
    default: return (c->magnitude ? 20 : 10) * log10(x);
    }
}

magpie_status spectrogram_reference(const spectrogram_plan *plan, const float *samples, double *out) {
    const spectrogram_config *c = &plan->config;
    double *x = magpie_alloc(c->window, sizeof *x), *bins = magpie_alloc(plan->bins, sizeof *bins);
    magpie_status status = x && bins ? MAGPIE_OK : MAGPIE_E_NO_MEMORY;
    if (status == MAGPIE_OK) {
        windowed(plan, samples, x);
        for (size_t k = 0; k < plan->bins; k++) bins[k] = bin(c, x, k);
        for (size_t b = 0; b < plan->bands; b++) {
            triangle t = triangle_of(c, b);
            out[b] = plan->filters ? 0 : bins[b];
            for (size_t k = 0; k < plan->bins && plan->filters; k++) out[b] += weight_of(c, &t, k) * bins[k];
            if (c->log != SPECTROGRAM_LINEAR) out[b] = logarithm(c, out[b]);
        }
    }
    free(x);
    free(bins);
    return status;
}
