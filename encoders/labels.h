/* labels.h - a model of labels in memory, and its folder. Private to encoders/labels*. */
#ifndef MAGPIE_LABELS_H
#define MAGPIE_LABELS_H

#include "encoders.h"

enum { LABELS_DIMENSION_MAX = 16384 };

struct magpie_labels {
    magpie_labels_info info;
    magpie_block memory;  /* holds what info points to, and these */
    float *weight, *bias; /* [count, dimension]; [count] */
};

/* With a copy of all that `about` says; weights and biases are zeros. MAGPIE_E_ARGUMENT where it makes no
 * sense. */
MAGPIE_CHECK_RESULT magpie_status labels_create(const magpie_labels_info *about, magpie_labels **out);

/* Scores before the temperature, of one unit vector: out [count]. */
void labels_score(const magpie_labels *labels, const float *vector, double *out);
/* scores [count] become probabilities at this temperature, in place. Returns the logarithm of what they were
 * divided by: the log loss of label k is that, minus its score / temperature. */
double labels_softmax(double *scores, size_t count, double temperature);

#endif
