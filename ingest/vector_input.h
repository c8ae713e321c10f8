/* vector_input.h - the lines of an import of vectors, for the job that reads them. Private to ingest/. */
#ifndef MAGPIE_VECTOR_INPUT_H
#define MAGPIE_VECTOR_INPUT_H

#include "vector_line.h"

/* Where the job begins, by its checkpoint; *lines is the input's. What was read to find the header comes once more. */
MAGPIE_CHECK_RESULT magpie_status magpie_vector_input_start(magpie_vector_input *input, uint64_t offset,
                                                            size_t number, magpie_lines **lines);
MAGPIE_CHECK_RESULT magpie_status magpie_vector_input_next(magpie_vector_input *input, magpie_line *line,
                                                           bool *got);
/* Whether the line is a header; another one than the first is MAGPIE_E_MISMATCH, and ends the job. */
MAGPIE_CHECK_RESULT magpie_status magpie_vector_input_check(magpie_vector_input *input,
                                                            const magpie_line *line, bool *is_header);
MAGPIE_CHECK_RESULT magpie_status magpie_vector_input_parse(magpie_vector_input *input,
                                                            const magpie_line *line,
                                                            magpie_catalogue_line *out,
                                                            magpie_line_vectors *vectors);

#endif
