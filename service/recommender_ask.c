/* recommender_ask.c - see recommender.h: one answer. */
#include "likes.h"
#include "recommender.h"

#include <math.h>
#include <stdlib.h>

enum {
    RECENT = 16, /* likes that are gone by */
    NEAR = 50,   /* candidates by each of them, */
    BEST = 200,
    POPULAR = 100,
    NEWEST = 50,   /* by the model, and so on; k at least */
    NEW_EVERY = 4, /* by popularity: every fourth is new */
    REFUSED = INT32_MAX
};

static const float recency = 0.93F; /* what a like counts beside the one after it; the sixteenth a third */

typedef struct liked {
    uint64_t row;
    magpie_string id;
    const float *vector;
    float weight;
} liked;

typedef struct candidate {
    recommendation made;
    uint32_t number;
    const float *vector; /* NULL: none */
    size_t nearest;      /* of the likes */
    float content;       /* NAN: nothing to say */
    float popularity;
    float relevance, likeness; /* 0 .. 1; the largest cosine to what is picked already */
    bool picked;
} candidate;

typedef struct asking {
    const recommender *r;
    magpie_snapshot *snapshot;
    magpie_index *index;
    const recommend_request *request;
    recommend_answer *out;
    size_t dimension; /* of the fused space; 0: none */
    uint32_t user;
    uint32_t *history; /* [n], earliest first */
    size_t n;
    liked liked[RECENT]; /* the most recent first */
    size_t liked_n;
    uint32_t *place; /* [items]: 0, REFUSED, or one more than where it is among the candidates */
    candidate *candidates;
    size_t count, capacity;
    float *scores; /* [items], by the model; NULL: it knows nothing of the user */
} asking;

static float dot(const float *x, const float *y, size_t n) {
    float sums[16] = {0}, sum = 0;
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (size_t j = 0; j < 16; j++) sums[j] += x[i + j] * y[i + j];
    for (; i < n; i++) sum += x[i] * y[i];
    for (size_t j = 0; j < 16; j++) sum += sums[j];
    return sum;
}

static size_t at_least(size_t n, size_t k) { return n > k ? n : k; }

/* ---- what is liked ------------------------------------------------------------------------------------- */

/* What has had no number when the recommender was opened has one by its row; NOBODY where that came later. */
static magpie_status find_number(const asking *a, magpie_string id, uint32_t *out) {
    magpie_item item;
    magpie_status status = magpie_snapshot_item_number(a->snapshot, id, out);
    if (status == MAGPIE_OK && *out < a->r->numbered) return MAGPIE_OK;
    *out = MAGPIE_RANKER_NOBODY;
    if (status == MAGPIE_OK || status == MAGPIE_E_NOT_FOUND)
        status = magpie_snapshot_get(a->snapshot, id, &item);
    if (status == MAGPIE_OK) *out = recommender_number(a->r, item.row);
    return status == MAGPIE_E_NOT_FOUND ? MAGPIE_OK : status;
}

/* Numbers of the store, out of which those of the recommender are made in place; returns how many it has. */
static magpie_status translate(const asking *a, uint32_t *numbers, size_t *n) {
    size_t kept = 0;
    magpie_status status = MAGPIE_OK;
    for (size_t i = 0; i < *n && status == MAGPIE_OK; i++) {
        magpie_string id;
        uint32_t number = numbers[i];
        if (number >= a->r->numbered) {
            status = magpie_snapshot_item_id(a->snapshot, number, &id);
            if (status == MAGPIE_OK) status = find_number(a, id, &number);
        }
        if (number != MAGPIE_RANKER_NOBODY) numbers[kept++] = number;
    }
    *n = kept;
    return status;
}

static void refuse(asking *a, const uint32_t *numbers, size_t n) {
    for (size_t i = 0; i < n; i++) a->place[numbers[i]] = REFUSED;
}

static magpie_status read_user(asking *a) {
    likes_history history = {0};
    magpie_status status = magpie_snapshot_user_number(a->snapshot, a->request->user, &a->user);
    if (status == MAGPIE_E_NOT_FOUND) return a->user = MAGPIE_RANKER_NOBODY, MAGPIE_OK;
    if (status == MAGPIE_OK) status = likes_read_history(a->snapshot, a->user, &history);
    a->history = history.liked;
    a->n = history.liked_n;
    if (status == MAGPIE_OK) status = translate(a, a->history, &a->n);
    if (status == MAGPIE_OK) status = translate(a, history.seen, &history.seen_n);
    if (status == MAGPIE_OK && a->request->exclude_seen) refuse(a, history.seen, history.seen_n);
    free(history.seen);
    return status;
}

