/* bpe.h - CLIP's tokenizer: byte-level byte-pair encoding (Sennrich et al. 2016; Radford et al. 2021).
 * Private to encoders/.
 *
 * Matches Hugging Face's tokenizers (the Rust library behind CLIPTokenizer), to the id: special tokens are
 * found in the raw text first; between them the text is composed (NFC), white space becomes a space, capitals
 * are lowered; then it falls into 's 't 're 've 'm 'll 'd, runs of letters, single digits and runs of
 * anything else; the bytes of each are merged, the pair of the lowest rank first, the last byte carrying
 * "</w>".
 *
 * What is not done: open_clip's own Python tokenizer first repairs what looks like wrongly decoded text
 * (ftfy: mojibake, curly quotes, full-width letters, ligatures, control characters) and resolves HTML
 * entities twice; such texts have other ids there. Which characters are letters and digits is utf8proc's to
 * say: those that Unicode has added since its version are neither. */
#ifndef MAGPIE_BPE_H
#define MAGPIE_BPE_H

#include "core.h"

typedef struct bpe bpe;

/* Reads `directory`'s tokenizer: tokenizer.json, else vocab.json and merges.txt. At most a million tokens of
 * at most 1 KiB, and as many merges. Shared by any number of threads.
 * - MAGPIE_E_NOT_FOUND: neither is there, or only one of the two; the file is named
 * - MAGPIE_E_CORRUPT: broken files, a byte without a token, a merge of no tokens, no <|startoftext|>
 * - MAGPIE_E_UNSUPPORTED: a tokenizer.json of another model type, or with steps that CLIP's has not */
MAGPIE_CHECK_RESULT magpie_status bpe_open(const char *directory, bpe **out);
void bpe_close(bpe *tokenizer);

/* The largest id and one: how many rows the model's embedding must have at least. */
size_t bpe_vocabulary_size(const bpe *tokenizer);

/* Writes <|startoftext|> prefix text <|endoftext|> as ids, at most `max_ids` (>= 2) of them, the last kept
 * when cut. `prefix` may be empty; prefix and text are tokenized as one string. A word costs n log n steps,
 * however long; what lies behind the word of the cut is checked to be UTF-8 and costs no more than a search
 * for special tokens. */
MAGPIE_CHECK_RESULT magpie_status bpe_encode(const bpe *tokenizer, magpie_string prefix, magpie_string text,
                                             size_t max_ids, int32_t *ids, size_t *count);

#endif
