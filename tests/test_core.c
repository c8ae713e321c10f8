/* test_core.c - the ground that the rest stands on, mostly by properties: random input against the simplest
 * oracle. */
#include "core.h"

#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { PATH_BYTES = 4096 };

static char folder[PATH_BYTES];
static char path[PATH_BYTES]; /* of the one file in it */

static int make_folder(void **state) {
    (void)state;
    const char *parent = getenv("TMPDIR");
    snprintf(folder, sizeof folder - sizeof "/file", "%s/magpie-core-XXXXXX", parent ? parent : "/tmp");
    if (!mkdtemp(folder)) return -1;
    return stpcpy(stpcpy(path, folder), "/file") ? 0 : -1;
}

static int remove_folder(void **state) {
    (void)state;
    unlink(path);
    return rmdir(folder);
}

static void write_file(const char *data, size_t size) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static void expect_file(const char *text) {
    char *data;
    size_t size;
    assert_int_equal(magpie_file_read(path, 1000, &data, &size), MAGPIE_OK);
    assert_int_equal(size, strlen(text));
    assert_string_equal(data, text);
    free(data);
}

/* splitmix64: the same numbers on every machine. */
static uint64_t next_random(uint64_t *seed) {
    uint64_t z = *seed += 0x9E3779B97F4A7C15;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
    z = (z ^ z >> 27) * 0x94D049BB133111EB;
    return z ^ z >> 31;
}

static size_t below(uint64_t *seed, size_t n) { return (size_t)(next_random(seed) % n); }

/* ---- status ---- */

static void test_messages(void **state) {
    (void)state;
    char large[3000];
    memset(large, 'x', sizeof large - 1);
    large[sizeof large - 1] = 0;
    assert_int_equal(magpie_fail(MAGPIE_E_INPUT, "%s:%d", "file", 7), MAGPIE_E_INPUT);
    assert_string_equal(magpie_error(), "file:7");
    assert_int_equal(magpie_fail(MAGPIE_E_CORRUPT, "catalogue: %s", magpie_error()), MAGPIE_E_CORRUPT);
    assert_string_equal(magpie_error(), "catalogue: file:7");
    assert_int_equal(magpie_fail(MAGPIE_E_IO, "%s", large), MAGPIE_E_IO);
    assert_int_equal(strlen(magpie_error()), 1023);
    assert_int_equal(magpie_fail_errno(ENOENT, "cannot open %s", "x"), MAGPIE_E_NOT_FOUND);
    assert_string_equal(magpie_error(), "cannot open x: No such file or directory");
    assert_int_equal(magpie_fail_errno(ENOSPC, "x"), MAGPIE_E_NO_SPACE);
    assert_int_equal(magpie_fail_errno(ENOMEM, "x"), MAGPIE_E_NO_MEMORY);
    assert_int_equal(magpie_fail_errno(EACCES, "x"), MAGPIE_E_IO);
    for (int status = MAGPIE_OK; status <= MAGPIE_E_INTERNAL; status++)
        assert_string_not_equal(magpie_status_name((magpie_status)status), "unknown status");
    assert_string_equal(magpie_status_name((magpie_status)999), "unknown status");
}

static void *fail_elsewhere(void *argument) {
    (void)magpie_fail(MAGPIE_E_IO, "elsewhere");
    return argument;
}

static void test_messages_are_per_thread(void **state) {
    (void)state;
    pthread_t thread;
    (void)magpie_fail(MAGPIE_E_IO, "here");
    assert_int_equal(pthread_create(&thread, NULL, fail_elsewhere, NULL), 0);
    pthread_join(thread, NULL);
    assert_string_equal(magpie_error(), "here");
}

/* ---- memory ---- */

