/* tune_search.c - see tune_search.h.
 *
 * Time is shared out by rung. From the second on, a rung costs half of the first, as nothing is trained twice:
 * half as many candidates go on for as many epochs again as they have had. A network goes on from its
 * training.state, under the schedule of all epochs; ials goes on from its own model, which is the same as
 * having run longer. */
#include "tune_search.h"

#include "interrupt.h"
#include "random.h"
#include "ranker_parameters.h"
#include "scratch.h"
#include "terminal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { DRAWS = 1000 /* that come to nothing new, and there is nothing new */ };

typedef struct search {
    const likes *likes;
    const tune_options *options;
    tune_result *out;
    scratch scratch;
    double began, end; /* of the bracket, of all */
    /* of the training that runs: */
    tune_candidate *candidate;
    size_t rung, target; /* from 0; epochs to be reached */
    double stop;         /* when it must be over */
    double longest;      /* of all candidates, in seconds */
} search;

/* ---- candidates ---------------------------------------------------------------------------------------- */

bool tune_is_searched(const magpie_ranker_options *start, const magpie_ranker_parameter *parameter,
                      double *from, double *to) {
    return parameter->kinds >> start->kind & 1 && !ranker_parameter_is_given(parameter) &&
           magpie_ranker_parameter_range(start->kind, parameter, from, to);
}

static double unit(uint64_t *random) { return (double)(magpie_random(random) >> 11) * 0x1p-53; }

static double draw_value(const magpie_ranker_parameter *p, double from, double to, uint64_t *random) {
    const double at = unit(random);
    if (p->by_ratio) {
        const double value = from * pow(to / from, at);
        return p->whole ? round(value) : value;
    }
    return p->whole ? floor(from + at * (to - from + 1)) : from + at * (to - from);
}

static bool is_new(const search *s, const magpie_ranker_options *o) {
    for (size_t i = 0; i < s->out->n; i++) {
        const magpie_ranker_parameter *p = magpie_ranker_parameters;
        const magpie_ranker_options *other = &s->out->candidates[i].options;
        while (p->name && magpie_ranker_parameter_of(o, p) == magpie_ranker_parameter_of(other, p)) p++;
        if (!p->name) return false;
    }
    return true;
}

/* For candidate `number`, what none had before it; false: there seems to be no more. */
static bool draw_options(const search *s, size_t number, magpie_ranker_options *out) {
    const magpie_ranker_options *start = &s->options->start;
    uint64_t random = magpie_seed(start->seed, number);
    double from, to;
    *out = *start;
    for (size_t i = 0; i < DRAWS && !is_new(s, out); i++) {
        *out = *start;
        for (const magpie_ranker_parameter *p = magpie_ranker_parameters; p->name; p++)
            if (tune_is_searched(start, p, &from, &to) && unit(&random) < 0.5)
                *magpie_ranker_parameter_at(out, p) = draw_value(p, from, to, &random);
    }
    return is_new(s, out);
}

static int compare(const void *a, const void *b) {
    const tune_candidate *x = a, *y = b;
    if (x->measured != y->measured) return x->measured ? -1 : 1;
    if (x->hit_rate != y->hit_rate) return x->hit_rate > y->hit_rate ? -1 : 1;
    return (x->number > y->number) - (x->number < y->number);
}

/* ---- one training -------------------------------------------------------------------------------------- */

static bool is_network(magpie_ranker_kind kind) {
    return kind == MAGPIE_RANKER_MF || kind == MAGPIE_RANKER_GMF || kind == MAGPIE_RANKER_MLP ||
           kind == MAGPIE_RANKER_NEUMF || kind == MAGPIE_RANKER_MAGPIE;
}

static double best_so_far(const search *s) {
    double best = 0;
    for (size_t i = 0; i < s->out->n; i++) best = fmax(best, s->out->candidates[i].hit_rate);
    return best;
}

