/* pictures.c - see pictures.h. */
#include "pictures.h"

#include <errno.h>
#include <sys/stat.h>
#include <xxhash.h>

enum { HASH_VERSION = 1 /* a change makes every picture look new */ };

uint64_t magpie_picture_hash(const char *path, magpie_string reference) {
    struct stat st;
    uint64_t words[] = {HASH_VERSION, XXH3_64bits(reference.data, reference.size), 0, 0, 0, 0};
    if (stat(path, &st) == 0 && S_ISREG(st.st_mode)) {
        words[2] = 1;
        words[3] = (uint64_t)st.st_size;
        words[4] = (uint64_t)st.st_mtim.tv_sec;
        words[5] = (uint64_t)st.st_mtim.tv_nsec;
    }
    uint64_t hash = XXH3_64bits(words, sizeof words);
    return hash ? hash : 1;
}

magpie_status magpie_picture_check(const char *path) {
    struct stat st;
    if (stat(path, &st) != 0) return magpie_fail_errno(errno, "cannot open %s", path);
    return S_ISREG(st.st_mode) ? MAGPIE_OK : magpie_fail(MAGPIE_E_INPUT, "%s is not a file", path);
}
