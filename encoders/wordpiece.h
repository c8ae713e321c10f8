/* wordpiece.h - BERT's tokenizer: cleaning, accent stripping, splitting, greedy WordPiece. Private to
 * encoders/.
 *
 * Matches Hugging Face's tokenizers (the Rust library behind BertTokenizerFast), to the id: special tokens
 * are found in the raw text first; between them control characters go, white space becomes a space, Chinese
 * characters stand alone, accents are stripped, capitals lowered, punctuation split off; then each word is
 * covered from its start by the longest tokens that there are, or is [UNK] as a whole.
 *
 * Which file of a model has the say in what is stated in tokenizer_files.h. */
#ifndef MAGPIE_WORDPIECE_H
#define MAGPIE_WORDPIECE_H

#include "core.h"

typedef struct wordpiece wordpiece;

/* Reads `directory`'s tokenizer: the vocabulary from vocab.txt, else from tokenizer.json; lower case, accents
 * and Chinese characters from tokenizer_config.json, else tokenizer.json's normalizer, else BERT's defaults.
 * At most a million tokens of at most 1 KiB. Shared by any number of threads. MAGPIE_E_NOT_FOUND    neither
 * vocab.txt nor tokenizer.json MAGPIE_E_CORRUPT      broken files, a token that is there twice, no [UNK],
 * [CLS] or [SEP] MAGPIE_E_UNSUPPORTED  a tokenizer.json of another model type, or with steps that BERT's has
 * not */
MAGPIE_CHECK_RESULT magpie_status wordpiece_open(const char *directory, wordpiece **out);
void wordpiece_close(wordpiece *tokenizer);

/* The largest id and one: how many rows the model's embedding must have at least. */
size_t wordpiece_vocabulary_size(const wordpiece *tokenizer);

/* Appends nothing: writes [CLS] prefix text [SEP] as ids, at most `max_ids` (>= 2) of them, [SEP] kept when
 * cut. `prefix` may be empty; prefix and text are tokenized as one string, as sentence-transformers joins
 * them. What lies behind the cut is checked to be UTF-8 and costs no more than that. Allocates only for a
 * prefix and text that are longer than 4 KiB together. */
MAGPIE_CHECK_RESULT magpie_status wordpiece_encode(const wordpiece *tokenizer, magpie_string prefix,
                                                   magpie_string text, size_t max_ids, int32_t *ids,
                                                   size_t *count);

/* XXH3-64 of everything that decides the ids, for the model's fingerprint. */
uint64_t wordpiece_fingerprint(const wordpiece *tokenizer);

#endif
