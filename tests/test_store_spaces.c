/* test_store_spaces.c - several models in one store: each space has its dimension, its vectors and its index,
 * and what happens to an item happens in all of them. */
#include "test_index.h"

enum { ITEMS = 300, TEXT_D = 24, IMAGE_D = 40 };

static const size_t dimensions[MAGPIE_SPACES] = {
    [MAGPIE_SPACE_FUSED] = TEXT_D, [MAGPIE_SPACE_TEXT] = TEXT_D, [MAGPIE_SPACE_IMAGE] = IMAGE_D};
static const magpie_space searched[] = {MAGPIE_SPACE_FUSED, MAGPIE_SPACE_IMAGE};

/* Every third item has no picture, every fifth no text. */
static bool has(size_t i, magpie_space space) {
    return space == MAGPIE_SPACE_IMAGE ? i % 3 != 0 : i % 5 != 0;
}

static size_t count_of(magpie_space space, size_t first, size_t end) {
    size_t n = 0;
    for (size_t i = first; i < end; i++) n += has(i, space);
    return n;
}

static void vector_of(size_t i, magpie_space space, float *out) {
    random_state r = {1000 * i + (space == MAGPIE_SPACE_IMAGE)};
    random_vector(&r, dimensions[space], out);
}

static magpie_store *fill(const char *folder) {
    magpie_store *store = open_store(folder);
    magpie_batch *batch;
    const magpie_space_model text = {"a text model", "t", TEXT_D, NULL},
                             image = {"an image model", "i", IMAGE_D, NULL};
    assert_ok(magpie_store_bind(store, MAGPIE_SPACE_FUSED, &text));
    assert_ok(magpie_store_bind(store, MAGPIE_SPACE_TEXT, &text));
    assert_ok(magpie_store_bind(store, MAGPIE_SPACE_IMAGE, &image));
    assert_ok(magpie_batch_create(&batch));
    for (size_t i = 0; i < ITEMS; i++) {
        char id[32];
        float text_vector[TEXT_D], image_vector[IMAGE_D];
        vector_of(i, MAGPIE_SPACE_TEXT, text_vector);
        vector_of(i, MAGPIE_SPACE_IMAGE, image_vector);
        const float *words = has(i, MAGPIE_SPACE_TEXT) ? text_vector : NULL;
        const float *vectors[MAGPIE_SPACES] = {[MAGPIE_SPACE_FUSED] = words,
                                               [MAGPIE_SPACE_TEXT] = words,
                                               [MAGPIE_SPACE_IMAGE] =
                                                   has(i, MAGPIE_SPACE_IMAGE) ? image_vector : NULL};
        snprintf(id, sizeof id, "item %zu", i);
        const magpie_item item = {.id = string_of(id), .timestamp = INT64_MIN};
        assert_ok(magpie_batch_put(batch, &item, vectors, dimensions));
    }
    assert_ok(magpie_store_commit(store, batch, NULL));
    magpie_batch_free(batch);
    return store;
}

static void delete_first(magpie_store *store, size_t n) {
    magpie_batch *batch;
    assert_ok(magpie_batch_create(&batch));
    for (size_t i = 0; i < n; i++) {
        char id[32];
        snprintf(id, sizeof id, "item %zu", i);
        assert_ok(magpie_batch_delete(batch, string_of(id)));
    }
    assert_ok(magpie_store_commit(store, batch, NULL));
    magpie_batch_free(batch);
}

static void open_indexes(magpie_store *store, magpie_index *out[MAGPIE_SPACES]) {
    for (unsigned s = 0; s < MAGPIE_SPACES; s++) out[s] = NULL;
    for (size_t i = 0; i < sizeof searched / sizeof *searched; i++)
        assert_ok(magpie_index_open(store, searched[i], NULL, &out[searched[i]]));
}

static void close_indexes(magpie_index *indexes[MAGPIE_SPACES]) {
    for (unsigned s = 0; s < MAGPIE_SPACES; s++) magpie_index_close(indexes[s]);
}