static bool has(const uint32_t *numbers, size_t n, uint32_t number) {
    for (size_t i = 0; i < n; i++)
        if (numbers[i] == number) return true;
    return false;
}

static magpie_status read_session(asking *a) {
    magpie_status status = MAGPIE_OK;
    a->user = MAGPIE_RANKER_NOBODY;
    a->history = magpie_alloc(a->request->liked_n, sizeof *a->history);
    if (!a->history) return MAGPIE_E_NO_MEMORY;
    for (size_t i = 0; i < a->request->liked_n && status == MAGPIE_OK; i++) {
        uint32_t number;
        status = find_number(a, a->request->liked[i], &number);
        if (status != MAGPIE_OK) return status;
        if (number == MAGPIE_RANKER_NOBODY)
            a->out->unknown++;
        else if (!has(a->history, a->n, number))
            a->history[a->n++] = number;
    }
    refuse(a, a->history, a->n);
    return MAGPIE_OK;
}

/* The last likes of items that have vectors. */
static magpie_status find_liked(asking *a) {
    float weight = 1;
    for (size_t i = a->n; i > 0 && a->liked_n < RECENT && a->dimension; i--, weight *= recency) {
        liked *l = &a->liked[a->liked_n];
        magpie_item item;
        *l = (liked){.row = a->r->row[a->history[i - 1]], .weight = weight};
        if (l->row == RECOMMENDER_NOWHERE) continue;
        magpie_status status = magpie_snapshot_get_row(a->snapshot, l->row, &item);
        if (status == MAGPIE_E_NOT_FOUND) continue;
        if (status == MAGPIE_OK)
            status = magpie_snapshot_vector(a->snapshot, MAGPIE_SPACE_FUSED, l->row, &l->vector);
        if (status != MAGPIE_OK) return status;
        l->id = item.id;
        a->liked_n += l->vector != NULL;
    }
    return MAGPIE_OK;
}

/* ---- candidates ---------------------------------------------------------------------------------------- */

/* Looks once whether an item may be recommended. */
static magpie_status admit(asking *a, uint32_t number) {
    candidate c = {.number = number, .content = NAN, .made.item.timestamp = INT64_MIN};
    const uint64_t row = a->r->row[number];
    magpie_item *item = &c.made.item;
    bool passes = true;
    a->place[number] = REFUSED;
    if (row == RECOMMENDER_NOWHERE && a->r->catalogue_n) return MAGPIE_OK;
    magpie_status status = row == RECOMMENDER_NOWHERE
                               ? magpie_snapshot_item_id(a->snapshot, number, &item->id)
                               : magpie_snapshot_get_row(a->snapshot, row, item);
    if (status == MAGPIE_E_NOT_FOUND) return MAGPIE_OK; /* deleted since */
    if (status == MAGPIE_OK && a->request->filter)
        status = magpie_filter_matches(a->request->filter, item->id, item->attributes, &passes);
    if (status != MAGPIE_OK || !passes) return status;
    if (a->dimension && row != RECOMMENDER_NOWHERE)
        status = magpie_snapshot_vector(a->snapshot, MAGPIE_SPACE_FUSED, row, &c.vector);
    if (status == MAGPIE_OK)
        status = magpie_grow((void **)&a->candidates, &a->capacity, a->count + 1, sizeof *a->candidates);
    if (status != MAGPIE_OK) return status;
    a->candidates[a->count++] = c;
    a->place[number] = (uint32_t)a->count;
    return MAGPIE_OK;
}

/* *out: the candidate, until the next one comes; NULL: it is refused. */
static magpie_status consider(asking *a, uint32_t number, unsigned from, candidate **out) {
    magpie_status status = a->place[number] ? MAGPIE_OK : admit(a, number);
    *out = status == MAGPIE_OK && a->place[number] != REFUSED ? &a->candidates[a->place[number] - 1] : NULL;
    if (*out) (*out)->made.from |= from;
    return status;
}

