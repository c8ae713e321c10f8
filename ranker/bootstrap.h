/* bootstrap.h - how sure a mean over users is. Private to ranker/. */
#ifndef MAGPIE_BOOTSTRAP_H
#define MAGPIE_BOOTSTRAP_H

#include "ranker.h"

enum { RANKER_FIGURES_MAX = 8 };

/* Mean of each column of values [n, figures], and the interval that holds 95% of the means of 1,000 samples
 * of n rows with replacement (the percentile interval of Efron 1979). A row is drawn whole, for all figures.
 * out [figures] */
MAGPIE_CHECK_RESULT magpie_status ranker_bootstrap(magpie_pool *pool, const double *values, size_t n,
                                                   size_t figures, uint64_t seed, magpie_figure *out);

#endif
