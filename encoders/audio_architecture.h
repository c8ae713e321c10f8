/* audio_architecture.h - what audio_encoder.c has to know of a kind of audio model: a table of functions,
 * one a kind. Private to encoders/.
 *
 * Above it are files, windows, threads and options, which are the same for all; below it a configuration
 * and a network, which are not. */
#ifndef MAGPIE_AUDIO_ARCHITECTURE_H
#define MAGPIE_AUDIO_ARCHITECTURE_H

#include "model_files.h"
#include "ops.h"
#include "spectrogram.h"

typedef struct audio_architecture audio_architecture;
typedef struct audio_lane audio_lane; /* the activations of a batch of windows; the network's own */

/* An open folder. Each architecture's own begins with it. */
typedef struct audio_model {
    const audio_architecture *architecture;
    size_t dimension, layers;
    size_t tags; /* 0: none */
    char **tag;  /* [tags] */
} audio_model;

struct audio_architecture {
    const char *name, *model_type; /* in config.json */
    /* From config.json, checked against the spectrogram's shape. `file` must outlive the model. */
    magpie_status (*open)(const model_json *config, const spectrogram_config *spectrogram,
                          const safetensors *file, audio_model **out);
    void (*close)(audio_model *model);
    /* Packs the weights, once; the device must outlive the model. */
    magpie_status (*pack)(audio_model *model, const ops_table *ops, ops_device *device, magpie_pool *pool);
    /* Of a packed model, with room for `windows`; `threads` as in ops_table.lane_create. */
    magpie_status (*lane_create)(audio_model *model, unsigned threads, size_t windows, audio_lane **out);
    void (*lane_free)(audio_lane *lane);
    /* Windows [n, frames, bands], as spectrogram_window makes them -> out [n, dimension], as they leave the
     * network; n 1 at least. */
    magpie_status (*run)(audio_lane *lane, const float *windows, size_t n, float *out);
    /* What `run` gave of a window -> out [tags], each 0 to 1. NULL: it has no tags. */
    magpie_status (*tell)(audio_lane *lane, const float *vector, float *out);
};

extern const audio_architecture audio_resnet, audio_vgg, audio_ast;

#endif
