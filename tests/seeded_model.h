/* seeded_model.h - a model's folder with weights out of names alone, for tests against golden values of
 * networks whose real weights are too large to keep. Entries of tests/golden/image_features.json and
 * audio_features.json say what is in it; tests/golden/README.md has the recipe, tests/golden/seeded.py is the
 * same in Python. And the pictures that the golden values are of. */
#ifndef MAGPIE_TESTS_SEEDED_MODEL_H
#define MAGPIE_TESTS_SEEDED_MODEL_H

#include "support.h"

#include <dirent.h>
#include <jansson.h>
#include <math.h>
#include <sys/stat.h>

static inline uint64_t fnv1a64(const char *text) {
    uint64_t value = UINT64_C(0xcbf29ce484222325);
    for (; *text; text++) value = (value ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
    return value;
}

static inline bool seeded_ends_with(const char *name, const char *end) {
    size_t n = strlen(name), m = strlen(end);
    return n >= m && memcmp(name + n - m, end, m) == 0;
}

enum { SEEDED_RANK_MAX = 4 };

/* One tensor, or with a name that ends in ".*" the five of a batch norm. */
typedef struct seeded_tensor {
    char name[160];
    size_t rank, shape[SEEDED_RANK_MAX], elements;
    bool last; /* of the last batch norm of a residual block */
} seeded_tensor;

static inline seeded_tensor seeded_parse(const char *line) {
    seeded_tensor t = {.elements = 1};
    int at;
    assert_int_equal(sscanf(line, "%159s%n", t.name, &at), 1);
    for (const char *rest = line + at; *rest;) {
        if (strcmp(rest, " last") == 0) {
            t.last = true;
            break;
        }
        char *end;
        assert_in_range(t.rank, 0, SEEDED_RANK_MAX - 1);
        t.shape[t.rank] = strtoull(rest, &end, 10);
        assert_ptr_not_equal(end, rest);
        t.elements *= t.shape[t.rank++];
        rest = end;
    }
    return t;
}

/* Values are (times * u + plus) * bound, u of 0 .. 1 with 24 bits, in double: in Python's order, so that they
 * are the same to the last bit. */
typedef struct seeded_rule {
    double times, plus, bound;
} seeded_rule;

/* How large values of two or more dimensions get; README.md has why. */
static inline double seeded_bound(const seeded_tensor *t) {
    static const char *const unit[] = {"cls_token", "distillation_token", "position_embeddings"};
    static const struct {
        const char *end;
        double times;
    } loud[] = {{"q_proj.weight", 4},
                {"k_proj.weight", 4},
                {"positional_embedding", 4},
                {"query.weight", 2},
                {"key.weight", 2}};
    for (size_t i = 0; i < sizeof unit / sizeof *unit; i++)
        if (seeded_ends_with(t->name, unit[i])) return 1;
    double bound = sqrt(6.0 / (double)(t->elements / t->shape[0]));
    for (size_t i = 0; i < sizeof loud / sizeof *loud; i++)
        if (seeded_ends_with(t->name, loud[i].end)) return loud[i].times * bound;
    return bound;
}

static inline seeded_rule seeded_rule_of(const seeded_tensor *t) {
    if (t->rank >= 2) return (seeded_rule){2, -1, seeded_bound(t)};
    if (seeded_ends_with(t->name, "running_var")) return (seeded_rule){1, 0.5, 1};
    if (seeded_ends_with(t->name, "running_mean") || seeded_ends_with(t->name, "bias"))
        return (seeded_rule){0.2, -0.1, 1};
    return t->last ? (seeded_rule){0.2, 0.1, 1} : (seeded_rule){0.5, 0.5, 1};
}

static inline void seeded_write_values(FILE *file, const char *seed, const seeded_tensor *t) {
    static float chunk[1 << 16];
    char name[256];
    snprintf(name, sizeof name, "%s.%s", seed, t->name);
    random_state random = {fnv1a64(name)};
    seeded_rule rule = seeded_rule_of(t);
    for (size_t left = t->elements; left > 0;) {
        size_t n = left < sizeof chunk / sizeof *chunk ? left : sizeof chunk / sizeof *chunk;
        for (size_t i = 0; i < n; i++) {
            double u = (double)(random_u64(&random) >> 40) * 0x1p-24;
            chunk[i] = (float)((rule.times * u + rule.plus) * rule.bound);
        }
        assert_int_equal(fwrite(chunk, sizeof *chunk, n, file), n);
        left -= n;
    }
}

static inline void seeded_header_entry(magpie_text *header, const char *dtype, const seeded_tensor *t,
                                       size_t size, size_t *end) {
    magpie_text_printf(header, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", header->size ? "," : "{", t->name,
                       dtype);
    for (size_t i = 0; i < t->rank; i++) magpie_text_printf(header, "%s%zu", i ? "," : "", t->shape[i]);
    magpie_text_printf(header, "],\"data_offsets\":[%zu,%zu]}", *end, *end + size);
    *end += size;
}

/* The tensors that a line of a manifest stands for, to the header or, with `file`, to the file. */
static inline void seeded_line(const char *line, const char *seed, magpie_text *header, size_t *end,
                               FILE *file) {
    static const char *const norm[] = {"weight", "bias", "running_mean", "running_var"};
    seeded_tensor t = seeded_parse(line);
    bool five = seeded_ends_with(t.name, ".*");
    size_t stem = strlen(t.name) - 1;
    for (size_t i = 0; i < (five ? sizeof norm / sizeof *norm : 1); i++) {
        if (five) snprintf(t.name + stem, sizeof t.name - stem, "%s", norm[i]);
        if (file)
            seeded_write_values(file, seed, &t);
        else
            seeded_header_entry(header, "F32", &t, t.elements * sizeof(float), end);
    }
    if (!five) return;
    const int64_t batches = 0; /* real files have this counter too, and no network wants it */
    seeded_tensor counter = {.elements = 1};
    snprintf(counter.name, sizeof counter.name, "%.*snum_batches_tracked", (int)stem, t.name);
    if (file)
        assert_int_equal(fwrite(&batches, sizeof batches, 1, file), 1);
    else
        seeded_header_entry(header, "I64", &counter, sizeof batches, end);
}

static inline FILE *seeded_create(const char *folder, const char *name) {
    char *path = magpie_path_join(folder, name);
    assert_non_null(path);
    FILE *file = fopen(path, "wb");
    if (!file) fail_msg("%s cannot be written", path);
    free(path);
    return file;
}

/* A file as it is (a JSON string) or a JSON object to be written out. */
static inline void seeded_write_file(const char *folder, const char *name, const json_t *content) {
    FILE *file = seeded_create(folder, name);
    if (json_is_string(content))
        assert_int_equal(fwrite(json_string_value(content), 1, json_string_length(content), file),
                         json_string_length(content));
    else
        assert_int_equal(json_dumpf(content, file, JSON_ENCODE_ANY), 0);
    assert_int_equal(fclose(file), 0);
}

/* The file that the entry calls "weights". */
static inline void seeded_write_weights(const char *folder, const json_t *entry) {
    const char *seed = json_string_value(json_object_get(entry, "seed"));
    const json_t *manifest = json_object_get(entry, "manifest");
    magpie_text header = {0};
    size_t end = 0;
    for (size_t i = 0; i < json_array_size(manifest); i++)
        seeded_line(json_string_value(json_array_get(manifest, i)), seed, &header, &end, NULL);
    magpie_text_printf(&header, "}%*s", (int)((8 - (header.size + 1) % 8) % 8), ""); /* data begins aligned */
    assert_ok(magpie_text_status(&header));

    FILE *file = seeded_create(folder, json_string_value(json_object_get(entry, "weights")));
    const uint64_t size = header.size;
    assert_int_equal(fwrite(&size, sizeof size, 1, file), 1);
    assert_int_equal(fwrite(header.data, 1, header.size, file), header.size);
    magpie_text_free(&header);
    for (size_t i = 0; i < json_array_size(manifest); i++)
        seeded_line(json_string_value(json_array_get(manifest, i)), seed, NULL, NULL, file);
    assert_int_equal(fclose(file), 0);
}

/* The entry's files and weights into a folder that is there. */
static inline void seeded_write(const char *folder, const json_t *entry) {
    const char *name;
    json_t *content;
    json_object_foreach(json_object_get(entry, "files"), name, content)
        seeded_write_file(folder, name, content);
    seeded_write_weights(folder, entry);
}

/* A folder with the entry's files and weights, its name to be given to seeded_remove. */
static inline char *seeded_model(const json_t *entry) {
    char *folder = strdup("/tmp/magpie-model-XXXXXX");
    assert_non_null(folder);
    assert_non_null(mkdtemp(folder));
    seeded_write(folder, entry);
    return folder;
}

/* The entry's files, and weights of another seed, into a folder that is made where there is none. */
static inline void seeded_write_as(const char *folder, json_t *entry, unsigned seed) {
    char text[32];
    snprintf(text, sizeof text, "%u", seed);
    json_object_set_new(entry, "seed", json_string(text));
    if (mkdir(folder, 0777) != 0) assert_true(magpie_path_exists(folder));
    seeded_write(folder, entry);
}

/* Entry `name` of a file of tests/golden, to be given back with json_decref. */
static inline json_t *seeded_entry_in(const char *file, const char *name) {
    char path[4096];
    snprintf(path, sizeof path, "%s/tests/golden/%s", MAGPIE_SOURCE_DIR, file);
    json_t *all = json_load_file(path, 0, NULL);
    json_t *entry = json_incref(json_object_get(all, name));
    if (!entry) fail_msg("%s has no \"%s\"", path, name);
    json_decref(all);
    return entry;
}

static inline json_t *seeded_entry(const char *name) { return seeded_entry_in("image_features.json", name); }
static inline json_t *seeded_audio_entry(const char *name) {
    return seeded_entry_in("audio_features.json", name);
}

static inline void seeded_remove(char *folder) {
    DIR *files = opendir(folder);
    assert_non_null(files);
    for (const struct dirent *file; (file = readdir(files));)
        if (file->d_name[0] != '.') assert_int_equal(unlinkat(dirfd(files), file->d_name, 0), 0);
    closedir(files);
    assert_int_equal(rmdir(folder), 0);
    free(folder);
}

enum { SEEDED_PICTURES = 4, SEEDED_SIDE = 224 };

/* seeded.py's images(), every `step`-th pixel: pixels [SEEDED_PICTURES, side, side, 3]. */
static inline void seeded_pictures(uint8_t *pixels, size_t side) {
    const size_t picture = side * side * 3, step = SEEDED_SIDE / side;
    random_state noise = {fnv1a64("image2")}, board = {fnv1a64("image3")};
    for (size_t y = 0; y < SEEDED_SIDE; y++) {
        for (size_t x = 0; x < SEEDED_SIDE; x++) {
            for (size_t c = 0; c < 3; c++) {
                const size_t ramps[] = {x * 255 / 223, y * 255 / 223, (x + y) * 255 / 446};
                const size_t square = (x / 16 + y / 16) & 1 ? 200 - 40 * c : 30 + 50 * c;
                const size_t values[SEEDED_PICTURES] = {ramps[c], (x ^ y) * (c + 1), random_u64(&noise) >> 56,
                                                        square + (random_u64(&board) >> 60)};
                if (x % step || y % step || x / step >= side || y / step >= side) continue;
                for (size_t p = 0; p < SEEDED_PICTURES; p++)
                    pixels[p * picture + (y / step * side + x / step) * 3 + c] = (uint8_t)values[p];
            }
        }
    }
}

#endif