static void test_sizes(void **state) {
    (void)state;
    static const size_t values[] = {0,
                                    1,
                                    2,
                                    63,
                                    64,
                                    (size_t)1 << 31,
                                    ((size_t)1 << 32) - 1,
                                    (size_t)1 << 32,
                                    SIZE_MAX / 2,
                                    SIZE_MAX / 2 + 1,
                                    SIZE_MAX - 1,
                                    SIZE_MAX};
    enum { N = sizeof values / sizeof *values };
    for (size_t i = 0; i < N * N; i++) {
        size_t a = values[i % N], b = values[i / N], out = 77;
        bool fits = a == 0 || b <= SIZE_MAX / a;
        assert_int_equal(magpie_size_mul(a, b, &out), fits);
        assert_true(out == (fits ? a * b : 77));
        out = 77;
        fits = b <= SIZE_MAX - a;
        assert_int_equal(magpie_size_add(a, b, &out), fits);
        assert_true(out == (fits ? a + b : 77));
    }
}

static void test_alloc(void **state) {
    (void)state;
    for (size_t size = 0; size < 300; size += 7) {
        unsigned char *memory = magpie_alloc(size, 3);
        assert_non_null(memory);
        assert_true((uintptr_t)memory % 64 == 0);
        for (size_t i = 0; i < size * 3; i++) assert_int_equal(memory[i], 0);
        free(memory);
    }
    assert_null(magpie_alloc(SIZE_MAX / 2, 3));
    assert_null(magpie_alloc(SIZE_MAX - 1, 1));
    assert_true(strlen(magpie_error()) > 0);
}

static void test_grow(void **state) {
    (void)state;
    int *array = NULL;
    size_t capacity = 0;
    for (int i = 0; i < 10000; i++) {
        assert_int_equal(magpie_grow((void **)&array, &capacity, (size_t)i + 1, sizeof *array), MAGPIE_OK);
        assert_true(capacity > (size_t)i);
        array[i] = i;
    }
    for (int i = 0; i < 10000; i++) assert_int_equal(array[i], i);
    int *before = array;
    size_t capacity_before = capacity;
    assert_int_equal(magpie_grow((void **)&array, &capacity, SIZE_MAX / 2, sizeof *array),
                     MAGPIE_E_NO_MEMORY);
    assert_ptr_equal(array, before);
    assert_true(capacity == capacity_before);
    free(array);
}

struct pieces {
    unsigned char *piece[20];
    size_t size[20];
};

static void layout(struct pieces *p, magpie_block *block) {
    for (size_t i = 0; i < 20; i++) p->piece[i] = magpie_carve(block, p->size[i], 1);
}

/* Pieces are aligned, zero, inside of the block and apart. */
static void test_block(void **state) {
    (void)state;
    uint64_t seed = 1;
    for (int round = 0; round < 200; round++) {
        struct pieces p;
        magpie_block block = {0};
        for (size_t i = 0; i < 20; i++) p.size[i] = below(&seed, 200);
        layout(&p, &block);
        for (size_t i = 0; i < 20; i++) assert_null(p.piece[i]);
        assert_int_equal(magpie_block_alloc(&block), MAGPIE_OK);
        layout(&p, &block);
        for (size_t i = 0; i < 20; i++) {
            assert_true((uintptr_t)p.piece[i] % 64 == 0);
            assert_true(p.piece[i] >= block.base && p.piece[i] + p.size[i] <= block.base + block.size);
            for (size_t j = 0; j < p.size[i]; j++)
                assert_int_equal(p.piece[i][j]++, 0); /* no one else's byte */
        }
        magpie_block_free(&block);
        assert_null(block.base);
    }
    magpie_block large = {0};
    (void)magpie_carve(&large, SIZE_MAX / 2, 1);
    (void)magpie_carve(&large, SIZE_MAX / 2, 1);
    (void)magpie_carve(&large, SIZE_MAX / 2, 1);
    (void)magpie_carve(&large, 1, 1); /* an overflow is not forgotten */
    assert_int_equal(magpie_block_alloc(&large), MAGPIE_E_NO_MEMORY);
}

