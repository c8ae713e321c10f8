/* neural_gpu_train.c - a step of training on a device: see neural_gpu.h, and neural_part.c for the same on
 * the CPU.
 *
 * Tables, moments and dense numbers stay on the device; of a step, the numbers of rows go in and the
 * losses come out. Slopes are slot by slot; which slots are of one row is found here, by sorting, and a
 * row's are summed in the order of slots. The dense numbers' slopes are summed over a slice of the pairs
 * each, and the slices by Adam's kernel. */
#include "neural_gpu.h"

#include <stdlib.h>

enum { SLICES = 16, USERS = TABLE_USERS, ITEMS = TABLE_ITEMS, SIDES = 2 };

/* What a user's or an item's slots have. */
typedef struct side {
    size_t first;                    /* of the first layer's weights, where in the dense numbers */
    size_t n;                        /* slots in this step */
    gpu_buffer of;                   /* [n]: the table's row */
    gpu_buffer rows, slopes;         /* [n, row] */
    gpu_buffer half_slopes;          /* [n, width 0] */
    gpu_buffer slots, starts, moved; /* neumf_scatter's; the rows that are moved */
    gpu_buffer sums;                 /* [rows that are moved, row] */
    uint32_t *host_of, *host_slots, *host_starts, *host_moved;
} side;

struct neural_gpu_training {
    neural_lane lane;
    neural_shape shape;
    size_t likes, pairs; /* at most; of a like */
    bool fixed_out;
    struct {
        gpu_buffer values, first, second;
    } table[NEURAL_TABLES + 1];
    side side[SIDES];
    gpu_buffer one;                                                         /* [1] */
    gpu_buffer user_half;                                                   /* [likes, width 0] */
    gpu_buffer hidden[NEURAL_LAYERS_MAX], hidden_slopes[NEURAL_LAYERS_MAX]; /* [slots, width] */
    gpu_buffer logits, losses, turned, dense; /* dense: slopes [SLICES, dense] */
    float *host_losses;                       /* [likes] */
    uint64_t *sorted;                         /* [slots] */
    magpie_block block;
};

/* ---- memory ---- */

static void lay_out_host(neural_gpu_training *t, magpie_block *block) {
    const size_t slots[SIDES] = {t->likes, t->likes * t->pairs};
    t->host_losses = magpie_carve(block, t->likes, sizeof *t->host_losses);
    t->sorted = magpie_carve(block, slots[ITEMS], sizeof *t->sorted);
    for (size_t i = 0; i < SIDES; i++) {
        side *x = &t->side[i];
        x->host_of = magpie_carve(block, slots[i], sizeof(uint32_t));
        x->host_slots = magpie_carve(block, slots[i], sizeof(uint32_t));
        x->host_starts = magpie_carve(block, slots[i] + 1, sizeof(uint32_t));
        x->host_moved = magpie_carve(block, slots[i], sizeof(uint32_t));
    }
}

static void take_side(neural_gpu_training *t, side *x, size_t slots, size_t first) {
    const neural_shape *s = &t->shape;
    x->first = first;
    x->of = neural_lane_take(&t->lane, slots);
    x->rows = neural_lane_take(&t->lane, slots * s->row);
    x->slopes = neural_lane_take(&t->lane, slots * s->row);
    x->slots = neural_lane_take(&t->lane, slots);
    x->starts = neural_lane_take(&t->lane, slots + 1);
    x->moved = neural_lane_take(&t->lane, slots);
    x->sums = neural_lane_take(&t->lane, slots * s->row);
}

