/* test_filter.c - a filter by the inverted index is the same filter held against every item by itself; what
 * Qdrant's users would write means what they mean; and a malformed filter is told where. */
#include "test_index.h"

enum { ITEMS = 400, FILTERS = 4000 };

/* ---- random attributes and filters ---- */

static const char *names[] = {"a", "b", "a.b", "c", "", "maker", "path/ÿ\\u00e9", "x"};

static void long_string(random_state *r, magpie_text *out) {
    size_t n = 190 + random_below(r, 2) * 66; /* some below, some above what a key holds */
    for (size_t i = 0; i < n; i++) magpie_text_append(out, "l", 1);
    magpie_text_printf(out, "%zu", random_below(r, 3));
}

static void random_scalar(random_state *r, magpie_text *out) {
    static const char *scalars[] = {"\"red\"",
                                    "\"blue\"",
                                    "\"r\"",
                                    "\"\"",
                                    "true",
                                    "false",
                                    "0",
                                    "-0.0",
                                    "1",
                                    "1.0",
                                    "1.5",
                                    "-2",
                                    "1e300",
                                    "9007199254740993",
                                    "123456789012345678901234567890",
                                    "\"1\"",
                                    "\"true\""};
    if (random_below(r, 12) == 0) {
        magpie_text_append(out, "\"", 1);
        long_string(r, out);
        magpie_text_append(out, "\"", 1);
        return;
    }
    magpie_text_printf(out, "%s", scalars[random_below(r, sizeof scalars / sizeof *scalars)]);
}

static void random_object(random_state *r, unsigned depth, magpie_text *out);

static void random_value(random_state *r, unsigned depth, magpie_text *out) {
    size_t kind = random_below(r, depth < 4 ? 8 : 5);
    if (kind == 4) {
        magpie_text_printf(out, "null");
    } else if (kind < 5) {
        random_scalar(r, out);
    } else if (kind == 5) {
        random_object(r, depth + 1, out);
    } else {
        magpie_text_append(out, "[", 1);
        for (size_t n = random_below(r, 4), i = 0; i < n; i++) {
            if (i) magpie_text_append(out, ",", 1);
            random_value(r, depth + 1, out);
        }
        magpie_text_append(out, "]", 1);
    }
}

/* A name longer than a key holds, one in twenty. */
static void random_name(random_state *r, magpie_text *out) {
    if (random_below(r, 20) == 0)
        long_string(r, out);
    else
        magpie_text_printf(out, "%s", names[random_below(r, sizeof names / sizeof *names)]);
}

static void random_object(random_state *r, unsigned depth, magpie_text *out) {
    magpie_text_append(out, "{", 1);
    for (size_t n = random_below(r, 5), i = 0; i < n; i++) {
        magpie_text_printf(out, "%s\"", i ? "," : "");
        random_name(r, out);
        magpie_text_append(out, "\":", 2);
        random_value(r, depth + 1, out);
    }
    magpie_text_append(out, "}", 1);
}

static void random_path(random_state *r, magpie_text *out) {
    magpie_text_append(out, "\"", 1);
    for (size_t n = 1 + random_below(r, 3), i = 0; i < n; i++) {
        size_t before = out->size;
        if (i) magpie_text_append(out, ".", 1);
        random_name(r, out);
        if (i == 0 && out->size == before) magpie_text_append(out, "a", 1); /* a path is not empty */
        if (random_below(r, 4) == 0) magpie_text_append(out, "[]", 2);
    }
    magpie_text_append(out, "\"", 1);
}

static void random_values(random_state *r, magpie_text *out) {
    magpie_text_append(out, "[", 1);
    for (size_t n = random_below(r, 4), i = 0; i < n; i++) {
        if (i) magpie_text_append(out, ",", 1);
        random_scalar(r, out);
    }
    magpie_text_append(out, "]", 1);
}

