/* options.h - what a command is, said once: its options are parsed, checked and explained from the same
 * table.
 *
 * A process runs one command, so the tables and the values that they point to are static. */
#ifndef MAGPIE_OPTIONS_H
#define MAGPIE_OPTIONS_H

#include "core.h"

typedef enum exit_code {
    EXIT_FINE = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_MISSING = 3,  /* done, but something asked for was not found, or some lines were rejected */
    EXIT_PROBLEMS = 4, /* check found problems */
    EXIT_INTERRUPTED = 130
} exit_code;

/* What these mean, for --help. */
extern const char exit_code_help[];

typedef struct option_row {
    const char *name;     /* "store": --store; NULL ends a table */
    char letter;          /* 'k': -k; 0: none */
    const char *argument; /* what the help calls its value; NULL: a flag */
    const char *help;
    /* Where the value goes: exactly one is not NULL. */
    bool *flag;
    const char **string;
    size_t *number;
    /* Reads a value of its own kind into `target`; fails with the words to be shown. */
    magpie_status (*parse)(const char *value, void *target);
    void *target;
    size_t least, most; /* of a number */
    bool required;
    bool may_be_empty; /* a string */
} option_row;

typedef struct command {
    const char *name;
    const char *summary;  /* half a line */
    const char *operands; /* "CATALOGUE", "ID..."; "" where it takes none */
    int least_operands, most_operands;
    const option_row *const *tables; /* ends with NULL: tables are shared among commands */
    const char *details; /* more help, in lines that are broken where they are too wide; may be "" */
    exit_code (*run)(char **operands, int count);
    void (*prepare)(void); /* NULL, or fills in tables that are made of others; called first */
    /* Of a command that is several: each is named "COMMAND PART", and has the rest of this. Ends with
     * NULL; a command of parts has neither options nor `run`. */
    const struct command *const *parts;
    /* What the command line does not say is taken from the environment, MAGPIE_NAME for --name, else from the
     * file that --config names: lines "name = value", '#' before comments; a flag's value is true or false. */
    bool configurable;
} command;

extern const option_row config_options[]; /* --config, of commands that are configurable */

/* Digits and a point, for an option's `parse`: strtod alone takes "inf", "-1" and "0x1p4" too. */
bool option_read_real(const char *value, double *out);

/* Reads argv (argv[0] is the command's name) and runs the command, or prints its help, or says what is wrong.
 */
exit_code command_main(const command *self, int argc, char **argv);
/* Appends {"folder": the current one, "arguments": [the words of the command that runs]}: what it takes to run it
 * once more. */
void command_append_words(magpie_text *out);

#endif
