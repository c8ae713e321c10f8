/* audio_chunks.c - walks the chunks of RIFF and IFF: a name of four letters, a length, a body, padded to an
 * even length. Two chunks matter, in either order; all others are stepped over unread. */
#include "audio_chunks.h"
#include "audio_formats.h"

#include <math.h>
#include <sndfile.h>
#include <string.h>

enum {
    CHUNKS_MAX = 1024, /* looked at; a recorder writes some ten */
    HEAD = 8,          /* bytes of a chunk's name and length */
    FORM = 12          /* of the outermost chunk's, and what is inside of it */
};

/* Where the body of the next chunk lies; false at the end. */
typedef struct chunk {
    uint8_t name[4];
    uint64_t offset, size; /* of the body; as the file claims */
} chunk;

static bool next_chunk(audio_source *source, uint64_t *at, bool big, chunk *out) {
    uint8_t head[HEAD];
    if (audio_source_peek(source, *at, head, HEAD) < HEAD) return false;
    memcpy(out->name, head, 4);
    out->offset = *at + HEAD;
    out->size = audio_u32(head + 4, big);
    *at = out->offset + out->size + (out->size & 1);
    return true;
}

static bool is(const chunk *c, const char *name) { return memcmp(c->name, name, 4) == 0; }

static void set_samples(audio_source *source, uint64_t offset, uint64_t size, audio_raw *out) {
    uint64_t room = source->end - source->begin;
    room = offset < room ? room - offset : 0;
    out->offset = offset;
    out->size = size < room ? size : room;
}

static int whole_number(unsigned bits, int eight) {
    return bits == 0    ? 0
           : bits <= 8  ? eight
           : bits <= 16 ? SF_FORMAT_PCM_16
           : bits <= 24 ? SF_FORMAT_PCM_24
           : bits <= 32 ? SF_FORMAT_PCM_32
                        : 0;
}

/* ---- WAV ---- */

static magpie_status other_wav(unsigned tag) {
    static const struct {
        unsigned tag;
        const char *name;
    } known[] = {{0x02, "Microsoft ADPCM"},
                 {0x11, "IMA ADPCM"},
                 {0x31, "GSM 6.10"},
                 {0x40, "G.721 ADPCM"},
                 {0x50, "MPEG layer I/II"},
                 {0x55, "MP3"},
                 {0xFF, "AAC"},
                 {0x160, "WMA"},
                 {0x161, "WMA"},
                 {0x674F, "Ogg Vorbis"},
                 {0x2000, "AC-3"},
                 {0xF1AC, "FLAC"}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].tag == tag)
            return magpie_fail(MAGPIE_E_UNSUPPORTED,
                               "a WAV of %s: whole numbers, floats, A-law and mu-law are read",
                               known[i].name);
    return magpie_fail(MAGPIE_E_UNSUPPORTED,
                       "a WAV of coding 0x%04X: whole numbers, floats, A-law and mu-law are read", tag);
}

/* 'fmt ' of mmreg.h: tag, channels, rate, bytes a second, bytes a frame, bits; of the extensible kind then
 * two bytes of length, valid bits, channel mask and a GUID that has the tag in its first field. */
