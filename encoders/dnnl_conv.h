/* dnnl_conv.h - convolutions and poolings of feature maps by oneDNN. Private to the cpu backend.
 *
 * Maps of pictures (3 channels) and of spectrograms (1) are NCHW; all others are blocked, nChw16c or
 * nChw8c by the CPU's vectors, so that one convolution's output is the next one's input without a reorder.
 * oneDNN's own choice, NHWC, was 5-15% slower in f32 and equal in bf16 (2.6, Zen 4). In bf16, 3 x 3 convolutions
 * that are large enough are not oneDNN's: see dnnl_winograd.h.
 *
 * In int8 all maps are NHWC: 2.6 has fast convolutions of 8 bits for no other layout. Weights are s8 with
 * a step for each output channel, sums s32; what follows is one multiplication in f32:
 *     y' = relu(shortcut' step(shortcut) / step(y) + (sum + bias / (step(x) step(w))) step(x) step(w) / step(y))
 * where a dash marks what is stored. */
#ifndef MAGPIE_DNNL_CONV_H
#define MAGPIE_DNNL_CONV_H

#include "onednn.h"
#include "ops.h"

typedef struct conv_weights conv_weights; /* immutable once made; shared by lanes */
typedef struct conv_lane conv_lane;       /* primitives of one lane */

/* Thread-safe. */
MAGPIE_CHECK_RESULT magpie_status conv_weights_create(onednn_device *device, const ops_conv_source *source,
                                                      conv_weights **out);
void conv_weights_free(conv_weights *weights);

/* The queue must outlive the lane. */
MAGPIE_CHECK_RESULT magpie_status conv_lane_create(onednn_queue *queue, conv_lane **out);
void conv_lane_free(conv_lane *lane);

/* Channels that lie side by side in a map: [images, channels / block, height, width, block]. */
size_t conv_map_block(const onednn_device *device, const ops_map *map);

/* The first `images` of x into y, whose shape and range are set; y += for weights with a residual. */
MAGPIE_CHECK_RESULT magpie_status conv_run(conv_lane *lane, const conv_weights *weights, const ops_map *x,
                                           size_t images, ops_map *y);
/* The largest or the mean of each window. */
typedef struct conv_pooling {
    bool mean;
    ops_pool_window window;
} conv_pooling;
MAGPIE_CHECK_RESULT magpie_status conv_pool(conv_lane *lane, conv_pooling pooling, const ops_map *x,
                                            size_t images, ops_map *y);

#endif
