/* vector_line.h - what a vector line (ingest.h, "vectors in and out") has beside its item. Private to
 * ingest/. */
#ifndef MAGPIE_VECTOR_LINE_H
#define MAGPIE_VECTOR_LINE_H

#include "catalogue.h"

/* In place of a file's hash, where it is that of the file as whoever reads the line finds it. */
enum { MAGPIE_HASH_OF_FILE = 1 };

typedef struct magpie_line_vectors {    /* all zero is a valid empty one */
    float *values[MAGPIE_SPACES];       /* [dimension of the space]; NULL: none */
    const char *refused[MAGPIE_SPACES]; /* why there is none; NULL: nothing is wrong */
    bool hashed[MAGPIE_SPACES];
    uint64_t hashes[MAGPIE_SPACES]; /* of what it was made of, where the line says so */
    float *memory;                  /* [that of all spaces] */
    json_t *words;                  /* the refusals are in it */
} magpie_line_vectors;

/* One line; `vectors` is to be freed in any case, and `line` as by magpie_catalogue_parse. A vector that
 * is not finite or not of unit length is MAGPIE_E_INPUT, with `normalise` one that cannot be made so. */
MAGPIE_CHECK_RESULT magpie_status magpie_vector_line_parse(const char *line, size_t size,
                                                           const magpie_vector_header *header, bool normalise,
                                                           magpie_catalogue_line *out,
                                                           magpie_line_vectors *vectors);
/* Checks [dimension] numbers, or makes them ones that would pass. */
MAGPIE_CHECK_RESULT magpie_status magpie_vector_check(const char *space, float *vector, size_t dimension,
                                                      bool normalise);
/* What a vector is of has to be there. */
MAGPIE_CHECK_RESULT magpie_status magpie_line_vectors_check(const magpie_item *item,
                                                            const magpie_line_vectors *vectors);
void magpie_line_vectors_clear(magpie_line_vectors *vectors); /* keeps the memory */
void magpie_line_vectors_free(magpie_line_vectors *vectors);
/* Room for one of each space that the header has. */
MAGPIE_CHECK_RESULT magpie_status magpie_line_vectors_reserve(magpie_line_vectors *vectors,
                                                              const magpie_vector_header *header);

/* Whether the line is a header: MAGPIE_E_INPUT where it is one that cannot be read. */
MAGPIE_CHECK_RESULT magpie_status magpie_vector_header_parse(const char *line, size_t size,
                                                             magpie_vector_header *out, bool *is_header);
bool magpie_vector_header_same(const magpie_vector_header *a, const magpie_vector_header *b);

#endif
