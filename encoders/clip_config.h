/* clip_config.h - what a CLIP model's folder says about its two networks, for the text and the image side.
 * Private to encoders/.
 *
 * Three ways of writing it are read, the first that is there: open_clip_config.json ({"model_cfg": ...}),
 * config.json with such a model_cfg at its root ("embed_dim", "text_cfg", "vision_cfg"), and Hugging Face's
 * config.json (model_type "clip"). A key that is not there has the default of the program that writes the
 * file.
 *
 * QUICK GELU. OpenAI's weights were trained with x sigmoid(1.702 x). open_clip takes the exact GELU unless it
 * is told; folders of such weights say "quick_gelu": true. What the file says is believed: nothing in the
 * weights tells. */
#ifndef MAGPIE_CLIP_CONFIG_H
#define MAGPIE_CLIP_CONFIG_H

#include "safetensors.h"

typedef struct clip_text_config {
    size_t context; /* tokens, the two ends counted in */
    size_t vocabulary, width, heads, layers, intermediate;
    float epsilon; /* of the norms */
} clip_text_config;

typedef struct clip_vision_config {
    bool is_resnet; /* else a vision transformer, of which only image_size and width are filled in */
    size_t image_size;
    size_t layers[4]; /* blocks of each stage */
    size_t width;     /* channels behind the stem; a stage puts out 4 width, 8 width, 16 width, 32 width */
    size_t heads;     /* of the attention pooling */
} clip_vision_config;

typedef struct clip_config {
    size_t embed;    /* of the space that both sides share */
    bool quick_gelu; /* of the transformers; a ResNet has neither */
    clip_text_config text;
    clip_vision_config vision;
} clip_config;

/* MAGPIE_E_UNSUPPORTED for what neither side can run, with its key: a text tower of another kind, CoCa. */
MAGPIE_CHECK_RESULT magpie_status clip_config_read(const char *directory, clip_config *out);

/* Whether the folder's configuration is that of a CLIP model; MAGPIE_OK with false where there is none at
 * all. */
MAGPIE_CHECK_RESULT magpie_status clip_config_exists(const char *directory, bool *out);

/* Of weights and configuration, for both sides: vectors are of one space if and only if it is the same. */
uint64_t clip_fingerprint(const safetensors *file, const clip_config *config);

/* The checkpoint, under one of the names that CLIP's are saved by. */
MAGPIE_CHECK_RESULT magpie_status clip_weights_open(const char *directory, safetensors **out);

#endif
