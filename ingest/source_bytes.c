/* source_bytes.c - see source_bytes.h. */
#include "source_bytes.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

enum { READ_BYTES = 1 << 17, MAGIC_MAX = 6, GZIP_ONLY = 16 /* to zlib: not its own format */ };

static const struct {
    const char *ending, *magic;
    size_t size;
    bool gzip;
} compressions[] = {{".gz", "\x1f\x8b", 2, true},
                    {".tgz", "\x1f\x8b", 2, true},
                    {".zst", "\x28\xb5\x2f\xfd", 4, false},
                    {".xz", "\3757zXZ", 5, false},
                    {".bz2", "BZh", 3, false}};
enum { COMPRESSIONS = sizeof compressions / sizeof *compressions };

/* zlib's own reader of files takes a damaged member for garbage behind the last, and what has no header as
 * it is. */
typedef struct gzip_reader {
    z_stream stream;
    bool between;   /* two members, or before the first, */
    size_t members; /* of which so many have begun */
    unsigned char input[READ_BYTES];
} gzip_reader;

struct magpie_bytes {
    const char *name;
    int file;
    gzip_reader *gzip;       /* NULL: it is no gzip */
    struct archive *archive; /* NULL: it is neither this nor that, and read as it is */
    bool at_end;             /* of the archive, before anything was read */
    uint64_t done;           /* of the file, read; not of an archive */
    uint64_t total;
    bool regular;
};

static bool ends_with(const char *path, const char *ending) {
    size_t size = strlen(path), n = strlen(ending);
    return size >= n && strcmp(path + size - n, ending) == 0;
}

size_t magpie_bytes_bare_name(const char *path) {
    for (size_t i = 0; i < COMPRESSIONS; i++)
        if (strcmp(compressions[i].ending, ".tgz") != 0 && ends_with(path, compressions[i].ending))
            return strlen(path) - strlen(compressions[i].ending);
    return strlen(path);
}

/* Which of the compressions; COMPRESSIONS: none. */
static size_t find_compression(const char *path, int file) {
    char head[MAGIC_MAX] = {0};
    ssize_t n = pread(file, head, sizeof head, 0);
    for (size_t i = 0; i < COMPRESSIONS; i++)
        if (ends_with(path, compressions[i].ending) ||
            (n >= (ssize_t)compressions[i].size &&
             memcmp(head, compressions[i].magic, compressions[i].size) == 0))
            return i;
    return COMPRESSIONS;
}

static magpie_status damaged(const magpie_bytes *bytes, const char *words) {
    return magpie_fail(MAGPIE_E_CORRUPT, "%s is cut off or damaged: %s (after byte %llu of %llu)",
                       bytes->name, words ? words : "it cannot be decompressed",
                       (unsigned long long)magpie_bytes_done(bytes), (unsigned long long)bytes->total);
}

static magpie_status open_gzip(magpie_bytes *bytes) {
    bytes->gzip = magpie_alloc(1, sizeof *bytes->gzip);
    if (!bytes->gzip) return MAGPIE_E_NO_MEMORY;
    bytes->gzip->between = true;
    return inflateInit2(&bytes->gzip->stream, MAX_WBITS + GZIP_ONLY) == Z_OK
               ? MAGPIE_OK
               : magpie_fail(MAGPIE_E_NO_MEMORY, "out of memory for %s", bytes->name);
}

static magpie_status open_archive(magpie_bytes *bytes) {
    struct archive *a = bytes->archive = archive_read_new();
    struct archive_entry *entry;
    if (!a) return magpie_fail(MAGPIE_E_NO_MEMORY, "out of memory for %s", bytes->name);
    archive_read_support_filter_zstd(a);
    archive_read_support_filter_xz(a);
    archive_read_support_filter_bzip2(a);
    archive_read_support_format_raw(a);
    archive_read_support_format_empty(a);
    int result = archive_read_open_fd(a, bytes->file, READ_BYTES);
    if (result == ARCHIVE_OK) result = archive_read_next_header(a, &entry);
    bytes->at_end = result == ARCHIVE_EOF;
    if ((result == ARCHIVE_OK || bytes->at_end) && archive_filter_code(a, 0) == ARCHIVE_FILTER_NONE)
        return damaged(bytes, "it is not compressed as its name says");
    return result == ARCHIVE_OK || result == ARCHIVE_EOF ? MAGPIE_OK
                                                         : damaged(bytes, archive_error_string(a));
}

