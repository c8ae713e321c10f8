/* main.c - finds the command and hands over. */
#include "command.h"
#include "output.h"

#include <string.h>

static void print_help(void) {
    printf("magpie %s - multimodal recommendation and retrieval\n\nUsage: magpie COMMAND "
           "[options]\n\nCommands:\n",
           MAGPIE_VERSION);
    for (const command *const *c = all_commands; *c; c++) printf("  %-13s %s\n", (*c)->name, (*c)->summary);
    printf("\nmagpie COMMAND --help explains one. magpie --version prints the version.\n\n%s",
           exit_code_help);
}

static exit_code dispatch(int argc, char **argv) {
    if (argc < 2) {
        print_error("a command is needed; see magpie --help");
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_help();
        return EXIT_FINE;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("magpie %s\n", MAGPIE_VERSION);
        return EXIT_FINE;
    }
    for (const command *const *c = all_commands; *c; c++)
        if (strcmp(argv[1], (*c)->name) == 0) return command_main(*c, argc - 1, argv + 1);
    print_error("there is no command \"%s\"; see magpie --help", argv[1]);
    return EXIT_USAGE;
}

int main(int argc, char **argv) {
    output_begin();
    return (int)output_end(dispatch(argc, argv));
}
