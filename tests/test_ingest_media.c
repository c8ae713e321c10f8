/* test_ingest_media.c - each modality is encoded when it must be and never else: whatever has changed
 * (text, file, model), whichever encoders a run has, and whatever is wrong with a file. Every property is
 * held against pictures and against sounds; test_ingest_sounds.c has what is between the two. */
#include "test_ingest_media.h"

#include <fcntl.h>
#include <sys/stat.h>

static const medium_kind *kind; /* of the files of the tests that run */

/* ---- items with files ---------------------------------------------------------------------------------- */

static void give_encoders(world *w, bool of_texts, bool of_files) {
    w->encoders = of_files ? encoder_of(kind, shared_encoders) : (magpie_ingest_encoders){0};
    if (of_texts) w->encoders.text = shared_encoder;
}

/* A world with both, the text's and that of files. */
static world *both(void **state) { return world_with(state, encoder_of(kind, shared_encoders)); }

static void put_file(const world *w, unsigned i, unsigned seed) { write_file(w, kind, i, seed); }

/* Items 0 .. n-1: each has a text and a relative reference to its file. */
static void add_with_files(world *w, unsigned n, const char *text, int price) {
    for (unsigned i = 0; i < n; i++)
        magpie_text_printf(&w->lines,
                           "{\"id\": \"item %u\", \"text\": \"%s %u\", \"%s\": \"%u.%s\", "
                           "\"attributes\": {\"price\": %d}}\n",
                           i, text, i, kind->key, i, kind->extension, price);
}

static void write_with_files(world *w, unsigned n, const char *text, int price) {
    magpie_text_clear(&w->lines);
    add_with_files(w, n, text, price);
    write_catalogue(w);
}

/* What a run did with files of the kind, and that it did nothing with the other. */
static void assert_files(magpie_ingest_progress p, size_t encoded, size_t refused) {
    if (kind == &pictures)
        assert_media(p, encoded, refused, 0, 0);
    else
        assert_media(p, 0, 0, encoded, refused);
}

/* A catalogue of ITEMS files, in the store. */
static world *ingest_files(void **state) {
    world *w = both(state);
    for (unsigned i = 0; i < ITEMS; i++) put_file(w, i, i);
    write_with_files(w, ITEMS, "a thing", 1);
    magpie_ingest_progress first = ingest_to_the_end(w);
    assert_counts(first, ITEMS, 0, 0, 0);
    assert_files(first, ITEMS, 0);
    return w;
}

static void assert_problem(world *w, unsigned i, const char *words) {
    const char *problems = problems_of(w, i);
    if (!words) {
        assert_string_equal(problems, "");
        return;
    }
    size_t prefix = strlen(kind->key);
    if (strncmp(problems, kind->key, prefix) != 0 || strncmp(problems + prefix, ": ", 2) != 0 ||
        !strstr(problems, words))
        fail_msg("item %u: \"%s: %s\" is not \"%s\"", i, kind->key, words, problems);
}

/* ---- what is encoded ----------------------------------------------------------------------------------- */

static void test_second_run_encodes_no_file(void **state) {
    world *w = ingest_files(state);
    for (unsigned s = 0; s < MAGPIE_SPACES; s++)
        if (s <= MAGPIE_SPACE_TEXT || s == kind->space) assert_int_equal(vectors_in(w, s), ITEMS);
    magpie_ingest_progress again = ingest_to_the_end(w);
    assert_counts(again, 0, 0, ITEMS, 0);
    assert_files(again, 0, 0);
    assert_false(magpie_path_exists(w->rejects));
    assert_store_holds(w, ITEMS);
    assert_as_if_new(w);
}

static void test_changed_text_keeps_the_file_s_vector(void **state) {
    world *w = ingest_files(state);
    float *before = vector_of(w, 7, kind->space, NULL);
    write_with_files(w, ITEMS, "another thing", 1);
    magpie_ingest_progress run = ingest_to_the_end(w);
    assert_counts(run, ITEMS, 0, 0, 0);
    assert_files(run, 0, 0);
    assert_same_vector(w, 7, kind->space, before);
    assert_store_holds(w, ITEMS);
    assert_as_if_new(w);
}

static void test_changed_attributes_keep_the_row(void **state) {
    world *w = ingest_files(state);
    uint64_t before = row_of(w, 3);
    write_with_files(w, ITEMS, "a thing", 2);
    assert_counts(ingest_to_the_end(w), 0, ITEMS, 0, 0);
    assert_true(before == row_of(w, 3));
    assert_as_if_new(w);
}

