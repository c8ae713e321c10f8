/* ranker_parameters.c - see ranker_parameters.h. */
#include "ranker_parameters.h"

#include <math.h>
#include <stdlib.h>

enum { MOST = 40, HELP_BYTES = 256 };

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
    const magpie_ranker_parameter *p = c->parameter;
    char *end;
    c->value = strtod(value, &end);
    c->given = true;
    if (*value && !*end && c->value >= p->least && c->value <= p->most &&
        (!p->whole || c->value == floor(c->value)))
        return MAGPIE_OK;
    return magpie_fail(MAGPIE_E_ARGUMENT, "a%s number from %g to %g is wanted, not \"%s\"",
                       p->whole ? " whole" : "", p->least, p->most, value);
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
                              *magpie_ranker_parameter_at(&defaults, p));
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

magpie_status ranker_parse_kind(const char *value, void *target) {
    return magpie_ranker_kind_parse(value, target);
}

magpie_status ranker_parameters_apply(magpie_ranker_options *options) {
    for (size_t i = 0; i < MOST && choices[i].parameter; i++) {
        if (!choices[i].given) continue;
        if (!(choices[i].parameter->kinds >> options->kind & 1))
            return magpie_fail(MAGPIE_E_ARGUMENT, "--%s is nothing to %s", choices[i].parameter->name,
                               magpie_ranker_kind_name(options->kind));
        *magpie_ranker_parameter_at(options, choices[i].parameter) = choices[i].value;
    }
    return MAGPIE_OK;
}
