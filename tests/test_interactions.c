/* test_interactions.c - interactions against plain arrays: random puts, replacements and deletes of users in
 * batches, in a map that must grow, reopened now and then; compactions, that leave no trace and that nobody
 * who opens the store meanwhile sees anything of; stores from before there were any. */
#include "test_index.h"

#include <lmdb.h>
#include <sys/wait.h>

enum { USERS = 40, ITEMS = 60, KINDS = MAGPIE_INTERACTION_KINDS, ROUNDS = 150, NONE = -1 };

/* ---- the model ---- */

typedef struct model {
    struct {
        bool exists;
        float weight;
        int64_t time;
    } put[USERS][ITEMS][KINDS];
    int64_t user_number[USERS], item_number[ITEMS]; /* NONE: not there */
    uint32_t users, items;                          /* numbers given */
} model;

static model *make_model(void) {
    model *m = calloc(1, sizeof *m);
    for (size_t u = 0; u < USERS; u++) m->user_number[u] = NONE;
    for (size_t i = 0; i < ITEMS; i++) m->item_number[i] = NONE;
    return m;
}

/* Ids of many lengths, the longest possible and words beyond ASCII among them. */
static magpie_string id_of(char kind, size_t n, char out[MAGPIE_ID_MAX + 1]) {
    memset(out, kind, MAGPIE_ID_MAX);
    int size = snprintf(out, MAGPIE_ID_MAX, n % 3 ? "%c%zu" : "%c\xC3\xA9 %zu", kind, n);
    if (n == 1) out[size] = kind, size = MAGPIE_ID_MAX;
    return (magpie_string){out, (size_t)size};
}

static void put(random_state *r, magpie_batch *batch, model *m) {
    char user_id[MAGPIE_ID_MAX + 1], item_id[MAGPIE_ID_MAX + 1];
    size_t u = random_below(r, USERS), i = random_below(r, ITEMS), k = random_below(r, KINDS);
    float weight = (float)random_unit(r) * 10 - 2;
    int64_t time = random_below(r, 4) ? (int64_t)random_below(r, 5) * 1000 : 0; /* ties, and none */
    assert_ok(magpie_batch_put_interaction(batch, id_of('u', u, user_id), id_of('i', i, item_id),
                                           (magpie_interaction_kind)k, weight, time));
    m->put[u][i][k].exists = true;
    m->put[u][i][k].weight = weight;
    m->put[u][i][k].time = time;
    if (m->user_number[u] == NONE) m->user_number[u] = m->users++;
    if (m->item_number[i] == NONE) m->item_number[i] = m->items++;
}

/* Whether the user was there. */
static bool delete_user(random_state *r, magpie_batch *batch, model *m) {
    char id[MAGPIE_ID_MAX + 1];
    size_t u = random_below(r, USERS);
    bool there = m->user_number[u] != NONE;
    assert_ok(magpie_batch_delete_user(batch, id_of('u', u, id)));
    m->user_number[u] = NONE;
    memset(m->put[u], 0, sizeof m->put[u]);
    return there;
}

/* ---- comparing ---- */

static int in_time_order(const void *a, const void *b) {
    const magpie_interaction *x = a, *y = b;
    if (x->time != y->time) return x->time < y->time ? -1 : 1;
    if (x->item != y->item) return x->item < y->item ? -1 : 1;
    return (int)x->kind - (int)y->kind;
}

static int in_item_order(const void *a, const void *b) {
    const magpie_interaction *x = a, *y = b;
    if (x->item != y->item) return x->item < y->item ? -1 : 1;
    return (int)x->kind - (int)y->kind;
}

static size_t expected_of(const model *m, size_t u, int (*order)(const void *, const void *),
                          magpie_interaction out[ITEMS * KINDS]) {
    size_t n = 0;
    for (size_t i = 0; i < ITEMS; i++)
        for (unsigned k = 0; k < KINDS; k++)
            if (m->put[u][i][k].exists)
                out[n++] = (magpie_interaction){(uint32_t)m->user_number[u], (uint32_t)m->item_number[i], k,
                                                m->put[u][i][k].weight, m->put[u][i][k].time};
    if (n) qsort(out, n, sizeof *out, order);
    return n;
}

static void assert_same(const magpie_interaction *a, const magpie_interaction *b, size_t n) {
    for (size_t i = 0; i < n; i++)
        assert_true(a[i].user == b[i].user && a[i].item == b[i].item && a[i].kind == b[i].kind &&
                    a[i].weight == b[i].weight && a[i].time == b[i].time);
}

