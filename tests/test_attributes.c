/* test_attributes.c - facets out of the inverted index are what one counts item by item, with and without a
 * filter, after items were replaced and deleted. */
#include "test_index.h"

#include <jansson.h>

enum { ITEMS = 300, ROUNDS = 3, VALUES = 4, DISTINCT = 40, LONG = 300, PATH_LONG = 230 };

/* ---- items ---- */

/* "many" has more distinct values than are listed, "long" has strings that are not written out. */
static json_t *random_attributes(random_state *r) {
    static const char *const colours[] = {"red", "green", "blue", "", "a \"quoted\" one", "ÿ", "red "};
    static const double numbers[] = {0, -0.0, 1, -1.5, 1e300, -1e300, 0.1, 3};
    char text[LONG + 1] = {0};
    json_t *a = json_object();
    if (random_below(r, 3)) json_object_set_new(a, "colour", json_string(colours[random_below(r, 7)]));
    if (random_below(r, 3)) json_object_set_new(a, "n", json_real(numbers[random_below(r, 8)]));
    if (random_below(r, 2)) json_object_set_new(a, "n.a", json_boolean(random_below(r, 2)));
    if (random_below(r, 2)) json_object_set_new(a, "many", json_integer((int)random_below(r, 100)));
    if (random_below(r, 4) == 0) json_object_set_new(a, "null", json_null());
    if (random_below(r, 4) == 0) json_object_set_new(a, "empty", json_object());
    if (random_below(r, 3)) {
        memset(text, 'l', random_below(r, 2) ? LONG : 3);
        json_object_set_new(a, "long", json_string(text));
    }
    memset(text, 'p', PATH_LONG);
    text[PATH_LONG] = 0;
    if (random_below(r, 3) == 0) json_object_set_new(a, text, json_true());
    json_t *list = json_array(), *inner = json_object();
    for (size_t n = random_below(r, 4); n; n--) {
        json_array_append_new(list,
                              random_below(r, 4) ? json_integer((int)random_below(r, 3)) : json_string("1"));
        if (random_below(r, 4) == 0) json_array_append_new(list, json_pack("{s:b}", "x", 1));
    }
    json_object_set_new(inner, "list", list);
    if (random_below(r, 2)) json_object_set_new(inner, "on", json_boolean(random_below(r, 2)));
    json_object_set_new(a, random_below(r, 2) ? "deep" : "n", inner);
    return a;
}

static void fill(magpie_store *store) {
    random_state r = {5};
    const float *none[MAGPIE_SPACES] = {0};
    magpie_batch *batch;
    char id[32];
    assert_ok(magpie_batch_create(&batch));
    for (size_t round = 0; round < ROUNDS; round++)
        for (size_t i = 0; i < ITEMS; i++) {
            if (round && random_below(&r, 3)) continue;
            snprintf(id, sizeof id, "item %zu", i);
            json_t *attributes = random_attributes(&r);
            char *text = json_dumps(attributes, JSON_COMPACT);
            magpie_item item = {.id = string_of(id), .attributes = string_of(text)};
            if (random_below(&r, 8))
                assert_ok(magpie_batch_put(batch, &item, none, (size_t[MAGPIE_SPACES]){0}));
            else
                assert_ok(magpie_batch_delete(batch, item.id));
            free(text);
            json_decref(attributes);
        }
    assert_ok(magpie_store_commit(store, batch, NULL));
    magpie_batch_free(batch);
}

/* ---- counted item by item: {path: {"": items, value as JSON: items that have it}} ---- */

typedef struct tally {
    const magpie_filter *filter;
    json_t *counts; /* of the items that pass */
    json_t *all;    /* of all */
} tally;

