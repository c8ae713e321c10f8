/* test_session.c - lines put one by one leave a store just as an ingest of the last line of each id would, and each
 * is answered as it fared; a patch changes attributes and nothing else. */
#include "test_fused.h"
#include "test_ingest_media.h"

#include <jansson.h>

enum { IDS = 12, STEPS = 400 };

static magpie_fusion *fusions[2];

static int open_all(void **state) {
    if (open_encoders(state) != 0) return -1;
    if (!shared_encoder) return 0;
    const magpie_text_encoder_info *text = magpie_text_encoder_get_info(shared_encoders.text);
    const magpie_image_encoder_info *image = magpie_image_encoder_get_info(shared_encoders.image);
    const magpie_modality_source sources[MAGPIE_MODALITIES] = {
        [MAGPIE_TEXT] = {text->dimension, text->fingerprint},
        [MAGPIE_IMAGE] = {image->dimension, image->fingerprint}};
    for (unsigned i = 0; i < 2; i++) fusions[i] = make_fusion(models_folder, 1 + i, sources);
    shared_encoders.fusion = fusions[0];
    return 0;
}

static int close_all(void **state) {
    for (unsigned i = 0; i < 2; i++) magpie_fusion_close(fusions[i]);
    return close_encoders(state);
}

static magpie_ingest_session *open_session(world *w) {
    magpie_ingest_session *session;
    const char *const catalogue = w->catalogue;
    const magpie_ingest_options options = {.catalogues = &catalogue, .catalogue_count = 1};
    assert_ok(magpie_ingest_session_open(w->store, &w->encoders, &options, &session));
    return session;
}

/* Puts one line, or patches, and flushes. */
static magpie_ingest_answer put(magpie_ingest_session *session, const char *line) {
    const magpie_ingest_answer *answers;
    size_t count;
    assert_ok(magpie_ingest_session_put(session, line, strlen(line)));
    assert_ok(magpie_ingest_session_flush(session, &answers, &count));
    assert_int_equal(count, 1);
    return answers[0];
}

static magpie_ingest_answer patch(magpie_ingest_session *session, const char *id, const char *changes) {
    const magpie_ingest_answer *answers;
    size_t count;
    assert_ok(magpie_ingest_session_patch(session, string_of(id), changes, strlen(changes)));
    assert_ok(magpie_ingest_session_flush(session, &answers, &count));
    assert_int_equal(count, 1);
    return answers[0];
}

/* ---- as an ingest would -------------------------------------------------------------------------------- */

/* A line of random content; few texts, pictures and attributes, so that some of them stay. */
static json_t *random_line(random_state *r, unsigned id) {
    static const char *const texts[] = {"a kettle", "two kettles", "", "naïve \"owls\""};
    static const double timestamps[] = {0, -1.25, 1e9, 1234567.891};
    char name[32];
    snprintf(name, sizeof name, "item %u", id);
    json_t *line = json_pack("{s:s}", "id", name);
    if (random_below(r, 5)) json_object_set_new(line, "text", json_string(texts[random_below(r, 4)]));
    snprintf(name, sizeof name, "%u.png", (unsigned)random_below(r, 4)); /* the last is rubbish */
    if (random_below(r, 2)) json_object_set_new(line, "image", json_string(name));
    if (random_below(r, 3) == 0)
        json_object_set_new(line, "timestamp", json_real(timestamps[random_below(r, 4)]));
    if (random_below(r, 3))
        json_object_set_new(
            line, "attributes",
            json_pack("{s:f, s:s}", "price", 0.1 + (double)random_below(r, 2), "colour", "red"));
    return line;
}

/* Of attributes: of one member, so that the reference needs no recursion. */
static json_t *random_patch(random_state *r) {
    static const char *const keys[] = {"price", "colour", "size"};
    const char *key = keys[random_below(r, 3)];
    if (random_below(r, 3) == 0) return json_pack("{s:n}", key);
    return json_pack("{s:f}", key, (double)random_below(r, 3) / 10);
}

