/* test_image_decode.c - every kind of JPEG and PNG to Pillow's pixels, and every way in which a file can
 * be wrong. */
#include "crc32.h"
#include "golden_images.h"
#include "image_decode.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

enum { PATH_BYTES = 4096 };

static image_decoder *decoder;
static char folder[PATH_BYTES];

static int open_all(void **state) {
    (void)state;
    const char *parent = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/magpie-images-XXXXXX", parent ? parent : "/tmp");
    return mkdtemp(folder) && image_decoder_create(&decoder) == MAGPIE_OK ? 0 : -1;
}

static int close_all(void **state) {
    (void)state;
    image_decoder_free(decoder);
    image_decoder_free(NULL);
    return rmdir(folder);
}

/* ---- what is read ---- */

static void test_pillow(void **state) {
    (void)state;
    json_t *list = golden_images("pictures");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *entry = json_array_get(list, i);
        magpie_string file = from_base64(golden_string(entry, 1));
        image_pixels picture;
        char hash[17];
        if (image_decode(decoder, file, 0, &picture) != MAGPIE_OK)
            fail_msg("%s: %s", golden_string(entry, 0), magpie_error());
        if (picture.width != golden_size(entry, 2) || picture.height != golden_size(entry, 3))
            fail_msg("%s: %zu x %zu", golden_string(entry, 0), picture.width, picture.height);
        snprintf(hash, sizeof hash, "%016llx",
                 (unsigned long long)fnv1a(picture.data, picture.width * picture.height * 3));
        if (strcmp(hash, golden_string(entry, 4)) != 0) fail_msg("%s: other pixels", golden_string(entry, 0));
        free((char *)(uintptr_t)file.data);
    }
    json_decref(list);
}

/* The golden file of this name, to be freed. */
static magpie_string golden_file(const char *kind) {
    json_t *list = golden_images("pictures");
    magpie_string file = {0};
    for (size_t i = 0; i < json_array_size(list) && !file.data; i++)
        if (strcmp(golden_string(json_array_get(list, i), 0), kind) == 0)
            file = from_base64(golden_string(json_array_get(list, i), 1));
    json_decref(list);
    assert_non_null(file.data);
    return file;
}

static void test_scaled(void **state) {
    (void)state;
    static const struct {
        size_t shortest, width, height;
    } cases[] = {{0, 90, 70},  {1000, 90, 70}, {36, 90, 70}, {35, 45, 35}, {19, 45, 35},
                 {18, 23, 18}, {10, 23, 18},   {9, 12, 9},   {1, 12, 9}};
    magpie_string file = golden_file("jpeg 90x70");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        image_pixels picture;
        assert_ok(image_decode(decoder, file, cases[i].shortest, &picture));
        assert_int_equal(picture.width, cases[i].width);
        assert_int_equal(picture.height, cases[i].height);
    }
    free((char *)(uintptr_t)file.data);
}

/* ---- what is refused ---- */

static magpie_status decode(const void *bytes, size_t size) {
    image_pixels picture;
    uint8_t *exact = malloc(size ? size : 1);
    assert_non_null(exact);
    if (size) memcpy(exact, bytes, size);
    magpie_status status = image_decode(decoder, (magpie_string){(char *)exact, size}, 0, &picture);
    free(exact);
    return status;
}

static void test_truncated(void **state) {
    (void)state;
    json_t *list = golden_images("pictures");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *entry = json_array_get(list, i);
        magpie_string file = from_base64(golden_string(entry, 1));
        /* Of a PNG all but the checksum of its end: libspng does not ask for that. */
        size_t whole = golden_string(entry, 0)[0] == 'p' ? file.size - 4 : file.size;
        for (size_t size = 0; size < whole; size++)
            if (decode(file.data, size) != MAGPIE_E_INPUT)
                fail_msg("%s: cut to %zu of %zu bytes, and not refused", golden_string(entry, 0), size,
                         file.size);
        free((char *)(uintptr_t)file.data);
    }
    json_decref(list);
}

