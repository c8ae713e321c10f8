/* output.c - errors, and the three standard streams. */
#include "output.h"
#include "terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool output_json;

const option_row json_options[] = {
    {.name = "json", .flag = &output_json, .help = "answer in JSON, for machines"}, {0}};

static void print_line(const char *prefix, char *line) {
    for (char *c = line; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7F)
            *c = ' '; /* an id may hold anything, a terminal's escapes too */
    terminal_clear_progress();
    fprintf(stderr, "%s%s\n", prefix, line);
}

void print_error(const char *format, ...) {
    char line[2048];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    print_line("magpie: ", line);
}

exit_code print_failure(void) {
    print_error("%s", magpie_error());
    return EXIT_FAILED;
}

static void print_log(void *context, magpie_log_level level, const char *message) {
    (void)context;
    (void)level;
    char line[2048];
    snprintf(line, sizeof line, "%s", message);
    print_line("magpie: warning: ", line);
}

/* Opened the wrong way round, so that using a stream that was closed fails as it should. */
static void occupy_descriptors(void) {
    static const int modes[] = {O_WRONLY, O_RDONLY, O_RDWR};
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", modes[fd]) < 0) _exit(EXIT_FAILED);
}

void output_begin(void) {
    occupy_descriptors();
    signal(SIGPIPE, SIG_IGN);
    magpie_log_to(print_log, NULL, MAGPIE_LOG_WARNING);
}

static exit_code output_failed(int error_number) {
    print_error("cannot write standard output: %s", strerror(error_number));
    return EXIT_FAILED;
}

exit_code output_text(magpie_text *text) {
    if (magpie_text_status(text) != MAGPIE_OK) return print_failure();
    size_t written = fwrite(text->data, 1, text->size, stdout);
    bool whole = written == text->size;
    magpie_text_clear(text);
    return whole ? EXIT_FINE : output_failed(errno);
}

exit_code output_and_free(magpie_text *text) {
    exit_code code = output_text(text);
    magpie_text_free(text);
    return code;
}

exit_code output_end(exit_code code) {
    errno = 0;
    bool failed = ferror(stdout) != 0;
    if (fflush(stdout) != 0) failed = true;
    return failed && code != EXIT_FAILED ? output_failed(errno ? errno : EIO) : code;
}
