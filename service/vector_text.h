/* vector_text.h - a vector as JSON, fast. */
#ifndef MAGPIE_VECTOR_TEXT_H
#define MAGPIE_VECTOR_TEXT_H

#include "core.h"

/* Appends "[0.0123456789,-0.0456789012,...]". vector [n]: finite, each below 10 in size; those of unit
 * vectors are.
 *
 * Ten decimals, whatever the value: 5e-11 at most are lost, where a float itself is known to 2e-9 at the size
 * that most elements of a vector have (0.03), and to 6e-8 near 1. */
void vector_append_json(magpie_text *out, const float *vector, size_t n);

#endif
