/* test_store.c - the store against a model in memory: random puts, deletes and checkpoints in batches,
 * reopened now and then; and what is refused, with which status. */
#include "test_index.h"

#include <lmdb.h>
#include <xxhash.h>

#include "record.h"

enum { IDS = 60, D = 24, ROUNDS = 400 };

/* ---- the model ---- */

typedef struct model_item {
    bool exists, has_text_vector;
    uint64_t row;
    int64_t timestamp;
    char text[32], attributes[64];
    float fused[D], text_vector[D];
} model_item;

typedef struct model {
    model_item items[IDS];
    uint64_t sequence;
    char checkpoint[32]; /* "": none */
} model;

static void id_of(size_t i, char id[32]) { snprintf(id, 32, i == 0 ? "ünï" : "item %zu", i); }

/* One random change, to the batch and to the model; what it does is added to *expected. */
static void change(random_state *r, magpie_batch *batch, model *m, magpie_commit *expected) {
    char id[32];
    size_t i = random_below(r, IDS), kind = random_below(r, 10);
    model_item *it = &m->items[i];
    id_of(i, id);
    if (kind == 0) {
        snprintf(m->checkpoint, sizeof m->checkpoint, random_below(r, 3) ? "at %zu" : "",
                 random_below(r, 1000));
        assert_ok(magpie_batch_checkpoint(batch, "job", string_of(m->checkpoint)));
        return;
    }
    if (kind <= 3) {
        assert_ok(magpie_batch_delete(batch, string_of(id)));
        m->sequence += it->exists;
        ++*(it->exists ? &expected->deleted : &expected->missing);
        it->exists = false;
        return;
    }
    bool keep = kind == 9 && it->exists;
    ++*(it->exists ? &expected->replaced : &expected->inserted);
    it->exists = true;
    it->timestamp = (int64_t)random_u64(r);
    snprintf(it->text, sizeof it->text, "text %zu", random_below(r, 100000));
    snprintf(it->attributes, sizeof it->attributes, "{\"n\": %zu, \"t\": [\"a\", \"%zu\"]}",
             random_below(r, 5), random_below(r, 3));
    m->sequence++;
    if (!keep) {
        it->row = m->sequence;
        random_vector(r, D, it->fused);
        random_vector(r, D, it->text_vector);
        it->has_text_vector = random_below(r, 2);
    }
    magpie_item item = {.id = string_of(id),
                        .text = string_of(it->text),
                        .image = string_of("image.png"),
                        .audio = string_of(""),
                        .attributes = string_of(it->attributes),
                        .timestamp = it->timestamp,
                        .content_hash = {it->row, 1},
                        .encoded_hash = {2, it->row, 3, it->row + 1},
                        .problems = string_of("no audio")};
    const float *vectors[MAGPIE_SPACES] = {it->fused, it->has_text_vector ? it->text_vector : NULL, NULL,
                                           NULL};
    const size_t dimensions[MAGPIE_SPACES] = {D, D, 0, 0};
    assert_ok(magpie_batch_put(batch, &item, keep ? NULL : vectors, dimensions));
}

static void assert_string(magpie_string got, const char *expected) {
    assert_int_equal(got.size, strlen(expected));
    assert_memory_equal(got.data, expected, got.size);
}

