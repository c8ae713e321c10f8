/* bert.h - BERT's encoder (Devlin et al. 2018) on the table of operations. Private to encoders/. */
#ifndef MAGPIE_BERT_H
#define MAGPIE_BERT_H

#include "ops.h"

typedef struct bert_config {
    size_t hidden, layers, heads, intermediate, vocabulary, positions, types;
    float epsilon;
} bert_config;

/* From config.json; refuses what this network is not (another model_type, activation, relative positions). */
MAGPIE_CHECK_RESULT magpie_status bert_config_read(const char *directory, bert_config *out);

typedef struct bert bert; /* the packed weights */

/* The file is only read; embedding tables are used where they are, so it must outlive the network. */
MAGPIE_CHECK_RESULT magpie_status bert_create(const ops_table *ops, ops_device *device,
                                              const bert_config *config, const safetensors *file,
                                              magpie_pool *pool, bert **out);
void bert_free(bert *network);

typedef struct bert_lane bert_lane; /* the activations of one batch at a time */

/* Room for `rows` tokens; `threads` as in ops_table.lane_create. */
MAGPIE_CHECK_RESULT magpie_status bert_lane_create(bert *network, unsigned threads, size_t rows,
                                                   bert_lane **out);
void bert_lane_free(bert_lane *lane);

/* ids [starts[texts]], each below the vocabulary; out [texts, hidden], unit length where `unit` says so. */
MAGPIE_CHECK_RESULT magpie_status bert_run(bert_lane *lane, const int32_t *ids, const size_t *starts,
                                           size_t texts, ops_pooling pooling, bool unit, float *out);

#endif
