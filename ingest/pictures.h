/* pictures.h - the file that an image reference names, as far as it can be told without reading it. Private
 * to ingest/. */
#ifndef MAGPIE_PICTURES_H
#define MAGPIE_PICTURES_H

#include "core.h"

/* Of `reference`, and of the size and time of change (nanoseconds) of the file at `path`; never 0. So a
 * picture that was replaced under its name is noticed for the price of a stat, and a catalogue that moved
 * with its pictures is not encoded anew. A file that is not there has a hash too: another one than when it
 * is. */
uint64_t magpie_picture_hash(const char *path, magpie_string reference);
/* Fails, in words, where there is nothing to be read: no such file, or a folder, a pipe or a device, which an
 * encoder is kept away from since to open one may be to wait for ever. */
MAGPIE_CHECK_RESULT magpie_status magpie_picture_check(const char *path);

#endif
