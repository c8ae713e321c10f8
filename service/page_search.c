/* page_search.c - see page_search.h. */
#include "page_search.h"

#include <math.h>
#include <stdlib.h>

/* Part `i`; `item` is filled where it is one. */
static magpie_status describe_part(const query *q, size_t i, magpie_snapshot *snapshot, magpie_item *item,
                                   page_part *out) {
    const query_part *given = &q->parts[i];
    static const char *const labels[3][2] = {{NULL, "like"}, {"and", "and like"}, {"not", "not like"}};
    *out = (page_part){.label = labels[given->weight < 0 ? 2 : i > 0][given->kind == QUERY_ITEM],
                       .weight = q->count > 1 ? fabsf(q->mixed[i].weight) : 1};
    switch (given->kind) {
    case QUERY_IMAGE: out->image = given->value.data; return MAGPIE_OK;
    case QUERY_AUDIO: out->audio = given->value.data; return MAGPIE_OK;
    case QUERY_ITEM: out->item = item; return magpie_snapshot_get(snapshot, given->value, item);
    default: out->words = given->value; return MAGPIE_OK;
    }
}

/* What all parts have with one modality; NAN where it does not count. */
static void sum_shares(const float *shares, size_t parts, float out[MAGPIE_MODALITIES]) {
    for (size_t m = 0; m < MAGPIE_MODALITIES; m++) {
        out[m] = 0;
        for (size_t i = 0; i < parts; i++) out[m] += shares[i * MAGPIE_MODALITIES + m];
    }
}

static magpie_status write_page(const query *q, const page_part *parts, const page_card *cards, size_t count,
                                double took) {
    char summary[64];
    snprintf(summary, sizeof summary, "%zu found in %.1f ms", count, took * 1000);
    const page_section section = {.cards = cards, .count = count};
    const page p = {"magpie search", summary, parts, q->count, &section, 1};
    return page_write(&p, page_path());
}

magpie_status page_write_search(const query *q, magpie_snapshot *snapshot, const magpie_hit *hits,
                                const magpie_item *items, const float *shares, size_t count, double took) {
    if (!page_path()) return MAGPIE_OK;
    page_part parts[QUERY_PARTS_MAX];
    magpie_item *asked = magpie_alloc(q->count, sizeof *asked);
    page_card *cards = magpie_alloc(count, sizeof *cards);
    float *sums = magpie_alloc(count * MAGPIE_MODALITIES, sizeof *sums);
    magpie_status status = asked && cards && sums ? MAGPIE_OK : MAGPIE_E_NO_MEMORY;
    for (size_t i = 0; i < q->count && status == MAGPIE_OK; i++)
        status = describe_part(q, i, snapshot, &asked[i], &parts[i]);
    for (size_t i = 0; i < count && status == MAGPIE_OK; i++) {
        cards[i] = (page_card){.item = &items[i], .rank = i + 1, .score = hits[i].score};
        if (!shares) continue;
        cards[i].shares = sums + i * MAGPIE_MODALITIES;
        sum_shares(shares + i * q->count * MAGPIE_MODALITIES, q->count, sums + i * MAGPIE_MODALITIES);
    }
    if (status == MAGPIE_OK) status = write_page(q, parts, cards, count, took);
    free(sums);
    free(cards);
    free(asked);
    return status;
}
