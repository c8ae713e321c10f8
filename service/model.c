/* model.c - the one place that knows which encoder options a person can set. */
#include "model.h"

#include <stdlib.h>

enum { THREADS_MAX = 1024 };

static const char *directory, *image_directory;
static size_t threads;
static magpie_encoder_options encoder = {.precision = MAGPIE_PRECISION_AUTO};

static magpie_status parse_precision(const char *value, void *target) {
    return magpie_precision_parse(value, target);
}

static magpie_status parse_backend(const char *value, void *target) {
    return magpie_backend_parse(value, target);
}

const option_row model_options[] = {
    {.name = "model",
     .letter = 'm',
     .argument = "DIR",
     .string = &directory,
     .help = "the model's folder, of text or of pictures or of both (default: $MAGPIE_MODEL)"},
    {.name = "image-model",
     .argument = "DIR",
     .string = &image_directory,
     .help = "another for pictures (default: $MAGPIE_IMAGE_MODEL, else --model's)"},
    {.name = "precision",
     .argument = "P",
     .parse = parse_precision,
     .target = &encoder.precision,
     .help =
         "f32, bf16, int8 (pictures alone; texts as by auto) or auto: bf16 where the CPU has it (default)"},
    {.name = "backend",
     .argument = "B",
     .parse = parse_backend,
     .target = &encoder.backend,
     .help = "cpu or reference (default: cpu)"},
    {.name = "threads",
     .argument = "N",
     .number = &threads,
     .least = 1,
     .most = THREADS_MAX,
     .help = "threads that encode (default: one a CPU)"},
    {0}};

const option_row passage_prefix_options[] = {
    {.name = "passage-prefix",
     .argument = "S",
     .string = &encoder.passage_prefix,
     .may_be_empty = true,
     .help = "put before every text (default: what the model names)"},
    {0}};

const option_row query_prefix_options[] = {{.name = "query-prefix",
                                            .argument = "S",
                                            .string = &encoder.query_prefix,
                                            .may_be_empty = true,
                                            .help = "put before every query (default: what the model names)"},
                                           {0}};

/* What the option says, else the environment; NULL: neither. */
static const char *choose(const char *option, const char *variable) {
    const char *value = option ? option : getenv(variable);
    return value && *value ? value : NULL;
}

magpie_status model_find(model_folders *out) {
    const char *model = choose(directory, "MAGPIE_MODEL");
    magpie_model_senses senses = {0};
    *out = (model_folders){.image = choose(image_directory, "MAGPIE_IMAGE_MODEL")};
    if (!model && !out->image)
        return magpie_fail(MAGPIE_E_ARGUMENT,
                           "no model is given: name its folder by --model DIR or in MAGPIE_MODEL");
    magpie_status status = model ? magpie_model_get_senses(model, &senses) : MAGPIE_OK;
    if (senses.text) out->text = model;
    if (senses.image && !out->image) out->image = model;
    return status;
}

static const magpie_encoder_options *options_with(bool defer_weights) {
    encoder.threads = (unsigned)threads;
    encoder.defer_weights = defer_weights;
    return &encoder;
}

magpie_status model_open_text(const char *folder, bool defer_weights, magpie_text_encoder **out) {
    magpie_encoder_options options = *options_with(defer_weights);
    if (options.precision == MAGPIE_PRECISION_INT8) options.precision = MAGPIE_PRECISION_AUTO;
    return magpie_text_encoder_open(folder, &options, out);
}

magpie_status model_open_image(const char *folder, bool defer_weights, magpie_image_encoder **out) {
    return magpie_image_encoder_open(folder, options_with(defer_weights), out);
}
