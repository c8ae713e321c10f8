/* image_decode.c - which format, which limits, which way up; image_jpeg.c and image_png.c have the
 * formats. */
#include "image_formats.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { KEPT_MAX = 16 << 20 /* bytes of each buffer that stay between pictures: 5.6 megapixels */ };

struct image_decoder {
    tjhandle turbo; /* NULL before the first JPEG and after a broken one */
    image_memory file, pixels, turned;
    size_t most; /* bytes of the latter two together; 0: no limit */
};

magpie_status image_decoder_create(image_decoder **out) {
    *out = magpie_alloc(1, sizeof **out);
    return *out ? MAGPIE_OK : MAGPIE_E_NO_MEMORY;
}

void image_decoder_limit(image_decoder *decoder, size_t bytes) {
    decoder->most = decoder->pixels.most = bytes;
}

void image_decoder_free(image_decoder *decoder) {
    if (!decoder) return;
    if (decoder->turbo) tjDestroy(decoder->turbo);
    free(decoder->file.data);
    free(decoder->pixels.data);
    free(decoder->turned.data);
    free(decoder);
}

/* ---- memory ---- */

static void release(image_memory *memory) {
    free(memory->data);
    *memory = (image_memory){.most = memory->most};
}

magpie_status image_memory_reserve(image_memory *memory, size_t size) {
    if (memory->most && size > memory->most)
        return magpie_fail(MAGPIE_E_NO_SPACE, "its pixels take %.1f MB, and %.1f MB are allowed",
                           (double)size / 1e6, (double)memory->most / 1e6);
    if (size <= memory->capacity && (memory->capacity <= KEPT_MAX || size > KEPT_MAX)) return MAGPIE_OK;
    release(memory);
    memory->data = magpie_alloc_large(size, 1);
    if (!memory->data) return MAGPIE_E_NO_MEMORY;
    memory->capacity = size;
    return MAGPIE_OK;
}

magpie_status image_check_size(size_t width, size_t height) {
    if (width > IMAGE_SIDE_MAX || height > IMAGE_SIDE_MAX)
        return magpie_fail(MAGPIE_E_TOO_LARGE, "%zu x %zu pixels: a side may have %d", width, height,
                           IMAGE_SIDE_MAX);
    if (width * height > MAGPIE_IMAGE_PIXELS_MAX)
        return magpie_fail(MAGPIE_E_TOO_LARGE, "%zu x %zu pixels: more than %d million", width, height,
                           MAGPIE_IMAGE_PIXELS_MAX / 1000000);
    return MAGPIE_OK;
}

/* ---- orientation ---- */

static unsigned read_u16(const uint8_t *p, bool big) {
    return big ? (unsigned)p[0] << 8 | p[1] : (unsigned)p[1] << 8 | p[0];
}

unsigned exif_orientation(const uint8_t *tiff, size_t size) {
    enum { HEADER = 8, ENTRY = 12, TAG = 0x0112, SHORT = 3 };
    if (size < HEADER || (memcmp(tiff, "II*\0", 4) != 0 && memcmp(tiff, "MM\0*", 4) != 0)) return 1;
    bool big = tiff[0] == 'M';
    size_t directory =
        (size_t)read_u16(tiff + (big ? 4 : 6), big) << 16 | read_u16(tiff + (big ? 6 : 4), big);
    if (directory > size - 2) return 1;
    size_t count = read_u16(tiff + directory, big), at = directory + 2;
    for (; count > 0 && size - at >= ENTRY; count--, at += ENTRY) {
        if (read_u16(tiff + at, big) != TAG) continue;
        unsigned value = read_u16(tiff + at + 8, big);
        return read_u16(tiff + at + 2, big) == SHORT && value >= 1 && value <= 8 ? value : 1;
    }
    return 1;
}

/* Writes row by row what the viewer sees. Of the viewer's pixel (x, y), the stored one is at `first` + x
 * `across` + y `down`: each orientation is a corner to begin at and two directions. */
static void turn(const uint8_t *stored, size_t width, size_t height, unsigned orientation, uint8_t *out) {
    bool swapped = orientation >= 5;
    ptrdiff_t right = 3, below = (ptrdiff_t)width * 3, first = 0;
    bool from_right = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
    bool from_below = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
    if (from_right) {
        first += (ptrdiff_t)(width - 1) * right;
        right = -right;
    }
    if (from_below) {
        first += (ptrdiff_t)(height - 1) * below;
        below = -below;
    }
    ptrdiff_t across = swapped ? below : right, down = swapped ? right : below;
    size_t columns = swapped ? height : width, rows = swapped ? width : height;
    for (size_t y = 0; y < rows; y++) {
        const uint8_t *from = stored + first + (ptrdiff_t)y * down;
        for (size_t x = 0; x < columns; x++, from += across, out += 3) memcpy(out, from, 3);
    }
}

/* ---- formats ---- */

static bool begins_with(magpie_string bytes, size_t at, const char *magic, size_t size) {
    return bytes.size >= at + size && memcmp(bytes.data + at, magic, size) == 0;
}

