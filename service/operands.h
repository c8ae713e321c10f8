/* operands.h - files that a command is given, patterns expanded. */
#ifndef MAGPIE_OPERANDS_H
#define MAGPIE_OPERANDS_H

#include "core.h"

typedef struct operands { /* all zero is a valid empty one */
    char **paths;         /* [count] */
    size_t count, capacity;
} operands;

/* In the order of `words`; a pattern (*, ?, [) that no file has for a name gives what it matches, sorted.
 * MAGPIE_E_NOT_FOUND where that is nothing. `out` is to be freed in any case. */
MAGPIE_CHECK_RESULT magpie_status operands_expand(char *const *words, int count, operands *out);
void operands_free(operands *list);

#endif
