/* curve.h - how a training went, as a picture. */
#ifndef MAGPIE_CURVE_H
#define MAGPIE_CURVE_H

#include "encoders.h"

/* An SVG of loss (left axis) and recall (right axis) by epoch, the one that was kept marked; all or nothing.
 * epochs [n] */
MAGPIE_CHECK_RESULT magpie_status curve_write(const char *path, const magpie_fusion_epoch *epochs, size_t n);

#endif
