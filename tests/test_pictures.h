/* test_pictures.h - pictures and an image model out of nothing: small PNGs of one's own colour, and a folder
 * of a small residual network with seeded weights. */
#ifndef TEST_PICTURES_H
#define TEST_PICTURES_H

#include "crc32.h"
#include "encoders.h"
#include "seeded_model.h"

#include <sys/stat.h>

enum { PICTURE_SIDE = 8 };

/* ---- PNG ---- */

static inline void put_big_endian(unsigned char *at, uint32_t value) {
    for (int i = 0; i < 4; i++) at[i] = (unsigned char)(value >> (24 - 8 * i));
}

static inline void write_chunk(FILE *file, const char type[4], const unsigned char *data, size_t size) {
    unsigned char bytes[1024];
    assert_true(size + 12 <= sizeof bytes);
    put_big_endian(bytes, (uint32_t)size);
    memcpy(bytes + 4, type, 4);
    if (size) memcpy(bytes + 8, data, size);
    put_big_endian(bytes + 8 + size, crc32_of(bytes + 4, size + 4));
    assert_int_equal(fwrite(bytes, 1, size + 12, file), size + 12);
}

/* An RGB picture of PICTURE_SIDE pixels a side; each seed has its own. The pixels are stored, not
 * compressed. */
static inline void write_picture(const char *path, unsigned seed) {
    enum { ROW = 1 + 3 * PICTURE_SIDE, RAW = PICTURE_SIDE * ROW };
    unsigned char header[13] = {0}, data[7 + RAW + 4] = {0x78, 0x01, 1};
    uint32_t a = 1, b = 0; /* Adler-32 */
    random_state r = {seed};
    put_big_endian(header, PICTURE_SIDE);
    put_big_endian(header + 4, PICTURE_SIDE);
    header[8] = 8, header[9] = 2; /* bits a sample, RGB */
    data[3] = RAW & 0xFF, data[4] = RAW >> 8, data[5] = (unsigned char)~data[3],
    data[6] = (unsigned char)~data[4];
    for (size_t i = 0; i < RAW; i++) {
        data[7 + i] = i % ROW ? (unsigned char)random_below(&r, 256) : 0;
        a = (a + data[7 + i]) % 65521;
        b = (b + a) % 65521;
    }
    put_big_endian(data + 7 + RAW, b << 16 | a);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite("\x89PNG\r\n\x1a\n", 1, 8, file), 8);
    write_chunk(file, "IHDR", header, sizeof header);
    write_chunk(file, "IDAT", data, sizeof data);
    write_chunk(file, "IEND", NULL, 0);
    assert_int_equal(fclose(file), 0);
}

/* ---- a model ---- */

/* Makes `folder` with the model `name` of tests/golden/image_features.json in it; each seed has its own weights. */
static inline void write_seeded_model(const char *folder, const char *name, unsigned seed) {
    json_t *entry = seeded_entry(name);
    seeded_write_as(folder, entry, seed);
    json_decref(entry);
}

/* The smallest there is: a CIFAR ResNet-20. */
static inline void write_image_model(const char *folder, unsigned seed) {
    write_seeded_model(folder, "cifar-resnet20", seed);
}

static inline magpie_image_encoder *open_image_model(const char *folder) {
    magpie_image_encoder *encoder;
    const magpie_encoder_options options = {.precision = MAGPIE_PRECISION_F32, .threads = 2};
    assert_ok(magpie_image_encoder_open(folder, &options, &encoder));
    return encoder;
}

#endif