static void test_text(void **state) {
    (void)state;
    magpie_text text = {0};
    magpie_text_append(&text, NULL, 0);
    magpie_text_append(&text, "a\0b", 3);
    magpie_text_printf(&text, "%05d%s", 42, "");
    assert_int_equal(text.size, 8);
    assert_memory_equal(text.data, "a\0b00042", 9);
    for (int i = 0; i < 1000; i++) magpie_text_printf(&text, "%d,", i);
    assert_int_equal(text.size, 8 + 10 * 2 + 90 * 3 + 900 * 4);
    assert_int_equal(text.data[text.size], 0);
    magpie_text_clear(&text);
    assert_string_equal(text.data, "");
    assert_int_equal(magpie_text_status(&text), MAGPIE_OK);
    magpie_text_append(&text, "x", SIZE_MAX); /* refused before it is read */
    magpie_text_append(&text, "y", 1);
    assert_int_equal(text.size, 0);
    assert_int_equal(magpie_text_status(&text), MAGPIE_E_NO_MEMORY);
    magpie_text_free(&text);
    assert_null(text.data);
}

static size_t put_utf8(uint32_t c, char *out) {
    if (c < 0x80) return out[0] = (char)c, 1;
    if (c < 0x800) return out[0] = (char)(0xC0 | c >> 6), out[1] = (char)(0x80 | (c & 63)), 2;
    if (c < 0x10000)
        return out[0] = (char)(0xE0 | c >> 12), out[1] = (char)(0x80 | (c >> 6 & 63)),
               out[2] = (char)(0x80 | (c & 63)), 3;
    out[0] = (char)(0xF0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 63));
    out[2] = (char)(0x80 | (c >> 6 & 63));
    return out[3] = (char)(0x80 | (c & 63)), 4;
}

static size_t random_utf8(uint64_t *seed, char *out) {
    static const uint32_t ends[] = {0x20, 0x80, 0x800, 0x10000, 0x110000, '"' + 1, '\\' + 1};
    size_t n = below(seed, 30), size = 0;
    while (n--) {
        uint32_t end = ends[below(seed, 7)], c = end - 1 - (uint32_t)below(seed, end < 0x60 ? 2 : end);
        if (c >= 0xD800 && c < 0xE000) c = '\n';
        size += put_utf8(c, out + size);
    }
    return size;
}

/* What is escaped parses back to the same bytes. */
static void test_json_string(void **state) {
    (void)state;
    uint64_t seed = 2;
    for (int round = 0; round < 20000; round++) {
        char bytes[120];
        size_t size = round < 128 ? (bytes[0] = (char)round, 1) : random_utf8(&seed, bytes);
        magpie_text text = {0};
        magpie_text_json_string(&text, bytes, size);
        assert_int_equal(magpie_text_status(&text), MAGPIE_OK);
        json_t *json = json_loadb(text.data, text.size, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        assert_true(json_is_string(json));
        assert_int_equal(json_string_length(json), size);
        assert_memory_equal(json_string_value(json), bytes, size);
        json_decref(json);
        magpie_text_free(&text);
    }
}

/* Bytes that are no UTF-8 become U+FFFD, and what stands around them stays; so it is JSON whatever they are. */
static void test_json_string_of_anything(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"a\xff"
         "b",
         "\"a\xEF\xBF\xBD"
         "b\""},
        {"\xC3", "\"\xEF\xBF\xBD\""},
        {"\xC0\xAF", "\"\xEF\xBF\xBD\xEF\xBF\xBD\""},
        {"\xE6\xBC\xA2\xE6\xBC", "\"\xE6\xBC\xA2\xEF\xBF\xBD\xEF\xBF\xBD\""}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        magpie_text text = {0};
        magpie_text_json_string(&text, cases[i][0], strlen(cases[i][0]));
        assert_string_equal(text.data, cases[i][1]);
        magpie_text_free(&text);
    }
    uint64_t seed = 3;
    for (int round = 0; round < 20000; round++) {
        char bytes[24];
        for (size_t i = 0; i < sizeof bytes; i++)
            bytes[i] = (char)(magpie_random(&seed) | (round % 2 ? 0xC0 : 0));
        magpie_text text = {0};
        magpie_text_json_string(&text, bytes, sizeof bytes);
        json_t *json = json_loadb(text.data, text.size, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        assert_true(json_is_string(json));
        json_decref(json);
        magpie_text_free(&text);
    }
}

