/* eval_pairs.c - see eval_pairs.h. */
#include "eval_pairs.h"

#include "random.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_MOST = 1 << 24, NEGATIVES = 99, TRIES = 20 * NEGATIVES };

/* ---- lines --------------------------------------------------------------------------------------------- */

typedef struct source {
    const char *path;
    magpie_lines *lines;
    magpie_string line; /* empty: the end */
    size_t number;
} source;

/* The next one that is not empty. */
static magpie_status read_line(source *s) {
    magpie_line line = {0};
    bool got = true;
    magpie_status status = MAGPIE_OK;
    s->line = (magpie_string){0};
    while (got && !s->line.size && status == MAGPIE_OK) {
        status = magpie_lines_next(s->lines, &line, &got);
        if (status != MAGPIE_OK || !got) return status;
        s->number = line.number;
        if (line.too_long)
            return magpie_fail(MAGPIE_E_INPUT, "%s, line %zu: %zu bytes are too long", s->path, s->number,
                               line.size);
        s->line = (magpie_string){line.data, line.size};
        if (line.size && line.data[line.size - 1] == '\r') s->line.size--;
    }
    return status;
}

/* Takes what is before the next tab off `rest`; false: there was nothing left. */
static bool take_field(magpie_string *rest, magpie_string *field) {
    if (!rest->data) return false;
    const char *tab = rest->size ? memchr(rest->data, '\t', rest->size) : NULL;
    const size_t size = tab ? (size_t)(tab - rest->data) : rest->size;
    *field = (magpie_string){rest->data, size};
    *rest = tab ? (magpie_string){tab + 1, rest->size - size - 1} : (magpie_string){0};
    return true;
}

/* ---- numbers ------------------------------------------------------------------------------------------- */

typedef magpie_status (*lookup)(magpie_snapshot *snapshot, magpie_string id, uint32_t *out);

typedef struct reading {
    const likes *known;
    json_t *users, *items; /* strangers: id > number */
    source test, negatives;
    eval_pairs *out;
    size_t room, negatives_n, negatives_room;
} reading;

/* The store's number, else the stranger's: that of before, or the next one from `first` on. */
static magpie_status number_of(const reading *r, const source *s, lookup look_up, json_t *strangers,
                               size_t first, magpie_string id, uint32_t *out) {
    if (!id.size) return magpie_fail(MAGPIE_E_INPUT, "%s, line %zu: an id is missing", s->path, s->number);
    magpie_status status = look_up(r->known->snapshot, id, out);
    if (status != MAGPIE_E_NOT_FOUND)
        return status == MAGPIE_OK
                   ? status
                   : magpie_fail(status, "%s, line %zu: %s", s->path, s->number, magpie_error());
    const json_t *met = json_object_getn(strangers, id.data, id.size);
    *out = (uint32_t)(met ? (size_t)json_integer_value(met) : first + json_object_size(strangers));
    if (!met && json_object_setn_new_nocheck(strangers, id.data, id.size, json_integer(*out)) != 0)
        return magpie_fail(MAGPIE_E_NO_MEMORY, "out of memory");
    return MAGPIE_OK;
}

static magpie_status user_of(const reading *r, const source *s, magpie_string id, uint32_t *out) {
    return number_of(r, s, magpie_snapshot_user_number, r->users, r->known->all.users, id, out);
}

static magpie_status item_of(const reading *r, const source *s, magpie_string id, uint32_t *out) {
    return number_of(r, s, magpie_snapshot_item_number, r->items, r->known->all.items, id, out);
}

/* ---- reading ------------------------------------------------------------------------------------------- */

static bool is_pair(magpie_string field, magpie_string user, magpie_string item) {
    const char *at = field.data;
    return field.size == user.size + item.size + 3 && at[0] == '(' &&
           memcmp(at + 1, user.data, user.size) == 0 && at[user.size + 1] == ',' &&
           memcmp(at + user.size + 2, item.data, item.size) == 0 && at[field.size - 1] == ')';
}

