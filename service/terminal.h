/* terminal.h - what people see: the progress line and the width of things. */
#ifndef MAGPIE_TERMINAL_H
#define MAGPIE_TERMINAL_H

#include "core.h"

typedef struct terminal_progress {
    double done, total; /* in one unit; total 0: not known */
    size_t items;       /* so far */
    double seconds;     /* so far */
    double rate_now;    /* items a second, lately; 0: not known, the mean alone is shown */
    const char *more;   /* NULL: nothing else is shown */
} terminal_progress;

/* Redraws one line on standard error, where that is a terminal: share, items, rate, time left. */
void terminal_show_progress(const terminal_progress *progress);
/* The same of a file that is read on from where a run before has ended: `file` is all zero at first. */
typedef struct terminal_file {
    uint64_t first; /* byte of this run */
    bool started;
} terminal_file;

void terminal_show_file(terminal_file *file, uint64_t bytes, uint64_t total, size_t lines, double seconds);
/* The same for a line of another kind. */
void terminal_show_line(const char *line);
void terminal_clear_progress(void);

/* Columns of standard output, of the terminal, else 100, that are left behind `used` ones; some, be there
 * none. */
size_t terminal_columns_left(size_t used);
/* Appends as much of `text` as fits into `columns`, on one line: control characters become spaces, and what
 * was cut ends in an ellipsis. Returns the columns that it took. */
size_t terminal_append_cut(magpie_text *out, magpie_string text, size_t columns);
/* The same, filled up with spaces to exactly `columns`. */
void terminal_append_cell(magpie_text *out, magpie_string text, size_t columns);
/* The whole of it, made harmless in the same way. */
void terminal_append(magpie_text *out, magpie_string text);

#endif
