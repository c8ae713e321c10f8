/* index.h - what is stored (LMDB) and how it is found (FAISS): items, vectors, filters, deletes.
 *
 * THE MODEL. A store is a folder. In it, LMDB holds the truth: items, their vectors, and an inverted index of
 * their attributes, written in transactions that survive kill -9 and power loss. Beside it lie the vector
 * indexes (one FAISS file for each space that is searched); they are derived, and are caught up or rebuilt
 * from LMDB whenever they are old, missing or damaged. So a crash costs a replay, never data.
 *
 * SEQUENCE AND ROWS. Every change of an item takes the next sequence number. A put whose vectors are new
 * makes a new `row`, named by that number: rows only ever grow, one item has one live row, and vectors are
 * appended in order of row. Replacing or deleting an item leaves a tombstone (sequence -> the row that died).
 * An index that knows the last sequence it holds therefore needs only the rows and tombstones after it to be
 * up to date.
 *
 * SPACES. An item has one vector a space: one for each modality that it has, and the fused one that search
 * uses. The first vector written to a space fixes that space's model and dimension; another model is refused
 * in words. All vectors are unit length and scores are inner products, that is cosines.
 *
 * THREADS AND PROCESSES. A magpie_store may be used from any number of threads, a folder by any number of
 * processes of one machine (not over a network file system). Readers see a snapshot, never wait and are never
 * waited for; writers take turns. A magpie_batch, a magpie_snapshot and a magpie_filter each belong to one
 * thread at a time. A magpie_index may be searched from many threads while one refreshes it. A process opens
 * a folder once and shares the magpie_store (a second open is MAGPIE_E_BUSY); a child made by fork opens its
 * own.
 *
 * SPACE. The store's file is mapped into 64 GiB of address space (four times the file, where that is more),
 * which costs neither memory nor disk, so that it may grow under open snapshots; index/environment.h says
 * what happens beyond. A full disk is MAGPIE_E_NO_SPACE and leaves everything as it was.
 *
 * FORMAT of the LMDB environment STORE/data.mdb, version 1. Integers are little-endian unless said otherwise.
 *     meta        name -> value. "format": u32, 1. "identity": 16 random bytes, which the index files repeat.
 *                 "sequence": u64, the last one given out. "pruned": u64, tombstones up to it are gone.
 *                 "space/NAME": the space's model as JSON {"model", "fingerprint", "dimension", "settings"?,
 *                 "since"?}; since: the sequence at which magpie_store_rebind gave the space to it.
 *     items       id (1-511 bytes of UTF-8) -> record: see index/record.h.
 *     rows        row, u64 native integer key -> id. Live rows only.
 *     v.NAME      row -> dimension x f32, for NAME in text, image, audio, fused. Live rows only, appended.
 *     postings    attribute path and value -> rows (DUPSORT, fixed size): see index/postings.h.
 *     tombstones  sequence -> u64 row that died. Pruned when every index file on disk is past it.
 *     jobs        name of a job -> its checkpoint, opaque bytes, written with the items that it speaks of.
 *     i.users     id of a user -> u32 number;   i.user_ids   u32 native integer key -> that id.
 *     i.items     id of an item -> u32 number;  i.item_ids   u32 native integer key -> that id.
 *     interactions    {user u32, item u32, big-endian; kind u8} -> {weight f32, time i64}, packed.
 *                 "meta" counts for these: "users", "items": u64, the next number. "interactions": u64, grows
 *                 with every commit that writes one.
 * The last five are younger than version 1, which they leave as it is: a program that does not know them
 * neither reads nor harms them. A store without them gets them when it is opened for writing, and is one
 * without interactions when it is opened for reading.
 * STORE/NAME.index is a vector index: see index/index_file.h. */
#ifndef MAGPIE_INDEX_H
#define MAGPIE_INDEX_H

