/* index_file.c - writing and reading STORE/NAME.index (see index_file.h for the format). */
#include "index_file.h"

#include <errno.h>
#include <faiss/c_api/error_c.h>
#include <faiss/c_api/index_io_c.h>
#include <xxhash.h>

enum { VERSION = 1, TRAILER_BYTES = sizeof(uint64_t) };
static const char magic[8] = {'M', 'A', 'G', 'P', 'I', 'E', 'I', 'X'};

_Static_assert(sizeof(magpie_index_header) == 96, "the header has no holes");

static uint64_t header_checksum(const magpie_index_header *header) {
    return XXH3_64bits(header, offsetof(magpie_index_header, checksum));
}

/* ---- writing ---- */

/* errno is what the failed write has left: FAISS tells it only in words. */
static magpie_status write_failed(const char *path, const char *why) {
    if (errno) return magpie_fail_errno(errno, "cannot write %s", path);
    return magpie_fail(MAGPIE_E_IO, "cannot write %s: %s", path, why);
}

static bool write_all(FILE *stream, const void *bytes, size_t size) {
    return !size || fwrite(bytes, size, 1, stream) == 1;
}

static magpie_status write_body(FILE *stream, const char *path, const magpie_generation *g,
                                magpie_index_header *header) {
    size_t words = magpie_bitmap_words(g->count);
    errno = 0;
    if (!write_all(stream, header, sizeof *header) || !write_all(stream, g->rows, g->count * sizeof *g->rows) ||
        !write_all(stream, g->live.words, words * sizeof(uint64_t)))
        return write_failed(path, "the write was cut short");
    off_t before = ftello(stream);
    if (faiss_write_index(g->faiss, stream)) return write_failed(path, faiss_get_last_error());
    off_t after = ftello(stream);
    header->faiss_bytes = (uint64_t)(after - before);
    header->checksum = header_checksum(header);
    if (before < 0 || after < 0 || fseeko(stream, 0, SEEK_SET) != 0 ||
        fwrite(header, sizeof *header, 1, stream) != 1 || fseeko(stream, 0, SEEK_END) != 0 ||
        fflush(stream) != 0)
        return write_failed(path, "the write was cut short");
    return MAGPIE_OK;
}

/* The checksum is taken of what is in the file, not of what was meant to be. */
static magpie_status write_trailer(FILE *stream, const char *path, const char *temporary) {
    magpie_map map;
    magpie_status status = magpie_map_open(temporary, &map);
    if (status != MAGPIE_OK) return status;
    uint64_t checksum = XXH3_64bits(map.data, map.size);
    magpie_map_close(&map);
    errno = 0;
    return fwrite(&checksum, sizeof checksum, 1, stream) == 1 ? MAGPIE_OK
                                                              : write_failed(path, "the write was cut short");
}

magpie_status magpie_index_file_write(const char *path, const magpie_index_owner *owner,
                                      const magpie_generation *generation) {
    magpie_index_header header = {.version = VERSION,
                                  .space = owner->space,
                                  .kind = generation->kind,
                                  .dimension = (uint32_t)owner->dimension,
                                  .m = generation->m,
                                  .ef_construction = generation->ef_construction,
                                  .sequence = generation->sequence,
                                  .count = generation->count,
                                  .fingerprint = {owner->fingerprint[0], owner->fingerprint[1]}};
    memcpy(header.magic, magic, sizeof magic);
    memcpy(header.identity, owner->identity, sizeof header.identity);
    magpie_atomic_file *file;
    magpie_status status = magpie_atomic_open(path, &file);
    if (status != MAGPIE_OK) return status;
    FILE *stream = magpie_atomic_stream(file);
    status = write_body(stream, path, generation, &header);
    if (status == MAGPIE_OK) status = write_trailer(stream, path, magpie_atomic_path(file));
    if (status == MAGPIE_OK) return magpie_atomic_commit(file);
    magpie_atomic_abort(file);
    return status;
}

/* ---- reading ---- */

static magpie_status check_header(const char *path, const magpie_index_header *header) {
    if (memcmp(header->magic, magic, sizeof magic) != 0)
        return magpie_fail(MAGPIE_E_CORRUPT, "%s is no vector index of Magpie", path);
    if (header->version != VERSION)
        return magpie_fail(MAGPIE_E_MISMATCH, "%s has format version %u; this Magpie reads %d", path,
                           header->version, VERSION);
    if (header->checksum != header_checksum(header))
        return magpie_fail(MAGPIE_E_CORRUPT, "%s: its header is damaged", path);
    return MAGPIE_OK;
}

magpie_status magpie_index_file_header(const char *path, magpie_index_header *out) {
    FILE *file = fopen(path, "rbe");
    if (!file) return magpie_fail_errno(errno, "cannot open %s", path);
    bool whole = fread(out, sizeof *out, 1, file) == 1;
    fclose(file);
    return whole ? check_header(path, out) : magpie_fail(MAGPIE_E_CORRUPT, "%s is cut short", path);
}

static magpie_status check_owner(const char *path, const magpie_index_header *header,
                                 const magpie_index_owner *owner) {
    if (memcmp(header->identity, owner->identity, sizeof owner->identity) != 0)
        return magpie_fail(MAGPIE_E_MISMATCH, "%s belongs to another store", path);
    if (header->space != owner->space || header->dimension != owner->dimension ||
        memcmp(header->fingerprint, owner->fingerprint, sizeof owner->fingerprint) != 0)
        return magpie_fail(MAGPIE_E_MISMATCH, "%s belongs to another space or model", path);
    return MAGPIE_OK;
}

