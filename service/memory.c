/* memory.c - see memory.h. */
#include "memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const size_t MIB = 1 << 20;
static const size_t WORK_MIB = 128, LEFT_LEAST_MIB = 64, BATCH_MOST_MIB = 16, BATCHES = 8;

static size_t memory = (size_t)1 << 30;

static size_t weights_of(const char *folder) {
    struct stat st;
    char *path = folder ? magpie_path_join(folder, "model.safetensors") : NULL;
    const size_t size = path && stat(path, &st) == 0 ? (size_t)st.st_size : 0;
    free(path);
    return size + size / 5;
}

magpie_status memory_divide(const model_folders *folders, size_t *batch_bytes, size_t *picture_bytes) {
    size_t taken = WORK_MIB * MIB;
    for (model_sense sense = SENSE_TEXT; sense < SENSES; sense++) taken += weights_of(folders->of[sense]);
    if (memory < taken + LEFT_LEAST_MIB * MIB)
        return magpie_fail(MAGPIE_E_ARGUMENT,
                           "--memory: %zuM are not enough for these models: %zuM are the least", memory / MIB,
                           taken / MIB + LEFT_LEAST_MIB + 1);
    const size_t left = memory - taken;
    *batch_bytes = left / 16 < BATCH_MOST_MIB * MIB ? left / 16 : BATCH_MOST_MIB * MIB;
    *picture_bytes = (left - BATCHES * *batch_bytes) / model_threads();
    return MAGPIE_OK;
}

static magpie_status parse_memory(const char *value, void *target) {
    char *end;
    errno = 0;
    const unsigned long long number = strtoull(value, &end, 10);
    const unsigned shift = *end == 'M' ? 20 : *end == 'G' ? 30 : 0;
    if (*value < '0' || *value > '9' || errno || !shift || end[1] || number > SIZE_MAX >> shift)
        return magpie_fail(MAGPIE_E_ARGUMENT, "a number with M or G is wanted, not \"%s\"", value);
    *(size_t *)target = (size_t)number << shift;
    return MAGPIE_OK;
}

const option_row memory_options[] = {
    {.name = "memory",
     .argument = "SIZE",
     .parse = parse_memory,
     .target = &memory,
     .help = "what may be taken, but for the indexes: 512M, 2G (default: 1G)"},
    {0}};
