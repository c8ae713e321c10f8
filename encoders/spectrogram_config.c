/* spectrogram_config.c - which spectrogram a model's preprocessor_config.json asks for. */
#include "encoders.h"
#include "model_files.h"
#include "spectrogram.h"

#include <math.h>
#include <string.h>

/* A number from `least` to `most`; a missing key, or null, keeps *out. */
static magpie_status read_number(const model_json *file, const char *key, double least, double most,
                                 double *out) {
    const json_t *value = json_object_get(file->root, key);
    if (!value || json_is_null(value)) return MAGPIE_OK;
    double number = json_number_value(value);
    if (!json_is_number(value) || !(number >= least && number <= most))
        return magpie_fail(MAGPIE_E_CORRUPT, "%s: \"%s\" should be a number from %g to %g", file->path, key,
                           least, most);
    *out = number;
    return MAGPIE_OK;
}

/* One of `names`, which end with NULL; a missing key, or null, keeps *out. */
static magpie_status read_choice(const model_json *file, const char *key, const char *const *names,
                                 size_t *out) {
    const char *value;
    magpie_status status = model_json_string(file, key, NULL, &value);
    if (status != MAGPIE_OK || !value) return status;
    for (size_t i = 0; names[i]; i++)
        if (strcmp(value, names[i]) == 0) return *out = i, MAGPIE_OK;
    return magpie_fail(MAGPIE_E_UNSUPPORTED, "%s: \"%s\" is \"%s\", which is not supported", file->path, key,
                       value);
}

static magpie_status check(const model_json *file, const spectrogram_config *c) {
    const char *wrong = NULL;
    if (c->n_fft % 2)
        wrong = "\"n_fft\" should be even";
    else if (c->window < 2 || c->window > c->n_fft)
        wrong = "\"win_length\" should be from 2 to \"n_fft\"";
    else if (c->mels && c->f_min >= c->f_max)
        wrong = "\"f_min\" should be below \"f_max\"";
    else if (c->log != SPECTROGRAM_LINEAR && fmax(c->log_floor, c->log_offset) < 1e-30)
        wrong = "the logarithm needs a \"log_floor\" or a \"log_offset\" of 1e-30 or more";
    else if (!(c->deviation > 0))
        wrong = "\"std\" should be above 0";
    return wrong ? magpie_fail(MAGPIE_E_CORRUPT, "%s: %s", file->path, wrong) : MAGPIE_OK;
}

/* ---- our own keys ---- */

static magpie_status read_sizes(const model_json *file, spectrogram_config *c) {
    const struct {
        const char *key;
        bool required;
        size_t least, most, *out;
    } sizes[] = {{"sampling_rate", true, MAGPIE_AUDIO_RATE_MIN, MAGPIE_AUDIO_RATE_MAX, &c->rate},
                 {"n_fft", true, 4, SPECTROGRAM_FFT_MAX, &c->n_fft},
                 {"win_length", false, 2, SPECTROGRAM_FFT_MAX, &c->window},
                 {"hop_length", true, 1, SPECTROGRAM_FFT_MAX, &c->hop},
                 {"n_mels", false, 0, SPECTROGRAM_BANDS_MAX, &c->mels},
                 {"frames", true, 1, SPECTROGRAM_FRAMES_MAX, &c->frames}};
    magpie_status status = MAGPIE_OK;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes && status == MAGPIE_OK; i++) {
        status = model_json_size(file, sizes[i].key, sizes[i].required, sizes[i].least, sizes[i].most,
                                 sizes[i].out);
        if (i == 1) c->window = c->n_fft;
    }
    return status;
}

static magpie_status read_choices(const model_json *file, spectrogram_config *c) {
    static const char *const windows[] = {"hann", "hann_symmetric", NULL};
    static const char *const pads[] = {"constant", "reflect", NULL};
    static const char *const scales[] = {"htk", "slaney", "kaldi", NULL};
    static const char *const norms[] = {"slaney", NULL};
    static const char *const logs[] = {"none", "ln", "log10", "db", NULL};
    static const char *const normalizes[] = {"none", "fixed", "window", NULL};
    static const char *const paddings[] = {"constant", "repeat", NULL};
    size_t window = 0, pad = 1, scale = MEL_HTK, norm = 1, log = SPECTROGRAM_LN,
           normalize = SPECTROGRAM_AS_IS, padding = 1;
    const struct {
        const char *key, *const *names;
        size_t *out;
    } choices[] = {
        {"window", windows, &window},   {"pad_mode", pads, &pad}, {"mel_scale", scales, &scale},
        {"norm", norms, &norm},         {"log", logs, &log},      {"normalize", normalizes, &normalize},
        {"padding", paddings, &padding}};
    magpie_status status = MAGPIE_OK;
    for (size_t i = 0; i < sizeof choices / sizeof *choices && status == MAGPIE_OK; i++)
        status = read_choice(file, choices[i].key, choices[i].names, choices[i].out);
    c->symmetric = window == 1;
    c->reflect = pad == 1;
    c->scale = (mel_scale)scale;
    c->area_norm = norm == 0;
    c->log = (spectrogram_log)log;
    c->normalize = (spectrogram_normalize)normalize;
    c->repeat = padding == 1;
    return status;
}