static magpie_status read_fmt(const uint8_t *fmt, size_t size, bool big, audio_raw *out) {
    enum { PLAIN = 16, EXTENSIBLE = 40, PCM = 1, FLOAT = 3, A_LAW = 6, MU_LAW = 7 };
    static const uint8_t guid_end[8] = {0x80, 0, 0, 0xAA, 0, 0x38, 0x9B, 0x71};
    if (size < PLAIN) return magpie_fail(MAGPIE_E_INPUT, "broken WAV: its format has %zu bytes", size);
    unsigned tag = audio_u16(fmt, big), bits = audio_u16(fmt + 14, big), frame = audio_u16(fmt + 12, big);
    out->channels = audio_u16(fmt + 2, big);
    out->rate = audio_u32(fmt + 4, big);
    if (tag == 0xFFFE && size >= EXTENSIBLE && audio_u16(fmt + 28, big) == 0 &&
        audio_u16(fmt + 30, big) == 0x10 && memcmp(fmt + 32, guid_end, sizeof guid_end) == 0)
        tag = audio_u32(fmt + 24, big);
    int coding = tag == PCM                   ? whole_number(bits, SF_FORMAT_PCM_U8)
                 : tag == FLOAT && bits == 32 ? SF_FORMAT_FLOAT
                 : tag == FLOAT && bits == 64 ? SF_FORMAT_DOUBLE
                 : tag == A_LAW && bits == 8  ? SF_FORMAT_ALAW
                 : tag == MU_LAW && bits == 8 ? SF_FORMAT_ULAW
                                              : 0;
    if (!coding && (tag == PCM || tag == FLOAT || tag == A_LAW || tag == MU_LAW))
        return magpie_fail(MAGPIE_E_UNSUPPORTED, "a WAV of %u bits", bits);
    if (!coding) return other_wav(tag);
    /* ALSA's recorder and CoolEdit each write this of samples of their own kind. */
    if (coding == SF_FORMAT_PCM_24 && frame == 4 * out->channels)
        return magpie_fail(MAGPIE_E_UNSUPPORTED,
                           "a WAV of 24 bits in four bytes: it does not say in which three");
    out->coding = coding | (big ? SF_ENDIAN_BIG : SF_ENDIAN_LITTLE);
    return MAGPIE_OK;
}

magpie_status audio_find_wav(audio_source *source, audio_raw *out) {
    enum { FMT_MAX = 64, DS64 = 16 };
    uint8_t form[FORM], fmt[FMT_MAX], ds64[DS64];
    if (audio_source_peek(source, 0, form, FORM) < FORM) return magpie_fail(MAGPIE_E_INPUT, "broken WAV");
    bool big = memcmp(form, "RIFX", 4) == 0, long_sizes = memcmp(form + 2, "64", 2) == 0;
    uint64_t at = FORM, long_size = 0;
    bool has_format = false, has_samples = false;
    chunk c;
    for (size_t n = 0; n < CHUNKS_MAX && !(has_format && has_samples) && next_chunk(source, &at, big, &c);
         n++) {
        if (long_sizes && is(&c, "ds64") && audio_source_peek(source, c.offset, ds64, DS64) == DS64) {
            long_size = audio_u64(ds64 + 8, big);
        } else if (!has_format && is(&c, "fmt ")) {
            size_t size = c.size < FMT_MAX ? (size_t)c.size : FMT_MAX;
            if (audio_source_peek(source, c.offset, fmt, size) < size) break;
            magpie_status status = read_fmt(fmt, size, big, out);
            if (status != MAGPIE_OK) return status;
            has_format = true;
        } else if (!has_samples && is(&c, "data")) {
            bool never_written = c.size == 0 && audio_u32(form + 4, big) + (uint64_t)HEAD < c.offset;
            if (long_sizes && c.size == UINT32_MAX && long_size) c.size = long_size;
            set_samples(source, c.offset, never_written ? UINT64_MAX : c.size, out);
            at = out->offset + out->size + (out->size & 1);
            has_samples = true;
        }
    }
    if (!has_format) return magpie_fail(MAGPIE_E_INPUT, "broken WAV: it does not say what its samples are");
    return has_samples ? MAGPIE_OK : magpie_fail(MAGPIE_E_INPUT, "broken WAV: it has no samples");
}

/* ---- AIFF ---- */

/* The 80-bit float of the 68881: sign and exponent, then a mantissa with its leading one. */
static double read_extended(const uint8_t *p) {
    int exponent = (int)(audio_u16(p, true) & 0x7FFF) - 16383 - 63;
    return p[0] & 0x80 ? 0 : ldexp((double)audio_u64(p + 2, true), exponent);
}

