/* test_ingest_pictures.c - each modality is encoded when it must be and never else: whatever has changed
 * (text, picture file, model), whichever encoders a run has, and whatever is wrong with a picture. */
#include "test_ingest.h"
#include "test_pictures.h"

#include <fcntl.h>
#include <math.h>
#include <sys/stat.h>

static magpie_image_encoder *shared_image_encoder;
static char models_folder[] = "/tmp/magpie-models-XXXXXX";

static magpie_image_encoder *test_image_encoder(void) { return shared_image_encoder; }

/* ---- items with pictures ------------------------------------------------------------------------------- */

static int open_encoders(void **state) {
    assert_non_null(mkdtemp(models_folder));
    char *model = magpie_path_join(models_folder, "first");
    write_image_model(model, 1);
    shared_image_encoder = open_image_model(model);
    free(model);
    return open_encoder(state);
}

static int close_encoders(void **state) {
    char command[128];
    magpie_image_encoder_close(shared_image_encoder);
    snprintf(command, sizeof command, "rm -rf %s", models_folder);
    assert_int_equal(system(command), 0);
    return close_encoder(state);
}

/* The world of test_ingest.h with an image encoder; skipped where there is no text model. */
static world *both(void **state) {
    world *w = *state;
    if (!w->encoders.text) skip_loudly("no text model");
    w->encoders.image = test_image_encoder();
    return w;
}

static char *picture_path(const world *w, unsigned i) {
    char name[32];
    snprintf(name, sizeof name, "%u.png", i);
    return magpie_path_join(w->folder, name);
}

static void draw(const world *w, unsigned i, unsigned seed) {
    char *path = picture_path(w, i);
    write_picture(path, seed);
    free(path);
}

/* What is no picture. */
static void write_rubbish(const world *w, unsigned i) {
    char *path = picture_path(w, i);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs("GIF89a, or what?", file);
    assert_int_equal(fclose(file), 0);
    free(path);
}

/* Items 0 .. n-1: each has a text and a relative reference to its picture. */
static void add_pictured(world *w, unsigned n, const char *text, int price) {
    for (unsigned i = 0; i < n; i++)
        magpie_text_printf(&w->lines,
                           "{\"id\": \"item %u\", \"text\": \"%s %u\", \"image\": \"%u.png\", "
                           "\"attributes\": {\"price\": %d}}\n",
                           i, text, i, i, price);
}

static void write_pictured(world *w, unsigned n, const char *text, int price) {
    magpie_text_clear(&w->lines);
    add_pictured(w, n, text, price);
    write_catalogue(w);
}

/* A catalogue of ITEMS pictures, in the store. */
static world *ingest_pictures(void **state) {
    world *w = both(state);
    for (unsigned i = 0; i < ITEMS; i++) draw(w, i, i);
    write_pictured(w, ITEMS, "a thing", 1);
    magpie_ingest_progress first = ingest_to_the_end(w);
    assert_counts(first, ITEMS, 0, 0, 0);
    assert_int_equal(first.pictures_encoded, ITEMS);
    assert_int_equal(first.pictures_refused, 0);
    return w;
}

static void assert_pictures(magpie_ingest_progress p, size_t encoded, size_t refused) {
    assert_int_equal(p.pictures_encoded, encoded);
    assert_int_equal(p.pictures_refused, refused);
}

/* A copy of an item's vector, to be freed; NULL where it has none. *row is the item's, where that is
 * asked. */
static float *vector_of(world *w, unsigned i, magpie_space space, uint64_t *row) {
    char id[32];
    magpie_snapshot *snapshot;
    magpie_item item;
    magpie_store_stats stats;
    const float *vector;
    snprintf(id, sizeof id, "item %u", i);
    assert_ok(magpie_store_get_stats(w->store, &stats));
    assert_ok(magpie_snapshot_open(w->store, &snapshot));
    assert_ok(magpie_snapshot_get(snapshot, string_of(id), &item));
    assert_ok(magpie_snapshot_vector(snapshot, space, item.row, &vector));
    if (row) *row = item.row;
    float *copy = vector ? malloc(stats.dimension[space] * sizeof *copy) : NULL;
    if (copy) memcpy(copy, vector, stats.dimension[space] * sizeof *copy);
    magpie_snapshot_close(snapshot);
    return copy;
}

