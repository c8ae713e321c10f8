/* duplicates.c - see duplicates.h. Every vector asks the index for its nearest; those whose answer ends
 * above the threshold ask again for more. What is asked at once is bounded, and so is the memory of the
 * answers. */
#include "duplicates.h"
#include "terminal.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_NEIGHBOURS = 16, MORE_NEIGHBOURS = 8 /* times */, ASKED_HITS = 1 << 16, ASKED_FLOATS = 1 << 20 };

static const float TOLERANCE = 1e-6F; /* of a score: unit vectors of floats miss 1 by as much */

typedef struct finder {
    magpie_snapshot *snapshot;
    magpie_index *index;
    magpie_space space;
    size_t dimension;
    float threshold;
    magpie_search_options options;
    duplicate *members; /* [count], in order of row */
    size_t count, capacity;
    size_t *parents;  /* [count]: a forest of joined members, each tree's root its oldest */
    size_t *asking;   /* [count]: members whose neighbours are still to be asked for */
    float *queries;   /* those of one question */
    magpie_hit *hits; /* and the answer */
    size_t *counts;
} finder;

/* ---- pairs --------------------------------------------------------------------------------------------- */

static magpie_status take_item(void *context, const magpie_item *item) {
    finder *f = context;
    const float *vector;
    magpie_status status = magpie_snapshot_vector(f->snapshot, f->space, item->row, &vector);
    if (status != MAGPIE_OK || !vector) return status;
    status = magpie_grow((void **)&f->members, &f->capacity, f->count + 1, sizeof *f->members);
    if (status != MAGPIE_OK) return status;
    f->members[f->count++] = (duplicate){.row = item->row, .text_size = item->text.size};
    return MAGPIE_OK;
}

/* The member of a row; `count` where it has come since the snapshot. */
static size_t member_of(const finder *f, uint64_t row) {
    size_t low = 0, high = f->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (f->members[middle].row < row)
            low = middle + 1;
        else
            high = middle;
    }
    return low < f->count && f->members[low].row == row ? low : f->count;
}

static size_t root_of(finder *f, size_t i) {
    while (f->parents[i] != i) i = f->parents[i] = f->parents[f->parents[i]];
    return i;
}

static void join(finder *f, size_t a, size_t b) {
    a = root_of(f, a);
    b = root_of(f, b);
    if (a < b)
        f->parents[b] = a;
    else
        f->parents[a] = b;
}

static bool is_near(const finder *f, float score) { return score >= f->threshold - TOLERANCE; }

/* Joins asking [n] to their k nearest that are near enough. Those who may have more move to the front of
 * `asking`, from *again on. */
static magpie_status ask(finder *f, const size_t *asking, size_t n, size_t k, size_t *again) {
    for (size_t i = 0; i < n; i++) {
        const float *vector;
        magpie_status status =
            magpie_snapshot_vector(f->snapshot, f->space, f->members[asking[i]].row, &vector);
        if (status != MAGPIE_OK) return status;
        memcpy(f->queries + i * f->dimension, vector, f->dimension * sizeof *vector);
    }
    magpie_status status =
        magpie_index_search(f->index, n, f->queries, k, NULL, &f->options, f->hits, f->counts);
    for (size_t i = 0; i < n && status == MAGPIE_OK; i++) {
        const magpie_hit *hits = f->hits + i * k;
        size_t near = 0;
        for (; near < f->counts[i] && is_near(f, hits[near].score); near++) {
            size_t other = member_of(f, hits[near].row);
            if (other < f->count) join(f, asking[i], other);
        }
        if (near == k) f->asking[(*again)++] = asking[i];
    }
    return status;
}

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

static size_t most(size_t a, size_t b) { return a > b ? a : b; }

static size_t asked_at_once(const finder *f, size_t k) {
    return most(least(ASKED_HITS / k, ASKED_FLOATS / f->dimension), 1);
}

static size_t first_neighbours(const finder *f) { return least(FIRST_NEIGHBOURS, most(f->count, 1)); }

