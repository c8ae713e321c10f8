/* image_formats.h - what JPEG and PNG give to image_decode.c: pixels as they are stored, and how to turn
 * them. Private to image_decode.c and its formats. */
#ifndef MAGPIE_IMAGE_FORMATS_H
#define MAGPIE_IMAGE_FORMATS_H

#include "image_decode.h"

#include <turbojpeg.h>

/* Memory that is filled anew for every picture. */
typedef struct image_memory {
    uint8_t *data;
    size_t capacity;
    size_t most; /* bytes that it may be given; 0: no limit */
} image_memory;

/* At least `size` bytes; what was in it is lost. MAGPIE_E_NO_SPACE over the limit. */
MAGPIE_CHECK_RESULT magpie_status image_memory_reserve(image_memory *memory, size_t size);

/* A picture as its file stores it. */
typedef struct image_stored {
    size_t width, height;
    unsigned orientation; /* 1 .. 8, EXIF's; 1: as it should be looked at */
} image_stored;

/* MAGPIE_E_TOO_LARGE where the sides, as the file claims them, are over the limits. */
MAGPIE_CHECK_RESULT magpie_status image_check_size(size_t width, size_t height);

/* Orientation in a block of EXIF (a TIFF file without pictures); 1 where there is none or none that makes
 * sense. */
unsigned exif_orientation(const uint8_t *tiff, size_t size);

/* Pixels [height, width, 3] into `pixels`. */
MAGPIE_CHECK_RESULT magpie_status jpeg_decode(tjhandle turbo, magpie_string bytes, size_t shortest,
                                              image_memory *pixels, image_stored *out);
MAGPIE_CHECK_RESULT magpie_status png_decode(magpie_string bytes, image_memory *pixels, image_stored *out);

#endif
