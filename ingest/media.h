/* media.h - the files that an item may refer to, pictures and sounds: what tells the one kind from the
 * other, and what can be told of a file without reading it. Private to ingest/.
 *
 * Whatever is done to such files is written once, for a magpie_medium. A new kind is a row in
 * magpie_media_describe. */
#ifndef MAGPIE_MEDIA_H
#define MAGPIE_MEDIA_H

#include "ingest.h"

/* In the order in which item.problems speaks of them. */
enum { MAGPIE_MEDIUM_IMAGE, MAGPIE_MEDIUM_AUDIO, MAGPIE_MEDIA };

enum { MAGPIE_MEDIUM_BLOCK_MAX = 512 };

typedef struct magpie_medium {
    magpie_space space;  /* of its vectors; the space's name is that of the modality */
    const char *problem; /* what its line in item.problems begins with */
    magpie_space_model
        model;     /* what fills the space; dimension 0: nothing does, and what follows is not set */
    void *encoder; /* NULL: the vectors come with the lines, and the last two are not set */
    uint64_t salt; /* of those options of the encoder that decide what a file's vector is; 0: none does */
    size_t
        block; /* files encoded by one call, MAGPIE_MEDIUM_BLOCK_MAX at most: few enough to stop soon, enough for
                      no thread to wait long at its end */
    magpie_status (*encode)(void *encoder, const magpie_media *files, size_t n, float *out,
                            magpie_outcome *outcomes);
} magpie_medium;

void magpie_media_describe(const magpie_ingest_encoders *encoders, magpie_medium out[MAGPIE_MEDIA]);
/* From now on `encode` finds out whether files can be encoded, and computes nothing. */
void magpie_media_only_check(magpie_medium media[MAGPIE_MEDIA]);
/* What the item has of it; empty: none. */
magpie_string magpie_medium_reference(const magpie_medium *medium, const magpie_item *item);

/* Of `reference`, of the size and time of change (nanoseconds) of the file at `path`, and of medium->salt;
 * never 0. So a file that was replaced under its name is noticed for the price of a stat, and a catalogue
 * that moved with its files is not encoded anew. A file that is not there has a hash too: another one than
 * when it is. */
uint64_t magpie_medium_hash(const magpie_medium *medium, const char *path, magpie_string reference);
/* Fails, in words, where there is nothing to be read: no such file, or a folder, a pipe or a device, which an
 * encoder is kept away from since to open one may be to wait for ever. So does a reference to what is in an
 * archive: that is read with the archive alone. */
MAGPIE_CHECK_RESULT magpie_status magpie_media_check(const char *path);

/* "NAME.tar!/" begins the reference to what is in an archive. */
#define MAGPIE_ARCHIVE_MARK ".tar!/"

enum {
    MAGPIE_MEMBER_MAX = 64 << 20 /* bytes of a picture or sound in an archive; a larger one is refused */
};

/* The picture or sound of an item where it came out of an archive with it. */
typedef struct magpie_member {
    char *bytes; /* [size], owned by whoever has it; NULL: there is none, or the size is over the limit */
    size_t size;
} magpie_member;

static inline bool magpie_member_is_there(const magpie_member *member) {
    return member->bytes || member->size;
}

/* The same as magpie_medium_hash, of the bytes: so nothing is encoded anew where an archive has another
 * name. */
uint64_t magpie_member_hash(const magpie_medium *medium, const magpie_member *member);

/* Where an item comes from: by this its references are found. */
typedef struct magpie_origin {
    const char *catalogue; /* its name. This and the next are valid to the end of the job. */
    const char *base; /* relative references are relative to the folder of this: the catalogue, most often */
    magpie_member *members; /* [MAGPIE_MEDIA]; NULL: all are files */
} magpie_origin;

/* The line of item.problems that is about one medium, its beginning included; empty: there is none. */
magpie_string magpie_problem_line(magpie_string problems, const magpie_medium *medium);
/* item.problems with the line of media[which] replaced, or put in, in a new string, to be freed with
 * free(); NULL with the message set. As much of `words` is taken as is UTF-8 (they may have been cut in
 * the middle of a character), in one line. */
MAGPIE_CHECK_RESULT char *magpie_problems_with(magpie_string problems,
                                               const magpie_medium media[MAGPIE_MEDIA], unsigned which,
                                               const char *words);

#endif
