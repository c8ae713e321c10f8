/* source_tar.c - a tar of files as a catalogue, in webdataset's layout, as img2dataset and clip-retrieval
 * write it: members that follow each other and have one name up to the first dot of its last part,
 * KEY.jpg, KEY.txt, KEY.json, are the item of that id. What follows the dot is the ending.
 *
 * Pictures and sounds go to their encoders out of memory, so nothing is unpacked, and what is at hand is
 * one item.
 *
 * CUT OFF. The item at hand where a tar ends too early is not known to be whole, and dropped; libarchive
 * takes a tar that ends between two members to be one, so the zeros that end a tar are looked for here.
 * Nothing is skipped by seeking: libarchive would not notice that it seeks beyond the end. */
#include "source_bytes.h"
#include "source_group.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { READ_BYTES = 1 << 17, TAR_BLOCK = 512 };

typedef struct tar_source {
    magpie_bytes *bytes;
    struct archive *archive;
    char *shard; /* what references of its members begin with */
    size_t number, after, passed_over;
    magpie_text key;            /* of the member whose header has been read; empty: none has */
    magpie_string name, ending; /* of that member; libarchive's */
    uint64_t size;
    magpie_group group;
    magpie_member members[MAGPIE_MEDIA];
    magpie_text last;          /* the key of the last item that was whole */
    magpie_status read_status; /* of the last read of `bytes` */
    size_t zeros;              /* bytes of 0 at the end of what has been read */
    bool at_end, ended;
    char buffer[READ_BYTES];
} tar_source;

/* ---- reading ------------------------------------------------------------------------------------------- */

static la_ssize_t read_block(struct archive *archive, void *context, const void **out) {
    tar_source *s = context;
    size_t got, zeros = 0;
    *out = s->buffer;
    s->read_status = magpie_bytes_read(s->bytes, s->buffer, sizeof s->buffer, &got);
    if (s->read_status != MAGPIE_OK) {
        archive_set_error(archive, EIO, "%s", magpie_error());
        return -1;
    }
    while (zeros < got && !s->buffer[got - 1 - zeros]) zeros++;
    s->zeros = zeros == got ? s->zeros + got : zeros;
    s->at_end = got == 0;
    return (la_ssize_t)got;
}

/* `words` may be those of a read that failed, and name the file. */
static magpie_status damaged(const tar_source *s, const char *words) {
    magpie_text whole = {0};
    if (s->read_status != MAGPIE_OK && s->read_status != MAGPIE_E_CORRUPT) return s->read_status;
    if (!strstr(words, magpie_bytes_name(s->bytes)))
        magpie_text_printf(&whole,
                           "%s is cut off, damaged or no tar, at byte %llu: ", magpie_bytes_name(s->bytes),
                           (unsigned long long)magpie_bytes_done(s->bytes));
    magpie_text_printf(&whole, "%s; ", words);
    if (s->last.size)
        magpie_text_printf(&whole, "its last whole item is %s, number %zu", s->last.data, s->number);
    else
        magpie_text_printf(&whole, "no item of it is whole");
    magpie_status status = magpie_text_status(&whole);
    if (status == MAGPIE_OK) status = magpie_fail(MAGPIE_E_CORRUPT, "%s", whole.data);
    magpie_text_free(&whole);
    return status;
}

static magpie_status damaged_archive(const tar_source *s) {
    const char *words = archive_error_string(s->archive);
    return damaged(s, words ? words : "it is cut off");
}

/* The name up to the first dot of its last part, and what follows. Hidden ones are no item's. */
static void split_name(tar_source *s, const char *path) {
    while (strncmp(path, "./", 2) == 0) path += 2;
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path, *dot = strchr(base, '.');
    magpie_text_clear(&s->key);
    s->name = magpie_string_of(path);
    s->ending = dot && dot > base ? magpie_string_of(dot + 1) : (magpie_string){0};
    magpie_text_append(&s->key, path, dot ? (size_t)(dot - path) : s->name.size);
}