static void assert_item(magpie_snapshot *snapshot, const char *id, const model_item *it) {
    magpie_item item, by_row;
    const float *vector;
    if (!it->exists) {
        assert_status(magpie_snapshot_get(snapshot, string_of(id), &item), MAGPIE_E_NOT_FOUND);
        return;
    }
    assert_ok(magpie_snapshot_get(snapshot, string_of(id), &item));
    assert_string(item.id, id);
    assert_string(item.text, it->text);
    assert_string(item.attributes, it->attributes);
    assert_string(item.image, "image.png");
    assert_string(item.audio, "");
    assert_string(item.problems, "no audio");
    assert_true(item.timestamp == it->timestamp && item.row == it->row && item.sequence >= it->row);
    assert_true(item.content_hash[0] == it->row && item.content_hash[1] == 1);
    assert_true(item.encoded_hash[0] == 2 && item.encoded_hash[1] == it->row && item.encoded_hash[2] == 3 &&
                item.encoded_hash[3] == it->row + 1);
    assert_true(llabs(item.updated - magpie_unix_millis()) < 600000);
    assert_ok(magpie_snapshot_get_row(snapshot, it->row, &by_row));
    assert_string(by_row.id, id);
    assert_ok(magpie_snapshot_vector(snapshot, MAGPIE_SPACE_FUSED, it->row, &vector));
    assert_memory_equal(vector, it->fused, sizeof it->fused);
    assert_ok(magpie_snapshot_vector(snapshot, MAGPIE_SPACE_TEXT, it->row, &vector));
    assert_int_equal(vector != NULL, it->has_text_vector);
    if (vector) assert_memory_equal(vector, it->text_vector, sizeof it->text_vector);
}

typedef struct visit {
    uint64_t last, count;
} visit;

static magpie_status count_ascending(void *context, const magpie_item *item) {
    visit *v = context;
    assert_true(item->row > v->last);
    v->last = item->row;
    v->count++;
    return MAGPIE_OK;
}

static magpie_status stop(void *context, const magpie_item *item) {
    (void)item;
    return ++*(int *)context == 2 ? MAGPIE_E_CANCELLED : MAGPIE_OK;
}

static void assert_equals_model(magpie_store *store, const model *m) {
    magpie_snapshot *snapshot;
    magpie_store_stats stats;
    magpie_string checkpoint;
    size_t live = 0, text_vectors = 0;
    visit v = {0};
    assert_ok(magpie_snapshot_open(store, &snapshot));
    for (size_t i = 0; i < IDS; i++) {
        char id[32];
        id_of(i, id);
        assert_item(snapshot, id, &m->items[i]);
        live += m->items[i].exists;
        text_vectors += m->items[i].exists && m->items[i].has_text_vector;
    }
    assert_ok(magpie_snapshot_each(snapshot, 0, count_ascending, &v));
    assert_int_equal(v.count, live);
    v.count = 0;
    assert_ok(magpie_snapshot_each(snapshot, v.last, count_ascending, &v));
    assert_int_equal(v.count, 0);
    if (m->checkpoint[0]) {
        assert_ok(magpie_snapshot_checkpoint(snapshot, "job", &checkpoint));
        assert_string(checkpoint, m->checkpoint);
    } else {
        assert_status(magpie_snapshot_checkpoint(snapshot, "job", &checkpoint), MAGPIE_E_NOT_FOUND);
    }
    magpie_snapshot_close(snapshot);
    assert_ok(magpie_store_get_stats(store, &stats));
    assert_true(stats.items == live && stats.sequence == m->sequence &&
                stats.vectors[MAGPIE_SPACE_FUSED] == live &&
                stats.vectors[MAGPIE_SPACE_TEXT] == text_vectors);
    assert_int_equal(assert_clean(store, NULL).items, live);
}

