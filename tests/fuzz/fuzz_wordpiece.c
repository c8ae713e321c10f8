/* fuzz_wordpiece.c - any bytes as a text, or as one of a tokenizer's files.
 *
 * The first byte says which. Whatever comes: it is refused in words, or the ids begin with [CLS], end with
 * [SEP], are below the vocabulary's size, and cut shorter are the same ids. */
#include "fuzz.h"
#include "fuzz_folder.h"
#include "wordpiece.h"

#include <stdlib.h>
#include <string.h>

enum { IDS = 64, SETTINGS = 8 };

#define VOCABULARY                                                                                           \
    "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nun\n##able\nUn\na\n##a\ne\n##e\n!\n\xE4\xB8\xAD\n\xC3\xA9\n##"      \
    "\xC3\xA9\n"                                                                                             \
    "\xE3\x80\xAE\n##\xE3\x80\xAE\n##\xE1\xAD\x84\n\xE1\xAD\x84\n"

fuzz_seed fuzz_seeds[] = {
    FUZZ_SEED("0unable Un! aaae\xCC\x81 [SEP]\xE4\xB8\xAD\xE6\x96\x87 \xE3\x80\xAE\xE1\xAD\x84"),
    FUZZ_SEED(
        "1\xC3\x89\xC3\xA9 \xED\x95\x9C\xEA\xB5\xAD \xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x94\xAC un\xC2\xAD"),
    FUZZ_SEED("v" VOCABULARY),
    FUZZ_SEED("c{\"do_lower_case\":false,\"strip_accents\":null,\"unk_token\":{\"content\":\"[UNK]\"},"
              "\"added_tokens_decoder\":{\"4\":{\"content\":\"[MASK]\",\"lstrip\":true}}}"),
    FUZZ_SEED("s{\"unk_token\":\"[UNK]\",\"cls_token\":\"[CLS]\",\"sep_token\":\"[SEP]\"}"),
    FUZZ_SEED(
        "j{\"added_tokens\":[{\"id\":3,\"content\":\"[SEP]\"}],\"normalizer\":{\"type\":\"Sequence\","
        "\"normalizers\":"
        "[{\"type\":\"BertNormalizer\",\"clean_text\":true,\"lowercase\":true,\"strip_accents\":null}]},"
        "\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"},\"post_processor\":{\"type\":"
        "\"TemplateProcessing\","
        "\"single\":[{\"SpecialToken\":{\"id\":\"[CLS]\"}},{\"Sequence\":{\"id\":\"A\"}},{\"SpecialToken\":"
        "{\"id\":\"[SEP]\"}}]},\"model\":{\"type\":\"WordPiece\",\"unk_token\":\"[UNK]\","
        "\"max_input_chars_per_word\":100,\"vocab\":{\"[UNK]\":1,\"[CLS]\":2,\"[SEP]\":3,\"un\":4,\"##able\":"
        "7}}}"),
};
const size_t fuzz_seed_count = sizeof fuzz_seeds / sizeof *fuzz_seeds;

const char *const fuzz_files[] = {"vocab.txt", "tokenizer.json", "tokenizer_config.json",
                                  "special_tokens_map.json", NULL};

static void check_text(const wordpiece *t, const char *text, size_t size) {
    int32_t ids[IDS], cut[IDS];
    size_t n, m, room = 2 + size % (IDS - 2);
    magpie_string all = {text, size};
    if (wordpiece_encode(t, (magpie_string){0}, all, IDS, ids, &n) != MAGPIE_OK) return;
    if (n < 2 || n > IDS) abort();
    for (size_t i = 0; i < n; i++)
        if (ids[i] < 0 || (size_t)ids[i] >= wordpiece_vocabulary_size(t)) abort();
    if (wordpiece_encode(t, (magpie_string){0}, all, room, cut, &m) != MAGPIE_OK) abort();
    if (m != (n < room ? n : room) || cut[m - 1] != ids[n - 1]) abort();
    if (memcmp(ids, cut, (m - 1) * sizeof *ids) != 0) abort();
}

/* Tokenizers of the small vocabulary, for each way of setting it up; opened once. */
static const wordpiece *of_setting(size_t setting) {
    static wordpiece *opened[SETTINGS];
    if (opened[setting]) return opened[setting];
    char config[200];
    snprintf(config, sizeof config,
             "{\"do_lower_case\":%s,\"strip_accents\":%s,\"tokenize_chinese_chars\":%s}",
             setting & 1 ? "false" : "true", setting & 2 ? "false" : "true", setting & 4 ? "false" : "true");
    fuzz_write_file("vocab.txt", VOCABULARY, sizeof VOCABULARY - 1);
    fuzz_write_file("tokenizer_config.json", config, strlen(config));
    if (wordpiece_open(fuzz_folder, &opened[setting]) != MAGPIE_OK) abort();
    fuzz_remove_files();
    return opened[setting];
}

static void check_files(char which, const uint8_t *data, size_t size) {
    wordpiece *t;
    fuzz_write_file(which == 'v'   ? "vocab.txt"
                    : which == 'j' ? "tokenizer.json"
                    : which == 'c' ? "tokenizer_config.json"
                                   : "special_tokens_map.json",
                    data, size);
    if (which == 'c' || which == 's') fuzz_write_file("vocab.txt", VOCABULARY, sizeof VOCABULARY - 1);
    if (wordpiece_open(fuzz_folder, &t) == MAGPIE_OK) {
        const char text[] = "unable Un \xC3\xA9 [SEP][MASK]!";
        check_text(t, text, sizeof text - 1);
        check_text(t, (const char *)data, size);
        if (wordpiece_fingerprint(t) != wordpiece_fingerprint(t)) abort();
        wordpiece_close(t);
    } else if (!strlen(magpie_error())) {
        abort();
    }
    fuzz_remove_files();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_make_folder();
    if (!size) return 0;
    if (strchr("vjcs", data[0]) && data[0])
        check_files((char)data[0], data + 1, size - 1);
    else
        check_text(of_setting(data[0] % SETTINGS), (const char *)data + 1, size - 1);
    return 0;
}
