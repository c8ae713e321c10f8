/* test_ingest.c - what is in the store after a job, and how much of it was computed, is what the catalogue
 * says: whatever lines are bad, whatever has changed since, wherever an earlier run was stopped. */
#include "test_ingest.h"

/* ---- the properties ------------------------------------------------------------------------------------ */

static void test_second_run_encodes_nothing(void **state) {
    world *w = *state;
    if (!w->encoders.text) skip_loudly("no text model");
    add_items(w, 0, ITEMS, "a thing", 1);
    write_catalogue(w);
    assert_counts(ingest_to_the_end(w), ITEMS, 0, 0, 0);
    assert_int_equal(count_lines(w->acknowledged.data), ITEMS);
    assert_counts(ingest_to_the_end(w), 0, 0, ITEMS, 0);
    assert_int_equal(w->acknowledged.size, 0);
    assert_store_holds(w, ITEMS);
    assert_false(magpie_path_exists(w->rejects));
}

static void test_ten_changed_lines_encode_ten(void **state) {
    world *w = *state;
    if (!w->encoders.text) skip_loudly("no text model");
    ingest_things(w);
    add_items(w, 0, 10, "another thing", 1);
    add_items(w, 10, ITEMS - 10, "a thing", 1);
    write_catalogue(w);
    assert_counts(ingest_to_the_end(w), 10, 0, ITEMS - 10, 0);
    assert_string_equal(text_of(w, "item 3"), "another thing 3");
    assert_store_holds(w, ITEMS);
}

static void test_changed_attributes_encode_none(void **state) {
    world *w = *state;
    if (!w->encoders.text) skip_loudly("no text model");
    ingest_things(w);
    add_items(w, 0, ITEMS, "a thing", 2);
    write_catalogue(w);
    assert_counts(ingest_to_the_end(w), 0, ITEMS, 0, 0);
    assert_store_holds(w, ITEMS);
}

static void test_item_without_text_has_no_vectors(void **state) {
    world *w = *state;
    magpie_store_stats stats;
    if (!w->encoders.text) skip_loudly("no text model");
    magpie_text_printf(&w->lines,
                       "{\"id\": \"a\", \"text\": \"t\"}\n{\"id\": \"b\", \"image\": \"i.png\"}\n");
    write_catalogue(w);
    assert_counts(ingest_to_the_end(w), 1, 1, 0, 0);
    magpie_text_clear(&w->lines);
    magpie_text_printf(&w->lines, "{\"id\": \"a\"}\n{\"id\": \"b\", \"image\": \"i.png\"}\n");
    write_catalogue(w);
    assert_counts(ingest_to_the_end(w), 0, 1, 1, 0);
    assert_ok(magpie_store_get_stats(w->store, &stats));
    assert_int_equal(stats.vectors[MAGPIE_SPACE_FUSED], 0);
    assert_store_holds(w, 2);
}

static void test_bad_lines_are_rejected_and_the_job_goes_on(void **state) {
    world *w = *state;
    if (!w->encoders.text) skip_loudly("no text model");
    add_items(w, 0, 9, "a thing", 1);
    magpie_text_printf(
        &w->lines,
        "\n{\"id\": \"x\", \"text\": \n{\"text\": \"no id\"}\n{\"id\": \"y\", \"text\": \"\xFF\"}\n");
    magpie_text_printf(&w->lines, "{\"id\": \"z\", \"text\": \"");
    for (int i = 0; i < MAGPIE_LINE_MAX; i++) magpie_text_append(&w->lines, "z", 1);
    magpie_text_printf(&w->lines, "\"}\n{\"id\": \"u\", \"wrong\": 1}\n");
    add_items(w, 9, 9, "a thing", 1);
    write_catalogue(w);
    assert_counts(ingest_to_the_end(w), 18, 0, 0, 5);
    char *rejects = read_rejects(w);
    assert_int_equal(count_lines(rejects), 5);
    assert_non_null(strstr(rejects, "{\"line\": 11, \"reason\": \"broken JSON at byte"));
    assert_non_null(strstr(rejects, "{\"line\": 12, \"reason\": \"id is missing\""));
    assert_non_null(strstr(rejects, "\"line\": 13, \"reason\": \"broken UTF-8"));
    assert_non_null(strstr(rejects, "{\\\"id\\\": \\\"y\\\", \\\"text\\\": \\\"\xEF\xBF\xBD")); /* U+FFFD */
    assert_non_null(
        strstr(rejects, "\"line\": 14, \"reason\": \"the line has 1048599 bytes; the limit is 1048576\""));
    assert_non_null(strstr(rejects, "\"line\": 15, \"reason\": \"unknown key"));
    assert_non_null(strstr(rejects, "\"id\": \"u\""));
    free(rejects);
    assert_counts(ingest_to_the_end(w), 0, 0, 18, 5); /* the file is that of this run */
    rejects = read_rejects(w);
    assert_int_equal(count_lines(rejects), 5);
    free(rejects);
    assert_store_holds(w, 18);
}

