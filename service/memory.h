/* memory.h - --memory: what an ingest may take, and how it is divided.
 *
 * Weights take what their files have and a fifth (they are packed anew); layers' results, buffers and the program
 * itself, 128 MiB. A sixteenth of what is left, 16 MiB at most, may wait for a transaction: eight times that, since
 * there are two at a time, as lines, as items, and as what LMDB writes. The rest is for pictures being decoded, one a
 * thread: one that needs more is refused. Beside it come 11 to 22 bytes a line of the catalogues, the store's pages,
 * which are the kernel's to take back, and, at the end, the indexes. */
#ifndef MAGPIE_SERVICE_MEMORY_H
#define MAGPIE_SERVICE_MEMORY_H

#include "model.h"

extern const option_row memory_options[];

/* MAGPIE_E_ARGUMENT, with the least that would do, where it is not enough. */
MAGPIE_CHECK_RESULT magpie_status memory_divide(const model_folders *folders, size_t *batch_bytes,
                                                size_t *picture_bytes);

#endif