static void equals_model(void **state) {
    (void)state;
    char *folder = make_folder();
    random_state r = {11};
    static model m;
    magpie_batch *batch;
    magpie_store *store = open_store(folder);
    bind_space(store, MAGPIE_SPACE_FUSED, D);
    bind_space(store, MAGPIE_SPACE_TEXT, D);
    assert_ok(magpie_batch_create(&batch));
    for (size_t round = 0; round < ROUNDS; round++) {
        magpie_commit expected = {0}, got;
        model before = m;
        magpie_batch_clear(batch);
        for (size_t n = random_below(&r, 20), i = 0; i < n; i++) change(&r, batch, &m, &expected);
        assert_int_equal(magpie_batch_count(batch),
                         expected.inserted + expected.replaced + expected.deleted + expected.missing);
        if (round % 7 == 0) { /* one change that cannot be, at the end: nothing of the batch may stay */
            magpie_item absent = {.id = string_of("absent")};
            assert_ok(magpie_batch_put(batch, &absent, NULL, NULL));
            assert_status(magpie_store_commit(store, batch, NULL), MAGPIE_E_NOT_FOUND);
            assert_non_null(strstr(magpie_error(), "absent"));
            m = before;
        } else {
            assert_ok(magpie_store_commit(store, batch, &got));
            assert_true(got.sequence == m.sequence && got.inserted == expected.inserted &&
                        got.replaced == expected.replaced && got.deleted == expected.deleted &&
                        got.missing == expected.missing);
        }
        if (round % 10 == 3) {
            magpie_store_close(store);
            assert_ok(magpie_store_open(folder, NULL, &store));
        }
        assert_equals_model(store, &m);
    }
    magpie_snapshot *snapshot;
    int seen = 0;
    assert_ok(magpie_snapshot_open(store, &snapshot));
    assert_status(magpie_snapshot_each(snapshot, 0, stop, &seen), MAGPIE_E_CANCELLED);
    magpie_snapshot_close(snapshot);
    magpie_batch_free(batch);
    magpie_store_close(store);
    remove_folder(folder);
}

/* ---- refusals ---- */

static void refuses_bad_items(void **state) {
    (void)state;
    magpie_batch *batch;
    float unit[D] = {1}, longer[D] = {1.01f}, nan[D] = {NAN}, inf[D] = {INFINITY};
    char big[MAGPIE_ID_MAX + 2], *huge = malloc(MAGPIE_ITEM_MAX + 1);
    memset(big, 'x', sizeof big);
    memset(huge, 'x', MAGPIE_ITEM_MAX + 1);
    magpie_text deep = {0};
    for (int i = 0; i < 17; i++) magpie_text_printf(&deep, "{\"a\":");
    magpie_text_printf(&deep, "1");
    for (int i = 0; i < 17; i++) magpie_text_printf(&deep, "}");
    const magpie_string ok = string_of("id");
    const struct {
        magpie_item item;
        const float *vector;
        size_t dimension;
        magpie_status status;
    } cases[] = {
        {{.id = {"", 0}}, NULL, 0, MAGPIE_E_INPUT},
        {{.id = {big, MAGPIE_ID_MAX + 1}}, NULL, 0, MAGPIE_E_INPUT},
        {{.id = {big, MAGPIE_ID_MAX}}, NULL, 0, MAGPIE_OK},
        {{.id = string_of("\xc3")}, NULL, 0, MAGPIE_E_INPUT},
        {{.id = string_of("\xed\xa0\x80")}, NULL, 0, MAGPIE_E_INPUT}, /* a surrogate */
        {{.id = ok, .text = string_of("a\xff")}, NULL, 0, MAGPIE_E_INPUT},
        {{.id = ok, .image = string_of("a\xff")}, NULL, 0, MAGPIE_E_INPUT},
        {{.id = ok, .attributes = string_of("[1]")}, NULL, 0, MAGPIE_E_INPUT},
        {{.id = ok, .attributes = string_of("{\"a\":}")}, NULL, 0, MAGPIE_E_INPUT},
        {{.id = ok, .attributes = string_of("{\"a\":1e999}")}, NULL, 0, MAGPIE_E_INPUT},
        {{.id = ok, .attributes = string_of("{\"a\":\"\\u0000\"}")}, NULL, 0, MAGPIE_E_INPUT},
        {{.id = ok, .attributes = {deep.data, deep.size}}, NULL, 0, MAGPIE_E_INPUT},
        {{.id = ok, .attributes = {deep.data + 5, deep.size - 6}}, NULL, 0, MAGPIE_OK},
        {{.id = ok, .text = {huge, MAGPIE_ITEM_MAX + 1}}, NULL, 0, MAGPIE_E_TOO_LARGE},
        {{.id = ok, .text = {huge, MAGPIE_ITEM_MAX - 1}, .problems = string_of("ab")},
         NULL,
         0,
         MAGPIE_E_TOO_LARGE},
        {{.id = ok, .text = {huge, MAGPIE_ITEM_MAX}}, NULL, 0, MAGPIE_OK},
        {{.id = ok}, unit, D, MAGPIE_OK},
        {{.id = ok}, longer, D, MAGPIE_E_INPUT},
        {{.id = ok}, nan, D, MAGPIE_E_INPUT},
        {{.id = ok}, inf, D, MAGPIE_E_INPUT},
        {{.id = ok}, unit, 0, MAGPIE_E_ARGUMENT},
        {{.id = ok}, unit, MAGPIE_DIMENSION_MAX + 1, MAGPIE_E_ARGUMENT},
    };
    assert_ok(magpie_batch_create(&batch));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const float *vectors[MAGPIE_SPACES] = {cases[i].vector};
        const size_t dimensions[MAGPIE_SPACES] = {cases[i].dimension};
        size_t before = magpie_batch_count(batch);
        magpie_status status = magpie_batch_put(batch, &cases[i].item, vectors, dimensions);
        if (status != cases[i].status) fail_msg("case %zu: %s", i, status ? magpie_error() : "accepted");
        assert_int_equal(magpie_batch_count(batch) - before, status == MAGPIE_OK);
    }
    assert_status(magpie_batch_delete(batch, string_of("")), MAGPIE_E_INPUT);
    assert_status(magpie_batch_checkpoint(batch, "", string_of("x")), MAGPIE_E_ARGUMENT);
    magpie_batch_free(batch);
    magpie_text_free(&deep);
    free(huge);
}

