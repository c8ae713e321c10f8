/* test_fuse.c - all fused vectors anew: they are the formula's whatever the store had before, and whoever
 * is stopped, killed or in between, no vector is ever taken for another model's. */
#include "test_fused.h"
#include "test_index.h"

#include <signal.h>
#include <sys/wait.h>

#include "ingest.h"

enum { ITEMS = 100, COMMIT_ITEMS = 7 };

static const size_t dimensions[MAGPIE_SPACES] = {24, 24, 40, 16};
static const char *const fingerprints[MAGPIE_SPACES] = {"t", "t", "i", "a"};
static const magpie_modality_source sources[MAGPIE_MODALITIES] = {{24, "t"}, {40, "i"}, {16, "a"}};
static const magpie_index_options one_thread = {.threads = 1}; /* OpenMP's threads do not survive a fork */

static bool has(size_t i, magpie_space space) {
    return space == MAGPIE_SPACE_IMAGE ? i % 3 == 0 : space == MAGPIE_SPACE_AUDIO ? i % 4 == 1 : i % 5 != 0;
}

/* Items that have anything; 1 in 60 or so has nothing. */
static size_t count_any(void) {
    size_t n = 0;
    for (size_t i = 0; i < ITEMS; i++)
        n += has(i, MAGPIE_SPACE_TEXT) || has(i, MAGPIE_SPACE_IMAGE) || has(i, MAGPIE_SPACE_AUDIO);
    return n;
}

static void vector_of(size_t i, magpie_space space, float *out) {
    random_state r = {1000 * i + (space == MAGPIE_SPACE_FUSED ? MAGPIE_SPACE_TEXT : space)};
    random_vector(&r, dimensions[space], out);
}

/* A store as it was before there were heads: the fused vector is the text's. */
static magpie_store *fill(const char *folder) {
    magpie_store *store = open_store(folder);
    magpie_batch *batch;
    assert_ok(magpie_batch_create(&batch));
    for (unsigned s = 0; s < MAGPIE_SPACES; s++)
        assert_ok(magpie_store_bind(
            store, s, &(magpie_space_model){fingerprints[s], fingerprints[s], dimensions[s], NULL}));
    for (size_t i = 0; i < ITEMS; i++) {
        char id[32];
        float vectors[MAGPIE_SPACES][40];
        const float *given[MAGPIE_SPACES] = {0};
        snprintf(id, sizeof id, "item %zu", i);
        magpie_item item = {.id = string_of(id), .text = string_of(id), .timestamp = INT64_MIN};
        item.attributes = string_of("{\"a\": 1}");
        for (unsigned s = 0; s < MAGPIE_SPACES; s++) {
            if (!has(i, s)) continue;
            vector_of(i, s, vectors[s]);
            given[s] = vectors[s];
            item.encoded_hash[s] = 1 + i;
        }
        assert_ok(magpie_batch_put(batch, &item, given, dimensions));
    }
    assert_ok(magpie_store_commit(store, batch, NULL));
    magpie_batch_free(batch);
    return store;
}

typedef struct scene {
    char *folder;
    magpie_store *store;
    magpie_fusion *fusion;
} scene;

static scene make_scene(void) {
    scene s = {.folder = make_folder()};
    s.store = fill(s.folder);
    s.fusion = make_fusion(s.folder, 1, sources);
    return s;
}

static void end_scene(scene *s) {
    magpie_fusion_close(s->fusion);
    magpie_store_close(s->store);
    remove_folder(s->folder);
}

static magpie_fuse_progress fuse(magpie_store *store, const magpie_fusion *fusion) {
    const magpie_fuse_options options = {.commit_items = COMMIT_ITEMS};
    magpie_fuse_progress done;
    assert_ok(magpie_ingest_fuse(store, fusion, &options, &done));
    assert_int_equal(done.fused + done.kept + done.bare, done.items);
    return done;
}

static uint64_t sequence_of(magpie_store *store) {
    magpie_store_stats stats;
    assert_ok(magpie_store_get_stats(store, &stats));
    return stats.sequence;
}

/* The store and an index of its fused space hold together; returns how many the index holds. */
static uint64_t indexed(magpie_store *store) {
    magpie_index *index;
    assert_ok(magpie_index_open(store, MAGPIE_SPACE_FUSED, &one_thread, &index));
    uint64_t n = assert_clean(store, index).indexed;
    assert_ok(magpie_index_save(index));
    magpie_index_close(index);
    return n;
}

/* ---- what is made -------------------------------------------------------------------------------------- */

