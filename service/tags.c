/* tags.c - magpie tags: what a model of sounds hears in one, in words. */
#include "command.h"
#include "model.h"
#include "output.h"
#include "terminal.h"

#include <stdlib.h>

enum { TAGS_MOST = 1 << 20 };

static struct {
    const char *audio;
    size_t k;
} given = {.k = 10};

typedef struct tag {
    size_t index; /* the model's */
    float probability;
} tag;

static int compare_tags(const void *a, const void *b) {
    const tag *x = a, *y = b;
    if (x->probability != y->probability) return x->probability < y->probability ? 1 : -1;
    return x->index < y->index ? -1 : x->index > y->index;
}

/* The model's tags, likeliest first. *out is to be freed. */
static magpie_status tell(magpie_audio_encoder *encoder, tag **out, size_t *count) {
    const magpie_audio_encoder_info *info = magpie_audio_encoder_get_info(encoder);
    float *probabilities = magpie_alloc(info->tags, sizeof *probabilities);
    tag *tags = magpie_alloc(info->tags, sizeof *tags);
    magpie_status status = probabilities && tags ? MAGPIE_OK : MAGPIE_E_NO_MEMORY;
    if (status == MAGPIE_OK)
        status = magpie_audio_encoder_tags(encoder, &(magpie_media){.path = given.audio}, probabilities);
    for (size_t i = 0; i < info->tags && status == MAGPIE_OK; i++) tags[i] = (tag){i, probabilities[i]};
    if (status == MAGPIE_OK) qsort(tags, info->tags, sizeof *tags, compare_tags);
    free(probabilities);
    *out = tags;
    *count = info->tags < given.k ? info->tags : given.k;
    return status;
}

static exit_code print_tags(const magpie_audio_encoder *encoder, const tag *tags, size_t count,
                            double seconds) {
    magpie_text out = {0};
    if (output_json) magpie_text_printf(&out, "{\"tags\": [");
    for (size_t i = 0; i < count; i++) {
        const char *name = magpie_audio_encoder_tag(encoder, tags[i].index);
        magpie_string words = magpie_string_of(name);
        if (output_json) {
            magpie_text_printf(&out, "%s{\"tag\": ", i ? ", " : "");
            magpie_text_json_string(&out, words.data, words.size);
            magpie_text_printf(&out, ", \"probability\": %.7g}", (double)tags[i].probability);
        } else {
            magpie_text_printf(&out, "%4zu  %.4f  ", i + 1, (double)tags[i].probability);
            terminal_append(&out, words);
            magpie_text_append(&out, "\n", 1);
        }
    }
    if (output_json) magpie_text_printf(&out, "], \"took_ms\": %.3f}\n", seconds * 1000);
    return output_and_free(&out);
}

static exit_code run_tags(char **operands, int count) {
    (void)operands;
    (void)count;
    model_folders folders;
    model_encoder model = {0};
    const char *folder;
    tag *tags = NULL;
    size_t told = 0;
    magpie_status status = model_find(&folders);
    if (status == MAGPIE_OK) status = model_require(&folders, SENSE_AUDIO, &folder);
    if (status == MAGPIE_OK) status = model_open(folder, SENSE_AUDIO, false, &model);
    double start = magpie_seconds();
    if (status == MAGPIE_OK) status = tell(model.audio, &tags, &told);
    exit_code code =
        status == MAGPIE_OK ? print_tags(model.audio, tags, told, magpie_seconds() - start) : print_failure();
    free(tags);
    model_close(&model);
    return code;
}

static const option_row own_options[] = {{.name = "audio",
                                          .letter = 'a',
                                          .argument = "FILE",
                                          .string = &given.audio,
                                          .help = "a sound, a WAV, FLAC, Ogg, MP3 or AIFF",
                                          .required = true},
                                         {.letter = 'k',
                                          .name = "count",
                                          .argument = "N",
                                          .number = &given.k,
                                          .least = 1,
                                          .most = TAGS_MOST,
                                          .help = "how many (default: 10)"},
                                         {0}};

static const option_row *const tables[] = {own_options, model_options, audio_seconds_options, json_options,
                                           NULL};

const command tags_command = {
    .name = "tags",
    .summary = "say what is heard in a sound, by a model that has tags",
    .operands = "",
    .tables = tables,
    .details = "The likeliest first, each with its probability, which is that of this tag alone: they are\n"
               "independent of each other and do not add up to 1.\n\n"
               "--json: {\"tags\": [{\"tag\", \"probability\"}], \"took_ms\"}; took_ms is without opening "
               "the model.\n",
    .run = run_tags};
