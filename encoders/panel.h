/* panel.h - products of rows with a panel: columns that lie side by side, as many as a few vectors of doubles
 * have lanes. Compiled once for each width of vector (as simd.h's kernels are); the oracle is the formula.
 * Private to encoders/.
 *
 * What is measured and what is fitted on vectors is a product of many with many (every query with every
 * candidate, every example with every label), and both want doubles: products of floats are exact in them.
 * Every sum runs over its terms one after the other, so a result depends neither on the rows and columns
 * that are beside it, nor on the number of threads: equal vectors have equal scores, to the bit. */
#ifndef MAGPIE_PANEL_H
#define MAGPIE_PANEL_H

#include "core.h"

enum {
    PANEL_ROWS =
        6, /* of one call: with two vectors a row, what 16 registers hold and what hides the latency */
    PANEL_LANES_MAX = 16
};

typedef struct panel_kernels {
    const char *name;
    size_t lanes; /* columns of a panel, PANEL_LANES_MAX at most */
    /* out [rows, lanes]: out[r] = sum over t below `steps` of a[r * row + t * step] panel[t], panel
     * [steps, lanes]. rows: 1 to PANEL_ROWS. */
    void (*product)(const double *a, size_t row, size_t step, size_t rows, size_t steps, const double *panel,
                    double *out);
} panel_kernels;

/* Of the levels that this CPU runs, number i, the widest first; NULL past them. */
const panel_kernels *panel_kernels_level(size_t i);

/* vectors [n, dimension] as panels [ceil(n / lanes), dimension, lanes], zeros where there is no vector. The
 * caller gives `out`. */
void panel_pack(const panel_kernels *kernels, const float *vectors, size_t n, size_t dimension, double *out);
/* How many doubles that are; false where they are too many to count. */
MAGPIE_CHECK_RESULT bool panel_size(const panel_kernels *kernels, size_t n, size_t dimension, size_t *out);

#endif
