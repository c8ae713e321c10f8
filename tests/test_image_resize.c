/* test_image_resize.c - Pillow is the oracle of the reference, and the reference that of the kernels, byte
 * for byte. */
#include "golden_images.h"
#include "image_kernels.h"
#include "image_resize.h"

#include <stdio.h>

/* ---- the reference and Pillow ---- */

static uint8_t *noise(uint64_t seed, size_t count) {
    random_state r = {seed};
    uint8_t *bytes = malloc(count);
    assert_non_null(bytes);
    for (size_t i = 0; i < count; i++) bytes[i] = (uint8_t)(random_u64(&r) >> 56);
    return bytes;
}

static void test_pillow(void **state) {
    (void)state;
    json_t *list = golden_images("resizes");
    image_resizer *resizer;
    assert_ok(image_resizer_create(&resizer));
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *entry = json_array_get(list, i);
        size_t w = golden_size(entry, 0), h = golden_size(entry, 1);
        image_geometry geometry = {golden_size(entry, 2), golden_size(entry, 3),
                                   strcmp(golden_string(entry, 4), "bicubic") == 0 ? IMAGE_BICUBIC
                                                                                   : IMAGE_BILINEAR};
        uint8_t *source = noise(w * 65536 + h, w * h * 3);
        size_t size = geometry.side * geometry.side * 3;
        uint8_t *out = malloc(size);
        assert_non_null(out);
        image_pixels picture = {source, w, h};
        for (int fast = 0; fast < 2; fast++) {
            char hash[17];
            memset(out, 0xAA, size);
            if (fast)
                assert_ok(image_resize(resizer, &picture, &geometry, out));
            else
                assert_ok(image_resize_reference(&picture, &geometry, out));
            snprintf(hash, sizeof hash, "%016llx", (unsigned long long)fnv1a(out, size));
            if (strcmp(hash, golden_string(entry, 5)) != 0)
                fail_msg("%s of %zu x %zu to %zu, crop %zu, %s, is not Pillow's",
                         fast ? "resize" : "reference", w, h, geometry.shortest, geometry.side,
                         golden_string(entry, 4));
        }
        free(out);
        free(source);
    }
    image_resizer_free(resizer);
    json_decref(list);
}

/* ---- the kernels and the reference ---- */

/* Noise, or extremes, which overshoot the most in a bicubic. In memory of the exact size. */
static uint8_t *random_pixels(random_state *r, size_t count) {
    bool extremes = random_below(r, 2);
    uint8_t *bytes = malloc(count);
    assert_non_null(bytes);
    for (size_t i = 0; i < count; i++)
        bytes[i] = extremes ? (uint8_t)(0 - random_below(r, 2)) : (uint8_t)random_u64(r);
    return bytes;
}

static void test_kernels(void **state) {
    (void)state;
    enum { ROUNDS = 400 };
    random_state r = {20};
    for (size_t below = 0; image_kernels(below); below++) {
        image_resizer *resizer;
        assert_ok(image_resizer_create(&resizer));
        image_resizer_use(resizer, image_kernels(below));
        for (int round = 0; round < ROUNDS; round++) {
            size_t limit = round % 4 ? 40 : 700;
            image_pixels picture = {.width = 1 + random_below(&r, limit),
                                    .height = 1 + random_below(&r, limit)};
            image_geometry geometry = {random_below(&r, round % 3 ? 40 : 300), 1 + random_below(&r, 100),
                                       random_below(&r, 2) ? IMAGE_BICUBIC : IMAGE_BILINEAR};
            size_t size = geometry.side * geometry.side * 3;
            uint8_t *pixels = random_pixels(&r, picture.width * picture.height * 3);
            uint8_t *expected = malloc(size), *out = malloc(size);
            assert_non_null(expected);
            assert_non_null(out);
            picture.data = pixels;
            memset(out, 0x55, size);
            assert_ok(image_resize_reference(&picture, &geometry, expected));
            assert_ok(image_resize(resizer, &picture, &geometry, out));
            if (memcmp(out, expected, size) != 0)
                fail_msg("%s: %zu x %zu to %zu, crop %zu, filter %d: not the reference's bytes",
                         image_kernels(below)->name, picture.width, picture.height, geometry.shortest,
                         geometry.side, (int)geometry.filter);
            free(out);
            free(expected);
            free(pixels);
        }
        image_resizer_free(resizer);
    }
}

