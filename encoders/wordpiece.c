/* wordpiece.c - from a text to ids in one pass, on the stack.
 *
 * The published algorithm makes a new string of each step: cleaned, spaced, decomposed, lowered, split. Here
 * a word is collected while the text is read, and looked up when it ends. That gives the same ids because
 * every step looks at one character at a time, but for two things. NFD puts the marks that follow a letter in
 * order: a mark that is not stripped is sorted in among those before it as it arrives (put_mark). And [SEP]
 * in a text is the token, whatever stands around it: that is tried before the character is read (find_added).
 *
 * A word of more than word_characters is [UNK]: so the buffer of a word is of fixed size, and a megabyte
 * without a space costs no memory. Most text is ASCII: a table says for a byte what the whole way would. */
#include "wordpiece.h"
#include "characters.h"
#include "encoders.h"
#include "tokenizer_files.h"
#include "utf8.h"
#include "vocabulary.h"

#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

enum { JOINED_ON_STACK = 4096, BYTES = 256 };

struct wordpiece {
    tokenizer_settings settings;
    vocabulary vocabulary;
    int32_t unknown, classify, separate;
    size_t id_count;
    unsigned char kinds[128]; /* of ASCII, under these settings */
    char lowered[128];        /* likewise */
    bool begins_added[BYTES]; /* an added token begins with this byte */
};

/* A text on its way. */
struct run {
    const wordpiece *tokenizer;
    int32_t *ids;
    size_t count, limit;
    char word[WORD_CHARACTERS_MAX * UTF8_BYTES_MAX];
    size_t size, characters; /* of the word so far; characters past the limit are not counted */
    size_t settled;          /* bytes of it that no later mark is sorted in among */
};

/* ---- ids ---- */

static void emit(struct run *run, int32_t id) {
    if (run->count < run->limit) run->ids[run->count++] = id;
}

static bool is_full(const struct run *run) { return run->count == run->limit; }

/* The word's tokens, all of them or [UNK]: that it cannot be covered may show only at its end. */
static void emit_word(struct run *run) {
    const wordpiece *t = run->tokenizer;
    int32_t pieces[WORD_CHARACTERS_MAX];
    size_t n = 0, taken = 0;
    for (size_t at = 0; at < run->size; at += taken) {
        int32_t id = vocabulary_longest(&t->vocabulary, at > 0, run->word + at, run->size - at, &taken);
        if (id < 0) {
            emit(run, t->unknown);
            return;
        }
        pieces[n++] = id;
    }
    for (size_t i = 0; i < n; i++) emit(run, pieces[i]);
}

/* A word that has grown too long was emitted when that was seen: see put. */
static void end_word(struct run *run) {
    if (run->characters && run->characters <= run->tokenizer->settings.word_characters) emit_word(run);
    run->size = run->characters = run->settled = 0;
}

/* ---- characters ---- */

/* True while the word may grow. The first character too many makes it [UNK], at once: nothing after can
 * change that. */
static bool make_room(struct run *run) {
    size_t limit = run->tokenizer->settings.word_characters;
    if (run->characters < limit) return true;
    if (run->characters == limit) emit(run, run->tokenizer->unknown);
    run->characters = limit + 1;
    return false;
}

static void put(struct run *run, uint32_t c) {
    if (!make_room(run)) return;
    run->size += utf8_encode(c, run->word + run->size);
    run->settled = run->size;
    run->characters++;
}

static unsigned class_of(uint32_t c) { return character_combining_class(c, character_kind_of(c)); }

/* A mark of class `order` goes in front of the unsettled ones that are of a higher class. */
static void put_mark(struct run *run, uint32_t c, unsigned order) {
    char bytes[UTF8_BYTES_MAX];
    size_t size = utf8_encode(c, bytes), at = run->size, ignored;
    if (!make_room(run)) return;
    while (at > run->settled) {
        size_t before = at - 1;
        while (utf8_is_continuation(run->word[before])) before--;
        if (class_of(utf8_decode(run->word + before, &ignored)) <= order) break;
        at = before;
    }
    memmove(run->word + at + size, run->word + at, run->size - at);
    memcpy(run->word + at, bytes, size);
    run->size += size;
    run->characters++;
}