static void apply(json_t *line, json_t *changes) {
    const char *key;
    json_t *value, *attributes = json_object_get(line, "attributes");
    if (!attributes) json_object_set_new(line, "attributes", attributes = json_object());
    json_object_foreach(changes, key, value) json_is_null(value) ? json_object_del(attributes, key)
                                                                 : json_object_set(attributes, key, value);
}

/* As the store has it: {} and "" are as good as nothing. */
static json_t *content(json_t *line) {
    json_t *copy = json_deep_copy(line);
    if (!json_object_size(json_object_get(copy, "attributes"))) json_object_del(copy, "attributes");
    if (!json_string_length(json_object_get(copy, "text"))) json_object_del(copy, "text");
    return copy;
}

typedef struct step {
    magpie_ingest_verdict verdict;
    bool rubbish; /* its picture is */
} step;

static void check_answers(magpie_ingest_session *session, const step *steps, size_t n) {
    const magpie_ingest_answer *answers;
    size_t count;
    assert_ok(magpie_ingest_session_flush(session, &answers, &count));
    assert_int_equal(count, n);
    for (size_t i = 0; i < n; i++) {
        if (answers[i].verdict != steps[i].verdict)
            fail_msg("step %zu, \"%s\": %d, not %d", i, answers[i].id.data, answers[i].verdict,
                     steps[i].verdict);
        assert_int_equal(answers[i].words.size != 0, steps[i].rubbish);
        if (steps[i].rubbish)
            assert_ptr_equal(strstr(answers[i].words.data, "image: "), answers[i].words.data);
    }
}

/* One put or patch of an item whose last line is *line (NULL: there is none yet), and what is to come of it. */
static step take_step(magpie_ingest_session *session, random_state *r, unsigned id, json_t **line) {
    char name[32];
    bool patching = *line && random_below(r, 3) == 0;
    json_t *before = *line ? content(*line) : NULL,
           *changes = patching ? random_patch(r) : random_line(r, id);
    char *text = json_dumps(changes, JSON_COMPACT);
    snprintf(name, sizeof name, "item %u", id);
    if (patching) {
        assert_ok(magpie_ingest_session_patch(session, string_of(name), text, strlen(text)));
        apply(*line, changes);
    } else {
        assert_ok(magpie_ingest_session_put(session, text, strlen(text)));
        json_decref(*line);
        *line = json_incref(changes);
    }
    json_t *after = content(*line);
    const char *image = json_string_value(json_object_get(*line, "image"));
    step out = {.verdict = !before                     ? MAGPIE_INGEST_CREATED
                           : json_equal(before, after) ? MAGPIE_INGEST_UNCHANGED
                                                       : MAGPIE_INGEST_UPDATED,
                .rubbish = image && strcmp(image, "3.png") == 0};
    json_decref(changes);
    json_decref(before);
    json_decref(after);
    free(text);
    return out;
}

static void leaves_what_an_ingest_would(void **state) {
    world *w = world_with(state, shared_encoders);
    random_state r = {3};
    json_t *lines[IDS] = {0};
    step steps[STEPS];
    size_t waiting = 0, items = 0;
    for (unsigned i = 0; i < 3; i++) write_file(w, &pictures, i, i);
    write_rubbish(w, &pictures, 3);
    magpie_ingest_session *session = open_session(w);
    for (size_t i = 0; i < STEPS; i++) {
        unsigned id = (unsigned)random_below(&r, IDS);
        steps[waiting++] = take_step(session, &r, id, &lines[id]);
        if (random_below(&r, 6)) continue;
        check_answers(session, steps, waiting);
        waiting = 0;
    }
    check_answers(session, steps, waiting);
    magpie_ingest_session_close(session);
    for (size_t i = 0; i < IDS; i++) {
        if (!lines[i]) continue;
        char *text = json_dumps(lines[i], JSON_COMPACT);
        magpie_text_printf(&w->lines, "%s\n", text);
        free(text);
        json_decref(lines[i]);
        items++;
    }
    write_catalogue(w);
    assert_int_equal(items, IDS);
    assert_counts(ingest_to_the_end(w), 0, 0, items, 0); /* hashes and all */
    assert_store_holds(w, items);
    assert_as_if_new(w);
}

