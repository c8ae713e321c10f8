/* test_store_crash.c - kill -9 at any moment: what was acknowledged is there, nothing is there in part, and
 * store and index agree.
 *
 * A child commits one batch after another and tells each through a pipe once its commit has returned. Batch j
 * writes its number as the checkpoint, and makes the state that state_after(j) describes. The parent waits
 * for some of them, then for a random part of a millisecond, then kills. */
#include "test_index.h"

#include <signal.h>
#include <sys/wait.h>

enum { KILLS = 25, SLOTS = 40, D = 64, ACKNOWLEDGED_MAX = 6 };

static const magpie_index_options one_thread = {.threads = 1}; /* OpenMP's threads do not survive a fork */

/* Slot i is written by batch j where j % SLOTS == i, and deleted by batch j where (j + 15) % SLOTS == i. So
 * it is there after batch `last` if it was written after it was deleted: the number of the batch that did, or
 * -1. */
static int64_t written_by(int64_t last, int64_t slot) {
    int64_t written = last - (last - slot + SLOTS) % SLOTS,
            deleted = last - (last + 15 - slot + SLOTS) % SLOTS;
    return written >= 0 && written > deleted ? written : -1;
}

static void vector_of(int64_t j, float *out) {
    random_state r = {(uint64_t)j};
    random_vector(&r, D, out);
}

static void commit_batch(magpie_store *store, magpie_batch *batch, int64_t j) {
    char id[32], attributes[64], number[32];
    float vector[D];
    magpie_batch_clear(batch);
    vector_of(j, vector);
    snprintf(id, sizeof id, "slot %d", (int)(j % SLOTS));
    snprintf(attributes, sizeof attributes, "{\"j\": %d, \"parity\": \"%s\"}", (int)j,
             j % 2 ? "odd" : "even");
    put_item(batch, id, attributes, vector, D);
    snprintf(id, sizeof id, "slot %d", (int)((j + 15) % SLOTS));
    assert_ok(magpie_batch_delete(batch, string_of(id)));
    snprintf(number, sizeof number, "%d", (int)j);
    assert_ok(magpie_batch_checkpoint(batch, "job", string_of(number)));
    assert_ok(magpie_store_commit(store, batch, NULL));
}

static int64_t last_committed(magpie_store *store) {
    magpie_snapshot *snapshot;
    magpie_string checkpoint;
    assert_ok(magpie_snapshot_open(store, &snapshot));
    int64_t last = -1;
    if (magpie_snapshot_checkpoint(snapshot, "job", &checkpoint) == MAGPIE_OK) {
        char number[32];
        snprintf(number, sizeof number, "%.*s", (int)checkpoint.size, checkpoint.data);
        last = strtoll(number, NULL, 10);
    }
    magpie_snapshot_close(snapshot);
    return last;
}

/* Never returns: it is killed. */
static void run_child(const char *folder, int pipe_fd) {
    magpie_store *store = open_store(folder);
    magpie_batch *batch;
    magpie_index *index;
    bind_space(store, MAGPIE_SPACE_FUSED, D);
    assert_ok(magpie_batch_create(&batch));
    assert_ok(magpie_index_open(store, MAGPIE_SPACE_FUSED, &one_thread, &index));
    for (int64_t j = last_committed(store) + 1;; j++) {
        commit_batch(store, batch, j);
        if (write(pipe_fd, &j, sizeof j) != sizeof j) _exit(1);
        assert_ok(magpie_index_refresh(index));
        if (j % 3 == 0) assert_ok(magpie_index_save(index));
    }
}

static void assert_state(magpie_store *store, int64_t last) {
    magpie_snapshot *snapshot;
    assert_ok(magpie_snapshot_open(store, &snapshot));
    for (int64_t slot = 0; slot < SLOTS; slot++) {
        char id[32];
        magpie_item item;
        float expected[D];
        const float *vector;
        int64_t j = written_by(last, slot);
        snprintf(id, sizeof id, "slot %d", (int)slot);
        if (j < 0) {
            assert_status(magpie_snapshot_get(snapshot, string_of(id), &item), MAGPIE_E_NOT_FOUND);
            continue;
        }
        vector_of(j, expected);
        assert_ok(magpie_snapshot_get(snapshot, string_of(id), &item));
        assert_ok(magpie_snapshot_vector(snapshot, MAGPIE_SPACE_FUSED, item.row, &vector));
        assert_memory_equal(vector, expected, sizeof expected);
    }
    magpie_snapshot_close(snapshot);
}

static void nothing_acknowledged_is_lost(void **state) {
    (void)state;
    char *folder = make_folder();
    random_state r = {99};
    for (int kill_number = 0; kill_number < KILLS; kill_number++) {
        int fds[2];
        int64_t acknowledged = -1, j;
        assert_int_equal(pipe(fds), 0);
        fflush(NULL);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            close(fds[0]);
            run_child(folder, fds[1]);
        }
        close(fds[1]);
        for (size_t n = 1 + random_below(&r, ACKNOWLEDGED_MAX); n && read(fds[0], &j, sizeof j) == sizeof j;
             n--)
            acknowledged = j;
        double until = magpie_seconds() + random_unit(&r) * 2e-3;
        while (magpie_seconds() < until) continue;
        kill(child, SIGKILL);
        int how;
        assert_int_equal(waitpid(child, &how, 0), child);
        assert_true(WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL);
        while (read(fds[0], &j, sizeof j) == sizeof j) acknowledged = j;
        close(fds[0]);

        magpie_store *store;
        magpie_index *index;
        assert_ok(magpie_store_open(folder, NULL, &store));
        int64_t last = last_committed(store);
        if (last != acknowledged && last != acknowledged + 1)
            fail_msg("batch %d was acknowledged, %d is the last", (int)acknowledged, (int)last);
        assert_state(store, last);
        assert_ok(magpie_index_open(store, MAGPIE_SPACE_FUSED, &one_thread, &index));
        assert_clean(store, index);
        magpie_index_close(index);
        magpie_store_close(store);
    }
    remove_folder(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(nothing_acknowledged_is_lost)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
