/* model.c - the one place that knows which encoder options a person can set. */
#include "model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { THREADS_MAX = 1024 };

static const struct {
    const char *name, *things, *option;
} senses[SENSES] = {[SENSE_TEXT] = {"text", "text", "--model"},
                    [SENSE_IMAGE] = {"image", "pictures", "--image-model"},
                    [SENSE_AUDIO] = {"audio", "sounds", "--audio-model"}};

static const char *directory, *image_directory, *audio_directory, *fusion_directory;
/* Folders of sets, kept for as long as the process runs. */
typedef struct part {
    char *path;
    struct part *next;
} part;
static part *parts;

static size_t threads;
static magpie_encoder_options encoder_options = {.precision = MAGPIE_PRECISION_AUTO};

magpie_status model_parse_precision(const char *value, void *target) {
    return magpie_precision_parse(value, target);
}

static magpie_status parse_seconds(const char *value, void *target) {
    if (strcmp(value, "all") == 0) return *(double *)target = INFINITY, MAGPIE_OK;
    if (option_read_real(value, target) && *(double *)target > 0) return MAGPIE_OK;
    return magpie_fail(MAGPIE_E_ARGUMENT, "all or a number of seconds is wanted, not \"%s\"", value);
}

static magpie_status parse_device(const char *value, void *target) {
    return magpie_device_parse(value, target);
}

const option_row model_options[] = {
    {.name = "model",
     .letter = 'm',
     .argument = "DIR",
     .string = &directory,
     .help = "the model's folder, or a set's: text/, image/, audio/, fusion/ (default: $MAGPIE_MODEL)"},
    {.name = "image-model",
     .argument = "DIR",
     .string = &image_directory,
     .help = "another for pictures (default: $MAGPIE_IMAGE_MODEL, else --model's)"},
    {.name = "audio-model",
     .argument = "DIR",
     .string = &audio_directory,
     .help = "another for sounds (default: $MAGPIE_AUDIO_MODEL, else --model's)"},
    {.name = "fusion-model",
     .argument = "DIR",
     .string = &fusion_directory,
     .help = "the heads that bring them into one space (default: $MAGPIE_FUSION_MODEL, else --model's)"},
    {.name = "precision",
     .argument = "P",
     .parse = model_parse_precision,
     .target = &encoder_options.precision,
     .help = "f32, bf16, f16 (GPUs alone), int8 (pictures alone; the rest as by auto) or auto: bf16 where "
             "the device has it "
             "(default)"},
    {.name = "device",
     .argument = "D",
     .parse = parse_device,
     .target = &encoder_options.device,
     .help =
         "cpu, a GPU as opencl[:N] or cuda[:N], auto: a GPU where there is one, or reference (default: cpu)"},
    {.name = "threads",
     .argument = "N",
     .number = &threads,
     .least = 1,
     .most = THREADS_MAX,
     .help = "threads that encode (default: one a CPU)"},
    {0}};

const option_row audio_seconds_options[] = {
    {.name = "audio-seconds",
     .argument = "N",
     .parse = parse_seconds,
     .target = &encoder_options.audio_seconds,
     .help = "how much of a sound is heard, from its start; or all (default: 600)"},
    {0}};

const option_row passage_prefix_options[] = {
    {.name = "passage-prefix",
     .argument = "S",
     .string = &encoder_options.passage_prefix,
     .may_be_empty = true,
     .help = "put before every text (default: what the model names)"},
    {0}};

const option_row query_prefix_options[] = {{.name = "query-prefix",
                                            .argument = "S",
                                            .string = &encoder_options.query_prefix,
                                            .may_be_empty = true,
                                            .help = "put before every query (default: what the model names)"},
                                           {0}};

const char *model_sense_name(model_sense sense) { return senses[sense].name; }

model_sense model_sense_find(const char *name) {
    model_sense sense = SENSE_TEXT;
    while (sense < SENSES && strcmp(name, senses[sense].name) != 0) sense++;
    return sense;
}

const char *model_sense_things(model_sense sense) { return senses[sense].things; }

bool model_has_sense(const magpie_model_senses *of, model_sense sense) {
    return sense == SENSE_TEXT ? of->text : sense == SENSE_IMAGE ? of->image : of->audio;
}

/* What the option says, else the environment; NULL: neither. */
static const char *choose(const char *option, const char *variable) {
    const char *value = option ? option : getenv(variable);
    return value && *value ? value : NULL;
}