#include "core.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MAGPIE_ID_MAX = 511,                /* bytes; LMDB's key limit */
    MAGPIE_ITEM_MAX = 1 << 20,          /* bytes of text, references and attributes together */
    MAGPIE_DIMENSION_MAX = 16384,       /* floats of a vector */
    MAGPIE_ATTRIBUTE_DEPTH_MAX = 16,    /* nesting of attributes and of filters */
    MAGPIE_FILTER_CONDITIONS_MAX = 512, /* nested ones too */
    MAGPIE_SEARCH_K_MAX = 16384         /* hits of a search */
};

typedef enum magpie_space {
    MAGPIE_SPACE_FUSED,
    MAGPIE_SPACE_TEXT,
    MAGPIE_SPACE_IMAGE,
    MAGPIE_SPACE_AUDIO,
    MAGPIE_SPACES
} magpie_space;

const char *magpie_space_name(magpie_space space); /* "fused", "text", "image", "audio" */

/* ---- the store ---- */

typedef struct magpie_store magpie_store;

typedef struct magpie_store_options {
    bool create;          /* make the folder and an empty store where there is none */
    bool read_only;       /* refuse every write; the index file is not rewritten either */
    size_t initial_bytes; /* of address space for the map; 0: see SPACE. It doubles when it is full. */
} magpie_store_options;

/* `options` NULL: an existing store, for reading and writing. MAGPIE_E_NOT_FOUND where there is none,
 * MAGPIE_E_MISMATCH for another format version, MAGPIE_E_CORRUPT for what is not a store. */
MAGPIE_CHECK_RESULT magpie_status magpie_store_open(const char *directory,
                                                    const magpie_store_options *options, magpie_store **out);
void magpie_store_close(magpie_store *store); /* after its snapshots and indexes */
const char *magpie_store_directory(const magpie_store *store);

/* Which model fills a space. */
typedef struct magpie_space_model {
    const char *model;       /* a name for people */
    const char *fingerprint; /* changes when the weights do; compared byte for byte */
    size_t dimension;
    /* What whoever opens the model again must know too, kept as it is; at most 255 bytes; NULL: nothing. */
    const char *settings;
} magpie_space_model;

/* Says that `space` is filled by `model`, before vectors are written or queries asked. The first call records
 * it; a later one with another fingerprint or dimension is MAGPIE_E_MISMATCH, naming both models. In a
 * read-only store, a space that has no model yet is MAGPIE_E_NOT_FOUND. */
MAGPIE_CHECK_RESULT magpie_status magpie_store_bind(magpie_store *store, magpie_space space,
                                                    const magpie_space_model *model);

/* Gives `space` to another model: in one transaction all its vectors are forgotten and `model` is recorded.
 * The items keep their rows, and their vectors in other spaces. The index file is removed, and one of
 * before that is written after that is not read; an index that is open answers as before, but can no longer
 * be refreshed (MAGPIE_E_MISMATCH); a batch that expects the former model is refused. Nothing is done where
 * the space is this model's already. */
MAGPIE_CHECK_RESULT magpie_status magpie_store_rebind(magpie_store *store, magpie_space space,
                                                      const magpie_space_model *model);

/* A space and its model, as the store has it. */
typedef struct magpie_space_binding {
    size_t dimension; /* 0: not bound, and all else is empty */
    char model[128], fingerprint[128], settings[256];
    uint64_t since; /* 0: its first model */
} magpie_space_binding;

/* Whether both are of one model that was given the space once: their vectors are the same ones. */
bool magpie_space_same_binding(const magpie_space_binding *a, const magpie_space_binding *b);

typedef struct magpie_store_stats {
    uint64_t items, sequence, tombstones;
    uint64_t vectors[MAGPIE_SPACES];
    size_t dimension[MAGPIE_SPACES]; /* 0: not bound */
    char model[MAGPIE_SPACES][128], fingerprint[MAGPIE_SPACES][128];
    uint64_t users, interactions;   /* users that are there; all interactions of theirs */
    uint64_t interactions_sequence; /* another one after every commit that wrote or deleted one of these */
    uint64_t file_bytes;            /* used in data.mdb */
    uint64_t map_bytes;
} magpie_store_stats;