/* Past MAGPIE_SEARCH_K_MAX neighbours a member asks no more. Of so many that are alike, those that it does
 * not reach ask for themselves. */
static magpie_status join_pairs(finder *f) {
    size_t limit = least(f->count, MAGPIE_SEARCH_K_MAX), left = f->count;
    double start = magpie_seconds();
    magpie_status status = MAGPIE_OK;
    for (size_t k = first_neighbours(f); left && status == MAGPIE_OK; k = least(k * MORE_NEIGHBOURS, limit)) {
        size_t again = 0, chunk = asked_at_once(f, k);
        for (size_t at = 0; at < left && status == MAGPIE_OK; at += chunk) {
            status = ask(f, f->asking + at, least(chunk, left - at), k, &again);
            terminal_show_progress(&(terminal_progress){
                .done = (double)at, .total = (double)left, .items = at, .seconds = magpie_seconds() - start});
        }
        left = k < limit ? again : 0;
    }
    terminal_clear_progress();
    return status;
}

static magpie_status find_pairs(finder *f) {
    size_t queries = least(asked_at_once(f, first_neighbours(f)), most(f->count, 1));
    f->parents = magpie_alloc(f->count, sizeof *f->parents);
    f->asking = magpie_alloc(f->count, sizeof *f->asking);
    f->queries = magpie_alloc(queries * f->dimension, sizeof *f->queries);
    f->counts = magpie_alloc(queries, sizeof *f->counts);
    f->hits = magpie_alloc(ASKED_HITS, sizeof *f->hits);
    if (!f->parents || !f->asking || !f->queries || !f->counts || !f->hits) return MAGPIE_E_NO_MEMORY;
    for (size_t i = 0; i < f->count; i++) f->parents[i] = f->asking[i] = i;
    return join_pairs(f);
}

/* ---- groups -------------------------------------------------------------------------------------------- */

static int compare(uint64_t a, uint64_t b) { return (a > b) - (a < b); }

typedef struct tree {
    size_t root, size;
} tree;

static int compare_trees(const void *a, const void *b) {
    const tree *x = a, *y = b;
    return x->size != y->size ? compare(y->size, x->size) : compare(x->root, y->root);
}

/* The best first. */
static int compare_members(const void *a, const void *b) {
    const duplicate *x = a, *y = b;
    if (x->group != y->group) return compare(x->group, y->group);
    return x->text_size != y->text_size ? compare(y->text_size, x->text_size) : compare(x->row, y->row);
}

static int compare_decided(const void *a, const void *b) {
    const duplicate *x = a, *y = b;
    bool x_kept = x->row == x->kept_row, y_kept = y->row == y->kept_row;
    if (x->kept != y->kept) return compare(x->kept, y->kept);
    if (x_kept != y_kept) return x_kept ? -1 : 1;
    if (x->score != y->score) return x->score < y->score ? 1 : -1;
    return compare(x->row, y->row);
}

/* Leaves in `members` those that are not alone, group behind group. */
static magpie_status gather(finder *f, duplicate_groups *out) {
    tree *trees = magpie_alloc(f->count, sizeof *trees); /* by root, then the large ones in order */
    size_t kept = 0;
    if (!trees) return MAGPIE_E_NO_MEMORY;
    for (size_t i = 0; i < f->count; i++) {
        f->members[i].group = root_of(f, i);
        trees[f->members[i].group] = (tree){f->members[i].group, trees[f->members[i].group].size + 1};
    }
    for (size_t i = 0; i < f->count; i++)
        if (trees[f->members[i].group].size > 1) f->members[kept++] = f->members[i];
    for (size_t i = 0; i < f->count; i++)
        if (trees[i].size > 1) trees[out->count++] = trees[i];
    if (out->count) qsort(trees, out->count, sizeof *trees, compare_trees);
    out->starts = magpie_alloc(out->count + 1, sizeof *out->starts);
    if (out->starts)
        for (size_t g = 0; g < out->count; g++) {
            out->starts[g + 1] = out->starts[g] + trees[g].size;
            f->parents[trees[g].root] = g; /* the forest has done its work */
        }
    free(trees);
    if (!out->starts) return MAGPIE_E_NO_MEMORY;
    for (size_t i = 0; i < kept; i++) f->members[i].group = f->parents[f->members[i].group];
    if (kept) qsort(f->members, kept, sizeof *f->members, compare_members);
    return MAGPIE_OK;
}