static bool is_folder(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* *out is the folder of that name in `set`, NULL where it has none. */
static magpie_status find_part(const char *set, const char *name, const char **out) {
    part *found = magpie_alloc(1, sizeof *found);
    if (!found) return MAGPIE_E_NO_MEMORY;
    found->path = magpie_path_join(set, name);
    found->next = parts;
    parts = found;
    *out = found->path && is_folder(found->path) ? found->path : NULL;
    return found->path ? MAGPIE_OK : MAGPIE_E_NO_MEMORY;
}

/* *any is false where it is no set. */
static magpie_status find_parts(const char *set, model_folders *out, bool *any) {
    char *config = magpie_path_join(set, "config.json");
    magpie_status status = config ? MAGPIE_OK : MAGPIE_E_NO_MEMORY;
    *any = false;
    if (config && !magpie_path_exists(config)) {
        for (model_sense sense = SENSE_TEXT; sense < SENSES && status == MAGPIE_OK; sense++) {
            status = find_part(set, senses[sense].name, &out->of[sense]);
            *any |= out->of[sense] != NULL;
        }
        if (status == MAGPIE_OK) status = find_part(set, "fusion", &out->fusion);
        *any |= out->fusion != NULL;
    }
    free(config);
    return status;
}

magpie_status model_find_in(const char *folder, model_folders *out) {
    magpie_model_senses has = {0};
    bool is_set;
    *out = (model_folders){0};
    magpie_status status = find_parts(folder, out, &is_set);
    if (status != MAGPIE_OK || is_set) return status;
    status = magpie_model_get_senses(folder, &has);
    for (model_sense sense = SENSE_TEXT; sense < SENSES; sense++)
        if (model_has_sense(&has, sense)) out->of[sense] = folder;
    if (has.labels)
        out->labels = folder;
    else if (status == MAGPIE_OK && !has.text && !has.image && !has.audio)
        out->fusion = folder;
    return status;
}

magpie_status model_find_any(model_folders *out) {
    const char *model = choose(directory, "MAGPIE_MODEL");
    const char *image = choose(image_directory, "MAGPIE_IMAGE_MODEL");
    const char *audio = choose(audio_directory, "MAGPIE_AUDIO_MODEL");
    const char *fusion = choose(fusion_directory, "MAGPIE_FUSION_MODEL");
    *out = (model_folders){0};
    magpie_status status = model ? model_find_in(model, out) : MAGPIE_OK;
    if (out->labels)
        status =
            magpie_fail(MAGPIE_E_ARGUMENT, "%s is a model of labels: name it by --labels-model DIR", model);
    if (image) out->of[SENSE_IMAGE] = image;
    if (audio) out->of[SENSE_AUDIO] = audio;
    if (fusion) out->fusion = fusion;
    return status;
}

magpie_status model_find(model_folders *out) {
    magpie_status status = model_find_any(out);
    for (model_sense sense = SENSE_TEXT; sense < SENSES && status == MAGPIE_OK; sense++)
        if (out->of[sense]) return MAGPIE_OK;
    return status == MAGPIE_OK
               ? magpie_fail(MAGPIE_E_ARGUMENT,
                             "no model is given: name its folder by --model DIR or in MAGPIE_MODEL")
               : status;
}

magpie_status model_require(const model_folders *folders, model_sense sense, const char **out) {
    *out = folders->of[sense];
    if (*out) return MAGPIE_OK;
    return magpie_fail(MAGPIE_E_ARGUMENT, "no model of %s is given: name it by %s DIR", senses[sense].things,
                       senses[sense].option);
}

static void describe(model_encoder *encoder, const char *name, const char *fingerprint, size_t dimension,
                     unsigned threads) {
    encoder->name = name;
    encoder->fingerprint = fingerprint;
    encoder->dimension = dimension;
    encoder->threads = threads;
}

unsigned model_threads(void) { return threads ? (unsigned)threads : magpie_cpu_count(); }

void model_limit_pictures(size_t bytes) { encoder_options.picture_bytes = bytes; }

magpie_status model_open(const char *folder, model_sense sense, bool defer_weights, model_encoder *out) {
    magpie_encoder_options options = encoder_options;
    magpie_status status;
    options.threads = (unsigned)threads;
    options.defer_weights = defer_weights;
    if (sense != SENSE_IMAGE && options.precision == MAGPIE_PRECISION_INT8)
        options.precision = MAGPIE_PRECISION_AUTO;
    *out = (model_encoder){0};
    if (sense == SENSE_TEXT) {
        if ((status = magpie_text_encoder_open(folder, &options, &out->text)) != MAGPIE_OK) return status;
        const magpie_text_encoder_info *info = magpie_text_encoder_get_info(out->text);
        describe(out, info->name, info->fingerprint, info->dimension, info->threads);
    } else if (sense == SENSE_IMAGE) {
        if ((status = magpie_image_encoder_open(folder, &options, &out->image)) != MAGPIE_OK) return status;
        const magpie_image_encoder_info *info = magpie_image_encoder_get_info(out->image);
        describe(out, info->name, info->fingerprint, info->dimension, info->threads);
    } else {
        if ((status = magpie_audio_encoder_open(folder, &options, &out->audio)) != MAGPIE_OK) return status;
        const magpie_audio_encoder_info *info = magpie_audio_encoder_get_info(out->audio);
        describe(out, info->name, info->fingerprint, info->dimension, info->threads);
    }
    return MAGPIE_OK;
}

void model_without_teams(void) { encoder_options.no_teams = true; }

void model_close(model_encoder *encoder) {
    magpie_text_encoder_close(encoder->text);
    magpie_image_encoder_close(encoder->image);
    magpie_audio_encoder_close(encoder->audio);
    *encoder = (model_encoder){0};
}

magpie_status model_place(magpie_fusion *fusion) {
    return magpie_fusion_use_device(fusion, encoder_options.device);
}

magpie_status model_encode_files(const model_encoder *encoder, const magpie_media *files, size_t n,
                                 float *out, magpie_outcome *outcomes) {
    return encoder->image ? magpie_image_encoder_encode(encoder->image, files, n, out, outcomes)
                          : magpie_audio_encoder_encode(encoder->audio, files, n, out, outcomes);
}
