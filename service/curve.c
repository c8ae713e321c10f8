/* curve.c - see curve.h. */
#include "curve.h"

#include <math.h>

enum { WIDTH = 760, HEIGHT = 420, LEFT = 70, RIGHT = 70, TOP = 48, BOTTOM = 56, TICKS = 6 };

static const char loss_colour[] = "#1f5fa8", measure_colour[] = "#c2571a";

/* What an axis shows: `least` at its beginning, a mark every `step`. */
typedef struct axis {
    double least, most, step;
} axis;

/* 1, 2 or 5 times a power of ten, so that some TICKS marks cover the range. */
static axis axis_of(double least, double most) {
    double rough = fmax(most - least, 1e-9) / TICKS, power = pow(10, floor(log10(rough))),
           share = rough / power;
    double step = power * (share <= 1 ? 1 : share <= 2 ? 2 : share <= 5 ? 5 : 10);
    return (axis){floor(least / step) * step, ceil(most / step) * step, step};
}

static double share_of(const axis *a, double value) {
    return (value - a->least) / fmax(a->most - a->least, 1e-9);
}
static double x_of(const axis *a, double value) { return LEFT + share_of(a, value) * (WIDTH - LEFT - RIGHT); }
static double y_of(const axis *a, double value) {
    return HEIGHT - BOTTOM - share_of(a, value) * (HEIGHT - TOP - BOTTOM);
}

static void print_words(FILE *out, double x, double y, const char *anchor, const char *colour,
                        const char *words) {
    fprintf(out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\" fill=\"%s\">%s</text>\n", x, y, anchor,
            colour, words);
}

static size_t marks_of(const axis *a) { return (size_t)lrint((a->most - a->least) / a->step) + 1; }

/* Marks at the left, with lines across, or at the right. */
static void print_upright(FILE *out, const axis *a, bool left, const char *colour) {
    char words[32];
    for (size_t i = 0; i < marks_of(a); i++) {
        double value = a->least + (double)i * a->step, y = y_of(a, value);
        if (left)
            fprintf(out, "<line x1=\"%d\" y1=\"%.1f\" x2=\"%d\" y2=\"%.1f\" stroke=\"#e3e3e3\"/>\n", LEFT, y,
                    WIDTH - RIGHT, y);
        snprintf(words, sizeof words, "%.4g", value);
        print_words(out, left ? LEFT - 8 : WIDTH - RIGHT + 8, y + 4, left ? "end" : "start", colour, words);
    }
}

static void print_across(FILE *out, const axis *a) {
    char words[32];
    int y = HEIGHT - BOTTOM;
    fprintf(out, "<path d=\"M%d %dV%dH%dV%d\" fill=\"none\" stroke=\"#555\"/>\n", LEFT, TOP, y, WIDTH - RIGHT,
            TOP);
    for (size_t i = 0; i < marks_of(a); i++) {
        double value = a->least + (double)i * a->step;
        if (value != floor(value)) continue;
        fprintf(out, "<line x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\" stroke=\"#555\"/>\n", x_of(a, value),
                y, x_of(a, value), y + 5);
        snprintf(words, sizeof words, "%.0f", value);
        print_words(out, x_of(a, value), y + 20, "middle", "#333", words);
    }
    print_words(out, (LEFT + WIDTH - RIGHT) / 2.0, y + 42, "middle", "#333", "epoch");
}

static double value_of(const curve_point *point, bool measure) {
    return measure ? point->measure : point->loss;
}

static void print_curve(FILE *out, const axis *x, const axis *y, const curve_point *points, size_t n,
                        bool measure, const char *colour) {
    fprintf(out, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"2\" points=\"", colour);
    for (size_t i = 0; i < n; i++)
        fprintf(out, "%s%.1f,%.1f", i ? " " : "", x_of(x, (double)points[i].epoch),
                y_of(y, value_of(&points[i], measure)));
    fprintf(out, "\"/>\n");
    for (size_t i = 0; i < n && n == 1; i++) /* a line of one point is not seen */
        fprintf(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"%s\"/>\n",
                x_of(x, (double)points[i].epoch), y_of(y, value_of(&points[i], measure)), colour);
}

/* The last of those that were better than all before them. */
static const curve_point *kept_of(const curve_point *points, size_t n) {
    const curve_point *kept = points;
    for (size_t i = 0; i < n; i++)
        if (points[i].best) kept = &points[i];
    return kept;
}

static void print_kept(FILE *out, const axis *x, const axis *y, const char *measure,
                       const curve_point *kept) {
    char words[80];
    double at = x_of(x, (double)kept->epoch);
    bool late = at > WIDTH / 2.0;
    fprintf(out,
            "<line x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\" stroke=\"#888\" stroke-dasharray=\"4 4\"/>\n",
            at, TOP, at, HEIGHT - BOTTOM);
    fprintf(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\" fill=\"%s\"/>\n", at, y_of(y, kept->measure),
            measure_colour);
    snprintf(words, sizeof words, "kept: epoch %zu, %s %.3f", kept->epoch, measure, kept->measure);
    print_words(out, late ? at - 8 : at + 8, TOP + 16, late ? "end" : "start", "#333", words);
}

static void print(FILE *out, const char *title, const char *measure, const curve_point *points, size_t n) {
    double most_loss = 0, most_measure = 0;
    for (size_t i = 0; i < n; i++) {
        most_loss = fmax(most_loss, points[i].loss);
        most_measure = fmax(most_measure, points[i].measure);
    }
    const axis across = axis_of(0, (double)(n ? n : 1)), loss = axis_of(0, most_loss > 0 ? most_loss : 1),
               height = axis_of(0, most_measure > 0 ? most_measure : 1);
    fprintf(out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" "
            "font-family=\"sans-serif\" font-size=\"12\">\n<title>%s</title>\n"
            "<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/>\n",
            WIDTH, HEIGHT, WIDTH, HEIGHT, title, WIDTH, HEIGHT);
    print_upright(out, &loss, true, loss_colour);
    print_words(out, LEFT, TOP - 18, "middle", loss_colour, "loss");
    if (most_measure > 0) {
        char words[80];
        print_upright(out, &height, false, measure_colour);
        snprintf(words, sizeof words, "%s, validation", measure);
        print_words(out, WIDTH - RIGHT, TOP - 18, "middle", measure_colour, words);
    }
    print_across(out, &across);
    print_curve(out, &across, &loss, points, n, false, loss_colour);
    if (most_measure > 0) print_curve(out, &across, &height, points, n, true, measure_colour);
    if (most_measure > 0) print_kept(out, &across, &height, measure, kept_of(points, n));
    fprintf(out, "</svg>\n");
}

magpie_status curve_write(const char *path, const char *title, const char *measure, const curve_point *points,
                          size_t n) {
    magpie_atomic_file *file;
    magpie_status status = magpie_atomic_open(path, &file);
    if (status != MAGPIE_OK) return status;
    print(magpie_atomic_stream(file), title, measure, points, n);
    return magpie_atomic_commit(file);
}