/* Items first .. ITEMS-1 are in the store, and an item's own vector finds it in each of its spaces. */
static void assert_found(magpie_store *store, magpie_index *const indexes[MAGPIE_SPACES], size_t first) {
    magpie_check_report report;
    magpie_snapshot *snapshot;
    assert_ok(magpie_store_check(store, indexes, print_problem, NULL, &report));
    assert_int_equal(report.problems, 0);
    assert_int_equal(report.items, ITEMS - first);
    assert_int_equal(report.indexed,
                     count_of(MAGPIE_SPACE_FUSED, first, ITEMS) + count_of(MAGPIE_SPACE_IMAGE, first, ITEMS));
    assert_ok(magpie_snapshot_open(store, &snapshot));
    for (size_t i = 0; i < ITEMS; i += 7)
        for (size_t s = 0; s < sizeof searched / sizeof *searched; s++) {
            float query[IMAGE_D];
            char id[32];
            magpie_hit hit;
            magpie_item item;
            size_t count;
            vector_of(i, searched[s], query);
            snprintf(id, sizeof id, "item %zu", i);
            assert_ok(magpie_index_search(indexes[searched[s]], 1, query, 1, NULL, NULL, &hit, &count));
            assert_int_equal(count, 1);
            assert_ok(magpie_snapshot_get_row(snapshot, hit.row, &item));
            bool itself = item.id.size == strlen(id) && memcmp(item.id.data, id, item.id.size) == 0;
            assert_true(itself == (i >= first && has(i, searched[s])));
        }
    magpie_snapshot_close(snapshot);
}

static void each_space_has_its_index(void **state) {
    (void)state;
    char *folder = make_folder();
    magpie_store *store = fill(folder);
    magpie_index *indexes[MAGPIE_SPACES];
    magpie_index_stats stats;
    open_indexes(store, indexes);
    assert_found(store, indexes, 0);
    for (unsigned s = 0; s < MAGPIE_SPACES; s++)
        if (indexes[s]) assert_ok(magpie_index_save(indexes[s]));
    close_indexes(indexes);
    delete_first(store, 20);
    magpie_store_close(store);
    store = open_store(folder);
    open_indexes(store, indexes);
    for (size_t i = 0; i < sizeof searched / sizeof *searched; i++) {
        magpie_index_get_stats(indexes[searched[i]], &stats);
        assert_true(stats.loaded && stats.replayed == count_of(searched[i], 0, 20));
    }
    assert_found(store, indexes, 20);
    close_indexes(indexes);
    magpie_store_close(store);
    remove_folder(folder);
}

/* Tombstones stay until the last of the indexes on disk is past them: one that is saved does not take them
 * from one that is not. */
static void an_index_that_lags_behind_catches_up(void **state) {
    (void)state;
    char *folder = make_folder();
    magpie_store *store = fill(folder);
    magpie_index *indexes[MAGPIE_SPACES];
    magpie_store_stats stats;
    open_indexes(store, indexes);
    for (unsigned s = 0; s < MAGPIE_SPACES; s++)
        if (indexes[s]) assert_ok(magpie_index_save(indexes[s]));
    delete_first(store, 30);
    assert_ok(magpie_index_refresh(indexes[MAGPIE_SPACE_FUSED]));
    assert_ok(magpie_index_save(indexes[MAGPIE_SPACE_FUSED]));
    assert_ok(magpie_store_get_stats(store, &stats));
    assert_int_equal(stats.tombstones, 30);
    close_indexes(indexes);
    open_indexes(store, indexes);
    assert_found(store, indexes, 30);
    assert_ok(magpie_index_save(indexes[MAGPIE_SPACE_IMAGE]));
    assert_ok(magpie_store_get_stats(store, &stats));
    assert_int_equal(stats.tombstones, 0);
    close_indexes(indexes);
    magpie_store_close(store);
    remove_folder(folder);
}

static void a_space_has_one_model(void **state) {
    (void)state;
    char *folder = make_folder();
    magpie_store *store = fill(folder);
    magpie_store_stats stats;
    const magpie_space_model text = {"a text model", "t", TEXT_D, NULL},
                             other = {"another", "o", IMAGE_D, NULL};
    assert_status(magpie_store_bind(store, MAGPIE_SPACE_IMAGE, &text), MAGPIE_E_MISMATCH);
    assert_status(magpie_store_bind(store, MAGPIE_SPACE_IMAGE, &other), MAGPIE_E_MISMATCH);
    assert_non_null(strstr(magpie_error(), "an image model"));
    assert_non_null(strstr(magpie_error(), "another"));
    assert_ok(magpie_store_get_stats(store, &stats));
    assert_string_equal(stats.model[MAGPIE_SPACE_TEXT], "a text model");
    assert_string_equal(stats.model[MAGPIE_SPACE_IMAGE], "an image model");
    assert_int_equal(stats.dimension[MAGPIE_SPACE_IMAGE], IMAGE_D);
    assert_int_equal(stats.vectors[MAGPIE_SPACE_IMAGE], count_of(MAGPIE_SPACE_IMAGE, 0, ITEMS));
    assert_int_equal(stats.dimension[MAGPIE_SPACE_AUDIO], 0);
    magpie_store_close(store);
    remove_folder(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_space_has_its_index),
        cmocka_unit_test(an_index_that_lags_behind_catches_up),
        cmocka_unit_test(a_space_has_one_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
