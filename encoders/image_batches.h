/* image_batches.h - pictures to vectors on a GPU: many at a time. Private to encoders/.
 *
 * All threads decode a batch, then one lane of the device resizes it and runs the network, while the next
 * one is decoded for the other lane: so decoding, copies and kernels overlap, and no queue stands between
 * them. */
#ifndef MAGPIE_IMAGE_BATCHES_H
#define MAGPIE_IMAGE_BATCHES_H

#include "resnet.h"

typedef struct image_batches image_batches; /* one call's at a time */

/* Network, preprocess and pool (which decodes) must outlive it. `memory`: of the device, in bytes. */
MAGPIE_CHECK_RESULT magpie_status image_batches_create(resnet *network, const image_preprocess *preprocess,
                                                       magpie_pool *pool, size_t memory, bool unit,
                                                       image_batches **out);
void image_batches_free(image_batches *b);

/* How many pictures keep both lanes busy: more in one call are no faster. */
size_t image_batches_turn(const image_batches *b);

/* Picture i, packed. *fine false: there is none, and the caller knows why. A failure is everybody's.
 * `worker` is the pool's. */
typedef magpie_status (*image_source)(void *context, size_t i, unsigned worker, image_packed *out,
                                      bool *fine);

/* out [n, dimension]; zeros for pictures that are none. */
MAGPIE_CHECK_RESULT magpie_status image_batches_run(image_batches *b, image_source source, void *context,
                                                    size_t n, float *out);
/* Of pixels [n, side, side, 3], which need no more than the network. */
MAGPIE_CHECK_RESULT magpie_status image_batches_run_pixels(image_batches *b, const uint8_t *pixels, size_t n,
                                                           float *out);

#endif
