/* interrupt.h - long work that a person may stop: the first signal ends it in order, a second one the process. */
#ifndef MAGPIE_INTERRUPT_H
#define MAGPIE_INTERRUPT_H

#include <stdbool.h>

void interrupt_listen(void); /* to SIGINT and SIGTERM */
bool interrupt_came(void);

#endif