/* To what batches of another size may change (encoders.h). */
static bool equal_vectors(const float *a, const float *b, size_t dimension) {
    for (size_t i = 0; a && b && i < dimension; i++)
        if (!(fabsf(a[i] - b[i]) <= 1e-5F)) return false;
    return !a == !b;
}

/* Every item's vectors are those that a store gets which is filled at once with all encoders. */
static void assert_as_if_new(world *w) {
    world fresh = *w;
    magpie_store_stats stats;
    const magpie_store_options create = {.create = true};
    char *path = magpie_path_join(w->folder, "fresh");
    char command[256];
    fresh.encoders.image = test_image_encoder();
    fresh.encoders.text = shared_encoder;
    fresh.acknowledged = (magpie_text){0};
    assert_ok(magpie_store_open(path, &create, &fresh.store));
    ingest_to_the_end(&fresh);
    magpie_text_free(&fresh.acknowledged);
    assert_ok(magpie_store_get_stats(fresh.store, &stats));
    for (unsigned i = 0; i < stats.items; i++)
        for (unsigned s = 0; s < MAGPIE_SPACES; s++) {
            float *a = vector_of(w, i, s, NULL), *b = vector_of(&fresh, i, s, NULL);
            if (!equal_vectors(a, b, stats.dimension[s]))
                fail_msg("item %u: its %s vector is not what it should be", i, magpie_space_name(s));
            free(a);
            free(b);
        }
    magpie_store_close(fresh.store);
    snprintf(command, sizeof command, "rm -rf %s", path);
    assert_int_equal(system(command), 0);
    free(path);
}

static uint64_t vectors_in(world *w, magpie_space space) {
    magpie_store_stats stats;
    assert_ok(magpie_store_get_stats(w->store, &stats));
    return stats.vectors[space];
}

static void assert_problem(world *w, unsigned i, const char *words) {
    char id[32], problems[512];
    magpie_snapshot *snapshot;
    magpie_item item;
    snprintf(id, sizeof id, "item %u", i);
    assert_ok(magpie_snapshot_open(w->store, &snapshot));
    assert_ok(magpie_snapshot_get(snapshot, string_of(id), &item));
    snprintf(problems, sizeof problems, "%.*s", (int)item.problems.size, item.problems.data);
    magpie_snapshot_close(snapshot);
    if (!words)
        assert_string_equal(problems, "");
    else if (strncmp(problems, "image: ", 7) != 0 || !strstr(problems, words))
        fail_msg("item %u: \"%s\" is not in \"%s\"", i, words, problems);
}

/* ---- what is encoded ----------------------------------------------------------------------------------- */

static void test_second_run_encodes_no_picture(void **state) {
    world *w = ingest_pictures(state);
    for (unsigned s = MAGPIE_SPACE_FUSED; s <= MAGPIE_SPACE_IMAGE; s++)
        assert_int_equal(vectors_in(w, s), ITEMS);
    magpie_ingest_progress again = ingest_to_the_end(w);
    assert_counts(again, 0, 0, ITEMS, 0);
    assert_pictures(again, 0, 0);
    assert_false(magpie_path_exists(w->rejects));
    assert_store_holds(w, ITEMS);
    assert_as_if_new(w);
}