static void add_to(json_t *counts, const char *path, const char *value, json_t *seen) {
    char *mark = malloc(strlen(path) + strlen(value) + 2);
    sprintf(mark, "%s\n%s", path, value);
    if (json_object_get(seen, mark)) {
        free(mark);
        return;
    }
    json_object_set_new(seen, mark, json_true());
    free(mark);
    json_t *of_path = json_object_get(counts, path);
    if (!of_path) json_object_set_new(counts, path, of_path = json_object());
    json_int_t before = json_integer_value(json_object_get(of_path, value));
    json_object_set_new(of_path, value, json_integer(before + 1));
}

static void add_value(json_t *counts, const char *path, const json_t *value, json_t *seen) {
    const char *name;
    json_t *member;
    size_t i;
    if (json_is_array(value)) {
        json_array_foreach((json_t *)(uintptr_t)value, i, member) add_value(counts, path, member, seen);
        return;
    }
    if (json_is_null(value)) return;
    if (*path) add_to(counts, path, "", seen);
    if (json_is_object(value)) {
        json_object_foreach((json_t *)(uintptr_t)value, name, member) {
            char inner[512];
            snprintf(inner, sizeof inner, "%s%s%s", path, *path ? "." : "", name);
            add_value(counts, inner, member, seen);
        }
        return;
    }
    char number[64], *text = NULL;
    if (json_is_number(value))
        snprintf(number, sizeof number, "%.17g", json_number_value(value) + 0.0);
    else
        text = json_dumps(value, JSON_ENCODE_ANY);
    add_to(counts, path, text ? text : number, seen);
    free(text);
}

static magpie_status add_item(void *context, const magpie_item *item) {
    tally *t = context;
    bool passes = true;
    json_t *attributes = json_loadb(item->attributes.data, item->attributes.size, 0, NULL);
    assert_non_null(attributes);
    if (t->filter) assert_ok(magpie_filter_matches(t->filter, item->id, item->attributes, &passes));
    for (int all = !passes; all < 2; all++) {
        json_t *seen = json_object();
        add_value(all ? t->all : t->counts, "", attributes, seen);
        json_decref(seen);
    }
    json_decref(attributes);
    return MAGPIE_OK;
}

/* ---- and compared ---- */

typedef struct comparison {
    tally tally;
    size_t called;
    char before[256]; /* the key of the call before */
} comparison;

static void spell(const magpie_attribute_value *v, char *out, size_t size) {
    if (v->type == MAGPIE_ATTRIBUTE_NUMBER) {
        snprintf(out, size, "%.17g", v->number);
        return;
    }
    json_t *value = v->type == MAGPIE_ATTRIBUTE_BOOLEAN ? json_boolean(v->boolean)
                                                        : json_stringn(v->string.data, v->string.size);
    char *text = json_dumps(value, JSON_ENCODE_ANY);
    snprintf(out, size, "%s", text);
    free(text);
    json_decref(value);
}

/* Values that are listed have their count, and no value that is not listed has a larger one. */
static magpie_status compare(void *context, const magpie_attribute *a) {
    comparison *c = context;
    char key[256], value[512];
    size_t others = 0, listed = 0;
    const char *name;
    json_t *count;
    snprintf(key, sizeof key, "%.*s", (int)a->key.size, a->key.data);
    assert_true(!c->called || strcmp(c->before, key) < 0);
    strcpy(c->before, key);
    c->called++;
    json_t *wanted = json_object_get(c->tally.counts, key);
    if (!wanted) fail_msg("no item that passes has \"%s\"", key);
    assert_int_equal(a->items, json_integer_value(json_object_get(wanted, "")));
    bool many = json_object_size(json_object_get(c->tally.all, key)) - 1 > DISTINCT;
    assert_int_equal(many, strcmp(key, "many") == 0);
    for (size_t i = 0; i < a->count; i++) {
        spell(&a->values[i], value, sizeof value);
        if ((json_int_t)a->values[i].count != json_integer_value(json_object_get(wanted, value)))
            fail_msg("%s: %s counts %zu, not %d", key, value, (size_t)a->values[i].count,
                     (int)json_integer_value(json_object_get(wanted, value)));
        assert_true(i == 0 || a->values[i].count <= a->values[i - 1].count);
        json_object_del(wanted, value);
        listed++;
    }
    json_object_foreach(wanted, name, count) {
        if (!*name) continue;
        others++;
        if (!many && strlen(name) < LONG)
            assert_true(json_integer_value(count) <= (json_int_t)a->values[a->count - 1].count);
    }
    assert_int_equal(a->more, others > 0);
    assert_int_equal(a->count, many ? 0 : listed);
    if (!many && strcmp(key, "long") != 0) assert_int_equal(a->count, others ? VALUES : listed);
    return MAGPIE_OK;
}

