/* test_ingest_media.h - what the tests of pictures and of sounds in an ingest share: a kind of file in a
 * few words, a world that has such files beside its catalogue, and what is to hold of their vectors. */
#ifndef TEST_INGEST_MEDIA_H
#define TEST_INGEST_MEDIA_H

#include "test_ingest.h"
#include "test_pictures.h"
#include "test_sounds.h"

#include <math.h>

/* What a catalogue's items may refer to. */
typedef struct medium_kind {
    const char *key, *extension;
    magpie_space space;
    void (*write)(const char *path, unsigned seed); /* each seed has its own */
    void (*write_model)(const char *folder, unsigned seed);
} medium_kind;

static inline void write_second(const char *path, unsigned seed) { write_sound(path, seed, 1.0); }

static const medium_kind pictures = {"image", "png", MAGPIE_SPACE_IMAGE, write_picture, write_image_model};
static const medium_kind sounds = {"audio", "wav", MAGPIE_SPACE_AUDIO, write_second, write_audio_model};

/* ---- encoders ------------------------------------------------------------------------------------------ */

static char models_folder[] = "/tmp/magpie-models-XXXXXX";
static magpie_ingest_encoders shared_encoders; /* all that there are */

/* The encoder of one kind out of `from`, and no other's. */
static inline magpie_ingest_encoders encoder_of(const medium_kind *kind, magpie_ingest_encoders from) {
    return kind == &pictures ? (magpie_ingest_encoders){.image = from.image}
                             : (magpie_ingest_encoders){.audio = from.audio};
}

/* A model of this kind, made in the folder of that name. */
static inline magpie_ingest_encoders open_model(const medium_kind *kind, const char *name, unsigned seed) {
    magpie_ingest_encoders out = {0};
    char *folder = magpie_path_join(models_folder, name);
    kind->write_model(folder, seed);
    if (kind == &pictures)
        out.image = open_image_model(folder);
    else
        out.audio = open_audio_model(folder);
    free(folder);
    return out;
}

static inline int open_encoders(void **state) {
    assert_non_null(mkdtemp(models_folder));
    assert_int_equal(open_encoder(state), 0);
    shared_encoders = (magpie_ingest_encoders){.text = shared_encoder,
                                               .image = open_model(&pictures, "image first", 1).image,
                                               .audio = open_model(&sounds, "audio first", 1).audio};
    return 0;
}

static inline int close_encoders(void **state) {
    char command[128];
    magpie_image_encoder_close(shared_encoders.image);
    magpie_audio_encoder_close(shared_encoders.audio);
    snprintf(command, sizeof command, "rm -rf %s", models_folder);
    assert_int_equal(system(command), 0);
    return close_encoder(state);
}

/* The world of test_ingest.h with these encoders beside that of texts; skipped where there is no text
 * model. */
static inline world *world_with(void **state, magpie_ingest_encoders encoders) {
    world *w = *state;
    if (!shared_encoder) skip_loudly("no text model");
    w->encoders = encoders;
    w->encoders.text = shared_encoder;
    return w;
}

/* ---- files --------------------------------------------------------------------------------------------- */

static inline char *file_path(const world *w, const medium_kind *kind, unsigned i) {
    char name[32];
    snprintf(name, sizeof name, "%u.%s", i, kind->extension);
    return magpie_path_join(w->folder, name);
}

static inline void write_file(const world *w, const medium_kind *kind, unsigned i, unsigned seed) {
    char *path = file_path(w, kind, i);
    kind->write(path, seed);
    free(path);
}

/* What is neither a picture nor a sound. */
static inline void write_rubbish(const world *w, const medium_kind *kind, unsigned i) {
    char *path = file_path(w, kind, i);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs("GIF89a, or what?", file);
    assert_int_equal(fclose(file), 0);
    free(path);
}

static inline void remove_file(const world *w, const medium_kind *kind, unsigned i) {
    char *path = file_path(w, kind, i);
    assert_int_equal(unlink(path), 0);
    free(path);
}

/* ---- what is to hold ----------------------------------------------------------------------------------- */

/* A copy of an item's vector, to be freed; NULL where it has none. *row is the item's, where that is
 * asked. */
static inline float *vector_of(world *w, unsigned i, magpie_space space, uint64_t *row) {
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

static inline uint64_t row_of(world *w, unsigned i) {
    uint64_t row;
    free(vector_of(w, i, MAGPIE_SPACE_FUSED, &row));
    return row;
}

/* An item's vector is this one, bit for bit. Frees `before`. */
static inline void assert_same_vector(world *w, unsigned i, magpie_space space, float *before) {
    magpie_store_stats stats;
    float *now = vector_of(w, i, space, NULL);
    assert_ok(magpie_store_get_stats(w->store, &stats));
    assert_non_null(before);
    assert_non_null(now);
    assert_memory_equal(before, now, stats.dimension[space] * sizeof *now);
    free(before);
    free(now);
}

/* To what batches of another size may change (encoders.h). */
static inline bool equal_vectors(const float *a, const float *b, size_t dimension) {
    for (size_t i = 0; a && b && i < dimension; i++)
        if (!(fabsf(a[i] - b[i]) <= 1e-5F)) return false;
    return !a == !b;
}

/* Every item's vectors are those that a store gets which is filled at once with all encoders. */
static inline void assert_as_if_new(world *w) {
    world fresh = *w;
    magpie_store_stats stats;
    const magpie_store_options create = {.create = true};
    char *path = magpie_path_join(w->folder, "fresh");
    char command[256];
    fresh.encoders = shared_encoders;
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

static inline uint64_t vectors_in(world *w, magpie_space space) {
    magpie_store_stats stats;
    assert_ok(magpie_store_get_stats(w->store, &stats));
    return stats.vectors[space];
}

/* What a run did with pictures and with sounds. */
static inline void assert_media(magpie_ingest_progress p, size_t pictures_encoded, size_t pictures_refused,
                                size_t sounds_encoded, size_t sounds_refused) {
    assert_int_equal(p.pictures_encoded, pictures_encoded);
    assert_int_equal(p.pictures_refused, pictures_refused);
    assert_int_equal(p.sounds_encoded, sounds_encoded);
    assert_int_equal(p.sounds_refused, sounds_refused);
}

/* item.problems, in a buffer that the next call overwrites. */
static inline const char *problems_of(world *w, unsigned i) {
    static char problems[1024];
    char id[32];
    magpie_snapshot *snapshot;
    magpie_item item;
    snprintf(id, sizeof id, "item %u", i);
    assert_ok(magpie_snapshot_open(w->store, &snapshot));
    assert_ok(magpie_snapshot_get(snapshot, string_of(id), &item));
    snprintf(problems, sizeof problems, "%.*s", (int)item.problems.size, item.problems.data);
    magpie_snapshot_close(snapshot);
    return problems;
}

/* The rejects have a line of a file of this kind; `reason` is how it begins. */
static inline void assert_rejected(const char *rejects, const medium_kind *kind, unsigned line,
                                   const char *id, const char *reason) {
    char words[256];
    snprintf(words, sizeof words,
             "{\"line\": %u, \"id\": \"%s\", \"modality\": \"%s\", \"kept\": true, \"reason\": \"%s", line,
             id, kind->key, reason);
    if (!strstr(rejects, words)) fail_msg("%s is not in:\n%s", words, rejects);
}

#endif
