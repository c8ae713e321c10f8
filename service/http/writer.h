/* writer.h - the thread that writes: all that requests want to have written goes through it.
 *
 * TOGETHER. What waits when a round begins is committed with it, in one transaction for items that are put and
 * patched and one for all else; a disk takes as long for one item as for fifty. A round is so much that its
 * encoding takes some hundredths of a second, since an encoder that is busy is what searches wait for. Tasks
 * take turns by slices, so that a long one does not stop those that came later.
 *
 * DURABLE. A task is done when all of it is committed, or refused. Each of its writes fares by itself: one that is
 * bad fails alone, and those that were committed before a failure stay.
 *
 * MODELS. Items are encoded by the models that requests have; when those are replaced, the next round has the
 * new ones. */
#ifndef MAGPIE_WRITER_H
#define MAGPIE_WRITER_H

#include "access_log.h"
#include "http.h"
#include "ingest.h"
#include "store_media.h"

typedef enum write_kind {
    WRITE_PUT,         /* `line`: a catalogue's */
    WRITE_PATCH,       /* `line`: a merge patch of the attributes of item `id` */
    WRITE_DELETE,      /* item `id`, where it passes `filter` */
    WRITE_INTERACTION, /* of user `id` */
    WRITE_FORGET       /* user `id` */
} write_kind;

enum { WRITE_MEDIA = 2 /* an item's picture and sound */ };

typedef struct write_one {
    write_kind kind;
    magpie_string id, line;  /* the owner's; a put's id may be empty */
    char *own_id, *own_line; /* freed with it; NULL: they are elsewhere */
    store_medium media[WRITE_MEDIA];
    const magpie_filter *filter; /* NULL: in any case */
    struct {
        magpie_string item;
        magpie_interaction_kind kind;
        float weight;
        int64_t time;
    } interaction;
    size_t number; /* the owner's: of a line */
    /* How it fared. One that has failed before it is given to the writer is passed over by it. */
    magpie_status status;
    magpie_ingest_verdict verdict; /* of a put and a patch */
    char *words;                   /* why it failed, or the item's problems; NULL: nothing to say */
    const char *field;             /* of the item, where the failure is one field's; NULL: not known */
} write_one;

/* What one request wants at once. Its owner's, and untouched by them until it is done. */
typedef struct write_task {
    write_one *ones; /* [count] */
    size_t count, capacity;
    size_t bytes;                          /* of lines, about */
    bool goes_on;                          /* a part of it was let in before: there is room for it always */
    void (*done)(struct write_task *task); /* on the writer's thread: brief */
    void *owner;
    /* The writer's. */
    size_t taken; /* of the ones */
    struct write_task *next;
} write_task;

/* Room for one more, all zero; NULL: memory is short. Moves the others. */
write_one *write_task_add(write_task *task);
/* Frees the ones, and keeps the room. */
void write_task_clear(write_task *task);
void write_task_free(write_task *task);
/* This thread's last failure. */
void write_one_fail(write_one *one, magpie_status status);

typedef struct writer writer;

MAGPIE_CHECK_RESULT magpie_status writer_start(serving_source *source, access_log *log, writer **out);
/* After what waits is done. */
void writer_stop(writer *w);
size_t writer_depth(writer *w); /* tasks that wait */

/* For a handler to end with: it is called again when the task is done; or 429 is answered. */
http_outcome writer_wait(http_request *r, write_task *task);

#endif
