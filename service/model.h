/* model.h - the options by which a command is told its models, and the encoders that they give. */
#ifndef MAGPIE_MODEL_H
#define MAGPIE_MODEL_H

#include "encoders.h"
#include "options.h"

/* --model, --image-model, --precision, --backend, --threads */
extern const option_row model_options[];
extern const option_row passage_prefix_options[], query_prefix_options[];

/* Which folder encodes what; NULL: none does. */
typedef struct model_folders {
    const char *text, *image;
} model_folders;

/* --model (else MAGPIE_MODEL) is the text model, or the image model, or both, as it has these senses;
 * --image-model (else MAGPIE_IMAGE_MODEL) goes before it for pictures. Fails where none is given, or one
 * cannot be read. */
MAGPIE_CHECK_RESULT magpie_status model_find(model_folders *out);

/* As the options say. */
MAGPIE_CHECK_RESULT magpie_status model_open_text(const char *folder, bool defer_weights,
                                                  magpie_text_encoder **out);
MAGPIE_CHECK_RESULT magpie_status model_open_image(const char *folder, bool defer_weights,
                                                   magpie_image_encoder **out);

#endif
