/* operands.c - see operands.h. */
#include "operands.h"

#include <glob.h>
#include <stdlib.h>
#include <string.h>

static magpie_status add_path(operands *list, const char *path) {
    magpie_status status =
        magpie_grow((void **)&list->paths, &list->capacity, list->count + 1, sizeof *list->paths);
    if (status != MAGPIE_OK) return status;
    char *copy = strdup(path);
    if (!copy) return magpie_fail(MAGPIE_E_NO_MEMORY, "out of memory");
    list->paths[list->count++] = copy;
    return MAGPIE_OK;
}

static magpie_status add_matches(operands *list, const char *pattern) {
    glob_t found = {0};
    magpie_status status = MAGPIE_OK;
    const int result = glob(pattern, 0, NULL, &found);
    if (result == GLOB_NOMATCH)
        status = magpie_fail(MAGPIE_E_NOT_FOUND, "nothing matches %s", pattern);
    else if (result != 0)
        status = magpie_fail(MAGPIE_E_IO, "cannot look for what matches %s", pattern);
    for (size_t i = 0; i < found.gl_pathc && status == MAGPIE_OK; i++)
        status = add_path(list, found.gl_pathv[i]);
    globfree(&found);
    return status;
}

magpie_status operands_expand(char *const *words, int count, operands *out) {
    magpie_status status = MAGPIE_OK;
    for (int i = 0; i < count && status == MAGPIE_OK; i++) {
        const bool pattern = strpbrk(words[i], "*?[") && !magpie_path_exists(words[i]);
        status = pattern ? add_matches(out, words[i]) : add_path(out, words[i]);
    }
    return status;
}

void operands_free(operands *list) {
    for (size_t i = 0; i < list->count; i++) free(list->paths[i]);
    free(list->paths);
}
