/* test_catalogue.c - a line of a catalogue is understood strictly, what is wrong is said in words, and the
 * hashes change with what they stand for and with nothing else. */
#include "support.h"

#include "canonical.h"
#include "ingest.h"
#include "timestamp.h"

#include <time.h>

static magpie_catalogue_line parse(const char *line) {
    magpie_catalogue_line out;
    assert_ok(magpie_catalogue_parse(line, strlen(line), &out));
    return out;
}

static void assert_string(magpie_string got, const char *expected) {
    assert_int_equal(got.size, strlen(expected));
    assert_memory_equal(got.data, expected, got.size);
}

/* ---- what is read -------------------------------------------------------------------------------------- */

static void test_all_keys(void **state) {
    (void)state;
    magpie_catalogue_line line = parse(
        "{\"id\": \"a/\\u00fc\", \"text\": \"T\\n\\ud83d\\ude00\", \"image\": \"i.png\", \"audio\": "
        "\"s.ogg\", "
        "\"attributes\": {\"price\": 19.99, \"b\": [1, 2.5, true, null], \"a\": {}}, \"timestamp\": 1.5}");
    assert_string(line.item.id, "a/\xC3\xBC");
    assert_string(line.item.text, "T\n\xF0\x9F\x98\x80");
    assert_string(line.item.image, "i.png");
    assert_string(line.item.audio, "s.ogg");
    assert_string(line.item.attributes, "{\"a\":{},\"b\":[1,2.5,true,null],\"price\":19.99}");
    assert_int_equal(line.item.timestamp, 1500);
    magpie_catalogue_line_free(&line);
}

static void test_absent_and_null_are_the_same(void **state) {
    (void)state;
    magpie_catalogue_line absent = parse("{\"id\": \"a\"}");
    magpie_catalogue_line null =
        parse("\xEF\xBB\xBF{\"id\": \"a\", \"text\": null, \"image\": null, \"audio\": null, "
              "\"attributes\": null, \"timestamp\": null}\r");
    assert_memory_equal(absent.item.content_hash, null.item.content_hash, 16);
    assert_null(absent.item.text.data);
    assert_null(null.item.text.data);
    assert_true(absent.item.timestamp == INT64_MIN && null.item.timestamp == INT64_MIN);
    magpie_catalogue_line empty = parse("{\"id\": \"a\", \"text\": \"\"}");
    assert_non_null(empty.item.text.data);
    magpie_catalogue_line_free(&absent);
    magpie_catalogue_line_free(&null);
    magpie_catalogue_line_free(&empty);
}

/* ---- what is refused ----------------------------------------------------------------------------------- */

static void assert_refused(const char *line, size_t size, const char *reason) {
    magpie_catalogue_line out;
    magpie_status status = magpie_catalogue_parse(line, size, &out);
    if (status != MAGPIE_E_INPUT && status != MAGPIE_E_TOO_LARGE)
        fail_msg("%.80s: was not refused as bad input: %s", line, magpie_status_name(status));
    if (!strstr(magpie_error(), reason))
        fail_msg("%.80s: \"%s\" is not in \"%s\"", line, reason, magpie_error());
    magpie_catalogue_line_free(&out);
}