/* ---- files ---- */

static void test_files(void **state) {
    (void)state;
    char *data, *joined = magpie_path_join(folder, "file");
    size_t size;
    magpie_map map;
    assert_string_equal(joined, path);
    free(joined);
    assert_false(magpie_path_exists(path));
    assert_int_equal(magpie_map_open(path, &map), MAGPIE_E_NOT_FOUND);
    assert_int_equal(magpie_file_read(path, 10, &data, &size), MAGPIE_E_NOT_FOUND);
    assert_int_equal(magpie_map_open(folder, &map), MAGPIE_E_INPUT);
    write_file("0123456789", 10);
    assert_true(magpie_path_exists(path));
    expect_file("0123456789");
    assert_int_equal(magpie_file_read(path, 9, &data, &size), MAGPIE_E_TOO_LARGE);
    assert_non_null(strstr(magpie_error(), path));
    assert_int_equal(magpie_map_open(path, &map), MAGPIE_OK);
    assert_int_equal(map.size, 10);
    assert_memory_equal(map.data, "0123456789", 10);
    magpie_map_close(&map);
    write_file("", 0);
    expect_file("");
    assert_int_equal(magpie_map_open(path, &map), MAGPIE_OK);
    assert_null(map.data);
    magpie_map_close(&map);
}

/* Whatever is done to the new file, a reader of `path` sees the old one until the commit, and no temporary
 * stays. */
static void test_atomic_file(void **state) {
    (void)state;
    magpie_atomic_file *file;
    write_file("old", 3);
    assert_int_equal(magpie_atomic_open(path, &file), MAGPIE_OK);
    char *temporary = strdup(magpie_atomic_path(file));
    fputs("lost", magpie_atomic_stream(file));
    expect_file("old");
    magpie_atomic_abort(file);
    expect_file("old");
    assert_false(magpie_path_exists(temporary));
    assert_int_equal(magpie_atomic_open(path, &file), MAGPIE_OK);
    fputs("new", magpie_atomic_stream(file));
    expect_file("old");
    assert_int_equal(magpie_atomic_commit(file), MAGPIE_OK);
    expect_file("new");
    assert_false(magpie_path_exists(temporary));
    free(temporary);
    assert_int_equal(magpie_atomic_open("/dev/null", &file), MAGPIE_E_ARGUMENT);
    assert_int_equal(magpie_atomic_open("/nowhere/at/all", &file), MAGPIE_E_NOT_FOUND);
    magpie_atomic_abort(NULL);
}

/* A folder cannot be replaced by a file, nor one that has come meanwhile: the failure says so and leaves nothing
 * behind. */
static void test_atomic_file_fails(void **state) {
    (void)state;
    magpie_atomic_file *file;
    assert_int_equal(magpie_atomic_open(path, &file), MAGPIE_OK);
    char *temporary = strdup(magpie_atomic_path(file));
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_not_equal(magpie_atomic_commit(file), MAGPIE_OK);
    assert_non_null(strstr(magpie_error(), path));
    assert_false(magpie_path_exists(temporary));
    free(temporary);
    assert_int_equal(magpie_atomic_open(path, &file), MAGPIE_E_ARGUMENT);
    assert_int_equal(rmdir(path), 0);
}

/* ---- lines ---- */

/* Reads `lines` to its end against a plain split of data[offset .. size). */
static void check_lines(magpie_lines *lines, const char *data, size_t size, size_t limit, size_t offset,
                        size_t number) {
    magpie_line line;
    bool got;
    while (offset < size) {
        const char *newline = memchr(data + offset, '\n', size - offset);
        size_t length = newline ? (size_t)(newline - data) - offset : size - offset;
        assert_int_equal(magpie_lines_next(lines, &line, &got), MAGPIE_OK);
        assert_true(got);
        assert_int_equal(line.size, length);
        assert_int_equal(line.number, ++number);
        assert_int_equal(line.too_long, length > limit);
        if (length > limit)
            assert_null(line.data);
        else
            assert_true(memcmp(line.data, data + offset, length) == 0 && line.data[length] == 0);
        offset += length + (newline != NULL);
        assert_int_equal(line.end_offset, offset);
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(magpie_lines_next(lines, &line, &got), MAGPIE_OK);
        assert_false(got);
    }
    magpie_lines_close(lines);
}

