/* core.h - what every part of Magpie stands on: status codes, memory, files, threads, logging.
 *
 * ERRORS. Every function that can fail returns a magpie_status. The words that go with it are kept per thread
 * and read with magpie_error(). Thread-local rather than an error object because a failure then costs nothing
 * to pass through C callbacks (qsort, FAISS, LMDB), no caller can forget to hand one in, and errno and
 * FAISS's C API already work so. The price: the message belongs to the thread that failed. magpie_pool_run
 * carries it back to its caller; whoever starts threads of their own copies it across. A success leaves the
 * last message untouched.
 *
 * MEMORY. Whoever creates frees: foo_open/foo_create pairs with foo_close/foo_free, which take NULL. Buffers
 * that a function fills are the caller's. Sizes that come from a file go through magpie_size_mul/_add before
 * they are allocated. A thing made of many arrays is one block: see magpie_block.
 *
 * The library never prints and never exits. What it has to say besides errors goes to the log callback. */
#ifndef MAGPIE_CORE_H
#define MAGPIE_CORE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MAGPIE_VERSION "0.1.0"

#if defined(__GNUC__)
#define MAGPIE_PRINTF(format_at, first_at) __attribute__((format(printf, format_at, first_at)))
#define MAGPIE_CHECK_RESULT __attribute__((warn_unused_result))
#else
#define MAGPIE_PRINTF(format_at, first_at)
#define MAGPIE_CHECK_RESULT
#endif

/* ---- status ---- */

typedef enum magpie_status {
    MAGPIE_OK = 0,
    MAGPIE_E_ARGUMENT,    /* the caller asked for something that makes no sense */
    MAGPIE_E_INPUT,       /* one item, line or query is malformed; the next may be fine */
    MAGPIE_E_TOO_LARGE,   /* over a documented limit; refused before anything was allocated */
    MAGPIE_E_NOT_FOUND,   /* no such file, id or tensor */
    MAGPIE_E_MISMATCH,    /* valid, but not for this store or model (other model, version, dimension) */
    MAGPIE_E_CORRUPT,     /* a file of ours or a model's contradicts itself */
    MAGPIE_E_UNSUPPORTED, /* valid, but this build or version does not do it */
    MAGPIE_E_NO_SPACE,    /* the disk or the quota is full */
    MAGPIE_E_NO_MEMORY,
    MAGPIE_E_IO,        /* the operating system said no; the message has its words */
    MAGPIE_E_BUSY,      /* someone else holds it */
    MAGPIE_E_CANCELLED, /* a callback asked to stop */
    MAGPIE_E_INTERNAL   /* a library below failed in a way that should not happen */
} magpie_status;

/* The name of a status, "not found" for MAGPIE_E_NOT_FOUND; never NULL. */
const char *magpie_status_name(magpie_status status);

/* What the last failure on this thread was, in words: with the file, line or id, and what to do where that is
 * known. Valid until the next failure on this thread; never NULL. */
const char *magpie_error(void);

/* Sets this thread's message and returns `status`, so that a failure is one statement:
 *     return magpie_fail(MAGPIE_E_INPUT, "%s:%zu: id is missing", path, line);
 * The arguments may include magpie_error() itself: that is how context is put in front. Cut at 1,023 bytes.
 */
magpie_status magpie_fail(magpie_status status, const char *format, ...) MAGPIE_PRINTF(2, 3);

/* The same for a failed system call: "<words>: <strerror>", and the status that fits errno (ENOENT: not
 * found; ENOSPC, EDQUOT: no space; ENOMEM: no memory; any other: i/o). */
magpie_status magpie_fail_errno(int error_number, const char *format, ...) MAGPIE_PRINTF(2, 3);

/* ---- memory ---- */

/* *out = a * b or a + b; false, with *out untouched, where that does not fit. */
MAGPIE_CHECK_RESULT bool magpie_size_mul(size_t a, size_t b, size_t *out);
MAGPIE_CHECK_RESULT bool magpie_size_add(size_t a, size_t b, size_t *out);

/* count * size bytes, zeroed, 64-byte aligned (a cache line, and the widest SIMD register), to be freed with
 * free(). NULL, with the message set, where the product overflows or memory is short. A count of 0 gives a
 * valid pointer. */
