/* encode_items.h - magpie encode --items: a catalogue to vector lines (ingest.h), which a store can be
 * made of. */
#ifndef MAGPIE_ENCODE_ITEMS_H
#define MAGPIE_ENCODE_ITEMS_H

#include "model.h"

typedef struct encode_items_options {
    const char *catalogue, *media_base; /* as in magpie_ingest_options */
    const char *output;                 /* NULL: standard output */
    model_sense only;                   /* SENSES: all that there is a model for */
    bool skip_bad;
} encode_items_options;

exit_code encode_items(const encode_items_options *options);

#endif
