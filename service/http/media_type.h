/* media_type.h - what a picture or a sound is, by what it begins with. */
#ifndef MAGPIE_MEDIA_TYPE_H
#define MAGPIE_MEDIA_TYPE_H

#include "core.h"

enum { SOUND_BYTES_MAX = 256 << 20 }; /* of a sound's file; a picture's: MAGPIE_IMAGE_BYTES_MAX */

typedef struct media_type {
    const char *type, *extension; /* "image/jpeg", "jpg" */
} media_type;

/* Of a picture, or of a sound; NULL: it begins like none. */
const media_type *media_type_of(magpie_string bytes, bool image);

#endif