MAGPIE_CHECK_RESULT void *magpie_alloc(size_t count, size_t size);

/* The same for megabytes that are read from end to end again and again: not zeroed, and of huge pages
 * where the system gives them, since with small ones looking up addresses takes a good part of the time. */
MAGPIE_CHECK_RESULT void *magpie_alloc_large(size_t count, size_t size);

/* Grows *array to room for at least `need` elements, doubling; *capacity is in elements. The new part is not
 * initialised. On failure the array is as it was. */
MAGPIE_CHECK_RESULT magpie_status magpie_grow(void **array, size_t *capacity, size_t need, size_t size);

/* One allocation that holds many arrays. Written once, run twice: with base NULL, magpie_carve only adds
 * sizes up; after magpie_block_alloc the same calls hand out the pieces, so that sizing and carving cannot
 * disagree. static void layout(struct batch *b, magpie_block *m) { b->ids = magpie_carve(m, b->n, sizeof
 * *b->ids); ... } layout(b, &m); status = magpie_block_alloc(&m); layout(b, &m); Pieces are 64-byte aligned
 * and zero at first. The owner of the magpie_block frees it. */
typedef struct magpie_block {
    unsigned char *base; /* NULL while sizes are added up */
    size_t size;         /* bytes allocated */
    size_t used;         /* bytes carved; SIZE_MAX once a sum has overflowed */
} magpie_block;

void *magpie_carve(magpie_block *block, size_t count, size_t size); /* NULL in the sizing pass */
MAGPIE_CHECK_RESULT magpie_status magpie_block_alloc(magpie_block *block);
void magpie_block_free(magpie_block *block);

/* Bytes that belong to someone else: not NUL-terminated, may hold NULs. */
typedef struct magpie_string {
    const char *data; /* may be NULL where size is 0 */
    size_t size;
} magpie_string;

magpie_string magpie_string_of(const char *text); /* all before its NUL */

/* A growing string of bytes, always followed by a NUL that `size` does not count. All zero is a valid empty
 * one. An append that finds no memory sets `failed` and does nothing more, so that a sequence is checked
 * once, with magpie_text_status. */
typedef struct magpie_text {
    char *data; /* NULL while empty */
    size_t size, capacity;
    bool failed;
} magpie_text;

void magpie_text_append(magpie_text *text, const void *bytes, size_t size);
void magpie_text_printf(magpie_text *text, const char *format, ...) MAGPIE_PRINTF(2, 3);
void magpie_text_json_string(magpie_text *text, const char *bytes,
                             size_t size); /* quoted and escaped; what is no UTF-8 becomes U+FFFD */
void magpie_text_clear(magpie_text *text); /* keeps the memory */
MAGPIE_CHECK_RESULT magpie_status magpie_text_status(const magpie_text *text);
void magpie_text_free(magpie_text *text);

/* ---- files ---- */

/* "directory/name" in a new string, to be freed with free(); NULL with the message set. */
MAGPIE_CHECK_RESULT char *magpie_path_join(const char *directory, const char *name);
bool magpie_path_exists(const char *path);

/* A whole file mapped read-only. `data` is NULL for an empty file. The file must not be truncated while
 * mapped. */
typedef struct magpie_map {
    const unsigned char *data;
    size_t size;
} magpie_map;

MAGPIE_CHECK_RESULT magpie_status magpie_map_open(const char *path, magpie_map *out);
void magpie_map_close(magpie_map *map);
/* Its pages no longer count as the process's until they are read again. */
void magpie_map_release(const magpie_map *map);

/* A whole file as a NUL-terminated string, *out to be freed with free(), *size without the NUL (size may be
 * NULL). MAGPIE_E_TOO_LARGE over `limit` bytes, before anything is allocated. */
MAGPIE_CHECK_RESULT magpie_status magpie_file_read(const char *path, size_t limit, char **out, size_t *size);

/* Replaces a file so that after a crash it is either the old one or the new one: writes `path`.tmp, syncs it,
 * renames it over `path`, syncs the folder. _commit or _abort ends it, and either frees `file`. What is there
 * and is no regular file (a device, a folder) is MAGPIE_E_ARGUMENT: a rename would put a file in its
 * place. */
