/* trained_files.h - the folder of a model that is trained here: model.safetensors, and config.json, which is
 * written last and names the weights' fingerprint. Each file is the old one or the new one after a crash, and
 * two that do not belong together are an error and no result. Private to encoders/ and ranker/. */
#ifndef MAGPIE_TRAINED_FILES_H
#define MAGPIE_TRAINED_FILES_H

#include "encoders.h"
#include "model_files.h"
#include "safetensors.h"

/* Made where there is none. */
MAGPIE_CHECK_RESULT magpie_status trained_make_folder(const char *directory);
/* model.safetensors; `fingerprint` is what config.json is to have as "weights". */
MAGPIE_CHECK_RESULT magpie_status trained_write_weights(const char *directory, const tensor_values *tensors,
                                                        size_t n, bool half,
                                                        char fingerprint[MAGPIE_FINGERPRINT_MAX]);
/* config.json, begun, to be written to magpie_atomic_stream and committed. */
MAGPIE_CHECK_RESULT magpie_status trained_begin_config(const char *directory, magpie_atomic_file **out);

/* config.json; MAGPIE_E_UNSUPPORTED where its "model_type" is not this. To be closed where it is
 * MAGPIE_OK. */
MAGPIE_CHECK_RESULT magpie_status trained_open_config(const char *directory, const char *type,
                                                      model_json *out);
/* model.safetensors; MAGPIE_E_CORRUPT where config.json names other weights. To be closed whatever is
 * returned. */
MAGPIE_CHECK_RESULT magpie_status trained_open_weights(const char *directory, const model_json *config,
                                                       safetensors **out);
/* A tensor of this shape, columns 0: a vector; MAGPIE_E_CORRUPT for a number that is not finite. */
MAGPIE_CHECK_RESULT magpie_status trained_read_tensor(const safetensors *file, const char *name, size_t rows,
                                                      size_t columns, float *out);

#endif
