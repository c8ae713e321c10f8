/* ingest_into.h - what commands that fill a store from a file share: options, the job, its report. In
 * ingest.c. */
#ifndef MAGPIE_INGEST_INTO_H
#define MAGPIE_INGEST_INTO_H

#include "ingest.h"
#include "model.h"

/* All but what says how a catalogue is to be read. */
extern const option_row ingest_options[];
/* To a media_base (ingest.h), a const char *. */
magpie_status ingest_parse_media_root(const char *value, void *target);

typedef struct ingest_source {
    const magpie_ingest_options *catalogues; /* and how they are read, vectors included; not the rest */
    const model_folders *folders;
    /* [SENSES], open, and closed once the items are in; or what fills the modalities, in words alone */
    model_encoder *encoders;
} ingest_source;

/* Into the store that the options name, indexes included. */
exit_code ingest_into(const ingest_source *source);

#endif
