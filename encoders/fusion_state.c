/* fusion_state.c - a training on disk: a header, arrays, and a hash of all that.
 *
 * It is read back by the same program on the same machine, or refused; so structs are written as they lie
 * in memory. */
#include "fusion_training.h"

#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

enum { VERSION = 1, ARRAYS = 5 };

typedef struct header {
    char magic[8];
    uint64_t version, key, count, epochs, epoch, best, step, curve_bytes;
    double first_recall;
} header;

static void lay_out(fusion_state *s, magpie_block *block) {
    s->parameters = magpie_carve(block, s->count, sizeof *s->parameters);
    s->kept = magpie_carve(block, s->count, sizeof *s->kept);
    s->adam.first = magpie_carve(block, s->count, sizeof *s->adam.first);
    s->adam.second = magpie_carve(block, s->count, sizeof *s->adam.second);
    s->curve = magpie_carve(block, s->epochs, sizeof *s->curve);
}

magpie_status fusion_state_create(uint64_t key, size_t count, size_t epochs, fusion_state *out) {
    *out = (fusion_state){.key = key, .count = count, .epochs = epochs};
    lay_out(out, &out->block);
    magpie_status status = magpie_block_alloc(&out->block);
    if (status == MAGPIE_OK) lay_out(out, &out->block);
    return status;
}

void fusion_state_free(fusion_state *state) { magpie_block_free(&state->block); }

static header header_of(const fusion_state *s) {
    return (header){.magic = "MAGPIEFT",
                    .version = VERSION,
                    .key = s->key,
                    .count = s->count,
                    .epochs = s->epochs,
                    .epoch = s->epoch,
                    .best = s->best,
                    .step = s->adam.step,
                    .curve_bytes = sizeof *s->curve,
                    .first_recall = s->first_recall};
}

/* The arrays, in the order of the file. */
static void list(const fusion_state *s, void *arrays[ARRAYS], size_t bytes[ARRAYS]) {
    void *all[ARRAYS] = {s->parameters, s->kept, s->adam.first, s->adam.second, s->curve};
    memcpy(arrays, all, sizeof all);
    for (size_t i = 0; i < ARRAYS; i++) bytes[i] = s->count * sizeof *s->parameters;
    bytes[ARRAYS - 1] = s->epochs * sizeof *s->curve;
}

magpie_status fusion_state_write(const fusion_state *state, const char *path) {
    const header h = header_of(state);
    magpie_atomic_file *file;
    void *arrays[ARRAYS];
    size_t bytes[ARRAYS];
    XXH3_state_t hash;
    magpie_status status = magpie_atomic_open(path, &file);
    if (status != MAGPIE_OK) return status;
    FILE *stream = magpie_atomic_stream(file);
    list(state, arrays, bytes);
    XXH3_64bits_reset(&hash);
    XXH3_64bits_update(&hash, &h, sizeof h);
    fwrite(&h, sizeof h, 1, stream);
    for (size_t i = 0; i < ARRAYS; i++) {
        XXH3_64bits_update(&hash, arrays[i], bytes[i]);
        fwrite(arrays[i], 1, bytes[i], stream);
    }
    uint64_t digest = XXH3_64bits_digest(&hash);
    fwrite(&digest, sizeof digest, 1, stream);
    return magpie_atomic_commit(file);
}

static magpie_status check(const fusion_state *s, const magpie_map *map, const char *path, header *h) {
    const header own = header_of(s);
    uint64_t digest;
    if (map->size < sizeof *h + sizeof digest)
        return magpie_fail(MAGPIE_E_CORRUPT, "%s: it is cut off", path);
    memcpy(h, map->data, sizeof *h);
    if (memcmp(h->magic, own.magic, sizeof h->magic) != 0)
        return magpie_fail(MAGPIE_E_CORRUPT, "%s: not the state of a training", path);
    if (h->version != own.version || h->key != own.key || h->count != own.count || h->epochs != own.epochs ||
        h->curve_bytes != own.curve_bytes)
        return magpie_fail(
            MAGPIE_E_MISMATCH,
            "%s: the state of a training on other vectors or with other options: train anew, without "
            "resuming",
            path);
    memcpy(&digest, map->data + map->size - sizeof digest, sizeof digest);
    if (digest != XXH3_64bits(map->data, map->size - sizeof digest) || h->epoch > h->epochs ||
        h->best > h->epoch)
        return magpie_fail(MAGPIE_E_CORRUPT, "%s: it is damaged", path);
    return MAGPIE_OK;
}

magpie_status fusion_state_read(fusion_state *state, const char *path) {
    magpie_map map;
    header h;
    void *arrays[ARRAYS];
    size_t bytes[ARRAYS], size = sizeof h + sizeof(uint64_t);
    magpie_status status = magpie_map_open(path, &map);
    if (status != MAGPIE_OK) return status;
    list(state, arrays, bytes);
    for (size_t i = 0; i < ARRAYS; i++) size += bytes[i];
    status = check(state, &map, path, &h);
    if (status == MAGPIE_OK && map.size != size)
        status = magpie_fail(MAGPIE_E_CORRUPT, "%s: it is damaged", path);
    if (status == MAGPIE_OK) {
        const unsigned char *at = map.data + sizeof h;
        for (size_t i = 0; i < ARRAYS; at += bytes[i++]) memcpy(arrays[i], at, bytes[i]);
        state->epoch = h.epoch;
        state->best = h.best;
        state->adam.step = h.step;
        state->first_recall = h.first_recall;
    }
    magpie_map_close(&map);
    return status;
}