/* Any bit of a PNG, but of the checksum of its end. */
static void test_png_checksums(void **state) {
    (void)state;
    magpie_string file = golden_file("png type 2 depth 8");
    for (size_t at = 0; at < file.size - 4; at++)
        for (unsigned bit = 0; bit < 8; bit++) {
            char *bytes = (char *)(uintptr_t)file.data;
            bytes[at] = (char)(bytes[at] ^ (1 << bit));
            if (decode(file.data, file.size) == MAGPIE_OK)
                fail_msg("bit %u of byte %zu is not noticed", bit, at);
            bytes[at] = (char)(bytes[at] ^ (1 << bit));
        }
    assert_int_equal(decode(file.data, file.size), MAGPIE_OK);
    free((char *)(uintptr_t)file.data);
}

static void test_stray_bytes(void **state) {
    (void)state;
    magpie_string file = golden_file("jpeg 4:4:4");
    uint8_t *bytes = malloc(file.size + 4);
    assert_non_null(bytes);
    memcpy(bytes, file.data, file.size);
    /* in front of EOI: harmless; behind it: nobody looks */
    memcpy(bytes + file.size - 2, "\0\0\xFF\xD9", 4);
    assert_int_equal(decode(bytes, file.size + 2), MAGPIE_OK);
    memcpy(bytes, file.data, file.size);
    memset(bytes + file.size, 7, 4);
    assert_int_equal(decode(bytes, file.size + 4), MAGPIE_OK);
    /* scans that end too soon */
    memcpy(bytes + file.size / 2, "\xFF\xD9", 2);
    assert_int_equal(decode(bytes, file.size), MAGPIE_E_INPUT);
    free(bytes);
    free((char *)(uintptr_t)file.data);
}

static void test_formats(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
        magpie_status status;
        const char *words;
    } cases[] = {{"", 0, MAGPIE_E_INPUT, "empty"},
                 {"GIF89a\1\0\1\0", 10, MAGPIE_E_UNSUPPORTED, "GIF"},
                 {"RIFF\x10\0\0\0WEBPVP8 ", 16, MAGPIE_E_UNSUPPORTED, "WebP"},
                 {"\0\0\0\x1C"
                  "ftypavif",
                  12, MAGPIE_E_UNSUPPORTED, "AVIF"},
                 {"\0\0\0\x18"
                  "ftypheic",
                  12, MAGPIE_E_UNSUPPORTED, "HEIC"},
                 {"II*\0\x08\0\0\0", 8, MAGPIE_E_UNSUPPORTED, "TIFF"},
                 {"BM\x46\0\0\0", 6, MAGPIE_E_UNSUPPORTED, "BMP"},
                 {"<!DOCTYPE html><html>", 21, MAGPIE_E_INPUT, "neither"},
                 {"\xFF", 1, MAGPIE_E_INPUT, "neither"},
                 {"\xFF\xD8\xFF\xD9", 4, MAGPIE_E_INPUT, "JPEG"},
                 {"\x89PNG\r\n\x1A\n", 8, MAGPIE_E_INPUT, "PNG"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(decode(cases[i].bytes, cases[i].size), cases[i].status);
        if (!strstr(magpie_error(), cases[i].words))
            fail_msg("%s: no \"%s\"", magpie_error(), cases[i].words);
    }
}