MAGPIE_CHECK_RESULT magpie_status magpie_store_get_stats(magpie_store *store, magpie_store_stats *out);

/* ---- items ---- */

/* An item as it is stored. Given to a put, everything is the caller's and is copied; `row`, `sequence` and
 * `updated` are then ignored. Got from a snapshot, everything points into the store and is valid until the
 * snapshot closes. */
typedef struct magpie_item {
    magpie_string id;           /* 1-511 bytes of UTF-8 */
    magpie_string text;         /* empty: none. This and the next three: UTF-8 */
    magpie_string image, audio; /* references (paths); empty: none */
    magpie_string attributes;   /* a JSON object; empty: none */
    int64_t timestamp;          /* the catalogue's, milliseconds since 1970; INT64_MIN: none */
    uint64_t content_hash[2];   /* of the catalogue's content: equal hashes mean nothing to do */
    /* By space: of what its vector was made of, or of what none could be made of (then `problems` says why).
     * An equal hash means nothing to encode; 0: there is nothing of the kind, or it was never tried. */
    uint64_t encoded_hash[MAGPIE_SPACES];
    magpie_string problems; /* what was wrong with a modality that is missing, in words; empty: nothing */
    uint64_t row;           /* of the vectors */
    uint64_t sequence;      /* of the last change */
    int64_t updated;        /* when that was, milliseconds since 1970 */
} magpie_item;

/* ---- writing ---- */

/* Changes that are committed together. Copies what it is given; may be reused after magpie_batch_clear. */
typedef struct magpie_batch magpie_batch;

MAGPIE_CHECK_RESULT magpie_status magpie_batch_create(magpie_batch **out);
void magpie_batch_free(magpie_batch *batch);
void magpie_batch_clear(magpie_batch *batch);
size_t magpie_batch_count(const magpie_batch *batch); /* puts and deletes, of interactions and users too */

/* Inserts or replaces an item. vectors[s] is [dimension of s], unit length, NULL where the item has none in
 * s. `vectors` NULL: keep the vectors and the row that the item has (its attributes changed, say); then the
 * item must exist at the commit. Where one vector changes and others stay, those are given too, as
 * magpie_snapshot_vector has them. MAGPIE_E_INPUT: bad id, broken UTF-8, attributes that are no JSON object
 * or too deep, a vector that is not finite or not of unit length (within 1e-3). MAGPIE_E_TOO_LARGE: over
 * MAGPIE_ITEM_MAX. */
MAGPIE_CHECK_RESULT magpie_status magpie_batch_put(magpie_batch *batch, const magpie_item *item,
                                                   const float *const vectors[MAGPIE_SPACES],
                                                   const size_t dimensions[MAGPIE_SPACES]);
/* Gives an item another vector in one space (NULL: none) and a new row; all else stays as it is. An item
 * that is not at `row` any more, since it was deleted or put anew, is left alone by the commit, and counted
 * as missing. `encoded_hash`: the item's for that space. */
MAGPIE_CHECK_RESULT magpie_status magpie_batch_put_vector(magpie_batch *batch, magpie_string id, uint64_t row,
                                                          magpie_space space, const float *vector,
                                                          size_t dimension, uint64_t encoded_hash);
/* The batch's vectors in `space` are by the model of this fingerprint: a commit is MAGPIE_E_MISMATCH where
 * the space has come to be another's since. Forgotten by magpie_batch_clear. */
MAGPIE_CHECK_RESULT magpie_status magpie_batch_expect(magpie_batch *batch, magpie_space space,
                                                      const char *fingerprint);
MAGPIE_CHECK_RESULT magpie_status magpie_batch_delete(magpie_batch *batch, magpie_string id);
/* Stores a job's checkpoint with the changes; a `checkpoint` of size 0 removes it. */
MAGPIE_CHECK_RESULT magpie_status magpie_batch_checkpoint(magpie_batch *batch, const char *job,
                                                          magpie_string checkpoint);

