/* transpose.c - likes by item, by counting: users in order within each. */
#include "model.h"

static void lay_out(const magpie_likes *likes, magpie_likes *out, magpie_block *block) {
    const uint64_t entries = likes->begin[likes->users];
    *out = (magpie_likes){.users = likes->items,
                          .items = likes->users,
                          .begin = magpie_carve(block, likes->items + 1, sizeof *out->begin),
                          .item = magpie_carve(block, entries, sizeof *out->item)};
    if (likes->weight) out->weight = magpie_carve(block, entries, sizeof *out->weight);
}

magpie_status ranker_transpose(const magpie_likes *likes, magpie_likes *out, magpie_block *block) {
    lay_out(likes, out, block);
    magpie_status status = magpie_block_alloc(block);
    if (status != MAGPIE_OK) return status;
    lay_out(likes, out, block);
    uint64_t *begin = (uint64_t *)out->begin;
    uint32_t *users = (uint32_t *)out->item;
    float *weights = (float *)out->weight;
    const uint64_t entries = likes->begin[likes->users];
    /* begin[i + 1] counts, is then where item i begins, and in the end where the next one does. */
    for (uint64_t e = 0; e < entries; e++) begin[likes->item[e] + 1]++;
    for (size_t i = 0, at = 0; i < likes->items; i++) {
        const size_t count = begin[i + 1];
        begin[i + 1] = at;
        at += count;
    }
    for (size_t u = 0; u < likes->users; u++)
        for (uint64_t e = likes->begin[u]; e < likes->begin[u + 1]; e++) {
            const uint64_t at = begin[likes->item[e] + 1]++;
            users[at] = (uint32_t)u;
            if (weights) weights[at] = likes->weight[e];
        }
    return MAGPIE_OK;
}
