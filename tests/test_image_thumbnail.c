/* test_image_thumbnail.c - a thumbnail is the picture made small: its size, its pixels, and refusals. */
#include "golden_images.h"
#include "image_decode.h"
#include "image_resize.h"

#include <turbojpeg.h>

enum { SIZES = 9 };

static const struct {
    size_t width, height, longest, to_width, to_height;
} sizes[SIZES] = {{480, 360, 240, 240, 180}, {360, 480, 240, 180, 240}, {240, 240, 240, 240, 240},
                  {241, 17, 240, 240, 17},   {8, 5, 240, 8, 5},         {3000, 1, 240, 240, 1},
                  {1, 3000, 240, 1, 240},    {700, 500, 1, 1, 1},       {1999, 1501, 100, 100, 75}};

/* A JPEG of slopes, which survives its compression nearly as it is; to be freed with tjFree. */
static magpie_string slopes(size_t width, size_t height) {
    uint8_t *pixels = malloc(width * height * 3);
    unsigned char *jpeg = NULL;
    unsigned long size = 0;
    assert_non_null(pixels);
    for (size_t y = 0; y < height; y++)
        for (size_t x = 0; x < width; x++) {
            uint8_t *p = pixels + (y * width + x) * 3;
            p[0] = (uint8_t)(255 * x / width);
            p[1] = (uint8_t)(255 * y / height);
            p[2] = (uint8_t)(255 - 255 * x / width);
        }
    tjhandle turbo = tjInitCompress();
    assert_int_equal(
        tjCompress2(turbo, pixels, (int)width, 0, (int)height, TJPF_RGB, &jpeg, &size, TJSAMP_444, 98, 0), 0);
    tjDestroy(turbo);
    free(pixels);
    return (magpie_string){(char *)jpeg, size};
}

/* How far the thumbnail is from `image`, decoded in full and resized: the mean over all bytes. */
static double distance(magpie_string image, const magpie_thumbnail *thumbnail) {
    image_decoder *one, *other;
    image_resizer *resizer;
    image_pixels whole, small;
    double sum = 0;
    size_t bytes = thumbnail->width * thumbnail->height * 3;
    uint8_t *expected = malloc(bytes);
    assert_non_null(expected);
    assert_ok(image_decoder_create(&one));
    assert_ok(image_decoder_create(&other));
    assert_ok(image_resizer_create(&resizer));
    assert_ok(image_decode(one, image, 0, &whole));
    assert_ok(image_decode(other, (magpie_string){(char *)thumbnail->bytes, thumbnail->size}, 0, &small));
    assert_int_equal(small.width, thumbnail->width);
    assert_int_equal(small.height, thumbnail->height);
    assert_ok(
        image_resize_whole(resizer, &whole, IMAGE_BICUBIC, thumbnail->width, thumbnail->height, expected));
    for (size_t i = 0; i < bytes; i++) sum += abs(expected[i] - small.data[i]);
    image_resizer_free(resizer);
    image_decoder_free(other);
    image_decoder_free(one);
    free(expected);
    return sum / (double)bytes;
}

static void test_sizes(void **state) {
    (void)state;
    for (size_t i = 0; i < SIZES; i++) {
        magpie_string image = slopes(sizes[i].width, sizes[i].height);
        magpie_thumbnail thumbnail;
        assert_ok(magpie_image_thumbnail(&(magpie_media){.bytes = image}, sizes[i].longest, &thumbnail));
        assert_int_equal(thumbnail.width, sizes[i].to_width);
        assert_int_equal(thumbnail.height, sizes[i].to_height);
        double mean = distance(image, &thumbnail);
        if (mean > 3)
            fail_msg("%zu x %zu: %.2f from what it should be", sizes[i].width, sizes[i].height, mean);
        free(thumbnail.bytes);
        tjFree((unsigned char *)(uintptr_t)image.data);
    }
}

/* All golden pictures, turned ones and greyscale and 16 bits: the thumbnail is of what the decoder sees. */
static void test_kinds(void **state) {
    (void)state;
    json_t *list = golden_images("pictures");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *entry = json_array_get(list, i);
        magpie_string file = from_base64(golden_string(entry, 1));
        size_t width = golden_size(entry, 2), height = golden_size(entry, 3);
        magpie_thumbnail thumbnail, again;
        assert_ok(magpie_image_thumbnail(&(magpie_media){.bytes = file}, MAGPIE_THUMBNAIL_MAX, &thumbnail));
        assert_int_equal(thumbnail.width, width);
        assert_int_equal(thumbnail.height, height);
        assert_ok(magpie_image_thumbnail(&(magpie_media){.bytes = file}, MAGPIE_THUMBNAIL_MAX, &again));
        assert_int_equal(again.size, thumbnail.size);
        assert_memory_equal(again.bytes, thumbnail.bytes, again.size);
        free(again.bytes);
        free(thumbnail.bytes);
        free((char *)(uintptr_t)file.data);
    }
    json_decref(list);
}

static void test_refusals(void **state) {
    (void)state;
    magpie_string image = slopes(50, 40);
    magpie_thumbnail thumbnail;
    for (size_t size = 0; size < image.size; size += 97) {
        memset(&thumbnail, 0xAA, sizeof thumbnail);
        const magpie_media cut = {.bytes = {image.data, size}};
        assert_int_equal(magpie_image_thumbnail(&cut, 30, &thumbnail), MAGPIE_E_INPUT);
        assert_null(thumbnail.bytes);
    }
    const magpie_media whole = {.bytes = image}, none = {.path = "/none/picture.png"};
    assert_int_equal(magpie_image_thumbnail(&whole, 0, &thumbnail), MAGPIE_E_ARGUMENT);
    assert_int_equal(magpie_image_thumbnail(&whole, MAGPIE_THUMBNAIL_MAX + 1, &thumbnail), MAGPIE_E_ARGUMENT);
    assert_int_equal(magpie_image_thumbnail(&none, 30, &thumbnail), MAGPIE_E_NOT_FOUND);
    assert_non_null(strstr(magpie_error(), "/none/picture.png"));
    tjFree((unsigned char *)(uintptr_t)image.data);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
