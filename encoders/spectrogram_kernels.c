/* spectrogram_kernels.c - see spectrogram_kernels.h; compiled for each level of the instruction set.
 *
 * A lane is a frame. Window, transform, filters and logarithm of as many frames as a vector has lanes run
 * side by side, and nothing crosses lanes but on the way in and out, which are transpositions. The
 * transform of n real samples is that of n/2 complex ones, unravelled where their power is taken. */
#include "spectrogram_kernels.h"
#include "fft_lanes.h"

#include <math.h>

typedef struct state {
    struct kiss_fft_state *fft;
    float *turns;        /* [n_fft / 4 + 1, 2]: cos and -sin of 2 pi k / n_fft */
    vf *time;            /* [n_fft rounded up to VL], or pairs of them as complex numbers */
    kiss_fft_cpx *waves; /* [n_fft / 2] */
    vf *power;           /* [bins] */
    vf *bands;           /* [bands rounded up to VL] */
} state;

static size_t round_up(size_t n, size_t step) { return (n + step - 1) / step * step; }

/* Pieces of one block, in the order of the struct; `base` NULL: *size is what they take. */
static void lay_out(const spectrogram_plan *plan, state *s, unsigned char *base, size_t *size) {
    size_t n = plan->config.n_fft, fft_bytes = 0, used = round_up(sizeof *s, 64);
    (void)kiss_fft_alloc((int)(n / 2), 0, NULL, &fft_bytes);
    const size_t bytes[] = {fft_bytes,
                            (n / 4 + 1) * 2 * sizeof(float),
                            round_up(n, VL) * sizeof(vf),
                            n / 2 * sizeof(kiss_fft_cpx),
                            plan->bins * sizeof(vf),
                            round_up(plan->bands, VL) * sizeof(vf)};
    void *at[sizeof bytes / sizeof *bytes];
    for (size_t i = 0; i < sizeof bytes / sizeof *bytes; i++) {
        at[i] = base ? base + used : NULL;
        used += round_up(bytes[i], 64);
    }
    *size = used;
    if (!base) return;
    *s = (state){.turns = at[1], .time = at[2], .waves = at[3], .power = at[4], .bands = at[5]};
    s->fft = kiss_fft_alloc((int)(n / 2), 0, at[0], &fft_bytes);
}

static size_t size(const spectrogram_plan *plan) {
    size_t bytes;
    lay_out(plan, NULL, NULL, &bytes);
    return bytes;
}

static void begin(const spectrogram_plan *plan, void *memory) {
    size_t n = plan->config.n_fft, bytes;
    state *s = memory;
    lay_out(plan, s, memory, &bytes);
    for (size_t k = 0; k <= n / 4; k++) {
        double angle = 2 * 3.14159265358979323846 * (double)k / (double)n;
        s->turns[2 * k] = (float)cos(angle);
        s->turns[2 * k + 1] = (float)-sin(angle);
    }
}

/* ---- in ---- */

static vf load_some(const float *p, size_t n) {
    float lanes[VL] = {0};
    memcpy(lanes, p, n * sizeof *p);
    return load(lanes);
}

/* time [n_fft]: sample n of every frame; lanes past the last frame repeat it. */
static void load_frames(const spectrogram_plan *plan, const float *samples, size_t frames, vf *time) {
    const spectrogram_config *c = &plan->config;
    for (size_t n = 0; n < c->window; n += VL) {
        vf block[VL];
        for (size_t r = 0; r < VL; r++) {
            const float *from = samples + (r < frames ? r : frames - 1) * c->hop + n;
            block[r] = n + VL <= c->window ? load(from) : load_some(from, c->window - n);
        }
        transpose(block);
        memcpy(time + n, block, sizeof block);
    }
    for (size_t n = c->window; n < c->n_fft; n++) time[n] = (vf){0};
}

static void remove_mean(size_t n, vf *time) {
    vf sum = {0};
    for (size_t i = 0; i < n; i++) sum += time[i];
    sum /= (float)n;
    for (size_t i = 0; i < n; i++) time[i] -= sum;
}

static void emphasise(size_t n, float by, vf *time) {
    for (size_t i = n - 1; i > 0; i--) time[i] -= time[i - 1] * by;
    time[0] -= time[0] * by;
}

/* ---- spectrum ---- */

static inline vf square(vf re, vf im) { return re * re + im * im; }

/* With z = DFT of x[2i] + i x[2i+1], of m = n/2 points, those of the even and the odd samples are
 *     E[k] = (z[k] + z*[m-k]) / 2,  O[k] = (z[k] - z*[m-k]) / 2i,  X[k] = E[k] + w^k O[k],  X[m-k] = (E[k] - w^k O[k])*
 * where w = exp(-2 pi i / n). */
