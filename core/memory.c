/* memory.c - checked sizes, one-block allocation, and the growing string. */
#include "core.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { ALIGNMENT = 64 };

bool magpie_size_mul(size_t a, size_t b, size_t *out) {
    size_t product;
    if (__builtin_mul_overflow(a, b, &product)) return false;
    *out = product;
    return true;
}

bool magpie_size_add(size_t a, size_t b, size_t *out) {
    size_t sum;
    if (__builtin_add_overflow(a, b, &sum)) return false;
    *out = sum;
    return true;
}

enum { HUGE_PAGE = 2 << 20 };

static bool round_up(size_t size, size_t unit, size_t *out) {
    if (!magpie_size_add(size, unit - 1, out)) return false;
    *out &= ~(unit - 1);
    return true;
}

/* Whole multiples of `alignment`, one at least. */
static void *alloc_aligned(size_t count, size_t size, size_t alignment, size_t *bytes) {
    if (!magpie_size_mul(count, size, bytes) || !round_up(*bytes ? *bytes : 1, alignment, bytes)) {
        (void)magpie_fail(MAGPIE_E_NO_MEMORY, "%zu x %zu bytes is more than an address can reach", count,
                          size);
        return NULL;
    }
    void *memory = aligned_alloc(alignment, *bytes);
    if (!memory) (void)magpie_fail(MAGPIE_E_NO_MEMORY, "out of memory for %zu bytes", *bytes);
    return memory;
}

void *magpie_alloc(size_t count, size_t size) {
    size_t bytes;
    void *memory = alloc_aligned(count, size, ALIGNMENT, &bytes);
    return memory ? memset(memory, 0, bytes) : NULL;
}

void *magpie_alloc_large(size_t count, size_t size) {
    size_t bytes;
    void *memory = alloc_aligned(count, size, HUGE_PAGE, &bytes);
    if (memory) (void)madvise(memory, bytes, MADV_HUGEPAGE); /* a wish: without it, it is slower */
    return memory;
}

magpie_status magpie_grow(void **array, size_t *capacity, size_t need, size_t size) {
    if (need <= *capacity) return MAGPIE_OK;
    size_t wanted = *capacity <= SIZE_MAX / 2 && *capacity * 2 > need ? *capacity * 2 : need, bytes;
    if (wanted < 16) wanted = 16;
    void *grown = magpie_size_mul(wanted, size, &bytes) ? realloc(*array, bytes) : NULL;
    if (!grown) return magpie_fail(MAGPIE_E_NO_MEMORY, "out of memory for %zu x %zu bytes", wanted, size);
    *array = grown;
    *capacity = wanted;
    return MAGPIE_OK;
}

void *magpie_carve(magpie_block *block, size_t count, size_t size) {
    size_t bytes, end;
    if (block->used == SIZE_MAX || !magpie_size_mul(count, size, &bytes) ||
        !round_up(bytes, ALIGNMENT, &bytes) || !magpie_size_add(block->used, bytes, &end)) {
        block->used = SIZE_MAX;
        return NULL;
    }
    void *piece = block->base ? block->base + block->used : NULL;
    block->used = end;
    return piece;
}

magpie_status magpie_block_alloc(magpie_block *block) {
    if (block->used == SIZE_MAX)
        return magpie_fail(MAGPIE_E_NO_MEMORY, "sizes add up to more than an address can reach");
    /* Buffers of megabytes are walked through in every direction: 2% of the training of heads. */
    bool large = block->used >= HUGE_PAGE;
    block->base = large ? magpie_alloc_large(block->used, 1) : magpie_alloc(block->used, 1);
    if (!block->base) return MAGPIE_E_NO_MEMORY;
    if (large) memset(block->base, 0, block->used);
    block->size = block->used;
    block->used = 0;
    return MAGPIE_OK;
}

void magpie_block_free(magpie_block *block) {
    free(block->base);
    *block = (magpie_block){0};
}

static bool text_reserve(magpie_text *text, size_t more) {
    size_t need;
    if (text->failed) return false;
    if (!magpie_size_add(text->size, more, &need) || !magpie_size_add(need, 1, &need) ||
        magpie_grow((void **)&text->data, &text->capacity, need, 1) != MAGPIE_OK)
        text->failed = true;
    return !text->failed;
}

magpie_string magpie_string_of(const char *text) { return (magpie_string){text, strlen(text)}; }

void magpie_text_append(magpie_text *text, const void *bytes, size_t size) {
    if (!text_reserve(text, size)) return;
    if (size) memcpy(text->data + text->size, bytes, size);
    text->size += size;
    text->data[text->size] = 0;
}

void magpie_text_printf(magpie_text *text, const char *format, ...) {
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int n = vsnprintf(NULL, 0, format, arguments);
    if (n >= 0 && text_reserve(text, (size_t)n)) {
        (void)vsnprintf(text->data + text->size, (size_t)n + 1, format, again);
        text->size += (size_t)n;
    }
    va_end(again);
    va_end(arguments);
}

/* Bytes of the character at s, of which `left` are there; 0: it is no UTF-8. */
static size_t character_size(const unsigned char *s, size_t left) {
    const size_t size = s[0] < 0x80 ? 1 : s[0] >= 0xF0 ? 4 : s[0] >= 0xE0 ? 3 : 2;
    if (s[0] >= 0x80 && (s[0] < 0xC2 || s[0] > 0xF4)) return 0;
    if (size > left) return 0;
    for (size_t i = 1; i < size; i++)
        if ((s[i] & 0xC0) != 0x80) return 0;
    const bool overlong = (s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xF0 && s[1] < 0x90);
    const bool surrogate = s[0] == 0xED && s[1] > 0x9F, beyond = s[0] == 0xF4 && s[1] > 0x8F;
    return overlong || surrogate || beyond ? 0 : size;
}

void magpie_text_json_string(magpie_text *text, const char *bytes, size_t size) {
    magpie_text_append(text, "\"", 1);
    size_t plain = 0;
    for (size_t i = 0, step; i < size; i += step) {
        unsigned char c = (unsigned char)bytes[i];
        step = c < 0x80 ? 1 : character_size((const unsigned char *)bytes + i, size - i);
        if (c >= 0x20 && c != '"' && c != '\\' && step) continue;
        magpie_text_append(text, bytes + plain, i - plain);
        plain = i + 1;
        if (!step) {
            magpie_text_append(text, "\xEF\xBF\xBD", 3);
            step = 1;
            continue;
        }
        const char *short_form = c == '"'    ? "\\\""
                                 : c == '\\' ? "\\\\"
                                 : c == '\n' ? "\\n"
                                 : c == '\t' ? "\\t"
                                 : c == '\r' ? "\\r"
                                             : NULL;
        if (short_form)
            magpie_text_append(text, short_form, 2);
        else
            magpie_text_printf(text, "\\u%04x", c);
    }
    magpie_text_append(text, bytes + plain, size - plain);
    magpie_text_append(text, "\"", 1);
}

void magpie_text_clear(magpie_text *text) {
    text->size = 0;
    text->failed = false;
    if (text->data) text->data[0] = 0;
}

magpie_status magpie_text_status(const magpie_text *text) {
    return text->failed ? magpie_fail(MAGPIE_E_NO_MEMORY, "out of memory for a text of %zu bytes", text->size)
                        : MAGPIE_OK;
}

void magpie_text_free(magpie_text *text) {
    free(text->data);
    *text = (magpie_text){0};
}
