/* image_resize.c - see image_resize.h.
 *
 * Rows stream: RESIZE_ROWS source rows at a time are resized horizontally into a ring that holds as many
 * as one row of the result needs, so that what the vertical pass reads is in the first-level cache however
 * large the picture is. Nothing is computed outside of the crop. */
#include "image_resize.h"
#include "image_kernels.h"
#include "simd.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- geometry ---- */

/* One axis: of the source's `in` pixels, resized to `resized`, `count` are kept from `first`, and stand in
 * the square from `place`. */
typedef struct axis_plan {
    size_t in, resized, first, count, place;
} axis_plan;

/* As torchvision cuts the centre: half of an odd rest to even (Python's round), padding rounded down. */
static axis_plan plan_axis(size_t in, size_t resized, size_t side) {
    axis_plan plan = {.in = in, .resized = resized};
    if (resized < side) {
        plan.count = resized;
        plan.place = (side - resized) / 2;
    } else {
        size_t rest = resized - side;
        plan.count = side;
        plan.first = rest / 2 + (rest & rest / 2 & 1);
    }
    return plan;
}

typedef struct plan {
    axis_plan x, y;
} plan;

static bool can_resize(const image_pixels *picture) {
    size_t w = picture->width, h = picture->height;
    return w > 0 && h > 0 && w <= IMAGE_SIDE_MAX && h <= IMAGE_SIDE_MAX;
}

static magpie_status make_plan(const image_pixels *picture, const image_geometry *geometry, plan *out) {
    size_t w = picture->width, h = picture->height, to_w = geometry->side, to_h = geometry->side;
    *out = (plan){0};
    if (!can_resize(picture))
        return magpie_fail(MAGPIE_E_ARGUMENT, "cannot resize a picture of %zu x %zu pixels", w, h);
    if (geometry->side < 1 || geometry->side > IMAGE_GEOMETRY_MAX || geometry->shortest > IMAGE_GEOMETRY_MAX)
        return magpie_fail(MAGPIE_E_ARGUMENT, "cannot resize to %zu and crop to %zu: up to %d are possible",
                           geometry->shortest, geometry->side, IMAGE_GEOMETRY_MAX);
    if (geometry->shortest) {
        to_w = w < h ? geometry->shortest : geometry->shortest * w / h;
        to_h = w < h ? geometry->shortest * h / w : geometry->shortest;
    }
    *out = (plan){plan_axis(w, to_w, geometry->side), plan_axis(h, to_h, geometry->side)};
    return MAGPIE_OK;
}

static bool plan_equal(const axis_plan *a, const axis_plan *b) {
    return a->in == b->in && a->resized == b->resized && a->first == b->first && a->count == b->count &&
           a->place == b->place;
}

/* ---- coefficients ---- */

static double bilinear(double x) {
    x = fabs(x);
    return x < 1 ? 1 - x : 0;
}