static void random_range(random_state *r, magpie_text *out) {
    static const char *bounds[] = {"-2", "-0.0", "0", "1", "1.25", "1.5", "2", "1e300", "-1e308"};
    size_t n = sizeof bounds / sizeof *bounds, which = 1 + random_below(r, 3);
    magpie_text_append(out, "{", 1);
    if (which & 1)
        magpie_text_printf(out, "\"%s\":%s", random_below(r, 2) ? "gt" : "gte", bounds[random_below(r, n)]);
    if (which == 3) magpie_text_append(out, ",", 1);
    if (which & 2)
        magpie_text_printf(out, "\"%s\":%s", random_below(r, 2) ? "lt" : "lte", bounds[random_below(r, n)]);
    magpie_text_append(out, "}", 1);
}

static void random_filter(random_state *r, unsigned depth, magpie_text *out);

static void random_condition(random_state *r, unsigned depth, magpie_text *out) {
    size_t kind = random_below(r, depth < 4 ? 9 : 7);
    if (kind >= 7) {
        random_filter(r, depth + 1, out);
        return;
    }
    if (kind == 6) {
        magpie_text_printf(out, "{\"has_id\":[\"item %zu\",\"item %zu\",\"nobody\"]}", random_below(r, ITEMS),
                           random_below(r, ITEMS));
        return;
    }
    magpie_text_printf(out, kind == 5 ? "{\"is_empty\":{\"key\":" : "{\"key\":");
    random_path(r, out);
    if (kind == 5) magpie_text_printf(out, "}");
    if (kind == 0)
        magpie_text_printf(out, ",\"match\":{\"value\":"), random_scalar(r, out),
            magpie_text_printf(out, "}");
    if (kind == 1)
        magpie_text_printf(out, ",\"match\":{\"any\":"), random_values(r, out), magpie_text_printf(out, "}");
    if (kind == 2)
        magpie_text_printf(out, ",\"match\":{\"except\":"), random_values(r, out),
            magpie_text_printf(out, "}");
    if (kind == 3) magpie_text_printf(out, ",\"range\":"), random_range(r, out);
    if (kind == 4) magpie_text_printf(out, ",\"exists\":%s", random_below(r, 2) ? "true" : "false");
    magpie_text_printf(out, "}");
}

static void random_filter(random_state *r, unsigned depth, magpie_text *out) {
    static const char *clauses[] = {"must", "should", "must_not"};
    bool first = true;
    magpie_text_append(out, "{", 1);
    for (size_t c = 0; c < 3; c++) {
        if (random_below(r, 2)) continue;
        magpie_text_printf(out, "%s\"%s\":", first ? "" : ",", clauses[c]);
        first = false;
        if (random_below(r, 5) == 0) {
            random_condition(r, depth, out);
            continue;
        }
        magpie_text_append(out, "[", 1);
        for (size_t n = random_below(r, 3), i = 0; i < n; i++) {
            if (i) magpie_text_append(out, ",", 1);
            random_condition(r, depth, out);
        }
        magpie_text_append(out, "]", 1);
    }
    magpie_text_append(out, "}", 1);
}

/* ---- the property ---- */

/* Writes ITEMS random items, then replaces and deletes some, so that postings have been moved and removed
 * too. */
static void fill(magpie_store *store, random_state *r, magpie_text attributes[ITEMS]) {
    magpie_batch *batch;
    char id[32];
    assert_ok(magpie_batch_create(&batch));
    for (size_t round = 0; round < 3; round++) {
        for (size_t i = 0; i < ITEMS; i++) {
            if (round && random_below(r, 3)) continue;
            snprintf(id, sizeof id, "item %zu", i);
            magpie_text_clear(&attributes[i]);
            if (random_below(r, 10)) random_object(r, 1, &attributes[i]);
            magpie_item item = {.id = string_of(id), .attributes = {attributes[i].data, attributes[i].size}};
            const float *none[MAGPIE_SPACES] = {0};
            bool keep = round == 2; /* the same row, other postings */
            assert_ok(magpie_batch_put(batch, &item, keep ? NULL : none, (size_t[MAGPIE_SPACES]){0}));
        }
        assert_ok(magpie_store_commit(store, batch, NULL));
        magpie_batch_clear(batch);
    }
    magpie_batch_free(batch);
}

static uint64_t count_one_by_one(const magpie_filter *filter, const magpie_text attributes[ITEMS]) {
    uint64_t count = 0;
    for (size_t i = 0; i < ITEMS; i++) {
        char id[32];
        bool passes;
        snprintf(id, sizeof id, "item %zu", i);
        assert_ok(magpie_filter_matches(filter, string_of(id),
                                        (magpie_string){attributes[i].data, attributes[i].size}, &passes));
        count += passes;
    }
    return count;
}

