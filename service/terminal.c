/* terminal.c - widths are counted in columns (a CJK character has two, an accent none), and nothing from a
 * catalogue reaches the terminal as a control character: it could move the cursor or worse. */
#include "terminal.h"

#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <utf8proc.h>

enum { BAR_COLUMNS = 24, COLUMNS_WITHOUT_TERMINAL = 100, COLUMNS_LEAST = 20 };

static bool progress_shown;

static void format_time(double seconds, char *out, size_t size) {
    unsigned long s = seconds < 1e6 ? (unsigned long)(seconds + 0.5) : 999999;
    if (s >= 3600)
        snprintf(out, size, "%lu h %02lu min", s / 3600, s / 60 % 60);
    else if (s >= 60)
        snprintf(out, size, "%lu min %02lu s", s / 60, s % 60);
    else
        snprintf(out, size, "%lu s", s);
}

void terminal_show_progress(const terminal_progress *p) {
    char bar[BAR_COLUMNS + 1], left[40] = "", rates[60];
    const char *more = p->more ? p->more : "";
    if (!isatty(STDERR_FILENO)) return;
    double rate = p->seconds > 0 ? (double)p->items / p->seconds : 0;
    double share = p->total > 0 ? p->done / p->total : 0;
    memset(bar, '.', BAR_COLUMNS);
    bar[BAR_COLUMNS] = 0;
    memset(bar, '#', (size_t)(share * BAR_COLUMNS));
    if (share > 0.01 && p->seconds > 0.5) {
        char time[32];
        format_time(p->seconds / share * (1 - share), time, sizeof time);
        snprintf(left, sizeof left, ", %s left", time);
    }
    if (p->rate_now > 0)
        snprintf(rates, sizeof rates, "%.0f/s (mean %.0f)", p->rate_now, rate);
    else
        snprintf(rates, sizeof rates, "%.0f/s", rate);
    if (p->total > 0)
        fprintf(stderr, "\r\033[K[%s] %3.0f%%  %zu items, %s%s%s", bar, share * 100, p->items, rates, left,
                more);
    else
        fprintf(stderr, "\r\033[K%zu items, %s%s", p->items, rates, more);
    progress_shown = true;
}

void terminal_show_file(terminal_file *file, uint64_t bytes, uint64_t total, size_t lines, double seconds) {
    if (!file->started) *file = (terminal_file){.first = bytes, .started = true};
    terminal_show_progress(&(terminal_progress){.done = (double)(bytes - file->first),
                                                .total = (double)total - (double)file->first,
                                                .items = lines,
                                                .seconds = seconds});
}

void terminal_show_line(const char *line) {
    if (!isatty(STDERR_FILENO)) return;
    fprintf(stderr, "\r\033[K%s", line);
    progress_shown = true;
}

void terminal_clear_progress(void) {
    if (progress_shown) fputs("\r\033[K", stderr);
    progress_shown = false;
}

size_t terminal_columns_left(size_t used) {
    struct winsize window;
    const bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col >= COLUMNS_LEAST;
    const size_t columns = known ? window.ws_col : COLUMNS_WITHOUT_TERMINAL;
    return columns > used + COLUMNS_LEAST ? columns - used : COLUMNS_LEAST;
}

static bool is_control(utf8proc_int32_t point) {
    utf8proc_category_t category = utf8proc_category(point);
    return category == UTF8PROC_CATEGORY_CC || category == UTF8PROC_CATEGORY_CF ||
           category == UTF8PROC_CATEGORY_ZL || category == UTF8PROC_CATEGORY_ZP;
}

/* One character of `text` at *at: appends it, or a space where it is a control character. Returns its
 * columns. */
static size_t append_character(magpie_text *out, magpie_string text, size_t *at) {
    utf8proc_int32_t point;
    const utf8proc_uint8_t *from = (const utf8proc_uint8_t *)text.data + *at;
    utf8proc_ssize_t n = utf8proc_iterate(from, (utf8proc_ssize_t)(text.size - *at), &point);
    *at += n > 0 ? (size_t)n : 1;
    if (n <= 0 || is_control(point)) {
        magpie_text_append(out, " ", 1);
        return 1;
    }
    magpie_text_append(out, from, (size_t)n);
    int width = utf8proc_charwidth(point);
    return width > 0 ? (size_t)width : 0;
}

void terminal_append(magpie_text *out, magpie_string text) {
    for (size_t at = 0; at < text.size;) (void)append_character(out, text, &at);
}

size_t terminal_append_cut(magpie_text *out, magpie_string text, size_t columns) {
    size_t used = 0, fitting = 0, end = out->size; /* what still leaves room for an ellipsis */
    for (size_t at = 0; at < text.size;) {
        used += append_character(out, text, &at);
        if (used < columns) fitting = used, end = out->size;
        if (used <= columns) continue;
        out->size = end;
        magpie_text_append(out, "\xE2\x80\xA6", 3);
        return fitting + 1;
    }
    return used;
}

void terminal_append_cell(magpie_text *out, magpie_string text, size_t columns) {
    size_t used = terminal_append_cut(out, text, columns);
    magpie_text_printf(out, "%*s", (int)(columns - used), "");
}
