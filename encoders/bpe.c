/* bpe.c - from a text to ids: find special tokens, normalise, split, merge.
 *
 * A text is normalised into one string before it is split, since a piece may reach over anything but white
 * space. But each word makes one id at the least: after as many words as there is room for ids, the rest of a
 * text is not looked at, and a page costs what its first words cost.
 *
 * Merging is the textbook's: all pairs that merge are in a heap by rank and place; the first is merged, and
 * the two pairs that this makes go in. An entry whose pair is gone is passed over when it comes up. */
#include "bpe.h"
#include "bpe_files.h"
#include "characters.h"
#include "encoders.h"
#include "nfc.h"
#include "utf8.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

enum { WORD_ON_STACK = 64 }; /* bytes; longer words are rare */

struct bpe {
    bpe_tables tables;
    size_t id_count;
};

/* A text on its way. */
struct run {
    const bpe_tables *tables;
    int32_t *ids;
    size_t count, limit;
    magpie_text normal; /* composed, lowered, each run of white space one space */
    nfc_points points;
    magpie_status status; /* of the first failure */
};

static bool is_over(const struct run *run) { return run->count == run->limit || run->status != MAGPIE_OK; }

static void emit(struct run *run, int32_t id) {
    if (run->count < run->limit) run->ids[run->count++] = id;
}

/* ---- merging ---- */

struct symbol {
    int32_t id; /* -1: merged into the one in front */
    uint32_t previous, next;
};

static const uint32_t NOWHERE = UINT32_MAX;

struct candidate {
    uint32_t rank, left; /* left: place of the left symbol */
    int32_t merged;
};

struct word {
    const bpe_tables *tables;
    struct symbol *symbols; /* [size] */
    size_t size;
    struct candidate *heap; /* [2 size]: a merge takes one off and puts two in at the most */
    size_t waiting;
};

static bool before(const struct candidate *a, const struct candidate *b) {
    return a->rank != b->rank ? a->rank < b->rank : a->left < b->left;
}

static void push(struct word *word, struct candidate candidate) {
    size_t i = word->waiting++;
    for (; i && before(&candidate, &word->heap[(i - 1) / 2]); i = (i - 1) / 2)
        word->heap[i] = word->heap[(i - 1) / 2];
    word->heap[i] = candidate;
}

static struct candidate pop(struct word *word) {
    struct candidate first = word->heap[0], moved = word->heap[--word->waiting];
    size_t i = 0, child;
    while ((child = 2 * i + 1) < word->waiting) {
        if (child + 1 < word->waiting && before(&word->heap[child + 1], &word->heap[child])) child++;
        if (!before(&word->heap[child], &moved)) break;
        word->heap[i] = word->heap[child];
        i = child;
    }
    word->heap[i] = moved;
    return first;
}

/* Puts the pair that begins at `left` in, if it merges. */
static void consider(struct word *word, uint32_t left) {
    if (left == NOWHERE || word->symbols[left].next == NOWHERE) return;
    const struct symbol *first = &word->symbols[left];
    const bpe_merge *merge = bpe_find_merge(word->tables, first->id, word->symbols[first->next].id);
    if (merge) push(word, (struct candidate){merge->rank, left, merge->merged});
}

/* Whether the pair is still the one that went in: an id spells its bytes, so what would merge to the same is
 * the same.
 */
static bool still_there(const struct word *word, const struct candidate *candidate) {
    const struct symbol *left = &word->symbols[candidate->left];
    if (left->id < 0 || left->next == NOWHERE) return false;
    const bpe_merge *merge = bpe_find_merge(word->tables, left->id, word->symbols[left->next].id);
    return merge && merge->merged == candidate->merged;
}

static void merge_word(struct word *word) {
    for (uint32_t i = 0; i < word->size; i++) consider(word, i);
    while (word->waiting) {
        struct candidate best = pop(word);
        if (!still_there(word, &best)) continue;
        struct symbol *left = &word->symbols[best.left], *right = &word->symbols[left->next];
        left->id = best.merged;
        left->next = right->next;
        right->id = -1;
        if (left->next != NOWHERE) word->symbols[left->next].previous = best.left;
        consider(word, left->previous);
        consider(word, best.left);
    }
}

static void emit_merged(struct run *run, const char *bytes, size_t size, struct symbol *symbols,
                        struct candidate *heap) {
    struct word word = {.tables = run->tables, .symbols = symbols, .size = size, .heap = heap};
    for (uint32_t i = 0; i < size; i++) {
        unsigned char byte = (unsigned char)bytes[i];
        bool last = i + 1 == size;
        symbols[i] = (struct symbol){last ? run->tables->last[byte] : run->tables->bytes[byte],
                                     i ? i - 1 : NOWHERE, last ? NOWHERE : i + 1};
    }
    merge_word(&word);
    for (uint32_t i = 0; i != NOWHERE && !is_over(run); i = symbols[i].next) emit(run, symbols[i].id);
}

