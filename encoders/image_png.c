/* image_png.c - PNG by libspng, row by row into RGB: what is transparent or interlaced passes through one
 * row of RGBA, so that a picture costs three bytes a pixel and no more.
 *
 * Every checksum counts, those of chunks that are not looked at too, but for IEND's own, behind which
 * nothing could follow. */
#include "image_formats.h"

#include <spng.h>
#include <stdlib.h>
#include <string.h>

/* Bytes of one chunk (a colour profile, text), unpacked, and of all. Pixels are not counted in. */
enum { CHUNK_MAX = 8 << 20 };

static magpie_status broken(int code) {
    if (code == SPNG_EUSER_WIDTH || code == SPNG_EUSER_HEIGHT)
        return magpie_fail(MAGPIE_E_TOO_LARGE, "a side of more than %d pixels", IMAGE_SIDE_MAX);
    return magpie_fail(code == SPNG_EMEM ? MAGPIE_E_NO_MEMORY : MAGPIE_E_INPUT, "broken PNG: %s",
                       spng_strerror(code));
}

/* c a + 255 (1 - a), rounded to nearest. */
static uint8_t on_white(unsigned c, unsigned alpha) {
    unsigned sum = c * alpha + 255 * (255 - alpha) + 128;
    return (uint8_t)(((sum >> 8) + sum) >> 8); /* (sum - 128) / 255, rounded; exact up to 65,535 */
}

/* Columns of an interlaced pass: from `start`, every `step`. Rows are libspng's to say. */
static const uint8_t pass_start[7] = {0, 4, 0, 2, 0, 1, 0}, pass_step[7] = {8, 8, 4, 4, 2, 2, 1};

/* row [.., 4], RGBA, to the pixels of `out` [width, 3] from `start`, every `step`. */
static void compose(const uint8_t *row, size_t width, size_t start, size_t step, uint8_t *out) {
    for (size_t x = start; x < width; x += step, row += 4)
        for (size_t c = 0; c < 3; c++) out[3 * x + c] = row[3] == 255 ? row[c] : on_white(row[c], row[3]);
}

/* SPNG_EOI at the end of the last row is success. */
static int decode_rows(spng_ctx *png, const struct spng_ihdr *header, bool opaque, uint8_t *row,
                       uint8_t *pixels) {
    size_t stride = (size_t)header->width * 3;
    int code = 0;
    while (code == 0) {
        struct spng_row_info info;
        if ((code = spng_get_row_info(png, &info)) != 0) return code;
        uint8_t *to = pixels + info.row_num * stride;
        if (opaque) {
            code = spng_decode_scanline(png, to, stride);
        } else {
            code = spng_decode_scanline(png, row, (size_t)header->width * 4);
            if (code != 0 && code != SPNG_EOI) return code;
            compose(row, header->width, header->interlace_method ? pass_start[info.pass] : 0,
                    header->interlace_method ? pass_step[info.pass] : 1, to);
        }
    }
    return code == SPNG_EOI ? 0 : code;
}

static magpie_status decode_pixels(spng_ctx *png, const struct spng_ihdr *header, image_memory *pixels,
                                   image_stored *out) {
    struct spng_trns transparent;
    struct spng_exif exif;
    bool opaque =
        !header->interlace_method && !(header->color_type & 4) && spng_get_trns(png, &transparent) != 0;
    size_t size = (size_t)header->width * header->height * 3;
    magpie_status status = image_memory_reserve(pixels, size);
    if (status != MAGPIE_OK) return status;
    uint8_t *row = magpie_alloc(header->width, 4);
    if (!row) return MAGPIE_E_NO_MEMORY;
    int code = spng_decode_image(png, NULL, 0, opaque ? SPNG_FMT_RGB8 : SPNG_FMT_RGBA8,
                                 SPNG_DECODE_PROGRESSIVE | (opaque ? 0 : SPNG_DECODE_TRNS));
    if (code == 0) code = decode_rows(png, header, opaque, row, pixels->data);
    if (code == 0) code = spng_decode_chunks(png);
    free(row);
    if (code != 0) return broken(code);
    bool oriented = spng_get_exif(png, &exif) == 0;
    *out = (image_stored){header->width, header->height,
                          oriented ? exif_orientation((const uint8_t *)exif.data, exif.length) : 1};
    return MAGPIE_OK;
}

magpie_status png_decode(magpie_string bytes, image_memory *pixels, image_stored *out) {
    struct spng_ihdr header;
    spng_ctx *png = spng_ctx_new(0);
    if (!png) return magpie_fail(MAGPIE_E_NO_MEMORY, "libspng: no memory");
    int code = spng_set_png_buffer(png, bytes.data, bytes.size);
    if (code == 0) code = spng_set_crc_action(png, SPNG_CRC_ERROR, SPNG_CRC_ERROR);
    if (code == 0) code = spng_set_image_limits(png, IMAGE_SIDE_MAX, IMAGE_SIDE_MAX);
    if (code == 0) code = spng_set_chunk_limits(png, CHUNK_MAX, CHUNK_MAX);
    if (code == 0) code = spng_get_ihdr(png, &header);
    magpie_status status = code == 0 ? image_check_size(header.width, header.height) : broken(code);
    if (status == MAGPIE_OK) status = decode_pixels(png, &header, pixels, out);
    spng_ctx_free(png);
    return status;
}
