/* handover.h - a thread that writes what another has made, one block behind it. */
#ifndef MAGPIE_HANDOVER_H
#define MAGPIE_HANDOVER_H

#include "core.h"

/* Works on one block, on the thread of the handover. */
typedef magpie_status (*handover_task)(void *context, void *block);

typedef struct handover handover;

MAGPIE_CHECK_RESULT magpie_status handover_start(handover_task task, void *context, handover **out);
/* Gives a block away. Waits until the one before it is finished: that one is the caller's again, so two
 * blocks are enough. Returns what went wrong with any block before, in words. */
MAGPIE_CHECK_RESULT magpie_status handover_give(handover *h, void *block);
/* Waits until all is finished, ends the thread, frees `h`. NULL is fine. */
MAGPIE_CHECK_RESULT magpie_status handover_end(handover *h);

#endif