/* ---- patches ------------------------------------------------------------------------------------------- */

/* RFC 7396, appendix A, as far as both are objects. */
static void merges_as_rfc_7396_has_it(void **state) {
    static const struct {
        const char *before, *changes, *after;
    } cases[] = {
        {"{\"a\":\"b\"}", "{\"a\":\"c\"}", "{\"a\":\"c\"}"},
        {"{\"a\":\"b\"}", "{\"b\":\"c\"}", "{\"a\":\"b\",\"b\":\"c\"}"},
        {"{\"a\":\"b\"}", "{\"a\":null}", ""},
        {"{\"a\":\"b\",\"b\":\"c\"}", "{\"a\":null}", "{\"b\":\"c\"}"},
        {"{\"a\":[\"b\"]}", "{\"a\":\"c\"}", "{\"a\":\"c\"}"},
        {"{\"a\":\"c\"}", "{\"a\":[\"b\"]}", "{\"a\":[\"b\"]}"},
        {"{\"a\":{\"b\":\"c\"}}", "{\"a\":{\"b\":\"d\",\"c\":null}}", "{\"a\":{\"b\":\"d\"}}"},
        {"{\"a\":[{\"b\":\"c\"}]}", "{\"a\":[1]}", "{\"a\":[1]}"},
        {"{\"e\":null}", "{\"a\":1}", "{\"a\":1,\"e\":null}"},
        {"{}", "{\"a\":{\"bb\":{\"ccc\":null}}}", "{\"a\":{\"bb\":{}}}"},
    };
    world *w = world_with(state, (magpie_ingest_encoders){0});
    w->encoders.text = NULL;
    magpie_ingest_session *session = open_session(w);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        magpie_text line = {0};
        magpie_snapshot *snapshot;
        magpie_item item;
        magpie_text_printf(&line, "{\"id\":\"x\",\"attributes\":%s}", cases[i].before);
        put(session, line.data);
        magpie_text_free(&line);
        assert_int_equal(patch(session, "x", cases[i].changes).verdict, MAGPIE_INGEST_UPDATED);
        assert_ok(magpie_snapshot_open(w->store, &snapshot));
        assert_ok(magpie_snapshot_get(snapshot, string_of("x"), &item));
        if (item.attributes.size != strlen(cases[i].after) ||
            (item.attributes.size && memcmp(item.attributes.data, cases[i].after, item.attributes.size)))
            fail_msg("case %zu: %.*s", i, (int)item.attributes.size, item.attributes.data);
        magpie_snapshot_close(snapshot);
    }
    magpie_ingest_session_close(session);
}