typedef struct magpie_atomic_file magpie_atomic_file;
MAGPIE_CHECK_RESULT magpie_status magpie_atomic_open(const char *path, magpie_atomic_file **out);
FILE *magpie_atomic_stream(magpie_atomic_file *file); /* to write to; not to be closed */
const char *
magpie_atomic_path(const magpie_atomic_file *file); /* of the temporary, for writers that want a name */
MAGPIE_CHECK_RESULT magpie_status magpie_atomic_commit(magpie_atomic_file *file);
void magpie_atomic_abort(magpie_atomic_file *file);
/* The same of a text that is there, and was never short of memory. */
MAGPIE_CHECK_RESULT magpie_status magpie_atomic_write(const char *path, const magpie_text *text);
/* A rename to `path` is on the disk only once the folder that it is in is. */
MAGPIE_CHECK_RESULT magpie_status magpie_sync_parent(const char *path);

/* An array in NumPy's format, mapped: [rows, dimension] of f32. */
typedef struct magpie_npy {
    magpie_map map;
    size_t rows, dimension;
    const unsigned char *data; /* need not be aligned */
} magpie_npy;

/* MAGPIE_E_CORRUPT, and MAGPIE_E_UNSUPPORTED for numbers or shapes of another kind. */
MAGPIE_CHECK_RESULT magpie_status magpie_npy_open(const char *path, magpie_npy *out);
void magpie_npy_read(const magpie_npy *npy, size_t row, float *out /* [dimension] */);
void magpie_npy_close(magpie_npy *npy);
enum { MAGPIE_NPY_HEADER = 128 };
/* The bytes that such a file begins with, before its numbers. */
void magpie_npy_header(uint64_t rows, size_t dimension, char out[MAGPIE_NPY_HEADER]);

/* Lines of a file or of standard input, of any length: one longer than `limit` bytes is read past, not
 * stored. */
typedef struct magpie_lines magpie_lines;

typedef struct magpie_line {
    const char
        *data;     /* without its newline, NUL-terminated; valid until the next call; NULL where too_long */
    size_t size;   /* bytes in all, of an over-long line too */
    size_t number; /* from 1 */
    uint64_t end_offset; /* where the next line begins in the file, in bytes */
    bool too_long;
} magpie_line;

/* `path` "-" is standard input. Starts at byte `offset` (0 but for a job that goes on; a pipe takes 0 alone)
 * with `number` lines before it. */
MAGPIE_CHECK_RESULT magpie_status magpie_lines_open(const char *path, size_t limit, uint64_t offset,
                                                    size_t number, magpie_lines **out);
/* Bytes from anywhere: `read` fills up to `most` bytes, *got 0 at the end and nowhere else. */
typedef struct magpie_stream {
    magpie_status (*read)(void *context, void *to, size_t most, size_t *got);
    void *context;
} magpie_stream;

/* The same of a stream, which is to outlive the lines; end_offset counts its bytes. `name` is for messages. */
MAGPIE_CHECK_RESULT magpie_status magpie_lines_open_stream(const magpie_stream *stream, const char *name,
                                                           size_t limit, magpie_lines **out);
/* MAGPIE_OK with *got false at the end. The last line needs no newline. */
MAGPIE_CHECK_RESULT magpie_status magpie_lines_next(magpie_lines *lines, magpie_line *line, bool *got);
uint64_t magpie_lines_total_bytes(const magpie_lines *lines); /* of the file; 0 for a pipe */
void magpie_lines_close(magpie_lines *lines);

/* ---- bytes in JSON ----
 *
 * RFC 4648's base64, and data: URLs of it (RFC 2397). Strict: the standard alphabet, "=" where it belongs,
 * no white space, no bits left over. So there is one text for some bytes, and what was cut or mangled on
 * its way is refused and not decoded to something else. */

/* Appends the base64 of these bytes. */
void magpie_base64_encode(magpie_text *out, const void *bytes, size_t size);
/* Room that decoding needs: that many bytes at most come out of `characters`. */
size_t magpie_base64_room(size_t characters);
/* `text` is base64 or a data: URL of it ("data:image/png;base64,..."; what it says of its type is not read:
 * media are told apart by their bytes). out [magpie_base64_room(text.size)], the caller's. MAGPIE_E_INPUT
 * says where. */
