/* source_bytes.h - the bytes of a catalogue's file, decompressed. Private to ingest/.
 *
 * gzip is read by zlib and not by libarchive, which passes over the checksum (3.6): a file with a bit
 * turned over would come in as if it were whole. What Zstandard, xz and bzip2 have of checksums
 * libarchive's filters verify. */
#ifndef MAGPIE_SOURCE_BYTES_H
#define MAGPIE_SOURCE_BYTES_H

#include "core.h"

typedef struct magpie_bytes magpie_bytes;

/* `path` "-": standard input, as it is. A regular file is decompressed where its first bytes or its name
 * say that it is compressed; a pipe is not looked into. */
MAGPIE_CHECK_RESULT magpie_status magpie_bytes_open(const char *path, magpie_bytes **out);
bool magpie_bytes_compressed(const magpie_bytes *bytes);
/* A regular file that is read as it is: it can be opened at any place. */
bool magpie_bytes_plain(const magpie_bytes *bytes);
/* Up to `most` bytes; *got 0 at the end. MAGPIE_E_CORRUPT, naming the file, where it is cut off or
 * damaged. */
MAGPIE_CHECK_RESULT magpie_status magpie_bytes_read(magpie_bytes *bytes, void *to, size_t most, size_t *got);
magpie_stream magpie_bytes_stream(magpie_bytes *bytes);
uint64_t magpie_bytes_done(const magpie_bytes *bytes); /* of the file, compressed: how many have been read */
const char *magpie_bytes_name(const magpie_bytes *bytes); /* for messages */
void magpie_bytes_close(magpie_bytes *bytes);

/* The length of a file's name without .gz, .zst, .xz or .bz2 at its end, where it has one. */
size_t magpie_bytes_bare_name(const char *path);

#endif
