/* timestamp.h - RFC 3339 to milliseconds. Private to ingest/. */
#ifndef MAGPIE_TIMESTAMP_H
#define MAGPIE_TIMESTAMP_H

#include "core.h"

/* The years 0000 to 9999, which is what RFC 3339 can say: milliseconds since 1970 UTC. */
#define MAGPIE_TIMESTAMP_MIN INT64_C(-62167219200000)
#define MAGPIE_TIMESTAMP_MAX INT64_C(253402300799999)

/* "2024-02-29T12:30:00Z", "2024-02-29 12:30:00.250+02:00". `text` ends with a NUL. MAGPIE_E_INPUT says what
 * is wrong with it. */
MAGPIE_CHECK_RESULT magpie_status magpie_timestamp_parse(const char *text, int64_t *millis);

#endif