/* Whatever has become of the picture, and whichever encoders the session has. */
static void a_patch_keeps_vectors_and_row(void **state) {
    world *w = world_with(state, shared_encoders);
    write_file(w, &pictures, 0, 1);
    write_rubbish(w, &pictures, 1);
    magpie_ingest_session *session = open_session(w);
    put(session, "{\"id\":\"item 0\",\"text\":\"a kettle\",\"image\":\"0.png\"}");
    put(session, "{\"id\":\"item 1\",\"text\":\"a kettle\",\"image\":\"1.png\"}");
    write_file(w, &pictures, 0, 2);
    remove_file(w, &pictures, 1);
    for (unsigned given = 0; given < 2; given++) {
        float *vectors[MAGPIE_SPACES];
        uint64_t row = row_of(w, 0);
        for (unsigned s = 0; s < MAGPIE_SPACES; s++) vectors[s] = vector_of(w, 0, s, NULL);
        assert_int_equal(patch(session, "item 0", given ? "{\"a\":1}" : "{\"a\":2}").verdict,
                         MAGPIE_INGEST_UPDATED);
        magpie_ingest_answer answer = patch(session, "item 1", given ? "{\"a\":1}" : "{\"a\":2}");
        assert_string_equal(answer.words.data, problems_of(w, 1));
        assert_non_null(strstr(answer.words.data, "image: "));
        assert_int_equal(row_of(w, 0), row);
        for (unsigned s = 0; s < MAGPIE_SPACES; s++)
            if (s != MAGPIE_SPACE_AUDIO) assert_same_vector(w, 0, s, vectors[s]);
        magpie_ingest_session_close(session);
        w->encoders = (magpie_ingest_encoders){.fusion = shared_encoders.fusion};
        session = open_session(w);
    }
    magpie_ingest_session_close(session);
    /* What has changed on the disk meanwhile is seen by the next ingest: nobody claims to have encoded it. */
    w->encoders = shared_encoders;
    magpie_text_printf(
        &w->lines,
        "{\"id\":\"item 0\",\"text\":\"a kettle\",\"image\":\"0.png\",\"attributes\":{\"a\":1}}\n");
    write_catalogue(w);
    assert_counts(ingest_to_the_end(w), 1, 0, 0, 0);
}

static bool stop_at_once(void *context, const magpie_fuse_progress *progress) {
    (void)context, (void)progress;
    return false;
}

/* An item whose vector other heads have taken away, and not yet made anew, is not taken for one that is fused. */
static void a_patch_leaves_fusing_to_others(void **state) {
    world *w = world_with(state, shared_encoders);
    const magpie_fuse_options options = {.commit_items = 1, .progress = stop_at_once};
    add_items(w, 0, 3, "a thing", 1);
    write_catalogue(w);
    ingest_to_the_end(w);
    w->encoders.fusion = fusions[1];
    assert_int_equal(magpie_ingest_fuse(w->store, fusions[1], &options, NULL), MAGPIE_E_CANCELLED);
    magpie_ingest_session *session = open_session(w);
    for (unsigned i = 0; i < 3; i++) {
        char id[32];
        snprintf(id, sizeof id, "item %u", i);
        assert_int_equal(patch(session, id, "{\"price\":2}").verdict, MAGPIE_INGEST_UPDATED);
    }
    magpie_ingest_session_close(session);
    magpie_text_clear(&w->lines);
    add_items(w, 0, 3, "a thing", 2);
    write_catalogue(w);
    ingest_to_the_end(w);
    assert_fused(w->store, fusions[1], 3);
}

/* ---- what is refused ----------------------------------------------------------------------------------- */

static void bad_lines_are_refused_alone(void **state) {
    static const struct {
        const char *line, *id, *words;
    } cases[] = {
        {"{\"id\":\"good\"}", "good", ""},
        {"{\"id\":", "", "broken JSON"},
        {"{\"id\":\"a\",\"txt\":\"b\"}", "a", "unknown key"},
        {"{\"text\":\"b\"}", "", "id is missing"},
        {"{\"id\":\"good too\",\"image\":\"none.png\"}", "good too", "image: cannot open"},
        {"\xff", "", "broken UTF-8"},
        {"", "", "broken JSON"},
    };
    enum { CASES = sizeof cases / sizeof *cases };
    static const char *const patches[] = {"[1]", "{\"a\":", "7", "null"};
    world *w = world_with(state, shared_encoders);
    magpie_ingest_session *session = open_session(w);
    const magpie_ingest_answer *answers;
    size_t count;
    for (size_t i = 0; i < CASES; i++)
        assert_ok(magpie_ingest_session_put(session, cases[i].line, strlen(cases[i].line)));
    assert_ok(magpie_ingest_session_flush(session, &answers, &count));
    assert_int_equal(count, CASES);
    for (size_t i = 0; i < CASES; i++) {
        bool good = strncmp(cases[i].id, "good", 4) == 0;
        assert_string_equal(answers[i].id.data, cases[i].id);
        assert_int_equal(answers[i].verdict, good ? MAGPIE_INGEST_CREATED : MAGPIE_INGEST_REFUSED);
        assert_int_equal(answers[i].status, good ? MAGPIE_OK : MAGPIE_E_INPUT);
        if (strncmp(answers[i].words.data, cases[i].words, strlen(cases[i].words)) != 0)
            fail_msg("line %zu: %s", i, answers[i].words.data);
    }
    for (size_t i = 0; i < sizeof patches / sizeof *patches; i++)
        assert_int_equal(patch(session, "good", patches[i]).status, MAGPIE_E_INPUT);
    magpie_ingest_answer answer = patch(session, "nobody", "{}");
    assert_int_equal(answer.status, MAGPIE_E_NOT_FOUND);
    assert_int_equal(answer.verdict, MAGPIE_INGEST_REFUSED);
    magpie_ingest_session_close(session);
    assert_store_holds(w, 2);
}

