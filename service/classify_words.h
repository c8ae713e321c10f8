/* classify_words.h - labels that nobody has learned: words, compared with what is to be labelled in the one
 * space. */
#ifndef MAGPIE_CLASSIFY_WORDS_H
#define MAGPIE_CLASSIFY_WORDS_H

#include "model.h"

typedef struct classify_words {
    char *memory;       /* holds the names */
    const char **names; /* [count] */
    size_t count;
} classify_words;

/* "a, b,c": two at least, all different. To be freed whatever is returned. */
MAGPIE_CHECK_RESULT magpie_status classify_words_parse(const char *list, classify_words *out);
void classify_words_free(classify_words *words);

/* Each name is put in the place of {} in `pattern` ("{}" in it once), encoded as a passage and projected;
 * the scores with `query` [dimension of the fusion], divided by the temperature, become probabilities: out
 * [count]. */
MAGPIE_CHECK_RESULT magpie_status classify_words_compare(const classify_words *words, const char *pattern,
                                                         magpie_text_encoder *encoder,
                                                         const magpie_fusion *fusion, const float *query,
                                                         double temperature, float *out);

#endif
