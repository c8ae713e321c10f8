/* command.h - the commands there are. Each lives in the file of its name. */
#ifndef MAGPIE_COMMAND_H
#define MAGPIE_COMMAND_H

#include "options.h"

extern const command backup_command, check_command, classify_command, compact_command, dedup_command,
    delete_command, devices_command, encode_command, eval_command, export_command, fuse_command, get_command,
    import_vectors_command, ingest_command, interactions_command, jobs_command, models_command,
    rebuild_command, recommend_command, search_command, serve_command, stats_command, tags_command,
    train_command, tune_command;

/* All of them, in the order of the help; ends with NULL. */
extern const command *const all_commands[];

#endif
