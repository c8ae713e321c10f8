/* curve.h - how a training went, as a picture. */
#ifndef MAGPIE_CURVE_H
#define MAGPIE_CURVE_H

#include "core.h"

typedef struct curve_point {
    size_t epoch;
    double loss, measure;
    bool best; /* of all up to here */
} curve_point;

/* An SVG of loss (left axis) and what is measured on validation (right axis) by epoch, the one that was kept
 * marked; all or nothing. title: of the picture; measure: "recall@10". points [n] */
MAGPIE_CHECK_RESULT magpie_status curve_write(const char *path, const char *title, const char *measure,
                                              const curve_point *points, size_t n);

#endif
