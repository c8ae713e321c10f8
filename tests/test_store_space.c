/* test_store_space.c - the two ways of running out: of map, which grows, and of disk, which is an error that
 * leaves the store as it was and the same commit possible later. And what of the map is held in memory. */
#include "store.h"
#include "test_index.h"

#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>

enum { D = 384, ITEMS = 600 };

/* A batch of n items, from item `first` on: some 2 KB each. */
static magpie_batch *make_batch(size_t first, size_t n) {
    magpie_batch *batch;
    assert_ok(magpie_batch_create(&batch));
    for (size_t i = first; i < first + n; i++) {
        random_state r = {i};
        char id[32], attributes[64];
        float vector[D];
        random_vector(&r, D, vector);
        snprintf(id, sizeof id, "item %zu", i);
        snprintf(attributes, sizeof attributes, "{\"i\": %zu}", i);
        put_item(batch, id, attributes, vector, D);
    }
    return batch;
}

static magpie_status commit_items(magpie_store *store, size_t first, size_t n) {
    magpie_batch *batch = make_batch(first, n);
    magpie_status status = magpie_store_commit(store, batch, NULL);
    magpie_batch_free(batch);
    return status;
}

static magpie_store *open_small(const char *folder) {
    magpie_store *store;
    assert_ok(
        magpie_store_open(folder, &(magpie_store_options){.create = true, .initial_bytes = 1 << 18}, &store));
    bind_space(store, MAGPIE_SPACE_FUSED, D);
    return store;
}

static void the_map_grows(void **state) {
    (void)state;
    char *folder = make_folder();
    magpie_store_stats before, after;
    magpie_store *store = open_small(folder);
    assert_ok(magpie_store_get_stats(store, &before));
    assert_true(before.map_bytes <= 1 << 18);
    assert_ok(commit_items(store, 0, ITEMS)); /* many times the map, in one batch */
    assert_ok(magpie_store_get_stats(store, &after));
    assert_true(after.items == ITEMS && after.map_bytes >= after.file_bytes &&
                after.file_bytes > 4 * before.map_bytes);
    for (size_t i = 0; i < ITEMS; i += 10) assert_ok(commit_items(store, ITEMS + i, 10));
    assert_int_equal(assert_clean(store, NULL).items, 2 * ITEMS);
    magpie_store_close(store);
    remove_folder(folder);
}

/* Whoever holds a snapshot cannot have the map moved under it: an answer in words, and the snapshot stays
 * good. */
static void growth_waits_for_snapshots_but_not_for_ever(void **state) {
    (void)state;
    char *folder = make_folder();
    magpie_store *store = open_small(folder);
    magpie_snapshot *snapshot;
    magpie_item item;
    assert_ok(commit_items(store, 0, 1));
    assert_ok(magpie_snapshot_open(store, &snapshot));
    assert_status(commit_items(store, 0, ITEMS), MAGPIE_E_BUSY);
    assert_ok(magpie_snapshot_get(snapshot, string_of("item 0"), &item));
    assert_status(magpie_snapshot_get(snapshot, string_of("item 1"), &item), MAGPIE_E_NOT_FOUND);
    magpie_snapshot_close(snapshot);
    assert_ok(commit_items(store, 0, ITEMS));
    assert_clean(store, NULL);
    magpie_store_close(store);
    remove_folder(folder);
}

/* By default nothing of that is seen: the map is reserved large. */
static void a_snapshot_of_ones_own_is_no_hindrance(void **state) {
    (void)state;
    char *folder = make_folder();
    magpie_store *store = open_store(folder);
    magpie_snapshot *snapshot;
    bind_space(store, MAGPIE_SPACE_FUSED, D);
    assert_ok(magpie_snapshot_open(store, &snapshot));
    assert_ok(commit_items(store, 0, ITEMS));
    magpie_snapshot_close(snapshot);
    magpie_store_close(store);
    remove_folder(folder);
}

/* Commits batches of 20 until one fails; it must fail for want of space, and nothing of it may be there.
 * Returns how many items are. */
static size_t fill_the_disk(magpie_store *store) {
    for (size_t first = 0;; first += 20) {
        magpie_status status = commit_items(store, first, 20);
        if (status == MAGPIE_OK) continue;
        assert_status(status, MAGPIE_E_NO_SPACE);
        assert_status(commit_items(store, first, 20), MAGPIE_E_NO_SPACE);
        assert_int_equal(assert_clean(store, NULL).items, first);
        return first;
    }
}

