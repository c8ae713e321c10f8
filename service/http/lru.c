/* lru.c - see lru.h. */
#include "lru.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <xxhash.h>

enum { BUCKETS = 1 << 14 };

typedef struct entry {
    struct entry *chained;       /* the next of its bucket */
    struct entry *newer, *older; /* by use */
    lru_key key;
    size_t size;
    unsigned char value[];
} entry;

struct lru {
    pthread_mutex_t lock; /* guards all below */
    size_t most, bytes, values;
    uint64_t hits, misses;
    entry *newest, *oldest;
    entry *buckets[BUCKETS];
};

/* Who knows the seed could make up a request that has the hash of another's. */
static uint64_t secret;
static pthread_once_t has_secret = PTHREAD_ONCE_INIT;

static void draw_secret(void) {
    if (getrandom(&secret, sizeof secret, GRND_NONBLOCK) != sizeof secret)
        secret = (uint64_t)magpie_unix_millis() ^ (uintptr_t)&secret;
}

lru_key lru_hash(uint64_t kind, magpie_string bytes) {
    pthread_once(&has_secret, draw_secret);
    XXH128_hash_t hash = XXH3_128bits_withSeed(bytes.data, bytes.size, secret + kind);
    return (lru_key){{hash.low64, hash.high64}};
}

magpie_status lru_create(size_t bytes, lru **out) {
    *out = magpie_alloc(1, sizeof **out);
    if (!*out) return MAGPIE_E_NO_MEMORY;
    (*out)->most = bytes;
    pthread_mutex_init(&(*out)->lock, NULL);
    return MAGPIE_OK;
}

void lru_free(lru *cache) {
    if (!cache) return;
    for (entry *e = cache->newest, *older; e; e = older) {
        older = e->older;
        free(e);
    }
    pthread_mutex_destroy(&cache->lock);
    free(cache);
}

static entry **bucket_of(lru *cache, lru_key key) { return &cache->buckets[key.of[0] % BUCKETS]; }

static void unlink_use(lru *cache, entry *e) {
    *(e->newer ? &e->newer->older : &cache->newest) = e->older;
    *(e->older ? &e->older->newer : &cache->oldest) = e->newer;
}

static void make_newest(lru *cache, entry *e) {
    e->newer = NULL;
    e->older = cache->newest;
    *(cache->newest ? &cache->newest->newer : &cache->oldest) = e;
    cache->newest = e;
}

/* With the lock held. */
static entry *find(lru *cache, lru_key key) {
    entry *e = *bucket_of(cache, key);
    while (e && (e->key.of[0] != key.of[0] || e->key.of[1] != key.of[1])) e = e->chained;
    if (!e) return cache->misses++, NULL;
    cache->hits++;
    unlink_use(cache, e);
    make_newest(cache, e);
    return e;
}

static void forget(lru *cache, entry *e) {
    entry **at = bucket_of(cache, e->key);
    while (*at != e) at = &(*at)->chained;
    *at = e->chained;
    unlink_use(cache, e);
    cache->bytes -= sizeof *e + e->size;
    cache->values--;
    free(e);
}

bool lru_read(lru *cache, lru_key key, void *out, size_t size) {
    pthread_mutex_lock(&cache->lock);
    entry *e = find(cache, key);
    bool fits = e && e->size == size;
    if (fits) memcpy(out, e->value, size);
    pthread_mutex_unlock(&cache->lock);
    return fits;
}

bool lru_append(lru *cache, lru_key key, magpie_text *out) {
    pthread_mutex_lock(&cache->lock);
    entry *e = find(cache, key);
    if (e) magpie_text_append(out, e->value, e->size);
    pthread_mutex_unlock(&cache->lock);
    return e;
}

void lru_put(lru *cache, lru_key key, const void *value, size_t size) {
    const size_t cost = sizeof(entry) + size;
    if (cost > cache->most) return;
    entry *e = malloc(cost);
    if (!e) return;
    *e = (entry){.key = key, .size = size};
    memcpy(e->value, value, size);
    pthread_mutex_lock(&cache->lock);
    for (entry *old = *bucket_of(cache, key), *next; old; old = next) {
        next = old->chained;
        if (old->key.of[0] == key.of[0] && old->key.of[1] == key.of[1]) forget(cache, old);
    }
    while (cache->oldest && cache->bytes + cost > cache->most) forget(cache, cache->oldest);
    e->chained = *bucket_of(cache, key);
    *bucket_of(cache, key) = e;
    make_newest(cache, e);
    cache->bytes += cost;
    cache->values++;
    pthread_mutex_unlock(&cache->lock);
}

void lru_count(lru *cache, lru_counts *out) {
    pthread_mutex_lock(&cache->lock);
    *out = (lru_counts){cache->hits, cache->misses, cache->values, cache->bytes};
    pthread_mutex_unlock(&cache->lock);
}
