/* labelling.h - attributes that items lack, told by learned labels. Private to ingest/. */
#ifndef MAGPIE_LABELLING_H
#define MAGPIE_LABELLING_H

#include "encoders.h"
#include "index.h"

typedef struct magpie_labelling {       /* all zero is a valid one, that tells nothing */
    const magpie_labels *const *models; /* [count]; the caller's */
    size_t count;
    double least;           /* probability */
    magpie_text attributes; /* of the item at hand */
} magpie_labelling;

/* That each model was learned on vectors of what fills its space. */
MAGPIE_CHECK_RESULT magpie_status magpie_labelling_check(const magpie_labelling *labelling,
                                                         const magpie_modality_source sources[MAGPIE_SPACES]);
/* What an item with these vectors has for attributes.
 *     line     those of its line
 *     before   the same, or these with what was filled into them: what these models do not tell stays
 *     out      valid until the next call */
MAGPIE_CHECK_RESULT magpie_status magpie_labelling_fill(magpie_labelling *labelling, magpie_string line,
                                                        magpie_string before,
                                                        const float *const vectors[MAGPIE_SPACES],
                                                        magpie_string *out);

#endif
