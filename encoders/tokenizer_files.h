/* tokenizer_files.h - how a tokenizer is set up, out of Hugging Face's files. Private to encoders/.
 *
 * Three files say partly the same, and there are models where they do not agree. What is believed, first to
 * last:
 *
 * - Lower case, accents, Chinese characters: tokenizer_config.json where it states them, as in transformers;
 * else tokenizer.json's normalizer (transformers would take BERT's defaults here, which is not what such a
 * model was trained with); else BERT's defaults: lower case, accents stripped with it, Chinese split.
 * - [UNK], [CLS], [SEP] by name: tokenizer.json (model, post_processor); else tokenizer_config.json; else
 *   special_tokens_map.json; else BERT's.
 * - Tokens that are found in the raw text: tokenizer.json's added_tokens; else the named special tokens and
 *   tokenizer_config.json's added_tokens_decoder.
 * - Vocabulary: vocab.txt, being ten times and more faster to read; else tokenizer.json's model.vocab.
 *
 * What a tokenizer.json asks for beyond BERT's tokenizer is MAGPIE_E_UNSUPPORTED, and named: other ids than
 * the model was trained on would give vectors that look fine and are not. */
#ifndef MAGPIE_TOKENIZER_FILES_H
#define MAGPIE_TOKENIZER_FILES_H

#include "core.h"

enum { WORD_CHARACTERS_MAX = 200, ADDED_TOKENS_MAX = 4096 };

typedef struct added_token {
    magpie_string text;
    int32_t id; /* -1: as the vocabulary has it */
} added_token;

typedef struct tokenizer_settings {
    bool clean_text, split_chinese, strip_accents, lower_case;
    size_t word_characters; /* a longer word is [UNK]; at most WORD_CHARACTERS_MAX */
    char *continuing, *unknown, *classify, *separate; /* "##", "[UNK]", "[CLS]", "[SEP]" */
    added_token *added;                               /* [added_count] */
    size_t added_count, added_capacity;
    char *json_path;               /* of tokenizer.json; NULL: there is none */
    magpie_map json;               /* of it */
    magpie_string json_vocabulary; /* model.vocab, in the map */
} tokenizer_settings;

/* To be freed after success and after failure. */
MAGPIE_CHECK_RESULT magpie_status tokenizer_settings_read(const char *directory, tokenizer_settings *out);
void tokenizer_settings_free(tokenizer_settings *settings);

#endif