typedef struct walk {
    const model *m;
    uint32_t next; /* no number below is to come */
    size_t users, interactions;
} walk;

static magpie_status compare_user(void *context, const magpie_interaction *got, size_t n) {
    walk *w = context;
    magpie_interaction expected[ITEMS * KINDS];
    size_t u = 0;
    assert_true(n && got->user >= w->next);
    w->next = got->user + 1;
    while (u < USERS && w->m->user_number[u] != got->user) u++;
    assert_true(u < USERS);
    assert_int_equal(n, expected_of(w->m, u, in_item_order, expected));
    assert_same(got, expected, n);
    w->users++;
    w->interactions += n;
    return MAGPIE_OK;
}

static void compare_ids(magpie_snapshot *snapshot, const model *m) {
    char id[MAGPIE_ID_MAX + 1];
    magpie_string back;
    uint32_t number;
    for (size_t u = 0; u < USERS; u++) {
        magpie_string name = id_of('u', u, id);
        magpie_status status = magpie_snapshot_user_number(snapshot, name, &number);
        assert_int_equal(status, m->user_number[u] == NONE ? MAGPIE_E_NOT_FOUND : MAGPIE_OK);
        if (status != MAGPIE_OK) continue;
        assert_int_equal(number, m->user_number[u]);
        assert_ok(magpie_snapshot_user_id(snapshot, number, &back));
        assert_true(back.size == name.size && memcmp(back.data, name.data, name.size) == 0);
    }
    for (size_t i = 0; i < ITEMS; i++) {
        magpie_string name = id_of('i', i, id);
        if (m->item_number[i] == NONE) continue;
        assert_ok(magpie_snapshot_item_number(snapshot, name, &number));
        assert_int_equal(number, m->item_number[i]);
        assert_ok(magpie_snapshot_item_id(snapshot, number, &back));
        assert_true(back.size == name.size && memcmp(back.data, name.data, name.size) == 0);
    }
    assert_status(magpie_snapshot_user_id(snapshot, m->users, &back), MAGPIE_E_NOT_FOUND);
    assert_status(magpie_snapshot_item_id(snapshot, m->items, &back), MAGPIE_E_NOT_FOUND);
}

static void compare(magpie_store *store, const model *m) {
    magpie_snapshot *snapshot;
    magpie_interaction_counts counts;
    magpie_interaction expected[ITEMS * KINDS], *got = NULL;
    size_t capacity = 0, n, users = 0, interactions = 0, with_any = 0;
    assert_ok(magpie_snapshot_open(store, &snapshot));
    compare_ids(snapshot, m);
    for (size_t u = 0; u < USERS; u++) {
        if (m->user_number[u] == NONE) continue;
        size_t wanted = expected_of(m, u, in_time_order, expected);
        assert_ok(magpie_snapshot_history(snapshot, (uint32_t)m->user_number[u], &got, &capacity, &n));
        assert_int_equal(n, wanted);
        assert_same(got, expected, n);
        users++;
        with_any += n > 0;
        interactions += n;
    }
    assert_ok(magpie_snapshot_history(snapshot, m->users, &got, &capacity, &n));
    assert_int_equal(n, 0);
    assert_ok(magpie_snapshot_interaction_counts(snapshot, &counts));
    assert_true(counts.users == m->users && counts.items == m->items && counts.live_users == users &&
                counts.interactions == interactions);
    walk all = {.m = m}, halves = {.m = m};
    assert_ok(magpie_snapshot_each_user(snapshot, 0, UINT32_MAX, compare_user, &all));
    assert_ok(magpie_snapshot_each_user(snapshot, 0, m->users / 2, compare_user, &halves));
    assert_true(halves.next <= m->users / 2);
    assert_ok(magpie_snapshot_each_user(snapshot, m->users / 2, m->users, compare_user, &halves));
    assert_true(all.users == with_any && all.interactions == interactions);
    assert_true(halves.users == with_any && halves.interactions == interactions);
    free(got);
    magpie_snapshot_close(snapshot);
    magpie_check_report report = assert_clean(store, NULL);
    assert_true(report.users == users && report.interactions == interactions);
}

static magpie_store *open_small(const char *folder) {
    magpie_store *store;
    assert_ok(
        magpie_store_open(folder, &(magpie_store_options){.create = true, .initial_bytes = 1 << 17}, &store));
    return store;
}

