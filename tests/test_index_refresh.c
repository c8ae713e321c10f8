/* test_index_refresh.c - an index follows its store: through commits, files that are old, damaged, another's
 * or ahead, tombstones that were pruned without it, and refreshes and rebuilds while others search. The
 * oracle is check(): the index holds exactly the live vectors, bit for bit. */
#include "test_index.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

enum { D = 32, ITEMS = 500 };

static char *folder;
static magpie_store *store;
static random_state r;

static int set_up(void **state) {
    (void)state;
    r = (random_state){17};
    folder = make_folder();
    store = open_store(folder);
    bind_space(store, MAGPIE_SPACE_FUSED, D);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    magpie_store_close(store);
    remove_folder(folder);
    return 0;
}

/* n random puts and deletes over ITEMS ids, one delete in `deletes`. */
static void change_store(size_t n, size_t deletes) {
    magpie_batch *batch;
    assert_ok(magpie_batch_create(&batch));
    for (size_t i = 0; i < n; i++) {
        char id[32];
        float vector[D];
        snprintf(id, sizeof id, "item %zu", random_below(&r, ITEMS));
        random_vector(&r, D, vector);
        if (random_below(&r, deletes) == 0)
            assert_ok(magpie_batch_delete(batch, string_of(id)));
        else
            put_item(batch, id, NULL, random_below(&r, 10) ? vector : NULL, D);
    }
    assert_ok(magpie_store_commit(store, batch, NULL));
    magpie_batch_free(batch);
}

static magpie_index *open_index(magpie_index_kind kind, bool loaded) {
    magpie_index *index;
    magpie_index_stats stats;
    assert_ok(magpie_index_open(store, MAGPIE_SPACE_FUSED, &(magpie_index_options){.kind = kind}, &index));
    magpie_index_get_stats(index, &stats);
    if (stats.loaded != loaded) fail_msg("the index was %s", stats.loaded ? "loaded" : "built anew");
    return index;
}

/* Holds what the store holds, and is at its sequence. */
static void assert_in_step(magpie_index *index) {
    magpie_index_stats held;
    magpie_store_stats stored;
    magpie_index_get_stats(index, &held); /* before check, which catches up by itself */
    assert_ok(magpie_store_get_stats(store, &stored));
    assert_int_equal(held.sequence, stored.sequence);
    assert_int_equal(held.vectors - held.dead, stored.vectors[MAGPIE_SPACE_FUSED]);
    assert_int_equal(assert_clean(store, index).indexed, stored.vectors[MAGPIE_SPACE_FUSED]);
}

static void follows_commits(void **state) {
    (void)state;
    for (int kind = MAGPIE_INDEX_FLAT; kind <= MAGPIE_INDEX_IVF; kind++) {
        magpie_index *index = open_index((magpie_index_kind)kind, false);
        for (int round = 0; round < 16; round++) {
            change_store(random_below(&r, 60), 4);
            assert_ok(magpie_index_refresh(index));
            assert_in_step(index);
            magpie_index_stats stats;
            magpie_index_get_stats(index, &stats);
            assert_true(stats.dead * 5 < stats.vectors || stats.dead == 0); /* a fifth, and it is rebuilt */
            if (round % 8 == 7) {
                assert_ok(magpie_index_save(index));
                change_store(random_below(&r, 20), 4);
                magpie_index_close(index);
                index = open_index((magpie_index_kind)kind, true);
                assert_in_step(index);
            }
        }
        magpie_index_close(index);
    }
}