/* Negatives are found by place until all have been read: the array still moves. */
static magpie_status take_negatives(reading *r, magpie_string user, magpie_string item, size_t *count) {
    source *s = &r->negatives;
    eval_pairs *out = r->out;
    magpie_string rest, field = {0};
    magpie_status status = read_line(s);
    if (status != MAGPIE_OK) return status;
    rest = s->line;
    if (!rest.size)
        return magpie_fail(MAGPIE_E_INPUT, "%s ends before line %zu of %s", s->path, r->test.number,
                           r->test.path);
    if (!take_field(&rest, &field) || !is_pair(field, user, item))
        return magpie_fail(MAGPIE_E_INPUT, "%s, line %zu: it should begin with (%.*s,%.*s), as %s, line %zu",
                           s->path, s->number, (int)user.size, user.data, (int)item.size, item.data,
                           r->test.path, r->test.number);
    while (status == MAGPIE_OK && take_field(&rest, &field)) {
        status = magpie_grow((void **)&out->negatives, &r->negatives_room, r->negatives_n + 1,
                             sizeof *out->negatives);
        if (status == MAGPIE_OK) status = item_of(r, s, field, &out->negatives[r->negatives_n]);
        r->negatives_n++;
        ++*count;
    }
    return status;
}

static magpie_status take_pair(reading *r) {
    eval_pairs *out = r->out;
    magpie_string rest = r->test.line, user = {0}, item = {0};
    take_field(&rest, &user);
    if (!take_field(&rest, &item))
        return magpie_fail(MAGPIE_E_INPUT, "%s, line %zu: a user, a tab and an item are wanted", r->test.path,
                           r->test.number);
    magpie_status status = magpie_grow((void **)&out->cases, &r->room, out->n + 1, sizeof *out->cases);
    if (status != MAGPIE_OK) return status;
    magpie_one_case *c = &out->cases[out->n++];
    *c = (magpie_one_case){0};
    status = user_of(r, &r->test, user, &c->user);
    if (status == MAGPIE_OK) status = item_of(r, &r->test, item, &c->item);
    return status == MAGPIE_OK && r->negatives.path ? take_negatives(r, user, item, &c->n) : status;
}

static magpie_status read_pairs(reading *r) {
    magpie_status status = MAGPIE_OK;
    while (status == MAGPIE_OK && (status = read_line(&r->test)) == MAGPIE_OK && r->test.line.size)
        status = take_pair(r);
    if (status == MAGPIE_OK && r->negatives.path) {
        status = read_line(&r->negatives);
        if (status == MAGPIE_OK && r->negatives.line.size)
            status = magpie_fail(MAGPIE_E_INPUT, "%s, line %zu: %s has no line for it", r->negatives.path,
                                 r->negatives.number, r->test.path);
    }
    if (status == MAGPIE_OK && !r->out->n)
        status = magpie_fail(MAGPIE_E_INPUT, "%s has no lines", r->test.path);
    return status;
}

static void hand_out_negatives(eval_pairs *pairs) {
    const uint32_t *next = pairs->negatives;
    for (size_t i = 0; i < pairs->n; i++) {
        pairs->cases[i].negatives = next;
        if (next) next += pairs->cases[i].n;
    }
}

magpie_status eval_pairs_read(const likes *known, const char *test, const char *negatives, eval_pairs *out) {
    *out = (eval_pairs){0};
    reading r = {.known = known,
                 .users = json_object(),
                 .items = json_object(),
                 .test.path = test,
                 .negatives.path = negatives,
                 .out = out};
    magpie_status status = r.users && r.items ? MAGPIE_OK : magpie_fail(MAGPIE_E_NO_MEMORY, "out of memory");
    if (status == MAGPIE_OK) status = magpie_lines_open(test, LINE_MOST, 0, 0, &r.test.lines);
    if (status == MAGPIE_OK && negatives)
        status = magpie_lines_open(negatives, LINE_MOST, 0, 0, &r.negatives.lines);
    if (status == MAGPIE_OK) status = read_pairs(&r);
    hand_out_negatives(out);
    out->users = known->all.users + json_object_size(r.users);
    magpie_lines_close(r.test.lines);
    magpie_lines_close(r.negatives.lines);
    json_decref(r.users);
    json_decref(r.items);
    return status;
}

