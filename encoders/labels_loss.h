/* labels_loss.h - what a fit of labels minimises: the mean log loss of a multinomial logistic regression and
 * its gradient, by all threads. Private to encoders/labels*. */
#ifndef MAGPIE_LABELS_LOSS_H
#define MAGPIE_LABELS_LOSS_H

#include "encoders.h"

typedef struct labels_loss labels_loss;

/* The examples are centred: their mean is taken off, which moves the least point in the biases alone, since
 * these are free, and takes the descent there several times fewer steps (vectors of a network that ends in a
 * ReLU all point the same way). A copy of the examples, for `count` labels. `pool` stays the caller's. */
MAGPIE_CHECK_RESULT magpie_status labels_loss_create(const magpie_labels_examples *examples, size_t dimension,
                                                     size_t count, magpie_pool *pool, labels_loss **out);
void labels_loss_free(labels_loss *loss);
/* strength / 2 |W|^2 is added; the biases are free. */
void labels_loss_set_strength(labels_loss *loss, double strength);
size_t labels_loss_parameters(const labels_loss *loss);
/* What was taken off: [dimension], of vectors times sqrt(dimension). */
const double *labels_loss_mean(const labels_loss *loss);
/* parameters and gradient [dimension + 1, count], the last row that of the biases. `context` is a
 * labels_loss: this is an lbfgs_function. Every sum is of a fixed order, whatever the number of threads. */
magpie_status labels_loss_compute(void *context, const double *parameters, double *value, double *gradient);

#endif
