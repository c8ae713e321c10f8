/* media.c - see media.h. */
#include "media.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

enum {
    HASH_VERSION = 1, /* a change makes every file look new */
    PICTURES_A_THREAD = 8,
    SOUNDS_A_THREAD = 2 /* one may be ten minutes long */
};

/* ---- what tells them apart ----------------------------------------------------------------------------- */

static magpie_status encode_pictures(void *encoder, const magpie_media *files, size_t n, float *out,
                                     magpie_outcome *outcomes) {
    return magpie_image_encoder_encode(encoder, files, n, out, outcomes);
}

static magpie_status encode_sounds(void *encoder, const magpie_media *files, size_t n, float *out,
                                   magpie_outcome *outcomes) {
    return magpie_audio_encoder_encode(encoder, files, n, out, outcomes);
}

static size_t block_of(unsigned threads, size_t files_a_thread) {
    return threads < MAGPIE_MEDIUM_BLOCK_MAX / files_a_thread ? threads * files_a_thread
                                                              : MAGPIE_MEDIUM_BLOCK_MAX;
}

static void describe_pictures(magpie_image_encoder *encoder, magpie_medium *out) {
    *out = (magpie_medium){.space = MAGPIE_SPACE_IMAGE, .problem = MAGPIE_IMAGE_PROBLEM};
    if (!encoder) return;
    const magpie_image_encoder_info *info = magpie_image_encoder_get_info(encoder);
    out->encoder = encoder;
    out->model = (magpie_space_model){info->name, info->fingerprint, info->dimension, NULL};
    out->block = block_of(info->threads, PICTURES_A_THREAD);
    out->encode = encode_pictures;
}

static void describe_sounds(magpie_audio_encoder *encoder, magpie_medium *out) {
    *out = (magpie_medium){.space = MAGPIE_SPACE_AUDIO, .problem = MAGPIE_AUDIO_PROBLEM};
    if (!encoder) return;
    const magpie_audio_encoder_info *info = magpie_audio_encoder_get_info(encoder);
    out->encoder = encoder;
    out->model = (magpie_space_model){info->name, info->fingerprint, info->dimension, NULL};
    out->salt = XXH3_64bits(&info->audio_seconds, sizeof info->audio_seconds);
    out->block = block_of(info->threads, SOUNDS_A_THREAD);
    out->encode = encode_sounds;
}

void magpie_media_describe(const magpie_ingest_encoders *encoders, magpie_medium out[MAGPIE_MEDIA]) {
    describe_pictures(encoders->image, &out[MAGPIE_MEDIUM_IMAGE]);
    describe_sounds(encoders->audio, &out[MAGPIE_MEDIUM_AUDIO]);
}

static void note_outcome(magpie_status status, magpie_outcome *out) {
    *out = (magpie_outcome){.status = status};
    if (status != MAGPIE_OK) snprintf(out->reason, sizeof out->reason, "%s", magpie_error());
}

/* One after the other: a file that is only decoded takes a millisecond. */
static magpie_status check_pictures(void *encoder, const magpie_media *files, size_t n, float *out,
                                    magpie_outcome *outcomes) {
    (void)out;
    for (size_t i = 0; i < n; i++) note_outcome(magpie_image_encoder_check(encoder, &files[i]), &outcomes[i]);
    return MAGPIE_OK;
}

static magpie_status check_sounds(void *encoder, const magpie_media *files, size_t n, float *out,
                                  magpie_outcome *outcomes) {
    (void)out;
    for (size_t i = 0; i < n; i++) note_outcome(magpie_audio_encoder_check(encoder, &files[i]), &outcomes[i]);
    return MAGPIE_OK;
}

void magpie_media_only_check(magpie_medium media[MAGPIE_MEDIA]) {
    media[MAGPIE_MEDIUM_IMAGE].encode = check_pictures;
    media[MAGPIE_MEDIUM_AUDIO].encode = check_sounds;
}