static void fused_vectors_are_the_formula(void **state) {
    (void)state;
    scene s = make_scene();
    magpie_fuse_progress done = fuse(s.store, s.fusion);
    assert_int_equal(done.fused, count_any());
    assert_int_equal(done.bare, ITEMS - count_any());
    assert_true(count_any() < ITEMS); /* or it tests less than it says */
    assert_fused(s.store, s.fusion, count_any());
    assert_int_equal(indexed(s.store), count_any());
    end_scene(&s);
}

static void a_second_run_writes_nothing(void **state) {
    (void)state;
    scene s = make_scene();
    fuse(s.store, s.fusion);
    uint64_t before = sequence_of(s.store);
    magpie_fuse_progress again = fuse(s.store, s.fusion);
    assert_int_equal(again.fused, 0);
    assert_int_equal(again.kept, count_any());
    assert_true(sequence_of(s.store) == before);
    end_scene(&s);
}

static void other_weights_are_remembered(void **state) {
    (void)state;
    scene s = make_scene();
    magpie_fusion *same;
    magpie_space_binding binding;
    magpie_snapshot *snapshot;
    char *folder = magpie_path_join(s.folder, "heads 1");
    fuse(s.store, s.fusion);
    assert_ok(magpie_fusion_set_weights(s.fusion, (const float[]){0.3F, 1.7F, 0}));
    assert_int_equal(fuse(s.store, s.fusion).kept, 0);
    assert_int_equal(check_fused(s.store, s.fusion).missing, 0);
    assert_ok(magpie_snapshot_open(s.store, &snapshot));
    assert_ok(magpie_snapshot_get_binding(snapshot, MAGPIE_SPACE_FUSED, &binding));
    magpie_snapshot_close(snapshot);
    assert_ok(magpie_ingest_open_fusion(folder, sources, &binding, &same));
    assert_string_equal(magpie_fusion_get_info(same)->fingerprint,
                        magpie_fusion_get_info(s.fusion)->fingerprint);
    magpie_fusion_close(same);
    assert_ok(magpie_ingest_open_fusion(folder, sources, NULL, &same));
    assert_true(magpie_fusion_get_info(same)->weights[MAGPIE_TEXT] == 1);
    magpie_fusion_close(same);
    free(folder);
    end_scene(&s);
}

/* Without heads it is the text's again, to the bit; and a store without them goes on as it was. */
static void without_heads_the_text_is_fused(void **state) {
    (void)state;
    scene s = make_scene();
    magpie_fusion *text;
    assert_ok(magpie_ingest_open_fusion(NULL, sources, NULL, &text));
    uint64_t before = sequence_of(s.store);
    fuse(s.store, text);
    assert_true(sequence_of(s.store) == before);
    fuse(s.store, s.fusion);
    fuse(s.store, text);
    magpie_snapshot *snapshot;
    assert_ok(magpie_snapshot_open(s.store, &snapshot));
    for (size_t i = 0; i < ITEMS; i++) {
        char id[32];
        magpie_item item;
        const float *words, *fused;
        snprintf(id, sizeof id, "item %zu", i);
        assert_ok(magpie_snapshot_get(snapshot, string_of(id), &item));
        assert_ok(magpie_snapshot_vector(snapshot, MAGPIE_SPACE_TEXT, item.row, &words));
        assert_ok(magpie_snapshot_vector(snapshot, MAGPIE_SPACE_FUSED, item.row, &fused));
        assert_true(!words == !fused && (!words || memcmp(words, fused, 24 * sizeof *words) == 0));
        assert_true(item.encoded_hash[MAGPIE_SPACE_FUSED] == item.encoded_hash[MAGPIE_SPACE_TEXT]);
    }
    magpie_snapshot_close(snapshot);
    indexed(s.store);
    magpie_fusion_close(text);
    end_scene(&s);
}

static void heads_of_other_models_are_refused(void **state) {
    (void)state;
    scene s = make_scene();
    const magpie_modality_source others[MAGPIE_MODALITIES] = {{24, "t"}, {40, "another"}};
    magpie_fusion *other = make_fusion(s.folder, 2, others);
    assert_status(magpie_ingest_fuse(s.store, other, NULL, NULL), MAGPIE_E_MISMATCH);
    assert_non_null(strstr(magpie_error(), "another"));
    magpie_fusion_close(other);
    end_scene(&s);
}

/* ---- what is in between -------------------------------------------------------------------------------- */

typedef struct stop {
    size_t after; /* commits */
    bool kill;
} stop;

