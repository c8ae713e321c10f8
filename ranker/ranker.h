/* ranker.h - who likes what: models of it, their training, their evaluation.
 *
 * NUMBERS, NOT NAMES. Users and items are numbers from 0, those that a store gives them (index/index.h,
 * "interactions"); a model's tables are indexed by them. What has been deleted keeps its number, as a row of
 * zeros.
 *
 * MODELS. All have one interface, and answer with a score for each item: higher is liked better. Scores of
 * different models, and of different users, are not comparable.
 *
 *     popularity  how many like it, older likes counting less
 *     itemknn     items liked by those who like the same: cosine, or BM25 (Robertson and Zaragoza 2009)
 *     puresvd     Cremonesi et al. 2010
 *     ease        Steck 2019: a full item-item matrix in closed form; some 20,000 items at most
 *     ials        Hu et al. 2008, as tuned by Rendle et al. 2022
 *     mf          a dot product and biases, by stochastic gradients (Rendle et al. 2020)
 *     gmf, mlp, neumf   neural collaborative filtering (He et al. 2017)
 *     magpie      ours: neumf whose items have content, and whose users have a history (ranker/magpie.c)
 *
 * ONE MODE: training is deterministic, and there is no faster one without that. What order costs is the wait at
 * the two barriers of a step, a tenth of two threads' time (NeuMF, batches of 256); what else keeps two threads
 * from twice one's speed is, it seems, rows that go from cache to cache, and threads with batches of their own
 * would send those as well, since all learn the same tables. (None such was built.)
 *
 * WHAT A MODEL ASKS FOR. popularity: nothing. itemknn, puresvd, ease: the user's history, so a user of an
 * hour ago is as good as any. ials: the history, or the user's row where there is none. mf, gmf, mlp, neumf:
 * the user's row. magpie: whatever there is of both; an item without likes is ranked by its content. Who has
 * nothing of what is asked for is MAGPIE_E_NOT_FOUND: the caller falls back.
 *
 * A MODEL is a folder: model.safetensors, whose tensors are named in the header of each model's file, and
 * config.json: {"model_type": "magpie-ranker", "model": "neumf", "users": ..., "items": ..., "content":
 * dimension or 0, "space": of the content, "options": {...}}. */
#ifndef MAGPIE_RANKER_H
#define MAGPIE_RANKER_H

#include "encoders.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- what is known ---- */

/* Likes as a sparse matrix, row by user. The arrays are the caller's; they may be a file that is mapped. */
typedef struct magpie_likes {
    size_t users, items;   /* all numbers are below these; at most 2^31 - 1 */
    const uint64_t *begin; /* [users + 1]: user u has entries begin[u] .. begin[u+1]-1 */
    const uint32_t *item;  /* [begin[users]], each user's in order of time, earliest first; no item twice */
    const float *weight;   /* the same; NULL: 1 each */
    const int64_t *time;   /* the same, milliseconds; NULL: not known */
} magpie_likes;

static inline bool magpie_likes_has(const magpie_likes *likes, uint32_t user, uint32_t item) {
    if (user >= likes->users) return false;
    for (uint64_t i = likes->begin[user]; i < likes->begin[user + 1]; i++)
        if (likes->item[i] == item) return true;
    return false;
}

/* Content vectors by item: rows [items], NULL where an item has none. dimension 0: there are none. */
typedef struct magpie_ranker_content {
    size_t items, dimension;
    const float *const *rows;
    const char *space; /* says whose vectors they are, in 127 bytes at most; NULL: not known */
} magpie_ranker_content;

#define MAGPIE_RANKER_NOBODY UINT32_MAX

typedef struct magpie_ranker_user {
    uint32_t number;         /* or MAGPIE_RANKER_NOBODY */
    const uint32_t *history; /* [n], earliest first; may be empty */
    size_t n;
} magpie_ranker_user;

/* ---- options ---- */

typedef enum magpie_ranker_kind {
    MAGPIE_RANKER_POPULARITY,
    MAGPIE_RANKER_ITEMKNN,
    MAGPIE_RANKER_PURESVD,
    MAGPIE_RANKER_EASE,
    MAGPIE_RANKER_MF,
    MAGPIE_RANKER_IALS,
    MAGPIE_RANKER_GMF,
    MAGPIE_RANKER_MLP,
    MAGPIE_RANKER_NEUMF,
    MAGPIE_RANKER_MAGPIE,
    MAGPIE_RANKER_KINDS
} magpie_ranker_kind;