static uint64_t sequence_of(magpie_store *store) {
    magpie_snapshot *snapshot;
    magpie_interaction_counts counts;
    assert_ok(magpie_snapshot_open(store, &snapshot));
    assert_ok(magpie_snapshot_interaction_counts(snapshot, &counts));
    magpie_snapshot_close(snapshot);
    return counts.sequence;
}

/* ---- the tests ---- */

static void it_is_what_arrays_are(void **state) {
    (void)state;
    char *folder = make_folder();
    magpie_store *store = open_small(folder);
    magpie_batch *batch;
    model *m = make_model();
    random_state r = {7};
    assert_ok(magpie_batch_create(&batch));
    for (size_t round = 0; round < ROUNDS; round++) {
        size_t puts = 0, deleted = 0, missing = 0, items = 0;
        for (size_t n = random_below(&r, round % 10 ? 40 : 1500); n; n--) {
            size_t kind = random_below(&r, 60);
            if (kind == 0)
                ++*(delete_user(&r, batch, m) ? &deleted : &missing);
            else if (kind == 1)
                put_item(batch, "an item of the catalogue", NULL, NULL, 0), items++;
            else
                put(&r, batch, m), puts++;
        }
        magpie_commit done;
        uint64_t sequence = sequence_of(store);
        assert_int_equal(magpie_batch_count(batch), puts + deleted + missing + items);
        assert_ok(magpie_store_commit(store, batch, &done));
        assert_true(done.interactions == puts && done.users_deleted == deleted && done.missing == missing);
        assert_true((sequence_of(store) != sequence) == (puts || deleted));
        magpie_batch_clear(batch);
        if (round % 10 == 0) compare(store, m);
        if (round % 25) continue;
        magpie_store_close(store);
        if (round % 50 == 0) assert_ok(magpie_store_compact(folder, NULL, NULL));
        store = open_small(folder);
        compare(store, m);
    }
    compare(store, m);
    magpie_batch_free(batch);
    magpie_store_close(store);
    free(m);
    remove_folder(folder);
}

static void what_is_bad_is_refused(void **state) {
    (void)state;
    magpie_batch *batch;
    magpie_string good = string_of("x");
    assert_ok(magpie_batch_create(&batch));
    char longest[MAGPIE_ID_MAX + 2];
    memset(longest, 'a', sizeof longest);
    const magpie_string bad[] = {{NULL, 0}, {"\xff", 1}, {longest, MAGPIE_ID_MAX + 1}};
    for (size_t i = 0; i < 3; i++) {
        assert_status(magpie_batch_put_interaction(batch, bad[i], good, MAGPIE_BUY, 1, 0), MAGPIE_E_INPUT);
        assert_status(magpie_batch_put_interaction(batch, good, bad[i], MAGPIE_BUY, 1, 0), MAGPIE_E_INPUT);
        assert_status(magpie_batch_delete_user(batch, bad[i]), MAGPIE_E_INPUT);
    }
    assert_status(magpie_batch_put_interaction(batch, good, good, MAGPIE_BUY, NAN, 0), MAGPIE_E_INPUT);
    assert_status(magpie_batch_put_interaction(batch, good, good, MAGPIE_BUY, INFINITY, 0), MAGPIE_E_INPUT);
    assert_status(magpie_batch_put_interaction(batch, good, good, MAGPIE_BUY, 1, -1), MAGPIE_E_INPUT);
    assert_status(magpie_batch_put_interaction(batch, good, good, MAGPIE_INTERACTION_KINDS, 1, 0),
                  MAGPIE_E_INPUT);
    assert_int_equal(magpie_batch_count(batch), 0);
    magpie_batch_free(batch);
}

/* ---- compaction ---- */

static bool occurs_in(const char *folder, const char *name, const char *words) {
    char *path = magpie_path_join(folder, name), *bytes;
    size_t size;
    assert_ok(magpie_file_read(path, (size_t)1 << 30, &bytes, &size));
    bool found = memmem(bytes, size, words, strlen(words)) != NULL;
    free(bytes);
    free(path);
    return found;
}

/* Of `users` with 50 interactions each; the names say what they are of. */
static void fill(magpie_store *store, const char *names, size_t users) {
    magpie_batch *batch;
    char user[64], item[64];
    assert_ok(magpie_batch_create(&batch));
    for (size_t u = 0; u < users; u++)
        for (size_t i = 0; i < 50; i++) {
            snprintf(user, sizeof user, "%s number %zu", names, u);
            snprintf(item, sizeof item, "item %zu", (u * 7 + i * 3) % 400);
            assert_ok(magpie_batch_put_interaction(batch, string_of(user), string_of(item), MAGPIE_VIEW, 1,
                                                   (int64_t)i));
        }
    assert_ok(magpie_store_commit(store, batch, NULL));
    magpie_batch_free(batch);
}

