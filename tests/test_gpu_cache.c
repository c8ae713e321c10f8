/* test_gpu_cache.c - a cached program that is damaged is compiled anew and replaced; one that is whole is
 * taken as it is. */
#include "test_gpu.h"

#include <dirent.h>
#include <sys/stat.h>

/* Runs a program's kernel, as a process that starts would. */
static void start(void) {
    enum { ROWS = 3, COLUMNS = 5 };
    gpu *g = test_gpu_open(MAGPIE_PRECISION_F32);
    const gpu_driver *driver = gpu_base_of(g)->driver;
    gpu_arena arena = {.device = g};
    gpu_queue *q;
    gpu_buffer x, rows, y;
    float values[ROWS * COLUMNS], got[2 * COLUMNS];
    const uint32_t wanted[2] = {2, 1};
    for (size_t i = 0; i < ROWS * COLUMNS; i++) values[i] = (float)i;
    assert_ok(driver->queue_create(g, &q));
    assert_ok(gpu_arena_take(&arena, sizeof values, &x));
    assert_ok(gpu_arena_take(&arena, sizeof wanted, &rows));
    assert_ok(gpu_arena_take(&arena, sizeof got, &y));
    assert_ok(driver->write(q, x, 0, values, sizeof values));
    assert_ok(driver->write(q, rows, 0, wanted, sizeof wanted));
    assert_ok(GPU_RUN(q, GPU_gather, 0, 2, 1, 1, gpu_at(x), gpu_at(rows), gpu_at(y), gpu_uint(COLUMNS),
                      gpu_uint(true)));
    assert_ok(driver->read(q, y, 0, got, sizeof got));
    for (size_t i = 0; i < 2; i++)
        assert_memory_equal(got + i * COLUMNS, values + wanted[i] * COLUMNS, COLUMNS * sizeof *got);
    driver->queue_free(q);
    gpu_arena_free(&arena);
    driver->close(g);
}

/* The one file of a folder, to be freed. */
static char *only_file(const char *folder) {
    DIR *entries = opendir(folder);
    char *path = NULL;
    assert_non_null(entries);
    for (struct dirent *e; (e = readdir(entries));) {
        if (e->d_name[0] == '.') continue;
        assert_null(path);
        path = magpie_path_join(folder, e->d_name);
    }
    closedir(entries);
    assert_non_null(path);
    return path;
}

/* Writes over the file, in place; returns its number, which one that replaces it does not have. */
static ino_t put(const char *path, const char *bytes, size_t size) {
    struct stat now;
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(stat(path, &now), 0);
    return now.st_ino;
}

static void check_replaced(const char *path, const char *bytes, size_t size) {
    struct stat once, again;
    const ino_t damaged = put(path, bytes, size);
    start();
    assert_int_equal(stat(path, &once), 0);
    assert_int_not_equal(once.st_ino, damaged);
    start();
    assert_int_equal(stat(path, &again), 0);
    assert_int_equal(again.st_ino, once.st_ino);
}

static void what_is_damaged(void **state) {
    (void)state;
    char folder[] = "/tmp/magpie-cache-XXXXXX", kernels[64], command[64], *whole;
    random_state r = {61};
    size_t size;
    if (tested_gpu() != MAGPIE_BACKEND_OPENCL) skip_loudly("a cache is OpenCL's alone");
    need_gpu();
    assert_non_null(mkdtemp(folder));
    setenv("XDG_CACHE_HOME", folder, 1);
    start();
    snprintf(kernels, sizeof kernels, "%s/magpie/kernels", folder);
    char *path = only_file(kernels);
    assert_ok(magpie_file_read(path, (size_t)1 << 30, &whole, &size));
    const ino_t number = put(path, whole, size);
    struct stat now;
    start();
    assert_int_equal(stat(path, &now), 0);
    assert_int_equal(now.st_ino, number); /* taken as it is */
    const size_t cut[] = {0, 1, 8, 9, size / 2, size - 1, random_below(&r, size)};
    for (size_t i = 0; i < sizeof cut / sizeof *cut; i++) check_replaced(path, whole, cut[i]);
    check_replaced(path, whole, size + 1); /* the NUL behind it */
    for (int i = 0; i < 8; i++) {
        char *at = whole + random_below(&r, i ? size : 8), kept = *at;
        *at ^= (char)(1 << random_below(&r, 8));
        check_replaced(path, whole, size);
        *at = kept;
    }
    free(whole);
    free(path);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    assert_int_equal(system(command), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_is_damaged)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