/* Lines of nothing, of some bytes, and of more than a read; NULs among them; a last newline or none. */
static char *random_content(uint64_t *seed, size_t *size) {
    size_t mean = (size_t)1 << below(seed, 20);
    *size = below(seed, 4) ? below(seed, 3000) : below(seed, 1000000);
    char *data = malloc(*size + 1);
    assert_non_null(data);
    for (size_t i = 0; i < *size; i++) data[i] = below(seed, mean) ? (char)below(seed, 256) : '\n';
    if (*size && below(seed, 2)) data[*size - 1] = '\n';
    return data;
}

static void test_lines_of_files(void **state) {
    (void)state;
    uint64_t seed = 3;
    for (int round = 0; round < 150; round++) {
        size_t size, limit = below(&seed, (size_t)1 << below(&seed, 20));
        char *data = random_content(&seed, &size);
        magpie_lines *lines;
        write_file(data, size);
        assert_int_equal(magpie_lines_open(path, limit, 0, 0, &lines), MAGPIE_OK);
        assert_int_equal(magpie_lines_total_bytes(lines), size);
        check_lines(lines, data, size, limit, 0, 0);
        const char *middle = size ? memchr(data + size / 2, '\n', size - size / 2) : NULL;
        if (middle) { /* a job that goes on where it was stopped */
            size_t offset = (size_t)(middle - data) + 1;
            assert_int_equal(magpie_lines_open(path, limit, offset, 41, &lines), MAGPIE_OK);
            check_lines(lines, data, size, limit, offset, 41);
        }
        free(data);
    }
}

struct writer {
    int fd;
    const char *data;
    size_t size;
    uint64_t seed;
};

static void *write_in_pieces(void *argument) {
    struct writer *w = argument;
    while (w->size) {
        size_t piece = 1 + below(&w->seed, 60000);
        ssize_t n = write(w->fd, w->data, piece < w->size ? piece : w->size);
        if (n < 0) break;
        w->data += n;
        w->size -= (size_t)n;
    }
    close(w->fd);
    return NULL;
}

static void test_lines_of_a_pipe(void **state) {
    (void)state;
    uint64_t seed = 4;
    int standard_input = dup(STDIN_FILENO);
    for (int round = 0; round < 50; round++) {
        size_t size, limit = below(&seed, (size_t)1 << below(&seed, 20));
        char *data = random_content(&seed, &size);
        int ends[2];
        pthread_t thread;
        magpie_lines *lines;
        assert_int_equal(pipe(ends), 0);
        dup2(ends[0], STDIN_FILENO);
        close(ends[0]);
        struct writer writer = {ends[1], data, size, seed};
        assert_int_not_equal(magpie_lines_open("-", limit, 1, 0, &lines),
                             MAGPIE_OK); /* there is no way to byte 1 */
        assert_int_equal(pthread_create(&thread, NULL, write_in_pieces, &writer), 0);
        assert_int_equal(magpie_lines_open("-", limit, 0, 0, &lines), MAGPIE_OK);
        assert_int_equal(magpie_lines_total_bytes(lines), 0);
        check_lines(lines, data, size, limit, 0, 0);
        pthread_join(thread, NULL);
        free(data);
    }
    dup2(standard_input, STDIN_FILENO);
    close(standard_input);
}

static void test_lines_that_cannot_be(void **state) {
    (void)state;
    magpie_lines *lines;
    assert_int_equal(magpie_lines_open(path, 10, 0, 0, &lines), MAGPIE_E_NOT_FOUND);
    assert_non_null(strstr(magpie_error(), path));
    assert_int_equal(magpie_lines_open(folder, 10, 0, 0, &lines), MAGPIE_E_INPUT);
    magpie_lines_close(NULL);
}