static magpie_status read_numbers(const model_json *file, spectrogram_config *c) {
    const double any = 1e30;
    double power = 2;
    const struct {
        const char *key;
        double least, most, *out;
    } numbers[] = {{"power", 1, 2, &power},
                   {"f_min", 0, (double)c->rate / 2, &c->f_min},
                   {"f_max", 0, (double)c->rate / 2, &c->f_max},
                   {"preemphasis", 0, 1, &c->preemphasis},
                   {"log_scale", 0, any, &c->log_scale},
                   {"log_offset", 0, any, &c->log_offset},
                   {"log_floor", 0, any, &c->log_floor},
                   {"mean", -any, any, &c->mean},
                   {"std", 0, any, &c->deviation},
                   {"padding_value", -any, any, &c->padding}};
    magpie_status status = MAGPIE_OK;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers && status == MAGPIE_OK; i++)
        status = read_number(file, numbers[i].key, numbers[i].least, numbers[i].most, numbers[i].out);
    if (status == MAGPIE_OK && power != 1 && power != 2)
        status = magpie_fail(MAGPIE_E_UNSUPPORTED, "%s: a \"power\" of %g; 1 and 2 are supported", file->path,
                             power);
    c->magnitude = power == 1;
    return status;
}

static magpie_status read_own(const model_json *file, spectrogram_config *c) {
    *c = (spectrogram_config){.log_scale = 1, .log_floor = 1e-10, .deviation = 1};
    magpie_status status = read_sizes(file, c);
    c->f_max = (double)c->rate / 2;
    if (status == MAGPIE_OK) status = read_choices(file, c);
    if (status == MAGPIE_OK) status = read_numbers(file, c);
    const json_t *center = json_object_get(file->root, "center");
    c->center = !json_is_false(center);
    c->remove_dc = model_json_true(file, "remove_dc_offset");
    return status;
}

/* ---- transformers' ASTFeatureExtractor ---- */

/* Kaldi's fbank as torchaudio has it by default, but for the window: 25 ms every 10. Twice the deviation:
 * theirs. */
static magpie_status read_ast(const model_json *file, spectrogram_config *c) {
    *c = (spectrogram_config){.rate = 16000,
                              .symmetric = true,
                              .remove_dc = true,
                              .preemphasis = 0.97,
                              .mels = 128,
                              .f_min = 20,
                              .scale = MEL_KALDI,
                              .log = SPECTROGRAM_LN,
                              .log_scale = 1,
                              .log_floor = 1.1920928955078125e-07, /* the epsilon of f32 */
                              .normalize = SPECTROGRAM_FIXED,
                              .mean = -4.2677393,
                              .deviation = 4.5689974,
                              .frames = 1024};
    magpie_status status =
        model_json_size(file, "sampling_rate", false, MAGPIE_AUDIO_RATE_MIN, MAGPIE_AUDIO_RATE_MAX, &c->rate);
    if (status == MAGPIE_OK)
        status = model_json_size(file, "num_mel_bins", false, 1, SPECTROGRAM_BANDS_MAX, &c->mels);
    if (status == MAGPIE_OK)
        status = model_json_size(file, "max_length", false, 1, SPECTROGRAM_FRAMES_MAX, &c->frames);
    if (status == MAGPIE_OK) status = read_number(file, "mean", -1e30, 1e30, &c->mean);
    if (status == MAGPIE_OK) status = read_number(file, "std", 0, 1e30, &c->deviation);
    c->deviation *= 2;
    c->f_max = (double)(c->rate / 2);
    c->window = c->rate / 40;
    c->hop = c->rate / 100;
    for (c->n_fft = 4; c->n_fft < c->window;) c->n_fft *= 2;
    if (json_is_false(json_object_get(file->root, "do_normalize"))) c->normalize = SPECTROGRAM_AS_IS;
    return status;
}

magpie_status spectrogram_config_read(const char *directory, spectrogram_config *out) {
    model_json file;
    const char *type;
    magpie_status status = model_json_open(directory, "preprocessor_config.json", false, &file);
    if (status != MAGPIE_OK) return status;
    status = model_json_string(&file, "feature_extractor_type", "", &type);
    if (status == MAGPIE_OK) {
        if (strcmp(type, "MagpieSpectrogram") == 0)
            status = read_own(&file, out);
        else if (strcmp(type, "ASTFeatureExtractor") == 0)
            status = read_ast(&file, out);
        else
            status = magpie_fail(MAGPIE_E_UNSUPPORTED,
                                 "%s: a \"feature_extractor_type\" of \"%s\"; MagpieSpectrogram and "
                                 "ASTFeatureExtractor are supported",
                                 file.path, type);
    }
    if (status == MAGPIE_OK) status = check(&file, out);
    model_json_close(&file);
    return status;
}
