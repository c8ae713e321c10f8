/* media_type.c - see media_type.h. */
#include "media_type.h"

#include <string.h>

static const struct {
    const char *start;
    size_t at, size;
    bool image;
    media_type type;
} known[] = {{"\xFF\xD8\xFF", 0, 3, true, {"image/jpeg", "jpg"}},
             {"\x89PNG\r\n\x1A\n", 0, 8, true, {"image/png", "png"}},
             {"WAVE", 8, 4, false, {"audio/wav", "wav"}},
             {"fLaC", 0, 4, false, {"audio/flac", "flac"}},
             {"OggS", 0, 4, false, {"audio/ogg", "ogg"}},
             {"ID3", 0, 3, false, {"audio/mpeg", "mp3"}},
             {"AIF", 8, 3, false, {"audio/aiff", "aiff"}}};

static const media_type mp3 = {"audio/mpeg", "mp3"};

const media_type *media_type_of(magpie_string bytes, bool image) {
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].image == image && bytes.size >= known[i].at + known[i].size &&
            memcmp(bytes.data + known[i].at, known[i].start, known[i].size) == 0)
            return &known[i].type;
    const unsigned char *head = (const unsigned char *)bytes.data; /* of a frame, where there is no tag */
    return !image && bytes.size > 2 && head[0] == 0xFF && (head[1] & 0xE0) == 0xE0 ? &mp3 : NULL;
}