static magpie_status take_hits(asking *a, const magpie_hit *hits, size_t n) {
    candidate *c;
    magpie_status status = MAGPIE_OK;
    for (size_t i = 0; i < n && status == MAGPIE_OK; i++) {
        const uint32_t number = recommender_number(a->r, hits[i].row);
        if (number != MAGPIE_RANKER_NOBODY) status = consider(a, number, RECOMMEND_FROM_CONTENT, &c);
    }
    return status;
}

/* One like after the other: together they would be searched by a team of threads, which takes longer to
 * come together than to search while others are served. */
static magpie_status find_near(asking *a) {
    const size_t k = at_least(NEAR, a->request->k);
    size_t n;
    magpie_hit *hits = magpie_alloc(k, sizeof *hits);
    magpie_status status = hits ? MAGPIE_OK : MAGPIE_E_NO_MEMORY;
    for (size_t i = 0; i < a->liked_n && status == MAGPIE_OK; i++) {
        status = magpie_index_search(a->index, 1, a->liked[i].vector, k, a->request->filter, NULL, hits, &n);
        if (status == MAGPIE_OK) status = take_hits(a, hits, n);
    }
    free(hits);
    return status;
}

/* Of a heap of numbers, the best on top: place i is let down to where it belongs. */
static void sift_down(uint32_t *heap, size_t n, size_t i, const float *scores) {
    const uint32_t moving = heap[i];
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && scores[heap[child + 1]] > scores[heap[child]]) child++;
        if (scores[heap[child]] <= scores[moving]) break;
        heap[i] = heap[child];
    }
    heap[i] = moving;
}

/* Down from the best, so that no more items are looked at by the filter than it takes. */
static magpie_status take_best(asking *a, uint32_t *heap, size_t n) {
    size_t wanted = at_least(BEST, a->request->k);
    magpie_status status = MAGPIE_OK;
    for (size_t i = n / 2; i-- > 0;) sift_down(heap, n, i, a->scores);
    while (n && wanted && status == MAGPIE_OK) {
        candidate *c;
        status = consider(a, *heap, RECOMMEND_FROM_MODEL, &c);
        wanted -= c != NULL;
        *heap = heap[--n];
        sift_down(heap, n, 0, a->scores);
    }
    return status;
}

/* By the model, of these items, or of all where that is NULL. *known: whether it knows of the user. */
static magpie_status score_items(const asking *a, const uint32_t *items, size_t n, float *scores,
                                 bool *known) {
    const magpie_ranker_user user = {a->user, a->history, a->n};
    *known = false;
    if (!a->r->ranker || !n || (a->user == MAGPIE_RANKER_NOBODY && !a->n)) return MAGPIE_OK;
    magpie_status status = magpie_ranker_score(a->r->ranker, &user, items, n, scores);
    *known = status == MAGPIE_OK;
    return status == MAGPIE_E_NOT_FOUND ? MAGPIE_OK : status;
}

/* All items are scored: 0.1 ms for some thousand. */
static magpie_status find_best(asking *a) {
    const size_t items = a->r->items;
    size_t n = 0;
    bool known = false;
    a->scores = magpie_alloc(items, sizeof *a->scores);
    uint32_t *heap = magpie_alloc(items + 1, sizeof *heap);
    magpie_status status = a->scores && heap ? MAGPIE_OK : MAGPIE_E_NO_MEMORY;
    if (status == MAGPIE_OK) status = score_items(a, NULL, items, a->scores, &known);
    for (size_t i = 0; i < items && known; i++)
        if (isfinite(a->scores[i])) heap[n++] = (uint32_t)i;
    if (known) status = take_best(a, heap, n);
    if (!known) {
        free(a->scores);
        a->scores = NULL;
    }
    free(heap);
    return status;
}

/* By popularity, the p-th popular and the n-th new one take turns. */
static float popularity_of(unsigned from, size_t i) {
    const size_t place = from == RECOMMEND_FROM_NEW ? NEW_EVERY * i + NEW_EVERY - 1 : i + i / (NEW_EVERY - 1);
    return 1 / (1 + (float)place);
}