/* One size after another through one resizer is as each through its own: tables and memory are not mixed
 * up. */
static void test_same_again(void **state) {
    (void)state;
    static const size_t sides[][2] = {{64, 48}, {64, 48}, {48, 64}, {200, 10}, {64, 48}};
    image_geometry geometry = {30, 24, IMAGE_BILINEAR};
    uint8_t *pixels = noise(1, 64 * 64 * 3), out[24 * 24 * 3], expected[24 * 24 * 3];
    image_resizer *resizer;
    assert_ok(image_resizer_create(&resizer));
    for (size_t i = 0; i < 2 * sizeof sides / sizeof *sides; i++) {
        image_pixels picture = {pixels, sides[i / 2][0], sides[i / 2][1]};
        geometry.filter = i % 2 ? IMAGE_BICUBIC : IMAGE_BILINEAR;
        assert_ok(image_resize_reference(&picture, &geometry, expected));
        assert_ok(image_resize(resizer, &picture, &geometry, out));
        assert_memory_equal(out, expected, sizeof out);
    }
    image_resizer_free(resizer);
    image_resizer_free(NULL);
    free(pixels);
}

/* A rectangle is what the reference gives in the middle of a black square. */
static void test_whole(void **state) {
    (void)state;
    enum { ROUNDS = 300 };
    random_state r = {21};
    image_resizer *resizer;
    assert_ok(image_resizer_create(&resizer));
    for (int round = 0; round < ROUNDS; round++) {
        size_t limit = round % 4 ? 40 : 400, shortest = 1 + random_below(&r, 60);
        image_pixels picture = {.width = 1 + random_below(&r, limit), .height = 1 + random_below(&r, limit)};
        size_t shorter = picture.width < picture.height ? picture.width : picture.height;
        size_t width = shortest * picture.width / shorter, height = shortest * picture.height / shorter;
        image_geometry geometry = {shortest, width > height ? width : height,
                                   random_below(&r, 2) ? IMAGE_BICUBIC : IMAGE_BILINEAR};
        if (geometry.side > 1000) continue;
        uint8_t *pixels = random_pixels(&r, picture.width * picture.height * 3);
        uint8_t *square = malloc(geometry.side * geometry.side * 3), *out = malloc(width * height * 3);
        assert_non_null(square);
        assert_non_null(out);
        picture.data = pixels;
        assert_ok(image_resize_reference(&picture, &geometry, square));
        assert_ok(image_resize_whole(resizer, &picture, geometry.filter, width, height, out));
        size_t left = (geometry.side - width) / 2, above = (geometry.side - height) / 2;
        for (size_t y = 0; y < height; y++)
            if (memcmp(out + y * width * 3, square + ((above + y) * geometry.side + left) * 3, width * 3) !=
                0)
                fail_msg("%zu x %zu to %zu x %zu: row %zu is not the reference's", picture.width,
                         picture.height, width, height, y);
        free(out);
        free(square);
        free(pixels);
    }
    image_resizer_free(resizer);
}

/* ---- borders ---- */

static void test_padding(void **state) {
    (void)state;
    uint8_t white[4 * 3 * 3], out[9 * 9 * 3];
    memset(white, 255, sizeof white);
    image_pixels picture = {white, 4, 3};
    image_geometry geometry = {3, 9, IMAGE_BILINEAR};
    image_resizer *resizer;
    assert_ok(image_resizer_create(&resizer));
    assert_ok(image_resize(resizer, &picture, &geometry, out));
    for (size_t y = 0; y < 9; y++)
        for (size_t x = 0; x < 9; x++) {
            bool inside = x >= 2 && x < 6 && y >= 3 && y < 6; /* 5 columns to spare: 2 before, 3 behind */
            for (size_t c = 0; c < 3; c++) assert_int_equal(out[(y * 9 + x) * 3 + c], inside ? 255 : 0);
        }
    image_resizer_free(resizer);
}

