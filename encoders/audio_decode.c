/* audio_decode.c - which format, how much of it, one channel, which rate; the audio_*.c beside it have the
 * formats. */
#include "audio_decode.h"
#include "audio_formats.h"

#include <math.h>
#include <soxr.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 4096 /* frames that are decoded at a time */ };

/* Whole numbers of 32 bits that someone stored as floats are still a sound. What is louder is none, and its
 * power need not fit into an f32. */
#define LOUDEST 0x1p32f

struct audio_decoder {
    size_t rate;
    magpie_text path; /* of the open sound, for its errors; empty: bytes */
    audio_source source;
    audio_stream stream;
    uint64_t frames, most_frames; /* decoded; that will be */
    size_t at, filled;            /* of `mono`: passed on, decoded */
    const float *ready;           /* what comes out next, in one of the buffers */
    size_t ready_at, ready_count; /* of it: given out, there */
    bool ended;                   /* nothing will be decoded any more */
    bool resamples;   /* the open sound goes through `resampler`, and has not come out to its end */
    soxr_t resampler; /* from resampled_rate to rate; NULL before the first that needs one */
    size_t resampled_rate;
    magpie_block block; /* of the three below */
    float *all;         /* [BLOCK, channels] */
    float *mono;        /* [BLOCK] */
    float *resampled;   /* [BLOCK] */
};

/* ---- life ---- */

static void layout(audio_decoder *decoder, magpie_block *block) {
    decoder->all = magpie_carve(block, (size_t)BLOCK * MAGPIE_AUDIO_CHANNELS_MAX, sizeof *decoder->all);
    decoder->mono = magpie_carve(block, BLOCK, sizeof *decoder->mono);
    decoder->resampled = magpie_carve(block, BLOCK, sizeof *decoder->resampled);
}

magpie_status audio_decoder_create(size_t rate, audio_decoder **out) {
    if (rate < MAGPIE_AUDIO_RATE_MIN || rate > MAGPIE_AUDIO_RATE_MAX)
        return magpie_fail(MAGPIE_E_ARGUMENT, "%zu Hz: rates are %d to %d", rate, MAGPIE_AUDIO_RATE_MIN,
                           MAGPIE_AUDIO_RATE_MAX);
    audio_decoder *decoder = magpie_alloc(1, sizeof *decoder);
    if (!decoder) return MAGPIE_E_NO_MEMORY;
    decoder->rate = rate;
    decoder->source.fd = -1;
    decoder->ended = true;
    layout(decoder, &decoder->block);
    magpie_status status = magpie_block_alloc(&decoder->block);
    if (status != MAGPIE_OK) {
        free(decoder);
        return status;
    }
    layout(decoder, &decoder->block);
    *out = decoder;
    return MAGPIE_OK;
}

static void close_sound(audio_decoder *decoder) {
    if (decoder->stream.format) decoder->stream.format->close(&decoder->stream);
    decoder->stream = (audio_stream){0};
    audio_source_close(&decoder->source);
    decoder->ended = true;
}

/* Of what is in the buffers nothing comes out. */
static void forget(audio_decoder *decoder) {
    close_sound(decoder);
    decoder->at = decoder->filled = decoder->ready_at = decoder->ready_count = 0;
    decoder->resamples = false;
}

void audio_decoder_free(audio_decoder *decoder) {
    if (!decoder) return;
    close_sound(decoder);
    soxr_delete(decoder->resampler);
    magpie_text_free(&decoder->path);
    magpie_block_free(&decoder->block);
    free(decoder);
}

magpie_status audio_check(uint64_t channels, uint64_t rate) {
    if (channels < 1 || channels > MAGPIE_AUDIO_CHANNELS_MAX)
        return magpie_fail(MAGPIE_E_UNSUPPORTED, "%llu channels: 1 to %d are read",
                           (unsigned long long)channels, MAGPIE_AUDIO_CHANNELS_MAX);
    if (rate < MAGPIE_AUDIO_RATE_MIN || rate > MAGPIE_AUDIO_RATE_MAX)
        return magpie_fail(MAGPIE_E_UNSUPPORTED, "%llu Hz: %d to %d are read", (unsigned long long)rate,
                           MAGPIE_AUDIO_RATE_MIN, MAGPIE_AUDIO_RATE_MAX);
    return MAGPIE_OK;
}

/* ---- formats ---- */

enum { HEAD = 64 /* bytes that are looked at to tell formats apart */ };

typedef struct file_head {
    uint8_t bytes[HEAD];
    size_t size;
} file_head;

