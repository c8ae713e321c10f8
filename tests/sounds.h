/* sounds.h - sound files in memory, written by libsndfile, for tests and fuzz targets. */
#ifndef MAGPIE_TESTS_SOUNDS_H
#define MAGPIE_TESTS_SOUNDS_H

#include "core.h"

#include <math.h>
#include <sndfile.h>
#include <stdlib.h>
#include <string.h>

typedef struct sound_memory {
    unsigned char *data;
    size_t size, capacity, at;
} sound_memory;

static inline sf_count_t sound_length(void *user) { return (sf_count_t)((sound_memory *)user)->size; }
static inline sf_count_t sound_tell(void *user) { return (sf_count_t)((sound_memory *)user)->at; }

static inline sf_count_t sound_seek(sf_count_t offset, int whence, void *user) {
    sound_memory *memory = user;
    sf_count_t from = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? sound_tell(user) : sound_length(user);
    memory->at = (size_t)(from + offset);
    return from + offset;
}

static inline sf_count_t sound_get(void *to, sf_count_t count, void *user) {
    sound_memory *memory = user;
    size_t left = memory->at < memory->size ? memory->size - memory->at : 0;
    size_t size = (size_t)count < left ? (size_t)count : left;
    memcpy(to, memory->data + memory->at, size);
    memory->at += size;
    return (sf_count_t)size;
}

static inline sf_count_t sound_put(const void *from, sf_count_t count, void *user) {
    sound_memory *memory = user;
    size_t end = memory->at + (size_t)count;
    if (end > memory->capacity) {
        memory->capacity = 2 * end;
        memory->data = realloc(memory->data, memory->capacity);
        if (!memory->data) abort();
    }
    if (memory->at > memory->size) memset(memory->data + memory->size, 0, memory->at - memory->size);
    memcpy(memory->data + memory->at, from, (size_t)count);
    memory->at = end;
    if (end > memory->size) memory->size = end;
    return count;
}

static SF_VIRTUAL_IO sound_calls = {.get_filelen = sound_length,
                                    .seek = sound_seek,
                                    .read = sound_get,
                                    .write = sound_put,
                                    .tell = sound_tell};

/* Bits of the whole numbers of a coding; 0 for what is none. */
static inline int sound_bits(int format) {
    switch (format & SF_FORMAT_SUBMASK) {
    case SF_FORMAT_PCM_S8:
    case SF_FORMAT_PCM_U8: return 8;
    case SF_FORMAT_PCM_16: return 16;
    case SF_FORMAT_PCM_24: return 24;
    case SF_FORMAT_PCM_32: return 32;
    default: return 0;
    }
}

/* samples [frames, channels] as a file of libsndfile's `format`, to be freed, of its exact size so that a
 * sanitizer sees a byte too far. Whole numbers are not rounded where the samples are multiples of
 * 2^(1 - bits). */
static inline magpie_string sound_write(int format, int rate, int channels, const float *samples,
                                        size_t frames) {
    sound_memory memory = {0};
    SF_INFO info = {.samplerate = rate, .channels = channels, .format = format};
    SNDFILE *file = sf_open_virtual(&sound_calls, SFM_WRITE, &info, &memory);
    if (!file) return (magpie_string){0};
    size_t count = frames * (size_t)channels;
    sf_count_t written;
    if (sound_bits(format)) {
        int *whole = calloc(count + 1, sizeof *whole);
        if (!whole) abort();
        for (size_t i = 0; i < count; i++) whole[i] = (int)((double)samples[i] * 0x1p31);
        written = sf_write_int(file, whole, (sf_count_t)count);
        free(whole);
    } else {
        written = sf_write_float(file, samples, (sf_count_t)count);
    }
    sf_close(file);
    if (written != (sf_count_t)count) abort();
    unsigned char *exact = malloc(memory.size ? memory.size : 1);
    if (!exact) abort();
    if (memory.size) memcpy(exact, memory.data, memory.size);
    free(memory.data);
    return (magpie_string){(char *)exact, memory.size};
}

/* What libsndfile reads from a file of any kind, all channels, to be freed; *frames as its header says. */
static inline float *sound_read(magpie_string bytes, SF_INFO *info, size_t *frames) {
    sound_memory memory = {.data = (unsigned char *)(uintptr_t)bytes.data, .size = bytes.size};
    *info = (SF_INFO){0};
    *frames = 0;
    SNDFILE *file = sf_open_virtual(&sound_calls, SFM_READ, info, &memory);
    if (!file) return NULL;
    float *samples = calloc((size_t)(info->frames * info->channels) + 1, sizeof *samples);
    if (!samples) abort();
    sf_count_t got = 0, more = 0;
    do got += more = sf_readf_float(file, samples + got * info->channels, info->frames - got);
    while (more > 0);
    sf_close(file);
    *frames = (size_t)got;
    return samples;
}

#endif
