/* test_wordpiece.c - the tokenizer against Hugging Face's ids, and against vocabularies small enough to read.
 *
 * The golden tests need the model's folder: MAGPIE_MODEL_DIR, or where the models are kept by default. */
#include "encoders.h"
#include "wordpiece.h"

#include <jansson.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { IDS = 256, PATH_BYTES = 4096 };

#define SOURCE(path) MAGPIE_SOURCE_DIR "/" path

/* ---- folders ---- */

static char folder[PATH_BYTES]; /* of the test that is running */
static const char *const file_names[] = {"vocab.txt", "tokenizer.json", "tokenizer_config.json",
                                         "special_tokens_map.json"};

static void in_folder(const char *name, char *out) {
    assert_true(snprintf(out, PATH_BYTES, "%s/%s", folder, name) < PATH_BYTES);
}

static int make_folder(void **state) {
    (void)state;
    const char *parent = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/magpie-wordpiece-XXXXXX", parent ? parent : "/tmp");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
    (void)state;
    char path[PATH_BYTES];
    for (size_t i = 0; i < sizeof file_names / sizeof *file_names; i++) {
        in_folder(file_names[i], path);
        unlink(path);
    }
    return rmdir(folder);
}

static void write_bytes(const char *name, const char *bytes, size_t size) {
    char path[PATH_BYTES];
    in_folder(name, path);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static void write_file(const char *name, const char *text) { write_bytes(name, text, strlen(text)); }

/* ---- helpers ---- */

static magpie_string string(const char *text) { return (magpie_string){text, strlen(text)}; }

static wordpiece *open_folder(void) {
    wordpiece *t = NULL;
    if (wordpiece_open(folder, &t) != MAGPIE_OK) fail_msg("%s", magpie_error());
    return t;
}

static void expect_ids(const wordpiece *t, const char *text, size_t count, const int32_t *ids) {
    int32_t got[IDS];
    size_t n = 0;
    assert_int_equal(wordpiece_encode(t, (magpie_string){0}, string(text), IDS, got, &n), MAGPIE_OK);
    if (n != count || memcmp(got, ids, n * sizeof *ids) != 0) {
        for (size_t i = 0; i < n; i++) print_message(" %d", (int)got[i]);
        fail_msg("\"%s\" got the ids above", text);
    }
}

/* Ids between [CLS] 2 and [SEP] 3, as the small vocabularies number them. */
#define EXPECT(t, text, ...)                                                                                 \
    expect_ids(t, text, sizeof((int32_t[]){2, __VA_ARGS__, 3}) / sizeof(int32_t),                            \
               (int32_t[]){2, __VA_ARGS__, 3})

static void expect_failure(magpie_status expected, const char *words) {
    wordpiece *t = NULL;
    magpie_status status = wordpiece_open(folder, &t);
    if (status != expected || !strstr(magpie_error(), words))
        fail_msg("%s: %s; expected %s with \"%s\"", magpie_status_name(status), magpie_error(),
                 magpie_status_name(expected), words);
}

#define SPECIAL "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n" /* 0 .. 4 */
#define JSON_SPECIAL "\"[PAD]\":0,\"[UNK]\":1,\"[CLS]\":2,\"[SEP]\":3,\"[MASK]\":4"
#define JSON_MODEL                                                                                           \
    "\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"},\"model\":{\"type\":\"WordPiece\",\"vocab\":"         \
    "{" JSON_SPECIAL ",\"un\":5,\"##Able\":6}}"

/* ---- against Hugging Face ---- */

static const char *model_folder(void) {
    static char kept[PATH_BYTES];
    const char *given = getenv("MAGPIE_MODEL_DIR"), *home = getenv("HOME");
    if (given && magpie_path_exists(given)) return given;
    snprintf(kept, sizeof kept, "%s/.cache/magpie/models/all-MiniLM-L6-v2", home ? home : "");
    if (magpie_path_exists(kept)) return kept;
    print_message("skipped: no model in MAGPIE_MODEL_DIR, nor at %s\n", kept);
    skip();
    return NULL;
}

