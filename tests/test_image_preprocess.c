/* test_image_preprocess.c - the files that models come with, in the forms that they have had, and what is
 * refused. */
#include "image_preprocess.h"
#include "support.h"

#include <stdio.h>

enum { PATH_BYTES = 4096 };

static char folder[PATH_BYTES];

static int make_folder(void **state) {
    (void)state;
    const char *parent = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/magpie-preprocess-XXXXXX", parent ? parent : "/tmp");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
    (void)state;
    return rmdir(folder);
}

/* Where nothing is said. */
static const image_preprocess defaults = {{256, 224, IMAGE_BILINEAR}, {0.1f, 0.2f, 0.3f}, {0.4f, 0.5f, 0.6f}};

static magpie_status read_as(const char *name, const char *json, image_preprocess *out) {
    char *path = magpie_path_join(folder, name);
    assert_non_null(path);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(json, 1, strlen(json), file), strlen(json));
    assert_int_equal(fclose(file), 0);
    *out = defaults;
    magpie_status status = image_preprocess_read(folder, out);
    if (status != MAGPIE_OK && !strstr(magpie_error(), path)) fail_msg("%s: no %s", magpie_error(), path);
    assert_int_equal(unlink(path), 0);
    free(path);
    return status;
}

/* Not memcmp: there are bytes between the members. */
static void assert_defaults(const image_preprocess *p) {
    assert_int_equal(p->geometry.shortest, defaults.geometry.shortest);
    assert_int_equal(p->geometry.side, defaults.geometry.side);
    assert_int_equal(p->geometry.filter, defaults.geometry.filter);
    assert_memory_equal(p->mean, defaults.mean, sizeof p->mean);
    assert_memory_equal(p->std, defaults.std, sizeof p->std);
}

static const char transformers[] = "preprocessor_config.json", open_clip[] = "open_clip_config.json";

static void expect(const char *name, const char *json, size_t shortest, size_t side, image_filter filter) {
    image_preprocess read;
    if (read_as(name, json, &read) != MAGPIE_OK) fail_msg("%s: %s", json, magpie_error());
    if (read.geometry.shortest != shortest || read.geometry.side != side || read.geometry.filter != filter)
        fail_msg("%s: shortest %zu, side %zu, filter %d", json, read.geometry.shortest, read.geometry.side,
                 (int)read.geometry.filter);
}

/* ---- preprocessor_config.json ---- */

static void test_transformers(void **state) {
    (void)state;
    /* CLIP, as written first and as written now */
    expect(transformers,
           "{\"crop_size\":224,\"do_center_crop\":true,\"do_normalize\":true,\"do_resize\":true,"
           "\"feature_extractor_type\":\"CLIPFeatureExtractor\",\"resample\":3,\"size\":224}",
           224, 224, IMAGE_BICUBIC);
    expect(transformers,
           "{\"crop_size\":{\"height\":336,\"width\":336},\"do_center_crop\":true,\"do_convert_rgb\":true,"
           "\"do_rescale\":true,\"image_processor_type\":\"CLIPImageProcessor\",\"resample\":3,"
           "\"rescale_factor\":0.00392156862745098,\"size\":{\"shortest_edge\":336}}",
           336, 336, IMAGE_BICUBIC);
    /* DINOv2 */
    expect(transformers,
           "{\"crop_size\":{\"height\":224,\"width\":224},\"do_center_crop\":true,\"image_processor_type\":"
           "\"BitImageProcessor\",\"resample\":3,\"size\":{\"shortest_edge\":256}}",
           256, 224, IMAGE_BICUBIC);
    /* ResNet: 224 / 0.875 */
    expect(transformers,
           "{\"crop_pct\":0.875,\"do_resize\":true,\"feature_extractor_type\":\"ConvNextFeatureExtractor\","
           "\"resample\":3,\"size\":224}",
           256, 224, IMAGE_BICUBIC);
    expect(transformers,
           "{\"crop_pct\":null,\"image_processor_type\":\"ConvNextImageProcessor\",\"size\":{\"shortest_"
           "edge\":224}}",
           256, 224, IMAGE_BILINEAR);
    expect(transformers, "{\"crop_pct\":0.95,\"size\":{\"shortest_edge\":224}}", 235, 224, IMAGE_BILINEAR);
    expect(transformers, "{\"crop_pct\":0.95,\"size\":{\"shortest_edge\":384}}", 0, 384, IMAGE_BILINEAR);
    /* ViT and SigLIP: both sides */
    expect(
        transformers,
        "{\"do_resize\":true,\"feature_extractor_type\":\"ViTFeatureExtractor\",\"resample\":2,\"size\":224}",
        0, 224, IMAGE_BILINEAR);
    expect(transformers,
           "{\"image_processor_type\":\"SiglipImageProcessor\",\"resample\":3,\"size\":{\"height\":384,"
           "\"width\":384}}",
           0, 384, IMAGE_BICUBIC);
    expect(transformers,
           "{\"size\":{\"height\":224,\"width\":224},\"do_center_crop\":true,\"crop_size\":224}", 0, 224,
           IMAGE_BILINEAR);
    /* little or nothing */
    expect(transformers, "{}", 256, 224, IMAGE_BILINEAR);
    expect(transformers, "{\"size\":{\"shortest_edge\":300}}", 300, 224, IMAGE_BILINEAR);
    expect(transformers, "{\"crop_size\":200}", 256, 200, IMAGE_BILINEAR);
    expect(transformers, "{\"size\":null,\"resample\":null}", 256, 224, IMAGE_BILINEAR);
}