static bool has(const file_head *head, size_t at, const char *magic, size_t size) {
    return head->size >= at + size && memcmp(head->bytes + at, magic, size) == 0;
}

/* No control characters, and most of it ASCII. */
static bool is_text(const file_head *head) {
    size_t ascii = 0;
    for (size_t i = 0; i < head->size; i++) {
        unsigned char c = head->bytes[i];
        if (c == 0x7F || (c < ' ' && c != '\t' && c != '\n' && c != '\r' && c != '\f')) return false;
        ascii += c < 0x80;
    }
    return head->size >= 12 && 2 * ascii > head->size; /* a WAV that is cut off sooner is none */
}

/* No format of ours: says what it is, where that is plain. */
static magpie_status refuse(const file_head *head) {
    static const struct {
        const char *name;
        unsigned char at, size;
        const char *magic;
    } known[] = {{"an MP4 or M4A", 4, 4, "ftyp"},
                 {"a WMA", 0, 8, "\x30\x26\xB2\x75\x8E\x66\xCF\x11"},
                 {"an AMR", 0, 5, "#!AMR"},
                 {"a MIDI", 0, 4, "MThd"},
                 {"a CAF", 0, 4, "caff"},
                 {"an AU", 0, 4, ".snd"},
                 {"a Wave64", 0, 4, "riff"},
                 {"a Matroska or WebM", 0, 4, "\x1A\x45\xDF\xA3"},
                 {"a WavPack", 0, 4, "wvpk"},
                 {"a Monkey's Audio", 0, 4, "MAC "},
                 {"a Musepack", 0, 4, "MPCK"},
                 {"a Musepack", 0, 3, "MP+"},
                 {"a True Audio", 0, 4, "TTA1"},
                 {"a DSD", 0, 4, "DSD "},
                 {"a DSD", 0, 4, "FRM8"},
                 {"a RealAudio", 0, 4, ".ra\xFD"},
                 {"a RealMedia", 0, 4, ".RMF"},
                 {"an AC-3", 0, 2, "\x0B\x77"},
                 {"an AAC", 0, 4, "ADIF"},
                 {"an AAC", 0, 2, "\xFF\xF1"},
                 {"an AAC", 0, 2, "\xFF\xF9"},
                 {"an 8SVX", 8, 4, "8SVX"},
                 {"a 16SV", 8, 4, "16SV"},
                 {"an AVI", 8, 4, "AVI "},
                 {"a WebP picture", 8, 4, "WEBP"},
                 {"a JPEG picture", 0, 3, "\xFF\xD8\xFF"},
                 {"a PNG picture", 0, 4, "\x89PNG"},
                 {"a GIF picture", 0, 4, "GIF8"},
                 {"a PDF", 0, 4, "%PDF"},
                 {"a ZIP archive", 0, 4, "PK\3\4"},
                 {"a gzip archive", 0, 2, "\x1F\x8B"},
                 {"a text in UTF-16", 0, 2, "\xFF\xFE"},
                 {"a text in UTF-16", 0, 2, "\xFE\xFF"}};
    static const char *const ours = "WAV, FLAC, Ogg, MP3 and AIFF are read";
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (has(head, known[i].at, known[i].magic, known[i].size))
            return magpie_fail(MAGPIE_E_UNSUPPORTED, "%s: %s", known[i].name, ours);
    if (is_text(head)) return magpie_fail(MAGPIE_E_UNSUPPORTED, "a text: %s", ours);
    return magpie_fail(MAGPIE_E_INPUT, head->size ? "not a sound: %s" : "an empty file: %s", ours);
}

/* Steps over ID3v2 tags, one after the other; false where there is none. Their length, 28 bits in four bytes,
 * counts neither their head nor a foot that repeats it. */
static bool skip_id3(audio_source *source) {
    enum { TAG_HEAD = 10, HAS_FOOT = 0x10, TAGS_MAX = 64 };
    size_t tags = 0;
    for (uint8_t h[TAG_HEAD]; tags < TAGS_MAX && audio_source_peek(source, 0, h, TAG_HEAD) == TAG_HEAD;
         tags++) {
        if (memcmp(h, "ID3", 3) != 0 || h[3] == 0xFF || ((h[6] | h[7] | h[8] | h[9]) & 0x80)) break;
        uint64_t size = ((uint64_t)h[6] << 21 | (uint64_t)h[7] << 14 | (uint64_t)h[8] << 7 | h[9]) +
                        TAG_HEAD + (h[5] & HAS_FOOT ? TAG_HEAD : 0);
        source->begin = size < source->end - source->begin ? source->begin + size : source->end;
    }
    return tags > 0;
}