static void put_alone(struct run *run, uint32_t c) {
    end_word(run);
    put(run, c);
    end_word(run);
}

static void put_lowered(struct run *run, uint32_t c) {
    uint32_t lowered[LOWERED_MAX];
    size_t n = character_lower(c, lowered);
    for (size_t i = 0; i < n; i++) put(run, lowered[i]);
}

/* Ordering comes before stripping: a mark that is a starter held the others apart while it was there. */
static void strip_mark(struct run *run, uint32_t c) {
    if (run->settled < run->size && character_combining_class(c, CHARACTER_MARK) == 0)
        run->settled = run->size;
}

/* One code point after cleaning and decomposition. */
static void put_normal(struct run *run, uint32_t c) {
    const tokenizer_settings *settings = &run->tokenizer->settings;
    character_kind kind = character_kind_of(c);
    unsigned order;
    if (kind == CHARACTER_MARK && settings->strip_accents)
        strip_mark(run, c);
    else if (kind == CHARACTER_PUNCTUATION)
        put_alone(run, c);
    else if (settings->strip_accents && (order = character_combining_class(c, kind)))
        put_mark(run, c, order);
    else if (settings->lower_case)
        put_lowered(run, c);
    else
        put(run, c);
}

static void put_decomposed(struct run *run, uint32_t c) {
    uint32_t parts[DECOMPOSED_MAX] = {c};
    size_t n = run->tokenizer->settings.strip_accents ? character_decompose(c, parts) : 1;
    for (size_t i = 0; i < n; i++) put_normal(run, parts[i]);
}

/* One code point of the raw text. */
static void read_character(struct run *run, uint32_t c) {
    const tokenizer_settings *settings = &run->tokenizer->settings;
    character_kind kind = character_kind_of(c);
    if (kind == CHARACTER_CONTROL || kind == CHARACTER_BREAK) {
        if (settings->clean_text) return;
        kind = kind == CHARACTER_BREAK ? CHARACTER_SPACE : CHARACTER_LETTER;
    }
    bool alone = kind == CHARACTER_CHINESE && settings->split_chinese;
    if (kind == CHARACTER_SPACE || alone) end_word(run);
    if (kind != CHARACTER_SPACE) put_decomposed(run, c);
    if (alone) end_word(run);
}

/* The same for ASCII, out of the tables. */
static void read_ascii(struct run *run, unsigned char c) {
    const wordpiece *t = run->tokenizer;
    switch (t->kinds[c]) {
    case CHARACTER_CONTROL: return;
    case CHARACTER_SPACE: end_word(run); return;
    case CHARACTER_PUNCTUATION: put_alone(run, c); return;
    default: put(run, (unsigned char)t->lowered[c]);
    }
}

/* The longest added token that the text goes on with; NULL: none. */
static const added_token *find_added(const wordpiece *t, const char *at, const char *end) {
    const added_token *longest = NULL;
    for (size_t i = 0; i < t->settings.added_count; i++) {
        const added_token *added = &t->settings.added[i];
        if (added->id < 0 || added->text.size > (size_t)(end - at)) continue;
        if (memcmp(at, added->text.data, added->text.size) != 0) continue;
        if (!longest || added->text.size > longest->text.size) longest = added;
    }
    return longest;
}

static void read_text(struct run *run, const char *at, const char *end) {
    const wordpiece *t = run->tokenizer;
    while (at < end && !is_full(run)) {
        unsigned char c = (unsigned char)*at;
        const added_token *added = t->begins_added[c] ? find_added(t, at, end) : NULL;
        size_t size = 1;
        if (added) {
            end_word(run);
            emit(run, added->id);
            size = added->text.size;
        } else if (c < 0x80) {
            read_ascii(run, c);
        } else {
            read_character(run, utf8_decode(at, &size));
        }
        at += size;
    }
    end_word(run);
}

/* ---- encoding ---- */

