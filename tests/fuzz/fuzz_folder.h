/* fuzz_folder.h - a folder of files for targets that open one: made at the first input, removed at exit.
 * The target says which files may be in it. */
#ifndef MAGPIE_FUZZ_FOLDER_H
#define MAGPIE_FUZZ_FOLDER_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { FUZZ_PATH = 512 };

extern const char *const fuzz_files[]; /* the target's; ends with NULL */
static char fuzz_folder[FUZZ_PATH / 2];

static void fuzz_write_file(const char *name, const void *bytes, size_t size) {
    char path[FUZZ_PATH];
    snprintf(path, sizeof path, "%s/%s", fuzz_folder, name);
    FILE *file = fopen(path, "wb");
    if (!file || (size && fwrite(bytes, 1, size, file) != size) || fclose(file) != 0) abort();
}

static void fuzz_remove_files(void) {
    char path[FUZZ_PATH];
    for (size_t i = 0; fuzz_files[i]; i++) {
        snprintf(path, sizeof path, "%s/%s", fuzz_folder, fuzz_files[i]);
        unlink(path);
    }
}

static void fuzz_remove_folder(void) {
    fuzz_remove_files();
    rmdir(fuzz_folder);
}

static void fuzz_make_folder(void) {
    const char *parent = getenv("TMPDIR");
    if (fuzz_folder[0]) return;
    snprintf(fuzz_folder, sizeof fuzz_folder, "%s/magpie-fuzz-XXXXXX", parent ? parent : "/tmp");
    if (!mkdtemp(fuzz_folder) || atexit(fuzz_remove_folder) != 0) abort();
}

#endif
