/* ingest_report.c - see ingest_report.h. Shares of the time are of a job's main thread, which encodes one kind after
 * the other with all threads; commits run beside it, on a thread of their own. */
#include "ingest_report.h"
#include "output.h"
#include "terminal.h"

#include <string.h>

static const double STRETCH_SECONDS = 3, JSON_SECONDS = 1;

typedef enum progress_kind { PROGRESS_AUTO, PROGRESS_JSON, PROGRESS_NONE } progress_kind;

static progress_kind kind;

/* ---- while it runs --------------------------------------------------------------------------------------- */

static void keep_pace(ingest_pace *pace, const magpie_ingest_progress *p) {
    if (!pace->started) *pace = (ingest_pace){.first = p->bytes, .started = true};
    const double seconds = p->seconds - pace->since;
    if (seconds < STRETCH_SECONDS) return;
    pace->rate = (double)(p->lines_done - pace->lines) / seconds;
    pace->since = p->seconds;
    pace->lines = p->lines_done;
}

static double mean_rate(const magpie_ingest_progress *p) {
    return p->seconds > 0 ? (double)p->lines_done / p->seconds : 0;
}

static double share_done(const ingest_pace *pace, const magpie_ingest_progress *p) {
    return p->total_bytes > pace->first
               ? (double)(p->bytes - pace->first) / (double)(p->total_bytes - pace->first)
               : 0;
}

static int percent(double seconds, const magpie_ingest_progress *p) {
    return p->seconds > 0 ? (int)(100 * seconds / p->seconds + 0.5) : 0;
}

static void show_line(const ingest_pace *pace, const magpie_ingest_progress *p) {
    char more[160];
    const size_t bad = p->rejected + p->pictures_refused + p->sounds_refused;
    int size = snprintf(more, sizeof more, "; texts %d%%, pictures %d%%, sounds %d%%, commits %d%%",
                        percent(p->text_seconds, p), percent(p->image_seconds, p),
                        percent(p->audio_seconds, p), percent(p->commit_seconds, p));
    if (bad) snprintf(more + size, sizeof more - (size_t)size, "; %zu rejected", bad);
    terminal_show_progress(&(terminal_progress){.done = (double)(p->bytes - pace->first),
                                                .total = (double)p->total_bytes - (double)pace->first,
                                                .items = p->lines_done,
                                                .seconds = p->seconds,
                                                .rate_now = pace->rate,
                                                .more = more});
}

static void append_counters(magpie_text *out, const magpie_ingest_progress *p) {
    magpie_text_printf(
        out,
        "{\"job\": \"%s\", \"lines\": %zu, \"lines_done\": %zu, \"encoded\": %zu, \"updated\": %zu, "
        "\"unchanged\": %zu, "
        "\"rejected\": %zu, \"committed\": %zu, \"deleted\": %zu, \"resumed_at\": %zu, "
        "\"pictures\": {\"encoded\": %zu, \"refused\": %zu}, \"sounds\": {\"encoded\": %zu, \"refused\": "
        "%zu}, \"passed_over\": %zu, \"seconds\": %.3f, \"text_seconds\": %.3f, \"image_seconds\": %.3f, "
        "\"audio_seconds\": "
        "%.3f, \"commit_seconds\": %.3f, \"waited_seconds\": %.3f, ",
        p->job, p->lines, p->lines_done, p->encoded, p->updated, p->unchanged, p->rejected, p->committed,
        p->deleted, p->resumed_at, p->pictures_encoded, p->pictures_refused, p->sounds_encoded,
        p->sounds_refused, p->passed_over, p->seconds, p->text_seconds, p->image_seconds, p->audio_seconds,
        p->commit_seconds, p->waited_seconds);
}

static void show_json(ingest_pace *pace, const magpie_ingest_progress *p) {
    magpie_text out = {0};
    if (p->seconds - pace->told < JSON_SECONDS) return;
    pace->told = p->seconds;
    const double share = share_done(pace, p);
    append_counters(&out, p);
    magpie_text_printf(&out, "\"rate_now\": %.1f, \"rate_mean\": %.1f, \"share\": %.4f, \"seconds_left\": ",
                       pace->rate > 0 ? pace->rate : mean_rate(p), mean_rate(p), share);
    if (share > 0)
        magpie_text_printf(&out, "%.1f}\n", p->seconds / share * (1 - share));
    else
        magpie_text_printf(&out, "null}\n");
    fputs(out.data ? out.data : "", stderr);
    magpie_text_free(&out);
}

void ingest_report_progress(ingest_pace *pace, const magpie_ingest_progress *p) {
    keep_pace(pace, p);
    if (kind == PROGRESS_AUTO) show_line(pace, p);
    if (kind == PROGRESS_JSON) show_json(pace, p);
}

