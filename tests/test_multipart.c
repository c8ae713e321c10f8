/* test_multipart.c - bodies that were put together out of known parts come apart into them; what is cut or
 * mangled is refused with its place. */
#include "support.h"

#include "multipart.h"

static void append(magpie_text *out, magpie_string s) { magpie_text_append(out, s.data, s.size); }

static void assert_string(magpie_string got, magpie_string wanted) {
    assert_int_equal(got.data != NULL, wanted.data != NULL);
    assert_int_equal(got.size, wanted.size);
    if (wanted.size) assert_memory_equal(got.data, wanted.data, wanted.size);
}

/* Bytes that look like what lies between parts. */
static magpie_string random_bytes(random_state *dice, char *memory, size_t most) {
    static const char bytes[] = "\r\n--b0:\"\\;= x";
    size_t size = random_below(dice, most + 1);
    for (size_t i = 0; i < size; i++) {
        uint64_t r = random_u64(dice);
        memory[i] = r % 4 ? bytes[(r >> 8) % (sizeof bytes - 1)] : (char)(r >> 8);
    }
    return (magpie_string){memory, size};
}

static void append_part(magpie_text *body, const http_part *part) {
    magpie_text_printf(body, "--b0undary\r\ncontent-DISPOSITION:form-data; NAME=\"");
    append(body, part->name);
    if (part->filename.data) magpie_text_printf(body, "\"; x=y ;filename=\"%s", part->filename.data);
    magpie_text_printf(body, "\"\r\nX-Other: 1\r\n");
    if (part->type.data) magpie_text_printf(body, "Content-Type: \t%s \r\n", part->type.data);
    magpie_text_printf(body, "\r\n");
    append(body, part->bytes);
    magpie_text_printf(body, "\r\n");
}

static void parts_come_back(void **state) {
    (void)state;
    enum { ROUNDS = 2000, PARTS = 5, BYTES = 60 };
    random_state dice = {3};
    for (size_t round = 0; round < ROUNDS; round++) {
        char memory[PARTS][BYTES];
        http_part parts[PARTS], got;
        size_t n = random_below(&dice, PARTS + 1);
        magpie_text body = {0};
        for (size_t i = 0; i < n; i++) {
            parts[i] = (http_part){.name = string_of(random_u64(&dice) % 2 ? "image" : "a;b=\\\"c"),
                                   .bytes = random_bytes(&dice, memory[i], BYTES)};
            if (random_u64(&dice) % 2)
                parts[i].filename = string_of(random_u64(&dice) % 2 ? "a \\\\b.png" : "");
            if (random_u64(&dice) % 2) parts[i].type = string_of("image/png; q=1");
            append_part(&body, &parts[i]);
        }
        magpie_text_printf(&body, "--b0undary--%s", round % 2 ? "\r\n" : "");
        /* In a block of its own size, so that a sanitizer sees a read behind it. */
        char *exact = malloc(body.size);
        assert_non_null(exact);
        memcpy(exact, body.data, body.size);
        http_multipart m;
        bool any;
        assert_ok(http_multipart_open("Multipart/Form-Data; charset=utf-8; boundary=\"b0undary\" ",
                                      (magpie_string){exact, body.size}, &m));
        for (size_t i = 0; i < n; i++) {
            assert_ok(http_multipart_next(&m, &got, &any));
            assert_true(any);
            assert_string(got.name, parts[i].name);
            assert_string(got.filename, parts[i].filename);
            assert_string(got.type, parts[i].type);
            assert_string(got.bytes, parts[i].bytes);
        }
        assert_ok(http_multipart_next(&m, &got, &any));
        assert_false(any);
        free(exact);
        magpie_text_free(&body);
    }
}

static magpie_status read_all(const char *type, magpie_string body) {
    http_multipart m;
    http_part part;
    bool got = true;
    magpie_status status = http_multipart_open(type, body, &m);
    while (status == MAGPIE_OK && got) status = http_multipart_next(&m, &part, &got);
    return status;
}

#define PART "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nx\r\n"

static void refused(const char *type, magpie_string body, magpie_status wanted, const char *words) {
    magpie_status status = read_all(type, body);
    if (status != wanted || !strstr(magpie_error(), words))
        fail_msg("%s, %.*s: \"%s\", %s", type, (int)(body.size < 80 ? body.size : 80), body.data,
                 magpie_status_name(status), magpie_error());
}