static wordpiece *open_model(void) {
    wordpiece *t = NULL;
    if (wordpiece_open(model_folder(), &t) != MAGPIE_OK) fail_msg("%s", magpie_error());
    return t;
}

static void check_case(const wordpiece *t, const json_t *test, size_t max_ids) {
    const json_t *text = json_object_get(test, "text"), *expected = json_object_get(test, "ids");
    magpie_string input = {json_string_value(text), json_string_length(text)};
    int32_t ids[IDS];
    size_t n = 0;
    assert_int_equal(wordpiece_encode(t, (magpie_string){0}, input, max_ids, ids, &n), MAGPIE_OK);
    bool same = n == json_array_size(expected);
    for (size_t i = 0; same && i < n; i++) same = ids[i] == json_integer_value(json_array_get(expected, i));
    if (!same) fail_msg("other ids for \"%s\"", input.data);
}

static void check_golden(const char *path, size_t max_ids) {
    if (!magpie_path_exists(path)) {
        print_message("skipped: no %s\n", path);
        skip();
    }
    wordpiece *t = open_model();
    json_error_t error;
    json_t *cases = json_load_file(path, JSON_ALLOW_NUL, &error);
    if (!cases) fail_msg("%s:%d: %s", path, error.line, error.text);
    assert_true(json_array_size(cases) >= 40);
    for (size_t i = 0; i < json_array_size(cases); i++) check_case(t, json_array_get(cases, i), max_ids);
    json_decref(cases);
    wordpiece_close(t);
}

static void test_own_golden(void **state) {
    (void)state;
    check_golden(SOURCE("tests/golden/text_tokens.json"), 64);
}

static void test_shared_golden(void **state) {
    (void)state;
    check_golden(SOURCE("../shared/golden/text.json"), IDS);
}

/* However short the room is, the ids are the full text's, cut, with [SEP] in the last place. */
static void test_cut_is_a_prefix(void **state) {
    (void)state;
    wordpiece *t = open_model();
    const char *text =
        "unbelievable wireless-charging antidisestablishmentarianism [MASK] \xE4\xB8\xAD\xE6\x96\x87";
    int32_t full[IDS], cut[IDS];
    size_t n, m;
    assert_int_equal(wordpiece_encode(t, (magpie_string){0}, string(text), IDS, full, &n), MAGPIE_OK);
    for (size_t room = 2; room <= n + 1; room++) {
        assert_int_equal(wordpiece_encode(t, (magpie_string){0}, string(text), room, cut, &m), MAGPIE_OK);
        assert_int_equal(m, room < n ? room : n);
        assert_memory_equal(cut, full, (m - 1) * sizeof *cut);
        assert_int_equal(cut[m - 1], full[n - 1]);
    }
    wordpiece_close(t);
}

static void check_joined(const wordpiece *t, const char *text, size_t seam) {
    int32_t whole[IDS], joined[IDS];
    size_t n, m, size = strlen(text);
    assert_int_equal(wordpiece_encode(t, (magpie_string){0}, string(text), IDS, whole, &n), MAGPIE_OK);
    assert_int_equal(wordpiece_encode(t, (magpie_string){text, seam},
                                      (magpie_string){text + seam, size - seam}, IDS, joined, &m),
                     MAGPIE_OK);
    assert_int_equal(n, m);
    assert_memory_equal(whole, joined, n * sizeof *whole);
}

/* A prefix is joined before anything is looked at: words, special tokens and marks reach over the seam. */
static void test_prefix_is_joined(void **state) {
    (void)state;
    wordpiece *t = open_model();
    char large[10000];
    const char *text = "query: re[SEP]lated e\xCC\x81t\xCC\x81";
    for (size_t seam = 0; seam <= strlen(text); seam++)
        if (((unsigned char)text[seam] & 0xC0) != 0x80) check_joined(t, text, seam);
    memset(large, 'a', sizeof large - 1); /* more than fits the stack */
    large[sizeof large - 1] = 0;
    for (size_t i = 7; i < sizeof large - 1; i += 8) large[i] = ' ';
    check_joined(t, large, 5);
    wordpiece_close(t);
}