static void show(const search *s, size_t epoch) {
    char line[200], epochs[48] = "";
    if (s->target) snprintf(epochs, sizeof epochs, "  epoch %zu/%zu", epoch, s->target);
    snprintf(line, sizeof line, "rung %zu/%zu  candidate %zu of %zu%s  best HR@10 %.4f  %.0f s left",
             s->rung + 1, s->out->rungs, s->candidate->number + 1, s->out->n, epochs, best_so_far(s),
             fmax(s->end - magpie_seconds(), 0));
    terminal_show_line(line);
}

static magpie_status watch(void *context, const magpie_ranker_progress *p) {
    search *s = context;
    tune_candidate *c = s->candidate;
    const bool network = is_network(c->options.kind);
    show(s, network ? p->epoch : c->epochs + p->epoch);
    if (network && p->epoch_ended && !p->resumed) {
        c->epochs = p->epoch;
        c->hit_rate = c->options.patience > 0 ? fmax(c->hit_rate, p->hit_rate) : p->hit_rate;
        c->measured = true;
    }
    if (network && p->epoch_ended && p->epoch >= s->target && p->epoch < p->epochs)
        return magpie_fail(MAGPIE_E_CANCELLED, "the rung is reached");
    if (interrupt_came()) return magpie_fail(MAGPIE_E_CANCELLED, "interrupted");
    return magpie_seconds() < s->stop ? MAGPIE_OK : magpie_fail(MAGPIE_E_CANCELLED, "the time is over");
}

/* What was not stopped. */
static void take_report(search *s, const magpie_ranker_report *report) {
    tune_candidate *c = s->candidate;
    const bool network = is_network(c->options.kind);
    if (!network) c->hit_rate = report->hit_rate;
    c->epochs = network ? report->epochs : s->target;
    c->finished = network || s->rung + 1 == s->out->rungs;
    c->measured = true;
}

static magpie_status train(search *s, tune_candidate *c, const char *folder) {
    const char *const own[] = {folder, NULL};
    magpie_ranker_options o = c->options;
    magpie_ranker_report report;
    const double began = magpie_seconds();
    o.validate = true;
    if (is_network(o.kind))
        o.resume = c->epochs > 0;
    else if (s->target) {
        o.from = c->epochs ? own : NULL;
        o.epochs = (double)(s->target - c->epochs);
    }
    s->candidate = c;
    show(s, c->epochs);
    magpie_status status =
        magpie_ranker_train(&s->likes->all, &s->likes->content, &o, folder, watch, s, &report);
    if (status == MAGPIE_OK) take_report(s, &report);
    c->seconds += magpie_seconds() - began;
    s->longest = fmax(s->longest, c->seconds);
    return status == MAGPIE_E_CANCELLED ? MAGPIE_OK : status;
}

static char *folder_of(const search *s, const tune_candidate *c) {
    char name[32];
    snprintf(name, sizeof name, "%zu", c->number);
    return magpie_path_join(s->scratch.path, name);
}

static magpie_status advance(search *s, tune_candidate *c) {
    char *folder = folder_of(s, c);
    magpie_status status = folder ? train(s, c, folder) : MAGPIE_E_NO_MEMORY;
    free(folder);
    return status;
}

static magpie_status drop(search *s, const tune_candidate *c) {
    char *folder = folder_of(s, c);
    magpie_status status = folder ? scratch_remove_folder(folder) : MAGPIE_E_NO_MEMORY;
    free(folder);
    return status;
}

/* ---- rungs --------------------------------------------------------------------------------------------- */

static size_t rungs_of(const magpie_ranker_options *start) {
    size_t rungs = 1;
    while (rungs < TUNE_RUNGS_MOST && start->epochs >= (double)((size_t)1 << rungs)) rungs++;
    return rungs;
}

/* Epochs of a rung; the last one's are all. 0 where the model has none. */
static size_t target_of(const search *s, size_t rung) {
    const size_t halvings = s->out->rungs - 1 - rung, epochs = (size_t)s->options->start.epochs;
    return (epochs + ((size_t)1 << halvings) - 1) >> halvings;
}

