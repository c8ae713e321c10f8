/* record.c - items to bytes and back (see record.h for the format). */
#include "record.h"

#include <endian.h>
#include <string.h>
#include <xxhash.h>

enum {
    VERSION = 2,
    CHECKSUM_AT = 8,
    NUMBERS_AT = 16,
    HASHES_AT = 64,
    HASHES = 4,
    HASHES_OF_VERSION_1 = 2,
    SIZES_AT = HASHES_AT + 8 * HASHES,
    SIZES_BYTES = 24, /* a word of zeros among them: strings begin at a multiple of 8 */
    STRINGS_AT = SIZES_AT + SIZES_BYTES,
    NUMBERS = 6,
    STRINGS = 5
};

_Static_assert(HASHES == (int)MAGPIE_SPACES, "another number of spaces is another version of the record");

static void put_u32(unsigned char *at, uint32_t value) {
    value = htole32(value);
    memcpy(at, &value, sizeof value);
}

static void put_u64(unsigned char *at, uint64_t value) {
    value = htole64(value);
    memcpy(at, &value, sizeof value);
}

static uint32_t get_u32(const unsigned char *at) {
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return le32toh(value);
}

static uint64_t get_u64(const unsigned char *at) {
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return le64toh(value);
}

size_t magpie_record_size(const magpie_item *item) {
    const magpie_string strings[STRINGS] = {item->text, item->image, item->audio, item->attributes,
                                            item->problems};
    size_t size = STRINGS_AT;
    for (unsigned i = 0; i < STRINGS; i++)
        if (strings[i].size > UINT32_MAX || !magpie_size_add(size, strings[i].size, &size)) return SIZE_MAX;
    return size;
}

void magpie_record_write(const magpie_item *item, unsigned char *bytes) {
    const magpie_string strings[STRINGS] = {item->text, item->image, item->audio, item->attributes,
                                            item->problems};
    const uint64_t numbers[NUMBERS] = {item->row,
                                       item->sequence,
                                       (uint64_t)item->timestamp,
                                       (uint64_t)item->updated,
                                       item->content_hash[0],
                                       item->content_hash[1]};
    unsigned char *end = bytes + STRINGS_AT;
    memset(bytes, 0, STRINGS_AT);
    put_u32(bytes, VERSION);
    for (unsigned i = 0; i < NUMBERS; i++) put_u64(bytes + NUMBERS_AT + 8 * i, numbers[i]);
    for (unsigned i = 0; i < HASHES; i++) put_u64(bytes + HASHES_AT + 8 * i, item->encoded_hash[i]);
    for (unsigned i = 0; i < STRINGS; i++) {
        put_u32(bytes + SIZES_AT + 4 * i, (uint32_t)strings[i].size);
        if (strings[i].size) memcpy(end, strings[i].data, strings[i].size);
        end += strings[i].size;
    }
    put_u64(bytes + CHECKSUM_AT, XXH3_64bits(bytes + NUMBERS_AT, (size_t)(end - bytes) - NUMBERS_AT));
}

static magpie_status corrupt(magpie_string id, const char *why) {
    return magpie_fail(MAGPIE_E_CORRUPT, "the record of item \"%.*s\" is damaged: %s", (int)id.size, id.data,
                       why);
}

magpie_status magpie_record_read(const void *data, size_t size, magpie_string id, magpie_item *out) {
    const unsigned char *bytes = data;
    bool old = size >= 4 && get_u32(bytes) == 1;
    size_t sizes_at = old ? HASHES_AT + 8 * HASHES_OF_VERSION_1 : SIZES_AT, at = sizes_at + SIZES_BYTES;
    if (size < at) return corrupt(id, "it is too short");
    if (!old && get_u32(bytes) != VERSION) return corrupt(id, "its version is neither 1 nor 2");
    if (get_u64(bytes + CHECKSUM_AT) != XXH3_64bits(bytes + NUMBERS_AT, size - NUMBERS_AT))
        return corrupt(id, "its checksum is wrong");
    magpie_string strings[STRINGS];
    for (unsigned i = 0; i < STRINGS; i++) {
        strings[i] = (magpie_string){(const char *)bytes + at, get_u32(bytes + sizes_at + 4 * i)};
        if (strings[i].size > size - at) return corrupt(id, "its parts are longer than it is");
        at += strings[i].size;
    }
    if (at != size) return corrupt(id, "it is longer than its parts");
    const unsigned char *numbers = bytes + NUMBERS_AT;
    *out = (magpie_item){
        .id = id,
        .text = strings[0],
        .image = strings[1],
        .audio = strings[2],
        .attributes = strings[3],
        .problems = strings[4],
        .row = get_u64(numbers),
        .sequence = get_u64(numbers + 8),
        .timestamp = (int64_t)get_u64(numbers + 16),
        .updated = (int64_t)get_u64(numbers + 24),
        .content_hash = {get_u64(numbers + 32), get_u64(numbers + 40)},
    };
    if (old)
        out->encoded_hash[MAGPIE_SPACE_FUSED] = out->encoded_hash[MAGPIE_SPACE_TEXT] =
            get_u64(bytes + HASHES_AT);
    else
        for (unsigned i = 0; i < HASHES; i++) out->encoded_hash[i] = get_u64(bytes + HASHES_AT + 8 * i);
    return MAGPIE_OK;
}