static void take(neural_gpu_training *t) {
    const neural_shape *s = &t->shape;
    const size_t slots = t->likes * t->pairs;
    take_side(t, &t->side[USERS], t->likes, s->first_user);
    take_side(t, &t->side[ITEMS], slots, s->first_item);
    t->one = neural_lane_take(&t->lane, 1);
    for (size_t l = 0; l < s->layers; l++) {
        t->hidden[l] = neural_lane_take(&t->lane, slots * s->width[l]);
        t->hidden_slopes[l] = neural_lane_take(&t->lane, slots * s->width[l]);
    }
    if (s->layers) {
        t->user_half = neural_lane_take(&t->lane, t->likes * s->width[0]);
        t->side[USERS].half_slopes = neural_lane_take(&t->lane, t->likes * s->width[0]);
        t->side[ITEMS].half_slopes = t->hidden_slopes[0];
    }
    t->logits = neural_lane_take(&t->lane, slots);
    t->losses = neural_lane_take(&t->lane, t->likes);
    t->turned = neural_lane_take(&t->lane, t->likes * s->gmf);
    t->dense = neural_lane_take(&t->lane, SLICES * s->dense);
}

static void fill(neural_gpu_training *t, const neural *net) {
    static const float one = 1;
    neural_lane_write(&t->lane, t->one, 0, &one, 1);
    if (t->lane.status == MAGPIE_OK)
        t->lane.status = gpu_driver_of(t->lane.queue)->fill(t->lane.queue, t->dense, 0);
    for (size_t i = 0; i <= NEURAL_TABLES; i++) {
        const neural_table *table = &net->table[i];
        const size_t n = table->rows * table->columns;
        t->table[i].values = neural_lane_take(&t->lane, n);
        t->table[i].first = neural_lane_take(&t->lane, n);
        t->table[i].second = neural_lane_take(&t->lane, n);
        neural_lane_write(&t->lane, t->table[i].values, 0, table->values, n);
        neural_lane_write(&t->lane, t->table[i].first, 0, table->first, n);
        neural_lane_write(&t->lane, t->table[i].second, 0, table->second, n);
    }
}

magpie_status neural_gpu_train_open(const neural *net, magpie_device device, size_t likes, size_t pairs,
                                    bool fixed_out, neural_gpu_training **out) {
    neural_lane lane;
    *out = NULL;
    magpie_status status = neural_lane_open(device, &lane);
    if (status != MAGPIE_OK || !lane.device) return status;
    neural_gpu_training *t = magpie_alloc(1, sizeof *t);
    if (!t) return neural_lane_close(&lane), MAGPIE_E_NO_MEMORY;
    *t = (neural_gpu_training){
        .lane = lane, .shape = net->shape, .likes = likes, .pairs = pairs, .fixed_out = fixed_out};
    if (net->shape.heads)
        t->lane.status = magpie_fail(MAGPIE_E_UNSUPPORTED, "magpie is trained on the CPU alone");
    else if (likes * pairs > UINT32_MAX / (net->shape.row + 1))
        t->lane.status =
            magpie_fail(MAGPIE_E_TOO_LARGE, "a step of %zu pairs is too large for a device", likes * pairs);
    lay_out_host(t, &t->block);
    if (t->lane.status == MAGPIE_OK) t->lane.status = magpie_block_alloc(&t->block);
    if (t->lane.status == MAGPIE_OK) lay_out_host(t, &t->block);
    take(t);
    fill(t, net);
    status = t->lane.status;
    if (status == MAGPIE_OK)
        *out = t;
    else
        neural_gpu_train_close(t);
    return status;
}

void neural_gpu_train_close(neural_gpu_training *t) {
    if (!t) return;
    neural_lane_close(&t->lane);
    magpie_block_free(&t->block);
    free(t);
}

/* ---- whose slots are whose ---- */

