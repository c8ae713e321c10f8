/* model.c - the one place that knows which encoder options a person can set. */
#include "model.h"

#include <stdlib.h>

enum { THREADS_MAX = 1024 };

static const char *directory;
static size_t threads;
static magpie_encoder_options encoder = {.precision = MAGPIE_PRECISION_AUTO};

static magpie_status parse_precision(const char *value, void *target) {
    return magpie_precision_parse(value, target);
}

static magpie_status parse_backend(const char *value, void *target) {
    return magpie_backend_parse(value, target);
}

const option_row model_options[] = {{.name = "model",
                                     .letter = 'm',
                                     .argument = "DIR",
                                     .string = &directory,
                                     .help = "the text model's folder (default: $MAGPIE_MODEL)"},
                                    {.name = "precision",
                                     .argument = "P",
                                     .parse = parse_precision,
                                     .target = &encoder.precision,
                                     .help = "f32, bf16 or auto: bf16 where the CPU has it (default: auto)"},
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

magpie_status model_open_at(const char *path, bool defer_weights, magpie_text_encoder **out) {
    encoder.threads = (unsigned)threads;
    encoder.defer_weights = defer_weights;
    return magpie_text_encoder_open(path, &encoder, out);
}

magpie_status model_open(bool defer_weights, magpie_text_encoder **out) {
    const char *path = directory ? directory : getenv("MAGPIE_MODEL");
    if (!path || !*path)
        return magpie_fail(MAGPIE_E_ARGUMENT,
                           "no model is given: name its folder by --model DIR or in MAGPIE_MODEL");
    return model_open_at(path, defer_weights, out);
}
