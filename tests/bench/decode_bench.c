/* decode_bench.c - JPEG to the input of a network, on one thread: decode alone, with resize and crop, to
 * floats. Usage: decode_bench FOLDER [REPS]; one JSON line a figure, the median of REPS (5) rounds over
 * all of the folder's .jpg files, which are read before the clock starts; by the clock on the wall and by
 * the thread's own, since machines are shared. Beside it: ../shared/bench/decode_bench.py, the peers at
 * the same task. */
#include "image_resize.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SIDE = 224, SHORTEST = 256, FILES_MAX = 4096, REPS_MAX = 99 };

typedef enum depth { DECODE, RESIZE, NORMALISE } depth;

typedef struct setup {
    image_decoder *decoder;
    image_resizer *resizer;
    magpie_string files[FILES_MAX];
    size_t count;
    uint8_t square[SIDE * SIDE * 3];
    float tensor[3 * SIDE * SIDE], table[3][256];
} setup;

static void die(void) {
    fprintf(stderr, "decode_bench: %s\n", magpie_error());
    exit(1);
}

static void read_folder(const char *path, setup *s) {
    DIR *folder = opendir(path);
    if (!folder) {
        fprintf(stderr, "decode_bench: cannot open %s\n", path);
        exit(1);
    }
    for (struct dirent *entry; s->count < FILES_MAX && (entry = readdir(folder));) {
        size_t length = strlen(entry->d_name), size;
        if (length < 4 || strcmp(entry->d_name + length - 4, ".jpg") != 0) continue;
        char *name = magpie_path_join(path, entry->d_name), *bytes;
        if (!name || magpie_file_read(name, MAGPIE_IMAGE_BYTES_MAX, &bytes, &size) != MAGPIE_OK) die();
        s->files[s->count++] = (magpie_string){bytes, size};
        free(name);
    }
    closedir(folder);
}

/* [side, side, 3] bytes to [3, side, side] floats, (v / 255 - mean) / std by table. */
static void normalise(setup *s) {
    const uint8_t *in = s->square;
    float *r = s->tensor, *g = r + SIDE * SIDE, *b = g + SIDE * SIDE;
    for (size_t i = 0; i < SIDE * SIDE; i++, in += 3) {
        r[i] = s->table[0][in[0]];
        g[i] = s->table[1][in[1]];
        b[i] = s->table[2][in[2]];
    }
}

static void make_table(setup *s) {
    static const float mean[] = {0.485f, 0.456f, 0.406f}, std[] = {0.229f, 0.224f, 0.225f};
    for (int c = 0; c < 3; c++)
        for (int v = 0; v < 256; v++) s->table[c][v] = ((float)v / 255 - mean[c]) / std[c];
}

static double thread_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void round_of(setup *s, depth how_far, size_t shortest, double *rate, double *cpu_rate) {
    static const image_geometry geometry = {SHORTEST, SIDE, IMAGE_BILINEAR};
    double start = magpie_seconds(), cpu_start = thread_seconds();
    for (size_t i = 0; i < s->count; i++) {
        image_pixels picture;
        if (image_decode(s->decoder, s->files[i], shortest, &picture) != MAGPIE_OK) die();
        if (how_far >= RESIZE && image_resize(s->resizer, &picture, &geometry, s->square) != MAGPIE_OK) die();
        if (how_far >= NORMALISE) normalise(s);
    }
    *rate = (double)s->count / (magpie_seconds() - start);
    *cpu_rate = (double)s->count / (thread_seconds() - cpu_start);
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv) {
    static setup s;
    static const char *const names[] = {"decode", "decode+resize+crop", "to float CHW"};
    double rates[REPS_MAX], cpu_rates[REPS_MAX];
    int reps = argc > 2 ? atoi(argv[2]) : 5;
    if (argc < 2 || reps < 1 || reps > REPS_MAX) {
        fprintf(stderr, "usage: decode_bench FOLDER [REPS]\n");
        return 2;
    }
    read_folder(argv[1], &s);
    make_table(&s);
    if (s.count == 0 || image_decoder_create(&s.decoder) != MAGPIE_OK ||
        image_resizer_create(&s.resizer) != MAGPIE_OK)
        die();
    for (size_t shortest = 0; shortest <= SHORTEST; shortest += SHORTEST)
        for (depth how_far = DECODE; how_far <= NORMALISE; how_far++) {
            for (int r = 0; r < reps; r++) round_of(&s, how_far, shortest, &rates[r], &cpu_rates[r]);
            qsort(rates, (size_t)reps, sizeof *rates, ascending);
            qsort(cpu_rates, (size_t)reps, sizeof *cpu_rates, ascending);
            printf("{\"bench\": \"decode\", \"peer\": \"magpie%s\", \"workload\": \"%s\", \"images_per_s\": "
                   "%.1f, "
                   "\"images_per_cpu_s\": %.1f, \"threads\": 1, \"files\": %zu}\n",
                   shortest ? "-scaled" : "", names[how_far], rates[reps / 2], cpu_rates[reps / 2], s.count);
        }
    for (size_t i = 0; i < s.count; i++) free((void *)(uintptr_t)s.files[i].data);
    image_resizer_free(s.resizer);
    image_decoder_free(s.decoder);
    return 0;
}