static void test_file_replaced_under_its_name_is_noticed(void **state) {
    world *w = ingest_files(state);
    const struct timespec same_second[2] = {{.tv_sec = 1700000000, .tv_nsec = 1},
                                            {.tv_sec = 1700000000, .tv_nsec = 1}};
    const struct timespec later[2] = {{.tv_sec = 1700000000, .tv_nsec = 2},
                                      {.tv_sec = 1700000000, .tv_nsec = 2}};
    char *path = file_path(w, kind, 5);
    assert_int_equal(utimensat(AT_FDCWD, path, same_second, 0), 0);
    assert_counts(ingest_to_the_end(w), 1, 0, ITEMS - 1, 0);
    put_file(w, 5, 1005); /* of the same size */
    assert_int_equal(utimensat(AT_FDCWD, path, later, 0), 0);
    magpie_ingest_progress run = ingest_to_the_end(w);
    assert_counts(run, 1, 0, ITEMS - 1, 0);
    assert_files(run, 1, 0);
    free(path);
    assert_as_if_new(w);
}

static void test_file_that_is_no_longer_named_goes(void **state) {
    world *w = ingest_files(state);
    magpie_text_clear(&w->lines);
    add_items(w, 0, ITEMS, "a thing", 1);
    write_catalogue(w);
    assert_counts(ingest_to_the_end(w), 0, ITEMS, 0, 0);
    assert_int_equal(vectors_in(w, kind->space), 0);
    assert_int_equal(vectors_in(w, MAGPIE_SPACE_FUSED), ITEMS);
    assert_counts(ingest_to_the_end(w), 0, 0, ITEMS, 0);
    assert_as_if_new(w);
}

static void test_item_without_text_has_its_file_alone(void **state) {
    world *w = both(state);
    put_file(w, 0, 0);
    char *path = file_path(w, kind, 0); /* absolute */
    magpie_text_printf(&w->lines, "{\"id\": \"item 0\", \"%s\": \"%s\"}\n", kind->key, path);
    free(path);
    write_catalogue(w);
    assert_counts(ingest_to_the_end(w), 1, 0, 0, 0);
    assert_int_equal(vectors_in(w, kind->space), 1);
    assert_int_equal(vectors_in(w, MAGPIE_SPACE_FUSED) + vectors_in(w, MAGPIE_SPACE_TEXT), 0);
    assert_store_holds(w, 1);
}

/* ---- which encoders there are -------------------------------------------------------------------------- */

static void test_file_model_comes_later(void **state) {
    world *w = both(state);
    give_encoders(w, true, false);
    for (unsigned i = 0; i < ITEMS; i++) put_file(w, i, i);
    write_with_files(w, ITEMS, "a thing", 1);
    assert_counts(ingest_to_the_end(w), ITEMS, 0, 0, 0);
    float *text = vector_of(w, 9, MAGPIE_SPACE_TEXT, NULL);
    give_encoders(w, false, true); /* no text is encoded, for none can be */
    magpie_ingest_progress run = ingest_to_the_end(w);
    assert_counts(run, ITEMS, 0, 0, 0);
    assert_files(run, ITEMS, 0);
    assert_same_vector(w, 9, MAGPIE_SPACE_TEXT, text);
    give_encoders(w, true, true);
    assert_counts(ingest_to_the_end(w), 0, 0, ITEMS, 0);
    assert_as_if_new(w);
}

static void test_text_model_comes_later(void **state) {
    world *w = both(state);
    w->encoders.text = NULL;
    for (unsigned i = 0; i < ITEMS; i++) put_file(w, i, i);
    write_with_files(w, ITEMS, "a thing", 1);
    magpie_ingest_progress run = ingest_to_the_end(w);
    assert_counts(run, ITEMS, 0, 0, 0);
    assert_files(run, ITEMS, 0);
    assert_int_equal(vectors_in(w, MAGPIE_SPACE_FUSED), 0);
    w->encoders.text = shared_encoder;
    run = ingest_to_the_end(w);
    assert_counts(run, ITEMS, 0, 0, 0);
    assert_files(run, 0, 0);
    assert_as_if_new(w);
}

/* Without its encoder, a space is left as it is; what it has of something else goes. */
static void test_run_without_file_model_leaves_files_alone(void **state) {
    world *w = ingest_files(state);
    give_encoders(w, true, false);
    put_file(w, 2, 1002); /* not looked at */
    write_with_files(w, ITEMS, "another thing", 1);
    assert_counts(ingest_to_the_end(w), ITEMS, 0, 0, 0);
    assert_int_equal(vectors_in(w, kind->space), ITEMS);
    assert_counts(ingest_to_the_end(w), 0, 0, ITEMS, 0);
    magpie_text_clear(&w->lines);
    add_with_files(w, ITEMS - 1, "another thing", 1);
    magpie_text_printf(
        &w->lines,
        "{\"id\": \"item %u\", \"text\": \"another thing %u\", \"%s\": \"2.%s\", \"attributes\": "
        "{\"price\": 1}}\n",
        ITEMS - 1, ITEMS - 1, kind->key, kind->extension);
    write_catalogue(w);
    assert_counts(ingest_to_the_end(w), 0, 1, ITEMS - 1, 0);
    assert_int_equal(vectors_in(w, kind->space), ITEMS - 1);
    give_encoders(w, true, true);
    magpie_ingest_progress run = ingest_to_the_end(w);
    assert_counts(run, 2, 0, ITEMS - 2, 0);
    assert_files(run, 2, 0);
    assert_as_if_new(w);
}

