/* eval.c - magpie eval: what can be measured; each in the file of its name. */
#include "command.h"

#include <stddef.h>

extern const command eval_ranker_command, eval_retrieval_command;

static const command *const parts[] = {&eval_ranker_command, &eval_retrieval_command, NULL};

const command eval_command = {
    .name = "eval", .summary = "measure how well things are found", .details = "", .parts = parts};
