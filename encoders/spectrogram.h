/* spectrogram.h - samples to frames of bands: what networks of sound look at. Private to encoders/.
 *
 * A frame is `window` samples under a Hann window, its spectrum |DFT|^2 or |DFT|, usually gathered into
 * mel bands (triangles that overlap by half), and a logarithm of that. Definitions differ in every
 * constant, and a network trained with one is deaf with another, so all of them are read from
 * preprocessor_config.json and matched to the number: torchaudio's MelSpectrogram, librosa's
 * melspectrogram, Kaldi's fbank as torchaudio.compliance.kaldi has it.
 *
 * A sound is streamed: it is pushed in pieces of any size, and frames come out as soon as their samples
 * are there. What is kept is less than the pieces and a frame. The pieces' sizes change nothing, to the
 * bit. */
#ifndef MAGPIE_SPECTROGRAM_H
#define MAGPIE_SPECTROGRAM_H

#include "core.h"

/* Frequency to mel. HTK: 2595 log10(1 + f/700). Slaney's Auditory Toolbox: linear to 1 kHz, 200/3 Hz a
 * mel, logarithmic above, 27 mels for a factor of 6.4. Kaldi: 1127 ln(1 + f/700), with triangles that are
 * straight in mels, not in Hz. */
typedef enum mel_scale { MEL_HTK, MEL_SLANEY, MEL_KALDI } mel_scale;

typedef enum spectrogram_log {
    SPECTROGRAM_LINEAR,
    SPECTROGRAM_LN,
    SPECTROGRAM_LOG10,
    SPECTROGRAM_DB /* 10 log10 of a power, 20 log10 of a magnitude */
} spectrogram_log;

typedef enum spectrogram_normalize {
    SPECTROGRAM_AS_IS,
    SPECTROGRAM_FIXED, /* (x - mean) / deviation */
    SPECTROGRAM_WINDOW /* the same with a window's own mean and unbiased deviation + 1e-9, as Wav2CLIP does */
} spectrogram_normalize;

typedef struct spectrogram_config {
    size_t rate;        /* Hz */
    size_t n_fft;       /* even: points of the transform */
    size_t window, hop; /* samples; window <= n_fft */
    bool symmetric;     /* the Hann window ends with a 0, as in filter design; else it is periodic */
    bool center;    /* frame t is centred on sample t hop, with n_fft / 2 samples made up at either end: */
    bool reflect;   /* the sound mirrored, without its end sample; else zeros */
    bool magnitude; /* |DFT|, else |DFT|^2 */
    bool remove_dc; /* of every frame: its mean is taken off */
    double preemphasis;  /* of every frame: x[i] -= preemphasis x[i - 1], x[-1] being x[0] */
    size_t mels;         /* 0: the spectrum itself, n_fft / 2 + 1 bands */
    double f_min, f_max; /* Hz, of the mel bands */
    mel_scale scale;
    bool area_norm;      /* Slaney's: triangles of area 1 in Hz, else of height 1 */
    spectrogram_log log; /* y = log(max(log_scale x + log_offset, log_floor)) */
    double log_scale, log_offset, log_floor;
    spectrogram_normalize normalize;
    double mean, deviation;
    size_t frames; /* in a network's window */
    bool repeat;   /* a sound of fewer frames is repeated; else `padding` follows, before normalising */
    double padding;
} spectrogram_config;

enum { SPECTROGRAM_FFT_MAX = 1 << 15, SPECTROGRAM_BANDS_MAX = 4096, SPECTROGRAM_FRAMES_MAX = 1 << 16 };

/* preprocessor_config.json: MagpieSpectrogram's keys (tests/golden/README.md lists them) or transformers'
 * ASTFeatureExtractor's. */
MAGPIE_CHECK_RESULT magpie_status spectrogram_config_read(const char *directory, spectrogram_config *out);
size_t spectrogram_bands(const spectrogram_config *config);

/* ---- what is the same for every sound ---- */

/* A band: a weighted sum of neighbouring bins. */
typedef struct spectrogram_filter {
    size_t first, count; /* of bins */
    const float *weights;
} spectrogram_filter;

typedef struct spectrogram_kernels spectrogram_kernels;

typedef struct spectrogram_plan { /* immutable once made; shared by threads */
    spectrogram_config config;
    size_t bins, bands;
    float *window;               /* [config.window] */
    spectrogram_filter *filters; /* [bands]; NULL: the bins are the bands */
    float *weights;              /* of all filters */
    float log_factor;            /* from natural logarithms to those asked for */
    const spectrogram_kernels *kernels;
} spectrogram_plan;

MAGPIE_CHECK_RESULT magpie_status spectrogram_plan_create(const spectrogram_config *config,
                                                          spectrogram_plan **out);
void spectrogram_plan_free(spectrogram_plan *plan);

/* One frame by the formula, in double: what the kernels are tested against. samples [config.window], out
 * [bands]. */
MAGPIE_CHECK_RESULT magpie_status spectrogram_reference(const spectrogram_plan *plan, const float *samples,
                                                        double *out);

/* ---- a sound ---- */

typedef struct spectrogram spectrogram; /* one thread's */

/* The plan must outlive it. */
MAGPIE_CHECK_RESULT magpie_status spectrogram_create(const spectrogram_plan *plan, spectrogram **out);
void spectrogram_free(spectrogram *s);

void spectrogram_begin(spectrogram *s); /* another sound */
MAGPIE_CHECK_RESULT magpie_status spectrogram_push(spectrogram *s, const float *samples, size_t n);
/* No more samples: the frames at the end. A sound of any samples has at least one frame; where it is
 * shorter than the made-up part, it is mirrored again and again; without `center`, zeros follow. */
MAGPIE_CHECK_RESULT magpie_status spectrogram_finish(spectrogram *s);
/* Frames that are ready, [*count, bands], not normalised; valid until the next push. */
const float *spectrogram_ready(const spectrogram *s, size_t *count);
void spectrogram_drop(spectrogram *s, size_t count); /* the first of them */

/* A network's window out of the first `count` (1 or more) frames: as many as it takes, or filled up, and
 * normalised; out [config.frames, bands]. */
void spectrogram_window(const spectrogram_plan *plan, const float *frames, size_t count, float *out);

#endif