/* That the parts add up to the file, and that the checksum is theirs. */
static magpie_status check_body(const char *path, const magpie_index_header *header, const magpie_map *map) {
    size_t rows, words, want;
    bool fits = header->count <= SIZE_MAX / 64 && header->faiss_bytes <= SIZE_MAX &&
                magpie_size_mul(header->count, sizeof(uint64_t), &rows) &&
                magpie_size_mul(magpie_bitmap_words(header->count), sizeof(uint64_t), &words) &&
                magpie_size_add(rows, words, &want) && magpie_size_add(want, header->faiss_bytes, &want) &&
                magpie_size_add(want, sizeof *header + TRAILER_BYTES, &want);
    if (!fits || want != map->size)
        return magpie_fail(MAGPIE_E_CORRUPT, "%s has %zu bytes, which is not what its header says", path,
                           map->size);
    uint64_t checksum;
    memcpy(&checksum, map->data + map->size - TRAILER_BYTES, sizeof checksum);
    return checksum == XXH3_64bits(map->data, map->size - TRAILER_BYTES)
               ? MAGPIE_OK
               : magpie_fail(MAGPIE_E_CORRUPT, "%s: its checksum is wrong", path);
}

static magpie_status read_rows(const char *path, const magpie_index_header *header, const unsigned char *at,
                               magpie_generation *g) {
    size_t words = magpie_bitmap_words(header->count);
    g->count = g->capacity = header->count;
    g->rows = magpie_alloc(g->count, sizeof *g->rows);
    magpie_status status = magpie_bitmap_make(g->count, &g->live);
    if (status != MAGPIE_OK || !g->rows) return MAGPIE_E_NO_MEMORY;
    g->live_capacity = words;
    memcpy(g->rows, at, g->count * sizeof *g->rows);
    memcpy(g->live.words, at + g->count * sizeof *g->rows, words * sizeof(uint64_t));
    bool good = !words || !(g->live.words[words - 1] & ~magpie_bitmap_tail(g->count));
    for (size_t i = 1; i < g->count && good; i++) good = g->rows[i - 1] < g->rows[i];
    g->dead = g->count - (good ? magpie_bitmap_count(&g->live) : 0);
    return good ? MAGPIE_OK : magpie_fail(MAGPIE_E_CORRUPT, "%s: its rows are out of order", path);
}

static magpie_status read_faiss(const char *path, const magpie_index_header *header, const unsigned char *at,
                                magpie_generation *g) {
    FILE *stream = fmemopen((void *)(uintptr_t)at, header->faiss_bytes, "rb");
    if (!stream) return magpie_fail_errno(errno, "cannot read %s", path);
    int failed = faiss_read_index(stream, 0, &g->faiss);
    fclose(stream);
    if (failed) {
        g->faiss = NULL;
        return magpie_fail(MAGPIE_E_CORRUPT, "%s: FAISS cannot read it: %s", path, faiss_get_last_error());
    }
    if ((size_t)faiss_Index_d(g->faiss) != g->dimension || !magpie_generation_sound(g) ||
        faiss_Index_metric_type(g->faiss) != METRIC_INNER_PRODUCT)
        return magpie_fail(MAGPIE_E_CORRUPT, "%s: FAISS read something else than its header says", path);
    return MAGPIE_OK;
}

static magpie_status read_generation(const char *path, const magpie_index_header *header,
                                     const magpie_map *map, magpie_generation **out) {
    magpie_generation *g = magpie_alloc(1, sizeof *g);
    if (!g) return MAGPIE_E_NO_MEMORY;
    *g = (magpie_generation){.kind = header->kind,
                             .dimension = header->dimension,
                             .m = header->m,
                             .ef_construction = header->ef_construction,
                             .sequence = header->sequence};
    const unsigned char *rows = map->data + sizeof *header;
    const unsigned char *faiss =
        rows + (header->count + magpie_bitmap_words(header->count)) * sizeof(uint64_t);
    magpie_status status = read_rows(path, header, rows, g);
    if (status == MAGPIE_OK) status = read_faiss(path, header, faiss, g);
    if (status != MAGPIE_OK) {
        magpie_generation_free(g);
        return status;
    }
    *out = g;
    return MAGPIE_OK;
}

magpie_status magpie_index_file_read(const char *path, const magpie_index_owner *owner,
                                     magpie_generation **out) {
    magpie_map map;
    magpie_index_header header;
    *out = NULL;
    magpie_status status = magpie_map_open(path, &map);
    if (status != MAGPIE_OK) return status;
    if (map.size < sizeof header + TRAILER_BYTES)
        status = magpie_fail(MAGPIE_E_CORRUPT, "%s is cut short", path);
    else
        memcpy(&header, map.data, sizeof header);
    if (status == MAGPIE_OK) status = check_header(path, &header);
    if (status == MAGPIE_OK) status = check_owner(path, &header, owner);
    if (status == MAGPIE_OK) status = check_body(path, &header, &map);
    if (status == MAGPIE_OK) status = read_generation(path, &header, &map, out);
    magpie_map_close(&map);
    return status;
}