static void begin_rung(search *s, size_t rung) {
    s->rung = rung;
    s->target = target_of(s, rung);
    s->stop = s->began + (s->end - s->began) * (double)(rung + 2) / (double)(s->out->rungs + 1);
    if (rung + 1 == s->out->rungs) s->stop = s->end;
}

/* Whether there is time for one more. A model that is had in one step cannot be stopped. */
static bool has_time(const search *s) {
    const double now = magpie_seconds();
    const bool stoppable = s->options->start.epochs > 0;
    return !interrupt_came() && now < s->stop && (stoppable || now + s->longest < s->stop);
}

/* New candidates, as long as there is time. The first of a rung may take what is left for all. */
static magpie_status first_rung(search *s) {
    tune_result *out = s->out;
    const size_t first = out->n;
    magpie_status status = MAGPIE_OK;
    for (begin_rung(s, 0); out->n < s->options->candidates && status == MAGPIE_OK; begin_rung(s, 0)) {
        if (out->n == first) s->stop = s->end;
        if (!has_time(s)) break;
        tune_candidate *c = &out->candidates[out->n];
        *c = (tune_candidate){.number = out->n};
        if (!draw_options(s, c->number, &c->options)) break;
        out->n++;
        status = advance(s, c);
        if (status == MAGPIE_OK && !s->options->start.epochs) status = drop(s, c);
    }
    return status;
}

/* These go on, in order; *n becomes the number of those that did. */
static magpie_status next_rung(search *s, size_t rung, tune_candidate *candidates, size_t *n) {
    magpie_status status = MAGPIE_OK;
    size_t reached = 0;
    for (; reached < *n && status == MAGPIE_OK; reached++) {
        begin_rung(s, rung);
        if (!reached) s->stop = s->end;
        if (!has_time(s)) break;
        if (!candidates[reached].finished) status = advance(s, &candidates[reached]);
    }
    *n = reached;
    return status;
}

/* The best first, without those that were not measured. */
static size_t sort(tune_candidate *candidates, size_t n) {
    qsort(candidates, n, sizeof *candidates, compare);
    while (n && !candidates[n - 1].measured) n--;
    return n;
}

static magpie_status run_bracket(search *s) {
    tune_result *out = s->out;
    tune_candidate *own = out->candidates + out->n;
    const size_t before = out->n;
    s->began = magpie_seconds();
    magpie_status status = first_rung(s);
    size_t alive = out->n - before;
    for (size_t rung = 1; rung < out->rungs && alive && status == MAGPIE_OK; rung++) {
        alive = (sort(own, alive) + 1) / 2;
        for (size_t i = alive; i < out->n - before && status == MAGPIE_OK; i++) status = drop(s, &own[i]);
        if (status == MAGPIE_OK) status = next_rung(s, rung, own, &alive);
    }
    return status;
}

/* Where a bracket leaves time, because candidates end early, there is another one. */
static magpie_status run_brackets(search *s) {
    tune_result *out = s->out;
    size_t before;
    magpie_status status;
    do {
        before = out->n;
        status = run_bracket(s);
    } while (status == MAGPIE_OK && out->n > before);
    out->n = sort(out->candidates, out->n);
    return status;
}

magpie_status tune_search(const likes *likes, const char *store, const tune_options *options,
                          tune_result *out) {
    search s = {.likes = likes, .options = options, .out = out};
    const double began = magpie_seconds();
    s.end = began + options->budget;
    *out = (tune_result){.rungs = rungs_of(&options->start)};
    interrupt_listen();
    magpie_status status = scratch_create(store, &s.scratch);
    if (status == MAGPIE_OK) status = run_brackets(&s);
    status = scratch_end(&s.scratch, status);
    terminal_clear_progress();
    out->seconds = magpie_seconds() - began;
    out->interrupted = interrupt_came();
    if (status != MAGPIE_OK || out->n) return status;
    return magpie_fail(MAGPIE_E_CANCELLED, "nothing was measured in %g seconds: a larger --budget is needed",
                       options->budget);
}