static void test_refusals(void **state) {
    (void)state;
    static const struct {
        const char *line, *reason;
    } cases[] = {
        {"{\"text\": \"a\"}", "id is missing"},
        {"{\"id\": null}", "id should be a string"},
        {"{\"id\": 7}", "id should be a string"},
        {"{\"id\": \"\"}", "id is empty"},
        {"{\"id\": \"a\\u0000b\"}", "broken JSON"},
        {"{\"id\": \"a\", \"id\": \"b\"}", "broken JSON"},
        {"{\"id\": \"a\", \"txet\": \"b\"}", "unknown key \"txet\""},
        {"{\"id\": \"a\", \"text\": 1}", "text should be a string"},
        {"{\"id\": \"a\", \"image\": []}", "image should be a string"},
        {"{\"id\": \"a\", \"audio\": {}}", "audio should be a string"},
        {"{\"id\": \"a\", \"attributes\": []}", "attributes should be an object"},
        {"{\"id\": \"a\", \"attributes\": {\"x\": NaN}}", "broken JSON"},
        {"{\"id\": \"a\", \"attributes\": {\"x\": 1e999}}", "broken JSON"},
        {"{\"id\": \"a\", \"timestamp\": true}", "timestamp should be"},
        {"{\"id\": \"a\", \"timestamp\": 1700000000000}", "counts seconds"},
        {"{\"id\": \"a\", \"timestamp\": \"yesterday\"}", "should be seconds since 1970 or look like"},
        {"{\"id\": \"a\", \"text\": \"\xFF\"}", "broken UTF-8"},
        {"{\"id\": \"a\", \"text\": \"\\ud800\"}", "broken JSON"},
        {"[\"id\"]", "should be an object"},
        {"\"id\"", "should be an object"},
        {"{\"id\": \"a\"", "broken JSON at byte"},
        {"{\"id\": \"a\"} {}", "broken JSON at byte"},
        {"", "broken JSON"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_refused(cases[i].line, strlen(cases[i].line), cases[i].reason);
    assert_refused("{\"id\": \"a\"}\0", 12, "broken JSON");
}

static void repeat(magpie_text *text, const char *bytes, size_t times) {
    for (size_t i = 0; i < times; i++) magpie_text_append(text, bytes, strlen(bytes));
}

/* A line that is right at `fits` and wrong at one more. */
static void assert_limit(const char *before, const char *unit, const char *between, const char *closing,
                         const char *after, size_t fits, const char *reason) {
    for (size_t n = fits; n <= fits + 1; n++) {
        magpie_text line = {0};
        magpie_catalogue_line parsed;
        magpie_text_printf(&line, "%s", before);
        repeat(&line, unit, n);
        magpie_text_printf(&line, "%s", between);
        repeat(&line, closing, n);
        magpie_text_printf(&line, "%s", after);
        if (n == fits) {
            assert_ok(magpie_catalogue_parse(line.data, line.size, &parsed));
            magpie_catalogue_line_free(&parsed);
        } else {
            assert_refused(line.data, line.size, reason);
        }
        magpie_text_free(&line);
    }
}

static void test_limits(void **state) {
    (void)state;
    assert_limit("{\"id\": \"", "x", "", "", "\"}", MAGPIE_ID_MAX, "id has 512 bytes; the limit is 511");
    assert_limit("{\"id\": \"a\", \"attributes\": {\"k\": ", "[", "1", "]", "}}",
                 MAGPIE_ATTRIBUTE_DEPTH_MAX - 2, "nested deeper than 16");
    assert_limit("{\"id\": \"a\", \"text\": \"", "x", "", "", "\"}", MAGPIE_LINE_MAX - 23,
                 "the limit is 1048576");
}

static void test_id_is_there_for_the_rejects_file(void **state) {
    (void)state;
    magpie_catalogue_line out;
    const char *line = "{\"text\": 5, \"id\": \"known\"}";
    assert_int_equal(magpie_catalogue_parse(line, strlen(line), &out), MAGPIE_E_INPUT);
    assert_string(out.item.id, "known");
    magpie_catalogue_line_free(&out);
}

/* ---- hashes -------------------------------------------------------------------------------------------- */

static void assert_hashes(const char *a, const char *b, bool same_content, bool same_vectors) {
    magpie_catalogue_line x = parse(a), y = parse(b);
    if ((memcmp(x.item.content_hash, y.item.content_hash, 16) == 0) != same_content)
        fail_msg("content hashes of %s and %s", a, b);
    if ((memcmp(x.item.encoded_hash, y.item.encoded_hash, sizeof x.item.encoded_hash) == 0) != same_vectors)
        fail_msg("encoded hashes of %s and %s", a, b);
    magpie_catalogue_line_free(&x);
    magpie_catalogue_line_free(&y);
}

static void test_hashes(void **state) {
    (void)state;
    const char *base = "{\"id\":\"a\",\"text\":\"t\",\"attributes\":{\"x\":1,\"y\":\"z\"},\"timestamp\":0}";
    assert_hashes(
        base,
        "{ \"timestamp\": 0, \"attributes\": {\"y\": \"\\u007a\", \"x\": 1}, \"text\": \"t\", \"id\": \"a\"}",
        true, true);
    assert_hashes(base, "{\"id\":\"b\",\"text\":\"t\",\"attributes\":{\"x\":1,\"y\":\"z\"},\"timestamp\":0}",
                  true, true);
    assert_hashes(base, "{\"id\":\"a\",\"text\":\"u\",\"attributes\":{\"x\":1,\"y\":\"z\"},\"timestamp\":0}",
                  false, false);
    assert_hashes(base, "{\"id\":\"a\",\"text\":\"t\",\"attributes\":{\"x\":2,\"y\":\"z\"},\"timestamp\":0}",
                  false, true);
    assert_hashes(base, "{\"id\":\"a\",\"text\":\"t\",\"attributes\":{\"x\":1,\"y\":\"z\"},\"timestamp\":1}",
                  false, true);
    assert_hashes(base, "{\"id\":\"a\",\"text\":\"t\",\"attributes\":{\"x\":1,\"y\":\"z\"}}", false, true);
    assert_hashes("{\"id\":\"a\",\"image\":\"xy\"}", "{\"id\":\"a\",\"image\":\"x\",\"audio\":\"y\"}", false,
                  true);
    assert_hashes("{\"id\":\"a\",\"image\":\"x\"}", "{\"id\":\"a\",\"audio\":\"x\"}", false, true);
    assert_hashes("{\"id\":\"a\",\"attributes\":{}}", "{\"id\":\"a\"}", true, true);
}

/* ---- canonical JSON ------------------------------------------------------------------------------------ */

static json_t *random_json(random_state *random, unsigned depth) {
    static const double reals[] = {0.1, -0.0, 1e300, 5e-324, 19.99, 1.0 / 3, 123456789.0};
    switch (random_u64(random) % (depth < 4 ? 6 : 4)) {
    case 0: return json_real(reals[random_u64(random) % (sizeof reals / sizeof *reals)]);
    case 1: return json_integer((json_int_t)random_u64(random));
    case 2: return json_string(random_u64(random) % 2 ? "quote \" back \\ line \n \x01" : "\xC3\xBC");
    case 3: return random_u64(random) % 2 ? json_true() : json_null();
    case 4: {
        json_t *array = json_array();
        for (uint64_t n = random_u64(random) % 4; n; n--)
            json_array_append_new(array, random_json(random, depth + 1));
        return array;
    }
    default: {
        json_t *object = json_object();
        for (uint64_t n = random_u64(random) % 4; n; n--) {
            char key[8];
            snprintf(key, sizeof key, "k%u", (unsigned)(random_u64(random) % 50));
            json_object_set_new(object, key, random_json(random, depth + 1));
        }
        return object;
    }
    }
}

static void test_canonical_reads_back_the_same(void **state) {
    (void)state;
    random_state random = {1};
    for (int i = 0; i < 2000; i++) {
        magpie_text first = {0}, second = {0};
        json_t *value = random_json(&random, 0);
        assert_ok(magpie_canonical_json(value, 16, &first));
        json_t *again = json_loadb(first.data, first.size, JSON_DECODE_ANY, NULL);
        if (!again || !json_equal(value, again)) fail_msg("%s is not what was written", first.data);
        assert_ok(magpie_canonical_json(again, 16, &second));
        assert_string_equal(first.data, second.data);
        json_decref(value);
        json_decref(again);
        magpie_text_free(&first);
        magpie_text_free(&second);
    }
}

/* ---- timestamps ---------------------------------------------------------------------------------------- */

static void test_timestamps(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int64_t millis;
    } good[] = {{"1970-01-01T00:00:00Z", 0},
                {"1970-01-01t01:00:00+01:00", 0},
                {"1969-12-31 23:59:59.999Z", -1},
                {"2024-02-29T12:30:00.25-00:30", 1709211600250},
                {"2016-12-31T23:59:60Z", 1483228800000},
                {"0000-01-01T00:00:00Z", MAGPIE_TIMESTAMP_MIN},
                {"9999-12-31T23:59:59.9999Z", MAGPIE_TIMESTAMP_MAX}};
    static const char *const bad[] = {"",
                                      "2024",
                                      "2024-02-30T00:00:00Z",
                                      "2023-02-29T00:00:00Z",
                                      "2024-13-01T00:00:00Z",
                                      "2024-01-01T24:00:00Z",
                                      "2024-01-01T00:60:00Z",
                                      "2024-01-01T00:00:00",
                                      "2024-01-01T00:00:00.Z",
                                      "2024-01-01T00:00:00Zx",
                                      "2024-01-01T00:00:00+2",
                                      "2024-00-01T00:00:00Z",
                                      "2024-01-00T00:00:00Z",
                                      "+024-01-01T00:00:00Z",
                                      "0000-01-01T00:00:00+00:01",
                                      "9999-12-31T23:59:59-00:01"};
    int64_t millis;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_ok(magpie_timestamp_parse(good[i].text, &millis));
        if (millis != good[i].millis) fail_msg("%s: %lld", good[i].text, (long long)millis);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (magpie_timestamp_parse(bad[i], &millis) != MAGPIE_E_INPUT) fail_msg("\"%s\" was taken", bad[i]);
}

/* The C library's calendar is the oracle. */
static void test_dates_are_the_calendars(void **state) {
    (void)state;
    random_state random = {2};
    for (int i = 0; i < 20000; i++) {
        int64_t range = (MAGPIE_TIMESTAMP_MAX - MAGPIE_TIMESTAMP_MIN) / 1000, millis;
        time_t seconds = MAGPIE_TIMESTAMP_MIN / 1000 + (time_t)(random_u64(&random) % (uint64_t)range);
        struct tm tm;
        char text[80];
        assert_non_null(gmtime_r(&seconds, &tm));
        snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02dZ", tm.tm_year + 1900, tm.tm_mon + 1,
                 tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
        assert_ok(magpie_timestamp_parse(text, &millis));
        if (millis != (int64_t)seconds * 1000) fail_msg("%s: %lld", text, (long long)millis);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_keys),
        cmocka_unit_test(test_absent_and_null_are_the_same),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_id_is_there_for_the_rejects_file),
        cmocka_unit_test(test_hashes),
        cmocka_unit_test(test_canonical_reads_back_the_same),
        cmocka_unit_test(test_timestamps),
        cmocka_unit_test(test_dates_are_the_calendars),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