static bool stop_after(void *context, const magpie_fuse_progress *progress) {
    (void)progress;
    stop *s = context;
    if (--s->after) return true;
    if (s->kill) raise(SIGKILL);
    return false;
}

/* What was fused is right, nothing else is there, and the rest follows. */
static void assert_goes_on(scene *s, size_t commits) {
    fused_check c = check_fused(s->store, s->fusion);
    assert_int_equal(c.fused,
                     commits * COMMIT_ITEMS); /* a batch is full of vectors or of what had one to lose */
    assert_int_equal(indexed(s->store), c.fused);
    magpie_fuse_progress rest = fuse(s->store, s->fusion);
    assert_int_equal(rest.kept, c.fused);
    assert_int_equal(rest.fused, c.missing);
    assert_fused(s->store, s->fusion, count_any());
    assert_int_equal(indexed(s->store), count_any());
}

static void a_stopped_run_goes_on(void **state) {
    (void)state;
    for (size_t commits = 1; commits < 12; commits += 3) {
        scene s = make_scene();
        stop at = {.after = commits};
        const magpie_fuse_options options = {COMMIT_ITEMS, stop_after, &at};
        indexed(s.store); /* a file of the former vectors lies there */
        assert_status(magpie_ingest_fuse(s.store, s.fusion, &options, NULL), MAGPIE_E_CANCELLED);
        assert_goes_on(&s, commits);
        end_scene(&s);
    }
}

static void a_killed_run_goes_on(void **state) {
    (void)state;
    for (size_t commits = 1; commits < 12; commits += 5) {
        scene s = make_scene();
        int how;
        indexed(s.store);
        magpie_store_close(s.store);
        pid_t child = fork();
        if (!child) {
            stop at = {.after = commits, .kill = true};
            const magpie_fuse_options options = {COMMIT_ITEMS, stop_after, &at};
            magpie_store *store = open_store(s.folder);
            (void)!magpie_ingest_fuse(store, s.fusion, &options, NULL);
            _exit(1);
        }
        assert_true(waitpid(child, &how, 0) == child && WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL);
        s.store = open_store(s.folder);
        assert_goes_on(&s, commits);
        end_scene(&s);
    }
}

/* Somebody else deletes an item and gives another one a new text, while both wait for their turn. */
static bool change_two(void *context, const magpie_fuse_progress *progress) {
    magpie_store *store = context;
    magpie_batch *batch;
    float vector[24];
    if (progress->fused > COMMIT_ITEMS) return true;
    const float *vectors[MAGPIE_SPACES] = {[MAGPIE_SPACE_TEXT] = vector};
    vector_of(999, MAGPIE_SPACE_TEXT, vector);
    const magpie_item item = {.id = string_of("item 91"), .text = string_of("new"), .timestamp = INT64_MIN};
    assert_ok(magpie_batch_create(&batch));
    assert_ok(magpie_batch_delete(batch, string_of("item 92")));
    assert_ok(magpie_batch_put(batch, &item, vectors, dimensions));
    assert_ok(magpie_store_commit(store, batch, NULL));
    magpie_batch_free(batch);
    return true;
}

static void what_others_change_stays(void **state) {
    (void)state;
    scene s = make_scene();
    const magpie_fuse_options options = {COMMIT_ITEMS, change_two, s.store};
    magpie_snapshot *snapshot;
    magpie_item item;
    assert_ok(magpie_ingest_fuse(s.store, s.fusion, &options, NULL));
    assert_ok(magpie_snapshot_open(s.store, &snapshot));
    assert_status(magpie_snapshot_get(snapshot, string_of("item 92"), &item), MAGPIE_E_NOT_FOUND);
    assert_ok(magpie_snapshot_get(snapshot, string_of("item 91"), &item));
    assert_true(item.text.size == 3 && memcmp(item.text.data, "new", 3) == 0);
    magpie_snapshot_close(snapshot);
    assert_int_equal(check_fused(s.store, s.fusion).missing, 1); /* put without, by one who knew no better */
    assert_int_equal(fuse(s.store, s.fusion).fused, 1);
    assert_int_equal(check_fused(s.store, s.fusion).missing, 0);
    indexed(s.store);
    end_scene(&s);
}