/* Resident memory, in bytes. */
static size_t resident(void) {
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%*u %lu", &pages), 1);
    fclose(file);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

static void put16(uint8_t *p, unsigned v) {
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

/* A PNG whose header claims another size, with the checksum of it. */
static void claim_png(uint8_t *png, unsigned width, unsigned height) {
    put16(png + 16, width >> 16);
    put16(png + 18, width);
    put16(png + 20, height >> 16);
    put16(png + 22, height);
    uint32_t crc = crc32_of(png + 12, 17);
    put16(png + 29, crc >> 16);
    put16(png + 31, crc & 0xFFFF);
}

static void test_limits(void **state) {
    (void)state;
    magpie_string jpeg = golden_file("jpeg 4:4:4"), png = golden_file("png type 2 depth 8");
    uint8_t *p = (uint8_t *)(uintptr_t)png.data, *j = (uint8_t *)(uintptr_t)jpeg.data, *frame = j;
    while (frame[0] != 0xFF || frame[1] != 0xC0) frame++;
    static const unsigned sides[][2] = {{20990, 29700}, {65500, 1025}, {8193, 8192}, {65500, 65500}};
    size_t before = resident();
    for (size_t i = 0; i < sizeof sides / sizeof *sides; i++) {
        put16(frame + 5, sides[i][1]);
        put16(frame + 7, sides[i][0]);
        claim_png(p, sides[i][0], sides[i][1]);
        image_pixels picture;
        assert_int_equal(decode(j, jpeg.size), MAGPIE_E_TOO_LARGE);
        assert_int_equal(image_decode(decoder, jpeg, 224, &picture),
                         MAGPIE_E_TOO_LARGE); /* whatever the scale */
        assert_int_equal(decode(p, png.size), MAGPIE_E_TOO_LARGE);
        assert_non_null(strstr(magpie_error(), "pixels"));
    }
    claim_png(p, 65536, 1);
    assert_int_equal(decode(p, png.size), MAGPIE_E_TOO_LARGE);
    claim_png(p, 0x7FFFFFFF, 0x7FFFFFFF);
    assert_int_equal(decode(p, png.size), MAGPIE_E_TOO_LARGE);
    claim_png(p, 0, 1);
    assert_int_equal(decode(p, png.size), MAGPIE_E_INPUT);
    assert_true(resident() < before + (16 << 20));
    /* Within the limits: what is missing is noticed. */
    claim_png(p, 21, 2000);
    assert_int_equal(decode(p, png.size), MAGPIE_E_INPUT);
    image_pixels picture;
    assert_int_equal(
        image_decode(decoder, (magpie_string){(char *)p, (size_t)MAGPIE_IMAGE_BYTES_MAX + 1}, 0, &picture),
        MAGPIE_E_TOO_LARGE);
    free(p);
    free(j);
}

/* ---- memory ---- */

/* A giant picture's memory goes back with the next one. The giant: a black PNG of one bit a pixel, made
 * here. */
static void test_memory_is_given_back(void **state) {
    (void)state;
    magpie_string png = golden_file("png type 0 depth 1"), small = golden_file("png type 2 depth 8");
    magpie_text giant = {0};
    enum { WIDTH = 8000, HEIGHT = 8000, ROW = 1 + WIDTH / 8 };
    /* zlib's stored blocks: no compressor is needed */
    magpie_text idat = {0};
    magpie_text_append(&idat, "IDAT\x78\x01", 6);
    uint8_t zeros[ROW] = {0};
    for (size_t row = 0; row < HEIGHT; row++) {
        uint8_t block[5] = {row + 1 == HEIGHT, ROW & 255, ROW >> 8, ~ROW & 255, ~ROW >> 8 & 255};
        magpie_text_append(&idat, block, sizeof block);
        magpie_text_append(&idat, zeros, ROW);
    }
    uint8_t word[4];
    unsigned sum =
        (unsigned)((size_t)ROW * HEIGHT % 65521); /* Adler-32 of zeros: 1 in the lower half, how many above */
    put16(word, sum);
    put16(word + 2, 1);
    magpie_text_append(&idat, word, 4);
    claim_png((uint8_t *)(uintptr_t)png.data, WIDTH, HEIGHT);
    magpie_text_append(&giant, png.data, 33);
    put16(word, (unsigned)((idat.size - 4) >> 16));
    put16(word + 2, (unsigned)(idat.size - 4));
    magpie_text_append(&giant, word, 4);
    magpie_text_append(&giant, idat.data, idat.size);
    uint32_t crc = crc32_of((const uint8_t *)idat.data, idat.size);
    put16(word, crc >> 16);
    put16(word + 2, crc & 0xFFFF);
    magpie_text_append(&giant, word, 4);
    magpie_text_append(&giant, "\0\0\0\0IEND\xAE\x42\x60\x82", 12);
    assert_ok(magpie_text_status(&giant));

    image_pixels picture;
    assert_ok(image_decode(decoder, small, 0, &picture));
    size_t before = resident();
    assert_ok(image_decode(decoder, (magpie_string){giant.data, giant.size}, 0, &picture));
    assert_int_equal(picture.width, WIDTH);
    assert_true(resident() > before + (100 << 20));
    assert_ok(image_decode(decoder, small, 0, &picture));
#ifndef __SANITIZE_ADDRESS__ /* which keeps freed memory aside */
    assert_true(resident() < before + (32 << 20));
#endif
    magpie_text_free(&giant);
    magpie_text_free(&idat);
    free((char *)(uintptr_t)png.data);
    free((char *)(uintptr_t)small.data);
}

/* ---- files ---- */

static char *in_folder(const char *name) {
    char *path = magpie_path_join(folder, name);
    assert_non_null(path);
    return path;
}

static void expect_file(const char *path, magpie_status expected, const char *words) {
    image_pixels picture;
    magpie_status status = image_decode_file(decoder, path, 0, &picture);
    if (status != expected || strncmp(magpie_error(), path, strlen(path)) != 0 ||
        !strstr(magpie_error(), words))
        fail_msg("%s: %s: %s; expected %s with \"%s\"", path, magpie_status_name(status), magpie_error(),
                 magpie_status_name(expected), words);
}

static void test_files(void **state) {
    (void)state;
    char *picture_path = in_folder("picture.jpg"), *fifo = in_folder("fifo"), *missing = in_folder("missing");
    magpie_string file = golden_file("jpeg 90x70");
    FILE *stream = fopen(picture_path, "wb");
    assert_non_null(stream);
    assert_int_equal(fwrite(file.data, 1, file.size, stream), file.size);
    assert_int_equal(fclose(stream), 0);
    image_pixels picture;
    assert_ok(image_decode_file(decoder, picture_path, 0, &picture));
    assert_int_equal(picture.width, 90);

    assert_int_equal(truncate(picture_path, (off_t)file.size / 2), 0);
    expect_file(picture_path, MAGPIE_E_INPUT, "broken JPEG");
    assert_int_equal(truncate(picture_path, 0), 0);
    expect_file(picture_path, MAGPIE_E_INPUT, "empty");
    assert_int_equal(truncate(picture_path, (off_t)MAGPIE_IMAGE_BYTES_MAX + 1),
                     0); /* a hole: takes no disk */
    expect_file(picture_path, MAGPIE_E_TOO_LARGE, "bytes");
    expect_file(missing, MAGPIE_E_NOT_FOUND, "No such file");
    expect_file(folder, MAGPIE_E_INPUT, "not a regular file");
    assert_int_equal(mkfifo(fifo, 0600), 0);
    expect_file(fifo, MAGPIE_E_INPUT, "not a regular file");
    expect_file("/dev/zero", MAGPIE_E_INPUT, "not a regular file");

    assert_int_equal(unlink(fifo), 0);
    assert_int_equal(unlink(picture_path), 0);
    free((char *)(uintptr_t)file.data);
    free(missing);
    free(fifo);
    free(picture_path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pillow),      cmocka_unit_test(test_scaled),
        cmocka_unit_test(test_truncated),   cmocka_unit_test(test_png_checksums),
        cmocka_unit_test(test_stray_bytes), cmocka_unit_test(test_formats),
        cmocka_unit_test(test_limits),      cmocka_unit_test(test_memory_is_given_back),
        cmocka_unit_test(test_files),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
