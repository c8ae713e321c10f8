/* ranker_parameters.c - see ranker_parameters.h. */
#include "ranker_parameters.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 40, HELP_BYTES = 256, THREADS_MOST = 1024 };

/* What one option reads into. */
typedef struct choice {
    const magpie_ranker_parameter *parameter;
    double value;
    bool given;
    char help[HELP_BYTES];
} choice;

static choice choices[MOST];
option_row ranker_parameter_options[MOST + 1];

static magpie_status parse(const char *value, void *target) {
    choice *c = target;
    char *end;
    c->value = strtod(value, &end);
    c->given = true;
    return *value && !*end ? magpie_ranker_parameter_check(c->parameter, c->value)
                           : magpie_fail(MAGPIE_E_ARGUMENT, "a number is wanted, not \"%s\"", value);
}

/* "numbers of a user and of an item (puresvd 20, ials 32)"; one number where all have the same. */
static void describe(choice *c) {
    const magpie_ranker_parameter *p = c->parameter;
    size_t n = (size_t)snprintf(c->help, HELP_BYTES, "%s (", p->help);
    const char *comma = "";
    for (size_t k = 0; k < MAGPIE_RANKER_KINDS && n < HELP_BYTES; k++) {
        if (!(p->kinds >> k & 1)) continue;
        magpie_ranker_options defaults = magpie_ranker_defaults((magpie_ranker_kind)k);
        n += (size_t)snprintf(c->help + n, HELP_BYTES - n, "%s%s %g", comma,
                              magpie_ranker_kind_name((magpie_ranker_kind)k),
                              magpie_ranker_parameter_of(&defaults, p));
        comma = ", ";
    }
    if (n < HELP_BYTES) snprintf(c->help + n, HELP_BYTES - n, ")");
}

void ranker_parameters_prepare(void) {
    for (size_t i = 0; i < MOST && magpie_ranker_parameters[i].name; i++) {
        choices[i].parameter = &magpie_ranker_parameters[i];
        describe(&choices[i]);
        ranker_parameter_options[i] = (option_row){.name = magpie_ranker_parameters[i].name,
                                                   .argument = "X",
                                                   .help = choices[i].help,
                                                   .parse = parse,
                                                   .target = &choices[i]};
    }
}

static magpie_status parse_kind(const char *value, void *target) {
    return magpie_ranker_kind_parse(value, target);
}

bool ranker_parameter_is_given(const magpie_ranker_parameter *parameter) {
    for (size_t i = 0; i < MOST && choices[i].parameter; i++)
        if (choices[i].parameter == parameter) return choices[i].given;
    return false;
}

/* What was given as options, which must concern the model. */
static magpie_status apply(magpie_ranker_options *options) {
    for (size_t i = 0; i < MOST && choices[i].parameter; i++) {
        if (!choices[i].given) continue;
        if (!(choices[i].parameter->kinds >> options->kind & 1))
            return magpie_fail(MAGPIE_E_ARGUMENT, "--%s is nothing to %s", choices[i].parameter->name,
                               magpie_ranker_kind_name(options->kind));
        *magpie_ranker_parameter_at(options, choices[i].parameter) = choices[i].value;
    }
    return MAGPIE_OK;
}

/* ---- out of a file ------------------------------------------------------------------------------------- */

static magpie_status set_parameter(const char *path, magpie_ranker_options *options, const char *name,
                                   const json_t *value) {
    for (const magpie_ranker_parameter *p = magpie_ranker_parameters; p->name; p++)
        if (strcmp(p->name, name) == 0 && p->kinds >> options->kind & 1) {
            if (!json_is_number(value)) break;
            *magpie_ranker_parameter_at(options, p) = json_number_value(value);
            if (magpie_ranker_parameter_check(p, json_number_value(value)) == MAGPIE_OK) return MAGPIE_OK;
            return magpie_fail(MAGPIE_E_INPUT, "%s: %s", path, magpie_error());
        }
    return magpie_fail(MAGPIE_E_INPUT, "%s: %s has no parameter \"%s\" that is a number", path,
                       magpie_ranker_kind_name(options->kind), name);
}

static magpie_status take_model(const char *path, magpie_ranker_options *options, const char *model,
                                json_t *parameters) {
    magpie_ranker_kind kind;
    const char *name;
    json_t *value;
    magpie_status status = magpie_ranker_kind_parse(model, &kind);
    if (status != MAGPIE_OK) return magpie_fail(status, "%s: %s", path, magpie_error());
    if (kind != options->kind) return MAGPIE_OK;
    json_object_foreach(parameters, name, value) {
        if (status == MAGPIE_OK) status = set_parameter(path, options, name, value);
    }
    return status;
}

magpie_status ranker_parameters_read(const char *path, magpie_ranker_options *options) {
    const char *model;
    json_error_t error;
    json_t *parameters, *root = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
    magpie_status status = MAGPIE_OK;
    if (!root) return magpie_fail(MAGPIE_E_INPUT, "%s, line %d: %s", path, error.line, error.text);
    if (!json_is_object(root)) status = magpie_fail(MAGPIE_E_INPUT, "%s: {model: {...}} is wanted", path);
    json_object_foreach(root, model, parameters) {
        if (status == MAGPIE_OK) status = take_model(path, options, model, parameters);
    }
    json_decref(root);
    return status;
}

/* ---- what train and tune share ------------------------------------------------------------------------- */

ranker_choice ranker_chosen = {.seed = 1};

const option_row ranker_choice_options[] = {
    {.name = "model",
     .argument = "M",
     .parse = parse_kind,
     .target = &ranker_chosen.kind,
     .required = true,
     .help = "popularity, itemknn, puresvd, ease, ials, mf, gmf, mlp, neumf or magpie"},
    {.name = "seed",
     .argument = "N",
     .number = &ranker_chosen.seed,
     .most = SIZE_MAX,
     .help = "of all chance (default: 1)"},
    {.name = "threads",
     .argument = "N",
     .number = &ranker_chosen.threads,
     .least = 1,
     .most = THREADS_MOST,
     .help = "(default: one a CPU); they change nothing but the time"},
    {.name = "options",
     .argument = "FILE",
     .string = &ranker_chosen.file,
     .help = "parameters in place of the defaults, as tune ranker --output writes them: {\"neumf\": "
             "{\"factors\": 16}, ...}"},
    {0}};

magpie_status ranker_chosen_options(magpie_ranker_options *out) {
    magpie_status status = MAGPIE_OK;
    *out = magpie_ranker_defaults(ranker_chosen.kind);
    if (ranker_chosen.file) status = ranker_parameters_read(ranker_chosen.file, out);
    if (status == MAGPIE_OK) status = apply(out);
    out->seed = ranker_chosen.seed;
    out->threads = (unsigned)ranker_chosen.threads;
    return status;
}
