/* source_folder.c - a folder of files as a catalogue: an item is the files of one path without its ending,
 * which is its id. In order of ids, byte by byte, so that two runs read the same. The names of all files
 * are in memory. */
#include "source_group.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

typedef struct folder_file {
    size_t at, size, stem; /* its path, relative to the folder, in `names`; stem: bytes before its ending */
    magpie_part part;
} folder_file;

typedef struct listing {
    magpie_text names;
    folder_file *files; /* [count] */
    size_t count, capacity, passed_over;
} listing;

typedef struct folder_source {
    const char *path;
    listing list;
    bool listed;
    size_t next, number;
    magpie_group group;
} folder_source;

/* ---- what is there ------------------------------------------------------------------------------------- */

static magpie_status list_below(listing *l, const char *folder, const char *relative);

static magpie_status add_file(listing *l, const char *relative) {
    const char *slash = strrchr(relative, '/'), *name = slash ? slash + 1 : relative;
    const char *dot = strrchr(name, '.');
    const magpie_part part = dot ? magpie_part_of(magpie_string_of(dot + 1)) : MAGPIE_PARTS;
    if (part == MAGPIE_PARTS) return l->passed_over++, MAGPIE_OK;
    magpie_status status = magpie_grow((void **)&l->files, &l->capacity, l->count + 1, sizeof *l->files);
    if (status != MAGPIE_OK) return status;
    size_t size = strlen(relative);
    l->files[l->count++] = (folder_file){l->names.size, size, (size_t)(dot - relative), part};
    magpie_text_append(&l->names, relative, size + 1);
    return magpie_text_status(&l->names);
}

/* A link to a file is one; a link to a folder is not followed, for it may lead back. */
static magpie_status add_entry(listing *l, const char *folder, const char *relative) {
    struct stat st;
    char *path = magpie_path_join(folder, relative);
    if (!path) return MAGPIE_E_NO_MEMORY;
    bool there = lstat(path, &st) == 0;
    const bool is_folder = there && S_ISDIR(st.st_mode);
    if (there && S_ISLNK(st.st_mode)) there = stat(path, &st) == 0;
    free(path);
    if (is_folder) return list_below(l, folder, relative);
    if (there && S_ISREG(st.st_mode)) return add_file(l, relative);
    l->passed_over++;
    return MAGPIE_OK;
}

static magpie_status list_open(listing *l, const char *folder, const char *relative, DIR *stream) {
    magpie_status status = MAGPIE_OK;
    for (const struct dirent *entry; status == MAGPIE_OK && (errno = 0, entry = readdir(stream));) {
        const char *name = entry->d_name;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) continue;
        if (*name == '.') {
            l->passed_over++;
            continue;
        }
        char *path = *relative ? magpie_path_join(relative, name) : strdup(name);
        status = path ? add_entry(l, folder, path) : magpie_fail(MAGPIE_E_NO_MEMORY, "out of memory");
        free(path);
    }
    return status == MAGPIE_OK && errno
               ? magpie_fail_errno(errno, "cannot read the folder %s/%s", folder, relative)
               : status;
}

/* A folder that cannot be read ends the job: its items would seem not to be there. */
static magpie_status list_below(listing *l, const char *folder, const char *relative) {
    char *path = *relative ? magpie_path_join(folder, relative) : strdup(folder);
    if (!path) return magpie_fail(MAGPIE_E_NO_MEMORY, "out of memory");
    DIR *stream = opendir(path);
    magpie_status status = stream ? list_open(l, folder, relative, stream)
                                  : magpie_fail_errno(errno, "cannot open the folder %s", path);
    if (stream) closedir(stream);
    free(path);
    return status;
}

static int compare_files(const void *a, const void *b, void *context) {
    const folder_file *x = a, *y = b;
    const char *names = context;
    int order = memcmp(names + x->at, names + y->at, x->stem < y->stem ? x->stem : y->stem);
    if (!order) order = (x->stem > y->stem) - (x->stem < y->stem);
    return order ? order : strcmp(names + x->at, names + y->at);
}

static magpie_status list_folder(listing *l, const char *path) {
    magpie_status status = list_below(l, path, "");
    if (status == MAGPIE_OK && l->count)
        qsort_r(l->files, l->count, sizeof *l->files, compare_files, l->names.data);
    return status;
}

static void free_listing(listing *l) {
    magpie_text_free(&l->names);
    free(l->files);
}

magpie_status magpie_folder_hash(const char *path, uint64_t *out) {
    listing l = {0};
    magpie_status status = list_folder(&l, path);
    *out = 0;
    for (size_t i = 0; i < l.count && status == MAGPIE_OK; i++)
        *out = XXH3_64bits_withSeed(l.names.data + l.files[i].at, l.files[i].size, *out);
    free_listing(&l);
    return status;
}

/* ---- items --------------------------------------------------------------------------------------------- */

static void close_folder(void *source) {
    folder_source *s = source;
    free_listing(&s->list);
    magpie_group_free(&s->group);
    free(s);
}

static magpie_status open_folder(const magpie_source_start *start, void **out) {
    folder_source *s = magpie_alloc(1, sizeof *s);
    if (!s) return MAGPIE_E_NO_MEMORY;
    s->path = start->path;
    *out = s;
    return MAGPIE_OK;
}

/* A text or attributes, whose content is the item's. What cannot be read makes the item bad. */
static magpie_status read_content(folder_source *s, const char *name, magpie_text *to) {
    char *bytes = NULL, *path = magpie_path_join(s->path, name);
    size_t size = 0;
    if (!path) return MAGPIE_E_NO_MEMORY;
    magpie_status status = magpie_file_read(path, MAGPIE_LINE_MAX, &bytes, &size);
    free(path);
    if (status == MAGPIE_OK)
        magpie_text_append(to, bytes, size);
    else if (status != MAGPIE_E_NO_MEMORY)
        magpie_group_refuse(&s->group, magpie_error()), status = MAGPIE_OK;
    free(bytes);
    return status;
}

static magpie_status add_part(folder_source *s, const folder_file *file) {
    const char *name = s->list.names.data + file->at;
    magpie_text *to = magpie_group_add(&s->group, file->part);
    if (file->part >= MAGPIE_PART_TEXT) return read_content(s, name, to);
    magpie_text_append(to, name, file->size);
    return MAGPIE_OK;
}

static magpie_status next_item(void *source, magpie_entry *out, bool *got) {
    folder_source *s = source;
    magpie_status status = MAGPIE_OK;
    if (!s->listed) status = list_folder(&s->list, s->path);
    s->listed = true;
    *got = status == MAGPIE_OK && s->next < s->list.count;
    if (!*got) return status;
    const folder_file *files = s->list.files, *first = &files[s->next];
    const char *names = s->list.names.data;
    magpie_group_begin(&s->group, (magpie_string){names + first->at, first->stem});
    for (; s->next < s->list.count && status == MAGPIE_OK; s->next++) {
        const folder_file *file = &files[s->next];
        if (file->stem != first->stem || memcmp(names + file->at, names + first->at, first->stem) != 0) break;
        status = add_part(s, file);
    }
    out->line.number = ++s->number;
    return status == MAGPIE_OK ? magpie_group_end(&s->group, out) : status;
}

static size_t passed_over(const void *source) { return ((const folder_source *)source)->list.passed_over; }

const magpie_source_kind magpie_source_folder = {open_folder, next_item, passed_over, close_folder};