/* IVF needs points to train on: flat until there are enough. */
static void ivf_begins_flat(void **state) {
    (void)state;
    magpie_index *index = open_index(MAGPIE_INDEX_IVF, false);
    magpie_index_stats stats;
    magpie_index_get_stats(index, &stats);
    assert_int_equal(stats.kind, MAGPIE_INDEX_FLAT);
    magpie_batch *batch;
    assert_ok(magpie_batch_create(&batch));
    for (size_t i = 0; i < 2500; i++) {
        char id[32];
        float vector[D];
        snprintf(id, sizeof id, "more %zu", i);
        random_vector(&r, D, vector);
        put_item(batch, id, NULL, vector, D);
    }
    assert_ok(magpie_store_commit(store, batch, NULL));
    magpie_batch_free(batch);
    assert_ok(magpie_index_refresh(index));
    magpie_index_get_stats(index, &stats);
    assert_int_equal(stats.kind, MAGPIE_INDEX_IVF);
    assert_in_step(index);
    assert_ok(magpie_index_save(index));
    magpie_index_close(index);
    index = open_index(MAGPIE_INDEX_IVF, true);
    change_store(50, 1000);
    assert_ok(magpie_index_refresh(index));
    assert_in_step(index);
    magpie_index_close(index);
    magpie_index_close(open_index(MAGPIE_INDEX_AUTO, true)); /* takes what is there */
    magpie_index_close(open_index(MAGPIE_INDEX_FLAT, false));
}

/* Another process's index was saved, and the tombstones that ours had not seen were pruned. */
static void outlives_pruning(void **state) {
    (void)state;
    magpie_store_stats stats;
    change_store(400, 100);
    magpie_index *idle = open_index(MAGPIE_INDEX_HNSW, false), *busy = open_index(MAGPIE_INDEX_HNSW, false);
    change_store(60, 3);
    assert_ok(magpie_store_get_stats(store, &stats));
    assert_true(stats.tombstones > 0);
    assert_ok(magpie_index_refresh(busy));
    assert_ok(magpie_index_save(busy));
    assert_ok(magpie_store_get_stats(store, &stats));
    assert_int_equal(stats.tombstones, 0);
    change_store(20, 3);
    assert_ok(magpie_index_refresh(idle));
    assert_in_step(idle);
    assert_ok(magpie_index_save(idle));
    magpie_index_close(idle);
    magpie_index_close(busy);
}

/* ---- files
 * --------------------------------------------------------------------------------------------------- */

static unsigned char *read_index_file(size_t *size) {
    char *path = magpie_path_join(folder, "fused.index"), *data;
    assert_ok(magpie_file_read(path, 1 << 26, &data, size));
    free(path);
    return (unsigned char *)data;
}

static void write_index_file(const unsigned char *data, size_t size) {
    char *path = magpie_path_join(folder, "fused.index");
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    fclose(file);
    free(path);
}

/* Flipped bytes everywhere, cuts everywhere, noise and nothing: each time built anew, and right. */
static void damaged_files_are_rebuilt(void **state) {
    (void)state;
    for (int kind = MAGPIE_INDEX_FLAT; kind <= MAGPIE_INDEX_HNSW; kind++) {
        magpie_index *index;
        size_t size;
        change_store(200, 10);
        index = open_index((magpie_index_kind)kind, false);
        assert_ok(magpie_index_save(index));
        magpie_index_close(index);
        unsigned char *good = read_index_file(&size), *bad = malloc(size + 100);
        for (int damage = 0; damage < 110; damage++) {
            size_t at = damage < 96 ? (size_t)damage : random_below(&r, size), bad_size = size;
            memcpy(bad, good, size);
            memset(bad + size, 0, 100);
            if (damage % 3 == 0 || at < 96)
                bad[at] ^= (unsigned char)(1 + random_below(&r, 255));
            else if (damage % 3 == 1)
                bad_size = at;
            else
                bad_size += 1 + random_below(&r, 99);
            write_index_file(bad, bad_size);
            index = open_index((magpie_index_kind)kind, false);
            if (damage % 30 == 0) assert_in_step(index);
            magpie_index_close(index);
        }
        write_index_file(good, size);
        magpie_index_close(open_index((magpie_index_kind)kind, true));
        free(good);
        free(bad);
    }
}

