/* tune.c - magpie tune: what can be searched for better parameters; each in the file of its name. */
#include "command.h"

#include <stddef.h>

extern const command tune_ranker_command;

static const command *const parts[] = {&tune_ranker_command, NULL};

const command tune_command = {
    .name = "tune", .summary = "search for better parameters", .details = "", .parts = parts};
