/* ranker_parameters.h - every parameter of a ranker, as an option and out of a file. */
#ifndef MAGPIE_RANKER_PARAMETERS_H
#define MAGPIE_RANKER_PARAMETERS_H

#include "options.h"
#include "ranker.h"

/* Empty until ranker_parameters_prepare has filled it in: a command's `prepare`. */
extern option_row ranker_parameter_options[];
void ranker_parameters_prepare(void);

/* Which model, and what it is to be trained with: --model, --seed, --threads, --options. */
typedef struct ranker_choice {
    magpie_ranker_kind kind;
    const char *file;
    size_t seed, threads;
} ranker_choice;

extern ranker_choice ranker_chosen;
extern const option_row ranker_choice_options[];

/* All of that, and what was given of the parameters. MAGPIE_E_ARGUMENT: a parameter is nothing to that model. */
MAGPIE_CHECK_RESULT magpie_status ranker_chosen_options(magpie_ranker_options *out);

/* Puts what a JSON file says of the model into `options`: {model: {parameter: number}}; what is not named
 * stays. What it says of other models is fine, but their names must be some. */
MAGPIE_CHECK_RESULT magpie_status ranker_parameters_read(const char *path, magpie_ranker_options *options);

/* Whether it was given as an option. */
bool ranker_parameter_is_given(const magpie_ranker_parameter *parameter);

#endif
