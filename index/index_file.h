/* index_file.h - a generation as the file STORE/NAME.index. Private to index/.
 *
 * FORMAT, version 1, little-endian:
 *     header   struct magpie_index_header, 96 bytes, with a checksum of its own
 *     rows     count x u64, ascending
 *     live     ceil(count / 64) x u64, a bit an ordinal
 *     faiss    faiss_bytes bytes, as FAISS writes an index
 *     trailer  u64, XXH3-64 of all before it
 * FAISS's reader trusts what it reads, and a damaged size in it can crash it. So it gets to see its bytes
 * only after the checksum of the whole file held. The file is a cache: whoever reads it takes any failure as
 * "build it anew". */
#ifndef MAGPIE_INDEX_FILE_H
#define MAGPIE_INDEX_FILE_H

#include "generation.h"
#include "store.h"

typedef struct magpie_index_header {
    char magic[8]; /* "MAGPIEIX" */
    uint32_t version, space, kind, dimension, m, ef_construction;
    uint64_t sequence, count, faiss_bytes;
    unsigned char identity[MAGPIE_IDENTITY_BYTES]; /* of the store */
    uint64_t fingerprint[2];                       /* XXH3-128 of the model's */
    uint64_t checksum;                             /* XXH3-64 of all before it */
} magpie_index_header;

/* Whose index it is: goes into the header, and must be there when it is read. */
typedef struct magpie_index_owner {
    magpie_space space;
    size_t dimension;
    unsigned char identity[MAGPIE_IDENTITY_BYTES];
    uint64_t fingerprint[2];
} magpie_index_owner;

/* Atomically: after a crash the file is the old one or the new one. */
MAGPIE_CHECK_RESULT magpie_status magpie_index_file_write(const char *path, const magpie_index_owner *owner,
                                                          const magpie_generation *generation);
/* MAGPIE_E_NOT_FOUND, MAGPIE_E_CORRUPT, MAGPIE_E_MISMATCH (another store's, space's or model's). */
MAGPIE_CHECK_RESULT magpie_status magpie_index_file_read(const char *path, const magpie_index_owner *owner,
                                                         magpie_generation **out);
/* The header alone, its checksum held. */
MAGPIE_CHECK_RESULT magpie_status magpie_index_file_header(const char *path, magpie_index_header *out);

#endif