/* Neither JPEG nor PNG: says what it is, where that is plain. */
static magpie_status refuse(magpie_string bytes) {
    static const struct {
        const char *name;
        unsigned char at, size;
        const char *magic;
    } known[] = {{"GIF", 0, 4, "GIF8"},       {"WebP", 8, 4, "WEBP"},
                 {"AVIF", 4, 8, "ftypavif"},  {"HEIC", 4, 7, "ftyphei"},
                 {"HEIC", 4, 8, "ftypmif1"},  {"TIFF", 0, 4, "II*\0"},
                 {"TIFF", 0, 4, "MM\0*"},     {"JPEG XL", 0, 2, "\xFF\x0A"},
                 {"JPEG XL", 4, 4, "JXL "},   {"JPEG 2000", 4, 4, "jP  "},
                 {"Photoshop", 0, 4, "8BPS"}, {"SVG", 0, 4, "<svg"},
                 {"icon", 0, 4, "\0\0\1\0"},  {"BMP", 0, 2, "BM"}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (begins_with(bytes, known[i].at, known[i].magic, known[i].size))
            return magpie_fail(MAGPIE_E_UNSUPPORTED, "a %s picture: JPEG and PNG are read", known[i].name);
    return magpie_fail(MAGPIE_E_INPUT, bytes.size ? "neither a JPEG nor a PNG picture" : "an empty picture");
}

/* TurboJPEG 2.1 leaves a handle that failed in a header in the middle of it, and would read the next
 * picture from there: after a failure there is a new handle. */
static magpie_status decode_jpeg(image_decoder *decoder, magpie_string bytes, size_t shortest,
                                 image_stored *out) {
    if (!decoder->turbo) decoder->turbo = tjInitDecompress();
    if (!decoder->turbo) return magpie_fail(MAGPIE_E_NO_MEMORY, "TurboJPEG: no memory");
    magpie_status status = jpeg_decode(decoder->turbo, bytes, shortest, &decoder->pixels, out);
    if (status != MAGPIE_OK) {
        tjDestroy(decoder->turbo);
        decoder->turbo = NULL;
    }
    return status;
}

magpie_status image_decode(image_decoder *decoder, magpie_string bytes, size_t shortest, image_pixels *out) {
    image_stored stored;
    magpie_status status;
    if (bytes.size > MAGPIE_IMAGE_BYTES_MAX)
        return magpie_fail(MAGPIE_E_TOO_LARGE, "%zu bytes: a picture may have %d", bytes.size,
                           MAGPIE_IMAGE_BYTES_MAX);
    if (begins_with(bytes, 0, "\xFF\xD8\xFF", 3))
        status = decode_jpeg(decoder, bytes, shortest, &stored);
    else if (begins_with(bytes, 0, "\x89PNG\r\n\x1A\n", 8))
        status = png_decode(bytes, &decoder->pixels, &stored);
    else
        status = refuse(bytes);
    if (status != MAGPIE_OK) return status;

    *out = (image_pixels){decoder->pixels.data, stored.width, stored.height};
    if (stored.orientation == 1) {
        if (decoder->turned.capacity > KEPT_MAX) release(&decoder->turned);
        return MAGPIE_OK;
    }
    const size_t taken = decoder->pixels.capacity;
    if (decoder->most) decoder->turned.most = decoder->most > taken ? decoder->most - taken : 1;
    status = image_memory_reserve(&decoder->turned, stored.width * stored.height * 3);
    if (status != MAGPIE_OK) return status;
    turn(decoder->pixels.data, stored.width, stored.height, stored.orientation, decoder->turned.data);
    out->data = decoder->turned.data;
    if (stored.orientation >= 5) {
        out->width = stored.height;
        out->height = stored.width;
    }
    return MAGPIE_OK;
}

/* ---- files ---- */

static magpie_status read_open(int fd, image_memory *memory, size_t *size) {
    struct stat info;
    if (fstat(fd, &info) != 0) return magpie_fail_errno(errno, "stat");
    if (!S_ISREG(info.st_mode)) return magpie_fail(MAGPIE_E_INPUT, "not a regular file");
    if (info.st_size > MAGPIE_IMAGE_BYTES_MAX)
        return magpie_fail(MAGPIE_E_TOO_LARGE, "%lld bytes: a picture may have %d", (long long)info.st_size,
                           MAGPIE_IMAGE_BYTES_MAX);
    magpie_status status = image_memory_reserve(memory, (size_t)info.st_size + 1);
    for (*size = 0; status == MAGPIE_OK && *size < (size_t)info.st_size;) {
        ssize_t got = read(fd, memory->data + *size, (size_t)info.st_size - *size);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) status = magpie_fail_errno(errno, "read");
        if (got <= 0) break;
        *size += (size_t)got;
    }
    return status;
}

magpie_status image_decode_file(image_decoder *decoder, const char *path, size_t shortest,
                                image_pixels *out) {
    size_t size = 0;
    /* O_NONBLOCK: opening a FIFO or a device would wait for its other end otherwise. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) return magpie_fail_errno(errno, "%s", path);
    magpie_status status = read_open(fd, &decoder->file, &size);
    close(fd);
    if (status == MAGPIE_OK)
        status =
            image_decode(decoder, (magpie_string){(const char *)decoder->file.data, size}, shortest, out);
    return status == MAGPIE_OK ? status : magpie_fail(status, "%s: %s", path, magpie_error());
}