static void test_changed_text_keeps_the_picture(void **state) {
    world *w = ingest_pictures(state);
    float *picture = vector_of(w, 7, MAGPIE_SPACE_IMAGE, NULL);
    write_pictured(w, ITEMS, "another thing", 1);
    magpie_ingest_progress run = ingest_to_the_end(w);
    assert_counts(run, ITEMS, 0, 0, 0);
    assert_pictures(run, 0, 0);
    float *now = vector_of(w, 7, MAGPIE_SPACE_IMAGE, NULL);
    assert_memory_equal(picture, now,
                        magpie_image_encoder_get_info(test_image_encoder())->dimension * sizeof *now);
    free(picture);
    free(now);
    assert_store_holds(w, ITEMS);
    assert_as_if_new(w);
}

static void test_changed_attributes_keep_the_row(void **state) {
    world *w = ingest_pictures(state);
    uint64_t before, after;
    free(vector_of(w, 3, MAGPIE_SPACE_IMAGE, &before));
    write_pictured(w, ITEMS, "a thing", 2);
    assert_counts(ingest_to_the_end(w), 0, ITEMS, 0, 0);
    free(vector_of(w, 3, MAGPIE_SPACE_IMAGE, &after));
    assert_true(before == after);
    assert_as_if_new(w);
}

static void test_picture_replaced_under_its_name_is_noticed(void **state) {
    world *w = ingest_pictures(state);
    const struct timespec same_second[2] = {{.tv_sec = 1700000000, .tv_nsec = 1},
                                            {.tv_sec = 1700000000, .tv_nsec = 1}};
    const struct timespec later[2] = {{.tv_sec = 1700000000, .tv_nsec = 2},
                                      {.tv_sec = 1700000000, .tv_nsec = 2}};
    char *path = picture_path(w, 5);
    assert_int_equal(utimensat(AT_FDCWD, path, same_second, 0), 0);
    assert_counts(ingest_to_the_end(w), 1, 0, ITEMS - 1, 0);
    draw(w, 5, 1005); /* of the same size */
    assert_int_equal(utimensat(AT_FDCWD, path, later, 0), 0);
    magpie_ingest_progress run = ingest_to_the_end(w);
    assert_counts(run, 1, 0, ITEMS - 1, 0);
    assert_pictures(run, 1, 0);
    free(path);
    assert_as_if_new(w);
}

static void test_picture_that_is_no_longer_named_goes(void **state) {
    world *w = ingest_pictures(state);
    magpie_text_clear(&w->lines);
    add_items(w, 0, ITEMS, "a thing", 1);
    write_catalogue(w);
    assert_counts(ingest_to_the_end(w), 0, ITEMS, 0, 0);
    assert_int_equal(vectors_in(w, MAGPIE_SPACE_IMAGE), 0);
    assert_int_equal(vectors_in(w, MAGPIE_SPACE_FUSED), ITEMS);
    assert_counts(ingest_to_the_end(w), 0, 0, ITEMS, 0);
    assert_as_if_new(w);
}

static void test_item_without_text_has_its_picture_alone(void **state) {
    world *w = both(state);
    draw(w, 0, 0);
    magpie_text_printf(&w->lines, "{\"id\": \"item 0\", \"image\": \"%s/0.png\"}\n",
                       w->folder); /* absolute */
    write_catalogue(w);
    assert_counts(ingest_to_the_end(w), 1, 0, 0, 0);
    assert_int_equal(vectors_in(w, MAGPIE_SPACE_IMAGE), 1);
    assert_int_equal(vectors_in(w, MAGPIE_SPACE_FUSED) + vectors_in(w, MAGPIE_SPACE_TEXT), 0);
    assert_store_holds(w, 1);
}

/* ---- which encoders there are -------------------------------------------------------------------------- */

