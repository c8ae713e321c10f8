/* fusion_recall.c - how well the modalities of an item find each other. */
#include "fusion_training.h"

#include <stdlib.h>
#include <string.h>

enum { BEST = 10 };

/* Vectors of one modality. */
typedef struct side {
    float *z;         /* [n, d] */
    uint32_t *panels; /* of these, turned */
    uint32_t *items;  /* [n], of those that are measured; ascending */
    size_t n;
} side;

typedef struct measure {
    const fusion_training_kernels *kernels;
    size_t d;
    const fusion_items *of;
    const uint32_t *items; /* that are measured */
    side side[MAGPIE_MODALITIES];
    const side *query, *found; /* that are compared now */
    float *scores;             /* [threads, FUSION_BLOCK, n] */
    size_t *hits, *searches;   /* by block of queries */
    size_t n;
} measure;

static uint64_t title_of(const measure *m, uint32_t item) { return m->of->titles[m->items[item]]; }

/* Whether the own one, in place `own`, is among the best. An equal score is not beaten. */
static bool is_found(const measure *m, const float *scores, size_t own) {
    size_t before = 0;
    uint64_t title = title_of(m, m->found->items[own]);
    for (size_t j = 0; j < m->found->n && before < BEST; j++)
        before += j != own && scores[j] >= scores[own] && title_of(m, m->found->items[j]) != title;
    return before < BEST;
}

static magpie_status block_task(void *context, size_t task, unsigned worker) {
    measure *m = context;
    const side *query = m->query, *found = m->found;
    size_t first = task * FUSION_BLOCK,
           rows = query->n - first < FUSION_BLOCK ? query->n - first : FUSION_BLOCK, own = 0;
    float *scores = m->scores + worker * FUSION_BLOCK * m->n;
    m->kernels->multiply[false](&(fusion_product){.m = rows,
                                                  .n = found->n,
                                                  .units = m->d,
                                                  .a = (const uint32_t *)query->z + first * m->d,
                                                  .row = m->d,
                                                  .b = found->panels,
                                                  .depth = m->d,
                                                  .c = scores,
                                                  .stride = found->n});
    m->hits[task] = m->searches[task] = 0;
    for (size_t i = 0; i < rows; i++) {
        while (own < found->n && found->items[own] < query->items[first + i]) own++;
        if (own == found->n || found->items[own] != query->items[first + i]) continue;
        m->searches[task]++;
        m->hits[task] += is_found(m, scores + i * found->n, own);
    }
    return MAGPIE_OK;
}

static magpie_status compare(measure *m, magpie_pool *pool, size_t *hits, size_t *searches) {
    size_t blocks = (m->query->n + FUSION_BLOCK - 1) / FUSION_BLOCK;
    magpie_status status = magpie_pool_run(pool, blocks, block_task, m);
    for (size_t i = 0; i < blocks; i++) {
        *hits += m->hits[i];
        *searches += m->searches[i];
    }
    return status;
}

/* The vectors of all that are measured, a batch after the other. */
static magpie_status project(measure *m, fusion_network *network, size_t most, const float *parameters) {
    for (size_t first = 0; first < m->n; first += most) {
        const fusion_batch batch = {
            .of = m->of, .items = m->items + first, .n = m->n - first < most ? m->n - first : most};
        magpie_status status = fusion_network_project(network, &batch, parameters);
        if (status != MAGPIE_OK) return status;
        for (magpie_modality v = 0; v < MAGPIE_MODALITIES; v++)
            for (size_t i = 0; i < batch.n; i++) {
                side *s = &m->side[v];
                if (fusion_network_vector(network, v, i, s->z + s->n * m->d))
                    s->items[s->n++] = (uint32_t)(first + i);
            }
    }
    for (size_t v = 0; v < MAGPIE_MODALITIES; v++)
        m->kernels->pack_turned((const uint32_t *)m->side[v].z, m->side[v].n, m->d, 0, m->side[v].panels);
    return MAGPIE_OK;
}

static void lay_out(measure *m, size_t threads, magpie_block *block) {
    size_t blocks = (m->n + FUSION_BLOCK - 1) / FUSION_BLOCK, panel = m->kernels->panel,
           columns = (m->n + panel - 1) / panel * panel;
    for (size_t v = 0; v < MAGPIE_MODALITIES; v++) {
        m->side[v].z = magpie_carve(block, m->n * m->d, sizeof *m->side[v].z);
        m->side[v].panels = magpie_carve(block, columns * m->d, sizeof *m->side[v].panels);
        m->side[v].items = magpie_carve(block, m->n, sizeof *m->side[v].items);
    }
    m->scores = magpie_carve(block, threads * FUSION_BLOCK * m->n, sizeof *m->scores);
    m->hits = magpie_carve(block, blocks, sizeof *m->hits);
    m->searches = magpie_carve(block, blocks, sizeof *m->searches);
}

magpie_status fusion_recall(fusion_network *network, const fusion_items *of, const uint32_t *items, size_t n,
                            const float *parameters, magpie_pool *pool, double *out) {
    measure m = {.kernels = fusion_training_kernels_level(0),
                 .d = fusion_network_dimension(network),
                 .of = of,
                 .items = items,
                 .n = n};
    magpie_block block = {0};
    size_t hits = 0, searches = 0;
    lay_out(&m, magpie_pool_threads(pool), &block);
    magpie_status status = magpie_block_alloc(&block);
    if (status == MAGPIE_OK) {
        lay_out(&m, magpie_pool_threads(pool), &block);
        status = project(&m, network, fusion_network_most(network), parameters);
    }
    for (size_t a = 0; a < MAGPIE_MODALITIES; a++)
        for (size_t b = 0; b < MAGPIE_MODALITIES && status == MAGPIE_OK; b++) {
            m.query = &m.side[a];
            m.found = &m.side[b];
            if (a != b && m.query->n && m.found->n) status = compare(&m, pool, &hits, &searches);
        }
    *out = searches ? (double)hits / (double)searches : 0;
    magpie_block_free(&block);
    return status;
}