static void delete_all(magpie_store *store, const char *names, size_t users) {
    magpie_batch *batch;
    char user[64];
    assert_ok(magpie_batch_create(&batch));
    for (size_t u = 0; u < users; u++) {
        snprintf(user, sizeof user, "%s number %zu", names, u);
        assert_ok(magpie_batch_delete_user(batch, string_of(user)));
    }
    assert_ok(magpie_store_commit(store, batch, NULL));
    magpie_batch_free(batch);
}

/* Items of all sizes in the same commits, so that pages of every kind are made beside those of users. */
static void add_items(magpie_store *store) {
    magpie_batch *batch;
    char id[32], *text = malloc(9000);
    memset(text, 't', 9000);
    bind_space(store, MAGPIE_SPACE_FUSED, 24);
    assert_ok(magpie_batch_create(&batch));
    for (size_t i = 0; i < 200; i++) {
        random_state r = {i};
        float vector[24];
        random_vector(&r, 24, vector);
        const float *vectors[MAGPIE_SPACES] = {[MAGPIE_SPACE_FUSED] = vector};
        const size_t dimensions[MAGPIE_SPACES] = {[MAGPIE_SPACE_FUSED] = 24};
        snprintf(id, sizeof id, "item %zu", i);
        assert_ok(magpie_batch_put(batch,
                                   &(magpie_item){.id = string_of(id),
                                                  .text = {text, random_below(&r, 9000)},
                                                  .attributes = string_of("{\"a\": 1}"),
                                                  .timestamp = INT64_MIN},
                                   vectors, dimensions));
    }
    assert_ok(magpie_store_commit(store, batch, NULL));
    magpie_batch_free(batch);
    free(text);
}

/* Applied once more, since it runs out of map half-way, and then as if it had been applied once. */
static void one_batch_may_outgrow_the_map(void **state) {
    (void)state;
    char *folder = make_folder();
    magpie_store *store = open_small(folder);
    magpie_store_stats before, after;
    assert_ok(magpie_store_get_stats(store, &before));
    fill(store, "kept", 300);
    assert_ok(magpie_store_get_stats(store, &after));
    assert_true(after.file_bytes > 2 * before.map_bytes && after.users == 300);
    assert_int_equal(assert_clean(store, NULL).interactions, 300 * 50);
    assert_int_equal(sequence_of(store), 1);
    magpie_store_close(store);
    remove_folder(folder);
}

static void a_compaction_leaves_no_trace(void **state) {
    (void)state;
    char *folder = make_folder();
    magpie_store *store = open_store(folder);
    magpie_index *index;
    uint64_t before, after;
    fill(store, "kept", 30);
    fill(store, "forgotten", 300);
    add_items(store);
    assert_ok(magpie_index_open(store, MAGPIE_SPACE_FUSED, NULL, &index));
    assert_ok(magpie_index_save(index));
    magpie_index_close(index);
    delete_all(store, "forgotten", 300);
    assert_true(occurs_in(folder, "data.mdb", "forgotten")); /* or this would test nothing */
    assert_status(magpie_store_compact(folder, NULL, NULL), MAGPIE_E_BUSY);
    magpie_store_close(store);
    assert_ok(magpie_store_compact(folder, &before, &after));
    assert_true(after < before);
    assert_false(occurs_in(folder, "data.mdb", "forgotten"));
    assert_false(occurs_in(folder, "lock.mdb", "forgotten"));
    assert_false(occurs_in(folder, "fused.index", "forgotten"));
    char *temporary = magpie_path_join(folder, "data.mdb.tmp");
    assert_false(magpie_path_exists(temporary));
    free(temporary);
    store = open_store(folder);
    assert_ok(magpie_index_open(store, MAGPIE_SPACE_FUSED, NULL, &index));
    magpie_index_stats stats;
    magpie_index_get_stats(index, &stats);
    assert_true(stats.loaded && stats.vectors == 200);
    magpie_check_report report = assert_clean(store, index);
    assert_true(report.items == 200 && report.users == 30 && report.interactions == 1500);
    magpie_index_close(index);
    fill(store, "kept", 31); /* and it can be written to */
    assert_clean(store, NULL);
    magpie_store_close(store);
    remove_folder(folder);
}

