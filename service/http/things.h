/* things.h - the texts, pictures and sounds that a request wants vectors of: how they are read, and their way through
 * the encoders.
 *
 * MANY OF THEM are bulk (batcher.h): they are handed in as those before them are done, a turn's worth at any time. */
#ifndef MAGPIE_THINGS_H
#define MAGPIE_THINGS_H

#include "http.h"

enum { THINGS_MAX = 2048 /* of a request, documents or inputs */ };

typedef struct thing {
    encode_task task;
    char field[40];       /* "input[2].image" */
    size_t start;         /* of a text's tokens, in ids */
    unsigned char *bytes; /* owned: of a picture or sound */
} thing;

typedef struct things {
    http_request *r;
    thing *of; /* [most], of which there are n */
    size_t n, most;
    int32_t *ids; /* [tokens], of all texts */
    size_t tokens, capacity;
    magpie_space model;
    size_t dimension, width; /* the model's; the widest encoder's */
    float *features;         /* [n, width]: as encoded */
    float *projected;        /* [n, dimension]; NULL: features are what is wanted */
    atomic_size_t next, left;
    double submitted;
} things;

/* Room for `most`. false: it has been answered; so in all below. */
bool things_begin(http_request *r, things *t, size_t most);
void things_free(things *t);
/* A string, or {"text"|"image"|"audio": ...}, which is called `field` in messages. */
bool things_add(things *t, json_t *value, const char *field, magpie_text_role role);
/* A text that is tokens already: an array of whole numbers. */
bool things_add_tokens(things *t, json_t *value, const char *field);
/* The model that the body names, else the first that takes all that was added. */
bool things_choose_model(things *t, json_t *body);

/* For a handler to end with: `read` adds things and chooses a model, then they are encoded, then `answer` is called.
 * What may take long is done on a worker. */
http_outcome things_run(http_request *r, things *t, bool (*read)(http_request *r),
                        http_outcome (*answer)(http_request *r));
const float *things_vector(const things *t, size_t i); /* [dimension], unit length */

#endif