static void test_image_model_comes_later(void **state) {
    world *w = both(state);
    float *text;
    w->encoders.image = NULL;
    for (unsigned i = 0; i < ITEMS; i++) draw(w, i, i);
    write_pictured(w, ITEMS, "a thing", 1);
    assert_counts(ingest_to_the_end(w), ITEMS, 0, 0, 0);
    text = vector_of(w, 9, MAGPIE_SPACE_TEXT, NULL);
    w->encoders =
        (magpie_ingest_encoders){.image = test_image_encoder()}; /* no text is encoded, for none can be */
    magpie_ingest_progress run = ingest_to_the_end(w);
    assert_counts(run, ITEMS, 0, 0, 0);
    assert_pictures(run, ITEMS, 0);
    float *now = vector_of(w, 9, MAGPIE_SPACE_TEXT, NULL);
    assert_memory_equal(text, now, magpie_text_encoder_get_info(shared_encoder)->dimension * sizeof *now);
    free(text);
    free(now);
    w->encoders.text = shared_encoder;
    assert_counts(ingest_to_the_end(w), 0, 0, ITEMS, 0);
    assert_as_if_new(w);
}

static void test_text_model_comes_later(void **state) {
    world *w = both(state);
    w->encoders.text = NULL;
    for (unsigned i = 0; i < ITEMS; i++) draw(w, i, i);
    write_pictured(w, ITEMS, "a thing", 1);
    magpie_ingest_progress run = ingest_to_the_end(w);
    assert_counts(run, ITEMS, 0, 0, 0);
    assert_pictures(run, ITEMS, 0);
    assert_int_equal(vectors_in(w, MAGPIE_SPACE_FUSED), 0);
    w->encoders.text = shared_encoder;
    run = ingest_to_the_end(w);
    assert_counts(run, ITEMS, 0, 0, 0);
    assert_pictures(run, 0, 0);
    assert_as_if_new(w);
}

/* Without its encoder, a space is left as it is; what it has of something else goes. */
static void test_run_without_image_model_leaves_pictures_alone(void **state) {
    world *w = ingest_pictures(state);
    w->encoders.image = NULL;
    draw(w, 2, 1002); /* not looked at */
    write_pictured(w, ITEMS, "another thing", 1);
    assert_counts(ingest_to_the_end(w), ITEMS, 0, 0, 0);
    assert_int_equal(vectors_in(w, MAGPIE_SPACE_IMAGE), ITEMS);
    assert_counts(ingest_to_the_end(w), 0, 0, ITEMS, 0);
    magpie_text_clear(&w->lines);
    add_pictured(w, ITEMS - 1, "another thing", 1);
    magpie_text_printf(
        &w->lines,
        "{\"id\": \"item %u\", \"text\": \"another thing %u\", \"image\": \"2.png\", \"attributes\": "
        "{\"price\": 1}}\n",
        ITEMS - 1, ITEMS - 1);
    write_catalogue(w);
    assert_counts(ingest_to_the_end(w), 0, 1, ITEMS - 1, 0);
    assert_int_equal(vectors_in(w, MAGPIE_SPACE_IMAGE), ITEMS - 1);
    w->encoders.image = test_image_encoder();
    magpie_ingest_progress run = ingest_to_the_end(w);
    assert_counts(run, 2, 0, ITEMS - 2, 0);
    assert_pictures(run, 2, 0);
    assert_as_if_new(w);
}

static void test_other_image_model_is_refused(void **state) {
    world *w = ingest_pictures(state);
    magpie_ingest_progress progress;
    char *folder = magpie_path_join(models_folder, "second");
    write_image_model(folder, 2);
    w->encoders.image = open_image_model(folder);
    assert_int_equal(ingest(w, &progress), MAGPIE_E_MISMATCH);
    if (!strstr(magpie_error(), "first") || !strstr(magpie_error(), "second") ||
        !strstr(magpie_error(), "image space"))
        fail_msg("\"%s\" should name the space and both models", magpie_error());
    magpie_image_encoder_close(w->encoders.image);
    free(folder);
    w->encoders = (magpie_ingest_encoders){0};
    assert_int_equal(ingest(w, &progress), MAGPIE_E_ARGUMENT);
}

/* ---- what is wrong with pictures ----------------------------------------------------------------------- */

