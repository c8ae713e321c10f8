/* base.c - what magpie stands on: iALS (ials.c), in closed form, which says what is liked together; the network
 * learns what it does not say, above all order, recency and content. (Wide and deep, Cheng et al. 2016, with a
 * wide part that is solved for.)
 *
 *     logit += strength x 10 x . y_i,   strength learned, 1 at first; 10: iALS's scores are from 0 to 1
 *
 * y_i are iALS's item factors, fixed. x is solved for from the user's history, in training without the like
 * that is asked for (and what came later): so that in training it knows no more than it will. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ials_solve.h"
#include "neural.h"
#include "products.h"

static const float SCALE = 10;

magpie_status neural_base_fit(magpie_ranker *ranker, const ranker_training *training) {
    neural *net = ranker->state;
    magpie_ranker_options options = magpie_ranker_defaults(MAGPIE_RANKER_IALS);
    magpie_ranker_report report;
    ranker_training own = *training;
    ranker_tensor tensors[RANKER_TENSORS_MAX];
    const magpie_ranker_info info = {
        .kind = MAGPIE_RANKER_IALS, .users = ranker->info.users, .items = ranker->info.items};
    magpie_ranker *ials;
    options.factors = (double)net->shape.base;
    options.seed = ranker->options.seed;
    options.alpha = ranker->options.alpha;
    magpie_status status = ranker_create(&info, &options, &ials);
    if (status != MAGPIE_OK) return status;
    own.callback = NULL;
    own.validation = NULL;
    own.report = &report;
    status = ials->model->train(ials, &own, NULL);
    for (size_t i = ials->model->tensors(ials, tensors); i-- > 0 && status == MAGPIE_OK;)
        if (tensors[i].of == ROWS_ITEMS)
            memcpy(net->base, tensors[i].values, net->shape.items * net->shape.base * sizeof *net->base);
    magpie_ranker_close(ials);
    neural_base_prepare(net);
    return status;
}

void neural_base_prepare(neural *net) {
    if (net->shape.base) ials_gram(net->base, net->shape.items, net->shape.base, net->base_gram);
}

magpie_status neural_base_user(const magpie_ranker *ranker, const uint32_t *history, size_t n, float *scratch,
                               float *x) {
    const neural *net = ranker->state;
    const ials_side side = {
        net->base,       net->base_gram,        net->shape.items,
        net->shape.base, ranker->options.alpha, magpie_ranker_defaults(MAGPIE_RANKER_IALS).regularisation};
    double loss;
    magpie_status status = ials_solve(&side, history, NULL, n, scratch, x, &loss);
    for (size_t f = 0; f < net->shape.base; f++) x[f] *= SCALE;
    return status;
}

void neural_base_forward(const neural *net, const neural_part *part, neural_scratch *x) {
    const neural_shape *s = &net->shape;
    const neural_slots *items = &part->slots[TABLE_ITEMS];
    for (size_t i = 0; i < items->n; i++)
        memcpy(x->base_item + i * s->base, net->base + items->of[i] * s->base, s->base * sizeof(float));
    for (size_t g = 0; g < part->likes; g++)
        x->base[g * part->pairs] =
            neural_kernels_level(0)->dot(part->base_user + g * s->base, x->base_item + g * s->base, s->base);
    product_turned(part->likes, part->pairs - 1, s->base, part->base_user, s->base,
                   x->base_item + part->likes * s->base, s->base, x->base + 1, part->pairs);
}