/* The longest strips that a decoder gives, both ways. */
static void test_strips(void **state) {
    (void)state;
    uint8_t *pixels = noise(3, IMAGE_SIDE_MAX * 3), out[16 * 16 * 3], expected[16 * 16 * 3];
    static const image_geometry ways[] = {
        {0, 16, IMAGE_BICUBIC}, {1, 16, IMAGE_BILINEAR}, {4096, 16, IMAGE_BICUBIC}};
    image_resizer *resizer;
    assert_ok(image_resizer_create(&resizer));
    for (size_t i = 0; i < 6; i++) {
        image_pixels picture = {pixels, i % 2 ? 1 : IMAGE_SIDE_MAX, i % 2 ? IMAGE_SIDE_MAX : 1};
        assert_ok(image_resize_reference(&picture, &ways[i / 2], expected));
        assert_ok(image_resize(resizer, &picture, &ways[i / 2], out));
        assert_memory_equal(out, expected, sizeof out);
    }
    image_resizer_free(resizer);
    free(pixels);
}

static void test_refusals(void **state) {
    (void)state;
    static const image_geometry wrong[] = {{10, 0, IMAGE_BILINEAR},
                                           {10, IMAGE_GEOMETRY_MAX + 1, IMAGE_BILINEAR},
                                           {IMAGE_GEOMETRY_MAX + 1, 10, IMAGE_BILINEAR}};
    static const size_t sides[][2] = {{0, 5}, {5, 0}, {IMAGE_SIDE_MAX + 1, 1}, {1, IMAGE_SIDE_MAX + 1}};
    uint8_t pixels[3] = {0}, out[3];
    image_pixels picture = {pixels, 1, 1};
    image_geometry right = {1, 1, IMAGE_BILINEAR};
    image_resizer *resizer;
    assert_ok(image_resizer_create(&resizer));
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(image_resize(resizer, &picture, &wrong[i], out), MAGPIE_E_ARGUMENT);
    for (size_t i = 0; i < sizeof sides / sizeof *sides; i++) {
        picture = (image_pixels){pixels, sides[i][0], sides[i][1]};
        assert_int_equal(image_resize(resizer, &picture, &right, out), MAGPIE_E_ARGUMENT);
        assert_int_equal(image_resize_reference(&picture, &right, out), MAGPIE_E_ARGUMENT);
        assert_int_equal(image_resize_whole(resizer, &picture, IMAGE_BILINEAR, 1, 1, out), MAGPIE_E_ARGUMENT);
    }
    picture = (image_pixels){pixels, 1, 1};
    static const size_t results[][2] = {
        {0, 1}, {1, 0}, {IMAGE_GEOMETRY_MAX + 1, 1}, {1, IMAGE_GEOMETRY_MAX + 1}};
    for (size_t i = 0; i < sizeof results / sizeof *results; i++)
        assert_int_equal(
            image_resize_whole(resizer, &picture, IMAGE_BILINEAR, results[i][0], results[i][1], out),
            MAGPIE_E_ARGUMENT);
    image_resizer_free(resizer);
}

/* ---- ../shared/golden: from JPEG to crop ---- */

static void test_shared(void **state) {
    (void)state;
    enum { SIDE = 224, CROP = SIDE * SIDE * 3 };
    static const char *const names[] = {"0000", "0001", "0003", "0007"};
    static const image_geometry geometry = {256, SIDE, IMAGE_BILINEAR};
    static uint8_t out[CROP];
    char *found = shared_golden("0000.jpg");
    if (!found) skip_loudly("no ../shared/golden beside the repository");
    free(found);
    image_decoder *decoder;
    image_resizer *resizer;
    assert_ok(image_decoder_create(&decoder));
    assert_ok(image_resizer_create(&resizer));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s.jpg", names[i]);
        char *path = shared_golden(name), *bytes;
        snprintf(name, sizeof name, "jpeg.%s_crop.npy", names[i]);
        char *array = shared_golden(name);
        if (!path || !array) fail_msg("../shared/golden lacks %s", name);
        size_t size;
        image_pixels picture;
        assert_ok(image_decode_file(decoder, path, 0, &picture));
        assert_ok(image_resize(resizer, &picture, &geometry, out));
        assert_ok(magpie_file_read(array, 1 << 20, &bytes, &size));
        assert_true(size > CROP);
        assert_memory_equal(out, bytes + size - CROP, CROP);
        free(bytes);
        free(array);
        free(path);
    }
    image_resizer_free(resizer);
    image_decoder_free(decoder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pillow),   cmocka_unit_test(test_kernels), cmocka_unit_test(test_same_again),
        cmocka_unit_test(test_whole),    cmocka_unit_test(test_padding), cmocka_unit_test(test_strips),
        cmocka_unit_test(test_refusals), cmocka_unit_test(test_shared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