magpie_string magpie_medium_reference(const magpie_medium *medium, const magpie_item *item) {
    return medium->space == MAGPIE_SPACE_IMAGE ? item->image : item->audio;
}

/* ---- their files --------------------------------------------------------------------------------------- */

uint64_t magpie_medium_hash(const magpie_medium *medium, const char *path, magpie_string reference) {
    struct stat st;
    uint64_t words[] = {HASH_VERSION, XXH3_64bits(reference.data, reference.size), 0, 0, 0, 0};
    if (stat(path, &st) == 0 && S_ISREG(st.st_mode)) {
        words[2] = 1;
        words[3] = (uint64_t)st.st_size;
        words[4] = (uint64_t)st.st_mtim.tv_sec;
        words[5] = (uint64_t)st.st_mtim.tv_nsec;
    }
    uint64_t hash = XXH3_64bits(words, sizeof words) ^ medium->salt;
    return hash ? hash : 1;
}

uint64_t magpie_member_hash(const magpie_medium *medium, const magpie_member *member) {
    uint64_t words[] = {HASH_VERSION, member->size, 0, 0};
    if (member->bytes) {
        const XXH128_hash_t hash = XXH3_128bits(member->bytes, member->size);
        words[2] = hash.low64;
        words[3] = hash.high64;
    }
    uint64_t hash = XXH3_64bits(words, sizeof words) ^ medium->salt;
    return hash ? hash : 1;
}

bool magpie_catalogue_is_archived(magpie_string reference) {
    return reference.size &&
           memmem(reference.data, reference.size, MAGPIE_ARCHIVE_MARK, strlen(MAGPIE_ARCHIVE_MARK));
}

magpie_status magpie_media_check(const char *path) {
    struct stat st;
    if (magpie_catalogue_is_archived(magpie_string_of(path)))
        return magpie_fail(MAGPIE_E_INPUT, "%s is in an archive, and read with that alone", path);
    if (stat(path, &st) != 0) return magpie_fail_errno(errno, "cannot open %s", path);
    return S_ISREG(st.st_mode) ? MAGPIE_OK : magpie_fail(MAGPIE_E_INPUT, "%s is not a file", path);
}

/* ---- what is wrong with them --------------------------------------------------------------------------- */

magpie_string magpie_problem_line(magpie_string problems, const magpie_medium *medium) {
    const size_t prefix = strlen(medium->problem);
    for (size_t start = 0; start < problems.size;) {
        const char *line = problems.data + start, *end = memchr(line, '\n', problems.size - start);
        size_t size = end ? (size_t)(end - line) : problems.size - start;
        if (size >= prefix && memcmp(line, medium->problem, prefix) == 0) return (magpie_string){line, size};
        start += size + 1;
    }
    return (magpie_string){0};
}

/* As much of the words as is UTF-8, in one line: a path may have a newline in it. */
static void append_words(magpie_text *text, const char *words) {
    magpie_string s = magpie_string_of(words);
    while (s.size && magpie_utf8_check(s) != MAGPIE_OK) s.size--;
    size_t start = text->size;
    magpie_text_append(text, s.data, s.size);
    for (size_t i = start; i < text->size; i++)
        if (text->data[i] == '\n') text->data[i] = ' ';
}

char *magpie_problems_with(magpie_string problems, const magpie_medium media[MAGPIE_MEDIA], unsigned which,
                           const char *words) {
    magpie_text text = {0};
    for (unsigned m = 0; m < MAGPIE_MEDIA; m++) {
        magpie_string line = magpie_problem_line(problems, &media[m]);
        if (!line.size && m != which) continue;
        if (text.size) magpie_text_append(&text, "\n", 1);
        if (m != which) {
            magpie_text_append(&text, line.data, line.size);
            continue;
        }
        magpie_text_append(&text, media[m].problem, strlen(media[m].problem));
        append_words(&text, words);
    }
    if (magpie_text_status(&text) == MAGPIE_OK) return text.data;
    magpie_text_free(&text);
    return NULL;
}