typedef struct magpie_commit {
    uint64_t sequence; /* the last one given out */
    size_t inserted, replaced, deleted;
    size_t missing; /* deletes of ids that were not there, and put_vectors of rows that were not */
    size_t interactions, users_deleted; /* see "interactions" */
} magpie_commit;

/* Makes the whole batch durable in one transaction, or nothing of it. Changes are made in their order, each
 * to what the one before has left: of several puts of an id the last wins, and each counts as what it did in
 * its turn, so that the counts add up to magpie_batch_count. The batch is left as it was. `out` may be
 * NULL.
 *     MAGPIE_E_NO_SPACE   the disk is full: the store is as before, and the same commit can be tried again
 *     MAGPIE_E_NOT_FOUND  an item was to keep its vectors, but is not there
 *     MAGPIE_E_MISMATCH   a vector of a space that is not bound, or of another dimension or model
 *     MAGPIE_E_BUSY       the map must grow and snapshots of this process stand in the way; try again
 *     MAGPIE_E_ARGUMENT   the store is open for reading only */
MAGPIE_CHECK_RESULT magpie_status magpie_store_commit(magpie_store *store, const magpie_batch *batch,
                                                      magpie_commit *out);

/* ---- reading ---- */

/* The store at one moment. Cheap to open; a long-lived one keeps the space of what was deleted since from
 * reuse. */
typedef struct magpie_snapshot magpie_snapshot;

MAGPIE_CHECK_RESULT magpie_status magpie_snapshot_open(magpie_store *store, magpie_snapshot **out);
void magpie_snapshot_close(magpie_snapshot *snapshot);

/* The last sequence number that was given out: as long as it is the same, so are all items. */
MAGPIE_CHECK_RESULT magpie_status magpie_snapshot_sequence(magpie_snapshot *snapshot, uint64_t *out);

/* MAGPIE_E_NOT_FOUND where the id or row is not there (any more). */
MAGPIE_CHECK_RESULT magpie_status magpie_snapshot_get(magpie_snapshot *snapshot, magpie_string id,
                                                      magpie_item *out);
MAGPIE_CHECK_RESULT magpie_status magpie_snapshot_get_row(magpie_snapshot *snapshot, uint64_t row,
                                                          magpie_item *out);
/* *out [dimension of space], in the store; NULL (and MAGPIE_OK) where the row has none in this space. */
MAGPIE_CHECK_RESULT magpie_status magpie_snapshot_vector(magpie_snapshot *snapshot, magpie_space space,
                                                         uint64_t row, const float **out);
/* Which model the space is of; that of the vectors that this snapshot has. */
MAGPIE_CHECK_RESULT magpie_status magpie_snapshot_get_binding(magpie_snapshot *snapshot, magpie_space space,
                                                              magpie_space_binding *out);
/* Calls for every item in order of row, those after `row` only. Any status but MAGPIE_OK ends it and is
 * returned. */
typedef magpie_status (*magpie_item_callback)(void *context, const magpie_item *item);
MAGPIE_CHECK_RESULT magpie_status magpie_snapshot_each(magpie_snapshot *snapshot, uint64_t after_row,
                                                       magpie_item_callback callback, void *context);
/* A job's checkpoint; MAGPIE_E_NOT_FOUND where there is none. */
MAGPIE_CHECK_RESULT magpie_status magpie_snapshot_checkpoint(magpie_snapshot *snapshot, const char *job,
                                                             magpie_string *out);
/* Calls for those whose names begin with `prefix`, in bytewise order, as magpie_snapshot_each does. */
typedef magpie_status (*magpie_checkpoint_callback)(void *context, magpie_string job,
                                                    magpie_string checkpoint);
MAGPIE_CHECK_RESULT magpie_status magpie_snapshot_each_checkpoint(magpie_snapshot *snapshot,
                                                                  const char *prefix,
                                                                  magpie_checkpoint_callback callback,
                                                                  void *context);

/* ---- interactions ---- */