const char *magpie_ranker_kind_name(magpie_ranker_kind kind);
/* MAGPIE_E_ARGUMENT names all that there are. */
MAGPIE_CHECK_RESULT magpie_status magpie_ranker_kind_parse(const char *name, magpie_ranker_kind *out);

typedef enum magpie_ranker_loss {
    MAGPIE_RANKER_BCE,    /* binary cross entropy of the like and its negatives (He et al. 2017) */
    MAGPIE_RANKER_BPR,    /* Rendle et al. 2009 */
    MAGPIE_RANKER_SOFTMAX /* sampled, logits less log q (Bengio and Senecal 2008) */
} magpie_ranker_loss;

/* All numbers that tune a model are doubles, so that one table (magpie_ranker_parameters) describes them: for
 * the command's options, for config.json, and for the search for better ones. */
typedef struct magpie_ranker_options {
    magpie_ranker_kind kind;
    /* popularity */
    double half_life; /* days; 0: all likes count alike */
    /* itemknn */
    double neighbours, shrink, bm25; /* bm25 1: BM25's weights, 0: cosine alone */
    /* puresvd, ials, mf, gmf, neumf, magpie */
    double factors;
    /* ease, ials: strength; mf and the networks: of embeddings, weight decay */
    double regularisation;
    double alpha;    /* ials: the weight of what is not liked */
    double weighted; /* ials: 1: likes have their weights, 0: all have 1 */
    /* mf, gmf, mlp, neumf, magpie */
    double tower;     /* magpie: width of the last layer; 0: as of the others */
    double layers;    /* hidden layers of the tower; the last is `factors` wide, each one before twice that */
    double loss;      /* a magpie_ranker_loss */
    double negatives; /* drawn for each like; magpie: for each batch */
    double batch;     /* likes with their negatives, as the paper counts: samples; magpie: likes */
    double epochs, patience; /* at most; without a better one, 0: run all. ials: sweeps */
    double rate, anneal; /* anneal 1: the rate rises at first, then falls to 0 in a cosine over all epochs */
    double init;         /* standard deviation of embeddings at the beginning */
    double dropout;      /* magpie: of what goes into the user's vector */
    /* magpie */
    double history; /* likes that count, most recent first */
    double base;    /* factors of an iALS that the network stands on (base.c; `alpha` is its); 0: none */
    double heads;   /* of the attention over them */
    double recency; /* how much less one like back counts at first, as a logarithm; each head 0.3 of that */
    /* Share of users' and items' own rows left out in training, so that history and content learn to do
     * without. */
    double drop_user, drop_item;
    double later; /* 1: what was liked later counts as history too (for splits by chance) */
    /* no parameters of the model, and not in the table */
    uint64_t seed;
    unsigned threads; /* 0: magpie_cpu_count() */
    /* What trains mf, gmf, mlp and neumf; drawing, validation and all other kinds stay on the CPU. Other
     * devices round otherwise, so the same bytes are one device's. MAGPIE_E_UNSUPPORTED: a GPU is named for
     * another kind. */
    magpie_device device;
    bool resume;   /* go on from DIRECTORY/training.state, if it is there and was made of the same */
    bool validate; /* set likes aside and measure, whatever the kind and the patience: to compare options */
    /* Folders of models to begin from, NULL ends: tensors of the same name are taken, rows that are new begin
     * as always. For --continue; and for neumf out of a gmf and an mlp, as the paper pre-trains. */
    const char *const *from;
} magpie_ranker_options;

/* What is good for some hundred thousand likes. */
magpie_ranker_options magpie_ranker_defaults(magpie_ranker_kind kind);

typedef struct magpie_ranker_parameter {
    const char *name, *help;
    size_t offset; /* of the double in magpie_ranker_options */
    double least, most;
    bool whole;     /* a whole number */
    bool by_ratio;  /* is searched for in logarithms */
    unsigned kinds; /* bit 1 << kind: concerns that model */
} magpie_ranker_parameter;

extern const magpie_ranker_parameter magpie_ranker_parameters[]; /* ends with a NULL name */
/* Where it is worth looking for a better value; false: this one is not searched for. */
bool magpie_ranker_parameter_range(magpie_ranker_kind kind, const magpie_ranker_parameter *parameter,
                                   double *from, double *to);
