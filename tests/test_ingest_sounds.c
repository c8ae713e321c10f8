/* test_ingest_sounds.c - items with a text, a picture and a sound: what happens to one of the three leaves
 * the other two alone, and what is wrong with picture and sound is said of each. And what sounds alone
 * have: the seconds that are heard. What holds of any file is in test_ingest_media.c. */
#include "test_ingest_media.h"

#include "checkpoint.h"

static const medium_kind *const kinds[] = {&pictures, &sounds};

static world *all(void **state) { return world_with(state, shared_encoders); }

static void write_with_all(world *w, unsigned n, const char *text) {
    magpie_text_clear(&w->lines);
    for (unsigned i = 0; i < n; i++)
        magpie_text_printf(
            &w->lines,
            "{\"id\": \"item %u\", \"text\": \"%s %u\", \"image\": \"%u.png\", \"audio\": \"%u.wav\"}\n", i,
            text, i, i, i);
    write_catalogue(w);
}

static void write_files(const world *w, unsigned n) {
    for (unsigned i = 0; i < n; i++) {
        write_file(w, &pictures, i, i);
        write_file(w, &sounds, i, i);
    }
}

/* ITEMS of all three, in the store. */
static world *ingest_all(void **state) {
    world *w = all(state);
    write_files(w, ITEMS);
    write_with_all(w, ITEMS, "a thing");
    magpie_ingest_progress first = ingest_to_the_end(w);
    assert_counts(first, ITEMS, 0, 0, 0);
    assert_media(first, ITEMS, 0, ITEMS, 0);
    assert_true(first.text_seconds > 0 && first.image_seconds > 0 && first.audio_seconds > 0);
    return w;
}

/* ---- one of three changes ------------------------------------------------------------------------------ */

static void test_item_of_three_has_all_vectors(void **state) {
    world *w = ingest_all(state);
    for (unsigned s = 0; s < MAGPIE_SPACES; s++) assert_int_equal(vectors_in(w, s), ITEMS);
    magpie_ingest_progress again = ingest_to_the_end(w);
    assert_counts(again, 0, 0, ITEMS, 0);
    assert_media(again, 0, 0, 0, 0);
    assert_store_holds(w, ITEMS);
    assert_as_if_new(w);
}

static void test_replaced_sound_leaves_text_and_picture(void **state) {
    world *w = ingest_all(state);
    float *text = vector_of(w, 5, MAGPIE_SPACE_TEXT, NULL),
          *picture = vector_of(w, 5, MAGPIE_SPACE_IMAGE, NULL);
    write_file(w, &sounds, 5, 1005);
    magpie_ingest_progress run = ingest_to_the_end(w);
    assert_counts(run, 1, 0, ITEMS - 1, 0);
    assert_media(run, 0, 0, 1, 0);
    assert_same_vector(w, 5, MAGPIE_SPACE_TEXT, text);
    assert_same_vector(w, 5, MAGPIE_SPACE_IMAGE, picture);
    assert_store_holds(w, ITEMS);
    assert_as_if_new(w);
}

static void test_changed_text_leaves_picture_and_sound(void **state) {
    world *w = ingest_all(state);
    float *sound = vector_of(w, 7, MAGPIE_SPACE_AUDIO, NULL),
          *picture = vector_of(w, 7, MAGPIE_SPACE_IMAGE, NULL);
    write_with_all(w, ITEMS, "another thing");
    magpie_ingest_progress run = ingest_to_the_end(w);
    assert_counts(run, ITEMS, 0, 0, 0);
    assert_media(run, 0, 0, 0, 0);
    assert_same_vector(w, 7, MAGPIE_SPACE_AUDIO, sound);
    assert_same_vector(w, 7, MAGPIE_SPACE_IMAGE, picture);
    assert_as_if_new(w);
}

/* ---- what is wrong with two ---------------------------------------------------------------------------- */

/* item.problems has one line for each of the kinds that are said to be bad, and no more. */
static void assert_problems(world *w, unsigned i, const char *of_picture, const char *of_sound) {
    char problems[1024];
    const char *const words[] = {of_picture, of_sound};
    snprintf(problems, sizeof problems, "%s", problems_of(w, i));
    char *rest = problems;
    for (size_t k = 0; k < 2; k++) {
        if (!words[k]) continue;
        char beginning[16], *line = rest ? strsep(&rest, "\n") : NULL;
        snprintf(beginning, sizeof beginning, "%s: ", kinds[k]->key);
        if (!line || strncmp(line, beginning, strlen(beginning)) != 0 || !strstr(line, words[k]))
            fail_msg("item %u: no line \"%s%s\" in \"%s\"", i, beginning, words[k], problems_of(w, i));
    }
    assert_true(!rest || !*rest);
}

/* Both bad, and each repaired in turn, the one that comes first in one item, the other in the other: what
 * was said of the other stays as it was. */
