/* test_ingest_fusion.c - an item's fused vector is what the fusion makes of the vectors that it has,
 * whichever of them a run computed, kept or took away; and it is nobody else's. */
#include "test_fused.h"
#include "test_ingest_media.h"

static magpie_fusion *fusion;

static magpie_modality_source text_source, image_source, audio_source;

static int open_all(void **state) {
    if (open_encoders(state) != 0) return -1;
    if (!shared_encoder) return 0;
    const magpie_text_encoder_info *text = magpie_text_encoder_get_info(shared_encoders.text);
    const magpie_image_encoder_info *image = magpie_image_encoder_get_info(shared_encoders.image);
    const magpie_audio_encoder_info *audio = magpie_audio_encoder_get_info(shared_encoders.audio);
    text_source = (magpie_modality_source){text->dimension, text->fingerprint};
    image_source = (magpie_modality_source){image->dimension, image->fingerprint};
    audio_source = (magpie_modality_source){audio->dimension, audio->fingerprint};
    const magpie_modality_source sources[MAGPIE_MODALITIES] = {text_source, image_source, audio_source};
    shared_encoders.fusion = fusion = make_fusion(models_folder, 1, sources);
    return 0;
}

static int close_all(void **state) {
    magpie_fusion_close(fusion);
    return close_encoders(state);
}

/* ---- items --------------------------------------------------------------------------------------------- */

enum { FEW = 24 };

/* Text, picture and sound of item i. */
static bool has(unsigned i, unsigned modality) {
    return modality == MAGPIE_TEXT ? i % 4 != 0 : modality == MAGPIE_IMAGE ? i % 2 == 0 : i % 3 == 0;
}

static unsigned count_any(void) {
    unsigned n = 0;
    for (unsigned i = 0; i < FEW; i++)
        n += has(i, MAGPIE_TEXT) || has(i, MAGPIE_IMAGE) || has(i, MAGPIE_AUDIO);
    return n;
}

static void write_items(world *w, const char *text, int price) {
    magpie_text_clear(&w->lines);
    for (unsigned i = 0; i < FEW; i++) {
        magpie_text_printf(&w->lines, "{\"id\": \"item %u\"", i);
        if (has(i, MAGPIE_TEXT)) magpie_text_printf(&w->lines, ", \"text\": \"%s %u\"", text, i);
        if (has(i, MAGPIE_IMAGE)) magpie_text_printf(&w->lines, ", \"image\": \"%u.png\"", i);
        if (has(i, MAGPIE_AUDIO)) magpie_text_printf(&w->lines, ", \"audio\": \"%u.wav\"", i);
        magpie_text_printf(&w->lines, ", \"attributes\": {\"price\": %d}}\n", price);
    }
    write_catalogue(w);
}

/* A world with all encoders, the files and a catalogue of them. */
static world *make_items(void **state) {
    world *w = world_with(state, shared_encoders);
    for (unsigned i = 0; i < FEW; i++) {
        if (has(i, MAGPIE_IMAGE)) write_file(w, &pictures, i, i);
        if (has(i, MAGPIE_AUDIO)) write_file(w, &sounds, i, i);
    }
    write_items(w, "a thing", 1);
    return w;
}

static void assert_whole(world *w) {
    assert_fused(w->store, fusion, count_any());
    assert_store_holds(w, FEW);
}

/* ---- what it is made of -------------------------------------------------------------------------------- */

static void every_modality_counts(void **state) {
    world *w = make_items(state);
    assert_counts(ingest_to_the_end(w), count_any(), FEW - count_any(), 0, 0);
    assert_whole(w);
    float *without_text = vector_of(w, 0, MAGPIE_SPACE_FUSED, NULL);
    assert_non_null(without_text);
    free(without_text);
    uint64_t before = row_of(w, 6);
    assert_counts(ingest_to_the_end(w), 0, 0, FEW, 0);
    write_items(w, "a thing", 2);
    assert_counts(ingest_to_the_end(w), 0, FEW, 0, 0);
    assert_true(row_of(w, 6) == before);
    assert_whole(w);
}