static void refuses_other_models(void **state) {
    (void)state;
    char *folder = make_folder();
    magpie_store *store = open_store(folder);
    magpie_batch *batch;
    float unit[D] = {1};
    assert_ok(magpie_batch_create(&batch));
    put_item(batch, "a", NULL, unit, D);
    assert_status(magpie_store_commit(store, batch, NULL), MAGPIE_E_MISMATCH); /* not bound */
    bind_space(store, MAGPIE_SPACE_FUSED, D);
    bind_space(store, MAGPIE_SPACE_FUSED, D);
    assert_ok(magpie_store_commit(store, batch, NULL));
    const magpie_space_model others[] = {{"other", "other", D, NULL},
                                         {"test model", "fingerprint", D + 1, NULL}};
    for (size_t i = 0; i < 2; i++) {
        assert_status(magpie_store_bind(store, MAGPIE_SPACE_FUSED, &others[i]), MAGPIE_E_MISMATCH);
        assert_non_null(strstr(magpie_error(), "test model"));
    }
    assert_status(magpie_store_bind(store, MAGPIE_SPACE_TEXT, &(magpie_space_model){"m", "", D, NULL}),
                  MAGPIE_E_ARGUMENT);
    magpie_batch_clear(batch);
    put_item(batch, "a", NULL, (float[D / 2]){1}, D / 2);
    assert_status(magpie_store_commit(store, batch, NULL), MAGPIE_E_MISMATCH);
    assert_clean(store, NULL);
    magpie_batch_free(batch);
    magpie_store_close(store);
    remove_folder(folder);
}

static void read_only_writes_nothing(void **state) {
    (void)state;
    char *folder = make_folder();
    const magpie_store_options read_only = {.read_only = true, .create = true};
    magpie_store *store;
    magpie_batch *batch;
    magpie_index *index;
    assert_status(magpie_store_open(folder, &read_only, &store), MAGPIE_E_NOT_FOUND);
    store = open_store(folder);
    bind_space(store, MAGPIE_SPACE_FUSED, D);
    magpie_store_close(store);
    assert_ok(magpie_store_open(folder, &read_only, &store));
    bind_space(store, MAGPIE_SPACE_FUSED, D); /* it is bound: nothing to write */
    assert_status(magpie_store_bind(store, MAGPIE_SPACE_TEXT, &(magpie_space_model){"m", "f", D, NULL}),
                  MAGPIE_E_NOT_FOUND);
    assert_ok(magpie_batch_create(&batch));
    put_item(batch, "a", NULL, NULL, 0);
    assert_status(magpie_store_commit(store, batch, NULL), MAGPIE_E_ARGUMENT);
    assert_ok(magpie_index_open(store, MAGPIE_SPACE_FUSED, NULL, &index));
    assert_status(magpie_index_save(index), MAGPIE_E_ARGUMENT);
    magpie_index_close(index);
    magpie_batch_free(batch);
    magpie_store_close(store);
    remove_folder(folder);
}

