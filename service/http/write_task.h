/* write_task.h - what a request wants to have written, on its way to the writer (writer.h). */
#ifndef MAGPIE_WRITE_TASK_H
#define MAGPIE_WRITE_TASK_H

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

#endif
