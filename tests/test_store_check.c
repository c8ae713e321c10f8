/* test_store_check.c - check() finds each kind of damage, one planted at a time, and nothing where there is
 * none. */
#include "test_index.h"

#include "postings.h"
#include "store.h"

enum { D = 16, ITEMS = 40 };

static MDB_txn *txn;
static magpie_store *store;

static void put(magpie_table table, const void *key, size_t key_size, const void *value, size_t size) {
    MDB_val k = magpie_val(key, key_size), v = magpie_val(value, size);
    assert_int_equal(mdb_put(txn, store->table[table], &k, &v, 0), 0);
}

static void delete (magpie_table table, const void *key, size_t key_size) {
    MDB_val k = magpie_val(key, key_size);
    assert_int_equal(mdb_del(txn, store->table[table], &k, NULL), 0);
}

static const uint64_t row = 7; /* of "item 7": sequences begin at 1, and so do the items */
static const char id[] = "item 7";

static void lose_a_row(void) { delete (MAGPIE_TABLE_ROWS, &row, 8); }
static void name_another_item(void) { put(MAGPIE_TABLE_ROWS, &row, 8, "item 8", 6); }
static void lose_an_item(void) { delete (MAGPIE_TABLE_ITEMS, id, strlen(id)); }
static void add_a_row(void) { put(MAGPIE_TABLE_ROWS, &(uint64_t){3000}, 8, "ghost", 5); }
static void lose_a_vector_of_the_index(void) { delete (MAGPIE_TABLE_VECTORS, &row, 8); }
static void bury_the_living(void) { put(MAGPIE_TABLE_TOMBSTONES, &(uint64_t){ITEMS}, 8, &row, 8); }
static void shorten_a_tombstone(void) { put(MAGPIE_TABLE_TOMBSTONES, &(uint64_t){ITEMS}, 8, "x", 1); }

static void damage_a_record(void) {
    MDB_val key = magpie_val(id, strlen(id)), value;
    assert_int_equal(mdb_get(txn, store->table[MAGPIE_TABLE_ITEMS], &key, &value), 0);
    char *copy = malloc(value.mv_size);
    size_t size = value.mv_size;
    memcpy(copy, value.mv_data, size);
    copy[size - 3] ^= 1;
    put(MAGPIE_TABLE_ITEMS, id, strlen(id), copy, size);
    free(copy);
}

static void put_vector(uint64_t at, float first, float second, size_t dimension) {
    float vector[D] = {first, second};
    put(MAGPIE_TABLE_VECTORS, &at, 8, vector, dimension * sizeof *vector);
}
static void lengthen_a_vector(void) { put_vector(row, 2, 0, D); }
static void poison_a_vector(void) { put_vector(row, 1, NAN, D); }
static void cut_a_vector(void) { put_vector(row, 1, 0, D - 1); }
static void change_a_vector(void) { put_vector(row, 0, 1, D); } /* a good one, but not the index's */
static void add_a_vector(void) { put_vector(3000, 1, 0, D); }
static void add_a_vector_unknown_to_the_index(void) {
    put_vector(row, 1, 0, D);
    delete (MAGPIE_TABLE_VECTORS, &row, 8);
    put_vector(0, 1, 0, D); /* row 0: below all that the index has taken in */
}

static void posting(magpie_posting_key *key, double number) {
    magpie_posting_path(key, "n", 1);
    magpie_posting_number(key, number);
}
static void lose_a_posting(void) {
    magpie_posting_key key;
    posting(&key, (double)row);
    delete (MAGPIE_TABLE_POSTINGS, key.bytes, key.size);
}
static void add_a_posting(void) {
    magpie_posting_key key;
    posting(&key, 999);
    put(MAGPIE_TABLE_POSTINGS, key.bytes, key.size, &row, 8);
}
static void swap_postings(void) { /* their number stays */
    lose_a_posting();
    add_a_posting();
}

static magpie_index *fill(const char *folder) {
    magpie_batch *batch;
    magpie_index *index;
    random_state r = {1};
    store = open_store(folder);
    bind_space(store, MAGPIE_SPACE_FUSED, D);
    assert_ok(magpie_batch_create(&batch));
    for (size_t i = 1; i <= ITEMS; i++) {
        char name[32], attributes[32];
        float vector[D];
        random_vector(&r, D, vector);
        snprintf(name, sizeof name, "item %zu", i);
        snprintf(attributes, sizeof attributes, "{\"n\": %zu}", i);
        put_item(batch, name, attributes, vector, D);
    }
    assert_ok(magpie_batch_delete(batch, string_of("item 3")));
    assert_ok(magpie_store_commit(store, batch, NULL));
    magpie_batch_free(batch);
    assert_ok(magpie_index_open(store, MAGPIE_SPACE_FUSED, &(magpie_index_options){.threads = 1}, &index));
    return index;
}

static void keep_words(void *context, const char *problem) { magpie_text_printf(context, "%s\n", problem); }

static void finds_each_damage(void **state) {
    (void)state;
    const struct {
        void (*plant)(void);
        const char *words; /* in what check says */
    } cases[] = {
        {lose_a_row, "which is not in the table rows"},
        {name_another_item, "which belongs to \"item 8\""},
        {lose_an_item, "which is not there"},
        {add_a_row, "row 3000 names item \"ghost\", which is not there"},
        {damage_a_record, "record of item \"item 7\" is damaged"},
        {lengthen_a_vector, "has length 2 in place of 1"},
        {poison_a_vector, "vector of row 7 is not finite"},
        {cut_a_vector, "has 60 bytes in place of 64"},
        {add_a_vector, "vector of row 3000 belongs to no item"},
        {change_a_vector, "holds another vector for row 7"},
        {lose_a_vector_of_the_index, "holds row 7, which is not in the store"},
        {add_a_vector_unknown_to_the_index, "row 0 is missing in the fused index"},
        {bury_the_living, "lives, and has a tombstone"},
        {shorten_a_tombstone, "has an entry of 1 bytes"},
        {lose_a_posting, "item \"item 7\" is missing in the inverted index under \"n\""},
        {add_a_posting, "the inverted index has row 7 under \"n\""},
        {swap_postings, "item \"item 7\" is missing in the inverted index under \"n\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *folder = make_folder();
        magpie_index *index = fill(folder);
        magpie_check_report clean = assert_clean(store, index), report;
        assert_true(clean.items == ITEMS - 1 && clean.vectors == ITEMS - 1 && clean.indexed == ITEMS - 1 &&
                    clean.postings == 2 * (ITEMS - 1));
        assert_ok(magpie_environment_begin(&store->environment, true, &txn));
        cases[i].plant();
        assert_int_equal(magpie_environment_commit(&store->environment, txn), 0);
        magpie_text words = {0};
        magpie_index *const indexes[MAGPIE_SPACES] = {[MAGPIE_SPACE_FUSED] = index};
        assert_ok(magpie_store_check(store, indexes, keep_words, &words, &report));
        if (!report.problems || !strstr(words.data, cases[i].words))
            fail_msg("case %zu: \"%s\" is not in \"%s\"", i, cases[i].words, words.data ? words.data : "");
        magpie_text_free(&words);
        magpie_index_close(index);
        magpie_store_close(store);
        remove_folder(folder);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(finds_each_damage)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
