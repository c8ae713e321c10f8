/* options.c - what tunes the models, and what is good for each: measured on MovieLens-100k by hand, networks
 * but roughly. */
#include "model.h"

#include <string.h>

enum {
    POPULARITY = 1 << MAGPIE_RANKER_POPULARITY,
    ITEMKNN = 1 << MAGPIE_RANKER_ITEMKNN,
    PURESVD = 1 << MAGPIE_RANKER_PURESVD,
    EASE = 1 << MAGPIE_RANKER_EASE,
    MF = 1 << MAGPIE_RANKER_MF,
    IALS = 1 << MAGPIE_RANKER_IALS,
    MAGPIE = 1 << MAGPIE_RANKER_MAGPIE,
    TOWERS = 1 << MAGPIE_RANKER_MLP | 1 << MAGPIE_RANKER_NEUMF | MAGPIE,
    NETWORKS = MF | 1 << MAGPIE_RANKER_GMF | TOWERS
};

#define ROW(parameter, member, lowest, highest, is_whole, is_ratio, concerns, words)                         \
    {                                                                                                        \
        .name = parameter, .help = words, .offset = offsetof(magpie_ranker_options, member),                 \
        .least = lowest, .most = highest, .whole = is_whole, .by_ratio = is_ratio, .kinds = concerns         \
    }

const magpie_ranker_parameter magpie_ranker_parameters[] = {
    ROW("half-life", half_life, 0, 1e6, false, true, POPULARITY,
        "days until a like counts half; 0: it always counts"),
    ROW("neighbours", neighbours, 1, 10000, true, true, ITEMKNN, "that are kept of each item"),
    ROW("shrink", shrink, 0, 1e6, false, false, ITEMKNN, "is added to what the cosine divides by"),
    ROW("bm25", bm25, 0, 1, true, false, ITEMKNN, "1: weights of BM25; 0: the cosine"),
    ROW("factors", factors, 1, RANKER_FACTORS_MOST, true, true, PURESVD | IALS | NETWORKS,
        "numbers of a user and of an item"),
    ROW("regularisation", regularisation, 0, 1e6, false, true, EASE | IALS | NETWORKS,
        "how strongly weights are held back"),
    ROW("weighted", weighted, 0, 1, true, false, IALS, "1: likes count by their weights; 0: all alike"),
    ROW("alpha", alpha, 0, 1e3, false, true, IALS | MAGPIE, "the weight of what is not liked"),
    ROW("tower", tower, 0, 1024, true, true, MAGPIE, "width of the tower's last layer; 0: factors"),
    ROW("layers", layers, 1, 8, true, false, TOWERS, "hidden layers of the tower"),
    ROW("loss", loss, 0, MAGPIE_RANKER_SOFTMAX, true, false, NETWORKS,
        "0: binary cross entropy, 1: BPR, 2: sampled softmax"),
    ROW("negatives", negatives, 1, 65536, true, true, NETWORKS,
        "drawn for each like; magpie: for each batch"),
    ROW("batch", batch, 1, 1 << 20, true, true, NETWORKS, "samples, negatives among them; magpie: likes"),
    ROW("epochs", epochs, 1, 100000, true, false, IALS | NETWORKS, "at most"),
    ROW("patience", patience, 0, 100000, true, false, NETWORKS,
        "epochs without a better one; 0: all are run"),
    ROW("rate", rate, 1e-7, 10, false, true, NETWORKS, "of learning, at its highest"),
    ROW("anneal", anneal, 0, 1, true, false, NETWORKS,
        "1: the rate rises, then falls to 0 over all epochs; 0: it stays"),
    ROW("init", init, 1e-6, 10, false, true, NETWORKS, "standard deviation of embeddings at the beginning"),
    ROW("dropout", dropout, 0, 0.95, false, false, MAGPIE,
        "share left out of what goes into a user's vector"),
    ROW("history", history, 1, 1000, true, true, MAGPIE, "likes that count, most recent first"),
    ROW("base", base, 0, 256, true, true, MAGPIE, "factors of the iALS underneath; 0: none"),
    ROW("heads", heads, 1, 16, true, false, MAGPIE, "of the attention over the history"),
    ROW("recency", recency, 0, 10, false, false, MAGPIE,
        "by how much older likes count less before anything is learned"),
    ROW("drop-user", drop_user, 0, 1, false, false, MAGPIE,
        "share of users whose own row is left out in training"),
    ROW("drop-item", drop_item, 0, 1, false, false, MAGPIE,
        "share of items whose own row is left out in training"),
    ROW("later", later, 0, 1, true, false, MAGPIE, "1: what was liked later is history too"),
    {.name = NULL}};