static void test_each_is_repaired_by_itself(void **state) {
    world *w = all(state);
    char said[1024];
    write_files(w, 3);
    for (unsigned i = 0; i < 2; i++) {
        write_rubbish(w, &pictures, i);
        remove_file(w, &sounds, i);
    }
    write_with_all(w, 3, "a thing");
    for (int again = 0; again < 2; again++) {
        magpie_ingest_progress run = ingest_to_the_end(w);
        assert_counts(run, again ? 0 : 3, 0, again ? 3 : 0, 0);
        assert_media(run, again ? 0 : 1, 2, again ? 0 : 1, 2);
        for (unsigned i = 0; i < 2; i++) assert_problems(w, i, "", "No such file");
        assert_problems(w, 2, NULL, NULL);
        char *rejects = read_rejects(w);
        assert_int_equal(count_lines(rejects), 4);
        for (size_t k = 0; k < 2; k++) {
            assert_rejected(rejects, kinds[k], 1, "item 0", "");
            assert_rejected(rejects, kinds[k], 2, "item 1", "");
        }
        free(rejects);
    }
    snprintf(said, sizeof said, "%s", problems_of(w, 0));
    write_file(w, &pictures, 0, 0);
    write_file(w, &sounds, 1, 1);
    magpie_ingest_progress run = ingest_to_the_end(w);
    assert_counts(run, 2, 0, 1, 0);
    assert_media(run, 1, 1, 1, 1);
    assert_string_equal(problems_of(w, 0), strchr(said, '\n') + 1);
    assert_problems(w, 0, NULL, "No such file");
    assert_problems(w, 1, "", NULL);
    write_file(w, &sounds, 0, 0);
    write_file(w, &pictures, 1, 1);
    run = ingest_to_the_end(w);
    assert_counts(run, 2, 0, 1, 0);
    assert_media(run, 1, 0, 1, 0);
    for (unsigned i = 0; i < 2; i++) assert_problems(w, i, NULL, NULL);
    assert_store_holds(w, 3);
    assert_as_if_new(w);
}

/* One turns bad while the other is, and one turns bad in another way: the lines keep their order. */
static void test_each_turns_bad_by_itself(void **state) {
    world *w = all(state);
    write_files(w, 2);
    write_rubbish(w, &sounds, 0);
    write_rubbish(w, &pictures, 1);
    write_with_all(w, 2, "a thing");
    assert_media(ingest_to_the_end(w), 1, 1, 1, 1);
    remove_file(w, &pictures, 0);
    remove_file(w, &sounds, 1);
    assert_media(ingest_to_the_end(w), 0, 2, 0, 2);
    assert_problems(w, 0, "No such file", "");
    assert_problems(w, 1, "", "No such file");
    assert_null(strstr(strchr(problems_of(w, 0), '\n'), "No such file"));
    remove_file(w, &sounds, 0);
    remove_file(w, &pictures, 1);
    assert_media(ingest_to_the_end(w), 0, 2, 0, 2);
    for (unsigned i = 0; i < 2; i++) assert_problems(w, i, "No such file", "No such file");
    assert_int_equal(vectors_in(w, MAGPIE_SPACE_IMAGE) + vectors_in(w, MAGPIE_SPACE_AUDIO), 0);
    magpie_text_clear(&w->lines);
    magpie_text_printf(&w->lines, "{\"id\": \"item 0\", \"text\": \"a thing 0\", \"image\": \"0.png\"}\n"
                                  "{\"id\": \"item 1\", \"text\": \"a thing 1\", \"audio\": \"1.wav\"}\n");
    write_catalogue(w); /* what is no longer named is no problem */
    assert_media(ingest_to_the_end(w), 0, 1, 0, 1);
    assert_problems(w, 0, "No such file", NULL);
    assert_problems(w, 1, NULL, "No such file");
}

/* A run without the encoder of sounds says nothing of them, and what was said stays. */
static void test_run_without_one_encoder_keeps_what_was_said(void **state) {
    world *w = all(state);
    write_files(w, 1);
    write_rubbish(w, &pictures, 0);
    write_rubbish(w, &sounds, 0);
    write_with_all(w, 1, "a thing");
    assert_media(ingest_to_the_end(w), 0, 1, 0, 1);
    w->encoders.audio = NULL;
    assert_media(ingest_to_the_end(w), 0, 1, 0, 0);
    remove_file(w, &pictures, 0);
    assert_media(ingest_to_the_end(w), 0, 1, 0, 0);
    assert_problems(w, 0, "No such file", "");
    w->encoders = encoder_of(&sounds, shared_encoders);
    assert_media(ingest_to_the_end(w), 0, 0, 0, 1);
    assert_problems(w, 0, "No such file", "");
}

