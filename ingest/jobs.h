/* jobs.h - what a store remembers of the jobs that ran on it, and that there is one at a time. Private to ingest/;
 * what others may ask of it is in ingest.h, "jobs".
 *
 * RECORDS are in the store's table of jobs, "job ID" -> JSON, each written in the transaction of the items that it
 * counts. They say "running" until a job's end; whether it still runs is told by the lock, which a process that is
 * killed lets go. To cancel a job that runs is to write "cancel ID", which it looks for after each transaction.
 *
 * LOCK: flock(2) on STORE/ingest.lock, which holds the id and the process. */
#ifndef MAGPIE_JOBS_H
#define MAGPIE_JOBS_H

#include "checkpoint.h"

enum { MAGPIE_JOBS_KEPT = 100 };

typedef struct magpie_job { /* all zero but `lock`, -1, is a valid empty one */
    int lock;
    char id[MAGPIE_JOB_ID + 1];
    char *note; /* owned: the caller's words, JSON; NULL: none */
    int64_t started;
    uint64_t runs;
    magpie_ingest_progress before; /* of its runs before this one */
    double seconds_before;
} magpie_job;

/* Takes the store's turn, or waits for it. MAGPIE_E_BUSY names the job that has it. */
MAGPIE_CHECK_RESULT magpie_status magpie_job_lock(magpie_job *job, const magpie_store *store, bool wait);
/* Which job this is: that which did not come to its end with this catalogue, else a new one. Puts its record into the
 * batch. */
MAGPIE_CHECK_RESULT magpie_status magpie_job_begin(magpie_job *job, magpie_snapshot *snapshot,
                                                   const magpie_catalogue_identity *identity,
                                                   const magpie_ingest_options *options, magpie_batch *batch);
/* `why` NULL: nothing to say. */
MAGPIE_CHECK_RESULT magpie_status magpie_job_put(const magpie_job *job,
                                                 const magpie_catalogue_identity *identity, const char *state,
                                                 const char *why, const magpie_ingest_progress *progress,
                                                 magpie_batch *batch);
/* Whether somebody wants it to end; then `batch` is told to forget that. */
MAGPIE_CHECK_RESULT magpie_status magpie_job_is_cancelled(const magpie_job *job, magpie_snapshot *snapshot,
                                                          magpie_batch *batch, bool *out);
void magpie_job_free(magpie_job *job);

#endif