static magpie_status read_comm(const uint8_t *comm, size_t size, bool compressed, audio_raw *out) {
    enum { PLAIN = 18, COMPRESSED = 22 };
    static const struct {
        char name[5];
        int coding; /* 0: whole numbers of as many bits as the chunk says */
        int endian;
    } codings[] = {{"NONE", 0, SF_ENDIAN_BIG},
                   {"twos", 0, SF_ENDIAN_BIG},
                   {"sowt", 0, SF_ENDIAN_LITTLE},
                   {"in24", SF_FORMAT_PCM_24, SF_ENDIAN_BIG},
                   {"in32", SF_FORMAT_PCM_32, SF_ENDIAN_BIG},
                   {"raw ", SF_FORMAT_PCM_U8, SF_ENDIAN_BIG},
                   {"fl32", SF_FORMAT_FLOAT, SF_ENDIAN_BIG},
                   {"FL32", SF_FORMAT_FLOAT, SF_ENDIAN_BIG},
                   {"fl64", SF_FORMAT_DOUBLE, SF_ENDIAN_BIG},
                   {"FL64", SF_FORMAT_DOUBLE, SF_ENDIAN_BIG},
                   {"alaw", SF_FORMAT_ALAW, SF_ENDIAN_BIG},
                   {"ALAW", SF_FORMAT_ALAW, SF_ENDIAN_BIG},
                   {"ulaw", SF_FORMAT_ULAW, SF_ENDIAN_BIG},
                   {"ULAW", SF_FORMAT_ULAW, SF_ENDIAN_BIG}};
    if (size < (compressed ? COMPRESSED : PLAIN))
        return magpie_fail(MAGPIE_E_INPUT, "broken AIFF: its description has %zu bytes", size);
    const char *name = compressed ? (const char *)comm + PLAIN : "NONE";
    unsigned bits = audio_u16(comm + 6, true);
    double rate = read_extended(comm + 8);
    out->channels = audio_u16(comm, true);
    out->rate = rate < UINT32_MAX ? (size_t)llrint(rate) : UINT32_MAX;
    for (size_t i = 0; i < sizeof codings / sizeof *codings; i++) {
        if (memcmp(codings[i].name, name, 4) != 0) continue;
        int coding = codings[i].coding ? codings[i].coding : whole_number(bits, SF_FORMAT_PCM_S8);
        if (!coding) return magpie_fail(MAGPIE_E_UNSUPPORTED, "an AIFF of %u bits", bits);
        out->coding = coding | codings[i].endian;
        return MAGPIE_OK;
    }
    for (size_t i = 0; i < 4; i++)
        if (name[i] < ' ' || name[i] > '~')
            return magpie_fail(MAGPIE_E_INPUT, "broken AIFF: its coding has no name");
    return magpie_fail(MAGPIE_E_UNSUPPORTED,
                       "an AIFF of '%.4s': whole numbers, floats, A-law and mu-law are read", name);
}

magpie_status audio_find_aiff(audio_source *source, audio_raw *out) {
    enum { COMM_MAX = 22, SSND = 8 };
    uint8_t form[FORM], comm[COMM_MAX], ssnd[SSND];
    if (audio_source_peek(source, 0, form, FORM) < FORM) return magpie_fail(MAGPIE_E_INPUT, "broken AIFF");
    uint64_t at = FORM;
    bool has_format = false, has_samples = false;
    chunk c;
    for (size_t n = 0; n < CHUNKS_MAX && !(has_format && has_samples) && next_chunk(source, &at, true, &c);
         n++) {
        if (!has_format && is(&c, "COMM")) {
            size_t size = c.size < COMM_MAX ? (size_t)c.size : COMM_MAX;
            if (audio_source_peek(source, c.offset, comm, size) < size) break;
            magpie_status status = read_comm(comm, size, form[11] == 'C', out);
            if (status != MAGPIE_OK) return status;
            has_format = true;
        } else if (!has_samples && is(&c, "SSND") && c.size >= SSND &&
                   audio_source_peek(source, c.offset, ssnd, SSND) == SSND) {
            uint64_t gap = audio_u32(ssnd, true), size = c.size - SSND;
            set_samples(source, c.offset + SSND + gap, size > gap ? size - gap : 0, out);
            has_samples = true;
        }
    }
    if (!has_format) return magpie_fail(MAGPIE_E_INPUT, "broken AIFF: it does not say what its samples are");
    return has_samples ? MAGPIE_OK : magpie_fail(MAGPIE_E_INPUT, "broken AIFF: it has no samples");
}
