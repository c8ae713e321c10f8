/* fuzz_bpe.c - any bytes as a text, or as one of the files of CLIP's tokenizer.
 *
 * The first byte says which. Whatever comes: it is refused in words, or the ids begin with <|startoftext|>, end with
 * <|endoftext|>, are below the vocabulary's size, and cut shorter are the same ids. */
#include "bpe.h"
#include "fuzz.h"
#include "fuzz_folder.h"

#include <stdlib.h>
#include <string.h>

enum { IDS = 77, FILE_MAX = 1 << 20 };

#define GOLDEN MAGPIE_SOURCE_DIR "/tests/golden/clip/"
#define TOKENIZER(vocabulary)                                                                                \
    "j{\"added_tokens\":[{\"id\":1,\"content\":\"<|endoftext|>\",\"normalized\":true}],\"normalizer\":"      \
    "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{\"type\":\"Replace\",\"pattern\":{"         \
    "\"Regex\":\"\\\\s+\"},\"content\":\" \"},{\"type\":\"Lowercase\"}]},\"pre_tokenizer\":{\"type\":"       \
    "\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"'s|'t|'re|'ve|'m|'ll|'d|"  \
    "[\\\\p{L}]+|[\\\\p{N}]|[^\\\\s\\\\p{L}\\\\p{N}]+\"},\"behavior\":\"Removed\",\"invert\":true},{"        \
    "\"type\":\"ByteLevel\"}]},\"post_processor\":{\"type\":\"RobertaProcessing\",\"cls\":["                 \
    "\"<|startoftext|>\",0],\"sep\":[\"<|endoftext|>\",1]},\"model\":{\"type\":\"BPE\","                     \
    "\"end_of_word_suffix\":\"</w>\",\"vocab\":" vocabulary ",\"merges\":[\"a b\",[\"a\",\"c\"]]}}"

fuzz_seed fuzz_seeds[] = {
    FUZZ_SEED("tA photo of a cat, isn't it? 12 \xE4\xB8\xAD\xE6\x96\x87 <|endoftext|>!! e\xCC\x81"),
    FUZZ_SEED("t\xED\x95\x9C\xEA\xB5\xAD\xE1\x84\x92\xE1\x85\xA1\xE1\x86\xAB \xCC\x81\xCC\xA3 <|ENDOFTEXT|> "
              "'ll 'S"),
    FUZZ_SEED("m#version: 0.2\ni n\nt h\na n\nr e\nin g\n"),
    FUZZ_SEED("m\r\nt h</w>\r\nth e</w>"),
    FUZZ_SEED("v{\"<|startoftext|>\":0,\"<|endoftext|>\":1,\"!\":2,\"!</w>\":3,\"\\u0100\":4}"),
    FUZZ_SEED(TOKENIZER("{\"<|startoftext|>\":0,\"<|endoftext|>\":1,\"a\":2,\"b\":3,\"ab\":4}")),
};
const size_t fuzz_seed_count = sizeof fuzz_seeds / sizeof *fuzz_seeds;

const char *const fuzz_files[] = {"vocab.json", "merges.txt", "tokenizer.json", NULL};

/* The vocabulary of the tests, read once. */
static magpie_string golden_vocabulary(void) {
    static magpie_string kept;
    char *text;
    if (!kept.data) {
        if (magpie_file_read(GOLDEN "vocab.json", FILE_MAX, &text, &kept.size) != MAGPIE_OK) abort();
        kept.data = text;
    }
    return kept;
}

static void check_text(const bpe *t, const char *text, size_t size) {
    int32_t ids[IDS], cut[IDS];
    size_t n, m, room = 2 + size % (IDS - 2);
    magpie_string all = {text, size};
    if (bpe_encode(t, (magpie_string){0}, all, IDS, ids, &n) != MAGPIE_OK) return;
    if (n < 2 || n > IDS) abort();
    for (size_t i = 0; i < n; i++)
        if (ids[i] < 0 || (size_t)ids[i] >= bpe_vocabulary_size(t)) abort();
    if (bpe_encode(t, (magpie_string){0}, all, room, cut, &m) != MAGPIE_OK) abort();
    if (m != (n < room ? n : room) || cut[m - 1] != ids[n - 1]) abort();
    if (memcmp(ids, cut, (m - 1) * sizeof *ids) != 0) abort();
}

static const bpe *golden_tokenizer(void) {
    static bpe *opened;
    if (!opened && bpe_open(GOLDEN, &opened) != MAGPIE_OK) abort();
    return opened;
}

static void check_files(char which, const uint8_t *data, size_t size) {
    bpe *t;
    magpie_string vocabulary = golden_vocabulary();
    fuzz_write_file(which == 'j' ? "tokenizer.json" : which == 'v' ? "vocab.json" : "merges.txt", data, size);
    if (which == 'm') fuzz_write_file("vocab.json", vocabulary.data, vocabulary.size);
    if (which == 'v') fuzz_write_file("merges.txt", "i n\n", 4);
    if (bpe_open(fuzz_folder, &t) == MAGPIE_OK) {
        const char text[] = "a photo, IN the \xC3\xA9<|endoftext|>!";
        check_text(t, text, sizeof text - 1);
        check_text(t, (const char *)data, size);
        bpe_close(t);
    } else if (!strlen(magpie_error())) {
        abort();
    }
    fuzz_remove_files();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_make_folder();
    if (!size) return 0;
    if (data[0] && strchr("mvj", data[0]))
        check_files((char)data[0], data + 1, size - 1);
    else
        check_text(golden_tokenizer(), (const char *)data + 1, size - 1);
    return 0;
}