/* Those with a value that is no object, under a name that is written out. */
static size_t keys_to_show(const json_t *counts) {
    size_t n = 0;
    const char *key;
    json_t *of_key;
    json_object_foreach((json_t *)(uintptr_t)counts, key, of_key) n +=
        json_object_size(of_key) > 1 && strlen(key) < PATH_LONG;
    return n;
}

static void equals_counting(void **state) {
    (void)state;
    static const char *const filters[] = {
        NULL,
        "{}",
        "{\"key\": \"colour\", \"match\": {\"value\": \"red\"}}",
        "{\"must_not\": [{\"key\": \"n\", \"range\": {\"gte\": 0}}, {\"key\": \"deep.list\", \"match\": "
        "{\"value\": 1}}]}",
        "{\"has_id\": [\"item 1\", \"item 2\", \"item 77\"]}",
        "{\"key\": \"colour\", \"match\": {\"value\": \"none has it\"}}",
    };
    char *folder = make_folder();
    magpie_store *store = open_store(folder);
    magpie_snapshot *snapshot;
    fill(store);
    assert_ok(magpie_snapshot_open(store, &snapshot));
    for (size_t i = 0; i < sizeof filters / sizeof *filters; i++) {
        magpie_filter *filter = NULL;
        if (filters[i]) assert_ok(magpie_filter_parse(filters[i], strlen(filters[i]), &filter));
        comparison c = {.tally = {filter, json_object(), json_object()}};
        assert_ok(magpie_snapshot_each(snapshot, 0, add_item, &c.tally));
        size_t wanted = keys_to_show(c.tally.counts);
        assert_true(i == 5 ? wanted == 0 : wanted >= 5);
        assert_ok(magpie_snapshot_attributes(snapshot, filter, &(magpie_attribute_limits){VALUES, DISTINCT},
                                             compare, &c));
        assert_int_equal(c.called, wanted);
        json_decref(c.tally.counts);
        json_decref(c.tally.all);
        magpie_filter_free(filter);
    }
    magpie_snapshot_close(snapshot);
    magpie_store_close(store);
    remove_folder(folder);
}

static magpie_status stop(void *context, const magpie_attribute *attribute) {
    (void)attribute;
    ++*(size_t *)context;
    return magpie_fail(MAGPIE_E_CANCELLED, "enough");
}

static void stops_when_told(void **state) {
    (void)state;
    char *folder = make_folder();
    magpie_store *store = open_store(folder);
    magpie_snapshot *snapshot;
    size_t called = 0;
    assert_ok(magpie_snapshot_open(store, &snapshot));
    assert_ok(magpie_snapshot_attributes(snapshot, NULL, NULL, stop, &called)); /* there are none yet */
    magpie_snapshot_close(snapshot);
    fill(store);
    assert_ok(magpie_snapshot_open(store, &snapshot));
    assert_int_equal(magpie_snapshot_attributes(snapshot, NULL, NULL, stop, &called), MAGPIE_E_CANCELLED);
    assert_int_equal(called, 1);
    magpie_snapshot_close(snapshot);
    magpie_store_close(store);
    remove_folder(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_counting),
        cmocka_unit_test(stops_when_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