static void test_rejects_over_the_catalogue_are_refused(void **state) {
    world *w = *state;
    magpie_ingest_progress progress;
    if (!w->encoders.text) skip_loudly("no text model");
    add_items(w, 0, 1, "a thing", 1);
    write_catalogue(w);
    const char *const catalogue = w->catalogue;
    const magpie_ingest_options options = {
        .catalogues = &catalogue, .catalogue_count = 1, .rejects = w->catalogue};
    assert_int_equal(magpie_ingest_run(w->store, &w->encoders, &options, &progress), MAGPIE_E_ARGUMENT);
    assert_true(magpie_path_exists(w->catalogue));
}

/* First come, first kept: within a transaction, across them, and in every run alike. */
static void test_repeated_ids(void **state) {
    world *w = *state;
    if (!w->encoders.text) skip_loudly("no text model");
    add_items(w, 0, 3, "first", 1);
    add_items(w, 0, 2, "second", 1); /* other content: rejected */
    add_items(w, 2, 1, "first", 1);  /* the same: nothing to do */
    add_items(w, 3, ITEMS, "first", 1);
    add_items(w, 0, 1, "third", 1);
    write_catalogue(w);
    assert_counts(ingest_to_the_end(w), ITEMS + 3, 0, 1, 3);
    for (int i = 0; i < 2; i++) {
        assert_counts(ingest_to_the_end(w), 0, 0, ITEMS + 4, 3);
        assert_string_equal(text_of(w, "item 0"), "first 0");
    }
    assert_store_holds(w, ITEMS + 3);
}

/* Stopped after each possible number of commits: the next run computes the rest, and nothing of what was
 * there. */
static void test_goes_on_where_it_was_stopped(void **state) {
    world *w = *state;
    if (!w->encoders.text) skip_loudly("no text model");
    add_items(w, 0, 5, "old", 1);
    write_catalogue(w);
    ingest_to_the_end(w);
    magpie_text_clear(&w->lines);
    magpie_text_printf(&w->lines, "bad line one\n");
    add_items(w, 0, 5, "old", 1);
    add_items(w, 5, 20, "a thing", 1);
    magpie_text_printf(&w->lines, "bad line two\n");
    add_items(w, 25, 15, "a thing", 1);
    add_items(w, 1, 1, "new", 1); /* repeats a line that a run may have left behind it, unchanged */
    magpie_text_printf(&w->lines, "bad line three\n");
    write_catalogue(w);
    magpie_ingest_progress last;
    magpie_status status = MAGPIE_E_CANCELLED;
    size_t encoded = 0;
    for (size_t run = 0; status != MAGPIE_OK; run++) {
        w->stop_after = 1;
        status = ingest(w, &last);
        if (status != MAGPIE_OK) assert_stopped(status, &last, 1);
        assert_int_equal(last.resumed_at != 0, run != 0);
        encoded += last.encoded;
    }
    assert_int_equal(encoded, 35);
    assert_int_equal(last.rejected, 4);
    assert_int_equal(last.unchanged, 0);
    assert_string_equal(text_of(w, "item 1"), "old 1");
    char *rejects = read_rejects(w);
    assert_int_equal(count_lines(rejects), 4);
    free(rejects);
    assert_store_holds(w, 40);
    assert_counts(ingest_to_the_end(w), 0, 0, 40, 4); /* from the start: the checkpoint is gone */
}

