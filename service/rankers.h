/* rankers.h - where a store's models of who likes what are: STORE/ranker/NAME, a folder each. */
#ifndef MAGPIE_RANKERS_H
#define MAGPIE_RANKERS_H

#include "options.h"
#include "ranker.h"

/* --device: what scores and trains, in rankers_device. The CPU, unless the command has this option. */
extern const option_row rankers_device_options[];
extern magpie_device rankers_device;

/* STORE/ranker, to be freed; NULL with the message set. */
MAGPIE_CHECK_RESULT char *rankers_folder(void);

/* The model `name` in the folder `models`, as magpie_ranker_open gives it, scoring on rankers_device. *out
 * is NULL where none is trained (a folder without a config.json is one where the first training has not
 * ended), which is MAGPIE_E_NOT_FOUND where it is `needed`. */
MAGPIE_CHECK_RESULT magpie_status rankers_open(const char *models, const char *name, bool needed,
                                               const magpie_ranker_content *content, magpie_ranker **out);

/* Any status but MAGPIE_OK ends it and is returned. */
typedef magpie_status (*rankers_callback)(void *context, const char *folder, const char *name);
/* Calls for each folder there, in order of name; for none where there is no STORE/ranker. */
MAGPIE_CHECK_RESULT magpie_status rankers_each(rankers_callback callback, void *context);

#endif