/* Who did what with which item, how much, when.
 *
 * A user and an item are named by ids (1-511 bytes of UTF-8) and have a number each, dense from 0, given at
 * first sight: what a model's tables are indexed by. The item need not be in the catalogue, now or ever. A
 * number is never given again, so what is kept outside by number (a model) cannot come to speak of somebody
 * else; that of a deleted user is a gap.
 *
 * One user has at most one interaction of a kind with an item: putting it again replaces it. They lie in one
 * table by user, item and kind, so that an upsert is a plain put, a user's are neighbours, and a walk over
 * all is a walk over pages: 32 bytes each where pages are full (24 as DUPFIXED values, but then each user of
 * a hundred takes a page of their own, half empty, and an upsert has to look first).
 *
 * DELETED means that nothing can be read any more. LMDB keeps the bytes in its free pages until they are
 * written over: magpie_store_compact leaves no trace in the folder. */
typedef enum magpie_interaction_kind {
    MAGPIE_VIEW,
    MAGPIE_LIKE,
    MAGPIE_BUY,
    MAGPIE_RATING,
    MAGPIE_INTERACTION_KINDS
} magpie_interaction_kind;

const char *magpie_interaction_kind_name(magpie_interaction_kind kind); /* "view", "like", "buy", "rating" */
/* MAGPIE_E_INPUT, naming those there are. */
MAGPIE_CHECK_RESULT magpie_status magpie_interaction_kind_parse(magpie_string name,
                                                                magpie_interaction_kind *out);

typedef struct magpie_interaction {
    uint32_t user, item; /* numbers */
    magpie_interaction_kind kind;
    float weight; /* finite; a rating, a count, 1 */
    int64_t time; /* milliseconds since 1970; 0: not known */
} magpie_interaction;

/* Inserts or replaces the interaction of this user, item and kind. MAGPIE_E_INPUT: a bad id, kind or time, a
 * weight that is not finite. Costs a batch some 50 bytes. */
MAGPIE_CHECK_RESULT magpie_status magpie_batch_put_interaction(magpie_batch *batch, magpie_string user,
                                                               magpie_string item,
                                                               magpie_interaction_kind kind, float weight,
                                                               int64_t time);
/* Id, number and interactions; what comes later in the batch is a new user of that name. */
MAGPIE_CHECK_RESULT magpie_status magpie_batch_delete_user(magpie_batch *batch, magpie_string user);

/* MAGPIE_E_NOT_FOUND where there is no such user, item or number (any more). Ids lie in the store. */
MAGPIE_CHECK_RESULT magpie_status magpie_snapshot_user_number(magpie_snapshot *snapshot, magpie_string id,
                                                              uint32_t *out);
MAGPIE_CHECK_RESULT magpie_status magpie_snapshot_item_number(magpie_snapshot *snapshot, magpie_string id,
                                                              uint32_t *out);
MAGPIE_CHECK_RESULT magpie_status magpie_snapshot_user_id(magpie_snapshot *snapshot, uint32_t number,
                                                          magpie_string *out);
MAGPIE_CHECK_RESULT magpie_status magpie_snapshot_item_id(magpie_snapshot *snapshot, uint32_t number,
                                                          magpie_string *out);

typedef struct magpie_interaction_counts {
    uint32_t users, items; /* the highest number and one: rows of a table by number */
    uint64_t live_users;   /* without the gaps that deleted ones left */
    uint64_t interactions;
    uint64_t sequence; /* another one after every commit that wrote or deleted an interaction */
} magpie_interaction_counts;

MAGPIE_CHECK_RESULT magpie_status magpie_snapshot_interaction_counts(magpie_snapshot *snapshot,
                                                                     magpie_interaction_counts *out);

/* A user's interactions in order of time, then item, then kind. (*array) [*capacity] is the caller's, grows
 * as is needed (magpie_grow), and may begin as NULL and 0. A number that no user has: *count 0. */
MAGPIE_CHECK_RESULT magpie_status magpie_snapshot_history(magpie_snapshot *snapshot, uint32_t user,
                                                          magpie_interaction **array, size_t *capacity,
                                                          size_t *count);