static magpie_status find_listed(asking *a, const recommender_listed *list, size_t n, unsigned from,
                                 size_t wanted) {
    candidate *c;
    magpie_status status = MAGPIE_OK;
    for (size_t i = 0, taken = 0; i < n && taken < wanted && status == MAGPIE_OK; i++) {
        status = consider(a, list[i].number, from, &c);
        if (c) c->popularity = popularity_of(from, taken++);
    }
    return status;
}

/* ---- ranking ------------------------------------------------------------------------------------------- */

/* An item that is liked does not speak for itself. */
static void find_nearest(const asking *a, candidate *c) {
    for (size_t i = 0; i < a->liked_n && c->vector; i++) {
        if (a->liked[i].row == c->made.item.row) continue;
        const float value = a->liked[i].weight * dot(a->liked[i].vector, c->vector, a->dimension);
        if (value <= c->content) continue; /* never of the first: that is NAN */
        c->content = value;
        c->nearest = i;
    }
}

static float score_of(const asking *a, const candidate *c) {
    switch (a->out->way) {
    case RECOMMEND_BY_MODEL: return isfinite(a->scores[c->number]) ? a->scores[c->number] : NAN;
    case RECOMMEND_BY_CONTENT: return c->content;
    default: return c->popularity;
    }
}

/* Whatever has no score comes last. */
static int compare_scores(float x, float y) {
    if (isnan(x) || isnan(y)) return isnan(x) - isnan(y);
    return (x < y) - (x > y);
}

static int compare(const void *a, const void *b) {
    const candidate *x = a, *y = b;
    int order = compare_scores(x->made.score, y->made.score);
    if (!order) order = compare_scores(x->content, y->content);
    if (!order) order = compare_scores(x->popularity, y->popularity);
    return order ? order : (x->number > y->number) - (x->number < y->number);
}

/* To 0 .. 1 among the others; nothing to say is the least. */
static float scale(float score, float worst, float best) {
    if (isnan(score)) return 0;
    return best > worst ? (score - worst) / (best - worst) : 1;
}

static void rank(asking *a) {
    a->out->way = a->scores    ? RECOMMEND_BY_MODEL
                  : a->liked_n ? RECOMMEND_BY_CONTENT
                               : RECOMMEND_BY_POPULARITY;
    for (size_t i = 0; i < a->count; i++) {
        find_nearest(a, &a->candidates[i]);
        a->candidates[i].made.score = score_of(a, &a->candidates[i]);
    }
    qsort(a->candidates, a->count, sizeof *a->candidates, compare);
    float best = NAN, worst = NAN;
    for (size_t i = 0; i < a->count; i++) {
        best = fmaxf(best, a->candidates[i].made.score);
        worst = fminf(worst, a->candidates[i].made.score);
    }
    for (size_t i = 0; i < a->count; i++)
        a->candidates[i].relevance = scale(a->candidates[i].made.score, worst, best);
}

/* The best of those left; of equals the one that ranks first. */
static candidate *pick(const asking *a) {
    const float d = a->request->diversity;
    candidate *best = NULL;
    float value, most = -INFINITY;
    for (candidate *c = a->candidates; c < a->candidates + a->count; c++) {
        if (c->picked || (value = (1 - d) * c->relevance - d * c->likeness) <= most) continue;
        most = value;
        best = c;
    }
    return best;
}

static void mark(const asking *a, candidate *picked) {
    picked->picked = true;
    for (candidate *c = a->candidates; c < a->candidates + a->count && a->request->diversity > 0; c++)
        if (!c->picked && c->vector && picked->vector)
            c->likeness = fmaxf(c->likeness, dot(c->vector, picked->vector, a->dimension));
}

/* ---- explaining ---------------------------------------------------------------------------------------- */

static const magpie_space spaces[MAGPIE_MODALITIES] = {MAGPIE_SPACE_TEXT, MAGPIE_SPACE_IMAGE,
                                                       MAGPIE_SPACE_AUDIO};

static magpie_status read_features(const asking *a, uint64_t row, const float *out[MAGPIE_MODALITIES]) {
    magpie_status status = MAGPIE_OK;
    for (magpie_modality m = 0; m < MAGPIE_MODALITIES && status == MAGPIE_OK; m++)
        status = magpie_snapshot_vector(a->snapshot, spaces[m], row, &out[m]);
    return status;
}