/* ---- others meanwhile ---------------------------------------------------------------------------------- */

static void a_space_given_away_is_a_mismatch(void **state) {
    world *w = world_with(state, shared_encoders);
    const magpie_space_model other = {"other", "another fingerprint", 3, NULL};
    const char *line = "{\"id\":\"item 1\",\"text\":\"an owl\"}";
    const magpie_ingest_answer *answers;
    size_t count;
    magpie_ingest_session *session = open_session(w);
    put(session, "{\"id\":\"item 0\",\"text\":\"a kettle\"}");
    assert_ok(magpie_store_rebind(w->store, MAGPIE_SPACE_TEXT, &other));
    assert_ok(magpie_ingest_session_put(session, line, strlen(line)));
    assert_int_equal(magpie_ingest_session_flush(session, &answers, &count), MAGPIE_E_MISMATCH);
    assert_int_equal(count, 0);
    assert_ok(magpie_ingest_session_patch(session, string_of("item 0"), "{\"a\":1}", 7));
    assert_int_equal(magpie_ingest_session_flush(session, &answers, &count), MAGPIE_E_MISMATCH);
    magpie_ingest_session_close(session);
    assert_store_holds(w, 1);
}

/* Its row was to stay: the vectors are put again. */
static void deleted_while_it_waits(void **state) {
    world *w = world_with(state, shared_encoders);
    const char *line = "{\"id\":\"item 0\",\"text\":\"a kettle\",\"attributes\":{\"a\":1}}";
    const magpie_ingest_answer *answers;
    size_t count;
    magpie_batch *batch;
    magpie_ingest_session *session = open_session(w);
    put(session, "{\"id\":\"item 0\",\"text\":\"a kettle\"}");
    float *before = vector_of(w, 0, MAGPIE_SPACE_TEXT, NULL);
    assert_ok(magpie_ingest_session_put(session, line, strlen(line)));
    assert_ok(magpie_batch_create(&batch));
    assert_ok(magpie_batch_delete(batch, string_of("item 0")));
    assert_ok(magpie_store_commit(w->store, batch, NULL));
    magpie_batch_free(batch);
    assert_ok(magpie_ingest_session_flush(session, &answers, &count));
    assert_int_equal(answers[0].verdict, MAGPIE_INGEST_UPDATED);
    assert_same_vector(w, 0, MAGPIE_SPACE_TEXT, before);
    magpie_ingest_session_close(session);
    assert_store_holds(w, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        INGEST_TEST(leaves_what_an_ingest_would),   INGEST_TEST(merges_as_rfc_7396_has_it),
        INGEST_TEST(a_patch_keeps_vectors_and_row), INGEST_TEST(a_patch_leaves_fusing_to_others),
        INGEST_TEST(bad_lines_are_refused_alone),   INGEST_TEST(a_space_given_away_is_a_mismatch),
        INGEST_TEST(deleted_while_it_waits),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