static void encode(const wordpiece *t, const char *text, size_t size, size_t max_ids, int32_t *ids,
                   size_t *count) {
    struct run run;
    run.tokenizer = t;
    run.ids = ids;
    run.count = run.size = run.characters = run.settled = 0;
    run.limit = max_ids - 1;
    emit(&run, t->classify);
    if (size) read_text(&run, text, text + size);
    ids[run.count] = t->separate;
    *count = run.count + 1;
}

/* A token or a run of marks may reach over the seam, so prefix and text are read as one. */
static magpie_status encode_joined(const wordpiece *t, magpie_string prefix, magpie_string text,
                                   size_t max_ids, int32_t *ids, size_t *count) {
    char stack[JOINED_ON_STACK], *joined = stack;
    size_t size;
    if (!magpie_size_add(prefix.size, text.size, &size))
        return magpie_fail(MAGPIE_E_TOO_LARGE, "prefix and text");
    if (size > sizeof stack && !(joined = malloc(size)))
        return magpie_fail(MAGPIE_E_NO_MEMORY, "out of memory for a text of %zu bytes", size);
    memcpy(joined, prefix.data, prefix.size);
    if (text.size) memcpy(joined + prefix.size, text.data, text.size);
    encode(t, joined, size, max_ids, ids, count);
    if (joined != stack) free(joined);
    return MAGPIE_OK;
}

magpie_status wordpiece_encode(const wordpiece *tokenizer, magpie_string prefix, magpie_string text,
                               size_t max_ids, int32_t *ids, size_t *count) {
    if (max_ids < 2)
        return magpie_fail(MAGPIE_E_ARGUMENT, "room for %zu ids; [CLS] and [SEP] need 2", max_ids);
    magpie_status status = magpie_utf8_check(prefix);
    if (status != MAGPIE_OK) return magpie_fail(status, "prefix: %s", magpie_error());
    status = magpie_utf8_check(text);
    if (status != MAGPIE_OK) return status;
    if (prefix.size) return encode_joined(tokenizer, prefix, text, max_ids, ids, count);
    encode(tokenizer, text.data, text.size, max_ids, ids, count);
    return MAGPIE_OK;
}

/* ---- opening ---- */

static void fill_tables(wordpiece *t) {
    for (uint32_t c = 0; c < 128; c++) {
        uint32_t lowered[LOWERED_MAX];
        character_kind kind = character_kind_of(c);
        if (!t->settings.clean_text && kind == CHARACTER_BREAK) kind = CHARACTER_SPACE;
        if (!t->settings.clean_text && kind == CHARACTER_CONTROL) kind = CHARACTER_LETTER;
        t->kinds[c] = (unsigned char)(kind == CHARACTER_BREAK ? CHARACTER_CONTROL : kind);
        (void)character_lower(c, lowered);
        t->lowered[c] = (char)(t->settings.lower_case ? lowered[0] : c);
    }
    for (size_t i = 0; i < t->settings.added_count; i++)
        t->begins_added[(unsigned char)t->settings.added[i].text.data[0]] = true;
}

/* The vocabulary and tokenizer.json may both number a token; an added token may also stand outside of the
 * vocabulary. A special token that is in neither (a model without [MASK]) keeps -1 and is not looked for. */
static magpie_status number_added(wordpiece *t) {
    const char *from = t->settings.json_path ? t->settings.json_path : "tokenizer_config.json";
    t->id_count = t->vocabulary.count;
    for (size_t i = 0; i < t->settings.added_count; i++) {
        added_token *added = &t->settings.added[i];
        int32_t id = vocabulary_find(&t->vocabulary, added->text);
        if (id >= 0 && added->id >= 0 && added->id != id)
            return magpie_fail(MAGPIE_E_CORRUPT, "%s: token \"%s\" has id %d there and %d in the vocabulary",
                               from, added->text.data, (int)added->id, (int)id);
        if (id >= 0) added->id = id;
        if (added->id >= VOCABULARY_MAX)
            return magpie_fail(MAGPIE_E_TOO_LARGE, "%s: token \"%s\" has id %d; they end below %d", from,
                               added->text.data, (int)added->id, VOCABULARY_MAX);
        if (added->id >= (int64_t)t->id_count) t->id_count = (size_t)added->id + 1;
    }
    return MAGPIE_OK;
}

