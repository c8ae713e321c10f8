/* image_resize.h - Pillow's antialiased resize, of the part that a crop keeps. Private to encoders/.
 *
 * Pillow's resample (libImaging/Resample.c): the filter is stretched by the scale when shrinking, so that
 * every source pixel counts; horizontal pass first, then vertical, 8-bit pixels between them; coefficients
 * in fixed point of 32 - 8 - 2 bits. The same integers here, so that pixels are equal, not near. (Pillow
 * 13 takes the vertical pass first where a picture over twice as tall as wide shrinks, and for some other
 * shapes whose sides shrink unequally; there it is near: within the rounding of one pass.) */
#ifndef MAGPIE_IMAGE_RESIZE_H
#define MAGPIE_IMAGE_RESIZE_H

#include "image_decode.h"

enum { IMAGE_GEOMETRY_MAX = 4096 /* pixels, of `shortest` and of `side` */ };

typedef enum image_filter { IMAGE_BILINEAR, IMAGE_BICUBIC /* a = -0.5 */ } image_filter;

/* How a picture becomes the square that a network looks at. */
typedef struct image_geometry {
    size_t shortest; /* the shorter side is resized to this; 0: both sides to `side`, whatever their ratio */
    size_t side;     /* then the centre, side x side, is cut out */
    image_filter filter;
} image_geometry;

/* One thread's: tables of coefficients and rows between the passes. */
typedef struct image_resizer image_resizer;

MAGPIE_CHECK_RESULT magpie_status image_resizer_create(image_resizer **out);
void image_resizer_free(image_resizer *resizer);

/* out [side, side, 3]. Where the resized picture is smaller than the crop, black is around it, as torchvision
 * pads. */
MAGPIE_CHECK_RESULT magpie_status image_resize(image_resizer *resizer, const image_pixels *picture,
                                               const image_geometry *geometry, uint8_t *out);
/* The same, as the formula has it: the oracle of the above. */
MAGPIE_CHECK_RESULT magpie_status image_resize_reference(const image_pixels *picture,
                                                         const image_geometry *geometry, uint8_t *out);
/* The whole picture to width x height, up to IMAGE_GEOMETRY_MAX each: out [height, width, 3]. */
MAGPIE_CHECK_RESULT magpie_status image_resize_whole(image_resizer *resizer, const image_pixels *picture,
                                                     image_filter filter, size_t width, size_t height,
                                                     uint8_t *out);

/* ---- for a device that resizes by itself ---- */

/* What a packed picture begins with, in words of 32 bits; then, for x and for y, `first` [count] and
 * coefficients [count, taps] as resize_axis (image_kernels.h) has them, and the source pixels that count,
 * [rows, width, 3] bytes. The same in kernels/resize.cl. */
enum {
    IMAGE_PACKED_WIDTH,
    IMAGE_PACKED_ROWS,
    IMAGE_PACKED_X, /* taps, count, and where in the square the first one stands */
    IMAGE_PACKED_Y = IMAGE_PACKED_X + 3,
    IMAGE_PACKED_WORDS = IMAGE_PACKED_Y + 3
};

/* A picture and all that its resizing takes, in one piece. Begins as {0}. */
typedef struct image_packed {
    uint32_t *words;
    size_t count, capacity; /* of words */
    size_t between;         /* pixels between the two passes: rows x count of x */
} image_packed;

/* What kernels/resize.cl makes of `out` is what image_resize makes of the picture, to the byte. A picture
 * that is large beside the square is resized here, and what is packed is the square: the copy would cost
 * more. */
MAGPIE_CHECK_RESULT magpie_status image_pack(image_resizer *resizer, const image_pixels *picture,
                                             const image_geometry *geometry, image_packed *out);
void image_packed_free(image_packed *packed);

#endif
