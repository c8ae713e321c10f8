/* test_seeded_sounds.c - the sounds of seeded_sounds.h are, to the bit, those that seeded.py made golden
 * values of: the files of values have their hashes. And a WAV file of one is what the format says. */
#include "golden_images.h"
#include "test_sounds.h"

static void check_sounds(const char *file) {
    char path[512];
    snprintf(path, sizeof path, "%s/tests/golden/%s", MAGPIE_SOURCE_DIR, file);
    json_t *golden = json_load_file(path, 0, NULL);
    const json_t *sounds = json_object_get(golden, "sounds");
    assert_true(json_array_size(sounds) > 0);
    for (size_t i = 0; i < json_array_size(sounds); i++) {
        const json_t *sound = json_array_get(sounds, i);
        const char *name = json_string_value(json_object_get(sound, "name"));
        size_t count = (size_t)json_integer_value(json_object_get(sound, "samples"));
        int16_t *samples = malloc(count * sizeof *samples);
        assert_non_null(samples);
        seeded_sound(name, samples, count);
        char hash[17];
        snprintf(hash, sizeof hash, "%016llx",
                 (unsigned long long)fnv1a((const uint8_t *)samples, count * sizeof *samples));
        if (strcmp(hash, json_string_value(json_object_get(sound, "fnv1a64"))) != 0)
            fail_msg("%s: \"%s\" is another sound here", file, name);
        free(samples);
    }
    json_decref(golden);
}

static void same_as_in_python(void **state) {
    (void)state;
    check_sounds("musicnn.json");
    check_sounds("spectrograms.json");
}

static void shorter_is_a_start(void **state) {
    (void)state;
    static const char *const names[] = {"pluck", "drums", "noise", "click"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        int16_t all[9000], some[4321];
        seeded_sound(names[i], all, sizeof all / sizeof *all);
        seeded_sound(names[i], some, sizeof some / sizeof *some);
        assert_memory_equal(all, some, sizeof some);
    }
}

static void wav(void **state) {
    (void)state;
    static const unsigned char wanted[] =
        "RIFF\x2a\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x44\xac\0\0\x88\x58\x01\0\x02\0"
        "\x10\0data\x06\0\0\0\0\0\x01\x80\xff\x7f";
    const int16_t samples[] = {0, -32767, 32767};
    char path[] = "/tmp/magpie-wav-XXXXXX";
    int file = mkstemp(path);
    assert_true(file >= 0);
    close(file);
    write_wav(path, samples, 3, 44100);
    char *bytes;
    size_t size;
    assert_ok(magpie_file_read(path, 1 << 20, &bytes, &size));
    assert_int_equal(size, sizeof wanted - 1);
    assert_memory_equal(bytes, wanted, size);
    free(bytes);
    unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(same_as_in_python),
                                       cmocka_unit_test(shorter_is_a_start), cmocka_unit_test(wav)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
