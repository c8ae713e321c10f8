/* fusion_adam.c - a step of AdamW, by parts of the parameters. */
#include "fusion_training.h"

#include <math.h>
#include <stdlib.h>

enum { PART = 16384 /* numbers a task */ };

typedef struct step {
    const fusion_training_kernels *kernels;
    struct fusion_adam_numbers decaying, constant;
    fusion_adam *adam;
    const fusion_layout *layout;
    const float *gradient;
    float *parameters;
    double *squares; /* by task */
} step;

static size_t part_end(const step *s, size_t task) {
    size_t end = (task + 1) * PART;
    return end < s->layout->count ? end : s->layout->count;
}

static magpie_status square_task(void *context, size_t task, unsigned worker) {
    (void)worker;
    step *s = context;
    const float *g = s->gradient + task * PART;
    s->squares[task] = (double)s->kernels->dot(g, g, part_end(s, task) - task * PART);
    return MAGPIE_OK;
}

static void run(const step *s, size_t first, size_t end, const struct fusion_adam_numbers *numbers) {
    if (first >= end) return;
    s->kernels->adam(s->parameters + first, s->adam->first + first, s->adam->second + first,
                     s->gradient + first, end - first, numbers);
}

static magpie_status step_task(void *context, size_t task, unsigned worker) {
    (void)worker;
    const step *s = context;
    size_t first = task * PART, end = part_end(s, task), decayed = s->layout->decayed;
    run(s, first, end < decayed ? end : decayed, &s->decaying);
    run(s, first > decayed ? first : decayed, end, &s->constant);
    return MAGPIE_OK;
}

magpie_status fusion_adam_step(fusion_adam *adam, const fusion_layout *layout, magpie_pool *pool, double rate,
                               double decay, double clip, const float *gradient, float *parameters,
                               double *length) {
    size_t tasks = (layout->count + PART - 1) / PART;
    double squares = 0;
    step s = {.kernels = fusion_training_kernels_level(0),
              .adam = adam,
              .layout = layout,
              .gradient = gradient,
              .parameters = parameters,
              .squares = magpie_alloc(tasks, sizeof *s.squares)};
    if (!s.squares) return MAGPIE_E_NO_MEMORY;
    magpie_status status = magpie_pool_run(pool, tasks, square_task, &s);
    for (size_t i = 0; i < tasks; i++) squares += s.squares[i];
    *length = sqrt(squares);
    adam->step++;
    s.constant =
        (struct fusion_adam_numbers){.scale = *length > clip ? (float)(clip / *length) : 1,
                                     .rate = (float)rate,
                                     .correct_first = (float)(1 / (1 - pow(0.9, (double)adam->step))),
                                     .correct_second = (float)(1 / (1 - pow(0.999, (double)adam->step)))};
    s.decaying = s.constant;
    s.decaying.decay = (float)(rate * decay);
    if (status == MAGPIE_OK) status = magpie_pool_run(pool, tasks, step_task, &s);
    free(s.squares);
    return status;
}
