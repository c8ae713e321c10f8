/* fusion_bench.c - the training of heads, epoch by epoch: one JSON line each, for fusion_compare, which
 * makes the features. Usage: fusion_bench FOLDER ITEMS KIND EPOCHS BATCH THREADS OUTPUT; FOLDER holds
 * titles.u64 and, of text, image and audio those that there are, NAME-DIMENSION.f32, rows of zeros where
 * an item has none. EPOCHS 0, for starter_compare: as magpie train fusion does by default, split and all;
 * texts are kept as they are where BATCH is 1. */
#include "encoders.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

static void die(void) {
    fprintf(stderr, "fusion_bench: %s\n", magpie_error());
    exit(1);
}

static const void *map_file(const char *folder, const char *name, size_t bytes) {
    magpie_map map;
    char *path = magpie_path_join(folder, name);
    if (!path || magpie_map_open(path, &map) != MAGPIE_OK) die();
    if (map.size != bytes) exit(2);
    free(path);
    return map.data;
}

static const float **rows_of(const float *values, size_t n, size_t dimension) {
    const float **rows = magpie_alloc(n, sizeof *rows);
    if (!rows) die();
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < dimension && !rows[i]; k++)
            if (values[i * dimension + k] != 0) rows[i] = values + i * dimension;
    return rows;
}

static magpie_fusion_data read_data(const char *folder, size_t n) {
    magpie_fusion_data data = {.n = n, .titles = map_file(folder, "titles.u64", n * sizeof(uint64_t))};
    DIR *entries = opendir(folder);
    for (struct dirent *entry; entries && (entry = readdir(entries)) != NULL;)
        for (magpie_modality m = 0; m < MAGPIE_MODALITIES; m++) {
            size_t size = strlen(magpie_modality_name(m));
            if (strncmp(entry->d_name, magpie_modality_name(m), size) != 0) continue;
            size_t dimension = strtoul(entry->d_name + size + 1, NULL, 10);
            data.source[m] = (magpie_modality_source){.dimension = dimension};
            data.features[m] =
                rows_of(map_file(folder, entry->d_name, n * dimension * sizeof(float)), n, dimension);
        }
    if (entries) closedir(entries);
    return data;
}

static magpie_status print_epoch(void *context, const magpie_fusion_epoch *epoch) {
    (void)context;
    printf("{\"epoch\": %zu, \"loss\": %.9g, \"seconds\": %.6f}\n", epoch->epoch, epoch->loss,
           epoch->seconds);
    fflush(stdout);
    return MAGPIE_OK;
}

int main(int argc, char **argv) {
    magpie_fusion_train_options options = magpie_fusion_train_defaults();
    if (argc != 8) return 2;
    magpie_fusion_data data = read_data(argv[1], strtoul(argv[2], NULL, 10));
    options.kind = argv[3];
    options.threads = (unsigned)strtoul(argv[6], NULL, 10);
    options.keep_text = strcmp(argv[5], "1") == 0;
    if (strcmp(argv[4], "0") != 0) {
        options.epochs = strtoul(argv[4], NULL, 10);
        options.batch = strtoul(argv[5], NULL, 10);
        options.all = true;
        options.validation = 0;
        options.dropout = 0;
    }
    if (magpie_fusion_train(&data, &options, argv[7], print_epoch, NULL, NULL) != MAGPIE_OK) die();
    for (magpie_modality m = 0; m < MAGPIE_MODALITIES; m++) free((void *)data.features[m]);
    return 0;
}
