/* classify_words.c - see classify_words.h. */
#include "classify_words.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WORDS_MAX = 4096 };

/* ---- a list of words ----------------------------------------------------------------------------------- */

static char *trim(char *word) {
    word += strspn(word, " ");
    for (size_t size = strlen(word); size && word[size - 1] == ' ';) word[--size] = 0;
    return word;
}

static magpie_status take_word(classify_words *words, const char *word) {
    if (!*word) return magpie_fail(MAGPIE_E_ARGUMENT, "label %zu is empty", words->count + 1);
    for (size_t i = 0; i < words->count; i++)
        if (strcmp(words->names[i], word) == 0)
            return magpie_fail(MAGPIE_E_ARGUMENT, "label \"%s\" is there twice", word);
    if (words->count == WORDS_MAX) return magpie_fail(MAGPIE_E_TOO_LARGE, "more than %d labels", WORDS_MAX);
    words->names[words->count++] = word;
    return MAGPIE_OK;
}

magpie_status classify_words_parse(const char *list, classify_words *out) {
    *out = (classify_words){.memory = strdup(list)};
    out->names = magpie_alloc(WORDS_MAX, sizeof *out->names);
    if (!out->memory || !out->names) return magpie_fail(MAGPIE_E_NO_MEMORY, "out of memory");
    magpie_status status = magpie_utf8_check(magpie_string_of(list));
    for (char *word = out->memory, *next; word && status == MAGPIE_OK; word = next) {
        next = strchr(word, ',');
        if (next) *next++ = 0;
        status = take_word(out, trim(word));
    }
    if (status == MAGPIE_OK && out->count < 2)
        status = magpie_fail(MAGPIE_E_ARGUMENT, "two labels at least are wanted, with a comma between");
    return status;
}

void classify_words_free(classify_words *words) {
    free(words->memory);
    free(words->names);
    *words = (classify_words){0};
}

/* ---- compared ------------------------------------------------------------------------------------------ */

/* The names in the pattern, each ending with a NUL, in `text`; *sentences [count] is to be freed. */
static magpie_status fill_pattern(const classify_words *words, const char *pattern, magpie_text *text,
                                  magpie_string **sentences) {
    const char *place = strstr(pattern, "{}");
    *sentences = magpie_alloc(words->count, sizeof **sentences);
    if (!*sentences) return MAGPIE_E_NO_MEMORY;
    for (size_t i = 0; i < words->count; i++) {
        const size_t before = text->size;
        magpie_text_printf(text, "%.*s%s%s", (int)(place - pattern), pattern, words->names[i], place + 2);
        (*sentences)[i].size = text->size - before;
        magpie_text_append(text, "", 1);
    }
    const char *at = text->data; /* only now it stays where it is */
    for (size_t i = 0; i < words->count; at += (*sentences)[i++].size + 1) (*sentences)[i].data = at;
    return magpie_text_status(text);
}

static void softmax(double *scores, size_t n, float *out) {
    double most = -INFINITY, sum = 0;
    for (size_t i = 0; i < n; i++) most = fmax(most, scores[i]);
    for (size_t i = 0; i < n; i++) sum += scores[i] = exp(scores[i] - most);
    for (size_t i = 0; i < n; i++) out[i] = (float)(scores[i] / sum);
}

static magpie_status compare(const magpie_string *sentences, size_t n, magpie_text_encoder *encoder,
                             const magpie_fusion *fusion, const float *query, double temperature,
                             float *out) {
    const size_t input = magpie_text_encoder_get_info(encoder)->dimension;
    const size_t dimension = magpie_fusion_get_info(fusion)->dimension;
    float *features = magpie_alloc(n, input * sizeof *features);
    float *vectors = magpie_alloc(n, dimension * sizeof *vectors);
    double *scores = magpie_alloc(n, sizeof *scores);
    magpie_status status = features && vectors && scores ? MAGPIE_OK : MAGPIE_E_NO_MEMORY;
    if (status == MAGPIE_OK)
        status = magpie_text_encoder_encode(encoder, sentences, n, MAGPIE_PASSAGE, features);
    if (status == MAGPIE_OK) status = magpie_fusion_project(fusion, MAGPIE_TEXT, features, n, vectors);
    for (size_t i = 0; i < n && status == MAGPIE_OK; i++) {
        double score = 0;
        for (size_t t = 0; t < dimension; t++) score += (double)vectors[i * dimension + t] * (double)query[t];
        scores[i] = score / temperature;
    }
    if (status == MAGPIE_OK) softmax(scores, n, out);
    free(features);
    free(vectors);
    free(scores);
    return status;
}

magpie_status classify_words_compare(const classify_words *words, const char *pattern,
                                     magpie_text_encoder *encoder, const magpie_fusion *fusion,
                                     const float *query, double temperature, float *out) {
    magpie_text text = {0};
    magpie_string *sentences = NULL;
    magpie_status status = fill_pattern(words, pattern, &text, &sentences);
    if (status == MAGPIE_OK)
        status = compare(sentences, words->count, encoder, fusion, query, temperature, out);
    free(sentences);
    magpie_text_free(&text);
    return status;
}