/* `count` of them, and each passes. */
static void assert_rows(const magpie_filter *filter, magpie_snapshot *snapshot, uint64_t count) {
    uint64_t *rows;
    size_t n;
    assert_ok(magpie_filter_rows(filter, snapshot, &rows, &n));
    assert_int_equal(n, count);
    for (size_t i = 0; i < n; i++) {
        magpie_item item;
        bool passes;
        assert_ok(magpie_snapshot_get_row(snapshot, rows[i], &item));
        assert_ok(magpie_filter_matches(filter, item.id, item.attributes, &passes));
        assert_true(passes && (!i || rows[i] > rows[i - 1]));
    }
    free(rows);
}

/* Counts alone could agree by chance: has_id narrows every second filter to one item. */
static void index_equals_reference(void **state) {
    (void)state;
    char *folder = make_folder();
    random_state r = {7};
    static magpie_text attributes[ITEMS];
    magpie_store *store = open_store(folder);
    magpie_snapshot *snapshot;
    size_t nonempty = 0, not_all = 0;
    fill(store, &r, attributes);
    assert_clean(store, NULL);
    assert_ok(magpie_snapshot_open(store, &snapshot));
    for (size_t f = 0; f < FILTERS; f++) {
        magpie_text json = {0};
        magpie_filter *filter;
        uint64_t by_index;
        if (f % 2)
            magpie_text_printf(&json, "{\"must\":[{\"has_id\":[\"item %zu\"]},", random_below(&r, ITEMS));
        random_filter(&r, 1, &json);
        if (f % 2) magpie_text_printf(&json, "]}");
        assert_ok(magpie_text_status(&json));
        assert_ok(magpie_filter_parse(json.data, json.size, &filter));
        assert_ok(magpie_filter_count(filter, snapshot, &by_index));
        uint64_t one_by_one = count_one_by_one(filter, attributes);
        if (by_index != one_by_one)
            fail_msg("%s: %zu by the index, %zu one by one", json.data, (size_t)by_index, (size_t)one_by_one);
        assert_rows(filter, snapshot, by_index);
        nonempty += by_index > 0;
        not_all += by_index < ITEMS;
        magpie_filter_free(filter);
        magpie_text_free(&json);
    }
    assert_true(nonempty > FILTERS / 5 && not_all > FILTERS / 5); /* the filters do filter */
    magpie_snapshot_close(snapshot);
    magpie_store_close(store);
    for (size_t i = 0; i < ITEMS; i++) magpie_text_free(&attributes[i]);
    remove_folder(folder);
}

/* ---- meaning ---- */

