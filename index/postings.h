/* postings.h - attributes as keys of the inverted index. Private to index/.
 *
 * An item's attributes become a set of keys, and the table `postings` holds (key, row) for each of them. A
 * condition of a filter is then one key, or one range of keys, and its answer their rows.
 *
 * KEY = path, NUL, type (1 byte), value. A path joins the names of nested objects with '.'; arrays leave no
 * trace in it, so that a condition holds for an array if it holds for any element. No JSON string that we
 * accept holds a NUL.
 *     type 1  exists   no value: something is here that is not null. Objects have it too, at their own path
 *          2  boolean  1 byte
 *          3  number   a double: its bits big-endian, the sign flipped (all bits, where negative), so that the
 *                      order of keys is the order of numbers and a range is a run of keys. -0 is stored as 0
 *          4  string   its bytes, up to STRING_INLINE
 *          5  string   longer: its first STRING_PREFIX bytes and its XXH3-128
 * A path longer than PATH_INLINE is its first PATH_PREFIX bytes, 0xFF (in no UTF-8) and its XXH3-128, so that
 * every key fits into LMDB's 511 bytes, and no two paths share a key, short of a collision of 128 bits. */
#ifndef MAGPIE_POSTINGS_H
#define MAGPIE_POSTINGS_H

#include <jansson.h>

#include "index.h"

typedef enum magpie_posting_type {
    MAGPIE_POSTING_EXISTS = 1,
    MAGPIE_POSTING_BOOLEAN,
    MAGPIE_POSTING_NUMBER,
    MAGPIE_POSTING_STRING,
    MAGPIE_POSTING_LONG_STRING,
    MAGPIE_POSTING_TYPES_END
} magpie_posting_type;

enum { MAGPIE_POSTING_KEY_MAX = 511, MAGPIE_POSTING_CUT = 0xFF /* in a path: it goes on as a hash */ };

typedef struct magpie_posting_key {
    size_t size, path_size; /* path_size: with its NUL */
    unsigned char bytes[MAGPIE_POSTING_KEY_MAX];
} magpie_posting_key;

/* Begins a key with its path; then one of the next makes it whole, as often as wanted. */
void magpie_posting_path(magpie_posting_key *key, const char *path, size_t size);
void magpie_posting_bound(magpie_posting_key *key, magpie_posting_type type); /* the least key of a type */
void magpie_posting_boolean(magpie_posting_key *key, bool value);
void magpie_posting_number(magpie_posting_key *key, double value);
void magpie_posting_string(magpie_posting_key *key, const char *bytes, size_t size);
double
magpie_posting_read_number(const unsigned char bytes[8]); /* of a key: what magpie_posting_number wrote */
/* The key of a JSON string, number or boolean; false for any other. */
bool magpie_posting_scalar(magpie_posting_key *key, const json_t *value);

/* A set of keys, ascending as LMDB orders them, none twice. */
typedef struct magpie_posting_set {
    magpie_text bytes;
    struct magpie_posting_span {
        size_t at, size;
    } * keys; /* [count], into bytes */
    size_t count, capacity;
} magpie_posting_set;

/* The keys of `attributes`, a JSON object or empty. MAGPIE_E_INPUT where it is neither, or too deep. The
 * words do not name the item: the caller knows it. */
MAGPIE_CHECK_RESULT magpie_status magpie_posting_set_make(magpie_string attributes, magpie_posting_set *out);
/* By hand: add keys in any order, then sort, which also drops doubles. */
MAGPIE_CHECK_RESULT magpie_status magpie_posting_set_add(magpie_posting_set *set,
                                                         const magpie_posting_key *key);
void magpie_posting_set_sort(magpie_posting_set *set);
void magpie_posting_set_free(magpie_posting_set *set);
static inline magpie_string magpie_posting_set_key(const magpie_posting_set *set, size_t i) {
    return (magpie_string){set->bytes.data + set->keys[i].at, set->keys[i].size};
}
/* <0, 0, >0 as LMDB orders keys. */
int magpie_posting_compare(magpie_string a, magpie_string b);

/* Parses attributes: the object, to be freed with json_decref, or NULL (and MAGPIE_OK) for empty ones. All
 * numbers are reals, so that 1 and 1.0 are one value and no integer is too big. */
MAGPIE_CHECK_RESULT magpie_status magpie_attributes_parse(magpie_string attributes, json_t **out);

#endif
