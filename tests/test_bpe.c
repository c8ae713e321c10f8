/* test_bpe.c - CLIP's tokenizer against Hugging Face's ids, against the textbook's merging, and against broken files.
 *
 * The vocabulary is CLIP's own, cut to its first 2,000 merges (golden/README.md). */
#include "support.h"

#include "bpe.h"
#include "bpe_files.h"
#include "encoders.h"

#include <jansson.h>

enum { CONTEXT = 77, BEGIN = 2512, END = 2513, LONG = 1 << 20 };

#define GOLDEN MAGPIE_SOURCE_DIR "/tests/golden/"
#define PIECES "'s|'t|'re|'ve|'m|'ll|'d|[\\\\p{L}]+|[\\\\p{N}]|[^\\\\s\\\\p{L}\\\\p{N}]+"
#define SPECIAL "<\\\\|startoftext\\\\|>|<\\\\|endoftext\\\\|>|"
#define NORMALIZER                                                                                           \
    "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{\"type\":\"Replace\",\"pattern\":{"         \
    "\"Regex\":\"\\\\s+"                                                                                     \
    "\"},\"content\":\" \"},{\"type\":\"Lowercase\"}]}"
#define SPLIT(pattern)                                                                                       \
    "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" pattern        \
    "\"},\"behavior\":\"Removed\",\"invert\":true},{\"type\":\"ByteLevel\",\"add_prefix_space\":false}]}"
#define ENDS                                                                                                 \
    "{\"type\":\"RobertaProcessing\",\"sep\":[\"<|endoftext|>\",2513],\"cls\":[\"<|startoftext|>\",2512]}"
#define ADDED                                                                                                \
    "{\"id\":2512,\"content\":\"<|startoftext|>\",\"normalized\":true},"                                     \
    "{\"id\":2513,\"content\":\"<|endoftext|>\",\"normalized\":false}"

/* ---- folders ---- */

static char folder[64]; /* of the test that is running */

static int make_folder(void **state) {
    (void)state;
    strcpy(folder, "/tmp/magpie-bpe-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
    (void)state;
    static const char *const names[] = {"tokenizer.json", "vocab.json", "merges.txt"};
    char path[128];
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        unlink(path);
    }
    return rmdir(folder);
}

