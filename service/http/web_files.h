/* web_files.h - files that are in the program; made when it is built, out of service/web/ and openapi.json. */
#ifndef MAGPIE_WEB_FILES_H
#define MAGPIE_WEB_FILES_H

#include "core.h"

typedef struct web_file {
    const char *name;
    magpie_string bytes;
} web_file;

extern const web_file web_files[]; /* ends with a name of NULL */

#endif
