/* vocabulary.h - the tokens of a WordPiece model, by spelling. Private to encoders/.
 *
 * One block of memory: the spellings one after another, where each begins, and a hash table with open
 * addressing that is at most half full. Never changed once filled: to be read by any number of threads. */
#ifndef MAGPIE_VOCABULARY_H
#define MAGPIE_VOCABULARY_H

#include "core.h"

enum {
    VOCABULARY_MAX = 1000 * 1000, /* tokens; more is MAGPIE_E_TOO_LARGE, before anything is allocated */
    TOKEN_BYTES_MAX = 1024        /* a token; likewise */
};

typedef struct vocabulary {
    magpie_block block;
    char *bytes;       /* spellings in order of id, nothing between them */
    uint32_t *offsets; /* [count + 1] */
    struct vocabulary_slot {
        uint32_t tag;   /* bits of the hash that did not choose the slot */
        uint32_t entry; /* id + 1; 0: free */
    } * slots;          /* [mask + 1] */
    uint32_t mask;
    size_t count;
    size_t longest;         /* bytes of the longest token */
    const char *continuing; /* what spells a token that goes on with a word: "##" */
    size_t continuing_size;
    uint64_t continuing_hash;
} vocabulary;

/* One token a line, ids counted from 0. A line of nothing holds an id that no text has. `continuing` must
 * outlive the vocabulary. MAGPIE_E_CORRUPT, with both lines, where a token is there twice. */
MAGPIE_CHECK_RESULT magpie_status vocabulary_read_lines(const char *path, const char *continuing,
                                                        vocabulary *out);

/* The object "token": id of a tokenizer.json; `path` is for messages. */
MAGPIE_CHECK_RESULT magpie_status vocabulary_read_json(const char *path, magpie_string object,
                                                       const char *continuing, vocabulary *out);
void vocabulary_free(vocabulary *v);

/* The id of a whole token; -1: there is none. */
int32_t vocabulary_find(const vocabulary *v, magpie_string token);

/* The longest token that `text` (size >= 1, valid UTF-8) begins with, of those that go on with a word where
 * `continues`; *taken gets its bytes in the text. -1: there is none. */
int32_t vocabulary_longest(const vocabulary *v, bool continues, const char *text, size_t size, size_t *taken);

#endif
