/* models.h - models by name.
 *
 * A model is called as the space is that its vectors are in: "text", "image" and "audio" are encoders, and give what
 * `magpie encode` gives; "fused" are encoders with a head each, and gives what queries and items are compared by. It
 * takes every kind of thing that ends up in its space: with a joint model (CLIP), "text" takes pictures too. */
#ifndef MAGPIE_HTTP_MODELS_H
#define MAGPIE_HTTP_MODELS_H

#include "serving.h"

bool models_takes(const served_models *models, magpie_space name, model_sense sense);
/* Of its vectors; 0: there is no such model. */
size_t models_dimension(const served_models *models, magpie_space name);

#endif
