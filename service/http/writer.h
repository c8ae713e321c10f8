/* writer.h - the thread that writes: all that requests want to have written goes through it.
 *
 * TOGETHER. What waits when a round begins is committed with it, in one transaction for items that are put
 * and patched and one for all else; a disk takes as long for one item as for fifty. A round is so much that
 * its encoding takes some hundredths of a second, since an encoder that is busy is what searches wait for.
 * Tasks take turns by slices, so that a long one does not stop those that came later.
 *
 * DURABLE. A task is done when all of it is committed, or refused. Each of its writes fares by itself: one
 * that is bad fails alone, and those that were committed before a failure stay.
 *
 * MODELS. Items are encoded by the models that requests have; when those are replaced, the next round has
 * the new ones. */
#ifndef MAGPIE_WRITER_H
#define MAGPIE_WRITER_H

#include "access_log.h"
#include "http.h"
#include "write_task.h"

typedef struct writer writer;

MAGPIE_CHECK_RESULT magpie_status writer_start(serving_source *source, access_log *log, writer **out);
/* After what waits is done. */
void writer_stop(writer *w);
size_t writer_depth(writer *w); /* tasks that wait */

/* For a handler to end with: it is called again when the task is done; or 429 is answered. */
http_outcome writer_wait(http_request *r, write_task *task);

#endif
