/* test_neural.h - the networks' formulas once more, plainly and in double, and a network to hold against them.
 * The formulas are in ranker/neural.h and ranker/magpie.c. */
#ifndef MAGPIE_TEST_NEURAL_H
#define MAGPIE_TEST_NEURAL_H

#include "seeded_model.h"

#include "neural.h"

enum { PLAIN_MAX = 512 /* numbers of a row, or of a layer */ };

static inline float random_between(random_state *r, double most) {
    return (float)(most * (2 * random_unit(r) - 1));
}

static inline void random_fill(random_state *r, float *x, size_t n, double most) {
    for (size_t i = 0; i < n; i++) x[i] = random_between(r, most);
}

static inline float *random_new(random_state *r, size_t n, double most) {
    float *x = calloc(n ? n : 1, sizeof *x);
    assert_non_null(x);
    random_fill(r, x, n, most);
    return x;
}

/* An untrained ranker whose numbers are all drawn; magpie_ranker_close gives it back. */
static inline magpie_ranker *random_ranker(random_state *r, const magpie_ranker_options *options,
                                           size_t users, size_t items, size_t content) {
    const magpie_ranker_info info = {
        .kind = options->kind, .users = users, .items = items, .content = content};
    magpie_ranker *ranker;
    assert_ok(ranker_create(&info, options, &ranker));
    for (size_t t = 0; t <= NEURAL_TABLES; t++) {
        neural_table *table = &((neural *)ranker->state)->table[t];
        random_fill(r, table->values, table->rows * table->columns, 0.6);
    }
    return ranker;
}

/* The numbers of a network, in double. */
typedef struct plain {
    const neural_shape *shape;
    double *of[NEURAL_TABLES + 1]; /* the tables, then the dense numbers */
} plain;

static inline plain plain_copy(neural *net) {
    plain p = {.shape = &net->shape};
    for (size_t t = 0; t <= NEURAL_TABLES; t++) {
        const neural_table *table = &net->table[t];
        size_t n = table->rows * table->columns;
        p.of[t] = calloc(n ? n : 1, sizeof *p.of[t]);
        assert_non_null(p.of[t]);
        for (size_t i = 0; i < n; i++) p.of[t][i] = table->values[i];
    }
    return p;
}

static inline void plain_free(plain *p) {
    for (size_t t = 0; t <= NEURAL_TABLES; t++) free(p->of[t]);
}

/* z [value]: what head h makes of n rows of the history's table, the most recent one first. */
static inline void plain_attend(const plain *p, size_t h, const uint32_t *history, size_t n, double *z) {
    const neural_shape *s = p->shape;
    const double *w = p->of[NEURAL_TABLES], *rows = p->of[TABLE_HISTORY];
    double a[NEURAL_HISTORY_MAX], squares = 0;
    for (size_t j = 0; j < n; j++) {
        double score = w[s->position + h * s->history + j];
        for (size_t i = 0; i < s->value; i++)
            score += w[s->key + h * s->value + i] * rows[history[j] * s->value + i];
        a[j] = exp(score);
        squares += a[j] * a[j];
    }
    for (size_t i = 0; i < s->value; i++) {
        z[i] = 0;
        for (size_t j = 0; j < n; j++) z[i] += a[j] / sqrt(squares) * rows[history[j] * s->value + i];
    }
}

/* x [row] of a user, without the table's row where that is NOBODY. times [heads, value]: of the mixtures;
 * NULL: 1. */
static inline void plain_user(const plain *p, uint32_t user, const uint32_t *history, size_t n,
                              const double *times, double *x) {
    const neural_shape *s = p->shape;
    const double *w = p->of[NEURAL_TABLES];
    double z[PLAIN_MAX];
    for (size_t i = 0; i < s->row; i++)
        x[i] = user == MAGPIE_RANKER_NOBODY ? 0 : p->of[TABLE_USERS][user * s->row + i];
    if (!s->heads) return;
    for (size_t h = 0; h < s->heads; h++) plain_attend(p, h, history, n, z + h * s->value);
    for (size_t i = 0; i < s->row; i++) {
        x[i] += w[s->mix_bias + i];
        for (size_t k = 0; k < s->heads * s->value; k++)
            x[i] += z[k] * (times ? times[k] : 1) * w[s->mix + k * s->row + i];
    }
}