static void encoders_may_come_one_by_one(void **state) {
    for (unsigned first = 0; first < MAGPIE_MODALITIES; first++) {
        world *w = make_items(state);
        for (unsigned turn = 0; turn < MAGPIE_MODALITIES; turn++) {
            unsigned modality = (first + turn) % MAGPIE_MODALITIES;
            w->encoders = (magpie_ingest_encoders){.fusion = fusion};
            if (modality == MAGPIE_TEXT) w->encoders.text = shared_encoders.text;
            if (modality == MAGPIE_IMAGE) w->encoders.image = shared_encoders.image;
            if (modality == MAGPIE_AUDIO) w->encoders.audio = shared_encoders.audio;
            ingest_to_the_end(w);
            assert_int_equal(check_fused(w->store, fusion).missing, 0);
        }
        assert_whole(w);
        assert_as_if_new(w);
        remove_world(state);
        make_world(state);
    }
}

/* What an encoder that is not given made before goes into the new vector. */
static void another_text_keeps_the_picture_in_it(void **state) {
    world *w = make_items(state);
    ingest_to_the_end(w);
    uint64_t row = row_of(w, 6);
    float *picture = vector_of(w, 6, MAGPIE_SPACE_IMAGE, NULL);
    write_items(w, "another thing", 1);
    w->encoders = (magpie_ingest_encoders){.text = shared_encoder, .fusion = fusion};
    assert_media(ingest_to_the_end(w), 0, 0, 0, 0);
    assert_true(row_of(w, 6) > row);
    assert_same_vector(w, 6, MAGPIE_SPACE_IMAGE, picture);
    assert_whole(w);
}

static void a_modality_that_goes_leaves_it(void **state) {
    world *w = make_items(state);
    ingest_to_the_end(w);
    magpie_text_clear(&w->lines);
    magpie_text_printf(&w->lines, "{\"id\": \"item 6\", \"image\": \"6.png\"}\n{\"id\": \"item 3\"}\n");
    write_catalogue(w);
    assert_counts(ingest_to_the_end(w), 0, 2, 0, 0);
    assert_fused(w->store, fusion, count_any() - 1);
    float *nothing = vector_of(w, 3, MAGPIE_SPACE_FUSED, NULL);
    assert_null(nothing);
}

static void a_broken_picture_does_not_count_until_it_is_mended(void **state) {
    world *w = make_items(state);
    write_rubbish(w, &pictures, 6);
    assert_media(ingest_to_the_end(w), FEW / 2 - 1, 1, FEW / 3, 0);
    assert_whole(w); /* it has a text and a sound too */
    assert_counts(ingest_to_the_end(w), 0, 0, FEW, 0);
    write_file(w, &pictures, 6, 6);
    assert_counts(ingest_to_the_end(w), 1, 0, FEW - 1, 0);
    assert_whole(w);
    assert_as_if_new(w);
}

/* A run that is stopped anywhere, and goes on. */
static void a_stopped_run_goes_on(void **state) {
    world *w = make_items(state);
    magpie_ingest_progress progress;
    w->stop_after = 1;
    assert_int_equal(ingest(w, &progress), MAGPIE_E_CANCELLED);
    assert_int_equal(check_fused(w->store, fusion).missing, 0);
    ingest_to_the_end(w);
    assert_whole(w);
    assert_as_if_new(w);
}

/* ---- whose it is --------------------------------------------------------------------------------------- */

