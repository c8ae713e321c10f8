/* image_thumbnail.c - a picture made small enough to be one of many on a page: the decoder and the resize of
 * the encoders, then a JPEG. */
#include "encoders.h"
#include "image_decode.h"
#include "image_resize.h"

#include <stdlib.h>
#include <string.h>
#include <turbojpeg.h>

enum { QUALITY = 85 };

/* The sides of what a picture of `width` x `height` becomes. */
static void fit(size_t width, size_t height, size_t longest, magpie_thumbnail *out) {
    size_t longer = width > height ? width : height;
    *out = (magpie_thumbnail){.width = width, .height = height};
    if (longer <= longest) return;
    out->width = (width * longest + longer / 2) / longer;
    out->height = (height * longest + longer / 2) / longer;
    if (!out->width) out->width = 1;
    if (!out->height) out->height = 1;
}

/* Chroma is kept whole: coloured lines on white, of which drawings are made, fray without it. */
static magpie_status compress(const uint8_t *pixels, magpie_thumbnail *out) {
    unsigned long size = tjBufSize((int)out->width, (int)out->height, TJSAMP_444);
    tjhandle turbo = tjInitCompress();
    out->bytes = turbo ? magpie_alloc(size, 1) : NULL;
    magpie_status status = MAGPIE_OK;
    if (!turbo)
        status = magpie_fail(MAGPIE_E_NO_MEMORY, "TurboJPEG: no memory");
    else if (!out->bytes)
        status = MAGPIE_E_NO_MEMORY;
    else if (tjCompress2(turbo, pixels, (int)out->width, 0, (int)out->height, TJPF_RGB, &out->bytes, &size,
                         TJSAMP_444, QUALITY, TJFLAG_NOREALLOC | TJFLAG_ACCURATEDCT) != 0)
        status = magpie_fail(MAGPIE_E_INTERNAL, "TurboJPEG cannot compress: %s", tjGetErrorStr2(turbo));
    out->size = size;
    if (turbo) tjDestroy(turbo);
    uint8_t *smaller = status == MAGPIE_OK ? realloc(out->bytes, size) : NULL; /* a tenth is typical */
    if (smaller) out->bytes = smaller;
    return status;
}

static magpie_status shrink(image_resizer *resizer, const image_pixels *picture, magpie_thumbnail *out) {
    if (out->width == picture->width && out->height == picture->height) return compress(picture->data, out);
    uint8_t *pixels = magpie_alloc(out->width * out->height, 3);
    if (!pixels) return MAGPIE_E_NO_MEMORY;
    magpie_status status =
        image_resize_whole(resizer, picture, IMAGE_BICUBIC, out->width, out->height, pixels);
    if (status == MAGPIE_OK) status = compress(pixels, out);
    free(pixels);
    return status;
}

magpie_status magpie_image_thumbnail(const magpie_media *image, size_t longest, magpie_thumbnail *out) {
    image_decoder *decoder = NULL;
    image_resizer *resizer = NULL;
    image_pixels picture;
    *out = (magpie_thumbnail){0};
    if (longest < 1 || longest > MAGPIE_THUMBNAIL_MAX)
        return magpie_fail(MAGPIE_E_ARGUMENT, "a thumbnail of %zu pixels: 1 to %d are possible", longest,
                           MAGPIE_THUMBNAIL_MAX);
    magpie_status status = image_decoder_create(&decoder);
    if (status == MAGPIE_OK) status = image_resizer_create(&resizer);
    if (status == MAGPIE_OK)
        status = image->path ? image_decode_file(decoder, image->path, longest, &picture)
                             : image_decode(decoder, image->bytes, longest, &picture);
    if (status == MAGPIE_OK) {
        fit(picture.width, picture.height, longest, out);
        status = shrink(resizer, &picture, out);
    }
    image_resizer_free(resizer);
    image_decoder_free(decoder);
    if (status == MAGPIE_OK) return status;
    free(out->bytes);
    *out = (magpie_thumbnail){0};
    return status;
}