static void test_broken_pictures_keep_their_items(void **state) {
    world *w = both(state);
    for (unsigned i = 0; i < 10; i++) draw(w, i, i);
    char *missing = picture_path(w, 3), *pipe = picture_path(w, 6);
    write_rubbish(w, 1);
    assert_int_equal(unlink(missing), 0);
    assert_int_equal(unlink(pipe), 0);
    assert_int_equal(mkfifo(pipe, 0600), 0); /* to open it would wait for ever */
    write_pictured(w, 10, "a thing", 1);
    magpie_ingest_progress run = ingest_to_the_end(w);
    assert_counts(run, 10, 0, 0, 0);
    assert_pictures(run, 7, 3);
    assert_int_equal(vectors_in(w, MAGPIE_SPACE_TEXT), 10);
    assert_problem(w, 0, NULL);
    assert_problem(w, 1, "");
    assert_problem(w, 3, "No such file");
    assert_problem(w, 6, "is not a file");
    for (int again = 0; again < 2; again++) { /* said again, and not tried again */
        char *rejects = read_rejects(w);
        assert_int_equal(count_lines(rejects), 3);
        assert_non_null(strstr(rejects,
                               "{\"line\": 2, \"id\": \"item 1\", \"modality\": \"image\", \"kept\": true, "
                               "\"reason\": \""));
        assert_non_null(strstr(rejects,
                               "{\"line\": 4, \"id\": \"item 3\", \"modality\": \"image\", \"kept\": true, "
                               "\"reason\": \"cannot open "));
        assert_null(strstr(rejects, "\"start\""));
        free(rejects);
        run = ingest_to_the_end(w);
        assert_counts(run, 0, 0, 10, 0);
        assert_pictures(run, 0, 3);
    }
    w->encoders.image = NULL; /* such a run has nothing to say of pictures */
    assert_pictures(ingest_to_the_end(w), 0, 0);
    assert_problem(w, 3, "No such file");
    w->encoders.image = test_image_encoder();
    draw(w, 1, 1);
    draw(w, 3, 3);
    run = ingest_to_the_end(w);
    assert_counts(run, 2, 0, 8, 0);
    assert_pictures(run, 2, 1);
    assert_problem(w, 1, NULL);
    assert_problem(w, 3, NULL);
    assert_store_holds(w, 10);
    assert_as_if_new(w);
    free(missing);
    free(pipe);
}

/* Permissions may change without the file doing so: what the system refused to read is tried by every run. As root, who
 * may read everything, the run is somebody else's. */
static void test_unreadable_picture_is_tried_again(void **state) {
    world *w = both(state);
    bool root = geteuid() == 0;
    magpie_ingest_progress run;
    draw(w, 0, 0);
    write_pictured(w, 1, "a thing", 1);
    char *path = picture_path(w, 0);
    assert_int_equal(chmod(w->folder, 0777), 0);
    assert_int_equal(chmod(path, 0), 0);
    if (root) assert_int_equal(seteuid(65534), 0);
    for (int i = 0; i < 2; i++) {
        magpie_status status = ingest(w, &run);
        if (status != MAGPIE_OK) break;
    }
    if (root) assert_int_equal(seteuid(0), 0);
    assert_counts(run, 0, 1, 0, 0);
    assert_pictures(run, 0, 1);
    assert_problem(w, 0, "Permission denied");
    assert_int_equal(chmod(path, 0644), 0);
    magpie_text_clear(&w->lines);
    add_items(w, 0, 1, "a thing", 1); /* what was wrong with a picture that is no longer named is no matter */
    write_catalogue(w);
    ingest_to_the_end(w);
    assert_problem(w, 0, NULL);
    write_pictured(w, 1, "a thing", 1);
    run = ingest_to_the_end(w);
    assert_pictures(run, 1, 0);
    assert_problem(w, 0, NULL);
    assert_as_if_new(w);
    free(path);
}