MAGPIE_CHECK_RESULT magpie_status magpie_base64_decode(magpie_string text, unsigned char *out, size_t *size);

/* ---- threads ---- */

/* How many CPUs this process may use (affinity and cgroup quota taken in), 1 at least. */
unsigned magpie_cpu_count(void);

/* A fixed set of threads that share out the tasks 0 .. count-1 of one call at a time. */
typedef struct magpie_pool magpie_pool;

/* One task. `worker` is 0 .. threads-1 and is nobody else's during the call: it picks the per-thread scratch.
 */
typedef magpie_status (*magpie_task)(void *context, size_t task, unsigned worker);

/* `threads` 0 means magpie_cpu_count(). The caller of magpie_pool_run is one of them (worker 0), so 1 starts
 * none. */
MAGPIE_CHECK_RESULT magpie_status magpie_pool_create(unsigned threads, magpie_pool **out);
unsigned magpie_pool_threads(const magpie_pool *pool);
/* Its threads look for more work for some forty microseconds before they sleep: for runs of less than a
 * millisecond that follow each other, where waking up would be a good part of the time. */
void magpie_pool_be_eager(magpie_pool *pool);
/* Returns when all tasks are done. Tasks start in order, and after a failure no new one; of those that failed
 * the lowest one's status and words are returned, on the calling thread, so they are the same for any number
 * of threads. Calls from several threads take turns. Not to be called from inside a task of the same pool. */
MAGPIE_CHECK_RESULT magpie_status magpie_pool_run(magpie_pool *pool, size_t count, magpie_task task,
                                                  void *context);
void magpie_pool_free(magpie_pool *pool);

/* A thread that works on what another has made, one block behind it. */
typedef struct magpie_handover magpie_handover;

/* Works on one block, on the thread of the handover. */
typedef magpie_status (*magpie_handover_task)(void *context, void *block);

MAGPIE_CHECK_RESULT magpie_status magpie_handover_start(magpie_handover_task task, void *context,
                                                        magpie_handover **out);
/* Gives a block away. Waits until the one before it is finished: that one is the caller's again, so two
 * blocks are enough. Returns what went wrong with any block before, in words. */
MAGPIE_CHECK_RESULT magpie_status magpie_handover_give(magpie_handover *handover, void *block);
/* Whether nothing is being worked on: what was given is the caller's again. */
bool magpie_handover_idle(magpie_handover *handover);
/* Waits until that is so. Returns the same as _give. */
MAGPIE_CHECK_RESULT magpie_status magpie_handover_wait(magpie_handover *handover);
/* Waits until all is finished, ends the thread, frees it. NULL is fine. */
MAGPIE_CHECK_RESULT magpie_status magpie_handover_end(magpie_handover *handover);

/* ---- chance ---- */

/* The next number of a seeded sequence: splitmix64 (Steele et al. 2014). */
static inline uint64_t magpie_random(uint64_t *state) {
    uint64_t z = (*state += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

/* A seed for what is numbered `b` of what is seeded by `a`. */
static inline uint64_t magpie_seed(uint64_t a, uint64_t b) {
    uint64_t state = magpie_random(&a) ^ b;
    return magpie_random(&state);
}

/* ---- log ---- */

typedef enum magpie_log_level { MAGPIE_LOG_DEBUG, MAGPIE_LOG_INFO, MAGPIE_LOG_WARNING } magpie_log_level;

/* `message` has no newline. May be called from any thread, from several at once. */
typedef void (*magpie_log_function)(void *context, magpie_log_level level, const char *message);

/* Sets where log messages at or above `least` go, for the process; NULL (the default) drops them. To be
 * called before threads are started. */
void magpie_log_to(magpie_log_function function, void *context, magpie_log_level least);
void magpie_log(magpie_log_level level, const char *format, ...) MAGPIE_PRINTF(2, 3);

/* ---- time ---- */

double magpie_seconds(void);      /* monotonic, of unknown origin: for differences */
int64_t magpie_unix_millis(void); /* wall clock, milliseconds since 1970 UTC */

#ifdef __cplusplus
}
#endif
#endif