/* Opens and reads, again and again, in a process of its own. Exits with 0 where all was always there. */
static void open_again_and_again(const char *folder, unsigned seed) {
    for (unsigned i = 0; i < 150; i++) {
        const magpie_store_options options = {.read_only = (i + seed) % 3 != 0};
        magpie_store *store;
        magpie_store_stats stats;
        if (magpie_store_open(folder, &options, &store) != MAGPIE_OK) _exit(1);
        if (!options.read_only) fill(store, "kept", 1 + i % 2); /* so that its transaction numbers go on */
        if (magpie_store_get_stats(store, &stats) != MAGPIE_OK || stats.users != 5 ||
            stats.interactions != 250)
            _exit(2);
        magpie_store_close(store);
    }
    _exit(0);
}

static void who_opens_it_meanwhile_sees_nothing_of_it(void **state) {
    (void)state;
    enum { CHILDREN = 2 };
    char *folder = make_folder();
    pid_t child[CHILDREN];
    size_t done = 0, running = CHILDREN;
    magpie_store *store = open_store(folder);
    fill(store, "kept", 5);
    magpie_store_close(store);
    for (unsigned i = 0; i < CHILDREN; i++) {
        child[i] = fork();
        assert_true(child[i] >= 0);
        if (!child[i]) open_again_and_again(folder, i);
    }
    while (running) {
        magpie_status status = magpie_store_compact(folder, NULL, NULL);
        if (status != MAGPIE_OK && status != MAGPIE_E_BUSY) fail_msg("compact: %s", magpie_error());
        done += status == MAGPIE_OK;
        for (unsigned i = 0; i < CHILDREN; i++) {
            int how;
            if (child[i] <= 0 || waitpid(child[i], &how, WNOHANG) != child[i]) continue;
            assert_true(WIFEXITED(how) && WEXITSTATUS(how) == 0);
            child[i] = 0;
            running--;
        }
    }
    print_message("%zu compactions between them\n", done);
    store = open_store(folder);
    assert_clean(store, NULL);
    magpie_store_close(store);
    remove_folder(folder);
}