/* ---- when it has ended ----------------------------------------------------------------------------------- */

bool ingest_report_has_rejects(const magpie_ingest_progress *p) {
    return p->rejected || p->pictures_refused || p->sounds_refused;
}

static void append_json(magpie_text *out, const magpie_ingest_progress *p, const char *rejects,
                        double index_seconds) {
    append_counters(out, p);
    magpie_text_printf(out, "\"index_seconds\": %.3f, \"not_deleted\": ", index_seconds);
    if (p->not_deleted)
        magpie_text_json_string(out, p->not_deleted, strlen(p->not_deleted));
    else
        magpie_text_printf(out, "null");
    magpie_text_printf(out, ", \"rejects\": ");
    if (ingest_report_has_rejects(p) && rejects)
        magpie_text_json_string(out, rejects, strlen(rejects));
    else
        magpie_text_printf(out, "null");
    magpie_text_printf(out, "}\n");
}

static void append_files(magpie_text *out, const char *things, size_t encoded, size_t refused) {
    if (encoded || refused)
        magpie_text_printf(out, "%s: %zu encoded, %zu refused\n", things, encoded, refused);
}

static void append_stage(magpie_text *out, const char *name, double seconds,
                         const magpie_ingest_progress *p) {
    magpie_text_printf(out, "  %-22s %9.1f s  %3d%%\n", name, seconds, percent(seconds, p));
}

/* Where the time went. */
static void append_stages(magpie_text *out, const magpie_ingest_progress *p, double index_seconds) {
    const double known = p->text_seconds + p->image_seconds + p->audio_seconds + p->waited_seconds;
    magpie_text_printf(out, "%.1f s, %.0f lines/s:\n", p->seconds, mean_rate(p));
    if (p->text_seconds > 0) append_stage(out, "texts", p->text_seconds, p);
    if (p->image_seconds > 0) append_stage(out, "pictures", p->image_seconds, p);
    if (p->audio_seconds > 0) append_stage(out, "sounds", p->audio_seconds, p);
    append_stage(out, "waiting for commits", p->waited_seconds, p);
    append_stage(out, "reading and comparing", p->seconds - known, p);
    magpie_text_printf(out, "  beside it, commits     %9.1f s\n  then, the indexes      %9.1f s\n",
                       p->commit_seconds, index_seconds);
}

static void append_sentences(magpie_text *out, const magpie_ingest_progress *p, const char *rejects,
                             double index_seconds) {
    if (p->resumed_at) magpie_text_printf(out, "went on after line %zu\n", p->resumed_at);
    if (*p->job) magpie_text_printf(out, "job %s: ", p->job);
    magpie_text_printf(out, "%zu lines: %zu encoded, %zu updated, %zu unchanged, %zu rejected", p->lines,
                       p->encoded, p->updated, p->unchanged, p->rejected);
    if (p->deleted) magpie_text_printf(out, ", %zu deleted", p->deleted);
    magpie_text_append(out, "\n", 1);
    if (p->not_deleted) magpie_text_printf(out, "nothing was deleted: %s\n", p->not_deleted);
    append_files(out, "pictures", p->pictures_encoded, p->pictures_refused);
    append_files(out, "sounds", p->sounds_encoded, p->sounds_refused);
    if (p->passed_over)
        magpie_text_printf(out, "%zu files of other kinds were passed over\n", p->passed_over);
    append_stages(out, p, index_seconds);
    if (ingest_report_has_rejects(p) && rejects)
        magpie_text_printf(out, "what was rejected or refused, and why, is in %s\n", rejects);
}

void ingest_report_append(magpie_text *out, const magpie_ingest_progress *p, const char *rejects,
                          double index_seconds) {
    (output_json ? append_json : append_sentences)(out, p, rejects, index_seconds);
}

/* ---- --progress ------------------------------------------------------------------------------------------ */

static magpie_status parse_kind(const char *value, void *target) {
    static const char *const names[] = {
        [PROGRESS_AUTO] = "auto", [PROGRESS_JSON] = "json", [PROGRESS_NONE] = "none"};
    for (progress_kind k = PROGRESS_AUTO; k <= PROGRESS_NONE; k++)
        if (strcmp(value, names[k]) == 0) return *(progress_kind *)target = k, MAGPIE_OK;
    return magpie_fail(MAGPIE_E_ARGUMENT, "auto, json or none is wanted, not \"%s\"", value);
}

const option_row ingest_report_options[] = {
    {.name = "progress",
     .argument = "KIND",
     .parse = parse_kind,
     .target = &kind,
     .help = "auto: a line where standard error is a terminal (default); json: a line of JSON on it every "
             "second; none"},
    {0}};
