/* bpe_files.h - a byte-level BPE tokenizer's tables, out of Hugging Face's files. Private to bpe.c.
 *
 * tokenizer.json has the say where it is there; else vocab.json and merges.txt, with the settings that
 * CLIPTokenizer has by itself. What a tokenizer.json asks for beyond CLIP's is MAGPIE_E_UNSUPPORTED, and
 * named. */
#ifndef MAGPIE_BPE_FILES_H
#define MAGPIE_BPE_FILES_H

#include "vocabulary.h"

enum { BPE_BYTES = 256, BPE_ADDED_MAX = 256 };

/* A token that is found in a text whole: in the raw one, or once it is composed and lowered. */
typedef struct bpe_added {
    magpie_string text;
    int32_t id;
    bool normalized;
} bpe_added;

typedef struct bpe_merge {
    int32_t left, right, merged; /* ids; left -1: a free slot */
    uint32_t rank;
} bpe_merge;

typedef struct bpe_tables {
    vocabulary vocabulary;
    bpe_merge *merges; /* [mask + 1]: a hash table with open addressing, at most half full */
    uint32_t mask;
    bpe_added *added; /* [added_count] */
    size_t added_count;
    int32_t begin, end;                        /* <|startoftext|>, <|endoftext|> */
    int32_t bytes[BPE_BYTES], last[BPE_BYTES]; /* the token of a byte, of one that ends a word */
    bool special_pieces; /* <|startoftext|> and <|endoftext|> are parted from what follows even where they are
                            no tokens, being written with capitals */
} bpe_tables;

/* To be freed after success and after failure. */
MAGPIE_CHECK_RESULT magpie_status bpe_tables_read(const char *directory, bpe_tables *out);
void bpe_tables_free(bpe_tables *tables);

/* NULL: the two do not merge. */
const bpe_merge *bpe_find_merge(const bpe_tables *tables, int32_t left, int32_t right);

#endif
