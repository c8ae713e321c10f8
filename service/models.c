/* models.c - magpie models info: what a model folder holds, without packing its weights. A joint model, and
 * a set of models, answer more than once, once for each sense. And calibrate: what --precision int8 wants
 * to find in the folder. */
#include "command.h"
#include "model.h"
#include "output.h"
#include "terminal.h"

#include <limits.h>
#include <math.h>
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

static void append_real(magpie_text *out, const char *name, double value) {
    if (output_json)
        magpie_text_printf(out, "%s\"%s\": %.9g", out->size ? ", " : "{", name, value);
    else
        magpie_text_printf(out, "%-16s%.9g\n", name, value);
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
    return output_and_free(out);
}

static void append_labels(magpie_text *out, const magpie_labels_info *info) {
    magpie_text_printf(out, output_json ? ", \"labels\": [" : "%-16s", "labels");
    for (size_t k = 0; k < info->count; k++) {
        const char *label = info->labels[k];
        if (k) magpie_text_printf(out, output_json ? ", " : "\n%16s", "");
        if (output_json)
            magpie_text_json_string(out, label, strlen(label));
        else
            terminal_append(out, magpie_string_of(label));
    }
    magpie_text_append(out, output_json ? "]" : "\n", 1);
}

/* What models of every sense have: at the beginning, and at the end. */
static void append_head(magpie_text *out, model_sense sense, const model_encoder *model,
                        const char *architecture, size_t layers) {
    append_text(out, "sense", model_sense_name(sense));
    append_text(out, "name", model->name);
    append_text(out, "architecture", architecture);
    append_text(out, "fingerprint", model->fingerprint);
    append_number(out, "dimension", model->dimension);
    append_number(out, "layers", layers);
}

static void append_tail(magpie_text *out, const model_encoder *model, uint64_t parameters,
                        magpie_device device, magpie_precision precision) {
    append_number(out, "parameters", parameters);
    append_text(out, "backend", magpie_backend_name(device.backend));
    append_text(out, "precision", magpie_precision_name(precision));
    append_number(out, "threads", model->threads);
}

static void append_text_side(magpie_text *out, const model_encoder *model) {
    const magpie_text_encoder_info *info = magpie_text_encoder_get_info(model->text);
    append_head(out, SENSE_TEXT, model, info->architecture, info->layers);
    append_text(out, "pooling", info->pooling);
    append_number(out, "heads", info->heads);
    append_number(out, "intermediate", info->intermediate);
    append_number(out, "vocabulary", info->vocabulary);
    append_number(out, "max_tokens", info->max_tokens);
    append_tail(out, model, info->parameters, info->device, info->precision);
    append_text(out, "query_prefix", info->query_prefix);
    append_text(out, "passage_prefix", info->passage_prefix);
}

static void append_image_side(magpie_text *out, const model_encoder *model) {
    const magpie_image_encoder_info *info = magpie_image_encoder_get_info(model->image);
    append_head(out, SENSE_IMAGE, model, info->architecture, info->layers);
    append_number(out, "input_size", info->input_size);
    append_text(out, "filter", info->filter);
    append_channels(out, "mean", info->mean);
    append_channels(out, "std", info->std);
    append_tail(out, model, info->parameters, info->device, info->precision);
}

static void append_audio_side(magpie_text *out, const model_encoder *model) {
    const magpie_audio_encoder_info *info = magpie_audio_encoder_get_info(model->audio);
    append_head(out, SENSE_AUDIO, model, info->architecture, info->layers);
    append_number(out, "sample_rate", info->sample_rate);
    append_number(out, "bands", info->bands);
    append_number(out, "frames", info->frames);
    append_real(out, "window_seconds", info->window_seconds);
    if (isinf(info->audio_seconds))
        append_text(out, "audio_seconds", "all");
    else
        append_real(out, "audio_seconds", info->audio_seconds);
    append_number(out, "tags", info->tags);
    append_tail(out, model, info->parameters, info->device, info->precision);
}

static exit_code print_side(const model_encoder *model) {
    magpie_text out = {0};
    if (model->text)
        append_text_side(&out, model);
    else if (model->image)
        append_image_side(&out, model);
    else
        append_audio_side(&out, model);
    return print_and_free(&out);
}