/* An item that has moved on between snapshot and commit is left alone. */
static void a_vector_is_for_one_row(void **state) {
    (void)state;
    scene s = make_scene();
    magpie_batch *batch;
    magpie_snapshot *snapshot;
    magpie_item item;
    magpie_commit done;
    float vector[24];
    vector_of(999, MAGPIE_SPACE_FUSED, vector);
    assert_ok(magpie_batch_create(&batch));
    assert_ok(magpie_snapshot_open(s.store, &snapshot));
    assert_ok(magpie_snapshot_get(snapshot, string_of("item 1"), &item));
    uint64_t row = item.row;
    magpie_snapshot_close(snapshot);
    for (int i = 0; i < 2; i++) /* the second finds a new row there */
        assert_ok(
            magpie_batch_put_vector(batch, string_of("item 1"), row, MAGPIE_SPACE_FUSED, vector, 24, 5));
    assert_ok(magpie_batch_put_vector(batch, string_of("nobody"), row, MAGPIE_SPACE_FUSED, vector, 24, 5));
    assert_ok(magpie_store_commit(s.store, batch, &done));
    assert_true(done.replaced == 1 && done.missing == 2);
    magpie_batch_clear(batch);
    assert_ok(magpie_batch_expect(batch, MAGPIE_SPACE_FUSED, "another"));
    assert_status(magpie_store_commit(s.store, batch, &done), MAGPIE_E_MISMATCH);
    magpie_batch_free(batch);
    assert_clean(s.store, NULL);
    end_scene(&s);
}

/* ---- indexes that are older ---------------------------------------------------------------------------- */

static void an_open_index_answers_as_before_and_does_not_follow(void **state) {
    (void)state;
    scene s = make_scene();
    magpie_index *index;
    magpie_hit before[5], after[5];
    size_t n;
    float query[24];
    vector_of(1, MAGPIE_SPACE_TEXT, query);
    assert_ok(magpie_index_open(s.store, MAGPIE_SPACE_FUSED, &one_thread, &index));
    assert_ok(magpie_index_search(index, 1, query, 5, NULL, NULL, before, &n));
    fuse(s.store, s.fusion);
    assert_ok(magpie_index_search(index, 1, query, 5, NULL, NULL, after, &n));
    for (size_t i = 0; i < n; i++)
        assert_true(before[i].row == after[i].row && before[i].score == after[i].score);
    assert_string_equal(magpie_index_get_binding(index)->fingerprint, "t");
    assert_status(magpie_index_refresh(index), MAGPIE_E_MISMATCH);
    assert_status(magpie_index_rebuild(index), MAGPIE_E_MISMATCH);
    assert_ok(magpie_index_save(index)); /* a file of the former binding, which nobody is to read */
    magpie_index_close(index);
    assert_int_equal(indexed(s.store), count_any());
    end_scene(&s);
}

/* There and back: the index file of before is of the right model, and its rows still live, but their
 * vectors are gone from the store. */
static void a_file_of_an_earlier_binding_is_not_read(void **state) {
    (void)state;
    scene s = make_scene();
    const magpie_space_model first = {"t", "t", 24, NULL}, second = {"u", "u", 24, NULL};
    magpie_index *index;
    magpie_index_stats stats;
    uint64_t n = indexed(s.store);
    assert_true(n > 0);
    assert_ok(magpie_index_open(s.store, MAGPIE_SPACE_FUSED, &one_thread, &index));
    assert_ok(magpie_store_rebind(s.store, MAGPIE_SPACE_FUSED, &first)); /* nothing to do */
    assert_ok(magpie_index_refresh(index));
    assert_ok(magpie_store_rebind(s.store, MAGPIE_SPACE_FUSED, &second));
    assert_ok(magpie_store_rebind(s.store, MAGPIE_SPACE_FUSED, &first));
    assert_status(magpie_index_refresh(index), MAGPIE_E_MISMATCH);
    assert_ok(magpie_index_save(index));
    magpie_index_close(index);
    assert_ok(magpie_index_open(s.store, MAGPIE_SPACE_FUSED, &one_thread, &index));
    magpie_index_get_stats(index, &stats);
    assert_true(!stats.loaded && stats.vectors == 0);
    assert_clean(s.store, index);
    magpie_index_close(index);
    end_scene(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fused_vectors_are_the_formula),
        cmocka_unit_test(a_second_run_writes_nothing),
        cmocka_unit_test(other_weights_are_remembered),
        cmocka_unit_test(without_heads_the_text_is_fused),
        cmocka_unit_test(heads_of_other_models_are_refused),
        cmocka_unit_test(a_stopped_run_goes_on),
        cmocka_unit_test(a_killed_run_goes_on),
        cmocka_unit_test(what_others_change_stays),
        cmocka_unit_test(a_vector_is_for_one_row),
        cmocka_unit_test(an_open_index_answers_as_before_and_does_not_follow),
        cmocka_unit_test(a_file_of_an_earlier_binding_is_not_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