/* ---- against Hugging Face, from several threads ---- */

static void *encode_many(void *argument) {
    const wordpiece *t = argument;
    const char *text = "Wireless noise-cancelling headphones, Cr\xC3\xA8me";
    int32_t first[IDS], ids[IDS];
    size_t n, m;
    if (wordpiece_encode(t, (magpie_string){0}, string(text), IDS, first, &n) != MAGPIE_OK) return NULL;
    for (int i = 0; i < 2000; i++) {
        if (wordpiece_encode(t, (magpie_string){0}, string(text), IDS, ids, &m) != MAGPIE_OK) return NULL;
        if (n != m || memcmp(first, ids, n * sizeof *ids) != 0) return NULL;
    }
    return argument;
}

static void test_shared_by_threads(void **state) {
    (void)state;
    wordpiece *t = open_model();
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++) assert_int_equal(pthread_create(&threads[i], NULL, encode_many, t), 0);
    for (size_t i = 0; i < 4; i++) {
        void *ok;
        pthread_join(threads[i], &ok);
        assert_ptr_equal(ok, t);
    }
    wordpiece_close(t);
}

/* ---- small vocabularies ---- */

#define LETTERS                                                                                              \
    SPECIAL "un\n##able\nUn\n\xC3\xA9t\xC3\xA9\nete\n\xE4\xB8\xAD\n\xE4\xB8\xAD\xE6\x96\x87\n##t\xC3\xA9\n!" \
            "\n"
enum { UN = 5, ABLE, CAPITAL_UN, ETE_ACCENTED, ETE, ZHONG, ZHONGWEN, TE_ACCENTED, EXCLAMATION };

static void test_defaults(void **state) {
    (void)state;
    write_file("vocab.txt", LETTERS);
    wordpiece *t = open_folder();
    assert_int_equal(wordpiece_vocabulary_size(t), 14);
    EXPECT(t, "unable", UN, ABLE);
    EXPECT(t, "UNABLE!", UN, ABLE, EXCLAMATION);
    EXPECT(t, "\xC3\x89T\xC3\x89", ETE);
    EXPECT(t, "\xE4\xB8\xAD\xE6\x96\x87", ZHONG, 1);
    EXPECT(t, "unablex", 1);
    EXPECT(t, "un[MASK]un", UN, 4, UN);
    wordpiece_close(t);
}

static void test_cased(void **state) {
    (void)state;
    write_file("vocab.txt", LETTERS);
    write_file("tokenizer_config.json", "{\"do_lower_case\": false, \"tokenize_chinese_chars\": false}");
    wordpiece *t = open_folder();
    EXPECT(t, "Unable", CAPITAL_UN, ABLE);
    EXPECT(t, "unable", UN, ABLE);
    EXPECT(t, "\xC3\xA9t\xC3\xA9", ETE_ACCENTED); /* accents go with capitals */
    EXPECT(t, "\xE4\xB8\xAD\xE6\x96\x87", ZHONGWEN);
    wordpiece_close(t);
}

static void test_lower_case_with_accents(void **state) {
    (void)state;
    write_file("vocab.txt", LETTERS);
    write_file("tokenizer_config.json", "{\"do_lower_case\": true, \"strip_accents\": false}");
    wordpiece *t = open_folder();
    EXPECT(t, "\xC3\x89T\xC3\x89 Un", ETE_ACCENTED, UN);
    wordpiece_close(t);
}

static void test_accents_stripped_but_cased(void **state) {
    (void)state;
    write_file("vocab.txt", LETTERS);
    write_file("tokenizer_config.json", "{\"do_lower_case\": false, \"strip_accents\": true}");
    wordpiece *t = open_folder();
    EXPECT(t, "\xC3\xA9t\xC3\xA9 Un", ETE, CAPITAL_UN);
    wordpiece_close(t);
}