static void another_fusion_is_refused(void **state) {
    world *w = make_items(state);
    magpie_ingest_progress progress;
    const magpie_modality_source all[MAGPIE_MODALITIES] = {text_source, image_source, audio_source},
                                 strange[MAGPIE_MODALITIES] = {text_source, {image_source.dimension, "x"}};
    ingest_to_the_end(w);
    magpie_fusion *other = make_fusion(models_folder, 2, all),
                  *of_others = make_fusion(models_folder, 3, strange);
    const magpie_fusion *each[] = {other, of_others, NULL};
    for (size_t i = 0; i < 3; i++) {
        w->encoders.fusion = each[i];
        assert_int_equal(ingest(w, &progress), MAGPIE_E_MISMATCH);
    }
    assert_whole(w);
    magpie_fusion_close(other);
    magpie_fusion_close(of_others);
}

/* A store of before there were heads is fused by them, and goes on with them. */
static void an_old_store_is_fused(void **state) {
    world *w = make_items(state);
    w->encoders.fusion = NULL;
    ingest_to_the_end(w);
    assert_int_equal(vectors_in(w, MAGPIE_SPACE_FUSED), vectors_in(w, MAGPIE_SPACE_TEXT));
    assert_ok(magpie_ingest_fuse(w->store, fusion, NULL, NULL));
    assert_whole(w);
    w->encoders.fusion = fusion;
    assert_counts(ingest_to_the_end(w), 0, 0, FEW, 0);
    assert_as_if_new(w);
}

/* An ingest finishes what a fuse that was stopped has left. */
static bool stop_at_once(void *context, const magpie_fuse_progress *progress) {
    (void)context;
    (void)progress;
    return false;
}

static void an_ingest_fuses_the_rest(void **state) {
    world *w = make_items(state);
    const magpie_fuse_options options = {.commit_items = 5, .progress = stop_at_once};
    w->encoders.fusion = NULL;
    ingest_to_the_end(w);
    assert_int_equal(magpie_ingest_fuse(w->store, fusion, &options, NULL), MAGPIE_E_CANCELLED);
    w->encoders.fusion = fusion;
    ingest_to_the_end(w);
    assert_whole(w);
}

/* The space is another fusion's before the job's second commit. */
typedef struct theft {
    world *w;
    const magpie_fusion *thief;
} theft;

static bool steal(void *context, const magpie_ingest_progress *progress) {
    theft *t = context;
    if (progress->committed && t->thief) {
        assert_ok(magpie_ingest_fuse(t->w->store, t->thief, NULL, NULL));
        t->thief = NULL;
    }
    return true;
}

static void a_job_ends_where_its_space_is_given_away(void **state) {
    world *w = make_items(state);
    const magpie_modality_source all[MAGPIE_MODALITIES] = {text_source, image_source, audio_source};
    magpie_fusion *other = make_fusion(models_folder, 2, all);
    theft t = {w, other};
    const char *const catalogue = w->catalogue;
    const magpie_ingest_options options = {.catalogues = &catalogue,
                                           .catalogue_count = 1,
                                           .commit_items = COMMIT_ITEMS,
                                           .progress = steal,
                                           .context = &t};
    assert_int_equal(magpie_ingest_run(w->store, &w->encoders, &options, NULL), MAGPIE_E_MISMATCH);
    assert_int_equal(check_fused(w->store, other).missing, 0);
    w->encoders.fusion = other;
    ingest_to_the_end(w);
    assert_fused(w->store, other, count_any());
    magpie_fusion_close(other);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        INGEST_TEST(every_modality_counts),
        INGEST_TEST(encoders_may_come_one_by_one),
        INGEST_TEST(another_text_keeps_the_picture_in_it),
        INGEST_TEST(a_modality_that_goes_leaves_it),
        INGEST_TEST(a_broken_picture_does_not_count_until_it_is_mended),
        INGEST_TEST(a_stopped_run_goes_on),
        INGEST_TEST(another_fusion_is_refused),
        INGEST_TEST(an_old_store_is_fused),
        INGEST_TEST(an_ingest_fuses_the_rest),
        INGEST_TEST(a_job_ends_where_its_space_is_given_away),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
