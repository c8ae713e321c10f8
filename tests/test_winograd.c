/* test_winograd.c - convolutions by Winograd's algorithm are convolutions, at every size about a tile's and a band's;
 * the same to the bit whatever the threads and the pictures beside; and nothing is written but y. */
#include "support.h"

#include "dnnl_winograd.h"

#include <math.h>

enum { SHAPES = 40, SIDE_MAX = 33, IMAGES_MAX = 3, GUARD = 4096, POISON = 0xff /* NaN */ };

/* Of the size of a sum. Roundings to bf16 come to 0.4%, the largest of 100,000 to 2%; one wrong sign to 25%. */
static const double TOLERANCE = 0.04;

typedef struct problem {
    size_t images, in, out, height, width;
    float *weight, *bias;
    uint16_t *x, *before; /* before: what y was, for a residual */
    bool relu, residual;
} problem;

static float widened(uint16_t h) {
    uint32_t u = (uint32_t)h << 16;
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static uint16_t random_bf16(random_state *r) {
    float f = (float)(random_unit(r) * 2 - 1);
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return (uint16_t)(u >> 16);
}

static size_t one_to(random_state *r, size_t most) { return 1 + random_below(r, most); }

static size_t place(size_t channels, const problem *p, size_t image, size_t c, size_t row, size_t column) {
    return (((image * channels / 16 + c / 16) * p->height + row) * p->width + column) * 16 + c % 16;
}

static size_t elements(const problem *p, size_t channels) {
    return p->images * channels * p->height * p->width;
}

static problem random_problem(random_state *r) {
    problem p = {.images = one_to(r, IMAGES_MAX),
                 .in = 64 + 16 * (one_to(r, 7) - 1),
                 .out = 64 + 16 * (one_to(r, 7) - 1),
                 .height = one_to(r, SIDE_MAX),
                 .width = one_to(r, SIDE_MAX),
                 .relu = random_u64(r) % 2,
                 .residual = random_u64(r) % 2};
    p.weight = malloc(p.out * p.in * 9 * sizeof *p.weight);
    p.bias = malloc(p.out * sizeof *p.bias);
    p.x = malloc(elements(&p, p.in) * sizeof *p.x);
    p.before = malloc(elements(&p, p.out) * sizeof *p.before);
    assert_true(p.weight && p.bias && p.x && p.before);
    for (size_t i = 0; i < p.out * p.in * 9; i++) p.weight[i] = (float)(random_unit(r) * 2 - 1);
    for (size_t i = 0; i < p.out; i++) p.bias[i] = (float)(random_unit(r) * 2 - 1);
    for (size_t i = 0; i < elements(&p, p.in); i++) p.x[i] = random_bf16(r);
    for (size_t i = 0; i < elements(&p, p.out); i++) p.before[i] = random_bf16(r);
    return p;
}

static void free_problem(problem *p) {
    free(p->weight);
    free(p->bias);
    free(p->x);
    free(p->before);
}

/* y [elements], with a guard behind it; of `images` from `first` on. To be freed. */
static uint16_t *convolve(const problem *p, onednn_device *device, const winograd_weights *weights,
                          unsigned threads, size_t first, size_t images) {
    const size_t n = images * p->out * p->height * p->width, a_picture = p->height * p->width;
    winograd_lane *lane;
    uint16_t *y = magpie_alloc(n * sizeof *y + GUARD, 1);
    assert_non_null(y);
    memset(y, POISON, n * sizeof *y + GUARD);
    if (p->residual) memcpy(y, p->before + first * a_picture * p->out, n * sizeof *y);
    ops_map x = {.handle = p->x + first * a_picture * p->in,
                 .channels = p->in,
                 .height = p->height,
                 .width = p->width},
            map = {.handle = y};
    assert_ok(winograd_lane_create(device, threads, &lane));
    assert_ok(winograd_run(lane, weights, &x, images, &map));
    assert_true(map.channels == p->out && map.height == p->height && map.width == p->width);
    for (size_t i = 0; i < GUARD; i++) assert_int_equal(((unsigned char *)(y + n))[i], POISON);
    winograd_lane_free(lane);
    return y;
}

static double direct(const problem *p, size_t image, size_t o, size_t row, size_t column) {
    double sum = (double)p->bias[o];
    for (size_t i = 0; i < p->in; i++)
        for (size_t k = 0; k < 9; k++) {
            const size_t r = row + k / 3, c = column + k % 3; /* of a border of 1 */
            if (r >= 1 && r <= p->height && c >= 1 && c <= p->width)
                sum += (double)p->weight[(o * p->in + i) * 9 + k] *
                       (double)widened(p->x[place(p->in, p, image, i, r - 1, c - 1)]);
        }
    if (p->residual) sum += (double)widened(p->before[place(p->out, p, image, o, row, column)]);
    return p->relu && sum < 0 ? 0 : sum;
}

/* Some channels of every pixel. */
static void assert_convolution(const problem *p, const uint16_t *y, random_state *r) {
    const double size = sqrt((double)p->in); /* of 9 in products, of variances of 1/3 each */
    for (size_t image = 0; image < p->images; image++)
        for (size_t row = 0; row < p->height; row++)
            for (size_t column = 0; column < p->width; column++)
                for (int k = 0; k < 3; k++) {
                    const size_t o = random_below(r, p->out);
                    const double want = direct(p, image, o, row, column);
                    const double got = (double)widened(y[place(p->out, p, image, o, row, column)]);
                    if (!(fabs(got - want) <= TOLERANCE * size + fabs(want) / 256))
                        fail_msg("%zu x %zu, %zu to %zu channels: (%zu, %zu) is %g instead of %g", p->height,
                                 p->width, p->in, p->out, row, column, got, want);
                }
    for (size_t i = 0; i < elements(p, p->out); i++) assert_true(isfinite(widened(y[i])));
}

static void check(const problem *p, onednn_device *device, random_state *r) {
    const ops_conv_source source = {.weight = p->weight,
                                    .bias = p->bias,
                                    .in = p->in,
                                    .out = p->out,
                                    .kernel = 3,
                                    .stride = 1,
                                    .padding = 1,
                                    .height = 56,
                                    .width = 56,
                                    .relu = p->relu,
                                    .residual = p->residual};
    const size_t a_picture = p->height * p->width * p->out;
    winograd_weights *weights;
    if (!winograd_suits(device, &source)) skip_loudly("no products of bf16 in vectors on this CPU");
    assert_ok(winograd_weights_create(device, &source, &weights));
    uint16_t *y = convolve(p, device, weights, 1, 0, p->images);
    assert_convolution(p, y, r);
    for (unsigned threads = 2; threads <= 5; threads += 3) {
        uint16_t *other = convolve(p, device, weights, threads, 0, p->images);
        assert_memory_equal(other, y, p->images * a_picture * sizeof *y);
        free(other);
    }
    for (size_t i = 0; i < p->images; i++) {
        uint16_t *alone = convolve(p, device, weights, 1, i, 1);
        assert_memory_equal(alone, y + i * a_picture, a_picture * sizeof *y);
        free(alone);
    }
    free(y);
    winograd_weights_free(weights);
}

static void is_a_convolution(void **state) {
    (void)state;
    random_state r = {20};
    onednn_device *device;
    assert_ok(onednn_device_create(true, false, &device));
    for (size_t i = 0; i < SHAPES; i++) {
        problem p = random_problem(&r);
        check(&p, device, &r);
        free_problem(&p);
    }
    onednn_device_free(device);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(is_a_convolution)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