static void write_file(const char *name, const char *bytes, size_t size) {
    char *path = magpie_path_join(folder, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
    free(path);
}

static void write_text(const char *name, const char *text) { write_file(name, text, strlen(text)); }

static char *read_golden(const char *name, size_t *size) {
    char *text;
    assert_ok(magpie_file_read(name, 1 << 24, &text, size));
    return text;
}

static void copy_golden(const char *name) {
    char path[4096];
    size_t size;
    snprintf(path, sizeof path, GOLDEN "clip/%s", name);
    char *text = read_golden(path, &size);
    write_file(name, text, size);
    free(text);
}

/* The merges as a tokenizer.json has them: "a b", or ["a", "b"]. */
static json_t *merges_as_json(bool pairs) {
    size_t size;
    char *text = read_golden(GOLDEN "clip/merges.txt", &size), *rest = NULL;
    json_t *list = json_array();
    (void)strtok_r(text, "\n", &rest); /* #version */
    for (char *line; (line = strtok_r(NULL, "\n", &rest));) {
        char *space = strchr(line, ' ');
        if (pairs)
            json_array_append_new(list, json_pack("[s%, s]", line, (size_t)(space - line), space + 1));
        else
            json_array_append_new(list, json_string(line));
    }
    free(text);
    return list;
}

/* tokenizer.json of these parts, with the golden vocabulary and merges. */
static void write_tokenizer(const char *model_type, const char *normalizer, const char *split,
                            const char *ends, const char *added, bool pairs) {
    size_t size;
    char *vocabulary = read_golden(GOLDEN "clip/vocab.json", &size);
    json_t *list = merges_as_json(pairs);
    char *merges = json_dumps(list, 0);
    magpie_text text = {0};
    magpie_text_printf(
        &text,
        "{\"version\":\"1.0\",\"added_tokens\":[%s],\"normalizer\":%s,\"pre_tokenizer\":%s,"
        "\"post_processor\":%s,\"model\":{\"type\":\"%s\",\"end_of_word_suffix\":\"</w>\",\"vocab\":%s,"
        "\"merges\":%s}}",
        added, normalizer, split, ends, model_type, vocabulary, merges);
    write_file("tokenizer.json", text.data, text.size);
    magpie_text_free(&text);
    free(merges);
    json_decref(list);
    free(vocabulary);
}

/* ---- helpers ---- */

static bpe *open_at(const char *directory) {
    bpe *t = NULL;
    assert_ok(bpe_open(directory, &t));
    return t;
}

static size_t encode(const bpe *t, magpie_string text, size_t room, int32_t *ids) {
    size_t n = 0;
    assert_ok(bpe_encode(t, (magpie_string){0}, text, room, ids, &n));
    return n;
}

static void expect_ids(const bpe *t, const char *text, size_t count, const int32_t *ids) {
    int32_t got[CONTEXT];
    size_t n = encode(t, string_of(text), CONTEXT, got);
    if (n != count || memcmp(got, ids, n * sizeof *ids) != 0) {
        for (size_t i = 0; i < n; i++) print_message(" %d", (int)got[i]);
        fail_msg("\"%s\" got the ids above", text);
    }
}

#define EXPECT(t, text, ...)                                                                                 \
    expect_ids(t, text, sizeof((int32_t[]){BEGIN, __VA_ARGS__, END}) / sizeof(int32_t),                      \
               (int32_t[]){BEGIN, __VA_ARGS__, END})

static void check_golden(const bpe *t) {
    json_t *cases = json_load_file(GOLDEN "clip_tokens.json", JSON_ALLOW_NUL, NULL);
    assert_true(json_array_size(cases) >= 100);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *text = json_object_get(json_array_get(cases, i), "text");
        const json_t *wanted = json_object_get(json_array_get(cases, i), "ids");
        int32_t ids[CONTEXT];
        size_t n =
            encode(t, (magpie_string){json_string_value(text), json_string_length(text)}, CONTEXT, ids);
        bool same = n == json_array_size(wanted);
        for (size_t k = 0; same && k < n; k++) same = ids[k] == json_integer_value(json_array_get(wanted, k));
        if (!same) fail_msg("other ids for case %zu, \"%s\"", i, json_string_value(text));
    }
    json_decref(cases);
}

/* ---- against Hugging Face ---- */

static void golden_files(void **state) {
    (void)state;
    bpe *t = open_at(GOLDEN "clip");
    assert_int_equal(bpe_vocabulary_size(t), END + 1);
    check_golden(t);
    bpe_close(t);
}

/* The same out of a tokenizer.json, with merges written in both ways. */
static void golden_tokenizer_json(void **state) {
    (void)state;
    for (int pairs = 0; pairs < 2; pairs++) {
        write_tokenizer(
            "BPE", NORMALIZER, SPLIT(SPECIAL PIECES), ENDS,
            "{\"id\":2512,\"content\":\"<|startoftext|>\"},{\"id\":2513,\"content\":\"<|endoftext|>\"}",
            pairs);
        bpe *t = open_at(folder);
        check_golden(t);
        bpe_close(t);
    }
}

/* What older tokenizer.json do otherwise: a "normalized" token is found with capitals, and adjacent signs are one
 * piece. Further tokens, inside of the vocabulary or past its end, are found in the raw text. */