double *magpie_ranker_parameter_at(magpie_ranker_options *options, const magpie_ranker_parameter *parameter);
double magpie_ranker_parameter_of(const magpie_ranker_options *options,
                                  const magpie_ranker_parameter *parameter);
/* MAGPIE_E_ARGUMENT: out of its range, or no whole number where one is wanted. */
MAGPIE_CHECK_RESULT magpie_status magpie_ranker_parameter_check(const magpie_ranker_parameter *parameter,
                                                                double value);
/* {"factors": 16, ...}: those that concern the kind, with digits enough for the same numbers. */
void magpie_ranker_parameters_print(const magpie_ranker_options *options, magpie_text *out);

/* ---- training ---- */

typedef struct magpie_ranker_progress {
    size_t epoch, epochs; /* from 1 */
    double done;          /* of this epoch, 0 .. 1 */
    double loss;          /* mean so far */
    double samples_per_second;
    double seconds;                  /* since the beginning of the run that it was */
    double hit_rate;                 /* HR@10 on validation of the last epoch that is through; 0: none yet */
    bool epoch_ended, best, resumed; /* best: of all up to here; resumed: was run before, told again */
} magpie_ranker_progress;

/* Called some times a second, and at the end of every epoch; of a training that is resumed, first for the end
 * of each epoch of before. Any status but MAGPIE_OK ends the training, and is returned; a network can be
 * resumed then, and where an epoch has ended, nothing of it is lost. */
typedef magpie_status (*magpie_ranker_callback)(void *context, const magpie_ranker_progress *progress);

typedef struct magpie_ranker_report {
    size_t epochs, best_epoch; /* 0 for models that are had in one step */
    double loss, hit_rate;     /* of the one that was kept; hit_rate 0: nothing was set aside */
    double seconds;
    uint64_t parameters;
} magpie_ranker_report;

typedef struct magpie_ranker magpie_ranker; /* a trained model; immutable, shared by threads */

/* Trains on all of `likes`. Where patience is not 0, or with options->validate, the last like of each user
 * who has two is set aside for validation (of one user in every few, where there are more than 10,000) and
 * not learned from: an item that is liked by no other is one that the model knows nothing of. The same seed
 * gives the same bytes on the same machine, with any number of threads, stopped and resumed or not. Into a
 * folder, which is made where there is none; its training.state is written at the ends of epochs, for a
 * twentieth of the time at most, and removed at the end. `content` may be NULL, `callback` and `report` too. */
MAGPIE_CHECK_RESULT magpie_status magpie_ranker_train(const magpie_likes *likes,
                                                      const magpie_ranker_content *content,
                                                      const magpie_ranker_options *options,
                                                      const char *directory, magpie_ranker_callback callback,
                                                      void *context, magpie_ranker_report *report);

/* ---- scoring ---- */

typedef struct magpie_ranker_info {
    magpie_ranker_kind kind;
    size_t users, items; /* that it was trained on */
    size_t content;      /* dimension; 0: it knows no content */
    char space[128];     /* of that; empty: not known */
    uint64_t parameters;
} magpie_ranker_info;

/* `content`, may be NULL: of all items that are to be scored, which may be more than there were in training;
 * it is read here and not kept. MAGPIE_E_MISMATCH: another dimension or space than in training. */
MAGPIE_CHECK_RESULT magpie_status magpie_ranker_open(const char *directory,
                                                     const magpie_ranker_content *content,
                                                     magpie_ranker **out);
void magpie_ranker_close(magpie_ranker *ranker);
const magpie_ranker_info *magpie_ranker_get_info(const magpie_ranker *ranker);

/* A device scores from now on, in f32: the CPU's scores but for rounding. Networks alone; other models stay on
 * the CPU. Before the ranker is shared. MAGPIE_E_UNSUPPORTED, MAGPIE_E_NOT_FOUND: there is no such device. */
MAGPIE_CHECK_RESULT magpie_status magpie_ranker_use_device(magpie_ranker *ranker, magpie_device device);

/* scores [n] of `items` [n], or of items 0 .. n-1 where that is NULL. An item that the model knows nothing of
 * scores -INFINITY: to networks one without likes and content, to the others one that has come since (without
 * likes it has 0 there). From any thread. */
MAGPIE_CHECK_RESULT magpie_status magpie_ranker_score(const magpie_ranker *ranker,
                                                      const magpie_ranker_user *user, const uint32_t *items,
                                                      size_t n, float *scores);

