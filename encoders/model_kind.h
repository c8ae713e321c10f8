/* model_kind.h - what a model's folder holds, asked before anything of it is opened. Private to encoders/. */
#ifndef MAGPIE_MODEL_KIND_H
#define MAGPIE_MODEL_KIND_H

#include "core.h"

typedef enum model_kind {
    MODEL_BERT,
    MODEL_CLIP,
    MODEL_RESNET,
    MODEL_AUDIO,
    MODEL_FUSION,
    MODEL_LABELS
} model_kind;

/* From open_clip_config.json or config.json. MAGPIE_E_NOT_FOUND where there is neither, MAGPIE_E_UNSUPPORTED,
 * naming it, for another kind. */
MAGPIE_CHECK_RESULT magpie_status model_kind_read(const char *directory, model_kind *out);

#endif