static void other_settings(void **state) {
    (void)state;
    write_tokenizer(
        "BPE", NORMALIZER, SPLIT(PIECES), ENDS,
        ADDED ",{\"id\":0,\"content\":\"!\",\"normalized\":false},{\"id\":2600,\"content\":\"[X]\"}", false);
    bpe *t = open_at(folder);
    assert_int_equal(bpe_vocabulary_size(t), 2601);
    EXPECT(t, "<|STARTOFTEXT|>a", BEGIN, 320);
    EXPECT(t, "a!b[X][x]", 320, 0, 321, 2600, 314, 343, 316);
    EXPECT(t, "<|ENDOFTEXT|>#", 27, 347, 524, 639, 69, 600, 1052, 91, 29, 258);
    bpe_close(t);
}

/* ---- against itself ---- */

static const char *const samples[] = {
    "a photo of a cat, they're 12 \xE4\xB8\xAD\xE6\x96\x87 <|endoftext|> e\xCC\x81 throughout", "   ",
    "the<|startoftext|>the", "\xC3\x89\xC3\x89 \xCC\x81\xCC\xA3\xCC\x81 'LL don't!?"};

/* However short the room is, the ids are the full text's, cut, with the end in the last place. */
static void cut_is_a_prefix(void **state) {
    (void)state;
    bpe *t = open_at(GOLDEN "clip");
    for (size_t s = 0; s < sizeof samples / sizeof *samples; s++) {
        int32_t full[CONTEXT], cut[CONTEXT];
        size_t n = encode(t, string_of(samples[s]), CONTEXT, full);
        for (size_t room = 2; room <= n + 1; room++) {
            assert_int_equal(encode(t, string_of(samples[s]), room, cut), room < n ? room : n);
            assert_memory_equal(cut, full, ((room < n ? room : n) - 1) * sizeof *cut);
            assert_int_equal(cut[(room < n ? room : n) - 1], END);
        }
    }
    bpe_close(t);
}

static void prefix_is_joined(void **state) {
    (void)state;
    bpe *t = open_at(GOLDEN "clip");
    for (size_t s = 0; s < sizeof samples / sizeof *samples; s++) {
        size_t size = strlen(samples[s]), n, m;
        int32_t whole[CONTEXT], joined[CONTEXT];
        n = encode(t, string_of(samples[s]), CONTEXT, whole);
        for (size_t seam = 0; seam <= size; seam++) {
            if (((unsigned char)samples[s][seam] & 0xC0) == 0x80) continue;
            assert_ok(bpe_encode(t, (magpie_string){samples[s], seam},
                                 (magpie_string){samples[s] + seam, size - seam}, CONTEXT, joined, &m));
            assert_int_equal(m, n);
            assert_memory_equal(whole, joined, n * sizeof *whole);
        }
    }
    bpe_close(t);
}

/* The textbook's way: look through the whole word for the lowest rank, merge, again. */
static size_t merge_slowly(const bpe_tables *t, const char *word, size_t size, int32_t *ids) {
    size_t n = size;
    for (size_t i = 0; i < n; i++)
        ids[i] = i + 1 == n ? t->last[(unsigned char)word[i]] : t->bytes[(unsigned char)word[i]];
    for (;;) {
        const bpe_merge *best = NULL;
        size_t at = 0;
        for (size_t i = 0; i + 1 < n; i++) {
            const bpe_merge *merge = bpe_find_merge(t, ids[i], ids[i + 1]);
            if (merge && (!best || merge->rank < best->rank)) {
                best = merge;
                at = i;
            }
        }
        if (!best) return n;
        ids[at] = best->merged;
        memmove(ids + at + 1, ids + at + 2, (--n - at - 1) * sizeof *ids);
    }
}