static void means_what_it_says(void **state) {
    (void)state;
    static const char attributes[] = "{\"colour\": [\"red\", \"green\"], \"price\": 3.5, \"maker\": "
                                     "{\"country\": \"NL\", \"since\": null},"
                                     " \"parts\": [{\"name\": \"wheel\", \"n\": 4}, {\"name\": \"bell\"}], "
                                     "\"none\": [], \"new\": true, \"size\": 0}";
    static const struct {
        const char *filter;
        bool passes;
    } cases[] = {
        {"{}", true},
        {"{\"must\": []}", true},
        {"{\"should\": []}", true},
        {"{\"must\": [{\"key\": \"colour\", \"match\": {\"value\": \"red\"}}]}", true},
        {"{\"must\": {\"key\": \"colour\", \"match\": {\"value\": \"re\"}}}", false},
        {"{\"key\": \"colour\", \"match\": {\"any\": [\"blue\", \"green\"]}}", true},
        {"{\"must\": {\"key\": \"colour\", \"match\": {\"except\": [\"red\"]}}}", true},
        {"{\"must\": {\"key\": \"colour\", \"match\": {\"except\": [\"red\", \"green\"]}}}", false},
        {"{\"must\": {\"key\": \"price\", \"range\": {\"gte\": 3.5, \"lt\": 4}}}", true},
        {"{\"must\": {\"key\": \"price\", \"range\": {\"gt\": 3.5}}}", false},
        {"{\"must\": {\"key\": \"size\", \"range\": {\"gte\": -0.0, \"lte\": 0}}}", true},
        {"{\"must\": {\"key\": \"size\", \"match\": {\"value\": false}}}", false},
        {"{\"must\": {\"key\": \"maker.country\", \"match\": {\"value\": \"NL\"}}}", true},
        {"{\"must\": {\"key\": \"maker\", \"exists\": true}}", true},
        {"{\"must\": {\"key\": \"maker.since\", \"exists\": true}}", false},
        {"{\"must\": {\"is_empty\": {\"key\": \"none\"}}}", true},
        {"{\"must\": {\"is_empty\": {\"key\": \"absent\"}}}", true},
        {"{\"must\": {\"key\": \"price\", \"exists\": false}}", false},
        {"{\"must\": {\"key\": \"parts[].name\", \"match\": {\"value\": \"bell\"}}}", true},
        {"{\"must\": {\"key\": \"parts.name\", \"match\": {\"value\": \"bell\"}}}", true},
        {"{\"must\": {\"key\": \"parts[].n\", \"range\": {\"lt\": 4}}}", false},
        {"{\"must\": {\"key\": \"new\", \"match\": {\"value\": true}}}", true},
        {"{\"must\": {\"has_id\": [\"other\", \"this\"]}}", true},
        {"{\"must_not\": {\"has_id\": [\"this\"]}}", false},
        {"{\"should\": [{\"key\": \"price\", \"range\": {\"lt\": 0}}, {\"must_not\": [{\"key\": \"x\", "
         "\"exists\": true}]}]}",
         true},
        {"{\"should\": [{\"key\": \"price\", \"range\": {\"lt\": 0}}]}", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        magpie_filter *filter;
        bool passes;
        assert_ok(magpie_filter_parse(cases[i].filter, strlen(cases[i].filter), &filter));
        assert_ok(magpie_filter_matches(filter, string_of("this"), string_of(attributes), &passes));
        if (passes != cases[i].passes) fail_msg("%s is %s", cases[i].filter, passes ? "true" : "false");
        magpie_filter_free(filter);
    }
}

/* ---- malformed filters ---- */

static void says_where(void **state) {
    (void)state;
    static const struct {
        const char *filter, *words; /* how the message begins */
    } cases[] = {
        {"", "filter: no JSON"},
        {"{\"must\": [}", "filter: no JSON"},
        {"{} {}", "filter: no JSON"},
        {"[]", "filter: expected an object"},
        {"3", "filter: no JSON"}, /* jansson: '[' or '{' expected */
        {"{\"most\": []}", "filter: most: unknown; expected must"},
        {"{\"must\": 1}", "filter: must: expected an array"},
        {"{\"must\": [1]}", "filter: must[0]: expected an object"},
        {"{\"must\": [{}, {\"key\": \"\"}]}", "filter: must[1]: expected key and exactly one of"},
        {"{\"must\": [{\"key\": \"\", \"exists\": true}]}", "filter: must[0].key: expected a path"},
        {"{\"must\": [{\"key\": \"[]\", \"exists\": true}]}", "filter: must[0].key: expected a path"},
        {"{\"must\": [{\"key\": 5, \"exists\": true}]}", "filter: must[0].key: expected a path"},
        {"{\"must\": [{\"key\": \"a\", \"exists\": 1}]}", "filter: must[0].exists: expected true or false"},
        {"{\"must\": [{\"key\": \"a\", \"equals\": 1}]}",
         "filter: must[0].equals: unknown; expected match, range or exists"},
        {"{\"must\": [{\"key\": \"a\", \"match\": {}}]}",
         "filter: must[0].match: expected exactly one of value"},
        {"{\"must\": [{\"key\": \"a\", \"match\": {\"is\": 1}}]}",
         "filter: must[0].match.is: unknown; expected value"},
        {"{\"must\": [{\"key\": \"a\", \"match\": {\"value\": null}}]}",
         "filter: must[0].match.value: expected a string, a number"},
        {"{\"must\": [{\"key\": \"a\", \"match\": {\"any\": \"x\"}}]}",
         "filter: must[0].match.any: expected an array"},
        {"{\"must\": [{\"key\": \"a\", \"match\": {\"any\": [1, {}]}}]}",
         "filter: must[0].match.any[1]: expected a string, a number"},
        {"{\"must\": [{\"key\": \"a\", \"range\": {}}]}", "filter: must[0].range: expected gt, gte"},
        {"{\"must\": [{}, {\"key\": \"a\", \"range\": {\"gte\": \"1\"}}]}",
         "filter: must[1].range.gte: expected a number"},
        {"{\"must\": [{\"key\": \"a\", \"range\": {\"ge\": 1}}]}",
         "filter: must[0].range.ge: unknown; expected gt"},
        {"{\"must\": [{\"key\": \"a\", \"range\": {\"g\": 1}}]}",
         "filter: must[0].range.g: unknown; expected gt"},
        {"{\"must\": [{\"key\": \"a\", \"range\": {\"\": 1}}]}",
         "filter: must[0].range.: unknown; expected gt"},
        {"{\"must\": [{\"key\": \"a\", \"range\": {\"gt\": 1, \"gte\": 2}}]}",
         "filter: must[0].range: gt and gte"},
        {"{\"must\": {\"is_empty\": \"a\"}}", "filter: must.is_empty: expected {\"key\": PATH}"},
        {"{\"must\": {\"has_id\": [\"a\", 2]}}", "filter: must.has_id[1]: expected a string"},
        {"{\"should\": [{\"must\": [{\"must_not\": [{\"key\": \"a\", \"range\": 1}]}]}]}",
         "filter: should[0].must[0].must_not[0].range: expected an object"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        magpie_filter *filter;
        assert_status(magpie_filter_parse(cases[i].filter, strlen(cases[i].filter), &filter), MAGPIE_E_INPUT);
        if (strncmp(magpie_error(), cases[i].words, strlen(cases[i].words)) != 0)
            fail_msg("%s: \"%s\" in place of \"%s\"", cases[i].filter, magpie_error(), cases[i].words);
    }
}

static void bounds_depth_and_size(void **state) {
    (void)state;
    for (int depth = MAGPIE_ATTRIBUTE_DEPTH_MAX; depth <= 3000; depth += 2984) {
        magpie_text json = {0};
        magpie_filter *filter;
        for (int i = 1; i < depth; i++) magpie_text_printf(&json, "{\"must\":[");
        magpie_text_printf(&json, "{}");
        for (int i = 1; i < depth; i++) magpie_text_printf(&json, "]}");
        assert_status(magpie_filter_parse(json.data, json.size, &filter),
                      depth == MAGPIE_ATTRIBUTE_DEPTH_MAX ? MAGPIE_OK : MAGPIE_E_INPUT);
        magpie_filter_free(filter);
        magpie_text_free(&json);
    }
    char *huge = calloc(MAGPIE_ITEM_MAX + 1, 1);
    magpie_filter *filter;
    assert_status(magpie_filter_parse(huge, MAGPIE_ITEM_MAX + 1, &filter), MAGPIE_E_TOO_LARGE);
    free(huge);
}

/* However they are nested. */
static void bounds_conditions(void **state) {
    (void)state;
    for (int n = MAGPIE_FILTER_CONDITIONS_MAX; n <= MAGPIE_FILTER_CONDITIONS_MAX + 1; n++) {
        magpie_text json = {0};
        magpie_filter *filter;
        int count = 3; /* itself, what it must, and what that should */
        magpie_text_printf(&json, "{\"must\":[{\"should\":[{\"key\":\"a\",\"exists\":true}");
        for (; count < n - 2; count += 2) magpie_text_printf(&json, "]},{\"must_not\":[{}");
        for (; count < n; count++) magpie_text_printf(&json, ",{}");
        magpie_text_printf(&json, "]}]}");
        assert_status(magpie_filter_parse(json.data, json.size, &filter),
                      n == MAGPIE_FILTER_CONDITIONS_MAX ? MAGPIE_OK : MAGPIE_E_TOO_LARGE);
        magpie_filter_free(filter);
        magpie_text_free(&json);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(index_equals_reference),
        cmocka_unit_test(means_what_it_says),
        cmocka_unit_test(says_where),
        cmocka_unit_test(bounds_depth_and_size),
        cmocka_unit_test(bounds_conditions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
