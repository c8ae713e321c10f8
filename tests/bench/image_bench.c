/* image_bench.c - throughput of the image encoder, as ../shared/bench/image_bench.py measures its peers: pixels already
 * in memory, one JSON line a batch size. Usage: image_bench MODEL [f32|bf16|int8] [threads] [reps]; MODEL "seeded:NAME"
 * makes the weights of an entry of tests/golden/image_features.json (resnet50, say), since no real ones are at hand; in
 * int8 they are calibrated on the pixels first. */
#include "encoders.h"
#include "seeded_model.h"

#include <sys/wait.h>

static void die(void) {
    fprintf(stderr, "image_bench: %s\n", magpie_error());
    exit(1);
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double images_per_second(magpie_image_encoder *encoder, const uint8_t *pixels, size_t batch,
                                size_t reps, float *out) {
    size_t calls = batch < 32 ? 32 / batch : 1;
    double *seconds = malloc(reps * sizeof *seconds);
    if (!seconds) exit(1);
    for (size_t r = 0; r < reps; r++) {
        double start = magpie_seconds();
        for (size_t i = 0; i < calls; i++)
            if (magpie_image_encoder_encode_pixels(encoder, pixels, batch, out) != MAGPIE_OK) die();
        seconds[r] = magpie_seconds() - start;
    }
    qsort(seconds, reps, sizeof *seconds, by_value);
    double median = seconds[reps / 2];
    free(seconds);
    return (double)(calls * batch) / median;
}

static void random_pixels(uint8_t *pixels, size_t bytes) {
    random_state random = {7};
    for (size_t i = 0; i < bytes; i++) pixels[i] = (uint8_t)random_u64(&random);
}

static void calibrate(const char *model) {
    const magpie_encoder_options options = {.precision = MAGPIE_PRECISION_F32};
    magpie_image_encoder *encoder;
    if (magpie_image_encoder_open(model, &options, &encoder) != MAGPIE_OK) die();
    size_t side = magpie_image_encoder_get_info(encoder)->input_size, bytes = 4 * side * side * 3;
    uint8_t *pixels = malloc(bytes);
    if (!pixels) exit(1);
    random_pixels(pixels, bytes);
    if (magpie_image_encoder_calibrate_pixels(encoder, pixels, 4) != MAGPIE_OK) die();
    free(pixels);
    magpie_image_encoder_close(encoder);
}

static void measure(const char *model, const magpie_encoder_options *options, size_t reps) {
    static const size_t batches[] = {1, 8, 32};
    magpie_image_encoder *encoder;
    double start = magpie_seconds();
    if (magpie_image_encoder_open(model, options, &encoder) != MAGPIE_OK) die();
    double open_seconds = magpie_seconds() - start;
    const magpie_image_encoder_info *info = magpie_image_encoder_get_info(encoder);
    size_t bytes = 32 * info->input_size * info->input_size * 3;
    uint8_t *pixels = malloc(bytes);
    float *out = malloc(32 * info->dimension * sizeof *out);
    if (!pixels || !out) exit(1);
    random_pixels(pixels, bytes);
    for (size_t i = 0; i < sizeof batches / sizeof *batches; i++) {
        (void)images_per_second(encoder, pixels, batches[i], 1, out); /* compiles the primitives */
        printf("{\"bench\": \"image\", \"peer\": \"magpie-%s\", \"workload\": \"%s batch %zu\", \"metric\": "
               "\"images_per_s\", \"value\": %.2f, \"threads\": %u, \"open_s\": %.3f}\n",
               magpie_precision_name(info->precision), info->architecture, batches[i],
               images_per_second(encoder, pixels, batches[i], reps, out), info->threads, open_seconds);
        fflush(stdout);
    }
    free(out);
    free(pixels);
    magpie_image_encoder_close(encoder);
}

/* In a process of its own: threads that it leaves behind would slow down libgomp's barriers in what is measured. */
static void calibrate_apart(const char *model) {
    int status;
    pid_t child = fork();
    if (child == 0) {
        calibrate(model);
        _exit(0);
    }
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0) exit(1);
}

int main(int argc, char **argv) {
    magpie_encoder_options options = {.precision = MAGPIE_PRECISION_AUTO};
    if (argc < 2) {
        fprintf(stderr, "usage: image_bench MODEL|seeded:NAME [f32|bf16|int8] [threads] [reps]\n");
        return 2;
    }
    if (argc > 2 && magpie_precision_parse(argv[2], &options.precision) != MAGPIE_OK) die();
    options.threads = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : 0;
    size_t reps = argc > 4 ? strtoul(argv[4], NULL, 10) : 5;
    if (strncmp(argv[1], "seeded:", 7) != 0) {
        measure(argv[1], &options, reps);
        return 0;
    }
    json_t *entry = seeded_entry(argv[1] + 7);
    char *folder = seeded_model(entry);
    if (options.precision == MAGPIE_PRECISION_INT8) calibrate_apart(folder);
    measure(folder, &options, reps);
    seeded_remove(folder);
    json_decref(entry);
    return 0;
}