/* A word of exactly the limit is covered, one character more is not, and it costs one id however long it is.
 */
static void test_word_limit(void **state) {
    (void)state;
    char text[PATH_BYTES];
    int32_t ids[IDS];
    size_t n;
    write_file("vocab.txt", SPECIAL "a\n##a\n");
    wordpiece *t = open_folder();
    memset(text, 'a', sizeof text);
    assert_int_equal(wordpiece_encode(t, (magpie_string){0}, (magpie_string){text, 100}, IDS, ids, &n),
                     MAGPIE_OK);
    assert_int_equal(n, 102);
    for (size_t size = 101; size <= sizeof text; size = size * 2 + 1) {
        assert_int_equal(wordpiece_encode(t, (magpie_string){0}, (magpie_string){text, size}, IDS, ids, &n),
                         MAGPIE_OK);
        assert_int_equal(n, 3);
        assert_int_equal(ids[1], 1);
    }
    wordpiece_close(t);
}

static void test_other_special_tokens(void **state) {
    (void)state;
    write_file("vocab.txt", "<pad>\n<unk>\n<s>\n</s>\n<mask>\nun\n");
    write_file("special_tokens_map.json", "{\"unk_token\": \"wrong\", \"cls_token\": \"<s>\"}");
    write_file("tokenizer_config.json", "{\"unk_token\": \"<unk>\", \"sep_token\": {\"content\": \"</s>\"},"
                                        " \"mask_token\": \"<mask>\", \"pad_token\": \"<pad>\"}");
    wordpiece *t = open_folder();
    EXPECT(t, "un<mask> what", 5, 4, 1);
    wordpiece_close(t);
}

/* CRLF, blank lines and no newline at the end. */
static void test_untidy_vocabulary(void **state) {
    (void)state;
    write_file("vocab.txt", "[PAD]\r\n[UNK]\r\n[CLS]\r\n[SEP]\r\n\n\nun \r\n##able");
    wordpiece *t = open_folder();
    EXPECT(t, "unable", 6, 7);
    assert_int_equal(wordpiece_vocabulary_size(t), 8);
    wordpiece_close(t);
}

/* ---- tokenizer.json ---- */

static void test_json_alone(void **state) {
    (void)state;
    write_file(
        "tokenizer.json",
        "{\"normalizer\":{\"type\":\"BertNormalizer\",\"lowercase\":false,\"strip_accents\":null},"
        "\"added_tokens\":[{\"id\":3,\"content\":\"[SEP]\"},{\"id\":9,\"content\":\"[ITEM]\"}]," JSON_MODEL
        "}");
    wordpiece *t = open_folder();
    EXPECT(t, "unAble", 5, 6);
    EXPECT(t, "UN", 1);
    EXPECT(t, "un[ITEM][SEP]", 5, 9, 3);
    assert_int_equal(wordpiece_vocabulary_size(t), 10);
    wordpiece_close(t);
}

/* The configuration has the say over tokenizer.json, as in transformers; what it does not state,
 * tokenizer.json has. */
static void test_precedence(void **state) {
    (void)state;
    write_file("vocab.txt", LETTERS);
    write_file("tokenizer.json",
               "{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"BertNormalizer\","
               "\"lowercase\":true,\"handle_chinese_chars\":false}]}," JSON_MODEL "}");
    write_file("tokenizer_config.json", "{\"do_lower_case\": false}");
    wordpiece *t = open_folder();
    EXPECT(t, "Unable", CAPITAL_UN, ABLE); /* "##able" is vocab.txt's, tokenizer.json has "##Able" */
    EXPECT(t, "\xE4\xB8\xAD\xE6\x96\x87", ZHONGWEN);
    wordpiece_close(t);
}