/* libarchive stops at the zeros; behind them is the checksum of a tar that is compressed. */
static magpie_status read_rest(tar_source *s) {
    size_t got;
    while (!s->at_end) {
        s->read_status = magpie_bytes_read(s->bytes, s->buffer, sizeof s->buffer, &got);
        if (s->read_status != MAGPIE_OK) return damaged(s, magpie_error());
        s->at_end = got == 0;
    }
    return MAGPIE_OK;
}

/* The header of the next member that may be part of an item. */
static magpie_status next_member(tar_source *s, bool *got) {
    struct archive_entry *entry;
    int result;
    magpie_text_clear(&s->key);
    while ((result = archive_read_next_header(s->archive, &entry)) == ARCHIVE_OK || result == ARCHIVE_WARN) {
        const char *path = archive_entry_pathname_utf8(entry);
        if (!path) path = archive_entry_pathname(entry); /* bytes that are no UTF-8 */
        if (archive_entry_filetype(entry) == AE_IFDIR) continue;
        split_name(s, path ? path : "");
        s->size = (uint64_t)archive_entry_size(entry);
        *got = archive_entry_filetype(entry) == AE_IFREG && !archive_entry_hardlink(entry) &&
               magpie_part_of(s->ending) != MAGPIE_PARTS;
        if (*got) return magpie_text_status(&s->key);
        s->passed_over++;
    }
    *got = false;
    magpie_text_clear(&s->key);
    if (result != ARCHIVE_EOF) return damaged_archive(s);
    s->ended = true;
    if (s->at_end && s->zeros < TAR_BLOCK) return damaged(s, "it ends between two members");
    return read_rest(s);
}

static magpie_status read_data(tar_source *s, char *to, size_t size) {
    for (size_t have = 0; have < size;) {
        la_ssize_t n = archive_read_data(s->archive, to + have, size - have);
        if (n <= 0) return damaged_archive(s);
        have += (size_t)n;
    }
    return MAGPIE_OK;
}

/* ---- items --------------------------------------------------------------------------------------------- */

static magpie_status add_medium(tar_source *s, unsigned which) {
    magpie_member *member = &s->members[which];
    magpie_text *name = magpie_group_add(&s->group, (magpie_part)which);
    free(member->bytes);
    *member = (magpie_member){.size = s->size};
    magpie_text_printf(name, "%s", s->shard);
    magpie_text_append(name, s->name.data, s->name.size);
    if (s->size > MAGPIE_MEMBER_MAX || s->number < s->after) return MAGPIE_OK;
    member->bytes = malloc(member->size + 1); /* an empty one is there, too */
    if (!member->bytes) return magpie_fail(MAGPIE_E_NO_MEMORY, "out of memory");
    return read_data(s, member->bytes, member->size);
}

static magpie_status add_content(tar_source *s, magpie_part part) {
    magpie_text *to = magpie_group_add(&s->group, part);
    if (s->size > MAGPIE_LINE_MAX) {
        (void)magpie_fail(MAGPIE_E_TOO_LARGE, "%s has %llu bytes; the limit is %d", s->name.data,
                          (unsigned long long)s->size, MAGPIE_LINE_MAX);
        magpie_group_refuse(&s->group, magpie_error());
        return MAGPIE_OK;
    }
    char *bytes = malloc(s->size + 1);
    if (!bytes) return magpie_fail(MAGPIE_E_NO_MEMORY, "out of memory");
    magpie_status status = read_data(s, bytes, s->size);
    if (status == MAGPIE_OK) magpie_text_append(to, bytes, s->size);
    free(bytes);
    return status;
}

static magpie_status add_part(tar_source *s) {
    const magpie_part part = magpie_part_of(s->ending);
    return part < MAGPIE_PART_TEXT ? add_medium(s, part) : add_content(s, part);
}