/* Those that matter most, as far as they are worth their time. */
static const struct {
    const char *name;
    unsigned kinds;
    double from, to;
} ranges[] = {{"half-life", POPULARITY, 1, 3650},
              {"neighbours", ITEMKNN, 5, 500},
              {"shrink", ITEMKNN, 0, 200},
              {"bm25", ITEMKNN, 0, 1},
              {"factors", PURESVD | IALS, 8, 128},
              {"factors", NETWORKS & ~MAGPIE, 4, 64},
              {"factors", MAGPIE, 16, 128},
              {"regularisation", EASE, 10, 10000},
              {"regularisation", IALS, 3e-4, 0.3},
              {"regularisation", NETWORKS & ~MAGPIE, 1e-8, 1e-3},
              {"regularisation", MAGPIE, 1e-7, 1e-3},
              {"alpha", IALS, 0.01, 3},
              {"alpha", MAGPIE, 0.05, 1},
              {"base", MAGPIE, 8, 64},
              {"negatives", NETWORKS & ~MAGPIE, 1, 16},
              {"negatives", MAGPIE, 64, 1024},
              {"batch", NETWORKS, 64, 2048},
              {"rate", NETWORKS, 2e-4, 0.02},
              {"dropout", MAGPIE, 0, 0.8},
              {"recency", MAGPIE, 0, 1.5},
              {"drop-user", MAGPIE, 0, 0.9}};

bool magpie_ranker_parameter_range(magpie_ranker_kind kind, const magpie_ranker_parameter *parameter,
                                   double *from, double *to) {
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        if (!(ranges[i].kinds >> kind & 1) || strcmp(ranges[i].name, parameter->name) != 0) continue;
        *from = ranges[i].from;
        *to = ranges[i].to;
        return true;
    }
    return false;
}

double *magpie_ranker_parameter_at(magpie_ranker_options *options, const magpie_ranker_parameter *parameter) {
    return (double *)((char *)options + parameter->offset);
}

double magpie_ranker_parameter_of(const magpie_ranker_options *options,
                                  const magpie_ranker_parameter *parameter) {
    return *(const double *)((const char *)options + parameter->offset);
}

magpie_ranker_options magpie_ranker_defaults(magpie_ranker_kind kind) {
    magpie_ranker_options o = {.kind = kind, .seed = 1};
    switch (kind) {
    case MAGPIE_RANKER_ITEMKNN:
        o.neighbours = 50;
        o.shrink = 10;
        o.bm25 = 1;
        return o;
    case MAGPIE_RANKER_PURESVD: o.factors = 20; return o;
    case MAGPIE_RANKER_EASE: o.regularisation = 400; return o;
    case MAGPIE_RANKER_IALS:
        o.factors = 32;
        o.regularisation = 0.015;
        o.alpha = 0.3;
        o.epochs = 16;
        return o;
    case MAGPIE_RANKER_POPULARITY: o.half_life = 90; return o;
    case MAGPIE_RANKER_KINDS: return o;
    case MAGPIE_RANKER_MF:
    case MAGPIE_RANKER_GMF:
    case MAGPIE_RANKER_MLP:
    case MAGPIE_RANKER_NEUMF:
        o.factors = kind == MAGPIE_RANKER_MF ? 32 : 8;
        o.loss = MAGPIE_RANKER_BCE;
        o.negatives = 4;
        o.epochs = 100;
        o.patience = 8;
        o.rate = 0.001;
        break;
    case MAGPIE_RANKER_MAGPIE:
        o.factors = 64;
        o.loss = MAGPIE_RANKER_SOFTMAX;
        o.negatives = 256;
        o.epochs = 12;
        o.rate = 0.003;
        o.regularisation = 1e-5;
        o.dropout = 0.5;
        o.history = 50;
        o.alpha = 0.3;
        o.heads = 4;
        o.recency = 0.5;
        o.drop_user = 0.5;
        o.drop_item = 0.2;
        o.tower = 8;
        o.anneal = 1;
    }
    o.layers = kind == MAGPIE_RANKER_MAGPIE ? 2 : 3;
    o.batch = 256;
    o.init = kind == MAGPIE_RANKER_MAGPIE ? 0.05 : 0.01;
    return o;
}

magpie_status magpie_ranker_parameter_check(const magpie_ranker_parameter *p, double value) {
    if (value >= p->least && value <= p->most && (!p->whole || value == floor(value))) return MAGPIE_OK;
    return magpie_fail(MAGPIE_E_ARGUMENT, "%s is a%s number from %g to %g, not %g", p->name,
                       p->whole ? " whole" : "", p->least, p->most, value);
}

void magpie_ranker_parameters_print(const magpie_ranker_options *options, magpie_text *out) {
    const char *comma = "";
    magpie_text_append(out, "{", 1);
    for (const magpie_ranker_parameter *p = magpie_ranker_parameters; p->name; p++) {
        if (!(p->kinds >> options->kind & 1)) continue;
        magpie_text_printf(out, "%s\"%s\": %.17g", comma, p->name, magpie_ranker_parameter_of(options, p));
        comma = ", ";
    }
    magpie_text_append(out, "}", 1);
}
