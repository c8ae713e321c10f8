/* test_turns.c - callers of one encoder from several threads get what each would get alone, to the bit; and who
 * waits for a turn has it before who comes back for another. */
#include "test_pictures.h"
#include "test_sounds.h"

#include "turns.h"

#include <pthread.h>
#include <sched.h>

enum { CALLERS = 4, FILES = 40, TEXTS = 1100 /* more than are encoded in one turn */ };

/* ---- encoders ---- */

static char folder[64];
static magpie_media files[FILES];

/* What is encoded, of one kind. */
typedef struct subject {
    void *encoder;
    size_t dimension;
    size_t most; /* of the longest call; the others have 1 and some */
    void (*encode)(void *encoder, size_t first, size_t n, float *out);
} subject;

typedef struct caller {
    const subject *subject;
    size_t first, n, rounds;
    float *wanted; /* [n, dimension], as one thread alone has it */
    bool same;
    pthread_t thread;
} caller;

static void *call(void *context) {
    caller *c = context;
    size_t bytes = c->n * c->subject->dimension * sizeof(float);
    float *out = malloc(bytes);
    c->same = out;
    for (size_t i = 0; i < c->rounds && c->same; i++) {
        memset(out, 0, bytes);
        c->subject->encode(c->subject->encoder, c->first, c->n, out);
        c->same = memcmp(out, c->wanted, bytes) == 0;
    }
    free(out);
    return NULL;
}

static void check(const subject *s) {
    caller callers[CALLERS] = {{.n = s->most, .rounds = 1},
                               {.first = 1, .n = 1, .rounds = 20},
                               {.first = 2, .n = 7, .rounds = 8},
                               {.first = 9, .n = 1, .rounds = 20}};
    for (size_t i = 0; i < CALLERS; i++) {
        callers[i].subject = s;
        callers[i].wanted = malloc(callers[i].n * s->dimension * sizeof(float));
        assert_non_null(callers[i].wanted);
        s->encode(s->encoder, callers[i].first, callers[i].n, callers[i].wanted);
    }
    for (size_t i = 0; i < CALLERS; i++)
        assert_int_equal(pthread_create(&callers[i].thread, NULL, call, &callers[i]), 0);
    for (size_t i = 0; i < CALLERS; i++) assert_int_equal(pthread_join(callers[i].thread, NULL), 0);
    for (size_t i = 0; i < CALLERS; i++) {
        if (!callers[i].same) fail_msg("caller %zu got other vectors than alone", i);
        free(callers[i].wanted);
    }
}

static void encode_texts(void *encoder, size_t first, size_t n, float *out) {
    static const char *const words[] = {"kettle", "red shoes", "an owl", "the river"};
    magpie_string *texts = calloc(n, sizeof *texts);
    assert_non_null(texts);
    for (size_t i = 0; i < n; i++) texts[i] = string_of(words[(first + i) % 4]);
    assert_ok(magpie_text_encoder_encode(encoder, texts, n, MAGPIE_PASSAGE, out));
    free(texts);
}

static void encode_pictures(void *encoder, size_t first, size_t n, float *out) {
    assert_ok(magpie_image_encoder_encode(encoder, files + first, n, out, NULL));
}

static void encode_sounds(void *encoder, size_t first, size_t n, float *out) {
    assert_ok(magpie_audio_encoder_encode(encoder, files + first, n, out, NULL));
}

static void texts(void **state) {
    (void)state;
    const magpie_encoder_options options = {.precision = MAGPIE_PRECISION_F32, .threads = 2};
    magpie_text_encoder *encoder;
    if (!model_directory()) skip_loudly("no text model; ./test.sh fetches it");
    assert_ok(magpie_text_encoder_open(model_directory(), &options, &encoder));
    check(&(subject){encoder, magpie_text_encoder_get_info(encoder)->dimension, TEXTS, encode_texts});
    magpie_text_encoder_close(encoder);
}

static void write_files(const char *model, void (*write_model)(const char *, unsigned),
                        void (*write)(const char *, unsigned)) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, model);
    write_model(path, 1);
    for (unsigned i = 0; i < FILES; i++) {
        snprintf(path, sizeof path, "%s/%s.%u", folder, model, i);
        write(path, i);
        free((void *)(uintptr_t)files[i].path);
        files[i].path = strdup(path);
        assert_non_null(files[i].path);
    }
}

static void pictures(void **state) {
    (void)state;
    char path[128];
    write_files("pictures", write_image_model, write_picture);
    snprintf(path, sizeof path, "%s/pictures", folder);
    magpie_image_encoder *encoder = open_image_model(path);
    check(&(subject){encoder, magpie_image_encoder_get_info(encoder)->dimension, FILES, encode_pictures});
    magpie_image_encoder_close(encoder);
}

static void write_a_second(const char *path, unsigned seed) { write_sound(path, seed, 1.0); }

static void sounds(void **state) {
    (void)state;
    char path[128];
    write_files("sounds", write_audio_model, write_a_second);
    snprintf(path, sizeof path, "%s/sounds", folder);
    magpie_audio_encoder *encoder = open_audio_model(path);
    check(&(subject){encoder, magpie_audio_encoder_get_info(encoder)->dimension, FILES / 2, encode_sounds});
    magpie_audio_encoder_close(encoder);
}

/* ---- the order ---- */

typedef struct counter {
    turns turns;
    bool other_was_there;
} counter;

static void *come_later(void *context) {
    counter *c = context;
    turns_take(&c->turns);
    c->other_was_there = true;
    turns_give(&c->turns);
    return NULL;
}

static void in_the_order_of_coming(void **state) {
    (void)state;
    counter c = {.other_was_there = false};
    pthread_t thread;
    uint64_t taken;
    turns_init(&c.turns);
    turns_take(&c.turns);
    assert_int_equal(pthread_create(&thread, NULL, come_later, &c), 0);
    do {
        sched_yield();
        pthread_mutex_lock(&c.turns.lock);
        taken = c.turns.taken;
        pthread_mutex_unlock(&c.turns.lock);
    } while (taken < 2);
    assert_false(c.other_was_there);
    turns_give(&c.turns);
    turns_take(&c.turns);
    assert_true(c.other_was_there);
    turns_give(&c.turns);
    assert_int_equal(pthread_join(thread, NULL), 0);
    turns_destroy(&c.turns);
}

static int make_folder(void **state) {
    (void)state;
    strcpy(folder, "/tmp/magpie-turns-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
    (void)state;
    char command[128];
    for (size_t i = 0; i < FILES; i++) free((void *)(uintptr_t)files[i].path);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_the_order_of_coming),
        cmocka_unit_test(texts),
        cmocka_unit_test(pictures),
        cmocka_unit_test(sounds),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
