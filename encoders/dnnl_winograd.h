/* dnnl_winograd.h - 3 x 3 convolutions of stride 1 in bf16 by Winograd's algorithm (winograd.h), its products by
 * oneDNN, which itself has the algorithm for f32 alone. 1.6 to 1.75 times as fast as oneDNN's direct convolutions
 * (2.6, Zen 4) from 64 channels and some fifty tiles on. Private to the cpu backend.
 *
 * A picture's rows of tiles go through the three steps in bands, so that what lies between them stays in the cache;
 * bands are shared out among the lane's threads. A row of a product does not depend on those about it: y is the same
 * to the bit whatever the bands. */
#ifndef MAGPIE_DNNL_WINOGRAD_H
#define MAGPIE_DNNL_WINOGRAD_H

#include "onednn.h"
#include "ops.h"

typedef struct winograd_weights winograd_weights; /* immutable once made; shared by lanes */
typedef struct winograd_lane winograd_lane;       /* primitives and memory of one lane */

/* Whether this convolution is faster so, on this device. */
bool winograd_suits(const onednn_device *device, const ops_conv_source *source);

/* Thread-safe. */
MAGPIE_CHECK_RESULT magpie_status winograd_weights_create(onednn_device *device,
                                                          const ops_conv_source *source,
                                                          winograd_weights **out);
void winograd_weights_free(winograd_weights *weights);

MAGPIE_CHECK_RESULT magpie_status winograd_lane_create(onednn_device *device, unsigned threads,
                                                       winograd_lane **out);
void winograd_lane_free(winograd_lane *lane);

/* The first `images` of x into y, whose shape is set; y += for weights with a residual. */
MAGPIE_CHECK_RESULT magpie_status winograd_run(winograd_lane *lane, const winograd_weights *weights,
                                               const ops_map *x, size_t images, ops_map *y);

#endif