/* The cosines of the two in each space of their own. */
static magpie_status compare_features(const asking *a, const liked *l, const float *const features[],
                                      float *shares) {
    const float *others[MAGPIE_MODALITIES];
    magpie_status status = read_features(a, l->row, others);
    for (magpie_modality m = 0; m < MAGPIE_MODALITIES && status == MAGPIE_OK; m++) {
        magpie_space_binding binding;
        if (!features[m] || !others[m]) continue;
        status = magpie_snapshot_get_binding(a->snapshot, spaces[m], &binding);
        if (status == MAGPIE_OK) shares[m] = dot(features[m], others[m], binding.dimension);
    }
    return status;
}

/* What of the cosine each modality of the candidate has part in. */
static magpie_status split_cosine(const magpie_fusion *fusion, const liked *l, const float *features[],
                                  float *shares) {
    const float *weights = magpie_fusion_get_info(fusion)->weights;
    const magpie_fusion_part part = {l->vector, 1};
    float cosine;
    for (magpie_modality m = 0; m < MAGPIE_MODALITIES; m++)
        if (!(weights[m] > 0)) features[m] = NULL;
    magpie_status status = magpie_fusion_explain(fusion, &part, 1, features, shares, &cosine);
    for (magpie_modality m = 0; m < MAGPIE_MODALITIES; m++)
        if (!features[m]) shares[m] = NAN;
    return status;
}

static magpie_status explain_content(const asking *a, const magpie_fusion *fusion, const candidate *c,
                                     recommendation *out) {
    const liked *l = &a->liked[c->nearest];
    const float *features[MAGPIE_MODALITIES] = {0};
    for (magpie_modality m = 0; m < MAGPIE_MODALITIES; m++) out->shares[m] = NAN;
    if (isnan(c->content)) return MAGPIE_OK;
    out->nearest = l->id;
    out->cosine = dot(l->vector, c->vector, a->dimension);
    magpie_status status = read_features(a, out->item.row, features);
    if (status != MAGPIE_OK) return status;
    return fusion ? split_cosine(fusion, l, features, out->shares)
                  : compare_features(a, l, features, out->shares);
}

static void explain_behaviour(const asking *a, const candidate *c, recommendation *out) {
    out->behaviour = a->scores && isfinite(a->scores[c->number]) ? a->scores[c->number] : NAN;
    out->rank = 1;
    for (size_t i = 0; i < a->r->items && !isnan(out->behaviour); i++)
        out->rank += a->scores[i] > out->behaviour;
}

/* ---- all of it ----------------------------------------------------------------------------------------- */

static magpie_status begin(asking *a) {
    magpie_space_binding now = {0};
    magpie_status status = MAGPIE_OK;
    const magpie_space_binding *index = a->index ? magpie_index_get_binding(a->index) : &now;
    if (a->index) status = magpie_snapshot_get_binding(a->snapshot, MAGPIE_SPACE_FUSED, &now);
    if (status == MAGPIE_OK && now.since != index->since)
        status = magpie_fail(MAGPIE_E_BUSY, "the fused vectors are being made anew: ask again");
    a->dimension = now.dimension;
    a->place = magpie_alloc(a->r->items, sizeof *a->place);
    return status == MAGPIE_OK && !a->place ? MAGPIE_E_NO_MEMORY : status;
}

static magpie_status find_candidates(asking *a) {
    const recommender *r = a->r;
    const size_t k = a->request->k;
    magpie_status status = find_near(a);
    if (status == MAGPIE_OK) status = find_best(a);
    if (status == MAGPIE_OK)
        status = find_listed(a, r->popular, r->popular_n, RECOMMEND_FROM_POPULAR, at_least(POPULAR, k));
    if (status == MAGPIE_OK)
        status = find_listed(a, r->new, r->new_n, RECOMMEND_FROM_NEW, at_least(NEWEST, k));
    return status;
}

static magpie_status make_answer(asking *a, const magpie_fusion *fusion) {
    recommend_answer *out = a->out;
    magpie_status status = MAGPIE_OK;
    candidate *c;
    out->shares_sum = fusion != NULL;
    out->items = magpie_alloc(a->request->k < a->count ? a->request->k : a->count, sizeof *out->items);
    out->liked = magpie_alloc(a->liked_n, sizeof *out->liked);
    if (!out->items || !out->liked) return MAGPIE_E_NO_MEMORY;
    for (; out->liked_n < a->liked_n; out->liked_n++) out->liked[out->liked_n] = a->liked[out->liked_n].id;
    while (out->count < a->request->k && status == MAGPIE_OK && (c = pick(a)) != NULL) {
        recommendation *made = &out->items[out->count++];
        mark(a, c);
        *made = c->made;
        if (!a->request->explain) continue;
        explain_behaviour(a, c, made);
        status = explain_content(a, fusion, c, made);
    }
    return status;
}

