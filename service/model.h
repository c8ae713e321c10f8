/* model.h - the options by which a command is told its text model, and the encoder that they give. */
#ifndef MAGPIE_MODEL_H
#define MAGPIE_MODEL_H

#include "encoders.h"
#include "options.h"

/* --model, --precision, --backend, --threads */
extern const option_row model_options[];
extern const option_row passage_prefix_options[], query_prefix_options[];

/* Opens the model that was given, by option or in the environment's MAGPIE_MODEL. */
MAGPIE_CHECK_RESULT magpie_status model_open(bool defer_weights, magpie_text_encoder **out);
/* The same for another folder. */
MAGPIE_CHECK_RESULT magpie_status model_open_at(const char *directory, bool defer_weights,
                                                magpie_text_encoder **out);

#endif
