/* test_gpu_resize.c - pictures of any sizes, resized and normalised by kernels/resize.cl, are those of
 * image_resize's reference to the byte, in each precision, on every device of test_gpu.h.
 * MAGPIE_KERNEL_CHECKS: how many batches (60; some seconds by PoCL). */
#include "test_gpu.h"

#include "device/ops_gpu.h"
#include "image_resize.h"

#include <math.h>

enum { MOST = 5 /* pictures in a batch */, PADDED = 8 /* channels */, GUARD = 64, POISON = 0xff };

/* ---- numbers as they are stored ---- */

static float from_f16(uint16_t bits) {
    const int exponent = bits >> 10 & 31, fraction = bits & 1023;
    const float value =
        exponent ? ldexpf((float)(1024 + fraction), exponent - 25) : ldexpf((float)fraction, -24);
    return bits >> 15 ? -value : value;
}

static float stored(magpie_precision precision, const unsigned char *bytes, size_t i) {
    float value;
    uint32_t wide;
    uint16_t narrow;
    if (precision == MAGPIE_PRECISION_F32) return memcpy(&value, bytes + 4 * i, 4), value;
    memcpy(&narrow, bytes + 2 * i, 2);
    if (precision == MAGPIE_PRECISION_F16) return from_f16(narrow);
    wide = (uint32_t)narrow << 16;
    return memcpy(&value, &wide, 4), value;
}

/* What is lost by storing. */
static double step_of(magpie_precision precision) {
    return precision == MAGPIE_PRECISION_F32 ? 0 : precision == MAGPIE_PRECISION_BF16 ? 0x1p-8 : 0x1p-11;
}

/* ---- a batch ---- */

typedef struct batch {
    image_geometry geometry;
    size_t images;
    image_pixels pictures[MOST];
    image_packed packed[MOST];
    uint8_t *wanted; /* [images, side, side, 3] */
    float mean[3], std[3];
} batch;

/* Noise or extremes; small, or large beside the square, or a strip. */
static image_pixels random_picture(random_state *dice) {
    const size_t limit = random_below(dice, 4) ? 60 : 500;
    image_pixels picture = {.width = 1 + random_below(dice, limit), .height = 1 + random_below(dice, limit)};
    if (random_below(dice, 8) == 0) picture.width = 1 + random_below(dice, 3);
    if (random_below(dice, 8) == 0) picture.height = 1 + random_below(dice, 3);
    const bool extremes = random_below(dice, 2);
    uint8_t *bytes = malloc(picture.width * picture.height * 3);
    assert_non_null(bytes);
    for (size_t i = 0; i < picture.width * picture.height * 3; i++)
        bytes[i] = extremes ? (uint8_t)(0 - random_below(dice, 2)) : (uint8_t)random_u64(dice);
    picture.data = bytes;
    return picture;
}

static void make_batch(random_state *dice, image_resizer *resizer, batch *b) {
    const size_t side = 1 + random_below(dice, 70), square = side * side * 3;
    *b = (batch){.images = random_below(dice, MOST + 1)};
    b->geometry = (image_geometry){random_below(dice, 3) ? 1 + random_below(dice, 90) : 0, side,
                                   random_below(dice, 2) ? IMAGE_BICUBIC : IMAGE_BILINEAR};
    for (int c = 0; c < 3; c++) {
        b->mean[c] = (float)random_unit(dice);
        b->std[c] = 0.1f + (float)random_unit(dice);
    }
    b->wanted = malloc(b->images * square + 1);
    assert_non_null(b->wanted);
    for (size_t i = 0; i < b->images; i++) {
        b->pictures[i] = random_picture(dice);
        assert_ok(image_resize_reference(&b->pictures[i], &b->geometry, b->wanted + i * square));
        assert_ok(image_pack(resizer, &b->pictures[i], &b->geometry, &b->packed[i]));
    }
}

static void free_batch(batch *b) {
    for (size_t i = 0; i < b->images; i++) {
        free((void *)(uintptr_t)b->pictures[i].data);
        image_packed_free(&b->packed[i]);
    }
    free(b->wanted);
}

static void check_batch(const batch *b, magpie_precision precision, const unsigned char *map, size_t bytes,
                        size_t check) {
    const size_t places = b->images * b->geometry.side * b->geometry.side,
                 used = places * PADDED * gpu_stream_bytes(precision);
    for (size_t i = 0; i < places * PADDED; i++) {
        const size_t c = i % PADDED;
        const float got = stored(precision, map, i);
        const double wanted =
            c < 3 ? ((double)b->wanted[i / PADDED * 3 + c] / 255 - (double)b->mean[c]) / (double)b->std[c]
                  : 0;
        if (!(fabs((double)got - wanted) <= step_of(precision) * fabs(wanted) + (c < 3 ? 1e-5 : 0)))
            fail_msg(
                "%s, check %zu: %zu pictures to %zu, crop %zu, filter %d: element %zu: %.9g instead of %.9g",
                magpie_precision_name(precision), check, b->images, b->geometry.shortest, b->geometry.side,
                (int)b->geometry.filter, i, (double)got, wanted);
    }
    for (size_t i = used; i < bytes; i++)
        if (map[i] != POISON) fail_msg("check %zu: byte %zu behind the map was written", check, i - used);
}

static void run_check(ops_device *device, ops_lane *lane, image_resizer *resizer, random_state *dice,
                      size_t check) {
    batch b;
    ops_map y;
    make_batch(dice, resizer, &b);
    const size_t elements = b.images * b.geometry.side * b.geometry.side * PADDED + GUARD,
                 bytes = elements * gpu_stream_bytes(device->precision);
    unsigned char *map = malloc(bytes);
    assert_non_null(map);
    assert_ok(device->table->map_create(lane, elements, &y));
    assert_ok(device->driver->fill(lane->queue, ops_gpu_buffer(y.handle), POISON));
    assert_ok(device->table->pictures_load(lane, b.packed, b.images, b.geometry.side, b.mean, b.std, &y));
    assert_int_equal(y.channels, 3);
    assert_true(y.height == b.geometry.side && y.width == b.geometry.side);
    assert_ok(device->driver->read(lane->queue, ops_gpu_buffer(y.handle), 0, map, bytes));
    check_batch(&b, device->precision, map, bytes, check);
    free(map);
    free_batch(&b);
}

static void is_the_reference(void **state) {
    (void)state;
    static const magpie_precision precisions[] = {MAGPIE_PRECISION_F32, MAGPIE_PRECISION_BF16,
                                                  MAGPIE_PRECISION_F16};
    const size_t devices = need_gpu(), checks = test_gpu_checks(60);
    image_resizer *resizer;
    assert_ok(image_resizer_create(&resizer));
    for (size_t k = 0; k < 3 * devices; k++) {
        enum { A_LANE = 64 /* checks: its memory only grows */ };
        random_state dice = {23};
        ops_device *device;
        ops_lane *lane = NULL;
        magpie_device which = {tested_gpu(), k / 3};
        const ops_table *ops;
        assert_ok(ops_open(&which, precisions[k % 3], &ops, &device));
        for (size_t check = 0; check < checks; check++) {
            if (check % A_LANE == 0) {
                ops->lane_free(lane);
                assert_ok(ops->lane_create(device, 1, &lane));
            }
            run_check(device, lane, resizer, &dice, check);
        }
        ops->lane_free(lane);
        ops->device_free(device);
    }
    image_resizer_free(resizer);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(is_the_reference)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
