/* test_ingest.h - what the tests of ingest share: a catalogue, a store and encoders of their own, runs in one
 * line, and what is to hold after each. */
#ifndef TEST_INGEST_H
#define TEST_INGEST_H

#include "support.h"

#include "ingest.h"

enum { ITEMS = 60, COMMIT_ITEMS = 8 };

/* ---- a catalogue, a store and a model ------------------------------------------------------------------ */

typedef struct world {
    char folder[64];
    char *catalogue, *rejects, *store_path;
    magpie_text lines;
    magpie_store *store;
    magpie_ingest_encoders encoders; /* shared by all tests; the text's alone until a test says otherwise */
    size_t stop_after;               /* commits; 0: never */
    magpie_text acknowledged;        /* ids, a newline behind each */
} world;

static magpie_text_encoder *shared_encoder;

static inline int open_encoder(void **state) {
    (void)state;
    const char *directory = model_directory();
    if (!directory) return 0;
    const magpie_encoder_options options = {.precision = MAGPIE_PRECISION_F32, .threads = 1};
    assert_ok(magpie_text_encoder_open(directory, &options, &shared_encoder));
    return 0;
}

static inline int close_encoder(void **state) {
    (void)state;
    magpie_text_encoder_close(shared_encoder);
    return 0;
}

static inline int make_world(void **state) {
    world *w = calloc(1, sizeof *w);
    const magpie_store_options create = {.create = true};
    strcpy(w->folder, "/tmp/magpie-ingest-XXXXXX");
    assert_non_null(mkdtemp(w->folder));
    w->catalogue = magpie_path_join(w->folder, "catalogue.jsonl");
    w->rejects = magpie_path_join(w->folder, "rejects.jsonl");
    w->store_path = magpie_path_join(w->folder, "store");
    assert_ok(magpie_store_open(w->store_path, &create, &w->store));
    w->encoders.text = shared_encoder;
    *state = w;
    return 0;
}

static inline int remove_world(void **state) {
    world *w = *state;
    char command[128];
    magpie_store_close(w->store);
    snprintf(command, sizeof command, "rm -rf %s", w->folder);
    assert_int_equal(system(command), 0);
    free(w->catalogue);
    free(w->rejects);
    free(w->store_path);
    magpie_text_free(&w->lines);
    magpie_text_free(&w->acknowledged);
    free(w);
    return 0;
}

static inline void write_catalogue(world *w) {
    FILE *file = fopen(w->catalogue, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(w->lines.data, 1, w->lines.size, file), w->lines.size);
    assert_int_equal(fclose(file), 0);
}

/* Items first .. first + n - 1; `text` and `price` tell one version from another. */
static inline void add_items(world *w, unsigned first, unsigned n, const char *text, int price) {
    for (unsigned i = first; i < first + n; i++)
        magpie_text_printf(&w->lines,
                           "{\"id\": \"item %u\", \"text\": \"%s %u\", \"attributes\": {\"price\": %d}}\n", i,
                           text, i, price);
}

static inline bool stop_sometimes(void *context, const magpie_ingest_progress *progress) {
    const world *w = context;
    return !w->stop_after || progress->committed < w->stop_after * COMMIT_ITEMS;
}

static inline void note_acknowledged(void *context, magpie_string id) {
    world *w = context;
    magpie_item item;
    magpie_snapshot *snapshot;
    magpie_text_append(&w->acknowledged, id.data, id.size);
    magpie_text_append(&w->acknowledged, "\n", 1);
    assert_ok(magpie_snapshot_open(w->store, &snapshot));
    assert_ok(magpie_snapshot_get(snapshot, id, &item));
    magpie_snapshot_close(snapshot);
}

static inline magpie_status ingest(world *w, magpie_ingest_progress *out) {
    const char *const catalogue = w->catalogue;
    const magpie_ingest_options options = {.catalogues = &catalogue,
                                           .catalogue_count = 1,
                                           .rejects = w->rejects,
                                           .commit_items = COMMIT_ITEMS,
                                           .progress = stop_sometimes,
                                           .acknowledge = note_acknowledged,
                                           .context = w};
    magpie_text_clear(&w->acknowledged);
    return magpie_ingest_run(w->store, &w->encoders, &options, out);
}

static inline magpie_ingest_progress ingest_to_the_end(world *w) {
    magpie_ingest_progress progress;
    w->stop_after = 0;
    assert_ok(ingest(w, &progress));
    return progress;
}

/* Once so many transactions were seen to be done: another one may have been on its way. */
static inline void assert_stopped(magpie_status status, const magpie_ingest_progress *p,
                                  size_t transactions) {
    assert_int_equal(status, MAGPIE_E_CANCELLED);
    assert_int_equal(p->committed % COMMIT_ITEMS, 0);
    assert_in_range(p->committed, transactions * COMMIT_ITEMS, (transactions + 1) * COMMIT_ITEMS);
}

static inline void assert_counts(magpie_ingest_progress p, size_t encoded, size_t updated, size_t unchanged,
                                 size_t rejected) {
    if (p.encoded != encoded || p.updated != updated || p.unchanged != unchanged || p.rejected != rejected)
        fail_msg("encoded %zu, updated %zu, unchanged %zu, rejected %zu in place of %zu, %zu, %zu, %zu",
                 p.encoded, p.updated, p.unchanged, p.rejected, encoded, updated, unchanged, rejected);
    assert_int_equal(p.committed, encoded + updated);
}

static inline void print_problem(void *context, const char *problem) {
    (void)context;
    print_error("%s\n", problem);
}

static inline void assert_store_holds(world *w, uint64_t items) {
    magpie_check_report report;
    magpie_store_stats stats;
    assert_ok(magpie_store_check(w->store, NULL, print_problem, NULL, &report));
    assert_int_equal(report.problems, 0);
    assert_ok(magpie_store_get_stats(w->store, &stats));
    assert_int_equal(stats.items, items);
}

/* A first version of the catalogue is in the store, and the lines are there to be written anew. */
static inline void ingest_things(world *w) {
    add_items(w, 0, ITEMS, "a thing", 1);
    write_catalogue(w);
    assert_counts(ingest_to_the_end(w), ITEMS, 0, 0, 0);
    magpie_text_clear(&w->lines);
}

/* The text of an item, in a buffer that the next call overwrites. */
static inline const char *text_of(world *w, const char *id) {
    static char text[256];
    magpie_snapshot *snapshot;
    magpie_item item;
    assert_ok(magpie_snapshot_open(w->store, &snapshot));
    assert_ok(magpie_snapshot_get(snapshot, (magpie_string){id, strlen(id)}, &item));
    snprintf(text, sizeof text, "%.*s", (int)item.text.size, item.text.data);
    magpie_snapshot_close(snapshot);
    return text;
}

static inline char *read_rejects(world *w) {
    char *text;
    assert_ok(magpie_file_read(w->rejects, 1 << 20, &text, NULL));
    return text;
}

static inline size_t count_lines(const char *text) {
    size_t n = 0;
    for (; *text; text++) n += *text == '\n';
    return n;
}

#define INGEST_TEST(name) cmocka_unit_test_setup_teardown(name, make_world, remove_world)

#endif