static void test_colours(void **state) {
    (void)state;
    image_preprocess read;
    assert_ok(
        read_as(transformers, "{\"image_mean\":[0.485,0.456,0.406],\"image_std\":[0.229,1,0.225]}", &read));
    assert_true(read.mean[0] == 0.485f && read.mean[1] == 0.456f && read.mean[2] == 0.406f);
    assert_true(read.std[0] == 0.229f && read.std[1] == 1 && read.std[2] == 0.225f);
    assert_ok(read_as(transformers, "{\"image_std\":[0.5,0.5,0.5]}", &read));
    assert_memory_equal(read.mean, defaults.mean, sizeof read.mean);
    assert_ok(read_as(transformers, "{\"do_normalize\":false,\"image_std\":[0.5,0.5,0.5]}", &read));
    for (size_t c = 0; c < 3; c++) assert_true(read.mean[c] == 0 && read.std[c] == 1);
}

static void test_refusals(void **state) {
    (void)state;
    static const struct {
        const char *json;
        magpie_status status;
        const char *words;
    } cases[] = {
        {"{\"resample\":1}", MAGPIE_E_UNSUPPORTED, "resample"},
        {"{\"resample\":\"bilinear\"}", MAGPIE_E_CORRUPT, "resample"},
        {"{\"do_resize\":false}", MAGPIE_E_UNSUPPORTED, "do_resize"},
        {"{\"do_rescale\":false}", MAGPIE_E_UNSUPPORTED, "do_rescale"},
        {"{\"do_rescale\":1}", MAGPIE_E_CORRUPT, "do_rescale"},
        {"{\"rescale_factor\":0.0078}", MAGPIE_E_UNSUPPORTED, "rescale_factor"},
        {"{\"do_pad\":true}", MAGPIE_E_UNSUPPORTED, "do_pad"},
        {"{\"do_flip_channel_order\":true}", MAGPIE_E_UNSUPPORTED, "do_flip_channel_order"},
        {"{\"do_center_crop\":false}", MAGPIE_E_UNSUPPORTED, "crop"},
        {"{\"do_center_crop\":false,\"size\":{\"shortest_edge\":224}}", MAGPIE_E_UNSUPPORTED, "rectangle"},
        {"{\"size\":{\"height\":224,\"width\":256}}", MAGPIE_E_UNSUPPORTED, "rectangle"},
        {"{\"size\":{\"longest_edge\":224}}", MAGPIE_E_UNSUPPORTED, "longest_edge"},
        {"{\"size\":{\"shortest_edge\":224,\"longest_edge\":400}}", MAGPIE_E_UNSUPPORTED, "longest_edge"},
        {"{\"size\":{\"height\":256,\"width\":256},\"crop_size\":224}", MAGPIE_E_UNSUPPORTED, "square"},
        {"{\"size\":0}", MAGPIE_E_CORRUPT, "size"},
        {"{\"size\":-1}", MAGPIE_E_CORRUPT, "size"},
        {"{\"size\":4097}", MAGPIE_E_CORRUPT, "4096"},
        {"{\"size\":224.5}", MAGPIE_E_CORRUPT, "size"},
        {"{\"size\":{}}", MAGPIE_E_CORRUPT, "size"},
        {"{\"size\":[1,2,3]}", MAGPIE_E_CORRUPT, "size"},
        {"{\"size\":\"224\"}", MAGPIE_E_CORRUPT, "size"},
        {"{\"crop_size\":{\"height\":224}}", MAGPIE_E_CORRUPT, "crop_size"},
        {"{\"crop_pct\":0}", MAGPIE_E_CORRUPT, "crop_pct"},
        {"{\"crop_pct\":1e-9,\"size\":224}", MAGPIE_E_CORRUPT, "crop_pct"},
        {"{\"crop_pct\":\"most\"}", MAGPIE_E_CORRUPT, "crop_pct"},
        {"{\"image_mean\":0.5}", MAGPIE_E_CORRUPT, "image_mean"},
        {"{\"image_mean\":[0.5,0.5]}", MAGPIE_E_CORRUPT, "image_mean"},
        {"{\"image_mean\":[0.5,0.5,\"\"]}", MAGPIE_E_CORRUPT, "image_mean"},
        {"{\"image_std\":[0.5,0,0.5]}", MAGPIE_E_CORRUPT, "image_std"},
        {"{\"image_processor_type\":7}", MAGPIE_E_CORRUPT, "image_processor_type"},
        {"[]", MAGPIE_E_CORRUPT, "object"},
        {"{", MAGPIE_E_CORRUPT, ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        image_preprocess read;
        magpie_status status = read_as(transformers, cases[i].json, &read);
        if (status != cases[i].status || !strstr(magpie_error(), cases[i].words))
            fail_msg("%s: %s: %s", cases[i].json, magpie_status_name(status), magpie_error());
        assert_defaults(&read); /* a failure changes nothing */
    }
}

/* ---- open_clip_config.json ---- */

static void test_open_clip(void **state) {
    (void)state;
    image_preprocess read;
    static const char usual[] = "{\"model_cfg\":{\"embed_dim\":512,\"vision_cfg\":{\"image_size\":240}},"
                                "\"preprocess_cfg\":{\"mean\":[0.5,0.25,0.75],\"std\":[0.5,0.5,0.5]}}";
    expect(open_clip, usual, 240, 240, IMAGE_BILINEAR);
    assert_ok(read_as(open_clip, usual, &read));
    assert_true(read.mean[0] == 0.5f && read.mean[1] == 0.25f && read.mean[2] == 0.75f &&
                read.std[2] == 0.5f);
    expect(
        open_clip,
        "{\"preprocess_cfg\":{\"size\":[256,256],\"interpolation\":\"bicubic\",\"resize_mode\":\"squash\"}}",
        0, 256, IMAGE_BICUBIC);
    expect(open_clip,
           "{\"preprocess_cfg\":{\"size\":224,\"interpolation\":\"bilinear\",\"resize_mode\":\"shortest\"}}",
           224, 224, IMAGE_BILINEAR);
    expect(open_clip, "{}", 256, 224, IMAGE_BILINEAR);
    static const char *const refused[] = {"{\"preprocess_cfg\":{\"interpolation\":\"random\"}}",
                                          "{\"preprocess_cfg\":{\"resize_mode\":\"longest\"}}",
                                          "{\"preprocess_cfg\":{\"size\":[224,256]}}"};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        assert_int_equal(read_as(open_clip, refused[i], &read), MAGPIE_E_UNSUPPORTED);
}

static void test_no_file(void **state) {
    (void)state;
    image_preprocess read = defaults;
    assert_ok(image_preprocess_read(folder, &read));
    assert_defaults(&read);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transformers), cmocka_unit_test(test_colours), cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_open_clip),    cmocka_unit_test(test_no_file),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