static magpie_status find_special(const wordpiece *t, const char *directory, const char *name, int32_t *out) {
    magpie_string token = {name, strlen(name)};
    *out = vocabulary_find(&t->vocabulary, token);
    for (size_t i = 0; *out < 0 && i < t->settings.added_count; i++)
        if (strcmp(t->settings.added[i].text.data, name) == 0) *out = t->settings.added[i].id;
    if (*out >= 0) return MAGPIE_OK;
    return magpie_fail(MAGPIE_E_CORRUPT, "%s: the vocabulary has no token \"%s\"", directory, name);
}

static magpie_status read_vocabulary(wordpiece *t, const char *directory) {
    const tokenizer_settings *settings = &t->settings;
    magpie_status status;
    char *path = magpie_path_join(directory, "vocab.txt");
    if (!path) return MAGPIE_E_NO_MEMORY;
    if (magpie_path_exists(path))
        status = vocabulary_read_lines(path, settings->continuing, &t->vocabulary);
    else if (settings->json_vocabulary.size)
        status = vocabulary_read_json(settings->json_path, settings->json_vocabulary, settings->continuing,
                                      &t->vocabulary);
    else
        status =
            magpie_fail(MAGPIE_E_NOT_FOUND,
                        "%s: there is neither vocab.txt nor a tokenizer.json with a vocabulary", directory);
    free(path);
    return status;
}

magpie_status wordpiece_open(const char *directory, wordpiece **out) {
    wordpiece *t = magpie_alloc(1, sizeof *t);
    if (!t) return MAGPIE_E_NO_MEMORY;
    magpie_status status = tokenizer_settings_read(directory, &t->settings);
    if (status == MAGPIE_OK) status = read_vocabulary(t, directory);
    if (status == MAGPIE_OK) status = number_added(t);
    if (status == MAGPIE_OK) status = find_special(t, directory, t->settings.unknown, &t->unknown);
    if (status == MAGPIE_OK) status = find_special(t, directory, t->settings.classify, &t->classify);
    if (status == MAGPIE_OK) status = find_special(t, directory, t->settings.separate, &t->separate);
    if (status != MAGPIE_OK) {
        wordpiece_close(t);
        return status;
    }
    magpie_map_close(&t->settings.json);
    fill_tables(t);
    *out = t;
    return MAGPIE_OK;
}

void wordpiece_close(wordpiece *tokenizer) {
    if (!tokenizer) return;
    vocabulary_free(&tokenizer->vocabulary);
    tokenizer_settings_free(&tokenizer->settings);
    free(tokenizer);
}

size_t wordpiece_vocabulary_size(const wordpiece *tokenizer) { return tokenizer->id_count; }

static void hash_string(XXH3_state_t *state, const char *data, size_t size) {
    uint64_t length = size;
    XXH3_64bits_update(state, &length, sizeof length);
    XXH3_64bits_update(state, data, size);
}

uint64_t wordpiece_fingerprint(const wordpiece *tokenizer) {
    const tokenizer_settings *s = &tokenizer->settings;
    const vocabulary *v = &tokenizer->vocabulary;
    uint64_t numbers[] = {s->clean_text,
                          s->split_chinese,
                          s->strip_accents,
                          s->lower_case,
                          s->word_characters,
                          tokenizer->unknown,
                          tokenizer->classify,
                          tokenizer->separate,
                          s->added_count,
                          tokenizer->id_count,
                          v->count};
    XXH3_state_t state;
    XXH3_64bits_reset(&state);
    XXH3_64bits_update(&state, numbers, sizeof numbers);
    hash_string(&state, s->continuing, strlen(s->continuing));
    for (size_t i = 0; i < s->added_count; i++) {
        XXH3_64bits_update(&state, &s->added[i].id, sizeof s->added[i].id);
        hash_string(&state, s->added[i].text.data, s->added[i].text.size);
    }
    XXH3_64bits_update(&state, v->offsets, (v->count + 1) * sizeof *v->offsets);
    XXH3_64bits_update(&state, v->bytes, v->offsets[v->count]);
    return XXH3_64bits_digest(&state);
}
