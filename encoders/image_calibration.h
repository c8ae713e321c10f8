/* image_calibration.h - int8.json of a model's folder: how far the maps of its network reach. Private to encoders/.
 *
 *     {"format": 1, "fingerprint": "0123456789abcdef", "pictures": 512, "largest": [3.25, ...]}
 *
 * The fingerprint is the model's; what was measured on other weights would be wrong without a sign of it. */
#ifndef MAGPIE_IMAGE_CALIBRATION_H
#define MAGPIE_IMAGE_CALIBRATION_H

#include "core.h"

/* largest [count]. MAGPIE_E_CORRUPT where a number is not finite, before anything is written. */
MAGPIE_CHECK_RESULT magpie_status image_calibration_write(const char *directory, const char *fingerprint,
                                                          size_t pictures, const float *largest,
                                                          size_t count);
/* largest [count], the caller's. MAGPIE_E_NOT_FOUND without the file, saying what makes it; MAGPIE_E_MISMATCH for a
 * file of other weights, MAGPIE_E_CORRUPT for one that is broken. */
MAGPIE_CHECK_RESULT magpie_status image_calibration_read(const char *directory, const char *fingerprint,
                                                         float *largest, size_t count);

#endif