static void merging_is_the_textbooks(void **state) {
    (void)state;
    enum { WORDS = 3000, SIZE_MAX_ = 300 };
    static const char letters[] = "aabcdeeeeghiiilmnnooprsssttttuwy"; /* about as English has them */
    random_state random = {7};
    bpe_tables tables;
    bpe *t = open_at(GOLDEN "clip");
    assert_ok(bpe_tables_read(GOLDEN "clip", &tables));
    for (int w = 0; w < WORDS; w++) {
        char word[SIZE_MAX_];
        int32_t slow[SIZE_MAX_], ids[SIZE_MAX_ + 2];
        size_t size = 1 + random_below(&random, w % 10 ? 20 : SIZE_MAX_);
        for (size_t i = 0; i < size; i++) word[i] = letters[random_below(&random, sizeof letters - 1)];
        size_t n = merge_slowly(&tables, word, size, slow);
        assert_int_equal(encode(t, (magpie_string){word, size}, SIZE_MAX_ + 2, ids), n + 2);
        assert_memory_equal(ids + 1, slow, n * sizeof *ids);
    }
    bpe_tables_free(&tables);
    bpe_close(t);
}

/* A megabyte of each kind that could be slow: one word that merges throughout, marks in falling order, one character
 * again and again, words behind the cut. Quadratic time would be hours. */
static void long_texts(void **state) {
    (void)state;
    static const char *const parts[] = {"the",
                                        "th",
                                        "\xCC\x81\xCC\xA3",
                                        "\xE4\xB8\xAD",
                                        "\xEA\xB0\x80\xE1\x86\xA8",
                                        "!",
                                        "<|endoftext|",
                                        "word ",
                                        "\xC3\xA9",
                                        "' ",
                                        "  "};
    bpe *t = open_at(GOLDEN "clip");
    char *text = malloc(LONG);
    int32_t ids[CONTEXT];
    assert_non_null(text);
    for (size_t p = 0; p < sizeof parts / sizeof *parts; p++) {
        size_t size = strlen(parts[p]), n = LONG / size * size;
        for (size_t i = 0; i < n; i++) text[i] = parts[p][i % size];
        double began = magpie_seconds();
        size_t count = encode(t, (magpie_string){text, n}, CONTEXT, ids);
        double seconds = magpie_seconds() - began;
        print_message("%zu bytes of \"%s\": %.0f ms\n", n, parts[p], seconds * 1e3);
        assert_true(count == CONTEXT || (p == 10 && count == 2));
        assert_true(seconds < 20); /* under sanitizers, on a machine that has other work */
    }
    free(text);
    bpe_close(t);
}

static void bad_calls(void **state) {
    (void)state;
    bpe *t = open_at(GOLDEN "clip");
    int32_t ids[2];
    size_t n;
    assert_int_equal(bpe_encode(t, (magpie_string){0}, string_of("a"), 1, ids, &n), MAGPIE_E_ARGUMENT);
    assert_int_equal(bpe_encode(t, (magpie_string){0}, string_of("ab\xC3"), 2, ids, &n), MAGPIE_E_INPUT);
    assert_non_null(strstr(magpie_error(), "byte 2"));
    assert_int_equal(bpe_encode(t, string_of("\x80"), string_of("a"), 2, ids, &n), MAGPIE_E_INPUT);
    assert_non_null(strstr(magpie_error(), "prefix"));
    bpe_close(t);
}

/* ---- what is refused ---- */

static void refused(magpie_status wanted, const char *words) {
    bpe *t = NULL;
    magpie_status status = bpe_open(folder, &t);
    if (status == MAGPIE_OK) bpe_close(t);
    if (status != wanted || !strstr(magpie_error(), words))
        fail_msg("wanted \"%s\" with \"%s\", got \"%s\": %s", magpie_status_name(wanted), words,
                 magpie_status_name(status), magpie_error());
}

static void wrong_files(void **state) {
    (void)state;
    refused(MAGPIE_E_NOT_FOUND, "vocab.json is missing");
    copy_golden("vocab.json");
    refused(MAGPIE_E_NOT_FOUND, "merges.txt is missing");
    write_text("merges.txt", "#version: 0.2\ni n\nt h e\n");
    refused(MAGPIE_E_CORRUPT, "merge 1");
    write_text("merges.txt", "i n\nin\n");
    refused(MAGPIE_E_CORRUPT, "merge 1 is not two tokens");
    write_text("merges.txt", "i n\nq q\n");
    refused(MAGPIE_E_CORRUPT, "\"q q\": the vocabulary lacks");
    write_text("merges.txt", "\r\ni n\r\n\n");
    bpe *t = open_at(folder);
    EXPECT(t, "ini", 512, 328);
    bpe_close(t);
}