/* y [row] of an item, without the table's row where that is NOBODY, without content where that is NULL. */
static inline void plain_item(const plain *p, uint32_t item, const float *content, double *y) {
    const neural_shape *s = p->shape;
    for (size_t i = 0; i < s->row; i++) {
        y[i] = item == MAGPIE_RANKER_NOBODY ? 0 : p->of[TABLE_ITEMS][item * s->row + i];
        for (size_t k = 0; content && k < s->content; k++)
            y[i] += (double)content[k] * p->of[NEURAL_TABLES][s->project + k * s->row + i];
    }
}

/* h [width 0] of the tower's first layer, before the relu. */
static inline void plain_first(const plain *p, const double *x, const double *y, double *h) {
    const neural_shape *s = p->shape;
    const double *w = p->of[NEURAL_TABLES];
    for (size_t o = 0; o < s->width[0]; o++) {
        h[o] = w[s->layer_bias[0] + o];
        for (size_t i = 0; i < s->mlp; i++)
            h[o] += x[s->gmf + i] * w[s->first_user + i * s->width[0] + o] +
                    y[s->gmf + i] * w[s->first_item + i * s->width[0] + o];
    }
}

/* h [layers][width]: of every layer of the tower, before the relu. */
static inline void plain_tower(const plain *p, const double *x, const double *y, double h[][PLAIN_MAX]) {
    const neural_shape *s = p->shape;
    const double *w = p->of[NEURAL_TABLES];
    if (s->layers) plain_first(p, x, y, h[0]);
    for (size_t l = 1; l < s->layers; l++)
        for (size_t o = 0; o < s->width[l]; o++) {
            h[l][o] = w[s->layer_bias[l] + o];
            for (size_t i = 0; i < s->width[l - 1]; i++)
                h[l][o] += fmax(h[l - 1][i], 0) * w[s->layer[l] + i * s->width[l] + o];
        }
}

static inline double plain_logit(const plain *p, const double *x, const double *y) {
    const neural_shape *s = p->shape;
    const double *w = p->of[NEURAL_TABLES];
    double h[NEURAL_LAYERS_MAX][PLAIN_MAX], logit = w[s->out_bias];
    if (s->bias) logit += x[s->row - 1] + y[s->row - 1];
    for (size_t i = 0; i < s->gmf; i++) logit += w[s->out_gmf + i] * x[i] * y[i];
    plain_tower(p, x, y, h);
    for (size_t i = 0; s->layers && i < s->width[s->layers - 1]; i++)
        logit += w[s->out_mlp + i] * fmax(h[s->layers - 1][i], 0);
    return logit;
}

/* log(1 + e^x) */
static inline double plain_softplus(double x) { return fmax(x, 0) + log1p(exp(-fabs(x))); }

/* Of a like among `items`: logits [pairs], its own first, -INFINITY where a pair does not count. */
static inline double plain_loss(magpie_ranker_loss kind, size_t items, const double *logits, size_t pairs) {
    const double drawn = log((double)items / (double)(pairs - 1));
    double binary = plain_softplus(-logits[0]), ranking = 0, sum = 1;
    for (size_t j = 1; j < pairs; j++) {
        binary += plain_softplus(logits[j]);
        ranking += plain_softplus(logits[j] - logits[0]);
        sum += exp(logits[j] - logits[0] + drawn);
    }
    return kind == MAGPIE_RANKER_BCE ? binary : kind == MAGPIE_RANKER_BPR ? ranking : log(sum);
}

#endif
