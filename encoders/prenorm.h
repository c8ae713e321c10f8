/* prenorm.h - the stack of layers that CLIP's text side and the Audio Spectrogram Transformer have in
 * common. Private to encoders/.
 *
 * Pre-norm: x += attention(norm(x)), x += mlp(norm(x)), so x is a sum from the first layer to the last and
 * is kept in f32; what an addition and the norm behind it do is one operation. Of the last layer few rows
 * are wanted, the others only as keys and values: what comes after its attention runs on the wanted rows
 * alone. */
#ifndef MAGPIE_PRENORM_H
#define MAGPIE_PRENORM_H

#include "ops.h"

typedef struct prenorm_config {
    size_t width, layers, heads, intermediate;
    float epsilon;
    ops_activation activation;
    bool causal;
} prenorm_config;

/* How a family of programs calls the tensors: PREFIX LAYER.I.NAME.weight, NAME.bias. */
typedef struct prenorm_names {
    const char *prefix, *layer, *attention_norm, *mlp_norm, *attention_output, *intermediate, *output;
    const char *query_key_value[3]; /* apart; NULL: stacked, as attn.in_proj_weight and attn.in_proj_bias */
    const char *final_norm;
} prenorm_names;

typedef struct prenorm prenorm; /* the packed weights */

/* The names and the file must outlive the call, no more. */
MAGPIE_CHECK_RESULT magpie_status prenorm_create(const ops_table *ops, ops_device *device,
                                                 const prenorm_config *config, const prenorm_names *names,
                                                 const safetensors *file, magpie_pool *pool, prenorm **out);
void prenorm_free(prenorm *network);

typedef struct prenorm_lane prenorm_lane; /* the activations of one batch at a time */

/* In `lane`, which stays the caller's and must outlive it, as must the network. Room for `rows` rows. */
MAGPIE_CHECK_RESULT magpie_status prenorm_lane_create(prenorm *network, ops_lane *lane, size_t rows,
                                                      prenorm_lane **out);
void prenorm_lane_free(prenorm_lane *lane);
/* Where the input goes: [rows, width], an OPS_SUM. */
ops_tensor *prenorm_input(prenorm_lane *lane);

/* rows as ops_table has them, starts[texts] in all. `added` (NULL: none) [rows, width] is added to the
 * input first. *out: rows wanted [count], below the number of rows, after the last layer and the final
 * norm; a stream [count, width] of the lane's. */
MAGPIE_CHECK_RESULT magpie_status prenorm_run(prenorm_lane *lane, const size_t *starts, size_t texts,
                                              const ops_tensor *added, const size_t *wanted, size_t count,
                                              ops_tensor **out);

#endif