static void test_json_word_settings(void **state) {
    (void)state;
    write_file(
        "tokenizer.json",
        "{\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"},"
        "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\"}},"
        "{\"Sequence\":{\"id\":\"A\"}},{\"SpecialToken\":{\"id\":\"</s>\"}}]},"
        "\"model\":{\"type\":\"WordPiece\",\"unk_token\":\"<unk>\",\"continuing_subword_prefix\":\"@@\","
        "\"max_input_chars_per_word\":4,\"vocab\":{\"<unk>\":1,\"<s>\":2,\"</s>\":3,\"a\":4,\"@@b\":5}}}");
    wordpiece *t = open_folder();
    EXPECT(t, "abbb abbbb", 4, 5, 5, 5, 1);
    wordpiece_close(t);
}

/* ---- fingerprints ---- */

static uint64_t fingerprint_of_folder(void) {
    wordpiece *t = open_folder();
    uint64_t fingerprint = wordpiece_fingerprint(t);
    wordpiece_close(t);
    return fingerprint;
}

static void test_fingerprint(void **state) {
    (void)state;
    write_file("vocab.txt", LETTERS);
    uint64_t first = fingerprint_of_folder();
    assert_true(first == fingerprint_of_folder());
    write_file("tokenizer_config.json", "{\"do_lower_case\": false}");
    uint64_t cased = fingerprint_of_folder();
    assert_true(first != cased);
    write_file("tokenizer_config.json", "{}");
    assert_true(first == fingerprint_of_folder());
    write_file("vocab.txt", LETTERS "?\n");
    assert_true(first != fingerprint_of_folder());
}

/* ---- what is refused ---- */

static void test_missing_files(void **state) {
    (void)state;
    expect_failure(MAGPIE_E_NOT_FOUND, "neither vocab.txt nor a tokenizer.json");
    write_file("vocab.txt", "");
    expect_failure(MAGPIE_E_CORRUPT, "no token \"[UNK]\"");
    write_file("vocab.txt", "[UNK]\n[CLS]\nun\n");
    expect_failure(MAGPIE_E_CORRUPT, "no token \"[SEP]\"");
}

static void test_broken_vocabulary(void **state) {
    (void)state;
    write_file("vocab.txt", SPECIAL "un\nand\nun\n");
    expect_failure(MAGPIE_E_CORRUPT, "vocab.txt:8: \"un\" is the token of line 6 already");
    write_file("vocab.txt", SPECIAL "un\xFF\n");
    expect_failure(MAGPIE_E_CORRUPT, "not UTF-8");
    char *large = malloc(2000000);
    assert_non_null(large);
    memset(large, 'x', 1025);
    write_bytes("vocab.txt", large, 1025);
    expect_failure(MAGPIE_E_TOO_LARGE, "1025 bytes");
    memset(large, '\n', 2000000);
    write_bytes("vocab.txt", large, 1000001);
    expect_failure(MAGPIE_E_TOO_LARGE, "more than 1000000 tokens");
    free(large);
}

