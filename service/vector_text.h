/* vector_text.h - a vector as JSON, fast. */
#ifndef MAGPIE_VECTOR_TEXT_H
#define MAGPIE_VECTOR_TEXT_H

#include "core.h"

/* Appends "[0.0123456789,-0.0456789012,...]". vector [n]: finite, each below 10 in size; those of unit
 * vectors are.
 *
 * What is read is the same float again: ten decimals are off by 5e-11 at most, and floats from 2^-10 on lie at
 * least 1.1e-10 apart. Those below, one in sixty of a vector of 384, have nine digits ("1.23456789e-05"). */
void vector_append_json(magpie_text *out, const float *vector, size_t n);

#endif
