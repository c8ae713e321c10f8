/* fuzz.h - what a fuzz target has: the entry point of libFuzzer, and inputs to begin from.
 *
 * Two ways to run one. With coverage, for as long as there is patience, in a build by clang with
 * -DMAGPIE_FUZZ=ON and -DMAGPIE_SANITIZE=address,undefined: fuzz_X DIR, where DIR has the seeds. Under any
 * compiler, as a test: with standalone.c, which mutates the seeds a given number of times, and writes them to
 * a folder: fuzz_X -seeds DIR. */
#ifndef MAGPIE_FUZZ_H
#define MAGPIE_FUZZ_H

#include <stddef.h>
#include <stdint.h>

typedef struct fuzz_seed {
    const char *data;
    size_t size;
} fuzz_seed;

#define FUZZ_SEED(literal)                                                                                   \
    { literal, sizeof(literal) - 1 }

extern fuzz_seed fuzz_seeds[]; /* [fuzz_seed_count]; written down, or made before main */
extern const size_t fuzz_seed_count;

/* 0; a property that does not hold aborts. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
