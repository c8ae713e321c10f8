/* options.c - getopt_long behind the tables of options.h, with messages that say what to do. */
#include "options.h"
#include "output.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OPTIONS_MAX = 48, HELP_COLUMN = 28, HELP_WIDTH = 100, FIRST_VALUE = 256 /* above every letter */ };

const char exit_code_help[] =
    "Exit codes:\n"
    "  0    done\n"
    "  1    failed; standard error says why\n"
    "  2    the command line makes no sense\n"
    "  3    done, but something asked for was not found, or some lines, pictures or sounds were left out\n"
    "  4    check found problems\n"
    "  130  interrupted; what was committed stays\n";

/* All rows of all tables of a command, one behind the other. */
static size_t collect(const command *self, const option_row *rows[OPTIONS_MAX]) {
    size_t n = 0;
    for (const option_row *const *table = self->tables; *table; table++)
        for (const option_row *row = *table; row->name && n < OPTIONS_MAX; row++) rows[n++] = row;
    return n;
}

/* ---- help ---------------------------------------------------------------------------------------------- */

/* Each line of `text`, broken at spaces where it is too wide; it begins, and goes on, behind `indent`
 * columns. */
static void print_wrapped(const char *text, int indent) {
    while (*text) {
        const size_t size = strcspn(text, "\n"), room = (size_t)(HELP_WIDTH - indent);
        size_t cut = size <= room ? size : room;
        while (cut && cut < size && text[cut] != ' ') cut--;
        if (!cut) cut = size;
        printf("%.*s\n", (int)cut, text);
        text += cut + (text[cut] != 0); /* the space, or the end of the line */
        if (*text) printf("%*s", indent, "");
    }
}

static void print_row(char letter, const char *name, const char *argument, const char *help) {
    char left[64], letters[8] = "    ";
    if (letter) snprintf(letters, sizeof letters, "-%c, ", letter);
    int n = snprintf(left, sizeof left, "  %s--%s%s%s", letters, name, argument ? " " : "",
                     argument ? argument : "");
    if (n > HELP_COLUMN - 2)
        printf("%s\n%*s", left, HELP_COLUMN, "");
    else
        printf("%-*s", HELP_COLUMN, left);
    print_wrapped(help, HELP_COLUMN);
}

static void print_help(const command *self) {
    const option_row *rows[OPTIONS_MAX];
    size_t n = collect(self, rows);
    printf("magpie %s - %s\n\nUsage: magpie %s", self->name, self->summary, self->name);
    for (size_t i = 0; i < n; i++)
        if (rows[i]->required) printf(" --%s %s", rows[i]->name, rows[i]->argument);
    printf(" [options]%s%s\n\nOptions:\n", *self->operands ? " " : "", self->operands);
    for (size_t i = 0; i < n; i++)
        print_row(rows[i]->letter, rows[i]->name, rows[i]->argument, rows[i]->help);
    print_row('h', "help", NULL, "this text");
    if (*self->details) putchar('\n');
    print_wrapped(self->details, 0);
    printf("\n%s", exit_code_help);
}

/* ---- values -------------------------------------------------------------------------------------------- */

bool option_read_real(const char *value, double *out) {
    char *end;
    *out = strtod(value, &end);
    return *value && !*end && strspn(value, "0123456789.") == strlen(value) && isfinite(*out);
}

static magpie_status parse_number(const option_row *row, const char *value) {
    char *end;
    errno = 0;
    unsigned long long number = strtoull(value, &end, 10);
    bool digits = *value >= '0' && *value <= '9' && !*end; /* strtoull alone takes " -1" */
    if (!digits || errno || number < row->least || number > row->most)
        return magpie_fail(MAGPIE_E_ARGUMENT, "a whole number from %zu to %zu is wanted, not \"%s\"",
                           row->least, row->most, value);
    *row->number = (size_t)number;
    return MAGPIE_OK;
}

static magpie_status take_value(const option_row *row, const char *value) {
    if (row->flag) return *row->flag = true, MAGPIE_OK;
    if (row->number) return parse_number(row, value);
    if (row->parse) return row->parse(value, row->target);
    if (!*value && !row->may_be_empty) return magpie_fail(MAGPIE_E_ARGUMENT, "it is empty");
    *row->string = value;
    return MAGPIE_OK;
}

/* ---- the command line ---------------------------------------------------------------------------------- */

static exit_code misused(const command *self, const char *why) {
    print_error("%s: %s; see magpie %s --help", self->name, why, self->name);
    return EXIT_USAGE;
}

