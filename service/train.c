/* train.c - magpie train: what can be trained; each in the file of its name, train_fusion.c for one. */
#include "command.h"

#include <stddef.h>

extern const command train_fusion_command, train_labels_command, train_ranker_command;

static const command *const parts[] = {&train_fusion_command, &train_labels_command, &train_ranker_command,
                                       NULL};

const command train_command = {.name = "train",
                               .summary = "train what is made of a store's vectors and interactions",
                               .details = "",
                               .parts = parts};