static void test_other_file_model_is_refused(void **state) {
    world *w = ingest_files(state);
    magpie_ingest_progress progress;
    char space[32];
    magpie_ingest_encoders other = open_model(kind, "second", 2);
    snprintf(space, sizeof space, "%s space", kind->key);
    w->encoders = other;
    assert_int_equal(ingest(w, &progress), MAGPIE_E_MISMATCH);
    if (!strstr(magpie_error(), "first") || !strstr(magpie_error(), "second") ||
        !strstr(magpie_error(), space))
        fail_msg("\"%s\" should name the space and both models", magpie_error());
    magpie_image_encoder_close(other.image);
    magpie_audio_encoder_close(other.audio);
    w->encoders = (magpie_ingest_encoders){0};
    assert_int_equal(ingest(w, &progress), MAGPIE_E_ARGUMENT);
}

/* ---- what is wrong with files -------------------------------------------------------------------------- */

static void test_broken_files_keep_their_items(void **state) {
    world *w = both(state);
    for (unsigned i = 0; i < 10; i++) put_file(w, i, i);
    char *pipe = file_path(w, kind, 6);
    write_rubbish(w, kind, 1);
    remove_file(w, kind, 3);
    remove_file(w, kind, 6);
    assert_int_equal(mkfifo(pipe, 0600), 0); /* to open it would wait for ever */
    free(pipe);
    write_with_files(w, 10, "a thing", 1);
    magpie_ingest_progress run = ingest_to_the_end(w);
    assert_counts(run, 10, 0, 0, 0);
    assert_files(run, 7, 3);
    assert_int_equal(vectors_in(w, MAGPIE_SPACE_TEXT), 10);
    assert_problem(w, 0, NULL);
    assert_problem(w, 1, "");
    assert_problem(w, 3, "No such file");
    assert_problem(w, 6, "is not a file");
    for (int again = 0; again < 2; again++) { /* said again, and not tried again */
        char *rejects = read_rejects(w);
        assert_int_equal(count_lines(rejects), 3);
        assert_rejected(rejects, kind, 2, "item 1", "");
        assert_rejected(rejects, kind, 4, "item 3", "cannot open ");
        assert_null(strstr(rejects, "\"start\""));
        free(rejects);
        run = ingest_to_the_end(w);
        assert_counts(run, 0, 0, 10, 0);
        assert_files(run, 0, 3);
    }
    give_encoders(w, true, false); /* such a run has nothing to say of files */
    assert_files(ingest_to_the_end(w), 0, 0);
    assert_problem(w, 3, "No such file");
    give_encoders(w, true, true);
    put_file(w, 1, 1);
    put_file(w, 3, 3);
    run = ingest_to_the_end(w);
    assert_counts(run, 2, 0, 8, 0);
    assert_files(run, 2, 1);
    assert_problem(w, 1, NULL);
    assert_problem(w, 3, NULL);
    assert_store_holds(w, 10);
    assert_as_if_new(w);
}

/* Permissions may change without the file doing so: what the system refused to read is tried by every run.
 * As root, who may read everything, the run is somebody else's. */
static void test_unreadable_file_is_tried_again(void **state) {
    world *w = both(state);
    bool root = geteuid() == 0;
    magpie_ingest_progress run;
    put_file(w, 0, 0);
    write_with_files(w, 1, "a thing", 1);
    char *path = file_path(w, kind, 0);
    assert_int_equal(chmod(w->folder, 0777), 0);
    assert_int_equal(chmod(w->store_path, 0777), 0);
    assert_int_equal(chmod(path, 0), 0);
    if (root) assert_int_equal(seteuid(65534), 0);
    for (int i = 0; i < 2; i++) {
        magpie_status status = ingest(w, &run);
        if (status != MAGPIE_OK) break;
    }
    if (root) assert_int_equal(seteuid(0), 0);
    assert_counts(run, 0, 1, 0, 0);
    assert_files(run, 0, 1);
    assert_problem(w, 0, "Permission denied");
    assert_int_equal(chmod(path, 0644), 0);
    magpie_text_clear(&w->lines);
    add_items(w, 0, 1, "a thing", 1); /* what was wrong with a file that is no longer named is no matter */
    write_catalogue(w);
    ingest_to_the_end(w);
    assert_problem(w, 0, NULL);
    write_with_files(w, 1, "a thing", 1);
    run = ingest_to_the_end(w);
    assert_files(run, 1, 0);
    assert_problem(w, 0, NULL);
    assert_as_if_new(w);
    free(path);
}