/* Neither an item whose picture turned bad, nor one that lost its only vector, is left with an old one. */
static void test_picture_that_turned_bad_loses_its_vector(void **state) {
    world *w = ingest_pictures(state);
    write_rubbish(w, 4);
    magpie_ingest_progress run = ingest_to_the_end(w);
    assert_counts(run, 0, 1, ITEMS - 1, 0);
    assert_pictures(run, 0, 1);
    assert_int_equal(vectors_in(w, MAGPIE_SPACE_IMAGE), ITEMS - 1);
    assert_int_equal(vectors_in(w, MAGPIE_SPACE_TEXT), ITEMS);
    uint64_t before, after;
    free(vector_of(w, 4, MAGPIE_SPACE_TEXT, &before));
    char *path = picture_path(w, 4);
    assert_int_equal(unlink(path),
                     0); /* bad in another way: there is no vector to change, so the row stays */
    free(path);
    assert_counts(ingest_to_the_end(w), 0, 1, ITEMS - 1, 0);
    free(vector_of(w, 4, MAGPIE_SPACE_TEXT, &after));
    assert_true(before == after);
    assert_problem(w, 4, "No such file");
    magpie_text_clear(&w->lines);
    add_items(w, 0, ITEMS, "a thing", 1); /* the picture is no longer named: no problem */
    write_catalogue(w);
    ingest_to_the_end(w);
    assert_problem(w, 4, NULL);
}

/* ---- stopping ------------------------------------------------------------------------------------------ */

/* Stopped after each commit: every picture is encoded once, and every broken one stands in the rejects
 * once. */
static void test_goes_on_where_it_was_stopped(void **state) {
    world *w = both(state);
    for (unsigned i = 0; i < ITEMS; i++) draw(w, i, i);
    for (unsigned i = 5; i < ITEMS; i += 10) write_rubbish(w, i);
    write_pictured(w, ITEMS, "a thing", 1);
    size_t encoded = 0, runs = 0;
    magpie_ingest_progress progress;
    magpie_status status;
    do {
        w->stop_after = 1;
        status = ingest(w, &progress);
        encoded += progress.pictures_encoded;
        assert_int_equal(progress.resumed_at, COMMIT_ITEMS * runs++);
    } while (status == MAGPIE_E_CANCELLED);
    assert_ok(status);
    assert_int_equal(encoded, ITEMS - ITEMS / 10);
    assert_int_equal(progress.pictures_refused, ITEMS / 10);
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
    for (unsigned i = 0; i < ITEMS; i++) draw(w, i, i);
    write_pictured(w, ITEMS, "a thing", 1);
    w->encoders.image = NULL;
    w->stop_after = 2;
    assert_int_equal(ingest(w, &progress), MAGPIE_E_CANCELLED);
    w->encoders.image = test_image_encoder();
    progress = ingest_to_the_end(w);
    assert_int_equal(progress.resumed_at, 0);
    assert_pictures(progress, ITEMS, 0);
    assert_as_if_new(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        INGEST_TEST(test_second_run_encodes_no_picture),
        INGEST_TEST(test_changed_text_keeps_the_picture),
        INGEST_TEST(test_changed_attributes_keep_the_row),
        INGEST_TEST(test_picture_replaced_under_its_name_is_noticed),
        INGEST_TEST(test_picture_that_is_no_longer_named_goes),
        INGEST_TEST(test_item_without_text_has_its_picture_alone),
        INGEST_TEST(test_image_model_comes_later),
        INGEST_TEST(test_text_model_comes_later),
        INGEST_TEST(test_run_without_image_model_leaves_pictures_alone),
        INGEST_TEST(test_other_image_model_is_refused),
        INGEST_TEST(test_broken_pictures_keep_their_items),
        INGEST_TEST(test_unreadable_picture_is_tried_again),
        INGEST_TEST(test_picture_that_turned_bad_loses_its_vector),
        INGEST_TEST(test_goes_on_where_it_was_stopped),
        INGEST_TEST(test_run_with_other_encoders_starts_over),
    };
    return cmocka_run_group_tests(tests, open_encoders, close_encoders);
}