magpie_status magpie_bytes_open(const char *path, magpie_bytes **out) {
    const bool standard_input = strcmp(path, "-") == 0;
    const char *name = standard_input ? "standard input" : path;
    int file = standard_input ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (file < 0 || fstat(file, &st) != 0) {
        magpie_status status = magpie_fail_errno(errno, "cannot open %s", name);
        if (file >= 0) close(file);
        return status;
    }
    magpie_bytes *bytes = magpie_alloc(1, sizeof *bytes);
    if (!bytes) return close(file), MAGPIE_E_NO_MEMORY;
    *bytes = (magpie_bytes){.name = name, .file = file};
    size_t compression = COMPRESSIONS;
    if (S_ISREG(st.st_mode) && !standard_input) {
        bytes->regular = true;
        bytes->total = (uint64_t)st.st_size;
        compression = find_compression(path, file);
    }
    magpie_status status = MAGPIE_OK;
    if (compression < COMPRESSIONS)
        status = compressions[compression].gzip ? open_gzip(bytes) : open_archive(bytes);
    if (status == MAGPIE_OK)
        *out = bytes;
    else
        magpie_bytes_close(bytes);
    return status;
}

bool magpie_bytes_plain(const magpie_bytes *bytes) {
    return bytes->regular && !bytes->gzip && !bytes->archive;
}

static magpie_status read_file(magpie_bytes *bytes, void *to, size_t most, size_t *got) {
    ssize_t n;
    do n = read(bytes->file, to, most);
    while (n < 0 && errno == EINTR);
    if (n < 0) return magpie_fail_errno(errno, "cannot read %s", bytes->name);
    bytes->done += (uint64_t)n;
    *got = (size_t)n;
    return MAGPIE_OK;
}

/* Decompresses up to the next bytes that come of it. Members follow each other, and zeros may follow the
 * last. */
static magpie_status read_gzip(magpie_bytes *bytes, void *to, size_t most, size_t *got) {
    gzip_reader *g = bytes->gzip;
    z_stream *stream = &g->stream;
    const uInt room = most < UINT_MAX ? (uInt)most : UINT_MAX;
    stream->next_out = to;
    stream->avail_out = room;
    while (stream->avail_out == room) {
        if (!stream->avail_in) {
            size_t n = 0;
            magpie_status status = read_file(bytes, g->input, sizeof g->input, &n);
            if (status != MAGPIE_OK) return status;
            if (!n) return g->between && g->members ? MAGPIE_OK : damaged(bytes, "it ends too early");
            stream->next_in = g->input;
            stream->avail_in = (uInt)n;
        }
        if (g->between && g->members && !*stream->next_in) {
            stream->next_in++, stream->avail_in--;
            continue;
        }
        if (g->between && g->members++) inflateReset(stream);
        const int result = inflate(stream, Z_NO_FLUSH);
        g->between = result == Z_STREAM_END;
        if (stream->avail_out == room && result != Z_OK && result != Z_BUF_ERROR && !g->between)
            return damaged(bytes, stream->msg);
    }
    *got = room - stream->avail_out;
    return MAGPIE_OK;
}

static magpie_status read_archive(magpie_bytes *bytes, void *to, size_t most, size_t *got) {
    if (bytes->at_end) return MAGPIE_OK;
    la_ssize_t n = archive_read_data(bytes->archive, to, most);
    if (n < 0) return damaged(bytes, archive_error_string(bytes->archive));
    *got = (size_t)n;
    return MAGPIE_OK;
}

magpie_status magpie_bytes_read(magpie_bytes *bytes, void *to, size_t most, size_t *got) {
    *got = 0;
    if (bytes->gzip) return read_gzip(bytes, to, most, got);
    if (bytes->archive) return read_archive(bytes, to, most, got);
    return read_file(bytes, to, most, got);
}

static magpie_status read_stream(void *context, void *to, size_t most, size_t *got) {
    return magpie_bytes_read(context, to, most, got);
}

magpie_stream magpie_bytes_stream(magpie_bytes *bytes) { return (magpie_stream){read_stream, bytes}; }

uint64_t magpie_bytes_done(const magpie_bytes *bytes) {
    if (bytes->archive) {
        const la_int64_t done = archive_filter_bytes(bytes->archive, -1);
        return done > 0 ? (uint64_t)done : 0;
    }
    return bytes->done - (bytes->gzip ? bytes->gzip->stream.avail_in : 0);
}

const char *magpie_bytes_name(const magpie_bytes *bytes) { return bytes->name; }

void magpie_bytes_close(magpie_bytes *bytes) {
    if (!bytes) return;
    archive_read_free(bytes->archive);
    if (bytes->gzip) inflateEnd(&bytes->gzip->stream);
    free(bytes->gzip);
    close(bytes->file);
    free(bytes);
}