static void wrong_vocabulary(void **state) {
    (void)state;
    write_text("merges.txt", "");
    write_text("vocab.json", "{\"a\":1");
    refused(MAGPIE_E_CORRUPT, "vocab.json");
    write_text("vocab.json", "{\"a\":1,\"b\":1}");
    refused(MAGPIE_E_CORRUPT, "same id");
    write_text("vocab.json", "{\"a\":1}");
    refused(MAGPIE_E_CORRUPT, "byte 0x00 has no token");
}

static void wrong_tokenizer_json(void **state) {
    (void)state;
    static const struct {
        magpie_status status;
        const char *words, *type, *normalizer, *split, *ends, *added;
    } cases[] = {
        {MAGPIE_E_UNSUPPORTED, "type WordPiece", "WordPiece", NORMALIZER, SPLIT(PIECES), ENDS, ADDED},
        {MAGPIE_E_UNSUPPORTED, "normalizer", "BPE", "{\"type\":\"NFKC\"}", SPLIT(PIECES), ENDS, ADDED},
        {MAGPIE_E_UNSUPPORTED, "normalizer", "BPE", "null", SPLIT(PIECES), ENDS, ADDED},
        {MAGPIE_E_UNSUPPORTED, "pre_tokenizer", "BPE", NORMALIZER, SPLIT("\\\\w+"), ENDS, ADDED},
        {MAGPIE_E_UNSUPPORTED, "post_processor", "BPE", NORMALIZER, SPLIT(PIECES), "null", ADDED},
        {MAGPIE_E_CORRUPT, "has id 7", "BPE", NORMALIZER, SPLIT(PIECES), ENDS,
         "{\"id\":7,\"content\":\"<|endoftext|>\"}"},
        {MAGPIE_E_CORRUPT, "the id of", "BPE", NORMALIZER, SPLIT(PIECES), ENDS,
         "{\"id\":-1,\"content\":\"[Y]\"}"},
        {MAGPIE_E_CORRUPT, "no content", "BPE", NORMALIZER, SPLIT(PIECES), ENDS, "{\"id\":9}"},
        {MAGPIE_E_UNSUPPORTED, "single_word", "BPE", NORMALIZER, SPLIT(PIECES), ENDS,
         "{\"id\":3000,\"content\":\"y\",\"single_word\":true}"},
        {MAGPIE_E_UNSUPPORTED, "not normal", "BPE", NORMALIZER, SPLIT(PIECES), ENDS,
         "{\"id\":3000,\"content\":\"Y\",\"normalized\":true}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_tokenizer(cases[i].type, cases[i].normalizer, cases[i].split, cases[i].ends, cases[i].added,
                        true);
        refused(cases[i].status, cases[i].words);
    }
    write_text("tokenizer.json", "");
    refused(MAGPIE_E_CORRUPT, "not a whole JSON object");
    write_text("tokenizer.json", "{\"model\":{\"vocab\":{}}}");
    refused(MAGPIE_E_UNSUPPORTED, "no type");
    write_text("tokenizer.json", "{\"model\":{\"type\":\"BPE\",\"vocab\":{}}}");
    refused(MAGPIE_E_UNSUPPORTED, "end_of_word_suffix");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_files),
        cmocka_unit_test_setup_teardown(golden_tokenizer_json, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(other_settings, make_folder, remove_folder),
        cmocka_unit_test(cut_is_a_prefix),
        cmocka_unit_test(prefix_is_joined),
        cmocka_unit_test(merging_is_the_textbooks),
        cmocka_unit_test(long_texts),
        cmocka_unit_test(bad_calls),
        cmocka_unit_test_setup_teardown(wrong_files, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(wrong_vocabulary, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(wrong_tokenizer_json, make_folder, remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