static void another_process_is_in_the_way(void **state) {
    (void)state;
    char *folder = make_folder(), byte;
    int ready[2], leave[2];
    magpie_store_close(open_store(folder));
    assert_true(pipe(ready) == 0 && pipe(leave) == 0);
    pid_t child = fork();
    if (!child) {
        magpie_store *store;
        close(leave[1]);
        if (magpie_store_open(folder, &(magpie_store_options){.read_only = true}, &store) != MAGPIE_OK)
            _exit(1);
        if (write(ready[1], "", 1) != 1 || read(leave[0], &byte, 1) != 0) _exit(2);
        _exit(0);
    }
    close(leave[0]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_status(magpie_store_compact(folder, NULL, NULL), MAGPIE_E_BUSY);
    close(leave[1]);
    int how;
    assert_true(waitpid(child, &how, 0) == child && WIFEXITED(how) && WEXITSTATUS(how) == 0);
    assert_ok(magpie_store_compact(folder, NULL, NULL));
    close(ready[0]);
    close(ready[1]);
    remove_folder(folder);
}

/* ---- stores that are not as this program makes them ---- */

/* Runs `change` on the raw tables. */
static void change_raw(const char *folder, const char *table, unsigned flags,
                       void (*change)(MDB_txn *txn, MDB_dbi dbi)) {
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
    assert_int_equal(mdb_env_create(&env), 0);
    assert_int_equal(mdb_env_set_maxdbs(env, 32), 0);
    assert_int_equal(mdb_env_open(env, folder, 0, 0666), 0);
    assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
    assert_int_equal(mdb_dbi_open(txn, table, flags, &dbi), 0);
    change(txn, dbi);
    assert_int_equal(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
}

static void drop(MDB_txn *txn, MDB_dbi dbi) { assert_int_equal(mdb_drop(txn, dbi, 1), 0); }

static void a_store_from_before_opens(void **state) {
    (void)state;
    static const char *const younger[] = {"i.users", "i.user_ids", "i.items", "i.item_ids", "interactions"};
    char *folder = make_folder();
    magpie_store *store = open_store(folder);
    magpie_snapshot *snapshot;
    magpie_interaction_counts counts;
    magpie_interaction *history = NULL;
    size_t capacity = 0, n;
    uint32_t number;
    add_items(store);
    magpie_store_close(store);
    for (size_t i = 0; i < 5; i++) change_raw(folder, younger[i], 0, drop);
    assert_ok(magpie_store_open(folder, &(magpie_store_options){.read_only = true}, &store));
    assert_int_equal(assert_clean(store, NULL).items, 200);
    assert_ok(magpie_snapshot_open(store, &snapshot));
    assert_ok(magpie_snapshot_interaction_counts(snapshot, &counts));
    assert_true(!counts.users && !counts.items && !counts.live_users && !counts.interactions);
    assert_status(magpie_snapshot_user_number(snapshot, string_of("x"), &number), MAGPIE_E_NOT_FOUND);
    assert_ok(magpie_snapshot_history(snapshot, 0, &history, &capacity, &n));
    assert_int_equal(n, 0);
    assert_ok(magpie_snapshot_each_user(snapshot, 0, UINT32_MAX, compare_user, NULL));
    magpie_snapshot_close(snapshot);
    magpie_store_close(store);
    store = open_store(folder);
    fill(store, "kept", 3);
    magpie_check_report report = assert_clean(store, NULL);
    assert_true(report.items == 200 && report.users == 3 && report.interactions == 150);
    magpie_store_close(store);
    remove_folder(folder);
}

static int put_raw(MDB_txn *txn, MDB_dbi dbi, const void *key, size_t key_size, const void *data,
                   size_t size) {
    MDB_val k = {key_size, (void *)(uintptr_t)key}, v = {size, (void *)(uintptr_t)data};
    return mdb_put(txn, dbi, &k, &v, 0);
}

static void add_short_key(MDB_txn *txn, MDB_dbi dbi) { (void)put_raw(txn, dbi, "abc", 3, "12", 2); }
static void add_stranger(MDB_txn *txn, MDB_dbi dbi) {
    (void)put_raw(txn, dbi, "\0\0\0\x63\0\0\0\0\0", 9, "\0\0\0\0\0\0\0\0\0\0\0\0", 12);
}
static void add_bad_kind(MDB_txn *txn, MDB_dbi dbi) {
    (void)put_raw(txn, dbi, "\0\0\0\0\0\0\0\0\x09", 9, "\0\0\0\0\0\0\0\0\0\0\0\0", 12);
}
static void add_not_finite(MDB_txn *txn, MDB_dbi dbi) {
    (void)put_raw(txn, dbi, "\0\0\0\0\0\0\0\0\x01", 9, "\0\0\x80\x7f\0\0\0\0\0\0\0\0", 12);
}
static void add_name(MDB_txn *txn, MDB_dbi dbi) { (void)put_raw(txn, dbi, "thief", 5, "\0\0\0\0", 4); }
static void add_id(MDB_txn *txn, MDB_dbi dbi) {
    uint32_t number = 1000;
    (void)put_raw(txn, dbi, &number, sizeof number, "ghost", 5);
}

static void count_problem(void *context, const char *problem) {
    (void)problem;
    ++*(size_t *)context;
}

static void damage_is_found(void **state) {
    (void)state;
    static const struct {
        const char *table;
        unsigned flags;
        void (*change)(MDB_txn *, MDB_dbi);
    } damages[] = {{"interactions", 0, add_short_key},
                   {"interactions", 0, add_stranger},
                   {"interactions", 0, add_bad_kind},
                   {"interactions", 0, add_not_finite},
                   {"i.users", 0, add_name},
                   {"i.items", 0, add_name},
                   {"i.user_ids", MDB_INTEGERKEY, add_id},
                   {"i.item_ids", MDB_INTEGERKEY, add_id}};
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        char *folder = make_folder();
        magpie_store *store = open_store(folder);
        magpie_check_report report;
        size_t problems = 0;
        fill(store, "kept", 3);
        assert_clean(store, NULL);
        magpie_store_close(store);
        change_raw(folder, damages[i].table, damages[i].flags, damages[i].change);
        store = open_store(folder);
        assert_ok(magpie_store_check(store, NULL, count_problem, &problems, &report));
        assert_true(problems > 0 && report.problems == problems);
        magpie_store_close(store);
        remove_folder(folder);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_what_arrays_are),
        cmocka_unit_test(what_is_bad_is_refused),
        cmocka_unit_test(one_batch_may_outgrow_the_map),
        cmocka_unit_test(a_compaction_leaves_no_trace),
        cmocka_unit_test(who_opens_it_meanwhile_sees_nothing_of_it),
        cmocka_unit_test(another_process_is_in_the_way),
        cmocka_unit_test(a_store_from_before_opens),
        cmocka_unit_test(damage_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