static void emit_word(struct run *run, const char *bytes, size_t size) {
    struct symbol symbols[WORD_ON_STACK];
    struct candidate heap[2 * WORD_ON_STACK];
    if (is_over(run)) return;
    if (size <= WORD_ON_STACK) {
        emit_merged(run, bytes, size, symbols, heap);
        return;
    }
    struct symbol *many = malloc(size * sizeof *many);
    struct candidate *large = malloc(2 * size * sizeof *large);
    if (many && large)
        emit_merged(run, bytes, size, many, large);
    else
        run->status = magpie_fail(MAGPIE_E_NO_MEMORY, "out of memory for a word of %zu bytes", size);
    free(large);
    free(many);
}

/* ---- splitting ---- */

typedef enum kind { SPACE, LETTER, DIGIT, OTHER } kind;

static bool is_white(uint32_t c) {
    return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
           c == 0x3000;
}

static kind kind_of(uint32_t c) {
    if (is_white(c)) return SPACE;
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);
    if (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO) return LETTER;
    return category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO ? DIGIT : OTHER;
}

/* Bytes of the piece's end that an apostrophe begins, at `at`: 's, 're and the like; 0: none. */
static size_t contraction(const char *at, const char *end) {
    static const char *const endings[] = {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        size_t size = strlen(endings[i]);
        if (size <= (size_t)(end - at) && memcmp(at, endings[i], size) == 0) return size;
    }
    return 0;
}

/* Bytes of a special token's spelling at `at`; 0: there is none. */
static size_t special_piece(const char *at, const char *end) {
    static const char *const names[] = {"<|startoftext|>", "<|endoftext|>"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t size = strlen(names[i]);
        if (size <= (size_t)(end - at) && memcmp(at, names[i], size) == 0) return size;
    }
    return 0;
}

/* Bytes of the piece at `at`, which is not white space. */
static size_t piece_size(const char *at, const char *end) {
    size_t taken, size = *at == '\'' ? contraction(at, end) : 0;
    if (size) return size;
    kind first = kind_of(utf8_decode(at, &taken));
    do size += taken;
    while (first != DIGIT && at + size < end && kind_of(utf8_decode(at + size, &taken)) == first);
    return size;
}

static void split(struct run *run, const char *at, const char *end) {
    while (at < end && !is_over(run)) {
        size_t size = *at == '<' && run->tables->special_pieces ? special_piece(at, end) : 0;
        if (*at == ' ') {
            at++;
        } else if (size) { /* "<|", name, "|>": upstream splits a piece once more, by GPT-2's rules */
            emit_word(run, at, 2);
            emit_word(run, at + 2, size - 4);
            emit_word(run, at + size - 2, 2);
            at += size;
        } else {
            size = piece_size(at, end);
            emit_word(run, at, size);
            at += size;
        }
    }
}

/* ---- normalising ---- */