/* Calls for each user from number `first` to before `end` that has interactions, in order of number, with all
 * of them [count], in order of item, then kind; those are valid during the call. Any status but MAGPIE_OK
 * ends it and is returned. Tens of millions of interactions a second. */
typedef magpie_status (*magpie_user_callback)(void *context, const magpie_interaction *interactions,
                                              size_t count);
MAGPIE_CHECK_RESULT magpie_status magpie_snapshot_each_user(magpie_snapshot *snapshot, uint32_t first,
                                                            uint32_t end, magpie_user_callback callback,
                                                            void *context);

/* Writes data.mdb anew with what is alive in it and nothing else: the space of what was deleted comes back,
 * and its bytes are gone from the folder (rejects files, which quote lines, are not looked at). The store
 * must be open nowhere, MAGPIE_E_BUSY otherwise; whoever opens it meanwhile waits. Needs the disk space of
 * the new file. Killed on its way, it leaves the store as it was and data.mdb.tmp, which the next one
 * replaces. `before`, `after`: bytes of data.mdb; may be NULL. */
MAGPIE_CHECK_RESULT magpie_status magpie_store_compact(const char *directory, uint64_t *before,
                                                       uint64_t *after);

/* Writes folder/data.mdb, which must not be there: the store as it is at one moment, without free pages,
 * while others read and write. So `folder` is a store, whose indexes are yet to be made. It is durable on
 * return; on failure, what is there of it stays. */
MAGPIE_CHECK_RESULT magpie_status magpie_store_backup(magpie_store *store, const char *folder);

/* ---- filters ---- */

/* A condition on attributes, in the JSON that Qdrant's users know:
 *     {"must": [C...], "should": [C...], "must_not": [C...]}   all of, any of, none of; one clause may stand
 *                                                              alone, a single condition without its array
 *     C = {"key": "price", "range": {"gte": 1, "lt": 5}}       numbers: gt, gte, lt, lte
 *       | {"key": "colour", "match": {"value": "red"}}         string, number or boolean
 *       | {"key": "colour", "match": {"any": ["red", "blue"]}}     one of
 *       | {"key": "colour", "match": {"except": ["red"]}}      has a value other than these
 *       | {"key": "size", "exists": true}                      has one that is not null (false: has none)
 *       | {"is_empty": {"key": "size"}}                        has none
 *       | {"has_id": ["a", "b"]}
 *       | a whole filter, nested
 * A filter may also be a single condition. Keys are paths into nested objects: "maker.country" (a member
 * whose own name is "maker.country" answers to it too); where a value is an array, a condition holds if it
 * holds for any element, and "parts[].name" reaches into an array of objects ("parts.name" is taken to mean
 * the same). Numbers are compared as doubles, so 1 is 1.0; strings byte for byte; true is not "true". An
 * object exists, an empty array does not. */
typedef struct magpie_filter magpie_filter;

/* MAGPIE_E_INPUT says where: "filter: must[1].range.gte: expected a number". MAGPIE_E_TOO_LARGE: beyond
 * MAGPIE_ITEM_MAX bytes or MAGPIE_FILTER_CONDITIONS_MAX conditions, each of which may have to look at every row. */
MAGPIE_CHECK_RESULT magpie_status magpie_filter_parse(const char *json, size_t size, magpie_filter **out);
void magpie_filter_free(magpie_filter *filter);

/* Whether one item passes, from its attributes alone: the plain reference that the inverted index is tested
 * against. `attributes` is a JSON object or empty. */
MAGPIE_CHECK_RESULT magpie_status magpie_filter_matches(const magpie_filter *filter, magpie_string id,
                                                        magpie_string attributes, bool *out);
/* How many live items pass, by the inverted index. */
MAGPIE_CHECK_RESULT magpie_status magpie_filter_count(const magpie_filter *filter, magpie_snapshot *snapshot,
                                                      uint64_t *out);
/* Their rows [*n], ascending, to be freed with free(). */
MAGPIE_CHECK_RESULT magpie_status magpie_filter_rows(const magpie_filter *filter, magpie_snapshot *snapshot,
                                                     uint64_t **rows, size_t *n);

