/* model_files.h - the JSON files of a model's folder, read with limits and errors that name file and key.
 * Private to encoders/ and ranker/. */
#ifndef MAGPIE_MODEL_FILES_H
#define MAGPIE_MODEL_FILES_H

#include "core.h"

#include <jansson.h>

enum { MODEL_JSON_MAX = 64 << 20 /* bytes; tokenizer.json of a large vocabulary has 20 MB */ };

typedef struct model_json {
    json_t *root; /* an object; NULL where an optional file is not there */
    char *path;
} model_json;

/* `directory`/`name`. A missing file is MAGPIE_E_NOT_FOUND, or with `optional` MAGPIE_OK and a NULL root. */
MAGPIE_CHECK_RESULT magpie_status model_json_open(const char *directory, const char *name, bool optional,
                                                  model_json *out);
void model_json_close(model_json *file);

/* A whole number within [least, most]. A missing key keeps *out where `required` is false. */
MAGPIE_CHECK_RESULT magpie_status model_json_size(const model_json *file, const char *key, bool required,
                                                  size_t least, size_t most, size_t *out);
/* A string in the file's memory; `fallback` where the key is missing or null. */
MAGPIE_CHECK_RESULT magpie_status model_json_string(const model_json *file, const char *key,
                                                    const char *fallback, const char **out);
/* The folder's own name in a new string, so that a model reached by a link or as "." is still called what it is. */
MAGPIE_CHECK_RESULT magpie_status model_name(const char *directory, char **out);
bool model_json_true(const model_json *file, const char *key);

#endif
