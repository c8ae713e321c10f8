/* image_jpeg.c - JPEG by TurboJPEG, to the bytes that Pillow gives: slow integer DCT, smooth upsampling of
 * chroma.
 *
 * libjpeg repairs what is broken and calls it a warning; here a warning refuses the picture, but for those
 * of `harmless`. Nothing notices a flipped bit that still decodes: JPEG has no checksum. */
#include "image_formats.h"

#include <string.h>

/* Stray bytes between segments, which some cameras pad with, and a version of JFIF from the future. */
static bool harmless(const char *warning) {
    return strstr(warning, "extraneous bytes before marker") || strstr(warning, "unknown JFIF revision");
}

/* Of the EXIF segment, which comes before the first scan. */
static unsigned orientation_of(const uint8_t *p, size_t size) {
    static const uint8_t exif[] = {'E', 'x', 'i', 'f', 0, 0};
    for (size_t at = 2; size - at >= 4 && p[at] == 0xFF;) {
        unsigned marker = p[at + 1];
        size_t length = (size_t)p[at + 2] << 8 | p[at + 3]; /* of the segment, these two bytes included */
        if (marker == 0xFF) {                               /* a byte of padding */
            at++;
            continue;
        }
        if (marker == 0xDA || marker == 0xD9 || length < 2 || length > size - at - 2) break;
        const uint8_t *body = p + at + 4;
        if (marker == 0xE1 && length - 2 >= sizeof exif && memcmp(body, exif, sizeof exif) == 0)
            return exif_orientation(body + sizeof exif, length - 2 - sizeof exif);
        at += 2 + length;
    }
    return 1;
}

static magpie_status broken(tjhandle turbo) {
    return magpie_fail(MAGPIE_E_INPUT, "broken JPEG: %s", tjGetErrorStr2(turbo));
}

static size_t scaled(size_t side, unsigned divisor) { return (side + divisor - 1) / divisor; }

/* Pillow's: all four are stored inverted, as Adobe does, said or not; then white less ink less black. */
static void cmyk_to_rgb(uint8_t *pixels, size_t count) {
    for (size_t i = 0; i < count; i++) {
        unsigned k = pixels[4 * i + 3];
        uint8_t rgb[3];
        for (size_t c = 0; c < 3; c++) {
            unsigned ink = (255u - pixels[4 * i + c]) * k + 128;
            unsigned share = ((ink >> 8) + ink) >> 8; /* ink / 255, rounded */
            rgb[c] = (uint8_t)(k > share ? k - share : 0);
        }
        memcpy(pixels + 3 * i, rgb, sizeof rgb); /* behind what is read */
    }
}

magpie_status jpeg_decode(tjhandle turbo, magpie_string bytes, size_t shortest, image_memory *pixels,
                          image_stored *out) {
    const unsigned char *data = (const unsigned char *)bytes.data;
    int width = 0, height = 0, subsampling = -1, colours = -1;
    /* Its failure is no verdict where the size is known: it may be a warning, which decoding will meet
     * again, or rare subsampling, which TurboJPEG decodes but has no name for. */
    if (tjDecompressHeader3(turbo, data, bytes.size, &width, &height, &subsampling, &colours) != 0 &&
        (width < 1 || height < 1))
        return broken(turbo);
    magpie_status status = image_check_size((size_t)width, (size_t)height);
    if (status != MAGPIE_OK) return status;

    size_t shorter = (size_t)(width < height ? width : height);
    unsigned divisor = 1;
    while (shortest && divisor < 8 && scaled(shorter, 2 * divisor) >= shortest) divisor *= 2;
    *out = (image_stored){scaled((size_t)width, divisor), scaled((size_t)height, divisor),
                          orientation_of(data, bytes.size)};
    bool cmyk = colours == TJCS_CMYK || colours == TJCS_YCCK;
    status = image_memory_reserve(pixels, out->width * out->height * (cmyk ? 4 : 3));
    if (status != MAGPIE_OK) return status;
    /* A strict attempt first, since TurboJPEG keeps only the last warning of several. */
    int flags[] = {TJFLAG_LIMITSCANS | TJFLAG_STOPONWARNING, TJFLAG_LIMITSCANS};
    for (size_t attempt = 0; attempt < 2; attempt++) {
        if (tjDecompress2(turbo, data, bytes.size, pixels->data, (int)out->width, 0, (int)out->height,
                          cmyk ? TJPF_CMYK : TJPF_RGB, flags[attempt]) == 0)
            break;
        if (!harmless(tjGetErrorStr2(turbo))) return broken(turbo);
    }
    if (cmyk) cmyk_to_rgb(pixels->data, out->width * out->height);
    return MAGPIE_OK;
}