/* ---- facets ---- */

typedef enum magpie_attribute_type {
    MAGPIE_ATTRIBUTE_BOOLEAN,
    MAGPIE_ATTRIBUTE_NUMBER,
    MAGPIE_ATTRIBUTE_STRING
} magpie_attribute_type;

typedef struct magpie_attribute_value {
    magpie_attribute_type type; /* which of the next three it is */
    bool boolean;
    double number;
    magpie_string string;
    uint64_t count; /* items, each once */
} magpie_attribute_value;

/* A key of attributes, as a filter names it, and what it is found to be. */
typedef struct magpie_attribute {
    magpie_string key;
    uint64_t items;                       /* that have it, and not null */
    const magpie_attribute_value *values; /* [count], those of most items first, else in their order */
    size_t count;
    bool more; /* there are other values than these */
} magpie_attribute;

typedef struct magpie_attribute_limits { /* 0 in a field means its default */
    size_t values;                       /* the most for a key; 50 */
    size_t
        distinct; /* a key with more in the store than these has none listed: it is not one that people choose
                        from, and to count it is to read it all; 1,000 */
} magpie_attribute_limits;

/* Calls for every key that has a string, a number or a boolean in an item that passes `filter` (NULL: in any), in
 * order of bytes, out of the inverted index: no item is read, but for a filter's has_id. What the call is given
 * is valid during it. Strings over 255 bytes and paths over 200 are not written out there: such a value is
 * among the `more`, such a key is passed over. `limits` may be NULL. Any status but MAGPIE_OK ends it and is
 * returned. */
typedef magpie_status (*magpie_attribute_callback)(void *context, const magpie_attribute *attribute);
MAGPIE_CHECK_RESULT magpie_status magpie_snapshot_attributes(magpie_snapshot *snapshot,
                                                             const magpie_filter *filter,
                                                             const magpie_attribute_limits *limits,
                                                             magpie_attribute_callback callback,
                                                             void *context);

/* ---- the vector index ---- */

/* One space of a store, ready to be searched. */
typedef struct magpie_index magpie_index;

typedef enum magpie_index_kind {
    MAGPIE_INDEX_AUTO, /* flat below MAGPIE_INDEX_FLAT_BELOW vectors, HNSW from there */
    MAGPIE_INDEX_FLAT, /* exact */
    MAGPIE_INDEX_HNSW, /* Malkov and Yashunin 2016 */
    MAGPIE_INDEX_IVF   /* inverted lists, sqrt(n) x 4 of them; flat below 1,000 vectors */
} magpie_index_kind;

enum { MAGPIE_INDEX_FLAT_BELOW = 20000 };

/* 0 in a field means its default. */
typedef struct magpie_index_options {
    magpie_index_kind kind;
    unsigned m;               /* HNSW: links a node, 32 */
    unsigned ef_construction; /* HNSW: 200 */
    unsigned ef_search; /* HNSW: 192: recall@10 of 0.99 on a catalogue of short texts, where 64 gives 0.96 */
    unsigned nprobe;    /* IVF: lists visited, 16 */
    unsigned threads;   /* to build with: magpie_cpu_count() */
} magpie_index_options;

/* Loads STORE/NAME.index, checks it, and catches it up with the store; builds it from the store where it is
 * missing, damaged, or of another kind than asked for (MAGPIE_INDEX_AUTO takes the kind that is there).
 * Nothing is written: magpie_index_save does that. The store must outlive the index. While HNSW is built it takes half as
 * much again as its vectors (copies in bf16, which it is built by: faiss_build.cpp). A parallel HNSW build is
 * not reproducible to the byte (links depend on the order in which threads arrive); with threads = 1 it is.
 */
MAGPIE_CHECK_RESULT magpie_status magpie_index_open(magpie_store *store, magpie_space space,
                                                    const magpie_index_options *options, magpie_index **out);
