/* neural_train.h - a training of a network, between its files: neural_train.c runs it, neural_setup.c makes
 * it. Private to those. */
#ifndef MAGPIE_NEURAL_TRAIN_H
#define MAGPIE_NEURAL_TRAIN_H

#include "neural.h"

#include <stdatomic.h>

/* Of a step, the rows that are one task's to move, and where their slopes are summed up. */
typedef struct owned {
    uint32_t step, key; /* free where `step` is not the present one */
    float *slopes;
} owned;

typedef struct owned_row {
    uint32_t row;
    float *slopes;
} owned_row;

typedef struct owner {
    owned *entries; /* [mask + 1], open addressing */
    owned_row *rows;
    size_t mask;
    uint32_t step;
} owner;

typedef struct trainer {
    const magpie_ranker *ranker;
    neural *net;
    const ranker_training *training;
    const magpie_ranker_options *options;
    neural_options numbers;
    uint64_t likes;
    size_t user_likes;               /* the most of one user */
    size_t pairs, steps, part_likes; /* pairs of a like; steps of an epoch; likes of a part */
    bool fixed_out;                  /* mf's a */
    uint32_t *landmarks; /* whose likes number 0, 1 << landmark_shift, ... are, and the last one */
    unsigned landmark_shift;
    /* of the step: */
    uint64_t batch_first;
    size_t batch_likes, batch_parts;
    neural_adam adam;
    neural_part *parts;
    neural_scratch *scratch; /* by worker */
    owner *owners;           /* by task */
    atomic_bool *claimed;    /* by task */
    size_t owner_count;
    struct neural_gpu_training *gpu; /* that computes steps; NULL: the CPU does */
    neural_state state;
    neural_epoch *curve; /* [options->epochs], those up to state.epoch known */
    double hit_rate, began, epoch_began, told;
    double written, writing; /* training.state: when, and how long that took */
    magpie_block block, moments;
} trainer;

/* With rows and weights as training begins; `has` as in model.h. */
MAGPIE_CHECK_RESULT magpie_status trainer_create(magpie_ranker *ranker, const ranker_training *training,
                                                 const bool *has, trainer **out);
void trainer_free(trainer *trainer); /* takes NULL; the network loses its moments */

#endif
