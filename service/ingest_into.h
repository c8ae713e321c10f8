/* ingest_into.h - what commands that fill a store from a file share: options, the job, its report. In ingest.c. */
#ifndef MAGPIE_INGEST_INTO_H
#define MAGPIE_INGEST_INTO_H

#include "ingest.h"
#include "model.h"

/* --media-root, --rejects, --commit, --labels-model, --labels-least, --acknowledge */
extern const option_row ingest_options[];
/* To a media_base (ingest.h), a const char *. */
magpie_status ingest_parse_media_root(const char *value, void *target);

typedef struct ingest_source {
    const char *catalogue;
    const model_folders *folders;
    const model_encoder *encoders; /* [SENSES], open; or what fills the modalities, in words alone */
    magpie_vector_input *vectors;  /* NULL: the encoders encode */
} ingest_source;

/* Into the store that the options name, indexes included. */
exit_code ingest_into(const ingest_source *source);

#endif