/* A frame at `offset`, and one of the same kind (version, layer, rate) behind it, unless the file ends there:
 * two bytes that look like a frame's are in many a file. */
static bool is_mp3(audio_source *source, uint64_t offset) {
    uint8_t first[4], second[4];
    if (audio_source_peek(source, offset, first, 4) < 4) return false;
    size_t size = audio_mp3_frame(first);
    if (!size) return false;
    if (audio_source_peek(source, offset + size, second, 4) < 4) return true;
    return audio_mp3_frame(second) && first[1] >> 1 == second[1] >> 1 &&
           (first[2] & 0xC) == (second[2] & 0xC);
}

/* Some writers leave more room behind an ID3 tag than it says. */
static bool find_mp3(audio_source *source) {
    enum { PADDING_MAX = 4096 };
    for (uint64_t offset = 0; offset < PADDING_MAX; offset++)
        if (is_mp3(source, offset)) {
            source->begin += offset;
            return true;
        }
    return false;
}

/* NULL for what no format of ours begins with. */
static const audio_format *tell_format(audio_source *source, file_head *head) {
    bool tagged = skip_id3(source);
    head->size = audio_source_peek(source, 0, head->bytes, HEAD);
    if (has(head, 8, "WAVE", 4) && (has(head, 0, "RIFF", 4) || has(head, 0, "RIFX", 4) ||
                                    has(head, 0, "RF64", 4) || has(head, 0, "BW64", 4)))
        return &audio_wav;
    if (has(head, 0, "FORM", 4) && (has(head, 8, "AIFF", 4) || has(head, 8, "AIFC", 4))) return &audio_aiff;
    if (has(head, 0, "fLaC", 4)) return &audio_flac;
    if (has(head, 0, "OggS", 4)) return &audio_ogg;
    return (tagged ? find_mp3(source) : is_mp3(source, 0)) ? &audio_mp3 : NULL;
}

static magpie_status open_stream(audio_decoder *decoder) {
    file_head head;
    audio_source *source = &decoder->source;
    audio_stream stream = {tell_format(source, &head), NULL, 0, 0};
    if (source->error_number) return magpie_fail_errno(source->error_number, "read");
    if (!stream.format) return refuse(&head);
    source->at = source->begin;
    magpie_status status = stream.format->open(source, &stream);
    if (status != MAGPIE_OK)
        return source->error_number ? magpie_fail_errno(source->error_number, "read") : status;
    decoder->stream = stream;
    return MAGPIE_OK;
}

/* ---- samples ---- */

/* frames [count, channels] -> mono [count], the mean of each. */
static magpie_status mix(audio_decoder *decoder, size_t count) {
    size_t channels = decoder->stream.channels;
    const float *frame = decoder->all;
    for (size_t i = 0; i < count; i++, frame += channels) {
        float sum = frame[0];
        for (size_t c = 1; c < channels; c++) sum += frame[c];
        float mean = channels == 1 ? sum : sum / (float)channels;
        decoder->mono[i] = mean;
        if (fabsf(mean) <= LOUDEST) continue; /* not so for NaN */
        uint64_t at = decoder->frames + i;
        return magpie_fail(MAGPIE_E_INPUT, "the sample at %.6f s is %s (sample %llu)",
                           (double)at / (double)decoder->stream.rate,
                           isfinite(mean) ? "beyond measure" : "not a finite number", (unsigned long long)at);
    }
    return MAGPIE_OK;
}

/* The next block into `mono`, or the end. */
static magpie_status decode_block(audio_decoder *decoder) {
    uint64_t left = decoder->most_frames - decoder->frames;
    size_t most = left < BLOCK ? (size_t)left : BLOCK, count = 0;
    decoder->at = decoder->filled = 0;
    decoder->source.allowance = AUDIO_ALLOWANCE;
    magpie_status status =
        most ? decoder->stream.format->read(&decoder->stream, decoder->all, most, &count) : MAGPIE_OK;
    if (status == MAGPIE_OK && decoder->source.error_number)
        status = magpie_fail_errno(decoder->source.error_number, "read");
    if (status == MAGPIE_OK) status = mix(decoder, count);
    if (status != MAGPIE_OK) return status;
    decoder->filled = count;
    decoder->frames += count;
    if (!count) close_sound(decoder);
    return MAGPIE_OK;
}

