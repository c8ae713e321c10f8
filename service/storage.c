/* storage.c - opening a store and its indexes. */
#include "storage.h"

#include <stdlib.h>
#include <string.h>

enum { LINKS_MAX = 256, EF_MAX = 100000, FILTER_BYTES_MAX = 1 << 20 };

static const char *directory;
static size_t links, ef_construction;
static magpie_index_kind kind;

static const char *const kind_names[] = {[MAGPIE_INDEX_AUTO] = "auto",
                                         [MAGPIE_INDEX_FLAT] = "flat",
                                         [MAGPIE_INDEX_HNSW] = "hnsw",
                                         [MAGPIE_INDEX_IVF] = "ivf"};

static magpie_status parse_kind(const char *value, void *target) {
    for (size_t i = 0; i < sizeof kind_names / sizeof *kind_names; i++)
        if (strcmp(value, kind_names[i]) == 0)
            return *(magpie_index_kind *)target = (magpie_index_kind)i, MAGPIE_OK;
    return magpie_fail(MAGPIE_E_ARGUMENT, "auto, flat, hnsw or ivf is wanted, not \"%s\"", value);
}

const option_row storage_options[] = {{.name = "store",
                                       .letter = 's',
                                       .argument = "DIR",
                                       .string = &directory,
                                       .help = "the store's folder",
                                       .required = true},
                                      {0}};

const option_row storage_optional_options[] = {{.name = "store",
                                                .letter = 's',
                                                .argument = "DIR",
                                                .string = &directory,
                                                .help = "the store's folder, where an item of it is meant"},
                                               {0}};

const option_row build_options[] = {
    {.name = "index",
     .argument = "KIND",
     .parse = parse_kind,
     .target = &kind,
     .help = "auto, flat, hnsw or ivf (default: auto: what is there, or by the number of items)"},
    {.name = "m",
     .argument = "N",
     .number = &links,
     .least = 2,
     .most = LINKS_MAX,
     .help = "hnsw: links a node (default: 32)"},
    {.name = "ef-construction",
     .argument = "N",
     .number = &ef_construction,
     .least = 1,
     .most = EF_MAX,
     .help = "hnsw: breadth of the search for links (default: 200)"},
    {0}};

const char *storage_directory(void) { return directory; }

magpie_status storage_file_status(magpie_status status) {
    return status == MAGPIE_E_NOT_FOUND ? MAGPIE_E_IO : status;
}

magpie_status storage_open(storage_mode mode, magpie_store **out) {
    const magpie_store_options options = {.create = mode == STORAGE_CREATE,
                                          .read_only = mode == STORAGE_READ};
    return magpie_store_open(directory, &options, out);
}

static bool has_index_file(magpie_space space) {
    char name[32];
    snprintf(name, sizeof name, "%s.index", magpie_space_name(space));
    char *path = magpie_path_join(directory, name);
    bool exists = path && magpie_path_exists(path);
    free(path);
    return exists;
}

static magpie_status open_index(magpie_store *store, magpie_space space, magpie_index_kind wanted,
                                magpie_index **out) {
    const magpie_index_options options = {
        .kind = wanted, .m = (unsigned)links, .ef_construction = (unsigned)ef_construction};
    return magpie_index_open(store, space, &options, out);
}

magpie_status storage_open_index(magpie_store *store, magpie_space space, magpie_index **out) {
    return open_index(store, space, kind, out);
}

magpie_status storage_open_index_to_search(magpie_store *store, magpie_space space, magpie_index **out) {
    return open_index(store, space, has_index_file(space) ? kind : MAGPIE_INDEX_FLAT, out);
}

bool storage_should_have_index(const magpie_store_stats *stats, magpie_space space) {
    bool is_fused = space == MAGPIE_SPACE_TEXT &&
                    strcmp(stats->fingerprint[space], stats->fingerprint[MAGPIE_SPACE_FUSED]) == 0;
    return stats->dimension[space] && (!is_fused || has_index_file(space));
}

magpie_status storage_open_indexes(magpie_store *store, magpie_store_stats *stats,
                                   magpie_index *out[MAGPIE_SPACES]) {
    for (unsigned s = 0; s < MAGPIE_SPACES; s++) out[s] = NULL;
    magpie_status status = magpie_store_get_stats(store, stats);
    for (unsigned s = 0; s < MAGPIE_SPACES && status == MAGPIE_OK; s++)
        if (storage_should_have_index(stats, s)) status = storage_open_index(store, s, &out[s]);
    return status;
}

void storage_close_indexes(magpie_index *indexes[MAGPIE_SPACES]) {
    for (unsigned s = 0; s < MAGPIE_SPACES; s++) magpie_index_close(indexes[s]);
}

static magpie_status update_index(magpie_store *store, magpie_space space) {
    magpie_index *index;
    magpie_status status = storage_open_index(store, space, &index);
    if (status != MAGPIE_OK) return status;
    status = magpie_index_refresh(index);
    if (status == MAGPIE_OK) status = magpie_index_save(index);
    magpie_index_close(index);
    return status;
}

/* One after the other: the memory is that of the largest. */
magpie_status storage_update_indexes(magpie_store *store) {
    magpie_store_stats stats;
    magpie_status status = magpie_store_get_stats(store, &stats);
    for (unsigned s = 0; s < MAGPIE_SPACES && status == MAGPIE_OK; s++)
        if (storage_should_have_index(&stats, s)) status = update_index(store, s);
    return status;
}

const char *storage_kind_name(magpie_index_kind of) { return kind_names[of]; }

magpie_status storage_parse_space(const char *value, void *target) {
    for (unsigned s = 0; s < MAGPIE_SPACES; s++)
        if (strcmp(value, magpie_space_name(s)) == 0) return *(magpie_space *)target = s, MAGPIE_OK;
    return magpie_fail(MAGPIE_E_ARGUMENT, "fused, text, image or audio is wanted, not \"%s\"", value);
}

magpie_status storage_read_filter(const char *given, magpie_filter **out) {
    char *file = NULL;
    *out = NULL;
    if (!given) return MAGPIE_OK;
    if (*given == '@') {
        magpie_status status = magpie_file_read(given + 1, FILTER_BYTES_MAX, &file, NULL);
        if (status != MAGPIE_OK) return status;
        given = file;
    }
    magpie_status status = magpie_filter_parse(given, strlen(given), out);
    free(file);
    return status;
}