static magpie_status cosine(const finder *f, uint64_t a, uint64_t b, float *out) {
    const float *x, *y = NULL;
    double sum = 0;
    magpie_status status = magpie_snapshot_vector(f->snapshot, f->space, a, &x);
    if (status == MAGPIE_OK) status = magpie_snapshot_vector(f->snapshot, f->space, b, &y);
    if (status != MAGPIE_OK) return status;
    for (size_t i = 0; i < f->dimension; i++) sum += (double)x[i] * (double)y[i];
    *out = (float)sum;
    return MAGPIE_OK;
}

/* members [n] of one group, the best first. `kept` [n] are those that are kept so far. */
static magpie_status decide(const finder *f, duplicate *members, size_t n, size_t *kept) {
    size_t kept_count = 0;
    for (size_t i = 0; i < n; i++) {
        duplicate *m = &members[i];
        float score;
        bool found = false;
        for (size_t k = 0; k < kept_count; k++) {
            magpie_status status = cosine(f, m->row, members[kept[k]].row, &score);
            if (status != MAGPIE_OK) return status;
            if (!is_near(f, score) || (found && score <= m->score)) continue;
            m->kept_row = members[kept[k]].row;
            m->kept = k;
            m->score = score;
            found = true;
        }
        if (found) continue;
        m->kept_row = m->row;
        m->kept = kept_count;
        m->score = 1;
        kept[kept_count++] = i;
    }
    qsort(members, n, sizeof *members, compare_decided);
    return MAGPIE_OK;
}

static magpie_status decide_all(finder *f, duplicate_groups *out) {
    magpie_status status = MAGPIE_OK;
    for (size_t g = 0; g < out->count && status == MAGPIE_OK; g++) {
        size_t start = out->starts[g], end = out->starts[g + 1];
        status = decide(f, f->members + start, end - start, f->asking);
        for (size_t i = start; i < end; i++) out->duplicates += f->members[i].kept_row != f->members[i].row;
    }
    return status;
}

static magpie_status find_all(finder *f, duplicate_groups *out) {
    magpie_status status = magpie_snapshot_each(f->snapshot, 0, take_item, f);
    if (status == MAGPIE_OK) status = find_pairs(f);
    if (status == MAGPIE_OK) status = gather(f, out);
    return status == MAGPIE_OK ? decide_all(f, out) : status;
}

magpie_status duplicates_find(magpie_snapshot *snapshot, magpie_index *index, magpie_space space,
                              float threshold, bool exact, duplicate_groups *out) {
    const magpie_space_binding *indexed = magpie_index_get_binding(index);
    magpie_space_binding bound;
    finder f = {.snapshot = snapshot,
                .index = index,
                .space = space,
                .dimension = indexed->dimension,
                .threshold = threshold,
                .options = {.mode = exact ? MAGPIE_SEARCH_EXACT : MAGPIE_SEARCH_AUTO}};
    *out = (duplicate_groups){0};
    magpie_status status = magpie_snapshot_get_binding(snapshot, space, &bound);
    if (status != MAGPIE_OK) return status;
    if (!magpie_space_same_binding(&bound, indexed))
        return magpie_fail(MAGPIE_E_BUSY, "the %s vectors are being made anew: try again",
                           magpie_space_name(space));
    status = find_all(&f, out);
    out->members = f.members;
    out->vectors = f.count;
    free(f.parents);
    free(f.asking);
    free(f.queries);
    free(f.counts);
    free(f.hits);
    if (status != MAGPIE_OK) duplicates_free(out);
    return status;
}

void duplicates_free(duplicate_groups *groups) {
    free(groups->members);
    free(groups->starts);
    *groups = (duplicate_groups){0};
}