static void test_broken_json(void **state) {
    (void)state;
    static const struct {
        magpie_status status;
        const char *words, *text;
    } cases[] = {
        {MAGPIE_E_CORRUPT, "not a whole JSON object", ""},
        {MAGPIE_E_CORRUPT, "not a whole JSON object", "[]"},
        {MAGPIE_E_CORRUPT, "not a whole JSON object", "{\"version\":\"1.0\"}"},
        {MAGPIE_E_CORRUPT, "not a whole JSON object", "{" JSON_MODEL},
        {MAGPIE_E_CORRUPT, "not a whole JSON object", "{" JSON_MODEL "} more"},
        {MAGPIE_E_CORRUPT, "line 1", "{\"normalizer\":{\"type\":}," JSON_MODEL "}"},
        {MAGPIE_E_CORRUPT, "model is not", "{\"model\":7}"},
        {MAGPIE_E_CORRUPT, "model.vocab", "{\"model\":{\"type\":\"WordPiece\",\"vocab\":{\"a\":1,\"a\":2}}}"},
        {MAGPIE_E_CORRUPT, "same id", "{\"model\":{\"type\":\"WordPiece\",\"vocab\":{\"a\":1,\"b\":1}}}"},
        {MAGPIE_E_CORRUPT, "not a number", "{\"model\":{\"type\":\"WordPiece\",\"vocab\":{\"a\":-1}}}"},
        {MAGPIE_E_TOO_LARGE, "tokens", "{\"model\":{\"type\":\"WordPiece\",\"vocab\":{\"a\":1000000}}}"},
        {MAGPIE_E_CORRUPT, "has id 4",
         "{\"added_tokens\":[{\"id\":4,\"content\":\"[SEP]\"}]," JSON_MODEL "}"},
        {MAGPIE_E_UNSUPPORTED, "type Unigram", "{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",-1.5]]}}"},
        {MAGPIE_E_UNSUPPORTED, "type BPE", "{\"model\":{\"type\":\"BPE\",\"vocab\":{},\"merges\":[]}}"},
        {MAGPIE_E_UNSUPPORTED, "no type", "{\"model\":{\"vocab\":{}}}"},
        {MAGPIE_E_UNSUPPORTED, "normalizer NFKC", "{\"normalizer\":{\"type\":\"NFKC\"}," JSON_MODEL "}"},
        {MAGPIE_E_UNSUPPORTED, "pre_tokenizer Metaspace", "{\"pre_tokenizer\":{\"type\":\"Metaspace\"}}"},
        {MAGPIE_E_UNSUPPORTED, "post_processor ByteLevel",
         "{\"post_processor\":{\"type\":\"ByteLevel\"}," JSON_MODEL "}"},
        {MAGPIE_E_UNSUPPORTED, "normalized",
         "{\"added_tokens\":[{\"id\":9,\"content\":\"x\",\"normalized\":true}]," JSON_MODEL "}"},
        {MAGPIE_E_UNSUPPORTED, "max_input_chars_per_word",
         "{\"model\":{\"type\":\"WordPiece\",\"max_input_chars_per_word\":201}}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_file("tokenizer.json", cases[i].text);
        expect_failure(cases[i].status, cases[i].words);
    }
}

static void test_broken_config(void **state) {
    (void)state;
    write_file("vocab.txt", LETTERS);
    write_file("tokenizer_config.json", "{\"do_lower_case\": tru");
    expect_failure(MAGPIE_E_CORRUPT, "tokenizer_config.json");
    write_file("tokenizer_config.json", "[]");
    expect_failure(MAGPIE_E_CORRUPT, "not a JSON object");
    write_file("tokenizer_config.json", "{\"do_basic_tokenize\": false}");
    expect_failure(MAGPIE_E_UNSUPPORTED, "do_basic_tokenize");
}

static void test_bad_calls(void **state) {
    (void)state;
    int32_t ids[2];
    size_t n;
    write_file("vocab.txt", LETTERS);
    wordpiece *t = open_folder();
    assert_int_equal(wordpiece_encode(t, (magpie_string){0}, string("un"), 1, ids, &n), MAGPIE_E_ARGUMENT);
    assert_int_equal(wordpiece_encode(t, (magpie_string){0}, string("ab\xC3"), 2, ids, &n), MAGPIE_E_INPUT);
    assert_non_null(strstr(magpie_error(), "byte 2"));
    assert_int_equal(wordpiece_encode(t, string("\x80"), string("un"), 2, ids, &n), MAGPIE_E_INPUT);
    assert_non_null(strstr(magpie_error(), "prefix"));
    assert_int_equal(wordpiece_encode(t, (magpie_string){0}, (magpie_string){0}, 2, ids, &n), MAGPIE_OK);
    assert_int_equal(n, 2);
    wordpiece_close(t);
    wordpiece_close(NULL);
}

/* ---- UTF-8 ---- */