static void describe_for_getopt(const option_row **rows, size_t n, struct option *options, char *letters) {
    *letters++ = ':'; /* a missing value is told apart from an unknown option */
    for (size_t i = 0; i < n; i++) {
        options[i] = (struct option){rows[i]->name, rows[i]->argument ? required_argument : no_argument, NULL,
                                     FIRST_VALUE + (int)i};
        if (!rows[i]->letter) continue;
        *letters++ = rows[i]->letter;
        if (rows[i]->argument) *letters++ = ':';
    }
    options[n] = (struct option){"help", no_argument, NULL, 'h'};
    *letters++ = 'h';
    *letters = 0;
}

/* The row that getopt_long's answer stands for; `n` where there is none. */
static size_t find_row(const option_row **rows, size_t n, int answer) {
    size_t i = 0;
    if (answer >= FIRST_VALUE) return (size_t)(answer - FIRST_VALUE);
    while (i < n && rows[i]->letter != answer) i++;
    return i;
}

static exit_code check_what_was_given(const command *self, const option_row **rows, const bool *given,
                                      size_t n, int operands) {
    char why[160];
    for (size_t i = 0; i < n; i++)
        if (rows[i]->required && !given[i]) {
            snprintf(why, sizeof why, "--%s %s is needed", rows[i]->name, rows[i]->argument);
            return misused(self, why);
        }
    if (operands < self->least_operands) {
        snprintf(why, sizeof why, "%s is needed", self->operands);
        return misused(self, why);
    }
    if (operands > self->most_operands)
        return misused(self, *self->operands ? "too many arguments" : "it takes options only");
    return EXIT_FINE;
}

/* What getopt_long stumbled over. It names a letter in optopt, since letters may stand together in one
 * argument. */
static const char *name_culprit(int answer, char **argv, char *why, size_t size) {
    const char letter[] = {'-', (char)optopt, 0};
    const char *shown = optopt && optopt < FIRST_VALUE ? letter : argv[optind - 1];
    snprintf(why, size, answer == ':' ? "%s needs a value" : "there is no option %s", shown);
    return why;
}

static void print_parts(const command *self) {
    printf("magpie %s - %s\n\nUsage: magpie %s PART [options]\n\nParts:\n", self->name, self->summary,
           self->name);
    for (const command *const *part = self->parts; *part; part++)
        printf("  %-22s%s\n", (*part)->name, (*part)->summary);
    printf("\nmagpie %s PART --help explains one.\n", self->name);
    if (*self->details) printf("\n%s", self->details);
    printf("\n%s", exit_code_help);
}

static exit_code run_part(const command *self, int argc, char **argv) {
    char why[160];
    if (argc < 2) return misused(self, "a part is needed");
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) return print_parts(self), EXIT_FINE;
    for (const command *const *part = self->parts; *part; part++)
        if (strcmp((*part)->name + strlen(self->name) + 1, argv[1]) == 0)
            return command_main(*part, argc - 1, argv + 1);
    snprintf(why, sizeof why, "there is no part \"%.60s\"", argv[1]);
    return misused(self, why);
}

/* ---- environment and configuration file ---------------------------------------------------------------- */

enum { CONFIG_BYTES_MAX = 1 << 20 };

static const char *config_path;

const option_row config_options[] = {{.name = "config",
                                      .argument = "FILE",
                                      .string = &config_path,
                                      .help = "where what is not said here nor in the environment "
                                              "(MAGPIE_NAME for --name) is: lines name = value"},
                                     {0}};

/* `from` is put in front of what is wrong. */
static exit_code take_setting(const command *self, const option_row *row, const char *value,
                              const char *from) {
    char why[1200];
    magpie_status status = MAGPIE_OK;
    if (row->flag && (strcmp(value, "true") == 0 || strcmp(value, "1") == 0))
        *row->flag = true;
    else if (row->flag && strcmp(value, "false") != 0 && strcmp(value, "0") != 0)
        status = magpie_fail(MAGPIE_E_ARGUMENT, "true or false is wanted, not \"%s\"", value);
    else if (!row->flag)
        status = take_value(row, value);
    if (status == MAGPIE_OK) return EXIT_FINE;
    snprintf(why, sizeof why, "%s: %s", from, magpie_error());
    return misused(self, why);
}

