/* recommender.h - what somebody may like next: candidates, ranked by a model of the store, and why.
 *
 * CANDIDATES are some hundreds: what lies near in the fused space to what was liked last, the model's own
 * best, what is popular, and what is new and liked by nobody yet. What is not wanted (filter, seen) is none,
 * so it costs no results. What is in interactions and not in the catalogue is one only where there is no
 * catalogue.
 *
 * RANKED by the model; what it knows nothing of comes last. Where it knows nothing of the user, or there is
 * no model, by content: the best of w_j cos(candidate, another liked_j), w_j less for what was liked earlier.
 * Where nothing is liked either, by popularity, every fourth one new. So nobody is an error, and the answer
 * says which it was.
 *
 * DIVERSITY d picks one after the other by (1 - d) relevance - d (the largest cosine to what is picked
 * already): maximal marginal relevance (Carbonell and Goldstein 1998), relevance being the scores scaled to
 * 0 .. 1.
 *
 * MOMENTS. What takes a walk over the whole store (who has how many likes, what is new, an item's number, the
 * model) is gathered once; what a user liked is read in the moment of the answer. An item that was put later
 * is not recommended until the recommender is opened anew. */
#ifndef MAGPIE_RECOMMENDER_H
#define MAGPIE_RECOMMENDER_H

#include "encoders.h"
#include "index.h"
#include "ranker.h"

/* An item of a list that is in order. */
typedef struct recommender_listed {
    int64_t key;
    uint64_t row;
    uint32_t number;
} recommender_listed;

/* Does not change, and is shared by threads. Items have the store's numbers, and those of the catalogue that
 * have none there the ones that follow: so a model scores these too, by content. */
typedef struct recommender {
    magpie_ranker *ranker;         /* NULL: there is no model */
    const char *model;             /* its name */
    size_t items, numbered;        /* numbers in all; of these the store's */
    uint64_t *row;                 /* [items]; RECOMMENDER_NOWHERE: not in the catalogue */
    recommender_listed *catalogue; /* [catalogue_n], in order of row */
    recommender_listed *popular;   /* [popular_n], most liked first */
    recommender_listed *new;       /* [new_n], of the catalogue without likes: the latest first */
    size_t catalogue_n, popular_n, new_n;
} recommender;

#define RECOMMENDER_NOWHERE UINT64_MAX

/* `models` is the folder of models, `name` one of them; NULL: the best that is trained, which may be none
 * (never popularity, since content says more of a user). The snapshot is not kept. */
MAGPIE_CHECK_RESULT magpie_status recommender_open(magpie_snapshot *snapshot, const char *models,
                                                   const char *name, recommender **out);
void recommender_close(recommender *r);
/* The number of a catalogue's item; MAGPIE_RANKER_NOBODY where it came later. */
uint32_t recommender_number(const recommender *r, uint64_t row);

/* ---- asking -------------------------------------------------------------------------------------------- */

typedef struct recommend_request {
    magpie_string user;         /* empty: a session of nobody */
    const magpie_string *liked; /* [liked_n]: what was liked in it, earliest first; never recommended */
    size_t liked_n;
    size_t k;
    const magpie_filter *filter; /* NULL: none */
    bool exclude_seen;           /* nothing that the user has any interaction with */
    float diversity;             /* 0 .. 1 */
    bool explain;
} recommend_request;

typedef enum recommend_way {
    RECOMMEND_BY_MODEL,
    RECOMMEND_BY_CONTENT,
    RECOMMEND_BY_POPULARITY
} recommend_way;

/* Where a candidate comes from, as bits. */
enum {
    RECOMMEND_FROM_CONTENT = 1,
    RECOMMEND_FROM_MODEL = 2,
    RECOMMEND_FROM_POPULAR = 4,
    RECOMMEND_FROM_NEW = 8
};

typedef struct recommendation {
    magpie_item item; /* in the snapshot; of one that is not in the catalogue the id alone */
    float score;      /* by the answer's way; NAN: last, since that knows nothing of it */
    unsigned from;
    /* Where it is explained: */
    magpie_string nearest;           /* the liked item that speaks for it; empty: none has a vector */
    float cosine;                    /* of the two in the fused space */
    float shares[MAGPIE_MODALITIES]; /* NAN: none */
    float behaviour;                 /* what others' likes say, the model's score; NAN: nothing */
    size_t rank;                     /* of that among all items */
} recommendation;

typedef struct recommend_answer {
    recommend_way way;
    recommendation *items; /* [count], best first */
    size_t count;
    magpie_string *liked; /* [liked_n]: what was gone by, the most recent first, of items with vectors */
    size_t liked_n;
    size_t unknown;  /* of request->liked: not in the store */
    bool shares_sum; /* shares add up to the cosine; else each is a cosine in its own space */
} recommend_answer;

/* `index` is of the fused space, NULL: the store has none. `fusion`, NULL: shares are cosines; else the one
 * that made the fused vectors. The answer lies in the snapshot, and is to be freed whatever is returned.
 * MAGPIE_E_BUSY: the fused vectors are being made anew. */
MAGPIE_CHECK_RESULT magpie_status recommender_ask(const recommender *r, magpie_snapshot *snapshot,
                                                  magpie_index *index, const magpie_fusion *fusion,
                                                  const recommend_request *request, recommend_answer *out);
void recommend_answer_free(recommend_answer *answer);

/* How much each of these rows suits a user, beside the others: out [n], the model's scores, or by content as
 * above, scaled to 0 .. 1. 0 is also what nothing is known of; so all are 0 for somebody who is not known. */
MAGPIE_CHECK_RESULT magpie_status recommender_prefer(const recommender *r, magpie_snapshot *snapshot,
                                                     magpie_index *index, magpie_string user,
                                                     const uint64_t *rows, size_t n, float *out);

#endif
