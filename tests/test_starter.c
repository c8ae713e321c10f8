/* test_starter.c - the starter encoders give what the code that trained them gives, and what they come with
 * is whole: weights of their own, and within what a repository should hold. */
#include "support.h"

#include "encoders.h"
#include "golden_vectors.h"
#include "seeded_sounds.h"

#define STARTER MAGPIE_SOURCE_DIR "/starter"

/* The framework's own f32 is within 1e-6 of its f64. */
#define F32_TOLERANCE 2e-5

static json_t *golden; /* starter_features.json */

static void test_image(void **state) {
    (void)state;
    const magpie_encoder_options options = {.precision = MAGPIE_PRECISION_F32, .raw = true};
    const json_t *wanted = json_object_get(golden, "image");
    magpie_image_encoder *encoder;
    assert_ok(magpie_image_encoder_open(STARTER "/image", &options, &encoder));
    const magpie_image_encoder_info *info = magpie_image_encoder_get_info(encoder);
    size_t side = info->input_size;
    uint8_t *pixels = malloc(SEEDED_PICTURES * side * side * 3);
    float *out = malloc(SEEDED_PICTURES * info->dimension * sizeof *out);
    assert_true(pixels && out);
    seeded_pictures(pixels, side);
    assert_int_equal(json_array_size(wanted), SEEDED_PICTURES);
    assert_ok(magpie_image_encoder_encode_pixels(encoder, pixels, SEEDED_PICTURES, out));
    for (size_t i = 0; i < SEEDED_PICTURES; i++)
        check_vector("picture", i, json_array_get(wanted, i), out + i * info->dimension, info->dimension,
                     F32_TOLERANCE);
    free(pixels);
    free(out);
    magpie_image_encoder_close(encoder);
}

static void test_audio(void **state) {
    (void)state;
    const magpie_encoder_options options = {.precision = MAGPIE_PRECISION_F32, .raw = true};
    const json_t *entry;
    size_t i;
    magpie_audio_encoder *encoder;
    assert_ok(magpie_audio_encoder_open(STARTER "/audio", &options, &encoder));
    size_t dimension = magpie_audio_encoder_get_info(encoder)->dimension;
    float *out = malloc(dimension * sizeof *out);
    assert_non_null(out);
    json_array_foreach(json_object_get(golden, "audio"), i, entry) {
        size_t count = (size_t)json_integer_value(json_object_get(entry, "samples"));
        float *samples = seeded_sound_samples(json_string_value(json_object_get(entry, "sound")), count);
        assert_ok(magpie_audio_encoder_encode_samples(encoder, samples, count, out));
        check_vector("sound", i, entry, out, dimension, F32_TOLERANCE);
        free(samples);
    }
    assert_int_equal(i, 2);
    free(out);
    magpie_audio_encoder_close(encoder);
}

/* The heads were trained on these encoders, and take texts too. */
static void test_fusion(void **state) {
    (void)state;
    magpie_fusion *fusion;
    magpie_image_encoder *image;
    magpie_audio_encoder *audio;
    assert_ok(magpie_fusion_open(STARTER "/fusion", &fusion));
    assert_ok(magpie_image_encoder_open(STARTER "/image", NULL, &image));
    assert_ok(magpie_audio_encoder_open(STARTER "/audio", NULL, &audio));
    const magpie_image_encoder_info *i = magpie_image_encoder_get_info(image);
    const magpie_audio_encoder_info *a = magpie_audio_encoder_get_info(audio);
    assert_ok(
        magpie_fusion_check(fusion, MAGPIE_IMAGE, &(magpie_modality_source){i->dimension, i->fingerprint}));
    assert_ok(
        magpie_fusion_check(fusion, MAGPIE_AUDIO, &(magpie_modality_source){a->dimension, a->fingerprint}));
    const magpie_fusion_info *info = magpie_fusion_get_info(fusion);
    assert_non_null(info->kind[MAGPIE_TEXT]);
    for (magpie_modality m = 0; m < MAGPIE_MODALITIES; m++) assert_true(info->weights[m] > 0);
    magpie_fusion_close(fusion);
    magpie_image_encoder_close(image);
    magpie_audio_encoder_close(audio);
}

static void test_size(void **state) {
    (void)state;
    enum { BYTES_MOST = 30 << 20 };
    const char *const files[] = {STARTER "/image/model.safetensors", STARTER "/audio/model.safetensors",
                                 STARTER "/fusion/model.safetensors"};
    size_t bytes = 0;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        struct stat about;
        assert_int_equal(stat(files[i], &about), 0);
        bytes += (size_t)about.st_size;
    }
    assert_in_range(bytes, 1 << 20, BYTES_MOST);
}

int main(void) {
    golden = json_load_file(MAGPIE_SOURCE_DIR "/tests/golden/starter_features.json", 0, NULL);
    if (!golden) return 1;
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_image), cmocka_unit_test(test_audio),
                                       cmocka_unit_test(test_fusion), cmocka_unit_test(test_size)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    json_decref(golden);
    return failed;
}