/* A path may hold a newline, and words after it that look like another's problem. */
static void test_path_with_a_newline_is_one_problem(void **state) {
    world *w = all(state);
    write_files(w, 1);
    magpie_text_printf(&w->lines,
                       "{\"id\": \"item 0\", \"image\": \"a\\naudio: b.png\", \"audio\": \"0.wav\"}\n");
    write_catalogue(w);
    for (int again = 0; again < 2; again++) {
        assert_media(ingest_to_the_end(w), 0, 1, again ? 0 : 1, 0);
        assert_problems(w, 0, "a audio: b.png", NULL);
    }
}

/* ---- what sounds alone have ---------------------------------------------------------------------------- */

/* Of a sound, more or less was heard: its vector is another, as with another prefix of texts. */
static void test_other_seconds_encode_sounds_anew(void **state) {
    world *w = ingest_all(state);
    const magpie_encoder_options half = {
        .precision = MAGPIE_PRECISION_F32, .threads = 2, .audio_seconds = 0.5};
    char *folder = magpie_path_join(models_folder, "audio first");
    float *picture = vector_of(w, 3, MAGPIE_SPACE_IMAGE, NULL),
          *whole = vector_of(w, 3, MAGPIE_SPACE_AUDIO, NULL);
    assert_ok(magpie_audio_encoder_open(folder, &half, &w->encoders.audio));
    for (int again = 0; again < 2; again++) {
        magpie_ingest_progress run = ingest_to_the_end(w);
        assert_counts(run, again ? 0 : ITEMS, 0, again ? ITEMS : 0, 0);
        assert_media(run, 0, 0, again ? 0 : ITEMS, 0);
    }
    float *beginning = vector_of(w, 3, MAGPIE_SPACE_AUDIO, NULL);
    size_t dimension = magpie_audio_encoder_get_info(w->encoders.audio)->dimension;
    assert_false(equal_vectors(whole, beginning, dimension));
    assert_same_vector(w, 3, MAGPIE_SPACE_IMAGE, picture);
    magpie_audio_encoder_close(w->encoders.audio);
    free(folder);
    free(whole);
    free(beginning);
}

/* ---- going on ------------------------------------------------------------------------------------------ */

/* The checkpoint in the store, with the words between `from` and `to` left out. */
static void cut_checkpoint(world *w, const char *from, const char *to) {
    magpie_catalogue_identity identity;
    magpie_snapshot *snapshot;
    magpie_string stored;
    magpie_batch *batch;
    char text[1024];
    assert_ok(magpie_catalogue_identify("ingest", (const char *const[]){w->catalogue}, 1, 0, &identity));
    assert_ok(magpie_snapshot_open(w->store, &snapshot));
    assert_ok(magpie_snapshot_checkpoint(snapshot, identity.job, &stored));
    snprintf(text, sizeof text, "%.*s", (int)stored.size, stored.data);
    magpie_snapshot_close(snapshot);
    char *start = strstr(text, from), *end = start ? strstr(start, to) : NULL;
    if (!end) fail_msg("no %s and %s in %s", from, to, text);
    memmove(start, end, strlen(end) + 1);
    assert_ok(magpie_batch_create(&batch));
    assert_ok(magpie_batch_checkpoint(batch, identity.job, string_of(text)));
    assert_ok(magpie_store_commit(w->store, batch, NULL));
    magpie_batch_free(batch);
    magpie_catalogue_identity_free(&identity);
}

/* A checkpoint that was written before there were sounds lacks their counter: the job goes on from it, and
 * one that lacks more is as good as none. */
static void test_checkpoint_without_sounds_is_read(void **state) {
    world *w = all(state);
    magpie_ingest_progress progress;
    for (int older = 0; older < 2; older++) {
        w->encoders.audio = NULL;
        w->stop_after = 2;
        write_files(w, ITEMS);
        write_with_all(w, ITEMS, older ? "an older thing" : "a thing");
        assert_stopped(ingest(w, &progress), &progress, 2);
        const size_t stored = progress.committed;
        cut_checkpoint(w, "\"sounds\"", older ? "}" : "\"rejects_bytes\"");
        progress = ingest_to_the_end(w);
        assert_int_equal(progress.resumed_at, older ? 0 : stored);
    }
    w->encoders = shared_encoders;
    assert_media(ingest_to_the_end(w), 0, 0, ITEMS, 0);
    assert_as_if_new(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        INGEST_TEST(test_item_of_three_has_all_vectors),
        INGEST_TEST(test_replaced_sound_leaves_text_and_picture),
        INGEST_TEST(test_changed_text_leaves_picture_and_sound),
        INGEST_TEST(test_each_is_repaired_by_itself),
        INGEST_TEST(test_each_turns_bad_by_itself),
        INGEST_TEST(test_run_without_one_encoder_keeps_what_was_said),
        INGEST_TEST(test_path_with_a_newline_is_one_problem),
        INGEST_TEST(test_other_seconds_encode_sounds_anew),
        INGEST_TEST(test_checkpoint_without_sounds_is_read),
    };
    return cmocka_run_group_tests(tests, open_encoders, close_encoders);
}
