/* ingest_report.h - what an ingest shows while it runs, and when it has ended. */
#ifndef MAGPIE_INGEST_REPORT_H
#define MAGPIE_INGEST_REPORT_H

#include "ingest.h"
#include "options.h"

/* How the rate of the last seconds is found; all zero at first. */
typedef struct ingest_pace {
    double told;    /* p->seconds when something was shown last */
    double since;   /* and when the stretch that `rate` is of began, */
    size_t lines;   /* which had so many lines before it */
    double rate;    /* lines a second; 0: not known yet */
    uint64_t first; /* byte of the catalogue that the run began at */
    bool started;
} ingest_pace;

extern const option_row ingest_report_options[]; /* --progress */

/* A line on a terminal, or lines of JSON on standard error, as --progress says. */
void ingest_report_progress(ingest_pace *pace, const magpie_ingest_progress *progress);
/* Appends the summary, as JSON or in sentences. `rejects`: the file that they are in; NULL: none. */
void ingest_report_append(magpie_text *out, const magpie_ingest_progress *progress, const char *rejects,
                          double index_seconds);
/* Whether there is something in the file of rejects. */
bool ingest_report_has_rejects(const magpie_ingest_progress *progress);

#endif
