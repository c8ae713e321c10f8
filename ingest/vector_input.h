/* vector_input.h - the lines of an import of vectors, for the job that reads them. Private to ingest/. */
#ifndef MAGPIE_VECTOR_INPUT_H
#define MAGPIE_VECTOR_INPUT_H

#include "checkpoint.h"
#include "source.h"
#include "vector_line.h"

/* What sources are opened by, to read the same lines again. */
const magpie_ingest_options *magpie_vector_input_from(const magpie_vector_input *input);
/* As magpie_sources_open; *sources are the input's. What was read to find the header comes once more. */
MAGPIE_CHECK_RESULT magpie_status magpie_vector_input_start(magpie_vector_input *input,
                                                            const char *media_base,
                                                            const magpie_checkpoint *at,
                                                            magpie_sources **sources);
MAGPIE_CHECK_RESULT magpie_status magpie_vector_input_next(magpie_vector_input *input, magpie_entry *entry,
                                                           bool *got);
/* Whether the line is a header; another one than the first is MAGPIE_E_MISMATCH, and ends the job. */
MAGPIE_CHECK_RESULT magpie_status magpie_vector_input_check(magpie_vector_input *input,
                                                            const magpie_entry *entry, bool *is_header);
MAGPIE_CHECK_RESULT magpie_status magpie_vector_input_parse(magpie_vector_input *input,
                                                            const magpie_line *line,
                                                            magpie_catalogue_line *out,
                                                            magpie_line_vectors *vectors);

#endif