/* ---- threads ---- */

enum { TASKS = 5000, WORKERS = 8 };

struct work {
    unsigned char done[TASKS]; /* how often; a task's own byte, so a second run of it would be seen */
    int inside[WORKERS];       /* a worker's own: more than 1 would be two tasks on one scratch */
    size_t
        fail_at; /* this task and all behind it do; it takes longer than they, and is the one that is told */
    unsigned threads;
};

static magpie_status count_task(void *context, size_t task, unsigned worker) {
    struct work *work = context;
    if (worker >= work->threads) return magpie_fail(MAGPIE_E_INTERNAL, "worker %u", worker);
    if (work->inside[worker]++) return magpie_fail(MAGPIE_E_INTERNAL, "worker %u is in two tasks", worker);
    work->done[task]++;
    work->inside[worker]--;
    for (int i = 0; task == work->fail_at && i < 3; i++) sched_yield();
    return task < work->fail_at ? MAGPIE_OK : magpie_fail(MAGPIE_E_INPUT, "task %zu is bad", task);
}

static void check_run(magpie_pool *pool, size_t count, size_t fail_at) {
    struct work work = {.fail_at = fail_at, .threads = magpie_pool_threads(pool)};
    char words[64];
    magpie_status status = magpie_pool_run(pool, count, count_task, &work);
    for (size_t i = 0; i < TASKS; i++)
        if (fail_at >= count ? work.done[i] != (i < count) : work.done[i] > 1)
            fail_msg("task %zu ran %d times", i, work.done[i]);
    assert_int_equal(status, fail_at < count ? MAGPIE_E_INPUT : MAGPIE_OK);
    snprintf(words, sizeof words, "task %zu is bad", fail_at);
    if (fail_at < count) assert_string_equal(magpie_error(), words);
}

static void test_pool(void **state) {
    (void)state;
    for (unsigned i = 0; i < 2 * WORKERS; i++) {
        magpie_pool *pool;
        unsigned threads = 1 + i / 2;
        assert_int_equal(magpie_pool_create(threads, &pool), MAGPIE_OK);
        assert_int_equal(magpie_pool_threads(pool), threads);
        if (i % 2) magpie_pool_be_eager(pool);
        static const size_t counts[] = {0, 1, 2, 7, TASKS};
        for (size_t run = 0; run < 5 * 4; run++) check_run(pool, counts[run % 5], SIZE_MAX);
        for (size_t fail_at = 0; fail_at < TASKS; fail_at = fail_at * 3 + 1) {
            check_run(pool, TASKS, fail_at);
            check_run(pool, 7, SIZE_MAX); /* a failure is of one call */
        }
        magpie_pool_free(pool);
    }
    magpie_pool_free(NULL);
}

/* After a failure no task starts but those that others had taken already. */
static void test_pool_stops(void **state) {
    (void)state;
    magpie_pool *pool;
    assert_int_equal(magpie_pool_create(1, &pool), MAGPIE_OK);
    struct work work = {.fail_at = 10, .threads = 1};
    assert_int_equal(magpie_pool_run(pool, TASKS, count_task, &work), MAGPIE_E_INPUT);
    for (size_t i = 0; i < TASKS; i++) assert_int_equal(work.done[i], i <= 10);
    magpie_pool_free(pool);
}

static magpie_status nest_task(void *context, size_t task, unsigned worker) {
    (void)worker;
    magpie_pool *inner = context;
    struct work work = {.fail_at = 3, .threads = magpie_pool_threads(inner)};
    magpie_status status = magpie_pool_run(inner, 5, count_task, &work);
    return status == MAGPIE_OK ? status : magpie_fail(status, "outer %zu: %s", task, magpie_error());
}