static void a_limit_on_files_is_no_space(void **state) {
    (void)state;
    char *folder = make_folder();
    magpie_store *store = open_store(folder);
    struct rlimit old, low;
    bind_space(store, MAGPIE_SPACE_FUSED, D);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    low = (struct rlimit){1 << 20, old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
    size_t items = fill_the_disk(store);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_ok(commit_items(store, items, 20));
    assert_int_equal(assert_clean(store, NULL).items, items + 20);
    magpie_store_close(store);
    remove_folder(folder);
}

/* The same on a disk that is really full, with an index to save, and a store that is opened there. */
static void a_full_disk_is_no_space(void **state) {
    (void)state;
    char *folder = make_folder();
    if (mount("tmpfs", folder, "tmpfs", 0, "size=2m") != 0) {
        print_error("SKIPPED: a full disk was not tried, for this user may not mount a tmpfs\n");
        remove_folder(folder);
        skip();
    }
    magpie_store *store = open_store(folder);
    magpie_index *index;
    bind_space(store, MAGPIE_SPACE_FUSED, D);
    size_t items = fill_the_disk(store);
    assert_ok(magpie_index_open(store, MAGPIE_SPACE_FUSED, NULL, &index));
    assert_status(magpie_index_save(index), MAGPIE_E_NO_SPACE);
    magpie_index_close(index);
    magpie_store_close(store);
    assert_ok(magpie_store_open(folder, NULL, &store));
    assert_int_equal(assert_clean(store, NULL).items, items);
    assert_int_equal(mount("tmpfs", folder, "tmpfs", MS_REMOUNT, "size=64m"), 0);
    assert_ok(commit_items(store, items, 20));
    assert_ok(magpie_index_open(store, MAGPIE_SPACE_FUSED, NULL, &index));
    assert_ok(magpie_index_save(index));
    assert_int_equal(assert_clean(store, index).items, items + 20);
    magpie_index_close(index);
    magpie_store_close(store);
    assert_int_equal(umount(folder), 0);
    remove_folder(folder);
}

static size_t mapped_kilobytes(void) {
    char line[256];
    size_t kilobytes = 0;
    FILE *file = fopen("/proc/self/status", "r");
    assert_non_null(file);
    while (!kilobytes && fgets(line, sizeof line, file)) sscanf(line, "RssFile: %zu", &kilobytes);
    fclose(file);
    return kilobytes;
}

static void read_all(magpie_snapshot *snapshot, size_t n) {
    for (size_t i = 0; i < n; i++) {
        char id[32];
        magpie_item item;
        const float *vector;
        snprintf(id, sizeof id, "item %zu", i);
        assert_ok(magpie_snapshot_get(snapshot, string_of(id), &item));
        assert_ok(magpie_snapshot_vector(snapshot, MAGPIE_SPACE_FUSED, item.row, &vector));
        random_state r = {i};
        float expected[D];
        random_vector(&r, D, expected);
        assert_memory_equal(vector, expected, sizeof expected);
    }
}

/* What was read counts as the process's until it is let go, and can be read again by those who hold a snapshot. */
static void the_map_is_let_go(void **state) {
    enum { MANY = 8 * ITEMS, MOST = 1 << 20 };
    (void)state;
    char *folder = make_folder();
    magpie_store *store = open_store(folder);
    magpie_snapshot *snapshot;
    bind_space(store, MAGPIE_SPACE_FUSED, D);
    assert_ok(commit_items(store, 0, MANY));
    assert_ok(magpie_snapshot_open(store, &snapshot));
    magpie_environment_trim(&store->environment, 0);
    const size_t least = mapped_kilobytes();
    read_all(snapshot, MANY);
    const size_t most = mapped_kilobytes();
    assert_true(most > least + 4096);
    magpie_environment_trim(&store->environment, (size_t)1 << 30); /* not so much */
    assert_true(mapped_kilobytes() >= most);
    magpie_environment_trim(&store->environment, MOST);
    assert_true(mapped_kilobytes() < least + 1024);
    read_all(snapshot, MANY);
    magpie_snapshot_close(snapshot);
    magpie_store_close(store);
    remove_folder(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_map_grows),
        cmocka_unit_test(growth_waits_for_snapshots_but_not_for_ever),
        cmocka_unit_test(a_snapshot_of_ones_own_is_no_hindrance),
        cmocka_unit_test(a_limit_on_files_is_no_space),
        cmocka_unit_test(a_full_disk_is_no_space),
        cmocka_unit_test(the_map_is_let_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