static bool is_of_group(const tar_source *s) {
    return s->key.size == s->group.name.size && memcmp(s->key.data, s->group.name.data, s->key.size) == 0;
}

/* What of the last item nobody has taken over. */
static void free_members(tar_source *s) {
    for (unsigned m = 0; m < MAGPIE_MEDIA; m++) free(s->members[m].bytes);
    memset(s->members, 0, sizeof s->members);
}

static magpie_status read_group(tar_source *s) {
    bool got = true;
    magpie_status status = MAGPIE_OK;
    magpie_group_begin(&s->group, (magpie_string){s->key.data, s->key.size});
    while (status == MAGPIE_OK && got && is_of_group(s)) {
        status = add_part(s);
        if (status == MAGPIE_OK) status = next_member(s, &got);
    }
    return status;
}

static magpie_status next_item(void *source, magpie_entry *out, bool *got) {
    tar_source *s = source;
    magpie_status status = MAGPIE_OK;
    free_members(s);
    *got = true;
    if (!s->key.size && s->ended) return *got = false, MAGPIE_OK;
    if (!s->key.size) status = next_member(s, got);
    if (status != MAGPIE_OK || !*got) return status;
    status = read_group(s);
    if (status == MAGPIE_OK) status = magpie_group_end(&s->group, out);
    if (status != MAGPIE_OK) return status;
    magpie_text_clear(&s->last);
    magpie_text_append(&s->last, s->group.name.data, s->group.name.size);
    out->line.number = ++s->number;
    out->line.end_offset = magpie_bytes_done(s->bytes);
    out->origin.members = s->members;
    return MAGPIE_OK;
}

/* ---- the file ------------------------------------------------------------------------------------------ */

static void close_tar(void *source) {
    tar_source *s = source;
    archive_read_free(s->archive);
    magpie_bytes_close(s->bytes);
    free_members(s);
    magpie_group_free(&s->group);
    magpie_text_free(&s->key);
    magpie_text_free(&s->last);
    free(s->shard);
    free(s);
}

/* "NAME.tar!/", whatever the file's name ends with: by this a reference is known for what it is. */
static char *make_shard(const char *path) {
    magpie_text text = {0};
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    size_t size = magpie_bytes_bare_name(name);
    if (size > 4 && (memcmp(name + size - 4, ".tar", 4) == 0 || memcmp(name + size - 4, ".tgz", 4) == 0))
        size -= 4;
    if (strcmp(path, "-") == 0) name = "stdin", size = 5;
    magpie_text_append(&text, name, size);
    magpie_text_printf(&text, "%s", MAGPIE_ARCHIVE_MARK);
    return text.failed ? NULL : text.data;
}

static magpie_status open_archive(tar_source *s, const magpie_source_start *start) {
    magpie_status status = magpie_bytes_open(start->path, &s->bytes);
    if (status != MAGPIE_OK) return status;
    s->after = start->after;
    s->shard = make_shard(start->path);
    s->archive = archive_read_new();
    if (!s->shard || !s->archive) return magpie_fail(MAGPIE_E_NO_MEMORY, "out of memory for %s", start->path);
    archive_read_support_format_tar(s->archive);
    return archive_read_open(s->archive, s, NULL, read_block, NULL) == ARCHIVE_OK ? MAGPIE_OK
                                                                                  : damaged_archive(s);
}

static magpie_status open_tar(const magpie_source_start *start, void **out) {
    tar_source *s = magpie_alloc(1, sizeof *s);
    if (!s) return MAGPIE_E_NO_MEMORY;
    magpie_status status = open_archive(s, start);
    if (status == MAGPIE_OK)
        *out = s;
    else
        close_tar(s);
    return status;
}

static size_t passed_over(const void *source) { return ((const tar_source *)source)->passed_over; }

const magpie_source_kind magpie_source_tar = {open_tar, next_item, passed_over, close_tar};