static exit_code read_environment(const command *self, const option_row **rows, bool *given, size_t n) {
    exit_code code = EXIT_FINE;
    for (size_t i = 0; i < n && code == EXIT_FINE; i++) {
        char name[64];
        int size = snprintf(name, sizeof name, "MAGPIE_%s", rows[i]->name);
        for (int c = 0; c < size; c++) name[c] = name[c] == '-' ? '_' : (char)toupper((unsigned char)name[c]);
        const char *value = given[i] ? NULL : getenv(name);
        if (!value || !*value) continue;
        given[i] = true;
        code = take_setting(self, rows[i], value, name);
    }
    return code;
}

static char *trim(char *text) {
    text += strspn(text, " \t");
    for (size_t size = strlen(text); size && strchr(" \t\r", text[size - 1]);) text[--size] = 0;
    return text;
}

static exit_code read_setting(const command *self, const option_row **rows, bool *given, const bool *before,
                              size_t n, char *line, size_t number) {
    char from[300];
    char *name = trim(line), *equals = strchr(name, '=');
    snprintf(from, sizeof from, "%.200s:%zu", config_path, number);
    if (!*name || *name == '#') return EXIT_FINE;
    if (equals) *equals = 0;
    name = trim(name);
    for (size_t i = 0; i < n && equals; i++) {
        if (strcmp(rows[i]->name, name) != 0 || rows[i]->string == &config_path) continue;
        given[i] = true;
        snprintf(from, sizeof from, "%.200s:%zu: %.60s", config_path, number, name);
        return before[i] ? EXIT_FINE : take_setting(self, rows[i], trim(equals + 1), from);
    }
    print_error("%s: %s: %s \"%.60s\"", self->name, from,
                equals ? "there is no option" : "name = value is wanted, not", name);
    return EXIT_USAGE;
}

/* The values point into the file, which is kept. */
static exit_code read_config(const command *self, const option_row **rows, bool *given, size_t n) {
    static char *file;
    bool before[OPTIONS_MAX];
    exit_code code = EXIT_FINE;
    size_t number = 0;
    if (!config_path) return EXIT_FINE;
    if (magpie_file_read(config_path, CONFIG_BYTES_MAX, &file, NULL) != MAGPIE_OK) return print_failure();
    memcpy(before, given, sizeof before);
    for (char *at = file; at && code == EXIT_FINE;) {
        char *end = strchr(at, '\n');
        if (end) *end = 0;
        code = read_setting(self, rows, given, before, n, at, ++number);
        at = end ? end + 1 : NULL;
    }
    return code;
}

static char **words; /* of the command that runs; ends with NULL */

void command_append_words(magpie_text *out) {
    char *folder = getcwd(NULL, 0);
    magpie_text_printf(out, "{\"folder\": ");
    magpie_text_json_string(out, folder ? folder : "", folder ? strlen(folder) : 0);
    magpie_text_printf(out, ", \"arguments\": [");
    for (char **word = words; *word; word++) {
        magpie_text_printf(out, word == words ? "" : ", ");
        magpie_text_json_string(out, *word, strlen(*word));
    }
    magpie_text_printf(out, "]}");
    free(folder);
}

exit_code command_main(const command *self, int argc, char **argv) {
    if (self->parts) return run_part(self, argc, argv);
    words = argv;
    optind = 0; /* a command may run another */
    if (self->prepare) self->prepare();
    const option_row *rows[OPTIONS_MAX];
    bool given[OPTIONS_MAX] = {0};
    struct option options[OPTIONS_MAX + 2] = {0};
    char letters[2 * OPTIONS_MAX + 4], why[1200];
    size_t n = collect(self, rows);
    describe_for_getopt(rows, n, options, letters);
    opterr = 0;
    for (int answer; (answer = getopt_long(argc, argv, letters, options, NULL)) != -1;) {
        if (answer == 'h') {
            print_help(self);
            return EXIT_FINE;
        }
        if (answer == '?' || answer == ':') return misused(self, name_culprit(answer, argv, why, sizeof why));
        size_t row = find_row(rows, n, answer);
        given[row] = true;
        if (take_value(rows[row], optarg) == MAGPIE_OK) continue;
        snprintf(why, sizeof why, "--%s: %s", rows[row]->name, magpie_error());
        return misused(self, why);
    }
    exit_code code = self->configurable ? read_environment(self, rows, given, n) : EXIT_FINE;
    if (code == EXIT_FINE && self->configurable) code = read_config(self, rows, given, n);
    if (code == EXIT_FINE) code = check_what_was_given(self, rows, given, n, argc - optind);
    return code == EXIT_FINE ? self->run(argv + optind, argc - optind) : code;
}