/* Neither an item whose file turned bad, nor one that lost its only vector, is left with an old one. */
static void test_file_that_turned_bad_loses_its_vector(void **state) {
    world *w = ingest_files(state);
    write_rubbish(w, kind, 4);
    magpie_ingest_progress run = ingest_to_the_end(w);
    assert_counts(run, 0, 1, ITEMS - 1, 0);
    assert_files(run, 0, 1);
    assert_int_equal(vectors_in(w, kind->space), ITEMS - 1);
    assert_int_equal(vectors_in(w, MAGPIE_SPACE_TEXT), ITEMS);
    uint64_t before = row_of(w, 4);
    remove_file(w, kind, 4); /* bad in another way: there is no vector to change, so the row stays */
    assert_counts(ingest_to_the_end(w), 0, 1, ITEMS - 1, 0);
    assert_true(before == row_of(w, 4));
    assert_problem(w, 4, "No such file");
    magpie_text_clear(&w->lines);
    add_items(w, 0, ITEMS, "a thing", 1); /* the file is no longer named: no problem */
    write_catalogue(w);
    ingest_to_the_end(w);
    assert_problem(w, 4, NULL);
}

/* ---- stopping ------------------------------------------------------------------------------------------ */

/* Stopped after each commit: every file is encoded once, and every broken one stands in the rejects
 * once. */
static void test_goes_on_where_it_was_stopped(void **state) {
    world *w = both(state);
    for (unsigned i = 0; i < ITEMS; i++) put_file(w, i, i);
    for (unsigned i = 5; i < ITEMS; i += 10) write_rubbish(w, kind, i);
    write_with_files(w, ITEMS, "a thing", 1);
    size_t encoded = 0, committed = 0;
    magpie_ingest_progress progress;
    magpie_status status;
    do {
        w->stop_after = 1;
        status = ingest(w, &progress);
        encoded += progress.pictures_encoded + progress.sounds_encoded;
        assert_int_equal(progress.resumed_at, committed);
        committed += progress.committed;
    } while (status == MAGPIE_E_CANCELLED);
    assert_ok(status);
    assert_int_equal(encoded, ITEMS - ITEMS / 10);
    assert_int_equal(progress.pictures_refused + progress.sounds_refused, ITEMS / 10);
    char *rejects = read_rejects(w);
    assert_int_equal(count_lines(rejects), ITEMS / 10);
    free(rejects);
    assert_as_if_new(w);
}

/* A checkpoint of a run with other encoders says nothing: the lines before it lack what this run is to
 * make. */
static void test_run_with_other_encoders_starts_over(void **state) {
    world *w = both(state);
    magpie_ingest_progress progress;
    for (unsigned i = 0; i < ITEMS; i++) put_file(w, i, i);
    write_with_files(w, ITEMS, "a thing", 1);
    give_encoders(w, true, false);
    w->stop_after = 2;
    assert_int_equal(ingest(w, &progress), MAGPIE_E_CANCELLED);
    give_encoders(w, true, true);
    progress = ingest_to_the_end(w);
    assert_int_equal(progress.resumed_at, 0);
    assert_files(progress, ITEMS, 0);
    assert_as_if_new(w);
}

int main(void) {
    static const medium_kind *const kinds[] = {&pictures, &sounds};
    const size_t last = sizeof kinds / sizeof *kinds - 1;
    const struct CMUnitTest tests[] = {
        INGEST_TEST(test_second_run_encodes_no_file),
        INGEST_TEST(test_changed_text_keeps_the_file_s_vector),
        INGEST_TEST(test_changed_attributes_keep_the_row),
        INGEST_TEST(test_file_replaced_under_its_name_is_noticed),
        INGEST_TEST(test_file_that_is_no_longer_named_goes),
        INGEST_TEST(test_item_without_text_has_its_file_alone),
        INGEST_TEST(test_file_model_comes_later),
        INGEST_TEST(test_text_model_comes_later),
        INGEST_TEST(test_run_without_file_model_leaves_files_alone),
        INGEST_TEST(test_other_file_model_is_refused),
        INGEST_TEST(test_broken_files_keep_their_items),
        INGEST_TEST(test_unreadable_file_is_tried_again),
        INGEST_TEST(test_file_that_turned_bad_loses_its_vector),
        INGEST_TEST(test_goes_on_where_it_was_stopped),
        INGEST_TEST(test_run_with_other_encoders_starts_over),
    };
    int failed = 0;
    for (size_t i = 0; i <= last; i++) {
        kind = kinds[i];
        failed += cmocka_run_group_tests_name(kind->key, tests, i == 0 ? open_encoders : NULL,
                                              i == last ? close_encoders : NULL);
    }
    return failed;
}