void magpie_index_close(magpie_index *index);
/* Whose vectors it holds, since it was opened. */
const magpie_space_binding *magpie_index_get_binding(const magpie_index *index);

/* Takes in what was committed since; a search answers from what was taken in last. Rebuilds by itself where a
 * fifth of the vectors is dead, or where the number has outgrown the kind chosen by MAGPIE_INDEX_AUTO;
 * searches go on meanwhile with what there was. */
MAGPIE_CHECK_RESULT magpie_status magpie_index_refresh(magpie_index *index);
/* Builds anew from the store: the space of the dead comes back. */
MAGPIE_CHECK_RESULT magpie_status magpie_index_rebuild(magpie_index *index);
/* Writes STORE/NAME.index, all or nothing, and prunes the tombstones that no index needs any more. */
MAGPIE_CHECK_RESULT magpie_status magpie_index_save(magpie_index *index);

typedef struct magpie_index_stats {
    magpie_index_kind kind; /* never AUTO */
    uint64_t vectors, dead; /* held, and of these hidden by tombstones */
    uint64_t sequence;      /* of the store, that it holds */
    bool loaded;            /* from a file, and not built anew, when it was opened */
    uint64_t replayed;      /* rows and tombstones taken in after loading */
    uint64_t bytes;         /* of vectors and graph in memory, about */
} magpie_index_stats;

void magpie_index_get_stats(magpie_index *index, magpie_index_stats *out);

/* 0 in a field means the index's own setting. */
typedef struct magpie_search_options {
    unsigned ef_search, nprobe;
    enum {
        MAGPIE_SEARCH_AUTO,       /* exact where few enough items pass the filter, else by the index */
        MAGPIE_SEARCH_EXACT,      /* every item that passes is compared */
        MAGPIE_SEARCH_APPROXIMATE /* always by the index; for measurements */
    } mode;
} magpie_search_options;

typedef struct magpie_hit {
    uint64_t row;
    float score; /* inner product; higher is nearer */
} magpie_hit;

/* The k nearest live items of each query, best first; equal scores in order of row.
 *     queries  [n, dimension], unit length
 *     filter   NULL: none
 *     options  NULL: defaults
 *     hits     [n, k], the caller's; counts [n], how many of each k were found
 * A filter's selectivity s raises efSearch to efSearch/s; where that would cost more than comparing every
 * vector that passes, those are scanned instead, so that recall does not fall with s. Tombstones count as a
 * filter. The filter is evaluated on the store as it is now. A hit that was deleted since the last refresh is
 * MAGPIE_E_NOT_FOUND in a newer snapshot: skip it. Queries that are not finite are MAGPIE_E_INPUT. */
MAGPIE_CHECK_RESULT magpie_status magpie_index_search(magpie_index *index, size_t n, const float *queries,
                                                      size_t k, const magpie_filter *filter,
                                                      const magpie_search_options *options, magpie_hit *hits,
                                                      size_t *counts);

/* ---- checking ---- */

/* Called for each thing that is wrong, in words. */
typedef void (*magpie_problem_callback)(void *context, const char *problem);

typedef struct magpie_check_report {
    uint64_t items, vectors, postings, indexed, users, interactions, problems;
} magpie_check_report;

/* Reads everything: every item has one row and every row its item, ids are valid, every vector is finite, of
 * unit length and of a live row, the inverted index is what the attributes say, no tombstoned row lives, the
 * numbers of users and items are one each, interactions are valid and of numbers that are there, and each
 * index holds exactly the live vectors of its space, bit for bit. `indexes` by space, NULL where one is
 * not to be checked; all of it NULL: the store alone. report->indexed counts the vectors of all of them.
 * MAGPIE_OK where it could read it all, whatever it found: see report->problems. */
MAGPIE_CHECK_RESULT magpie_status magpie_store_check(magpie_store *store,
                                                     magpie_index *const indexes[MAGPIE_SPACES],
                                                     magpie_problem_callback callback, void *context,
                                                     magpie_check_report *report);

#ifdef __cplusplus
}
#endif
#endif
