/* test_safetensors.c - the reader of weights: what it reads, exactly, and every way in which it says no. */
#include "safetensors.h"

#include <math.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { PATH_BYTES = 4096 };

static char path[PATH_BYTES]; /* of the file that the test writes */

static int make_file(void **state) {
    (void)state;
    const char *parent = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/magpie-safetensors-XXXXXX", parent ? parent : "/tmp");
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int remove_file(void **state) {
    (void)state;
    return unlink(path);
}

static void write_raw(const void *bytes, size_t size) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

/* A file of this header and this data. */
static void write_tensors(const char *header, const void *data, size_t size) {
    magpie_text bytes = {0};
    uint64_t header_size = strlen(header);
    magpie_text_append(&bytes, &header_size, sizeof header_size);
    magpie_text_append(&bytes, header, strlen(header));
    if (size) magpie_text_append(&bytes, data, size);
    assert_int_equal(magpie_text_status(&bytes), MAGPIE_OK);
    write_raw(bytes.data, bytes.size);
    magpie_text_free(&bytes);
}

static safetensors *open_file(void) {
    safetensors *file = NULL;
    if (safetensors_open(path, &file) != MAGPIE_OK) fail_msg("%s", magpie_error());
    return file;
}

static void expect_failure(magpie_status expected, const char *words) {
    safetensors *file = NULL;
    magpie_status status = safetensors_open(path, &file);
    if (status != expected || !strstr(magpie_error(), words) || !strstr(magpie_error(), path))
        fail_msg("%s: %s; expected %s with \"%s\"", magpie_status_name(status), magpie_error(),
                 magpie_status_name(expected), words);
}

/* ---- what is read -------------------------------------------------------------------------------------- */

static void test_reads(void **state) {
    (void)state;
    struct {
        float f32[6];
        uint16_t f16[2], bf16[2];
        int64_t i64[1];
    } data = {{1, -2, 3.5f, 0, 1e-30f, 7}, {0x3C00, 0xC000}, {0x3F80, 0xC000}, {42}};
    /* not in order of offset, and padded with spaces as writers do */
    write_tensors("{\"__metadata__\":{\"format\":\"pt\"},\"z\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_"
                  "offsets\":[0,24]},"
                  "\"ids\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[32,40]},"
                  "\"none\":{\"dtype\":\"F32\",\"shape\":[3,0],\"data_offsets\":[32,32]},"
                  "\"b\":{\"dtype\":\"BF16\",\"shape\":[2],\"data_offsets\":[28,32]},"
                  "\"a\":{\"dtype\":\"F16\",\"shape\":[2,1],\"data_offsets\":[24,28]}}   ",
                  &data, sizeof data);
    safetensors *file = open_file();
    assert_string_equal(safetensors_path(file), path);
    assert_int_equal(safetensors_count(file), 5);
    static const char *const names[] = {"a", "b", "ids", "none", "z"};
    for (size_t i = 0; i < 5; i++) {
        assert_string_equal(safetensors_at(file, i)->name, names[i]);
        assert_ptr_equal(safetensors_find(file, names[i]), safetensors_at(file, i));
    }
    assert_null(safetensors_find(file, "__metadata__"));
    assert_null(safetensors_find(file, ""));

    const tensor *t;
    float out[6];
    size_t shape[] = {2, 3};
    assert_int_equal(safetensors_expect(file, "z", 2, shape, &t), MAGPIE_OK);
    assert_int_equal(t->elements, 6);
    tensor_read_f32(t, 0, 6, out);
    assert_memory_equal(out, data.f32, sizeof out);
    tensor_read_f32(t, 4, 2, out);
    assert_memory_equal(out, data.f32 + 4, 2 * sizeof *out);
    for (size_t i = 0; i < 2; i++) { /* both are {1, -2} */
        tensor_read_f32(safetensors_at(file, i), 0, 2, out);
        assert_true(out[0] == 1 && out[1] == -2);
        tensor_read_f32(safetensors_at(file, i), 1, 1, out);
        assert_true(out[0] == -2);
    }
    assert_int_equal(safetensors_find(file, "none")->elements, 0);
    assert_int_equal(safetensors_find(file, "ids")->elements, 1);
    assert_string_equal(safetensors_find(file, "ids")->dtype, "I64");
    safetensors_close(file);
    safetensors_close(NULL);
}

static void test_empty(void **state) {
    (void)state;
    write_tensors("{}", NULL, 0);
    safetensors *file = open_file();
    assert_int_equal(safetensors_count(file), 0);
    assert_null(safetensors_find(file, "x"));
    safetensors_close(file);
}

/* A dtype of the future is let through unread; one that is known but no float is counted by its size. */
static void test_other_types(void **state) {
    (void)state;
    write_tensors("{\"new\":{\"dtype\":\"F5_E3M1\",\"shape\":[7],\"data_offsets\":[0,5]},"
                  "\"four\":{\"dtype\":\"F4\",\"shape\":[6],\"data_offsets\":[5,8]}}",
                  "12345678", 8);
    safetensors *file = open_file();
    const tensor *t;
    size_t shape[] = {7};
    assert_int_equal(safetensors_find(file, "four")->type, TENSOR_OTHER);
    assert_int_equal(safetensors_expect(file, "new", 1, shape, &t), MAGPIE_E_UNSUPPORTED);
    assert_non_null(strstr(magpie_error(), "F5_E3M1"));
    safetensors_close(file);
}

static void test_expectations(void **state) {
    (void)state;
    write_tensors("{\"w\":{\"dtype\":\"F16\",\"shape\":[2,3],\"data_offsets\":[0,12]}}", "123456789012", 12);
    safetensors *file = open_file();
    const tensor *t;
    assert_int_equal(safetensors_expect(file, "v", 0, NULL, &t), MAGPIE_E_NOT_FOUND);
    assert_non_null(strstr(magpie_error(), "no tensor v"));
    assert_int_equal(safetensors_expect(file, "w", 2, (size_t[]){3, 2}, &t), MAGPIE_E_MISMATCH);
    assert_non_null(
        strstr(magpie_error(), "tensor w: its shape is [2, 3]; the configuration asks for [3, 2]"));
    assert_int_equal(safetensors_expect(file, "w", 1, (size_t[]){6}, &t), MAGPIE_E_MISMATCH);
    assert_int_equal(safetensors_expect(file, "w", 2, (size_t[]){2, 3}, &t), MAGPIE_OK);
    safetensors_close(file);
}

/* ---- widening: all 65,536 values against arithmetic ---------------------------------------------------- */

static float f16_by_formula(uint16_t half) {
    int exponent = half >> 10 & 31, fraction = half & 1023;
    double value = exponent == 31 ? (fraction ? (double)NAN : (double)INFINITY)
                   : exponent     ? ldexp(1024 + fraction, exponent - 25)
                                  : ldexp(fraction, -24);
    return (float)(half & 0x8000 ? -value : value);
}

static float bf16_by_formula(uint16_t half) {
    int exponent = half >> 7 & 255, fraction = half & 127;
    double value = exponent == 255 ? (fraction ? (double)NAN : (double)INFINITY)
                   : exponent      ? ldexp(128 + fraction, exponent - 134)
                                   : ldexp(fraction, -133);
    return (float)(half & 0x8000 ? -value : value);
}

static void check_widening(tensor_type type, float (*formula)(uint16_t)) {
    static uint16_t halves[1 << 16];
    static float wide[1 << 16];
    for (size_t i = 0; i < 1 << 16; i++) halves[i] = (uint16_t)i;
    tensor t = {.name = "all", .type = type, .elements = 1 << 16, .data = halves};
    tensor_read_f32(&t, 0, t.elements, wide);
    for (size_t i = 0; i < 1 << 16; i++) {
        float expected = formula((uint16_t)i);
        if (isnan(expected))
            assert_true(isnan(wide[i]));
        else
            assert_memory_equal(&wide[i], &expected, sizeof expected); /* of zero, the sign too */
    }
}

static void test_widening(void **state) {
    (void)state;
    check_widening(TENSOR_F16, f16_by_formula);
    check_widening(TENSOR_BF16, bf16_by_formula);
}

/* ---- what is refused ----------------------------------------------------------------------------------- */

static void test_bad_headers(void **state) {
    (void)state;
    static const struct {
        magpie_status status;
        const char *words, *header;
    } cases[] = {
        {MAGPIE_E_CORRUPT, "header, byte", ""},
        {MAGPIE_E_CORRUPT, "header, byte", "{\"a\":"},
        {MAGPIE_E_CORRUPT, "header, byte", "{}x"},
        {MAGPIE_E_CORRUPT, "header, byte", "{\"a\xFF\":1}"},
        {MAGPIE_E_CORRUPT, "header, byte", "{\"a\":1,\"a\":1}"},
        {MAGPIE_E_CORRUPT, "not a JSON object", "[]"},
        {MAGPIE_E_CORRUPT, "not a JSON object", " {}"},
        {MAGPIE_E_CORRUPT, "__metadata__", "{\"__metadata__\":7}"},
        {MAGPIE_E_CORRUPT, "__metadata__", "{\"__metadata__\":{\"a\":1}}"},
        {MAGPIE_E_CORRUPT, "no dtype", "{\"a\":7}"},
        {MAGPIE_E_CORRUPT, "no dtype", "{\"a\":{\"dtype\":8,\"shape\":[2],\"data_offsets\":[0,8]}}"},
        {MAGPIE_E_CORRUPT, "no shape", "{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}"},
        {MAGPIE_E_CORRUPT, "not a size", "{\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}"},
        {MAGPIE_E_CORRUPT, "not a size",
         "{\"a\":{\"dtype\":\"F32\",\"shape\":[2.0],\"data_offsets\":[0,8]}}"},
        {MAGPIE_E_CORRUPT, "overflows",
         "{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,8]}}"},
        {MAGPIE_E_CORRUPT, "overflows",
         "{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[0,8]}}"},
        {MAGPIE_E_UNSUPPORTED, "9 dimensions",
         "{\"a\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,1,8],\"data_offsets\":[0,8]}}"},
        {MAGPIE_E_CORRUPT, "[begin, end]", "{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}"},
        {MAGPIE_E_CORRUPT, "[begin, end]", "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]}}"},
        {MAGPIE_E_CORRUPT, "[begin, end]",
         "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}"},
        {MAGPIE_E_CORRUPT, "[begin, end]",
         "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[-8,0]}}"},
        {MAGPIE_E_CORRUPT, "byte 12 of 8",
         "{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,12]}}"},
        {MAGPIE_E_CORRUPT, "do not fill", "{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}"},
        {MAGPIE_E_CORRUPT, "do not fill", "{\"a\":{\"dtype\":\"F4\",\"shape\":[15],\"data_offsets\":[0,8]}}"},
        {MAGPIE_E_CORRUPT, "end at byte 4",
         "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}"},
        {MAGPIE_E_CORRUPT, "end at byte 0", "{}"},
        {MAGPIE_E_CORRUPT, "tensor a: there is a hole",
         "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}"},
        {MAGPIE_E_CORRUPT, "tensor b: it overlaps",
         "{\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]},"
         "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}"},
        {MAGPIE_E_CORRUPT, "it overlaps",
         "{\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
         "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_tensors(cases[i].header, "12345678", 8);
        expect_failure(cases[i].status, cases[i].words);
    }
}

static void test_bad_sizes(void **state) {
    (void)state;
    write_raw("", 0);
    expect_failure(MAGPIE_E_CORRUPT, "0 bytes are too few");
    write_raw("1234567", 7);
    expect_failure(MAGPIE_E_CORRUPT, "7 bytes are too few");
    write_raw("\3\0\0\0\0\0\0\0{}", 10);
    expect_failure(MAGPIE_E_CORRUPT, "header of 3 bytes in a file of 10");
    write_raw("\1\xE1\xF5\5\0\0\0\0{}", 10); /* 100,000,001 */
    expect_failure(MAGPIE_E_TOO_LARGE, "100000001 bytes");
    write_raw("\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF{}", 10);
    expect_failure(MAGPIE_E_TOO_LARGE, "the limit is");
    safetensors *file;
    assert_int_equal(safetensors_open("/nowhere/at/all", &file), MAGPIE_E_NOT_FOUND);
}

/* ---- fingerprints -------------------------------------------------------------------------------------- */

static uint64_t fingerprint_of(const char *header, const void *data, size_t size) {
    write_tensors(header, data, size);
    safetensors *file = open_file();
    uint64_t fingerprint = safetensors_fingerprint(file);
    safetensors_close(file);
    return fingerprint;
}

/* Of data that is hashed whole every bit counts; of more, the first and the last byte do. */
static void test_fingerprint(void **state) {
    (void)state;
    enum { LARGE = 3 << 20 };
    const char *small = "{\"a\":{\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[0,8]}}";
    const char *large = "{\"a\":{\"dtype\":\"U8\",\"shape\":[3145728],\"data_offsets\":[0,3145728]}}";
    uint64_t first = fingerprint_of(small, "12345678", 8);
    assert_true(first == fingerprint_of(small, "12345678", 8));
    assert_true(first != fingerprint_of(small, "12345677", 8));
    assert_true(first != fingerprint_of("{\"b\":{\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[0,8]}}",
                                        "12345678", 8));
    unsigned char *data = calloc(1, LARGE);
    assert_non_null(data);
    first = fingerprint_of(large, data, LARGE);
    data[LARGE - 1] = 1;
    uint64_t second = fingerprint_of(large, data, LARGE);
    data[0] = 1;
    assert_true(first != second && second != fingerprint_of(large, data, LARGE));
    free(data);
}

/* ---- a real model -------------------------------------------------------------------------------------- */

/* Columns of one table as two tensors, in f32 and in f16: rows lie apart in memory and together in the file. */
static void test_writes_rows_apart(void **state) {
    (void)state;
    float table[3][5], out[6];
    uint64_t fingerprint;
    for (size_t i = 0; i < 15; i++) table[i / 5][i % 5] = (float)i;
    const tensor_values tensors[] = {{"left", 3, 2, table[0], 5}, {"last", 3, 0, table[0] + 4, 5}};
    for (int half = 0; half < 2; half++) {
        assert_int_equal(safetensors_write(path, tensors, 2, half, &fingerprint), MAGPIE_OK);
        safetensors *file = open_file();
        const tensor *left = safetensors_find(file, "left"), *last = safetensors_find(file, "last");
        assert_true(left->elements == 6 && left->rank == 2 && last->elements == 3 && last->rank == 1);
        tensor_read_f32(left, 0, 6, out);
        for (size_t i = 0; i < 6; i++) assert_true(out[i] == table[i / 2][i % 2]);
        tensor_read_f32(last, 0, 3, out);
        for (size_t i = 0; i < 3; i++) assert_true(out[i] == table[i][4]);
        safetensors_close(file);
    }
    table[2][2] = NAN; /* between them: nobody's */
    assert_int_equal(safetensors_write(path, tensors, 2, false, &fingerprint), MAGPIE_OK);
    table[2][4] = NAN;
    assert_int_equal(safetensors_write(path, tensors, 2, false, &fingerprint), MAGPIE_E_INPUT);
}

static void test_model(void **state) {
    (void)state;
    char model[PATH_BYTES];
    const char *given = getenv("MAGPIE_MODEL_DIR"), *home = getenv("HOME");
    snprintf(model, sizeof model, "%s/model.safetensors", given ? given : "");
    if (!magpie_path_exists(model))
        snprintf(model, sizeof model, "%s/.cache/magpie/models/all-MiniLM-L6-v2/model.safetensors",
                 home ? home : "");
    if (!magpie_path_exists(model)) {
        print_message("skipped: no model in MAGPIE_MODEL_DIR, nor %s\n", model);
        skip();
    }
    safetensors *file;
    const tensor *t;
    if (safetensors_open(model, &file) != MAGPIE_OK) fail_msg("%s", magpie_error());
    assert_int_equal(
        safetensors_expect(file, "embeddings.word_embeddings.weight", 2, (size_t[]){30522, 384}, &t),
        MAGPIE_OK);
    float row[384];
    double sum = 0;
    tensor_read_f32(t, 384 * 30521, 384, row);
    for (size_t i = 0; i < 384; i++) sum += (double)row[i] * row[i];
    assert_true(isfinite(sum) && sum > 0);
    assert_true(safetensors_fingerprint(file) == safetensors_fingerprint(file));
    safetensors_close(file);
}

#define WITH_FILE(test) cmocka_unit_test_setup_teardown(test, make_file, remove_file)

int main(void) {
    const struct CMUnitTest tests[] = {
        WITH_FILE(test_reads),        WITH_FILE(test_empty),           WITH_FILE(test_other_types),
        WITH_FILE(test_expectations), cmocka_unit_test(test_widening), WITH_FILE(test_bad_headers),
        WITH_FILE(test_bad_sizes),    WITH_FILE(test_fingerprint),     WITH_FILE(test_writes_rows_apart),
        cmocka_unit_test(test_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