/* What a killed run had written of its rejects, and not committed, is not there twice. */
static void test_rejects_beyond_the_checkpoint_are_cut(void **state) {
    world *w = *state;
    magpie_ingest_progress progress;
    if (!w->encoders.text) skip_loudly("no text model");
    magpie_text_printf(&w->lines, "bad line one\n");
    add_items(w, 0, COMMIT_ITEMS, "a thing", 1);
    magpie_text_printf(&w->lines, "bad line two\n");
    add_items(w, COMMIT_ITEMS, 2 * COMMIT_ITEMS, "a thing", 1);
    write_catalogue(w);
    w->stop_after = 1;
    assert_stopped(ingest(w, &progress), &progress, 1);
    FILE *file = fopen(w->rejects, "a");
    assert_non_null(file);
    fputs("{\"line\": 10, \"reason\": \"half wri", file);
    fclose(file);
    assert_counts(ingest_to_the_end(w), 3 * COMMIT_ITEMS - progress.committed, 0, 0, 2);
    char *rejects = read_rejects(w);
    assert_int_equal(count_lines(rejects), 2);
    assert_null(strstr(rejects, "half wri"));
    free(rejects);
}

static void test_changed_catalogue_starts_over(void **state) {
    world *w = *state;
    magpie_ingest_progress progress;
    if (!w->encoders.text) skip_loudly("no text model");
    add_items(w, 0, ITEMS, "a thing", 1);
    write_catalogue(w);
    w->stop_after = 2;
    assert_stopped(ingest(w, &progress), &progress, 2);
    const size_t stored = progress.committed;
    add_items(w, ITEMS, 1, "a thing", 1);
    write_catalogue(w);
    progress = ingest_to_the_end(w);
    assert_int_equal(progress.resumed_at, 0);
    assert_counts(progress, ITEMS + 1 - stored, 0, stored, 0);
}

/* A deletion between the lookup and the commit takes away the row that was to stay; the vectors are put
 * again. */
static bool delete_an_item(void *context, const magpie_ingest_progress *progress) {
    world *w = context;
    if (progress->lines != 1) return true;
    magpie_batch *batch;
    assert_ok(magpie_batch_create(&batch));
    assert_ok(magpie_batch_delete(batch, (magpie_string){"item 0", 6}));
    assert_ok(magpie_store_commit(w->store, batch, NULL));
    magpie_batch_free(batch);
    return true;
}

static void test_item_deleted_meanwhile_is_put_again(void **state) {
    world *w = *state;
    magpie_ingest_progress progress;
    if (!w->encoders.text) skip_loudly("no text model");
    add_items(w, 0, 4, "a thing", 1);
    write_catalogue(w);
    ingest_to_the_end(w);
    magpie_text_clear(&w->lines);
    add_items(w, 0, 4, "a thing", 2);
    write_catalogue(w);
    const char *const catalogue = w->catalogue;
    const magpie_ingest_options options = {
        .catalogues = &catalogue, .catalogue_count = 1, .progress = delete_an_item, .context = w};
    assert_ok(magpie_ingest_run(w->store, &w->encoders, &options, &progress));
    assert_counts(progress, 0, 4, 0, 0);
    assert_store_holds(w, 4);
    magpie_store_stats stats;
    assert_ok(magpie_store_get_stats(w->store, &stats));
    assert_int_equal(stats.vectors[MAGPIE_SPACE_TEXT], 4);
    assert_int_equal(stats.vectors[MAGPIE_SPACE_FUSED], 4);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        INGEST_TEST(test_second_run_encodes_nothing),
        INGEST_TEST(test_ten_changed_lines_encode_ten),
        INGEST_TEST(test_changed_attributes_encode_none),
        INGEST_TEST(test_item_without_text_has_no_vectors),
        INGEST_TEST(test_bad_lines_are_rejected_and_the_job_goes_on),
        INGEST_TEST(test_rejects_over_the_catalogue_are_refused),
        INGEST_TEST(test_repeated_ids),
        INGEST_TEST(test_goes_on_where_it_was_stopped),
        INGEST_TEST(test_rejects_beyond_the_checkpoint_are_cut),
        INGEST_TEST(test_changed_catalogue_starts_over),
        INGEST_TEST(test_item_deleted_meanwhile_is_put_again),
    };
    return cmocka_run_group_tests(tests, open_encoder, close_encoder);
}