static void what_is_refused(void **state) {
    (void)state;
    static const char *const types[] = {"application/json", "", "multipart/mixed; boundary=b",
                                        "multipart/form-datax"};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        refused(types[i], string_of(PART "--b--"), MAGPIE_E_UNSUPPORTED, "multipart/form-data is wanted");
    static const char *const boundaries[] = {"",
                                             "; boundary",
                                             "; boundary=",
                                             "; boundary=\"\"",
                                             "; boundary=\"b",
                                             "; boundary=b\xff",
                                             "; boundary=b b",
                                             "; boundary=\"b \"",
                                             "; boundary=b; ;"};
    for (size_t i = 0; i < sizeof boundaries / sizeof *boundaries; i++) {
        char type[256];
        snprintf(type, sizeof type, "multipart/form-data%s", boundaries[i]);
        refused(type, string_of(PART "--b--"), MAGPIE_E_INPUT, "a boundary of 1 to 70");
    }
    static const struct {
        const char *body, *words;
    } bodies[] = {
        {"", "does not begin"},
        {"{}", "does not begin"},
        {"\r\n" PART "--b--", "does not begin"},
        {"--b", "part 1: no line's end"},
        {"--bb\r\n", "part 1: no line's end"},
        {PART "--bX\r\n", "part 2: no line's end"},
        {PART "--b--\r\nmore", "follows the last"},
        {PART "--b--\r\n\r\n", "follows the last"},
        {PART, "part 1: no boundary"},
        {"--b\r\nContent-Disposition: form-data; name=a\r\n", "part 1: it ends in its headers"},
        {"--b\r\n\r\nx\r\n--b--", "part 1: it has no name"},
        {"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--", "part 1: it has no name"},
        {"--b\r\nContent-Disposition: form-data; name=\"\"\r\n\r\nx\r\n--b--", "part 1: it has no name"},
        {"--b\r\nContent-Disposition: form-data; name=\"a\r\n\r\nx\r\n--b--", "parameter is malformed"},
        {"--b\r\nContent-Disposition: form-data; name\r\n\r\nx\r\n--b--", "parameter is malformed"},
        {"--b\r\nContent-Disposition: attachment; name=a\r\n\r\nx\r\n--b--", "form-data is wanted"},
        {"--b\r\nno colon\r\n\r\nx\r\n--b--", "part 1: a header line has no name"},
        {"--b\r\nContent-Transfer-Encoding: base64\r\n\r\nx\r\n--b--", "Transfer-Encoding"},
    };
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++)
        refused("multipart/form-data; boundary=b", string_of(bodies[i].body), MAGPIE_E_INPUT,
                bodies[i].words);
}

static void limits(void **state) {
    (void)state;
    for (size_t over = 0; over < 2; over++) {
        magpie_text body = {0};
        for (size_t i = 0; i < HTTP_PARTS_MAX + over; i++) magpie_text_printf(&body, "%s", PART);
        magpie_text_printf(&body, "--b--");
        magpie_status status =
            read_all("multipart/form-data; boundary=b", (magpie_string){body.data, body.size});
        assert_int_equal(status, over ? MAGPIE_E_TOO_LARGE : MAGPIE_OK);
        magpie_text_clear(&body);
        static const char head[] = "Content-Disposition: form-data; name=a\r\nX:";
        magpie_text_printf(&body, "--b\r\n%s%0*d\r\n\r\nx\r\n--b--", head,
                           (int)(HTTP_PART_HEAD_MAX - 2 - (sizeof head - 1) + over), 0);
        status = read_all("multipart/form-data; boundary=b", (magpie_string){body.data, body.size});
        assert_int_equal(status, over ? MAGPIE_E_TOO_LARGE : MAGPIE_OK);
        magpie_text_free(&body);
    }
    char boundary[HTTP_BOUNDARY_MAX + 2], type[256], body[256];
    for (size_t size = HTTP_BOUNDARY_MAX; size <= HTTP_BOUNDARY_MAX + 1; size++) {
        snprintf(boundary, sizeof boundary, "%0*d", (int)size, 0);
        snprintf(type, sizeof type, "multipart/form-data; boundary=%s", boundary);
        snprintf(body, sizeof body, "--%s--\r\n", boundary);
        assert_int_equal(read_all(type, string_of(body)),
                         size > HTTP_BOUNDARY_MAX ? MAGPIE_E_INPUT : MAGPIE_OK);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_come_back),
        cmocka_unit_test(what_is_refused),
        cmocka_unit_test(limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
