/* eval_measure.c - see eval_measure.h. */
#include "eval_measure.h"

#include "random.h"

#include <math.h>
#include <string.h>

/* ---- measuring ----------------------------------------------------------------------------------------- */

static const struct measures {
    const char *names[MEASURES_MAX + 1];
    size_t with_interval; /* the first of them, which are of the first k and called so */
} measures[] = {
    [EVAL_ONE] = {{"hr", "ndcg"}, 2},
    [EVAL_ALL] = {{"recall", "precision", "ndcg", "map", "mrr", "hr", "coverage", "novelty", "popularity"},
                  6}};

typedef struct asked {
    const eval_question *question;
    const magpie_ranker *ranker;
    uint64_t seed;
} asked;

static magpie_status score(void *context, uint32_t number, const uint32_t *items, size_t n, float *scores) {
    const asked *a = context;
    const bool *among = a->question->among;
    const magpie_ranker_user user = likes_user(a->question->seen, number);
    uint64_t random = magpie_seed(a->seed, number);
    magpie_status status = a->ranker ? magpie_ranker_score(a->ranker, &user, items, n, scores) : MAGPIE_OK;
    for (size_t i = 0; i < n && !a->ranker; i++) scores[i] = (float)(magpie_random(&random) >> 40);
    for (size_t i = 0; i < n && among && status == MAGPIE_OK; i++)
        if (!among[items ? items[i] : i]) scores[i] = -INFINITY;
    return status;
}

static magpie_status measure_one(const eval_question *q, const magpie_scorer *scorer, measured *out) {
    magpie_one_figures f;
    magpie_status status = magpie_evaluate_one(scorer, q->pairs->cases, q->pairs->n, q->k, 0, &f);
    if (status != MAGPIE_OK) return status;
    const magpie_figure figures[] = {f.hit_rate, f.ndcg};
    out->cases = f.cases;
    out->served = f.served;
    memcpy(out->figures, figures, sizeof figures);
    return MAGPIE_OK;
}

static magpie_figure without_interval(double x) { return (magpie_figure){x, (double)NAN, (double)NAN}; }

static magpie_status measure_all(const eval_question *q, const magpie_scorer *scorer, measured *out) {
    magpie_all_figures f;
    magpie_status status = magpie_evaluate_all(scorer, q->seen, q->test, q->k, 0, &f);
    if (status != MAGPIE_OK) return status;
    const magpie_figure figures[] = {f.recall,
                                     f.precision,
                                     f.ndcg,
                                     f.map,
                                     f.mrr,
                                     f.hit_rate,
                                     without_interval(f.coverage),
                                     without_interval(f.novelty),
                                     without_interval(f.popularity)};
    out->cases = f.users;
    out->served = f.served;
    memcpy(out->figures, figures, sizeof figures);
    return MAGPIE_OK;
}

magpie_status eval_measure(const eval_question *question, const magpie_ranker *ranker, const char *name,
                           uint64_t seed, measured *out) {
    asked a = {question, ranker, seed};
    const magpie_scorer scorer = {score, &a};
    *out = (measured){0};
    snprintf(out->model, sizeof out->model, "%s", name);
    return (question->protocol == EVAL_ONE ? measure_one : measure_all)(question, &scorer, out);
}

/* ---- rounds -------------------------------------------------------------------------------------------- */

/* Student's t, two-sided 95%, by degrees of freedom from 1; beyond, within a hundredth of the last. */
static double student(size_t freedom) {
    static const double t[] = {12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
                               2.201,  2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093};
    return t[(freedom < sizeof t / sizeof *t ? freedom : sizeof t / sizeof *t) - 1];
}

static magpie_figure mean_of(const measured *rounds, size_t n, size_t figure) {
    double mean = 0, squares = 0;
    for (size_t i = 0; i < n; i++) mean += rounds[i].figures[figure].mean / (double)n;
    for (size_t i = 0; i < n; i++) {
        const double off = rounds[i].figures[figure].mean - mean;
        squares += off * off;
    }
    const double half = student(n - 1) * sqrt(squares / (double)(n - 1) / (double)n);
    return (magpie_figure){mean, mean - half, mean + half};
}

void eval_measure_mean(const measured *rounds, size_t n, measured *out) {
    *out = rounds[0];
    for (size_t i = 1; i < n; i++) {
        out->cases += rounds[i].cases;
        out->served += rounds[i].served;
    }
    for (size_t f = 0; f < MEASURES_MAX && n > 1; f++) out->figures[f] = mean_of(rounds, n, f);
}

/* ---- answering ----------------------------------------------------------------------------------------- */

void eval_measure_append_json(magpie_text *out, eval_protocol protocol, size_t k, const measured *models,
                              size_t n) {
    const struct measures *m = &measures[protocol];
    magpie_text_append(out, "{", 1);
    for (size_t i = 0; i < n; i++) {
        magpie_text_printf(out, "%s", i ? ",\n " : "");
        magpie_text_json_string(out, models[i].model, strlen(models[i].model));
        magpie_text_printf(out, ": {");
        for (size_t f = 0; m->names[f]; f++) {
            const magpie_figure *x = &models[i].figures[f];
            magpie_text_printf(out, "\"%s@%zu\": %.9g, ", m->names[f], k, x->mean);
            if (!isnan(x->low))
                magpie_text_printf(out, "\"%s@%zu_interval\": [%.9g, %.9g], ", m->names[f], k, x->low,
                                   x->high);
        }
        magpie_text_printf(out, "\"%s\": %zu, \"served\": %zu}", protocol == EVAL_ONE ? "cases" : "users",
                           models[i].cases, models[i].served);
    }
    magpie_text_append(out, "}\n", 2);
}

void eval_measure_append_table(magpie_text *out, eval_protocol protocol, size_t k, const measured *models,
                               size_t n) {
    const struct measures *m = &measures[protocol];
    magpie_text_printf(out, "%-12s", "");
    for (size_t f = 0; m->names[f]; f++) {
        char name[32];
        snprintf(name, sizeof name, "%s@%zu", m->names[f], k);
        magpie_text_printf(out, f < m->with_interval ? " %13s" : " %10s",
                           f < m->with_interval ? name : m->names[f]);
    }
    magpie_text_printf(out, "   served\n");
    for (size_t i = 0; i < n; i++) {
        magpie_text_printf(out, "%-12s", models[i].model);
        for (size_t f = 0; m->names[f]; f++) {
            const magpie_figure *x = &models[i].figures[f];
            if (f < m->with_interval)
                magpie_text_printf(out, " %6.4f ±%5.4f", x->mean, (x->high - x->low) / 2);
            else
                magpie_text_printf(out, " %10.4f", x->mean);
        }
        magpie_text_printf(out, "   %zu of %zu\n", models[i].served, models[i].cases);
    }
}