static double bicubic(double x) {
    const double a = -0.5;
    x = fabs(x);
    if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

static double support_of(image_filter filter) { return filter == IMAGE_BICUBIC ? 2 : 1; }

/* Of either filter, for any pixel of the axis. */
static size_t taps_max(const axis_plan *plan, image_filter filter) {
    double scale = (double)plan->in / (double)plan->resized;
    return (size_t)ceil(support_of(filter) * (scale < 1 ? 1 : scale)) * 2 + 1;
}

/* The coefficients of pixel `i` of the resized axis: how many, into k [taps_max], and from which source
 * pixel. In the order of Pillow's precompute_coeffs and normalize_coeffs_8bpc, since sums of doubles
 * depend on it. */
static size_t coefficients_of(const axis_plan *plan, image_filter filter, size_t i, double *weights,
                              int32_t *k, size_t *from) {
    double scale = (double)plan->in / (double)plan->resized, stretch = scale < 1 ? 1 : scale;
    double support = support_of(filter) * stretch, center = ((double)i + 0.5) * scale, sum = 0;
    double inverse = 1 / stretch, least = center - support + 0.5;
    size_t begin = least < 0 ? 0 : (size_t)least, end = (size_t)(center + support + 0.5);
    if (end > plan->in) end = plan->in;
    for (size_t x = begin; x < end; x++) {
        double distance = ((double)x - center + 0.5) * inverse;
        weights[x - begin] = filter == IMAGE_BICUBIC ? bicubic(distance) : bilinear(distance);
        sum += weights[x - begin];
    }
    for (size_t t = 0; t < end - begin; t++) {
        double weight = (sum != 0 ? weights[t] / sum : weights[t]) * (1 << RESIZE_BITS);
        k[t] = (int32_t)(weight < 0 ? weight - 0.5 : weight + 0.5);
    }
    *from = begin;
    return end - begin;
}

/* ---- the reference ---- */

static uint8_t to_byte(int32_t sum) {
    sum >>= RESIZE_BITS;
    return (uint8_t)(sum < 0 ? 0 : sum > 255 ? 255 : sum);
}

/* One axis of a picture: line `i` of `lines` has its pixels `step` bytes apart, the next line is
 * `line_step` further; the channels follow one another. */
typedef struct lines {
    size_t lines, step, line_step;
} lines;

static magpie_status resize_axis_reference(const uint8_t *in, lines from, const axis_plan *plan,
                                           image_filter filter, lines to, uint8_t *out) {
    size_t most = taps_max(plan, filter), first;
    double *weights = magpie_alloc(most, sizeof *weights);
    int32_t *k = magpie_alloc(most, sizeof *k);
    for (size_t i = 0; weights && k && i < plan->count; i++) {
        size_t taps = coefficients_of(plan, filter, plan->first + i, weights, k, &first);
        for (size_t j = 0; j < from.lines; j++)
            for (size_t c = 0; c < 3; c++) {
                int32_t sum = 1 << (RESIZE_BITS - 1);
                for (size_t t = 0; t < taps; t++)
                    sum += in[j * from.line_step + (first + t) * from.step + c] * k[t];
                out[j * to.line_step + i * to.step + c] = to_byte(sum);
            }
    }
    magpie_status status = weights && k ? MAGPIE_OK : MAGPIE_E_NO_MEMORY;
    free(k);
    free(weights);
    return status;
}

magpie_status image_resize_reference(const image_pixels *picture, const image_geometry *geometry,
                                     uint8_t *out) {
    plan p;
    magpie_status status = make_plan(picture, geometry, &p);
    if (status != MAGPIE_OK) return status;
    size_t row = p.x.count * 3, side_row = geometry->side * 3;
    uint8_t *narrow = magpie_alloc(picture->height, row); /* [height, x.count, 3] */
    if (!narrow) return MAGPIE_E_NO_MEMORY;
    status = resize_axis_reference(picture->data, (lines){picture->height, 3, picture->width * 3}, &p.x,
                                   geometry->filter, (lines){.step = 3, .line_step = row}, narrow);
    memset(out, 0, side_row * geometry->side);
    if (status == MAGPIE_OK)
        status = resize_axis_reference(narrow, (lines){p.x.count, row, 3}, &p.y, geometry->filter,
                                       (lines){.step = side_row, .line_step = 3},
                                       out + p.y.place * side_row + p.x.place * 3);
    free(narrow);
    return status;
}

/* ---- tables ---- */

/* The coefficients of one axis, kept while pictures are of one size: computing them takes as long as using
 * them. */
typedef struct axis_table {
    axis_plan plan; /* of the tables; all zero at first */
    image_filter filter;
    resize_axis axis;
    size_t begin, end; /* source pixels that are used */
    magpie_block block;
} axis_table;

static void layout(resize_axis *axis, size_t taps, magpie_block *block) {
    axis->first = magpie_carve(block, axis->count, sizeof *axis->first);
    axis->coefficients = magpie_carve(block, axis->count * taps, sizeof *axis->coefficients);
}

static size_t fill_axis(axis_table *table, size_t stride, double *weights) {
    const axis_plan *plan = &table->plan;
    size_t taps = 0, from = 0;
    for (size_t i = 0; i < plan->count; i++) {
        size_t n = coefficients_of(plan, table->filter, plan->first + i, weights,
                                   table->axis.coefficients + i * stride, &from);
        table->axis.first[i] = (uint32_t)from;
        if (n > taps) taps = n;
        if (i == 0) table->begin = from;
        if (from + n > table->end) table->end = from + n;
    }
    return taps;
}

static magpie_status make_table(axis_table *table, const axis_plan *plan, image_filter filter) {
    if (plan_equal(&table->plan, plan) && table->filter == filter) return MAGPIE_OK;
    magpie_block_free(&table->block);
    *table = (axis_table){.plan = *plan, .filter = filter, .axis.count = plan->count};
    size_t stride = taps_max(plan, filter) + 1;
    double *weights = magpie_alloc(stride, sizeof *weights);
    layout(&table->axis, stride, &table->block);
    magpie_status status = weights ? magpie_block_alloc(&table->block) : MAGPIE_E_NO_MEMORY;
    if (status == MAGPIE_OK) {
        layout(&table->axis, stride, &table->block);
        size_t taps = fill_axis(table, stride, weights);
        /* Packed to an even number: kernels are unrolled for few of them. */
        table->axis.taps = (taps + 1) / 2 * 2;
        for (size_t i = 0; i < plan->count; i++) {
            memmove(table->axis.coefficients + i * table->axis.taps, table->axis.coefficients + i * stride,
                    table->axis.taps * sizeof(int32_t));
            table->axis.first[i] -= (uint32_t)table->begin;
        }
    } else {
        table->plan = (axis_plan){0};
    }
    free(weights);
    return status;
}

/* ---- the resizer ---- */

struct image_resizer {
    const image_table *kernels;
    axis_table x, y;
    uint8_t *columns, *ring; /* [width in use + taps, RESIZE_ROWS, 4]; [ring_rows, ring_row] */
    const uint8_t **rows;    /* [taps of y] */
    size_t columns_capacity, ring_capacity, rows_capacity;
};

extern const image_table image_base;
#ifdef MAGPIE_SIMD_X86
extern const image_table image_v3, image_v4;
#endif

const image_table *image_kernels(size_t below) {
    const image_table *levels[3];
    size_t n = 0;
#ifdef MAGPIE_SIMD_X86
    if (simd_runs_v4()) levels[n++] = &image_v4;
    if (simd_runs_v3()) levels[n++] = &image_v3;
#endif
    levels[n++] = &image_base;
    return below < n ? levels[below] : NULL;
}

void image_resizer_use(image_resizer *resizer, const image_table *kernels) { resizer->kernels = kernels; }

magpie_status image_resizer_create(image_resizer **out) {
    image_resizer *resizer = magpie_alloc(1, sizeof *resizer);
    if (!resizer) return MAGPIE_E_NO_MEMORY;
    resizer->kernels = image_kernels(0);
    *out = resizer;
    return MAGPIE_OK;
}

void image_resizer_free(image_resizer *resizer) {
    if (!resizer) return;
    magpie_block_free(&resizer->x.block);
    magpie_block_free(&resizer->y.block);
    free(resizer->columns);
    free(resizer->ring);
    free(resizer->rows);
    free(resizer);
}

/* Memory for pictures of the tables' sizes. */
static magpie_status reserve(image_resizer *resizer, size_t *ring_rows, size_t *ring_row) {
    const axis_table *x = &resizer->x, *y = &resizer->y;
    size_t rows = y->end - y->begin < y->axis.taps ? y->end - y->begin : y->axis.taps;
    size_t columns = x->end - x->begin + x->axis.taps; /* taps whose coefficient is 0 reach past the end */
    /* What one row of the result needs, and what comes with its last one. */
    *ring_rows = (rows + 2 * RESIZE_ROWS - 2) / RESIZE_ROWS * RESIZE_ROWS;
    *ring_row = x->axis.count * 3 + 1;
    magpie_status status =
        magpie_grow((void **)&resizer->ring, &resizer->ring_capacity, *ring_rows * *ring_row, 1);
    if (status == MAGPIE_OK)
        status = magpie_grow((void **)&resizer->rows, &resizer->rows_capacity, y->axis.taps,
                             sizeof *resizer->rows);
    if (status != MAGPIE_OK || columns <= resizer->columns_capacity) return status;
    free(resizer->columns);
    resizer->columns_capacity = 0;
    resizer->columns = magpie_alloc(columns, 4 * RESIZE_ROWS);
    if (!resizer->columns) return MAGPIE_E_NO_MEMORY;
    resizer->columns_capacity = columns;
    return MAGPIE_OK;
}

/* Rows row .. row + RESIZE_ROWS - 1 of those in use into the ring; past the last one, that again. */
static void make_rows(image_resizer *resizer, const image_pixels *picture, size_t row, size_t ring_rows,
                      size_t ring_row) {
    const axis_table *x = &resizer->x, *y = &resizer->y;
    size_t last = y->end - y->begin - 1;
    const uint8_t *from[RESIZE_ROWS];
    uint8_t *to[RESIZE_ROWS];
    for (size_t r = 0; r < RESIZE_ROWS; r++) {
        size_t at = y->begin + (row + r < last ? row + r : last);
        from[r] = picture->data + (at * picture->width + x->begin) * 3;
        to[r] = resizer->ring + (row + r) % ring_rows * ring_row;
    }
    resizer->kernels->interleave(from, x->end - x->begin, resizer->columns);
    resizer->kernels->across(resizer->columns, &x->axis, to);
}

/* The planned part of a picture; rows of the result are `stride` bytes apart. */
static magpie_status resize_planned(image_resizer *resizer, const image_pixels *picture, const plan *p,
                                    image_filter filter, size_t stride, uint8_t *out) {
    size_t ring_rows, ring_row, made = 0;
    const axis_table *y = &resizer->y;
    magpie_status status = make_table(&resizer->x, &p->x, filter);
    if (status == MAGPIE_OK) status = make_table(&resizer->y, &p->y, filter);
    if (status == MAGPIE_OK) status = reserve(resizer, &ring_rows, &ring_row);
    if (status != MAGPIE_OK) return status;
    for (size_t i = 0; i < y->axis.count; i++, out += stride) {
        size_t first = y->axis.first[i], taps = y->axis.taps, last = y->end - y->begin - 1;
        for (; made < first + taps && made <= last; made += RESIZE_ROWS)
            make_rows(resizer, picture, made, ring_rows, ring_row);
        for (size_t t = 0; t < taps; t++) {
            size_t row = first + t < last ? first + t : last;
            resizer->rows[t] = resizer->ring + row % ring_rows * ring_row;
        }
        resizer->kernels->down(resizer->rows, y->axis.coefficients + i * taps, taps, p->x.count * 3, out);
    }
    return MAGPIE_OK;
}

magpie_status image_resize(image_resizer *resizer, const image_pixels *picture,
                           const image_geometry *geometry, uint8_t *out) {
    plan p;
    size_t side = geometry->side;
    magpie_status status = make_plan(picture, geometry, &p);
    if (status != MAGPIE_OK) return status;
    if (p.x.count < side || p.y.count < side) memset(out, 0, side * side * 3);
    return resize_planned(resizer, picture, &p, geometry->filter, side * 3,
                          out + (p.y.place * side + p.x.place) * 3);
}

magpie_status image_resize_whole(image_resizer *resizer, const image_pixels *picture, image_filter filter,
                                 size_t width, size_t height, uint8_t *out) {
    if (!can_resize(picture) || width < 1 || width > IMAGE_GEOMETRY_MAX || height < 1 ||
        height > IMAGE_GEOMETRY_MAX)
        return magpie_fail(MAGPIE_E_ARGUMENT,
                           "cannot resize %zu x %zu pixels to %zu x %zu: up to %d are possible",
                           picture->width, picture->height, width, height, IMAGE_GEOMETRY_MAX);
    const plan p = {plan_axis(picture->width, width, width), plan_axis(picture->height, height, height)};
    return resize_planned(resizer, picture, &p, filter, width * 3, out);
}

/* ---- packed ---- */

enum { PACKED_LARGE = 8 /* times the square, of pixels that count or stand between the passes */ };

static uint32_t *put_axis(const axis_table *table, uint32_t *header, uint32_t *to) {
    const resize_axis *axis = &table->axis;
    const size_t coefficients = axis->count * axis->taps;
    header[0] = (uint32_t)axis->taps;
    header[1] = (uint32_t)axis->count;
    header[2] = (uint32_t)table->plan.place;
    memcpy(to, axis->first, axis->count * sizeof *to);
    memcpy(to + axis->count, axis->coefficients, coefficients * sizeof *to);
    return to + axis->count + coefficients;
}

/* The picture by the resizer's tables. */
static magpie_status pack_planned(const image_resizer *resizer, const image_pixels *picture,
                                  image_packed *out) {
    const axis_table *x = &resizer->x, *y = &resizer->y;
    const size_t row = (x->end - x->begin) * 3, rows = y->end - y->begin;
    out->count = IMAGE_PACKED_WORDS + x->axis.count * (1 + x->axis.taps) +
                 y->axis.count * (1 + y->axis.taps) + (row * rows + 3) / 4;
    out->between = rows * x->axis.count;
    magpie_status status = magpie_grow((void **)&out->words, &out->capacity, out->count, sizeof *out->words);
    if (status != MAGPIE_OK) return status;
    out->words[IMAGE_PACKED_WIDTH] = (uint32_t)(x->end - x->begin);
    out->words[IMAGE_PACKED_ROWS] = (uint32_t)rows;
    uint32_t *to = put_axis(x, out->words + IMAGE_PACKED_X, out->words + IMAGE_PACKED_WORDS);
    to = put_axis(y, out->words + IMAGE_PACKED_Y, to);
    out->words[out->count - 1] = 0; /* what the last row leaves of it */
    for (size_t r = 0; r < rows; r++)
        memcpy((uint8_t *)to + r * row, picture->data + ((y->begin + r) * picture->width + x->begin) * 3,
               row);
    return MAGPIE_OK;
}

static magpie_status pack_resized(image_resizer *resizer, const image_pixels *picture,
                                  const image_geometry *geometry, image_packed *out) {
    const image_geometry same = {.side = geometry->side, .filter = IMAGE_BILINEAR};
    uint8_t *square = magpie_alloc(geometry->side * geometry->side, 3);
    if (!square) return MAGPIE_E_NO_MEMORY;
    magpie_status status = image_resize(resizer, picture, geometry, square);
    if (status == MAGPIE_OK)
        status = image_pack(resizer, &(image_pixels){square, geometry->side, geometry->side}, &same, out);
    free(square);
    return status;
}

magpie_status image_pack(image_resizer *resizer, const image_pixels *picture, const image_geometry *geometry,
                         image_packed *out) {
    plan p;
    const axis_table *x = &resizer->x, *y = &resizer->y;
    const size_t large = PACKED_LARGE * geometry->side * geometry->side;
    magpie_status status = make_plan(picture, geometry, &p);
    if (status == MAGPIE_OK) status = make_table(&resizer->x, &p.x, geometry->filter);
    if (status == MAGPIE_OK) status = make_table(&resizer->y, &p.y, geometry->filter);
    if (status != MAGPIE_OK) return status;
    if ((y->end - y->begin) * (x->end - x->begin) > large || (y->end - y->begin) * x->axis.count > large)
        return pack_resized(resizer, picture, geometry, out);
    return pack_planned(resizer, picture, out);
}

void image_packed_free(image_packed *packed) {
    free(packed->words);
    *packed = (image_packed){0};
}
