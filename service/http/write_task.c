/* write_task.c - see write_task.h. */
#include "write_task.h"

#include <stdlib.h>
#include <string.h>

write_one *write_task_add(write_task *task) {
    if (magpie_grow((void **)&task->ones, &task->capacity, task->count + 1, sizeof *task->ones) != MAGPIE_OK)
        return NULL;
    write_one *one = &task->ones[task->count++];
    *one = (write_one){0};
    return one;
}

void write_task_clear(write_task *task) {
    for (size_t i = 0; i < task->count; i++) {
        write_one *one = &task->ones[i];
        for (unsigned m = 0; m < WRITE_MEDIA; m++) store_media_drop(&one->media[m]);
        free(one->own_id);
        free(one->own_line);
        free(one->words);
    }
    task->count = task->taken = task->bytes = 0;
}

void write_task_free(write_task *task) {
    write_task_clear(task);
    free(task->ones);
    *task = (write_task){0};
}

void write_one_fail(write_one *one, magpie_status status) {
    free(one->words);
    one->status = status;
    one->words = strdup(magpie_error());
}
