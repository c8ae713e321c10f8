/* ranker_parameters.h - an option for every parameter of a ranker. */
#ifndef MAGPIE_RANKER_PARAMETERS_H
#define MAGPIE_RANKER_PARAMETERS_H

#include "options.h"
#include "ranker.h"

/* Empty until ranker_parameters_prepare has filled it in: a command's `prepare`. */
extern option_row ranker_parameter_options[];
void ranker_parameters_prepare(void);

/* For an option's `parse`: into a magpie_ranker_kind. */
magpie_status ranker_parse_kind(const char *value, void *target);

/* Puts what was given into `options`. MAGPIE_E_ARGUMENT: it is nothing to that model. */
MAGPIE_CHECK_RESULT magpie_status ranker_parameters_apply(magpie_ranker_options *options);

#endif
