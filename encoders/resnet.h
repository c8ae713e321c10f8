/* resnet.h - residual networks for pictures and spectrograms on the table of operations. Private to
 * encoders/.
 *
 *     plain   He et al. 2015 with the strides of v1.5 (in the 3 x 3 convolution), as torchvision, timm and Hugging
 *             Face's ResNetModel have them: ResNet-18/34/50/101/152, or any depths and widths that a config gives
 *     cifar   He et al. 2015, section 4.2: 6n+2 layers for pictures of 32 x 32, shortcuts of option A
 *     clip    Radford et al. 2021: a stem of three convolutions, strides as 2 x 2 means ("anti-aliased"), attention
 *             pooling into the joint space
 *
 * Batch norm is folded into the convolutions when the weights are loaded. */
#ifndef MAGPIE_RESNET_H
#define MAGPIE_RESNET_H

#include "image_preprocess.h"
#include "model_files.h"
#include "ops.h"

enum { RESNET_STAGES_MAX = 8 };

typedef enum resnet_family { RESNET_PLAIN, RESNET_CIFAR, RESNET_CLIP } resnet_family;
typedef enum resnet_naming { RESNET_TORCHVISION, RESNET_HUGGING_FACE } resnet_naming; /* of tensors */

typedef struct resnet_config {
    resnet_family family;
    resnet_naming naming;
    bool bottleneck;      /* blocks of 1 x 1, 3 x 3, 1 x 1; else of two 3 x 3 */
    bool stride_in_first; /* the stride is in a block's first convolution, not in its 3 x 3 */
    bool first_stage_halves;
    size_t stem;                                                           /* channels */
    size_t stages, blocks[RESNET_STAGES_MAX], channels[RESNET_STAGES_MAX]; /* that a stage puts out */
    size_t heads, embed;          /* clip: of the attention pooling */
    size_t inputs, height, width; /* of the input: 3 channels of a picture, or 1 of a spectrogram */
} resnet_config;

/* ResNet-18/34/50/101/152 as torchvision has them; their input is left to be said. False for other depths. */
bool resnet_config_of_depth(size_t depth, resnet_config *out);
/* Other widths of its stages, where "hidden_sizes" says so; the stem is as wide as the first one's blocks. */
MAGPIE_CHECK_RESULT magpie_status resnet_config_read_widths(const model_json *file, resnet_config *config);
/* What config.json (or, of CLIP, open_clip_config.json) says; `preprocess` is filled with what this
 * architecture is usually given, for image_preprocess_read to correct. config.json names torchvision's and
 * timm's networks by "architecture": "resnet50", Hugging Face's by "model_type": "resnet"; for CIFAR's
 * there is no custom: {"model_type": "cifar-resnet", "depth": 20}. */
MAGPIE_CHECK_RESULT magpie_status resnet_config_read(const char *directory, resnet_config *out,
                                                     image_preprocess *preprocess);
size_t resnet_layers(const resnet_config *config);    /* as in "ResNet-50" */
size_t resnet_dimension(const resnet_config *config); /* of what comes out */

/* What a device of int8 wants to know: how far maps reach, by resnet_lane_record. */
typedef struct resnet_calibration {
    ops_range picture;
    const float *largest; /* [resnet_ranges] */
} resnet_calibration;

/* How many numbers a calibration has: one an output of a convolution, in the order of the blocks. */
size_t resnet_ranges(const resnet_config *config);

typedef struct resnet resnet; /* the packed weights */

/* The file is only read; it must outlive the network. `calibration` is read during the call; NULL for
 * devices of other precisions. */
MAGPIE_CHECK_RESULT magpie_status resnet_create(const ops_table *ops, ops_device *device,
                                                const resnet_config *config, const safetensors *file,
                                                const resnet_calibration *calibration, magpie_pool *pool,
                                                resnet **out);
void resnet_free(resnet *network);
const resnet_config *resnet_get_config(const resnet *network);
/* Memory that a lane takes for one picture's maps, at most. */
size_t resnet_picture_bytes(const resnet *network);

typedef struct resnet_lane resnet_lane; /* the activations of one batch at a time */

/* Room for `images`; `threads` as in ops_table.lane_create. */
MAGPIE_CHECK_RESULT magpie_status resnet_lane_create(resnet *network, unsigned threads, size_t images,
                                                     resnet_lane **out);
void resnet_lane_free(resnet_lane *lane);
/* From now on, runs raise largest [resnet_ranges], the caller's, to the largest absolute values that they
 * see; NULL: no more. */
void resnet_lane_record(resnet_lane *lane, float *largest);

/* pixels [images, height, width, 3] -> out [images, dimension], unit length where `unit` says so. */
MAGPIE_CHECK_RESULT magpie_status resnet_run(resnet_lane *lane, const uint8_t *pixels, size_t images,
                                             const image_preprocess *preprocess, bool unit, float *out);
/* Of pictures [images] as image_pack makes them, on a device that resizes by itself
 * (ops_table.pictures_load). */
MAGPIE_CHECK_RESULT magpie_status resnet_run_pictures(resnet_lane *lane, const image_packed *pictures,
                                                      size_t images, const image_preprocess *preprocess,
                                                      bool unit, float *out);
/* Of one channel: values [images, height, width] -> out [images, dimension], as they leave the network. */
MAGPIE_CHECK_RESULT magpie_status resnet_run_values(resnet_lane *lane, const float *values, size_t images,
                                                    float *out);
/* For what follows the network. The resnet_lane's. */
ops_lane *resnet_lane_ops(const resnet_lane *lane);

#endif
