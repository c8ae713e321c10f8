/* command.c - the list of commands. */
#include "command.h"

const command *const all_commands[] = {&ingest_command,   &search_command,
                                       &serve_command,    &recommend_command,
                                       &classify_command, &get_command,
                                       &delete_command,   &interactions_command,
                                       &dedup_command,    &stats_command,
                                       &check_command,    &rebuild_command,
                                       &compact_command,  &backup_command,
                                       &fuse_command,     &jobs_command,
                                       &encode_command,   &import_vectors_command,
                                       &export_command,   &tags_command,
                                       &train_command,    &tune_command,
                                       &eval_command,     &models_command,
                                       &devices_command,  NULL};