magpie_status recommender_ask(const recommender *r, magpie_snapshot *snapshot, magpie_index *index,
                              const magpie_fusion *fusion, const recommend_request *request,
                              recommend_answer *out) {
    asking a = {.r = r, .snapshot = snapshot, .index = index, .request = request, .out = out};
    *out = (recommend_answer){0};
    magpie_status status = begin(&a);
    if (status == MAGPIE_OK) status = request->user.size ? read_user(&a) : read_session(&a);
    if (status == MAGPIE_OK) status = find_liked(&a);
    if (status == MAGPIE_OK) status = find_candidates(&a);
    if (status == MAGPIE_OK) {
        rank(&a);
        status = make_answer(&a, fusion);
    }
    free(a.history);
    free(a.place);
    free(a.candidates);
    free(a.scores);
    return status;
}

void recommend_answer_free(recommend_answer *answer) {
    free(answer->items);
    free(answer->liked);
    *answer = (recommend_answer){0};
}

/* ---- preferences --------------------------------------------------------------------------------------- */

/* NAN: of an item that is not known. */
static magpie_status score_rows(const asking *a, const uint64_t *rows, size_t n, float *scores, bool *known) {
    uint32_t *numbers = magpie_alloc(n, sizeof *numbers);
    float *of_known = magpie_alloc(n, sizeof *of_known);
    size_t count = 0;
    magpie_status status = numbers && of_known ? MAGPIE_OK : MAGPIE_E_NO_MEMORY;
    for (size_t i = 0; i < n && status == MAGPIE_OK; i++) {
        const uint32_t number = recommender_number(a->r, rows[i]);
        scores[i] = number == MAGPIE_RANKER_NOBODY ? NAN : 0;
        if (number != MAGPIE_RANKER_NOBODY) numbers[count++] = number;
    }
    *known = false;
    if (status == MAGPIE_OK) status = score_items(a, numbers, count, of_known, known);
    for (size_t i = n; i-- > 0 && *known;)
        if (!isnan(scores[i])) scores[i] = isfinite(of_known[--count]) ? of_known[count] : NAN;
    free(numbers);
    free(of_known);
    return status;
}

static magpie_status compare_rows(const asking *a, const uint64_t *rows, size_t n, float *scores) {
    magpie_status status = MAGPIE_OK;
    for (size_t i = 0; i < n && status == MAGPIE_OK; i++) {
        candidate c = {.content = NAN, .made.item.row = rows[i]};
        if (a->liked_n) status = magpie_snapshot_vector(a->snapshot, MAGPIE_SPACE_FUSED, rows[i], &c.vector);
        if (status == MAGPIE_OK) find_nearest(a, &c);
        scores[i] = c.content;
    }
    return status;
}

magpie_status recommender_prefer(const recommender *r, magpie_snapshot *snapshot, magpie_index *index,
                                 magpie_string user, const uint64_t *rows, size_t n, float *out) {
    const recommend_request request = {.user = user};
    asking a = {.r = r, .snapshot = snapshot, .index = index, .request = &request};
    bool known;
    float worst = NAN, best = NAN;
    magpie_status status = begin(&a);
    if (status == MAGPIE_OK) status = read_user(&a);
    if (status == MAGPIE_OK) status = find_liked(&a);
    if (status == MAGPIE_OK) status = score_rows(&a, rows, n, out, &known);
    if (status == MAGPIE_OK && !known) status = compare_rows(&a, rows, n, out);
    for (size_t i = 0; i < n && status == MAGPIE_OK; i++) {
        worst = fminf(worst, out[i]);
        best = fmaxf(best, out[i]);
    }
    for (size_t i = 0; i < n && status == MAGPIE_OK; i++) out[i] = scale(out[i], worst, best);
    free(a.history);
    free(a.place);
    return status;
}
