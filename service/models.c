/* models.c - magpie models info: what a model folder holds, without packing its weights. */
#include "command.h"
#include "model.h"
#include "output.h"

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

static exit_code print_info(const magpie_text_encoder_info *info) {
    magpie_text out = {0};
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
    if (output_json) magpie_text_append(&out, "}\n", 2);
    exit_code code = output_text(&out);
    magpie_text_free(&out);
    return code;
}

static exit_code run_models(char **operands, int count) {
    (void)count;
    magpie_text_encoder *encoder = NULL;
    if (strcmp(operands[0], "info") != 0) {
        print_error("models: there is no \"%s\"; info DIR is what there is", operands[0]);
        return EXIT_USAGE;
    }
    magpie_status status = model_open_at(operands[1], true, &encoder);
    exit_code code =
        status == MAGPIE_OK ? print_info(magpie_text_encoder_get_info(encoder)) : print_failure();
    magpie_text_encoder_close(encoder);
    return code;
}

static const option_row *const tables[] = {json_options, NULL};

const command models_command = {.name = "models",
                                .summary = "print what a model folder holds",
                                .operands = "info DIR",
                                .least_operands = 2,
                                .most_operands = 2,
                                .tables = tables,
                                .details = "",
                                .run = run_models};
