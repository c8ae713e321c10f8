/* image_preprocess.h - what a model's folder says about its input: size, filter, mean, deviation. Private to
 * encoders/. */
#ifndef MAGPIE_IMAGE_PREPROCESS_H
#define MAGPIE_IMAGE_PREPROCESS_H

#include "image_resize.h"

typedef struct image_preprocess {
    image_geometry geometry;
    float mean[3], std[3]; /* of values in 0 .. 1 */
} image_preprocess;

/* From preprocessor_config.json as transformers' image processors write it (CLIPImageProcessor,
 * ConvNextImageProcessor with its crop_pct, ViT's and the older *FeatureExtractor; size as a number, as
 * shortest_edge, as height and width; resample 2 bilinear, 3 bicubic), or from "preprocess_cfg" of
 * open_clip_config.json. `out` holds the defaults of the architecture on entry and is kept where nothing
 * is said. What cannot be done as it is asked (another filter, no resizing, a rectangle) is
 * MAGPIE_E_UNSUPPORTED. */
MAGPIE_CHECK_RESULT magpie_status image_preprocess_read(const char *directory, image_preprocess *out);

#endif