/* Overwrites with zeros, in the model's file, what it has of a user, and removes the folder's training.state;
 * synced. MAGPIE_OK where it has nothing. The number is noted in the folder's `forgotten`, for good: a
 * training that runs meanwhile, and any later one, writes no row of that user. */
MAGPIE_CHECK_RESULT magpie_status magpie_ranker_forget(const char *directory, uint32_t user);

/* ---- evaluation ---- */

/* Likes apart: which of them are for test. Each function fills test [begin[users]], true for those; all is
 * seeded. */
typedef enum magpie_ranker_split {
    MAGPIE_SPLIT_LAST,       /* the last like of each user who has two */
    MAGPIE_SPLIT_RANDOM,     /* `share` of each user's; what stays is rounded, halves to the even number */
    MAGPIE_SPLIT_TIME,       /* the last `share` of all, by time */
    MAGPIE_SPLIT_COLD_ITEMS, /* all likes of `share` of the items */
    MAGPIE_SPLIT_COLD_USERS  /* all likes of `share` of the users */
} magpie_ranker_split;

MAGPIE_CHECK_RESULT magpie_status magpie_ranker_split_likes(const magpie_likes *likes,
                                                            magpie_ranker_split split, double share,
                                                            uint64_t seed, bool *test);
/* The likes with test[i] == which, in one block that the caller frees. */
MAGPIE_CHECK_RESULT magpie_status magpie_likes_select(const magpie_likes *likes, const bool *test, bool which,
                                                      magpie_likes *out, magpie_block *block);

/* What is evaluated: a model, or anything else that scores; from several threads at once. MAGPIE_E_NOT_FOUND:
 * nothing is known of the user, who counts as not served. */
typedef struct magpie_scorer {
    magpie_status (*score)(void *context, uint32_t user, const uint32_t *items, size_t n,
                           float *scores); /* items NULL: 0 .. n-1 */
    void *context;
} magpie_scorer;

/* Mean over users, and the interval of 95% around it by bootstrap over users (Efron 1979), seeded. */
typedef struct magpie_figure {
    double mean, low, high;
} magpie_figure;

/* ONE AMONG NEGATIVES (He et al. 2017): each case is a user, the item that is right, and `negatives` others.
 * The rank counts those that score as high or higher, so ties are against the model; what is not finite
 * loses, and is no hit among whatever others. Who is not served counts as a miss. Cases are taken to be of
 * one user each: those are what the bootstrap draws. */
typedef struct magpie_one_case {
    uint32_t user, item;
    const uint32_t *negatives;
    size_t n;
} magpie_one_case;

typedef struct magpie_one_figures {
    size_t cases, served;
    magpie_figure hit_rate, ndcg; /* at k; NDCG of one item: 1 / log2(rank + 1) */
} magpie_one_figures;

MAGPIE_CHECK_RESULT magpie_status magpie_evaluate_one(const magpie_scorer *scorer,
                                                      const magpie_one_case *cases, size_t n, size_t k,
                                                      unsigned threads, magpie_one_figures *out);

/* ALL ITEMS are ranked but those that the user has in `seen`, ties in an order by chance that is the user's
 * own (a model that scores all alike comes out at chance); what is not finite is not recommended, so there
 * may be fewer than k. Users with nothing in `test` are left out; who is not served counts with zeros (in
 * reco_utils they are left out too). Items of `test` may have numbers beyond all items: what nobody can
 * recommend. Definitions as in Microsoft's Recommenders (reco_utils), which published figures on MovieLens
 * follow: precision = hits / k, recall = hits / |test|, NDCG with binary gains and the ideal of min(k,
 * |test|), MAP = sum over hits of precision at their place, divided by |test|; MRR is of the first hit among
 * k. */
typedef struct magpie_all_figures {
    size_t users, served;
    magpie_figure precision, recall, ndcg, map, mrr, hit_rate;
    double coverage;   /* the share of items that are in somebody's first k */
    double novelty;    /* mean of -log2(share of users who have it in `seen`, one at least) of what is
                          recommended; users without any in `seen` are not counted */
    double popularity; /* mean count in `seen` of what is recommended, over that of what is in `test` */
} magpie_all_figures;

MAGPIE_CHECK_RESULT magpie_status magpie_evaluate_all(const magpie_scorer *scorer, const magpie_likes *seen,
                                                      const magpie_likes *test, size_t k, unsigned threads,
                                                      magpie_all_figures *out);

#ifdef __cplusplus
}
#endif
#endif
