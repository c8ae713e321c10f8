/* fuzz_image.h - what the targets for pictures share: one decoder for all inputs, so that what a broken
 * picture leaves behind meets the next one. */
#ifndef MAGPIE_FUZZ_IMAGE_H
#define MAGPIE_FUZZ_IMAGE_H

#include "fuzz.h"
#include "image_decode.h"

#include <stdlib.h>
#include <string.h>

enum { PIXELS_MAX = 1 << 20 };

/* Decodes, and reads every pixel; a failure has to be one of a picture, with words. */
static inline magpie_status fuzz_decode(const uint8_t *data, size_t size, size_t shortest,
                                        image_pixels *out) {
    static image_decoder *decoder;
    static volatile uint8_t sink; /* without it nothing would be read */
    if (!decoder && image_decoder_create(&decoder) != MAGPIE_OK) abort();
    magpie_status status = image_decode(decoder, (magpie_string){(const char *)data, size}, shortest, out);
    if (status == MAGPIE_OK) {
        if (out->width == 0 || out->height == 0) abort();
        for (size_t i = 0; i < out->width * out->height * 3; i++) sink = out->data[i];
        (void)sink;
    } else if (status != MAGPIE_E_INPUT && status != MAGPIE_E_TOO_LARGE && status != MAGPIE_E_UNSUPPORTED) {
        abort();
    } else if (strlen(magpie_error()) < 8) {
        abort();
    }
    return status;
}

#endif
