/* checkpoint.h - how far a job has come, kept in the store with the items that it speaks of. Private to
 * ingest/.
 *
 * A checkpoint saves reading, nothing else: what is in the store is found by its content hash, with or
 * without one. So whenever there is doubt (another size, time or inode, a pipe, a checkpoint of another
 * version) the job starts over. */
#ifndef MAGPIE_CHECKPOINT_H
#define MAGPIE_CHECKPOINT_H

#include "media.h"

/* Catalogues by which a checkpoint can be recognised. Of several what is told of the first is written
 * down, and what is of the others is in the salt. */
typedef struct magpie_catalogue_identity {
    char *path; /* absolute, without links; NULL where one is a pipe, which has no checkpoints */
    uint64_t size, inode;
    int64_t modified; /* nanoseconds since 1970; of a folder, a hash of its files' names */
    uint64_t salt;    /* of what else decides the outcome: the models, and the prefix of passages */
    char job[48];     /* the checkpoint's name in the store */
} magpie_catalogue_identity;

typedef struct magpie_checkpoint {
    /* Which of the catalogues, and where in it: all before is committed, rejected or was there already. */
    uint64_t file, offset, line;
    uint64_t lines;                 /* of all catalogues before this place */
    uint64_t rejected;              /* of these lines */
    uint64_t refused[MAGPIE_MEDIA]; /* of these lines' pictures, and of their sounds */
    uint64_t rejects_bytes;         /* of the rejects file that speak of them */
} magpie_checkpoint;

/* `job`: "ingest" or "import". */
MAGPIE_CHECK_RESULT magpie_status magpie_catalogue_identify(const char *job, const char *const *catalogues,
                                                            size_t count, uint64_t salt,
                                                            magpie_catalogue_identity *out);
void magpie_catalogue_identity_free(magpie_catalogue_identity *identity);
/* To write the rejects (NULL: none) over a catalogue would be the end of it: MAGPIE_E_ARGUMENT. */
MAGPIE_CHECK_RESULT magpie_status magpie_catalogue_check_rejects(const char *const *catalogues, size_t count,
                                                                 const char *rejects);

/* *stored: there is one under this job's name. *out is all zero unless it is of exactly these catalogues. */
MAGPIE_CHECK_RESULT magpie_status magpie_checkpoint_load(magpie_snapshot *snapshot,
                                                         const magpie_catalogue_identity *identity,
                                                         magpie_checkpoint *out, bool *stored);
/* Adds it to the changes; `checkpoint` NULL removes it. */
MAGPIE_CHECK_RESULT magpie_status magpie_checkpoint_put(magpie_batch *batch,
                                                        const magpie_catalogue_identity *identity,
                                                        const magpie_checkpoint *checkpoint);

/* Whether who watches a job is to hear of it: `now`, else some times a second. *told is when that was
 * last. */
bool magpie_job_tells(double *told, bool now);
/* What a job ends with that was told to stop: MAGPIE_E_CANCELLED, in words. */
magpie_status magpie_job_stopped(void);

#endif
