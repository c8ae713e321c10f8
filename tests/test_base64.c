/* test_base64.c - base64 against vectors of RFC 4648 and of Python's base64 module, and back and forth. */
#include "support.h"


static const struct {
    const char *hex, *base64;
} vectors[] = {
    {"", ""}, /* RFC 4648, section 10 */
    {"66", "Zg=="},
    {"666f", "Zm8="},
    {"666f6f", "Zm9v"},
    {"666f6f62", "Zm9vYg=="},
    {"666f6f6261", "Zm9vYmE="},
    {"666f6f626172", "Zm9vYmFy"},
    {"fbff", "+/8="},
    {"9f", "nw=="},
    {"6441", "ZEE="},
    {"c0e5bd", "wOW9"},
    {"bcfbc85b", "vPvIWw=="},
    {"37ce91cbb0", "N86Ry7A="},
    {"ea6b44f130436dd729fe69bd9e8ceba6a07d1dec25b1b087efe26c07ff0d21d7db0b33777738a5c674d37ff1eac13f",
     "6mtE8TBDbdcp/mm9nozrpqB9HewlsbCH7+JsB/8NIdfbCzN3dzilxnTTf/HqwT8="},
    {"553223a63841460d3b6aa1e68d682728f610fb1c7fd92d5fa2e81478007152dea8651f3fce59796168e9338b87fe1a1a",
     "VTIjpjhBRg07aqHmjWgnKPYQ+xx/2S1fougUeABxUt6oZR8/zll5YWjpM4uH/hoa"},
};

static size_t from_hex(const char *hex, unsigned char *out) {
    size_t n = strlen(hex) / 2;
    for (size_t i = 0; i < n; i++) {
        unsigned value;
        assert_int_equal(sscanf(hex + 2 * i, "%2x", &value), 1);
        out[i] = (unsigned char)value;
    }
    return n;
}

static void known_vectors(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        unsigned char bytes[64], decoded[64];
        size_t n = from_hex(vectors[i].hex, bytes), size = 99, characters = strlen(vectors[i].base64);
        magpie_text text = {0};
        magpie_base64_encode(&text, bytes, n);
        assert_int_equal(text.size, characters);
        if (characters) assert_string_equal(text.data, vectors[i].base64);
        assert_true(magpie_base64_room(characters) >= n);
        assert_ok(magpie_base64_decode(string_of(vectors[i].base64), decoded, &size));
        assert_int_equal(size, n);
        assert_memory_equal(decoded, bytes, n);
        magpie_text_free(&text);
    }
}

/* Around the encoder's block too; the decoder's room is exact, so that a sanitizer sees a byte too many. */
static void back_and_forth(void **state) {
    (void)state;
    random_state dice = {17};
    const size_t sizes[] = {0, 1, 2, 3, 100, 3071, 3072, 3073, 3074, 100000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        unsigned char *bytes = malloc(sizes[i] + 1), *decoded;
        size_t size;
        magpie_text text = {0};
        assert_non_null(bytes);
        for (size_t k = 0; k < sizes[i]; k++) bytes[k] = (unsigned char)random_u64(&dice);
        magpie_text_printf(&text, "%s", i % 2 ? "DATA:image/png;x=y;base64," : "");
        magpie_base64_encode(&text, bytes, sizes[i]);
        assert_non_null(decoded = malloc(magpie_base64_room(text.size) + 1));
        assert_ok(magpie_base64_decode((magpie_string){text.data, text.size}, decoded, &size));
        assert_int_equal(size, sizes[i]);
        assert_memory_equal(decoded, bytes, size);
        free(bytes);
        free(decoded);
        magpie_text_free(&text);
    }
}

static void what_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *text, *words;
    } cases[] = {
        {"Zg", "2 characters"},
        {"Zg=", "3 characters"},
        {"Zm9vY", "5 characters"},
        {"Zm9v\n", "5 characters"},
        {"Zm9\n", "character 4"},
        {"Zm9v Zm9", "character 5"},
        {"-_8=", "character 1"},
        {"Z===", "character 2"},
        {"====", "character 1"},
        {"Zg==Zg==", "character 3"},
        {"Zh==", "bits that belong"},
        {"Zo==", "bits that belong"},
        {"Zm+=", "bits that belong"},
        {"Zm9=", "bits that belong"},
        {"Zm9\xc3", "character 4"},
        {"data:", "data: URL"},
        {"data:,abc", "data: URL"},
        {"data:image/png,Zm9v", "data: URL"},
        {"data:image/png;base64", "data: URL"},
        {"data:;base64,Zm9", "3 characters"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        unsigned char out[64];
        size_t size;
        magpie_status status = magpie_base64_decode(string_of(cases[i].text), out, &size);
        if (status != MAGPIE_E_INPUT || !strstr(magpie_error(), cases[i].words))
            fail_msg("%s: \"%s\", %s", cases[i].text, magpie_status_name(status), magpie_error());
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_vectors),
        cmocka_unit_test(back_and_forth),
        cmocka_unit_test(what_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