static int compare_u64(const void *a, const void *b) {
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Returns how many rows are moved. */
static size_t sort_slots(neural_gpu_training *t, side *x) {
    size_t rows = 0;
    for (size_t i = 0; i < x->n; i++) t->sorted[i] = (uint64_t)x->host_of[i] << 32 | i;
    qsort(t->sorted, x->n, sizeof *t->sorted, compare_u64);
    for (size_t i = 0; i < x->n; i++) {
        x->host_slots[i] = (uint32_t)t->sorted[i];
        if (i && t->sorted[i] >> 32 == t->sorted[i - 1] >> 32) continue;
        x->host_starts[rows] = (uint32_t)i;
        x->host_moved[rows++] = (uint32_t)(t->sorted[i] >> 32);
    }
    x->host_starts[rows] = (uint32_t)x->n;
    return rows;
}

/* The parts' slots, one after the other. */
static void name_rows(neural_gpu_training *t, const neural_part *parts, size_t count) {
    t->side[USERS].n = t->side[ITEMS].n = 0;
    for (size_t p = 0; p < count; p++)
        for (size_t i = 0; i < SIDES; i++) {
            side *x = &t->side[i];
            for (size_t k = 0; k < parts[p].slots[i].n; k++) x->host_of[x->n++] = parts[p].slots[i].of[k];
        }
}

static void bring_rows(neural_gpu_training *t, size_t i) {
    side *x = &t->side[i];
    neural_lane_write(&t->lane, x->of, 0, x->host_of, x->n);
    if (t->lane.status == MAGPIE_OK)
        t->lane.status = GPU_RUN(t->lane.queue, GPU_gather, 0, x->n, 1, 1, gpu_at(t->table[i].values),
                                 gpu_at(x->of), gpu_at(x->rows), gpu_uint(t->shape.row), gpu_uint(true));
}

/* ---- forwards ---- */

/* A side's half of the first layer before the relu; the items' with the users' added, and through it. */
static void run_half(neural_gpu_training *t, const side *x, gpu_buffer out, gpu_buffer added, size_t added_at,
                     size_t every, bool relu) {
    const neural_shape *s = &t->shape;
    neural_lane_product(&t->lane,
                        &(neural_product){.a = {x->rows, s->gmf, s->row, 1},
                                          .b = {t->table[TABLE_DENSE].values, x->first, s->width[0], 1},
                                          .c = {out, 0, s->width[0], 1},
                                          .rows = x->n,
                                          .columns = s->width[0],
                                          .depth = s->mlp,
                                          .added = added,
                                          .added_at = added_at,
                                          .every = every,
                                          .relu = relu});
}

static void run_tower(neural_gpu_training *t) {
    const neural_shape *s = &t->shape;
    const gpu_buffer dense = t->table[TABLE_DENSE].values;
    if (!s->layers) return;
    run_half(t, &t->side[USERS], t->user_half, dense, s->layer_bias[0], UINT32_MAX, false);
    run_half(t, &t->side[ITEMS], t->hidden[0], t->user_half, 0, t->pairs, true);
    for (size_t l = 1; l < s->layers; l++)
        neural_lane_product(&t->lane, &(neural_product){.a = {t->hidden[l - 1], 0, s->width[l - 1], 1},
                                                        .b = {dense, s->layer[l], s->width[l], 1},
                                                        .c = {t->hidden[l], 0, s->width[l], 1},
                                                        .rows = t->side[ITEMS].n,
                                                        .columns = s->width[l],
                                                        .depth = s->width[l - 1],
                                                        .added = dense,
                                                        .added_at = s->layer_bias[l],
                                                        .every = UINT32_MAX,
                                                        .relu = true});
}

static void run_loss(neural_gpu_training *t, const neural_options *o) {
    const neural_shape *s = &t->shape;
    const size_t last = s->layers ? s->layers - 1 : 0;
    NEURAL_RUN(&t->lane, GPU_neumf_logits, t->side[ITEMS].n, gpu_at(t->side[USERS].rows),
               gpu_at(t->table[ITEMS].values), gpu_uint(s->row), gpu_at(t->side[ITEMS].of),
               gpu_at(t->hidden[last]), gpu_at(t->table[TABLE_DENSE].values), gpu_uint(s->out_gmf),
               gpu_uint(s->out_mlp), gpu_uint(s->out_bias), gpu_uint(s->gmf),
               gpu_uint(s->layers ? s->width[last] : 0), gpu_uint(s->bias), gpu_uint(true), gpu_uint(0),
               gpu_uint(t->pairs), gpu_uint(t->side[ITEMS].n), gpu_at(t->logits));
    NEURAL_RUN(&t->lane, GPU_neumf_loss, t->side[USERS].n, gpu_at(t->logits), gpu_at(t->losses),
               gpu_uint(t->side[USERS].n), gpu_uint(t->pairs), gpu_uint(o->loss), gpu_uint(s->items),
               gpu_float((float)o->scale));
}

/* ---- backwards ---- */

/* Slopes of the dense numbers from `at` on: x^T y, of x [n, rows] (NULL: ones, one column) and y [n,
 * columns]. */
static void slope_of_dense(neural_gpu_training *t, size_t at, const neural_matrix *x, size_t rows,
                           neural_matrix y, size_t columns, size_t n) {
    const neural_matrix ones = {t->one, 0, 0, 0};
    neural_lane_product(&t->lane,
                        &(neural_product){.a = x ? (neural_matrix){x->of, x->at, x->across, x->down} : ones,
                                          .b = y,
                                          .c = {t->dense, at, columns, 1},
                                          .rows = rows,
                                          .columns = columns,
                                          .depth = n,
                                          .slices = SLICES,
                                          .c_slice = t->shape.dense});
}

static void slope_of_gmf(neural_gpu_training *t) {
    const neural_shape *s = &t->shape;
    const size_t likes = t->side[USERS].n;
    NEURAL_RUN(&t->lane, GPU_neumf_gmf, likes * (s->gmf + 1), gpu_at(t->side[USERS].rows),
               gpu_at(t->side[ITEMS].rows), gpu_at(t->logits), gpu_at(t->table[TABLE_DENSE].values),
               gpu_uint(s->out_gmf), gpu_at(t->side[USERS].slopes), gpu_at(t->side[ITEMS].slopes),
               gpu_at(t->turned), gpu_uint(likes), gpu_uint(t->pairs), gpu_uint(s->gmf), gpu_uint(s->row),
               gpu_uint(s->bias));
    if (s->gmf && !t->fixed_out)
        slope_of_dense(t, s->out_gmf, NULL, 1, (neural_matrix){t->turned, 0, s->gmf, 1}, s->gmf, likes);
    slope_of_dense(t, s->out_bias, NULL, 1, (neural_matrix){t->logits, 0, 1, 1}, 1, t->side[ITEMS].n);
}

/* slopes of x = those of y W^T, where `mask` is above 0 */
static void slope_through(neural_gpu_training *t, neural_matrix y, size_t columns, size_t weight, size_t in,
                          neural_matrix x, size_t n, gpu_buffer mask) {
    neural_lane_product(&t->lane, &(neural_product){.a = y,
                                                    .b = {t->table[TABLE_DENSE].values, weight, 1, columns},
                                                    .c = x,
                                                    .rows = n,
                                                    .columns = in,
                                                    .depth = columns,
                                                    .mask = mask});
}

static void slope_of_first(neural_gpu_training *t, side *x) {
    const neural_shape *s = &t->shape;
    const neural_matrix rows = {x->rows, s->gmf, s->row, 1}, y = {x->half_slopes, 0, s->width[0], 1};
    slope_of_dense(t, x->first, &rows, s->mlp, y, s->width[0], x->n);
    slope_through(t, y, s->width[0], x->first, s->mlp, (neural_matrix){x->slopes, s->gmf, s->row, 1}, x->n,
                  (gpu_buffer){0});
}

static void slope_of_tower(neural_gpu_training *t) {
    const neural_shape *s = &t->shape;
    const size_t n = t->side[ITEMS].n, likes = t->side[USERS].n;
    const neural_matrix logits = {t->logits, 0, 1, 1};
    if (!s->layers) return;
    size_t l = s->layers - 1, width = s->width[l];
    slope_of_dense(t, s->out_mlp, &logits, 1, (neural_matrix){t->hidden[l], 0, width, 1}, width, n);
    slope_through(t, logits, 1, s->out_mlp, width, (neural_matrix){t->hidden_slopes[l], 0, width, 1}, n,
                  t->hidden[l]);
    for (; l > 0; l--) {
        const size_t in = s->width[l - 1], out = s->width[l];
        const neural_matrix x = {t->hidden[l - 1], 0, in, 1}, y = {t->hidden_slopes[l], 0, out, 1};
        slope_of_dense(t, s->layer_bias[l], NULL, 1, y, out, n);
        slope_of_dense(t, s->layer[l], &x, in, y, out, n);
        slope_through(t, y, out, s->layer[l], in, (neural_matrix){t->hidden_slopes[l - 1], 0, in, 1}, n,
                      t->hidden[l - 1]);
    }
    width = s->width[0];
    NEURAL_RUN(&t->lane, GPU_neumf_user_half, likes * width, gpu_at(t->hidden_slopes[0]),
               gpu_at(t->side[USERS].half_slopes), gpu_uint(likes), gpu_uint(t->pairs), gpu_uint(width));
    slope_of_dense(t, s->layer_bias[0], NULL, 1, (neural_matrix){t->side[USERS].half_slopes, 0, width, 1},
                   width, likes);
    slope_of_first(t, &t->side[USERS]);
    slope_of_first(t, &t->side[ITEMS]);
}

/* ---- moves ---- */

static void move(neural_gpu_training *t, size_t table, gpu_buffer slopes, gpu_buffer moved, size_t columns,
                 size_t elements, size_t slices, const neural_adam *adam) {
    NEURAL_RUN(&t->lane, GPU_neumf_adam, elements, gpu_at(t->table[table].values),
               gpu_at(t->table[table].first), gpu_at(t->table[table].second), gpu_at(slopes), gpu_at(moved),
               gpu_uint(columns), gpu_uint(elements), gpu_uint(slices),
               gpu_float(adam->rate * adam->correct_first), gpu_float(adam->correct_second),
               gpu_float(table == TABLE_DENSE ? 0 : adam->decay));
}

static void move_rows(neural_gpu_training *t, size_t i, const neural_adam *adam) {
    side *x = &t->side[i];
    const size_t rows = sort_slots(t, x), columns = t->shape.row;
    neural_lane_write(&t->lane, x->slots, 0, x->host_slots, x->n);
    neural_lane_write(&t->lane, x->starts, 0, x->host_starts, rows + 1);
    neural_lane_write(&t->lane, x->moved, 0, x->host_moved, rows);
    NEURAL_RUN(&t->lane, GPU_neumf_scatter, rows * columns, gpu_at(x->slopes), gpu_at(x->slots),
               gpu_at(x->starts), gpu_at(x->sums), gpu_uint(rows), gpu_uint(columns));
    move(t, i, x->sums, x->moved, columns, rows * columns, 1, adam);
}

magpie_status neural_gpu_train_step(neural_gpu_training *t, const neural_part *parts, size_t count,
                                    const neural_options *options, const neural_adam *adam, double *loss) {
    t->lane.status = MAGPIE_OK;
    name_rows(t, parts, count);
    bring_rows(t, USERS);
    bring_rows(t, ITEMS);
    run_tower(t);
    run_loss(t, options);
    slope_of_gmf(t);
    slope_of_tower(t);
    move_rows(t, USERS, adam);
    move_rows(t, ITEMS, adam);
    move(t, TABLE_DENSE, t->dense, (gpu_buffer){0}, t->shape.dense, t->shape.dense, SLICES, adam);
    neural_lane_read(&t->lane, t->losses, t->host_losses, t->side[USERS].n);
    *loss = 0;
    for (size_t g = 0; g < t->side[USERS].n && t->lane.status == MAGPIE_OK; g++)
        *loss += (double)t->host_losses[g];
    return t->lane.status;
}

magpie_status neural_gpu_train_read(neural_gpu_training *t, neural *net) {
    t->lane.status = MAGPIE_OK;
    for (size_t i = 0; i <= NEURAL_TABLES; i++) {
        neural_table *table = &net->table[i];
        const size_t n = table->rows * table->columns;
        neural_lane_read(&t->lane, t->table[i].values, table->values, n);
        neural_lane_read(&t->lane, t->table[i].first, table->first, n);
        neural_lane_read(&t->lane, t->table[i].second, table->second, n);
    }
    return t->lane.status;
}