void eval_pairs_free(eval_pairs *pairs) {
    free(pairs->cases);
    free(pairs->negatives);
    *pairs = (eval_pairs){0};
}

/* ---- from likes and to likes --------------------------------------------------------------------------- */

magpie_status eval_pairs_of(const magpie_likes *test, eval_pairs *out) {
    *out = (eval_pairs){.users = test->users};
    out->cases = magpie_alloc(test->begin[test->users], sizeof *out->cases);
    if (!out->cases) return MAGPIE_E_NO_MEMORY;
    for (size_t u = 0; u < test->users; u++)
        for (uint64_t i = test->begin[u]; i < test->begin[u + 1]; i++)
            out->cases[out->n++] = (magpie_one_case){(uint32_t)u, test->item[i], NULL, 0};
    return MAGPIE_OK;
}

static int compare_pairs(const void *a, const void *b) {
    const magpie_one_case *x = a, *y = b;
    if (x->user != y->user) return x->user < y->user ? -1 : 1;
    return (x->item > y->item) - (x->item < y->item);
}

magpie_status eval_pairs_as_likes(const eval_pairs *pairs, const magpie_likes *known, magpie_likes *out,
                                  magpie_block *block) {
    uint64_t *begin = NULL;
    uint32_t *item = NULL;
    magpie_one_case *sorted = NULL;
    *block = (magpie_block){0};
    for (unsigned pass = 0; pass < 2; pass++) {
        begin = magpie_carve(block, pairs->users + 1, sizeof *begin);
        item = magpie_carve(block, pairs->n, sizeof *item);
        sorted = magpie_carve(block, pairs->n, sizeof *sorted);
        if (pass) break;
        magpie_status status = magpie_block_alloc(block);
        if (status != MAGPIE_OK) return status;
    }
    memcpy(sorted, pairs->cases, pairs->n * sizeof *sorted);
    qsort(sorted, pairs->n, sizeof *sorted, compare_pairs);
    size_t n = 0;
    for (size_t i = 0; i < pairs->n; i++) {
        if (i && compare_pairs(&sorted[i - 1], &sorted[i]) == 0) continue;
        item[n++] = sorted[i].item;
        begin[sorted[i].user + 1]++;
    }
    for (size_t u = 0; u < pairs->users; u++) begin[u + 1] += begin[u];
    *out = (magpie_likes){pairs->users, known->items, begin, item, NULL, NULL};
    return MAGPIE_OK;
}

/* ---- negatives by chance ------------------------------------------------------------------------------- */

static bool is_in(const uint32_t *items, size_t n, uint32_t item) {
    for (size_t i = 0; i < n; i++)
        if (items[i] == item) return true;
    return false;
}

magpie_status eval_pairs_draw(eval_pairs *pairs, const magpie_likes *seen, const magpie_likes *test,
                              const bool *among, uint64_t seed) {
    uint32_t *next = pairs->negatives = magpie_alloc(pairs->n, NEGATIVES * sizeof *pairs->negatives);
    if (!next) return MAGPIE_E_NO_MEMORY;
    for (size_t i = 0; i < pairs->n; i++) {
        magpie_one_case *c = &pairs->cases[i];
        uint64_t random = magpie_seed(seed, i);
        c->n = 0;
        for (size_t t = 0; t < TRIES && c->n < NEGATIVES; t++) {
            const uint32_t item = ranker_draw(&random, (uint32_t)seen->items);
            if (among && !among[item]) continue;
            if (is_in(next, c->n, item) || magpie_likes_has(seen, c->user, item) ||
                magpie_likes_has(test, c->user, item))
                continue;
            next[c->n++] = item;
        }
        c->negatives = next;
        next += c->n;
    }
    return MAGPIE_OK;
}