/* One code point after composing. Returns whether it ended a word. */
static bool put(struct run *run, uint32_t c) {
    magpie_text *normal = &run->normal;
    uint32_t lowered[LOWERED_MAX];
    char bytes[LOWERED_MAX * UTF8_BYTES_MAX];
    size_t size = 0;
    if (is_white(c)) {
        if (normal->size && normal->data[normal->size - 1] == ' ') return false;
        magpie_text_append(normal, " ", 1);
        return true;
    }
    if (c < 0x80) {
        bytes[size++] = (char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
    } else {
        size_t n = character_lower(c, lowered);
        for (size_t i = 0; i < n; i++) size += utf8_encode(lowered[i], bytes + size);
    }
    magpie_text_append(normal, bytes, size);
    return false;
}

static size_t put_plain(struct run *run, magpie_string text) {
    size_t taken, words = 0;
    for (size_t at = 0; at < text.size && words <= run->limit; at += taken)
        words += put(run, utf8_decode(text.data + at, &taken));
    return words;
}

static size_t put_composed(struct run *run, magpie_string text) {
    size_t words = 0;
    run->status = nfc_compose(text, &run->points);
    for (size_t i = 0; run->status == MAGPIE_OK && i < run->points.size; i++)
        words += put(run, nfc_point(run->points.points[i]));
    return words;
}

/* Fills run->normal with as many words of `text` as there may be ids, and one more for white space in front.
 */
static void normalise(struct run *run, magpie_string text) {
    size_t words = 0;
    magpie_text_clear(&run->normal);
    while (text.size && words <= run->limit && run->status == MAGPIE_OK) {
        bool plain;
        magpie_string segment = {text.data, nfc_segment(text, &plain)};
        words += plain ? put_plain(run, segment) : put_composed(run, segment);
        text = (magpie_string){text.data + segment.size, text.size - segment.size};
    }
    if (run->status == MAGPIE_OK) run->status = magpie_text_status(&run->normal);
}

/* ---- added tokens ---- */

/* The longest added token of that kind that the text goes on with; NULL: none. */
static const bpe_added *added_at(const bpe_tables *t, bool normalized, const char *at, const char *end) {
    const bpe_added *longest = NULL;
    for (size_t i = 0; i < t->added_count; i++) {
        const bpe_added *added = &t->added[i];
        if (added->normalized != normalized || added->text.size > (size_t)(end - at)) continue;
        if (*at != *added->text.data || memcmp(at, added->text.data, added->text.size) != 0) continue;
        if (!longest || added->text.size > longest->text.size) longest = added;
    }
    return longest;
}

static void read_normal(struct run *run, magpie_string text);

/* Parts a text at its added tokens: once as it came, and what is between them once more when it is normal. */
static void read_text(struct run *run, magpie_string text, bool normalized) {
    const char *at = text.data, *from = at, *end = at + text.size;
    while (at < end && !is_over(run)) {
        const bpe_added *added = added_at(run->tables, normalized, at, end);
        if (!added) {
            at++;
            continue;
        }
        if (normalized)
            split(run, from, at);
        else
            read_normal(run, (magpie_string){from, (size_t)(at - from)});
        emit(run, added->id);
        from = at += added->text.size;
    }
    if (is_over(run) || from == end) return;
    if (normalized)
        split(run, from, end);
    else
        read_normal(run, (magpie_string){from, (size_t)(end - from)});
}

static void read_normal(struct run *run, magpie_string text) {
    normalise(run, text);
    if (run->status == MAGPIE_OK && run->normal.size)
        read_text(run, (magpie_string){run->normal.data, run->normal.size}, true);
}

/* ---- encoding ---- */

static magpie_status encode(const bpe *t, magpie_string text, size_t max_ids, int32_t *ids, size_t *count) {
    struct run run = {.tables = &t->tables, .ids = ids, .limit = max_ids - 1};
    emit(&run, t->tables.begin);
    if (text.size) read_text(&run, text, false);
    magpie_text_free(&run.normal);
    nfc_free(&run.points);
    ids[run.count] = t->tables.end;
    *count = run.count + 1;
    return run.status;
}

magpie_status bpe_encode(const bpe *t, magpie_string prefix, magpie_string text, size_t max_ids, int32_t *ids,
                         size_t *count) {
    if (max_ids < 2) return magpie_fail(MAGPIE_E_ARGUMENT, "room for %zu ids; the two ends need 2", max_ids);
    magpie_status status = magpie_utf8_check(prefix);
    if (status != MAGPIE_OK) return magpie_fail(status, "prefix: %s", magpie_error());
    status = magpie_utf8_check(text);
    if (status != MAGPIE_OK) return status;
    if (!prefix.size) return encode(t, text, max_ids, ids, count);
    magpie_text joined = {0};
    magpie_text_append(&joined, prefix.data, prefix.size);
    magpie_text_append(&joined, text.data, text.size);
    status = magpie_text_status(&joined);
    if (status == MAGPIE_OK)
        status = encode(t, (magpie_string){joined.data, joined.size}, max_ids, ids, count);
    magpie_text_free(&joined);
    return status;
}

/* ---- opening ---- */

magpie_status bpe_open(const char *directory, bpe **out) {
    bpe *t = magpie_alloc(1, sizeof *t);
    if (!t) return MAGPIE_E_NO_MEMORY;
    magpie_status status = bpe_tables_read(directory, &t->tables);
    if (status != MAGPIE_OK) {
        bpe_close(t);
        return status;
    }
    t->id_count = t->tables.vocabulary.count;
    for (size_t i = 0; i < t->tables.added_count; i++)
        if ((size_t)t->tables.added[i].id >= t->id_count) t->id_count = (size_t)t->tables.added[i].id + 1;
    *out = t;
    return MAGPIE_OK;
}

void bpe_close(bpe *tokenizer) {
    if (!tokenizer) return;
    bpe_tables_free(&tokenizer->tables);
    free(tokenizer);
}

size_t bpe_vocabulary_size(const bpe *tokenizer) { return tokenizer->id_count; }
