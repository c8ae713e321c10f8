/* models.c - magpie models info: what a model folder holds, without packing its weights. A joint model
 * answers twice, once for each sense. And calibrate: what --precision int8 wants to find in the folder. */
#include "command.h"
#include "model.h"
#include "output.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

static void append_text(magpie_text *out, const char *name, const char *value) {
    if (output_json) {
        magpie_text_printf(out, "%s\"%s\": ", out->size ? ", " : "{", name);
        magpie_text_json_string(out, value, strlen(value));
    } else {
        magpie_text_printf(out, "%-16s%s\n", name, value);
    }
}

static void append_number(magpie_text *out, const char *name, unsigned long long value) {
    if (output_json)
        magpie_text_printf(out, "%s\"%s\": %llu", out->size ? ", " : "{", name, value);
    else
        magpie_text_printf(out, "%-16s%llu\n", name, value);
}

static void append_channels(magpie_text *out, const char *name, const float values[3]) {
    const char *format = output_json ? "%s\"%s\": [%.6g, %.6g, %.6g]" : "%s%-16s%.6g %.6g %.6g\n";
    magpie_text_printf(out, format,
                       !output_json ? ""
                       : out->size  ? ", "
                                    : "{",
                       name, (double)values[0], (double)values[1], (double)values[2]);
}

static exit_code print_and_free(magpie_text *out) {
    if (output_json) magpie_text_append(out, "}\n", 2);
    exit_code code = output_text(out);
    magpie_text_free(out);
    return code;
}

static exit_code print_text_side(const magpie_text_encoder_info *info) {
    magpie_text out = {0};
    append_text(&out, "sense", "text");
    append_text(&out, "name", info->name);
    append_text(&out, "architecture", info->architecture);
    append_text(&out, "pooling", info->pooling);
    append_text(&out, "fingerprint", info->fingerprint);
    append_number(&out, "dimension", info->dimension);
    append_number(&out, "layers", info->layers);
    append_number(&out, "heads", info->heads);
    append_number(&out, "intermediate", info->intermediate);
    append_number(&out, "vocabulary", info->vocabulary);
    append_number(&out, "max_tokens", info->max_tokens);
    append_number(&out, "parameters", info->parameters);
    append_text(&out, "backend", magpie_backend_name(info->backend));
    append_text(&out, "precision", magpie_precision_name(info->precision));
    append_number(&out, "threads", info->threads);
    append_text(&out, "query_prefix", info->query_prefix);
    append_text(&out, "passage_prefix", info->passage_prefix);
    return print_and_free(&out);
}

static exit_code print_image_side(const magpie_image_encoder_info *info) {
    magpie_text out = {0};
    append_text(&out, "sense", "image");
    append_text(&out, "name", info->name);
    append_text(&out, "architecture", info->architecture);
    append_text(&out, "fingerprint", info->fingerprint);
    append_number(&out, "dimension", info->dimension);
    append_number(&out, "layers", info->layers);
    append_number(&out, "input_size", info->input_size);
    append_text(&out, "filter", info->filter);
    append_channels(&out, "mean", info->mean);
    append_channels(&out, "std", info->std);
    append_number(&out, "parameters", info->parameters);
    append_text(&out, "backend", magpie_backend_name(info->backend));
    append_text(&out, "precision", magpie_precision_name(info->precision));
    append_number(&out, "threads", info->threads);
    return print_and_free(&out);
}

static exit_code run_info(const char *folder) {
    magpie_text_encoder *text = NULL;
    magpie_image_encoder *image = NULL;
    magpie_model_senses senses;
    magpie_status status = magpie_model_get_senses(folder, &senses);
    if (status == MAGPIE_OK && senses.text) status = model_open_text(folder, true, &text);
    if (status == MAGPIE_OK && senses.image) status = model_open_image(folder, true, &image);
    exit_code code = status == MAGPIE_OK ? EXIT_FINE : print_failure();
    if (code == EXIT_FINE && text) code = print_text_side(magpie_text_encoder_get_info(text));
    if (code == EXIT_FINE && text && image && !output_json) putchar('\n');
    if (code == EXIT_FINE && image) code = print_image_side(magpie_image_encoder_get_info(image));
    magpie_text_encoder_close(text);
    magpie_image_encoder_close(image);
    return code;
}

static exit_code run_calibrate(const char *folder, char **paths, size_t n) {
    const magpie_encoder_options options = {.precision = MAGPIE_PRECISION_F32};
    magpie_image_encoder *encoder = NULL;
    magpie_media *pictures = magpie_alloc(n, sizeof *pictures);
    magpie_status status =
        pictures ? magpie_image_encoder_open(folder, &options, &encoder) : MAGPIE_E_NO_MEMORY;
    for (size_t i = 0; status == MAGPIE_OK && i < n; i++) pictures[i].path = paths[i];
    if (status == MAGPIE_OK) status = magpie_image_encoder_calibrate(encoder, pictures, n);
    magpie_image_encoder_close(encoder);
    free(pictures);
    if (status != MAGPIE_OK) return print_failure();
    magpie_text out = {0};
    append_number(&out, "pictures", n);
    return print_and_free(&out);
}

static exit_code run_models(char **operands, int count) {
    if (strcmp(operands[0], "info") == 0 && count == 2) return run_info(operands[1]);
    if (strcmp(operands[0], "calibrate") == 0 && count > 2)
        return run_calibrate(operands[1], operands + 2, (size_t)count - 2);
    print_error("models: info DIR and calibrate DIR PICTURE... are what there is, not \"%s\" with %d more",
                operands[0], count - 1);
    return EXIT_USAGE;
}

static const option_row *const tables[] = {json_options, NULL};

const command models_command = {
    .name = "models",
    .summary = "print what a model folder holds, or calibrate it",
    .operands = "info DIR | calibrate DIR PICTURE...",
    .least_operands = 2,
    .most_operands = INT_MAX,
    .tables = tables,
    .details = "A model that takes text and pictures has two parts, text first; with\n"
               "--json one object a line.\n"
               "calibrate runs pictures through the network in f32 and keeps how far its\n"
               "maps reach in DIR/int8.json, for --precision int8. They should be like\n"
               "those to come; some hundred are plenty. One that is broken ends the run.\n",
    .run = run_models};