/* RFC 3629's own grammar, alternative by alternative, as the oracle. */
static size_t oracle_sequence(const unsigned char *s, size_t size) {
    static const unsigned char rules[][9] = {
        /* bytes, then low and high of each */
        {1, 0x00, 0x7F},
        {2, 0xC2, 0xDF, 0x80, 0xBF},
        {3, 0xE0, 0xE0, 0xA0, 0xBF, 0x80, 0xBF},
        {3, 0xE1, 0xEC, 0x80, 0xBF, 0x80, 0xBF},
        {3, 0xED, 0xED, 0x80, 0x9F, 0x80, 0xBF},
        {3, 0xEE, 0xEF, 0x80, 0xBF, 0x80, 0xBF},
        {4, 0xF0, 0xF0, 0x90, 0xBF, 0x80, 0xBF, 0x80, 0xBF},
        {4, 0xF1, 0xF3, 0x80, 0xBF, 0x80, 0xBF, 0x80, 0xBF},
        {4, 0xF4, 0xF4, 0x80, 0x8F, 0x80, 0xBF, 0x80, 0xBF},
    };
    for (size_t r = 0; r < sizeof rules / sizeof *rules; r++) {
        size_t i = 0;
        while (i < rules[r][0] && i < size && s[i] >= rules[r][1 + 2 * i] && s[i] <= rules[r][2 + 2 * i]) i++;
        if (i == rules[r][0]) return i;
    }
    return 0;
}

static void check_utf8(const unsigned char *bytes, size_t size) {
    size_t at = 0, n;
    while (at < size && (n = oracle_sequence(bytes + at, size - at))) at += n;
    magpie_status status = magpie_utf8_check((magpie_string){(const char *)bytes, size});
    assert_int_equal(status, at == size ? MAGPIE_OK : MAGPIE_E_INPUT);
    char words[32];
    snprintf(words, sizeof words, "byte %zu ", at);
    if (status != MAGPIE_OK) assert_non_null(strstr(magpie_error(), words));
}

static void test_utf8(void **state) {
    (void)state;
    static const unsigned char edges[] = {0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF,
                                          0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1, 0xEC, 0xED, 0xEE,
                                          0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xFF};
    enum { N = sizeof edges };
    for (size_t i = 0; i < N * N * N * N; i++) {
        unsigned char bytes[] = {edges[i % N], edges[i / N % N], edges[i / N / N % N], edges[i / N / N / N]};
        check_utf8(bytes, sizeof bytes);
    }
    unsigned seed = 1;
    for (size_t i = 0; i < 100000; i++) {
        unsigned char bytes[40];
        for (size_t j = 0; j < sizeof bytes; j++) {
            seed = seed * 1664525 + 1013904223;
            bytes[j] = seed >> 28 ? (unsigned char)(seed >> 20 & 0x7F) : edges[(seed >> 16) % N];
        }
        check_utf8(bytes, (seed >> 8) % sizeof bytes);
    }
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_own_golden),
        cmocka_unit_test(test_shared_golden),
        cmocka_unit_test(test_cut_is_a_prefix),
        cmocka_unit_test(test_prefix_is_joined),
        cmocka_unit_test(test_shared_by_threads),
        IN_FOLDER(test_defaults),
        IN_FOLDER(test_cased),
        IN_FOLDER(test_lower_case_with_accents),
        IN_FOLDER(test_accents_stripped_but_cased),
        IN_FOLDER(test_word_limit),
        IN_FOLDER(test_other_special_tokens),
        IN_FOLDER(test_untidy_vocabulary),
        IN_FOLDER(test_json_alone),
        IN_FOLDER(test_precedence),
        IN_FOLDER(test_json_word_settings),
        IN_FOLDER(test_fingerprint),
        IN_FOLDER(test_missing_files),
        IN_FOLDER(test_broken_vocabulary),
        IN_FOLDER(test_broken_json),
        IN_FOLDER(test_broken_config),
        IN_FOLDER(test_bad_calls),
        cmocka_unit_test(test_utf8),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