static void take_power(const state *s, size_t m) {
    const kiss_fft_cpx *z = s->waves;
    s->power[0] = square(z[0].r + z[0].i, (vf){0});
    s->power[m] = square(z[0].r - z[0].i, (vf){0});
    for (size_t k = 1; k <= m / 2; k++) {
        const kiss_fft_cpx a = z[k], b = z[m - k];
        const float re = s->turns[2 * k], im = s->turns[2 * k + 1];
        vf even_re = (a.r + b.r) * 0.5f, even_im = (a.i - b.i) * 0.5f;
        vf odd_re = (a.i + b.i) * 0.5f, odd_im = (b.r - a.r) * 0.5f;
        vf turned_re = odd_re * re - odd_im * im, turned_im = odd_im * re + odd_re * im;
        s->power[k] = square(even_re + turned_re, even_im + turned_im);
        s->power[m - k] = square(even_re - turned_re, even_im - turned_im);
    }
}

static void take_roots(float *x, size_t n) {
    for (size_t i = 0; i < n; i++) x[i] = sqrtf(x[i]);
}

static void gather_bands(const spectrogram_plan *plan, const state *s) {
    for (size_t b = 0; b < plan->bands; b++) {
        const spectrogram_filter *f = &plan->filters[b];
        vf sum = {0};
        for (size_t i = 0; i < f->count; i++) sum += s->power[f->first + i] * f->weights[i];
        s->bands[b] = sum;
    }
}

/* ---- logarithm ---- */

/* ln x to 1 ulp or so, of positive finite numbers that are not denormal. x = 2^e m with m within sqrt(1/2)
 * and sqrt(2); the polynomial for ln m is that of Cephes' logf. */
INLINE vf ln_of(vf x) {
    const int32_t root = 0x3f3504f3; /* sqrt(1/2) */
    vi bits = (vi)x - root;
    vf e = __builtin_convertvector(bits >> 23, vf);
    vf f = (vf)((bits & 0x7fffff) + root) - 1, square = f * f, p;
    p = f * 7.0376836292e-2f - 1.1514610310e-1f;
    p = p * f + 1.1676998740e-1f;
    p = p * f - 1.2420140846e-1f;
    p = p * f + 1.4249322787e-1f;
    p = p * f - 1.6668057665e-1f;
    p = p * f + 2.0000714765e-1f;
    p = p * f - 2.4999993993e-1f;
    p = p * f + 3.3333331174e-1f;
    p = p * f * square - e * 2.12194440e-4f - square * 0.5f;
    return f + p + e * 0.693359375f;
}

static void take_logarithms(const spectrogram_plan *plan, vf *x) {
    const spectrogram_config *c = &plan->config;
    const float scale = (float)c->log_scale, offset = (float)c->log_offset, factor = plan->log_factor;
    const vf floor = splat((float)c->log_floor);
    for (size_t b = 0; b < plan->bands; b++) x[b] = ln_of(vmax(x[b] * scale + offset, floor)) * factor;
}

/* ---- out ---- */

static void store_frames(size_t bands, const vf *x, size_t frames, float *out) {
    for (size_t b = 0; b < bands; b += VL) {
        vf block[VL];
        memcpy(block, x + b, sizeof block);
        transpose(block);
        size_t count = bands - b < VL ? bands - b : VL;
        for (size_t r = 0; r < frames; r++) memcpy(out + r * bands + b, &block[r], count * sizeof *out);
    }
}

static void run(const spectrogram_plan *plan, void *memory, const float *samples, size_t frames, float *out) {
    const spectrogram_config *c = &plan->config;
    state *s = memory;
    load_frames(plan, samples, frames, s->time);
    if (c->remove_dc) remove_mean(c->window, s->time);
    if (c->preemphasis != 0) emphasise(c->window, (float)c->preemphasis, s->time);
    for (size_t i = 0; i < c->window; i++) s->time[i] *= plan->window[i];
    kiss_fft(s->fft, (const kiss_fft_cpx *)s->time, s->waves);
    take_power(s, c->n_fft / 2);
    if (c->magnitude) take_roots((float *)s->power, plan->bins * VL);
    if (plan->filters)
        gather_bands(plan, s);
    else
        memcpy(s->bands, s->power, plan->bins * sizeof *s->bands);
    if (c->log != SPECTROGRAM_LINEAR) take_logarithms(plan, s->bands);
    store_frames(plan->bands, s->bands, frames, out);
}

extern const spectrogram_kernels SIMD_LEVEL(spectrogram_kernels);
const spectrogram_kernels SIMD_LEVEL(spectrogram_kernels) = {SIMD_NAME, VL, size, begin, run};
