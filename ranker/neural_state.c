/* neural_state.c - a training on disk: a header, the numbers with their moments, how each epoch was, and a
 * hash of all that. It is read back by the same program on the same machine, or refused; so numbers are
 * written as they lie in memory. */
#include "neural.h"

#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

enum { VERSION = 2, ARRAYS = 4 * (NEURAL_TABLES + 1) };

typedef struct header {
    char magic[8];
    uint64_t version, bytes;
    neural_state state;
} header;

/* The arrays, in the order of the file; returns the bytes of all. */
static size_t list(const neural *net, void *arrays[ARRAYS], size_t bytes[ARRAYS]) {
    size_t all = 0;
    for (size_t t = 0; t <= NEURAL_TABLES; t++) {
        const neural_table *table = &net->table[t];
        float *of[4] = {table->values, table->first, table->second, table->kept};
        for (size_t i = 0; i < 4; i++) {
            arrays[4 * t + i] = of[i];
            bytes[4 * t + i] = of[i] ? table->rows * table->columns * sizeof(float) : 0;
            all += bytes[4 * t + i];
        }
    }
    return all;
}

magpie_status neural_state_write(const neural *net, const neural_state *state, const neural_epoch *curve,
                                 const char *path) {
    void *arrays[ARRAYS];
    size_t bytes[ARRAYS];
    magpie_atomic_file *file;
    const header h = {"MAGPIERT", VERSION, list(net, arrays, bytes), *state};
    XXH3_state_t hash;
    magpie_status status = magpie_atomic_open(path, &file);
    if (status != MAGPIE_OK) return status;
    FILE *stream = magpie_atomic_stream(file);
    XXH3_64bits_reset(&hash);
    XXH3_64bits_update(&hash, &h, sizeof h);
    fwrite(&h, sizeof h, 1, stream);
    for (size_t i = 0; i < ARRAYS; i++) {
        if (!bytes[i]) continue;
        XXH3_64bits_update(&hash, arrays[i], bytes[i]);
        fwrite(arrays[i], 1, bytes[i], stream);
    }
    XXH3_64bits_update(&hash, curve, state->epoch * sizeof *curve);
    fwrite(curve, sizeof *curve, state->epoch, stream);
    const uint64_t digest = XXH3_64bits_digest(&hash);
    fwrite(&digest, sizeof digest, 1, stream);
    return magpie_atomic_commit(file);
}

static magpie_status check(const magpie_map *map, const char *path, size_t bytes, size_t epochs, uint64_t key,
                           header *h) {
    uint64_t digest;
    if (map->size < sizeof *h + sizeof digest)
        return magpie_fail(MAGPIE_E_CORRUPT, "%s: it is too short: remove it to begin anew", path);
    memcpy(h, map->data, sizeof *h);
    memcpy(&digest, map->data + map->size - sizeof digest, sizeof digest);
    if (memcmp(h->magic, "MAGPIERT", sizeof h->magic) != 0 || h->version != VERSION ||
        digest != XXH3_64bits(map->data, map->size - sizeof digest))
        return magpie_fail(MAGPIE_E_CORRUPT,
                           "%s: it is damaged, or another version's: remove it to begin anew", path);
    if (h->state.key != key || h->bytes != bytes || !h->state.epoch || h->state.epoch > epochs ||
        map->size != sizeof *h + bytes + h->state.epoch * sizeof(neural_epoch) + sizeof digest)
        return magpie_fail(MAGPIE_E_MISMATCH,
                           "%s: it is of a training on other likes or with other options: repeat those, or "
                           "remove it to begin anew",
                           path);
    return MAGPIE_OK;
}

magpie_status neural_state_read(neural *net, neural_state *state, neural_epoch *curve, size_t epochs,
                                const char *path, bool *found) {
    void *arrays[ARRAYS];
    size_t bytes[ARRAYS], all = list(net, arrays, bytes), at = sizeof(header);
    magpie_map map;
    header h;
    *found = magpie_path_exists(path);
    if (!*found) return MAGPIE_OK;
    magpie_status status = magpie_map_open(path, &map);
    if (status != MAGPIE_OK) return status;
    status = check(&map, path, all, epochs, state->key, &h);
    for (size_t i = 0; i < ARRAYS && status == MAGPIE_OK; i++) {
        if (bytes[i]) memcpy(arrays[i], map.data + at, bytes[i]);
        at += bytes[i];
    }
    if (status == MAGPIE_OK) {
        *state = h.state;
        memcpy(curve, map.data + at, h.state.epoch * sizeof *curve);
    }
    magpie_map_close(&map);
    return status;
}
