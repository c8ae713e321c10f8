/* image_decode.h - JPEG (TurboJPEG) and PNG (libspng) to RGB. Private to encoders/.
 *
 * What a file says of itself is checked before memory is taken for it: bytes, sides, pixels. Colour spaces
 * come out as RGB: greyscale, CMYK and YCCK (taken for Adobe's inverted ones, as Pillow takes them),
 * palettes, 16 bits (the upper eight), transparency composed on white. Colour profiles and gamma are
 * ignored, as every peer does. EXIF orientation is obeyed, in JPEG's APP1 and in PNG's eXIf. */
#ifndef MAGPIE_IMAGE_DECODE_H
#define MAGPIE_IMAGE_DECODE_H

#include "encoders.h"

enum {
    IMAGE_SIDE_MAX = 65535 /* pixels; JPEG has no larger, and a strip of 1 x 60 million is no photograph */
};

/* One thread's: the libraries' handles and the memory that one picture after another is decoded into. It
 * is kept between pictures, but over 16 MiB only while the pictures are as large: RSS does not stay where
 * one giant took it. */
typedef struct image_decoder image_decoder;

MAGPIE_CHECK_RESULT magpie_status image_decoder_create(image_decoder **out);
/* What a picture's pixels may take from now on, those that are turned included; 0: no limit. */
void image_decoder_limit(image_decoder *decoder, size_t bytes);
void image_decoder_free(image_decoder *decoder);

typedef struct image_pixels {
    const uint8_t
        *data; /* [height, width, 3], RGB, rows without gaps; the decoder's, until its next picture */
    size_t width, height; /* after orientation */
} image_pixels;

/* `shortest` not 0: a JPEG may come out smaller, at 1/2, 1/4 or 1/8 (the scales that TurboJPEG has SIMD
 * for), while its shorter side stays at least that. MAGPIE_E_INPUT for what is no picture or a broken one
 * (one that is cut off is broken: a picture half grey is not what was catalogued), MAGPIE_E_TOO_LARGE over
 * MAGPIE_IMAGE_BYTES_MAX, MAGPIE_IMAGE_PIXELS_MAX or IMAGE_SIDE_MAX (of the file's own size, whatever the
 * scale), MAGPIE_E_UNSUPPORTED for other formats, named where they are known (GIF, WebP, ...). */
MAGPIE_CHECK_RESULT magpie_status image_decode(image_decoder *decoder, magpie_string bytes, size_t shortest,
                                               image_pixels *out);
/* The same from a regular file, read rather than mapped: one that shrinks meanwhile is a truncated picture
 * then, not a SIGBUS. Errors begin with the path. */
MAGPIE_CHECK_RESULT magpie_status image_decode_file(image_decoder *decoder, const char *path, size_t shortest,
                                                    image_pixels *out);

#endif
