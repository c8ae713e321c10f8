/* posting_rows.h - the rows of one posting, as LMDB gives them out: ascending, a page at a time. Private to
 * index/. */
#ifndef MAGPIE_POSTING_ROWS_H
#define MAGPIE_POSTING_ROWS_H

#include <string.h>

#include "store.h"

/* Ascending rows, and how far a walk over a posting has come in them. */
typedef struct magpie_row_walk {
    const uint64_t *rows; /* [n] */
    size_t n, at;
} magpie_row_walk;

/* Moves on, by galloping, to the first of the rows that is not before `row`; whether it is that one. So a long
 * posting is a merge, a short one a few binary searches. */
static inline bool magpie_row_walk_to(magpie_row_walk *w, uint64_t row) {
    size_t step = 1, low = w->at, high = w->at;
    while (high < w->n && w->rows[high] < row) {
        low = high + 1;
        high += step;
        step *= 2;
    }
    if (high > w->n) high = w->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (w->rows[middle] < row)
            low = middle + 1;
        else
            high = middle;
    }
    w->at = low;
    return low < w->n && w->rows[low] == row;
}

static inline uint64_t magpie_row_of(const void *bytes) {
    uint64_t row;
    memcpy(&row, bytes, sizeof row);
    return row;
}

/* Calls with each place among the walk's rows that the posting has on which the cursor stands; `first` is the
 * posting's first row. Returns LMDB's code. A trap of LMDB 0.9: on a key with one value MDB_GET_MULTIPLE may
 * give out the values of the key that the cursor stood on before. So it is not asked. */
static inline int magpie_posting_walk(MDB_cursor *cursor, MDB_val first, magpie_row_walk walk,
                                      void (*found)(void *context, size_t at), void *context) {
    MDB_val key, block;
    size_t count;
    int code = mdb_cursor_count(cursor, &count);
    if (code) return code;
    if (count == 1) {
        if (magpie_row_walk_to(&walk, magpie_row_of(first.mv_data))) found(context, walk.at);
        return 0;
    }
    code = mdb_cursor_get(cursor, &key, &block, MDB_GET_MULTIPLE);
    for (; !code; code = mdb_cursor_get(cursor, &key, &block, MDB_NEXT_MULTIPLE))
        for (size_t i = 0; i + sizeof(uint64_t) <= block.mv_size; i += sizeof(uint64_t))
            if (magpie_row_walk_to(&walk, magpie_row_of((const char *)block.mv_data + i)))
                found(context, walk.at);
    return code == MDB_NOTFOUND ? 0 : code;
}

#endif
