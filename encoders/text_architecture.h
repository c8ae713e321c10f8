/* text_architecture.h - what text_encoder.c has to know of a kind of text model: a table of functions, one a
 * kind. Private to encoders/.
 *
 * Above it are batches, threads and options, which are the same for all; below it a configuration, a
 * tokenizer and a network (bert.c, clip_text.c), which are not. */
#ifndef MAGPIE_TEXT_ARCHITECTURE_H
#define MAGPIE_TEXT_ARCHITECTURE_H

#include "ops.h"

typedef struct text_architecture text_architecture;
typedef struct text_lane text_lane; /* the activations of one batch at a time; the network's own */

/* An open folder. Each architecture's own begins with it. */
typedef struct text_model {
    const text_architecture *architecture;
    safetensors *file;
    const char *pooling;
    size_t dimension, layers, heads, intermediate, vocabulary, max_tokens;
    uint64_t fingerprint; /* of all that decides a vector */
} text_model;

struct text_architecture {
    const char *name;
    /* Configuration, weights' file and tokenizer, checked against each other. */
    magpie_status (*open)(const char *directory, text_model **out);
    void (*close)(text_model *model);
    /* As wordpiece_encode and bpe_encode do; thread-safe. */
    magpie_status (*tokenize)(const text_model *model, magpie_string prefix, magpie_string text,
                              size_t max_ids, int32_t *ids, size_t *count);
    /* Packs the weights, once; the device must outlive the model. */
    magpie_status (*pack)(text_model *model, const ops_table *ops, ops_device *device, magpie_pool *pool);
    /* Of a packed model; `rows` and `threads` as in bert_lane_create. */
    magpie_status (*lane_create)(text_model *model, unsigned threads, size_t rows, text_lane **out);
    void (*lane_free)(text_lane *lane);
    /* out [texts, dimension], unit length where `unit` says so */
    magpie_status (*run)(text_lane *lane, const int32_t *ids, const size_t *starts, size_t texts, bool unit,
                         float *out);
};

extern const text_architecture text_bert, text_clip;

/* That the network's embedding has a row for each of the tokenizer's ids. */
MAGPIE_CHECK_RESULT magpie_status text_model_check_ids(const char *directory, size_t tokens,
                                                       size_t vocabulary);

#endif