static magpie_status prepare_resampler(audio_decoder *decoder) {
    size_t rate = decoder->stream.rate;
    soxr_error_t error = NULL;
    decoder->resamples = rate != decoder->rate;
    if (!decoder->resamples) return MAGPIE_OK;
    if (decoder->resampler && decoder->resampled_rate == rate) {
        error = soxr_clear(decoder->resampler);
    } else {
        soxr_quality_spec_t quality = soxr_quality_spec(SOXR_HQ, 0);
        soxr_delete(decoder->resampler);
        decoder->resampler =
            soxr_create((double)rate, (double)decoder->rate, 1, &error, NULL, &quality, NULL);
        decoder->resampled_rate = rate;
    }
    if (!error) return MAGPIE_OK;
    soxr_delete(decoder->resampler);
    decoder->resampler = NULL;
    return magpie_fail(MAGPIE_E_INTERNAL, "soxr: %zu to %zu Hz: %s", rate, decoder->rate, error);
}

/* What is decoded, or what the resampler makes of it, into `ready`; nothing at the end. The resampler writes
 * into a buffer of ours, since libsoxr 0.1.3 reads eight bytes of where it will write, be it the last float
 * of a page. */
static magpie_status make_ready(audio_decoder *decoder) {
    decoder->ready_at = decoder->ready_count = 0;
    for (;;) {
        size_t left = decoder->filled - decoder->at, used = left, made = left;
        decoder->ready = decoder->mono + decoder->at;
        if (decoder->resamples && (left || decoder->ended)) {
            soxr_error_t error = soxr_process(decoder->resampler, left ? decoder->ready : NULL, left, &used,
                                              decoder->resampled, BLOCK, &made);
            if (error || (left && !used && !made))
                return magpie_fail(MAGPIE_E_INTERNAL, "soxr: %s",
                                   error ? error : "takes nothing, gives nothing");
            decoder->ready = decoder->resampled;
        }
        decoder->at += used;
        decoder->ready_count = made;
        if (made || (decoder->ended && !left)) return MAGPIE_OK;
        if (!decoder->ended && decoder->at == decoder->filled) {
            magpie_status status = decode_block(decoder);
            if (status != MAGPIE_OK) return status;
        }
    }
}

/* ---- the sound ---- */

static magpie_status fail(audio_decoder *decoder, magpie_status status) {
    forget(decoder);
    return decoder->path.size ? magpie_fail(status, "%s: %s", decoder->path.data, magpie_error()) : status;
}

static magpie_status begin(audio_decoder *decoder, double seconds) {
    magpie_status status = open_stream(decoder);
    if (status != MAGPIE_OK) return status;
    double frames = seconds * (double)decoder->stream.rate;
    decoder->most_frames = frames < 1 ? 1 : frames < 0x1p62 ? (uint64_t)llround(frames) : UINT64_MAX;
    decoder->frames = 0;
    decoder->ended = false;
    status = prepare_resampler(decoder);
    if (status == MAGPIE_OK) status = decode_block(decoder);
    return status == MAGPIE_OK && decoder->ended ? magpie_fail(MAGPIE_E_INPUT, "it has no samples") : status;
}

magpie_status audio_decoder_open(audio_decoder *decoder, const magpie_media *sound, double seconds) {
    forget(decoder);
    magpie_text_clear(&decoder->path);
    if (!(seconds > 0)) return magpie_fail(MAGPIE_E_ARGUMENT, "%g seconds of a sound", seconds);
    magpie_status status = audio_source_open(&decoder->source, sound);
    if (status != MAGPIE_OK) return status;
    if (sound->path) magpie_text_append(&decoder->path, sound->path, strlen(sound->path));
    status = magpie_text_status(&decoder->path);
    if (status == MAGPIE_OK) status = begin(decoder, seconds);
    return status == MAGPIE_OK ? status : fail(decoder, status);
}

magpie_status audio_decoder_read(audio_decoder *decoder, float *samples, size_t most, size_t *count) {
    for (*count = 0; *count < most;) {
        if (decoder->ready_at == decoder->ready_count) {
            magpie_status status = make_ready(decoder);
            if (status != MAGPIE_OK) return *count = 0, fail(decoder, status);
            if (!decoder->ready_count) return MAGPIE_OK;
        }
        size_t left = decoder->ready_count - decoder->ready_at,
               part = left < most - *count ? left : most - *count;
        memcpy(samples + *count, decoder->ready + decoder->ready_at, part * sizeof *samples);
        decoder->ready_at += part;
        *count += part;
    }
    return MAGPIE_OK;
}