/* A task may run another pool, from several threads at once; its words come out with the outer's in front. */
static void test_nested_failure(void **state) {
    (void)state;
    magpie_pool *outer, *inner;
    assert_int_equal(magpie_pool_create(3, &outer), MAGPIE_OK);
    assert_int_equal(magpie_pool_create(2, &inner), MAGPIE_OK);
    for (int i = 0; i < 50; i++) {
        assert_int_equal(magpie_pool_run(outer, 6, nest_task, inner), MAGPIE_E_INPUT);
        assert_memory_equal(magpie_error(), "outer ", 6);
        assert_non_null(strstr(magpie_error(), ": task 3 is bad"));
    }
    magpie_pool_free(outer);
    magpie_pool_free(inner);
}

/* NULL where a task did not run exactly once: assertions are for the main thread. */
static void *run_pool(void *argument) {
    for (int round = 0; round < 20; round++) {
        struct work work = {.fail_at = SIZE_MAX, .threads = magpie_pool_threads(argument)};
        if (magpie_pool_run(argument, 500, count_task, &work) != MAGPIE_OK) return NULL;
        for (size_t i = 0; i < TASKS; i++)
            if (work.done[i] != (i < 500)) return NULL;
    }
    return argument;
}

static void test_pool_takes_turns(void **state) {
    (void)state;
    for (int eager = 0; eager < 2; eager++) {
        magpie_pool *pool;
        pthread_t threads[4];
        assert_int_equal(magpie_pool_create(3, &pool), MAGPIE_OK);
        if (eager) magpie_pool_be_eager(pool);
        for (size_t i = 0; i < 4; i++) assert_int_equal(pthread_create(&threads[i], NULL, run_pool, pool), 0);
        for (size_t i = 0; i < 4; i++) {
            void *ok;
            pthread_join(threads[i], &ok);
            assert_ptr_equal(ok, pool);
        }
        magpie_pool_free(pool);
    }
}

static void test_thread_counts(void **state) {
    (void)state;
    magpie_pool *pool;
    assert_true(magpie_cpu_count() >= 1);
    assert_int_equal(magpie_pool_create(0, &pool), MAGPIE_OK);
    assert_int_equal(magpie_pool_threads(pool), magpie_cpu_count());
    magpie_pool_free(pool);
}

/* ---- log and time ---- */

static void keep_message(void *context, magpie_log_level level, const char *message) {
    snprintf(context, 64, "%d %s", (int)level, message);
}

static void test_log(void **state) {
    (void)state;
    char kept[64] = "";
    magpie_log(MAGPIE_LOG_WARNING, "to nobody");
    magpie_log_to(keep_message, kept, MAGPIE_LOG_INFO);
    magpie_log(MAGPIE_LOG_DEBUG, "too little");
    assert_string_equal(kept, "");
    magpie_log(MAGPIE_LOG_WARNING, "%d of %d", 1, 2);
    assert_string_equal(kept, "2 1 of 2");
    magpie_log_to(NULL, NULL, MAGPIE_LOG_DEBUG);
    magpie_log(MAGPIE_LOG_WARNING, "to nobody again");
    assert_string_equal(kept, "2 1 of 2");
}

static void test_time(void **state) {
    (void)state;
    double before = magpie_seconds();
    usleep(2000);
    double passed = magpie_seconds() - before;
    assert_true(passed >= 0.002 && passed < 10);
    assert_true(magpie_unix_millis() > 1500000000000);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_messages_are_per_thread),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_alloc),
        cmocka_unit_test(test_grow),
        cmocka_unit_test(test_block),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_json_string),
        cmocka_unit_test(test_json_string_of_anything),
        IN_FOLDER(test_files),
        IN_FOLDER(test_atomic_file),
        IN_FOLDER(test_atomic_file_fails),
        IN_FOLDER(test_lines_of_files),
        IN_FOLDER(test_lines_of_a_pipe),
        IN_FOLDER(test_lines_that_cannot_be),
        cmocka_unit_test(test_pool),
        cmocka_unit_test(test_pool_stops),
        cmocka_unit_test(test_nested_failure),
        cmocka_unit_test(test_pool_takes_turns),
        cmocka_unit_test(test_thread_counts),
        cmocka_unit_test(test_log),
        cmocka_unit_test(test_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