static void files_of_others_are_rebuilt(void **state) {
    (void)state;
    size_t size;
    change_store(100, 10);
    magpie_index *index = open_index(MAGPIE_INDEX_AUTO, false);
    assert_ok(magpie_index_save(index));
    magpie_index_close(index);
    magpie_index_close(open_index(MAGPIE_INDEX_AUTO, true));
    unsigned char *file = read_index_file(&size);
    tear_down(NULL); /* another store, of the same model */
    set_up(NULL);
    change_store(100, 10);
    write_index_file(file, size);
    index = open_index(MAGPIE_INDEX_AUTO, false);
    assert_in_step(index);
    magpie_index_close(index);
    free(file);
}

/* ---- while others search
 * ------------------------------------------------------------------------------------- */

static atomic_bool stopping;
static atomic_uint searches;

/* Whatever is found at whatever moment: k hits at most, ordered, each with the score of a unit vector. */
static void *search_on(void *argument) {
    magpie_index *index = argument;
    random_state own = {(uint64_t)(uintptr_t)&own};
    magpie_filter *filter;
    static const char json[] = "{\"must_not\": {\"has_id\": [\"item 1\", \"item 2\"]}}";
    if (magpie_filter_parse(json, strlen(json), &filter) != MAGPIE_OK) return "the filter was not parsed";
    const char *wrong = NULL;
    while (!atomic_load(&stopping) && !wrong) {
        float queries[2 * D];
        magpie_hit hits[2 * 10];
        size_t counts[2];
        random_vector(&own, D, queries);
        random_vector(&own, D, queries + D);
        bool filtered = random_below(&own, 2);
        if (magpie_index_search(index, 2, queries, 10, filtered ? filter : NULL, NULL, hits, counts) !=
            MAGPIE_OK)
            wrong = "a search failed";
        for (size_t q = 0; q < 2 && !wrong; q++)
            for (size_t h = 0; h < counts[q]; h++)
                if (fabsf(hits[q * 10 + h].score) > 1.001f ||
                    (h && hits[q * 10 + h].score > hits[q * 10 + h - 1].score))
                    wrong = "hits are out of order, or no cosines";
        atomic_fetch_add(&searches, 1);
    }
    magpie_filter_free(filter);
    return (void *)(uintptr_t)wrong;
}

static void is_searched_while_it_changes(void **state) {
    (void)state;
    change_store(300, 10);
    for (int kind = MAGPIE_INDEX_FLAT; kind <= MAGPIE_INDEX_HNSW; kind++) {
        magpie_index *index;
        magpie_index_options options = {
            .kind = (magpie_index_kind)kind, .threads = 1, .ef_construction = 40, .m = 8};
        pthread_t threads[3];
        assert_ok(magpie_index_open(store, MAGPIE_SPACE_FUSED, &options, &index));
        atomic_store(&stopping, false);
        atomic_store(&searches, 0);
        for (size_t t = 0; t < 3; t++)
            assert_int_equal(pthread_create(&threads[t], NULL, search_on, index), 0);
        for (int round = 0; round < 20 || atomic_load(&searches) < 100; round++) {
            change_store(20, 5);
            assert_ok(magpie_index_refresh(index));
            if (round % 10 == 5) assert_ok(magpie_index_rebuild(index));
            if (round % 10 == 8) assert_ok(magpie_index_save(index));
        }
        atomic_store(&stopping, true);
        for (size_t t = 0; t < 3; t++) {
            void *wrong;
            assert_int_equal(pthread_join(threads[t], &wrong), 0);
            if (wrong) fail_msg("%s", (const char *)wrong);
        }
        assert_in_step(index);
        magpie_index_close(index);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(follows_commits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(ivf_begins_flat, set_up, tear_down),
        cmocka_unit_test_setup_teardown(outlives_pruning, set_up, tear_down),
        cmocka_unit_test_setup_teardown(damaged_files_are_rebuilt, set_up, tear_down),
        cmocka_unit_test_setup_teardown(files_of_others_are_rebuilt, set_up, tear_down),
        cmocka_unit_test_setup_teardown(is_searched_while_it_changes, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
