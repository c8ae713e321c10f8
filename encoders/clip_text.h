/* clip_text.h - the text side of CLIP (Radford et al. 2021) on the table of operations. Private to encoders/.
 */
#ifndef MAGPIE_CLIP_TEXT_H
#define MAGPIE_CLIP_TEXT_H

#include "clip_config.h"
#include "ops.h"

typedef struct clip_text clip_text; /* the packed weights */

/* Tensors as OpenAI and open_clip name them (with "text." in front or without), or as Hugging Face does. The
 * file is only read; embedding tables are used where they are, so it must outlive the network. */
MAGPIE_CHECK_RESULT magpie_status clip_text_create(const ops_table *ops, ops_device *device,
                                                   const clip_config *config, const safetensors *file,
                                                   magpie_pool *pool, clip_text **out);
void clip_text_free(clip_text *network);

typedef struct clip_text_lane clip_text_lane; /* the activations of one batch at a time */

/* Room for `rows` tokens; `threads` as in ops_table.lane_create. */
MAGPIE_CHECK_RESULT magpie_status clip_text_lane_create(clip_text *network, unsigned threads, size_t rows,
                                                        clip_text_lane **out);
void clip_text_lane_free(clip_text_lane *lane);

/* ids [starts[texts]], each below the vocabulary, a text at most as long as the context; out [texts, embed],
 * unit length where `unit` says so. A text's vector is that of its largest id's first place: the end of the
 * text. */
MAGPIE_CHECK_RESULT magpie_status clip_text_run(clip_text_lane *lane, const int32_t *ids,
                                                const size_t *starts, size_t texts, bool unit, float *out);

#endif