/* "text", "text_input", ...: what a fusion model has of a modality. */
static void append_modality(magpie_text *out, const magpie_fusion_info *info, magpie_modality modality) {
    char name[24];
    const char *mode = magpie_modality_name(modality);
    if (!info->kind[modality]) return;
    append_text(out, mode, info->kind[modality]);
    snprintf(name, sizeof name, "%s_input", mode);
    append_number(out, name, info->source[modality].dimension);
    snprintf(name, sizeof name, "%s_weight", mode);
    append_real(out, name, (double)info->weights[modality]);
    snprintf(name, sizeof name, "%s_encoder", mode);
    if (info->source[modality].fingerprint) append_text(out, name, info->source[modality].fingerprint);
}

static exit_code print_fusion(const char *folder) {
    magpie_fusion *fusion;
    if (magpie_fusion_open(folder, &fusion) != MAGPIE_OK) return print_failure();
    const magpie_fusion_info *info = magpie_fusion_get_info(fusion);
    magpie_text out = {0};
    append_text(&out, "sense", "fusion");
    append_text(&out, "name", info->name);
    append_text(&out, "fingerprint", info->fingerprint);
    append_number(&out, "dimension", info->dimension);
    append_real(&out, "temperature", (double)info->temperature);
    for (magpie_modality m = 0; m < MAGPIE_MODALITIES; m++) append_modality(&out, info, m);
    magpie_fusion_close(fusion);
    return print_and_free(&out);
}

static exit_code print_labels(const char *folder) {
    magpie_labels *labels;
    if (magpie_labels_open(folder, &labels) != MAGPIE_OK) return print_failure();
    const magpie_labels_info *info = magpie_labels_get_info(labels);
    magpie_text out = {0};
    append_text(&out, "sense", "labels");
    append_text(&out, "name", info->name);
    append_text(&out, "fingerprint", info->weights);
    append_text(&out, "attribute", info->attribute);
    append_number(&out, "level", info->level);
    append_text(&out, "space", info->space);
    append_text(&out, "learned_on", info->fingerprint);
    append_number(&out, "dimension", info->dimension);
    append_real(&out, "temperature", (double)info->temperature);
    append_real(&out, "strength", info->strength);
    append_labels(&out, info);
    magpie_labels_close(labels);
    return print_and_free(&out);
}

static exit_code run_info(const char *folder) {
    model_encoder sides[SENSES] = {0};
    model_folders folders;
    bool printed = false;
    magpie_status status = model_find_in(folder, &folders);
    for (model_sense sense = SENSE_TEXT; sense < SENSES && status == MAGPIE_OK; sense++)
        if (folders.of[sense]) status = model_open(folders.of[sense], sense, true, &sides[sense]);
    exit_code code = status == MAGPIE_OK ? EXIT_FINE : print_failure();
    for (size_t i = 0; i < SENSES && code == EXIT_FINE; i++) {
        if (!sides[i].name) continue;
        if (printed && !output_json) putchar('\n');
        code = print_side(&sides[i]);
        printed = true;
    }
    if (code == EXIT_FINE && folders.fusion) {
        if (printed && !output_json) putchar('\n');
        code = print_fusion(folders.fusion);
    }
    if (code == EXIT_FINE && folders.labels) code = print_labels(folders.labels);
    for (size_t i = 0; i < SENSES; i++) model_close(&sides[i]);
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

static const option_row *const tables[] = {audio_seconds_options, json_options, NULL};

const command models_command = {
    .name = "models",
    .summary = "print what a model folder holds, or calibrate it",
    .operands = "info DIR | calibrate DIR PICTURE...",
    .least_operands = 2,
    .most_operands = INT_MAX,
    .tables = tables,
    .details =
        "A model that takes text and pictures has two parts, text first, and a set of models has what is "
        "in it; with --json one object a line. Of a model of sounds, audio_seconds is what is heard of "
        "one; of a model of labels, learned_on is what fills its space.\n"
        "calibrate runs pictures through the network in f32 and keeps how far its maps reach in "
        "DIR/int8.json, for --precision int8. They should be like those to come; some hundred are plenty. "
        "One that is broken ends the run.\n",
    .run = run_models};