static void write_file(const char *folder, const char *name, const void *data, size_t size) {
    char *path = magpie_path_join(folder, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    fclose(file);
    free(path);
}

static void opens_stores_only(void **state) {
    (void)state;
    char *folder = make_folder();
    magpie_store *store, *again;
    static unsigned char noise[65536];
    random_state r = {3};
    for (size_t i = 0; i < sizeof noise; i++) noise[i] = (unsigned char)random_u64(&r);
    assert_status(magpie_store_open("/nonexistent/store", NULL, &store), MAGPIE_E_NOT_FOUND);
    assert_status(magpie_store_open(folder, NULL, &store), MAGPIE_E_NOT_FOUND);
    assert_status(magpie_store_open("/dev/null", NULL, &store), MAGPIE_E_CORRUPT);
    write_file(folder, "data.mdb", noise, sizeof noise);
    assert_status(magpie_store_open(folder, NULL, &store), MAGPIE_E_CORRUPT);
    write_file(folder, "data.mdb", noise, 7);
    assert_status(magpie_store_open(folder, NULL, &store), MAGPIE_E_CORRUPT);
    remove_folder(folder);
    folder = make_folder();
    store = open_store(folder);
    assert_status(magpie_store_open(folder, NULL, &again), MAGPIE_E_BUSY); /* twice in one process */
    magpie_store_close(store);
    magpie_store_close(NULL);
    remove_folder(folder);
}

/* Opens the environment as LMDB does, to do what no function of ours does. */
static MDB_txn *open_raw(const char *folder, const char *table, MDB_env **env, MDB_dbi *dbi) {
    MDB_txn *txn;
    assert_int_equal(mdb_env_create(env), 0);
    assert_int_equal(mdb_env_set_maxdbs(*env, 16), 0);
    assert_int_equal(mdb_env_set_mapsize(*env, 1 << 30), 0);
    assert_int_equal(mdb_env_open(*env, folder, 0, 0666), 0);
    assert_int_equal(mdb_txn_begin(*env, NULL, 0, &txn), 0);
    assert_int_equal(mdb_dbi_open(txn, table, 0, dbi), 0);
    return txn;
}

static void refuses_other_formats(void **state) {
    (void)state;
    char *folder = make_folder();
    magpie_store *store = open_store(folder);
    magpie_store_close(store);
    MDB_env *env;
    MDB_dbi meta;
    MDB_txn *txn = open_raw(folder, "meta", &env, &meta);
    uint32_t version = 2;
    MDB_val key = {6, "format"}, value = {4, &version};
    assert_int_equal(mdb_put(txn, meta, &key, &value, 0), 0);
    assert_int_equal(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
    assert_status(magpie_store_open(folder, NULL, &store), MAGPIE_E_MISMATCH);
    assert_non_null(strstr(magpie_error(), "version 2"));
    remove_folder(folder);
}

/* A file that lost its end would be read past it: it must be refused, not mapped. */
static void refuses_a_cut_file(void **state) {
    (void)state;
    char *folder = make_folder();
    random_state r = {4};
    magpie_batch *batch;
    magpie_store *store = open_store(folder);
    bind_space(store, MAGPIE_SPACE_FUSED, 384);
    assert_ok(magpie_batch_create(&batch));
    for (int i = 0; i < 300; i++) {
        float vector[384];
        char id[32];
        snprintf(id, sizeof id, "%d", i);
        random_vector(&r, 384, vector);
        put_item(batch, id, NULL, vector, 384);
    }
    assert_ok(magpie_store_commit(store, batch, NULL));
    magpie_batch_free(batch);
    magpie_store_close(store);
    char *path = magpie_path_join(folder, "data.mdb");
    assert_int_equal(truncate(path, 100 * 4096), 0);
    assert_status(magpie_store_open(folder, NULL, &store), MAGPIE_E_CORRUPT);
    assert_non_null(strstr(magpie_error(), "cut short"));
    free(path);
    remove_folder(folder);
}

/* Every single byte of a record flipped, and every length cut: always an error, never another item. */
static void damaged_records_are_errors(void **state) {
    (void)state;
    magpie_item item = {.id = string_of("a"),
                        .text = string_of("some text"),
                        .image = string_of("i.png"),
                        .attributes = string_of("{\"a\": 1}"),
                        .row = 5,
                        .sequence = 7},
                got;
    size_t size = magpie_record_size(&item);
    unsigned char *good = malloc(size), *bad = malloc(size + 1);
    magpie_record_write(&item, good);
    assert_ok(magpie_record_read(good, size, item.id, &got));
    for (size_t cut = 0; cut < size; cut++) {
        unsigned char *exact =
            malloc(cut ? cut : 1); /* its own block, so that the sanitizer sees a step beyond */
        memcpy(exact, good, cut);
        assert_status(magpie_record_read(exact, cut, item.id, &got), MAGPIE_E_CORRUPT);
        free(exact);
    }
    for (size_t i = 0; i < size; i++) {
        memcpy(bad, good, size);
        bad[i] ^= 0x41;
        if (i >= 4 && i < 8) continue; /* the four bytes that say nothing */
        assert_status(magpie_record_read(bad, size, item.id, &got), MAGPIE_E_CORRUPT);
    }
    memcpy(bad, good, size);
    bad[size] = 0;
    assert_status(magpie_record_read(bad, size + 1, item.id, &got), MAGPIE_E_CORRUPT);
    free(good);
    free(bad);
}

/* What a store from before there were pictures has: two words of hashes, the first of the text. */
static void records_of_version_1_are_read(void **state) {
    (void)state;
    enum { HASHES_OF_OTHERS = 80, SIZES = 96 };
    magpie_item item = {.id = string_of("a"),
                        .text = string_of("some text"),
                        .attributes = string_of("{\"a\": 1}"),
                        .content_hash = {5, 6},
                        .encoded_hash = {7, 7},
                        .row = 5},
                got;
    size_t size = magpie_record_size(&item);
    unsigned char *record = malloc(size);
    magpie_record_write(&item, record);
    memcpy(record + 72, "another", 8); /* the second word was the other half of one hash */
    memmove(record + HASHES_OF_OTHERS, record + SIZES, size - SIZES);
    size -= SIZES - HASHES_OF_OTHERS;
    record[0] = 1;
    uint64_t checksum = XXH3_64bits(record + 16, size - 16);
    memcpy(record + 8, &checksum, sizeof checksum);
    assert_ok(magpie_record_read(record, size, item.id, &got));
    assert_string(got.text, "some text");
    assert_string(got.attributes, "{\"a\": 1}");
    assert_true(got.content_hash[0] == 5 && got.content_hash[1] == 6 && got.row == 5);
    assert_true(got.encoded_hash[MAGPIE_SPACE_TEXT] == 7 && got.encoded_hash[MAGPIE_SPACE_FUSED] == 7 &&
                got.encoded_hash[MAGPIE_SPACE_IMAGE] == 0 && got.encoded_hash[MAGPIE_SPACE_AUDIO] == 0);
    assert_status(magpie_record_read(record, size - 1, item.id, &got), MAGPIE_E_CORRUPT);
    free(record);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_model),
        cmocka_unit_test(refuses_bad_items),
        cmocka_unit_test(refuses_other_models),
        cmocka_unit_test(read_only_writes_nothing),
        cmocka_unit_test(opens_stores_only),
        cmocka_unit_test(refuses_other_formats),
        cmocka_unit_test(refuses_a_cut_file),
        cmocka_unit_test(damaged_records_are_errors),
        cmocka_unit_test(records_of_version_1_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
