/* standalone.c - runs a fuzz target without libFuzzer: TARGET [ITERATIONS [SEED]]. TARGET -seeds DIR: writes
 * what it begins from, for libFuzzer to begin from.
 *
 * It sees no coverage, so it finds less than libFuzzer does. It runs wherever the tests run, and does the
 * same thing each time: what it finds, it finds again. */
#include "fuzz.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { INPUT_MAX = 8192, MUTATIONS_MAX = 6 };

static uint64_t next_random(uint64_t *state) {
    uint64_t z = *state += 0x9E3779B97F4A7C15;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
    z = (z ^ z >> 27) * 0x94D049BB133111EB;
    return z ^ z >> 31;
}

static size_t below(uint64_t *state, size_t n) { return n ? (size_t)(next_random(state) % n) : 0; }

struct input {
    uint8_t data[INPUT_MAX];
    size_t size;
};

static void erase(struct input *in, size_t at, size_t n) {
    memmove(in->data + at, in->data + at + n, in->size - at - n);
    in->size -= n;
}

static void insert(struct input *in, size_t at, const void *bytes, size_t n) {
    uint8_t copy[INPUT_MAX]; /* the bytes may be of the input itself */
    if (n > INPUT_MAX - in->size) return;
    memcpy(copy, bytes, n);
    memmove(in->data + at + n, in->data + at, in->size - at);
    memcpy(in->data + at, copy, n);
    in->size += n;
}

/* What parsers and tokenizers stumble over, for the byte soup to contain it now and then. */
static const fuzz_seed words[] = {
    FUZZ_SEED("\""),
    FUZZ_SEED("{"),
    FUZZ_SEED("}"),
    FUZZ_SEED("["),
    FUZZ_SEED("]"),
    FUZZ_SEED(":"),
    FUZZ_SEED(","),
    FUZZ_SEED("\\"),
    FUZZ_SEED("null"),
    FUZZ_SEED("true"),
    FUZZ_SEED("-1"),
    FUZZ_SEED("0"),
    FUZZ_SEED("1e9"),
    FUZZ_SEED("4294967296"),
    FUZZ_SEED("\n"),
    FUZZ_SEED("9223372036854775807"),
    FUZZ_SEED("\\u0000"),
    FUZZ_SEED("\0"),
    FUZZ_SEED("\xCC\x81"),
    FUZZ_SEED("\xE4\xB8\xAD"),
    FUZZ_SEED("\xED\x95\x9C"),
    FUZZ_SEED("\xF0\x9F\x91\xA9"),
    FUZZ_SEED("[SEP]"),
    FUZZ_SEED("##"),
    FUZZ_SEED("\xE3\x80\xAE"),
};

static void mutate(struct input *in, uint64_t *state) {
    size_t at = below(state, in->size + 1), left = in->size - at, n = 1 + below(state, 32);
    const fuzz_seed *word = &words[below(state, sizeof words / sizeof *words)];
    if (n > left) n = left;
    switch (below(state, 7)) {
    case 0:
        if (left) in->data[at] ^= (uint8_t)(1u << below(state, 8));
        break;
    case 1:
        if (left) in->data[at] = (uint8_t)next_random(state);
        break;
    case 2: erase(in, at, n); break;
    case 3: insert(in, at, in->data + below(state, in->size - n + 1), n); break;
    case 4: insert(in, at, word->data, word->size); break;
    case 5:
        if (left) in->data[at] = (uint8_t)('0' + below(state, 10));
        break;
    default:
        if (!below(state, 8)) in->size = at;
    }
}

static int write_seeds(const char *folder) {
    for (size_t i = 0; i < fuzz_seed_count; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/seed-%zu", folder, i);
        FILE *file = fopen(path, "wb");
        if (!file) return 1;
        bool written = fwrite(fuzz_seeds[i].data, 1, fuzz_seeds[i].size, file) == fuzz_seeds[i].size;
        if (fclose(file) != 0 || !written) return 1;
    }
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "-seeds") == 0) return write_seeds(argv[2]);
    unsigned long iterations = argc > 1 ? strtoul(argv[1], NULL, 10) : 10000;
    uint64_t state = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    for (unsigned long i = 0; i < iterations; i++) {
        const fuzz_seed *seed = &fuzz_seeds[i % fuzz_seed_count];
        struct input in = {.size = seed->size < INPUT_MAX ? seed->size : INPUT_MAX};
        memcpy(in.data, seed->data, in.size);
        if (i >= fuzz_seed_count) /* the seeds themselves come first */
            for (size_t n = 1 + below(&state, MUTATIONS_MAX); n; n--) mutate(&in, &state);
        uint8_t *exact =
            malloc(in.size ? in.size : 1); /* of its own, so that a sanitizer sees a byte too far */
        if (!exact) return 1;
        memcpy(exact, in.data, in.size);
        (void)LLVMFuzzerTestOneInput(exact, in.size);
        free(exact);
    }
    printf("%lu inputs\n", iterations);
    return 0;
}
