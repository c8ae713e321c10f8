/* neumf.cl - the networks of ranker/neural.h, many pairs of a user and an item at a time: scores, and a step of their
 * training (He et al. 2017; the formulas are in neural.h, who puts these kernels together is ranker/neural_gpu.c).
 *
 * All is f32, whatever streams are. Matrices are row-major; those that are arguments of neumf_product have a place
 * where they begin and numbers from row to row and from column to column, so that one product serves a layer
 * (X W), the slopes of what went into it (dY W^T) and of its weights (X^T dY). What is summed is summed in one order;
 * rows that many slots share are summed by whoever has the row, slot by slot.
 *
 * A tower's layer of `in` by `out` moves (in + out) numbers a pair for 2 in out flops; all else moves each number it
 * has once, and is bound by memory. */
enum {
    NEUMF_THREADS = 256,
    PRODUCT_THREADS = 64,
    PRODUCT_ROWS = 64,
    PRODUCT_COLUMNS = 32, /* towers end narrow */
    PRODUCT_DEPTH = 16
};

#define NEUMF_ELEMENT ((size_t)GROUP(0) * NEUMF_THREADS + THREAD)

/* c [rows, columns] = a [rows, depth] b [depth, columns]. A group 64 x 32 of c, a thread 4 x 8. Then, where they are
 * asked for: plus row i / every of `added` (0: nothing), relu, and 0 where `mask` [rows, columns] is not above 0
 * (NULL: none). Groups of dimension 2 have a slice of the depth each, and leave what they have c_slice apart. */
KERNEL(neumf_product, 64)
(GLOBAL const float *a, uint a_at, uint a_down, uint a_across, GLOBAL const float *b, uint b_at, uint b_down,
 uint b_across, GLOBAL float *c, uint c_at, uint c_down, uint rows, uint columns, uint depth, uint slice, uint c_slice,
 GLOBAL const float *added, uint added_at, uint every, uint relu, GLOBAL const float *mask) {
    LOCAL float a_tile[PRODUCT_ROWS][PRODUCT_DEPTH + 1], b_tile[PRODUCT_DEPTH][PRODUCT_COLUMNS];
    const uint top = GROUP(0) * PRODUCT_ROWS, left = GROUP(1) * PRODUCT_COLUMNS, begin = GROUP(2) * slice,
               end = begin + slice < depth ? begin + slice : depth;
    f8 sums[4];
    UNROLL for (int i = 0; i < 4; i++) sums[i] = F8_ZERO;
    for (uint first = begin; first < end; first += PRODUCT_DEPTH) {
        /* Neighbours bring what lies side by side. */
        EACH(i, PRODUCT_ROWS * PRODUCT_DEPTH, PRODUCT_THREADS) {
            const uint r = a_across == 1 ? i / PRODUCT_DEPTH : i % PRODUCT_ROWS,
                       k = a_across == 1 ? i % PRODUCT_DEPTH : i / PRODUCT_ROWS;
            a_tile[r][k] = top + r < rows && first + k < end
                               ? a[a_at + (size_t)(top + r) * a_down + (size_t)(first + k) * a_across]
                               : 0;
        }
        EACH(i, PRODUCT_COLUMNS * PRODUCT_DEPTH, PRODUCT_THREADS) {
            const uint o = b_across == 1 ? i % PRODUCT_COLUMNS : i / PRODUCT_DEPTH,
                       k = b_across == 1 ? i / PRODUCT_COLUMNS : i % PRODUCT_DEPTH;
            b_tile[k][o] = left + o < columns && first + k < end
                               ? b[b_at + (size_t)(first + k) * b_down + (size_t)(left + o) * b_across]
                               : 0;
        }
        BARRIER();
        for (uint k = 0; k < PRODUCT_DEPTH; k++) {
            const f8 across = f8_local(&b_tile[k][THREAD % 4 * 8]);
            UNROLL for (int i = 0; i < 4; i++)
                sums[i] = f8_madd(sums[i], a_tile[THREAD / 4 * 4 + i][k], across);
        }
        BARRIER();
    }
    UNROLL for (int i = 0; i < 4; i++) {
        const uint row = top + THREAD / 4 * 4 + i;
        float values[8];
        f8_get(sums[i], values);
        UNROLL for (int o = 0; o < 8; o++) {
            const uint column = left + THREAD % 4 * 8 + o;
            const size_t at = (size_t)row * columns + column;
            float value = values[o];
            if (row >= rows || column >= columns) continue;
            if (every) value += added[added_at + (size_t)(row / every) * columns + column];
            if (relu) value = fmax(value, 0.0f);
            if (mask && !(mask[at] > 0)) value = 0;
            c[c_at + (size_t)GROUP(2) * c_slice + (size_t)row * c_down + column] = value;
        }
    }
}

/* Pairs are number `first` on of all, `each` of a user's: number i of `count` is of user (first + i) / each, and of
 * item of[i], or (first + i) % each where `of` is NULL. */
FUNCTION uint item_of(GLOBAL const uint *of, size_t i, uint pair, uint each) { return of ? of[i] : pair % each; }

/* h [count, width] = relu(the user's half + the item's). */
KERNEL(neumf_first, 256)
(GLOBAL const float *user_half, GLOBAL const float *item_half, GLOBAL const uint *of, GLOBAL float *h, uint first,
 uint each, uint count, uint width) {
    const size_t i = NEUMF_ELEMENT;
    if (i >= (size_t)count * width) return;
    const uint pair = first + (uint)(i / width), c = i % width;
    const float user = user_half[(size_t)(pair / each) * width + c],
                item = item_half[(size_t)item_of(of, i / width, pair, each) * width + c];
    h[i] = fmax(user + item, 0.0f);
}

/* logits [count]: of rows of `row` numbers x and y, the first `dots` multiplied with each other,
 * the last of each added where `bias` says so; h [count, last] times out.mlp. `weighted`: times out.gmf, plus
 * out.bias; else x is that already. */
KERNEL(neumf_logits, 256)
(GLOBAL const float *x, GLOBAL const float *y, uint row, GLOBAL const uint *of, GLOBAL const float *h,
 GLOBAL const float *dense, uint out_gmf, uint out_mlp, uint out_bias, uint dots, uint last, uint bias, uint weighted,
 uint first, uint each, uint count, GLOBAL float *logits) {
    const size_t i = NEUMF_ELEMENT;
    if (i >= count) return;
    const uint pair = first + (uint)i;
    const size_t user = (size_t)(pair / each) * row, item = (size_t)item_of(of, i, pair, each) * row;
    float sum = weighted ? dense[out_bias] : 0;
    if (bias) sum += x[user + row - 1] + y[item + row - 1];
    for (uint k = 0; k < dots; k++) sum += (weighted ? dense[out_gmf + k] : 1) * x[user + k] * y[item + k];
    for (uint k = 0; k < last; k++) sum += dense[out_mlp + k] * h[i * last + k];
    logits[i] = sum;
}

FUNCTION float sigmoid_of(float x) {
    const float e = exp(-fabs(x));
    return (x < 0 ? e : 1) / (1 + e);
}

/* log(1 + e^x), which is -log sigma(-x) */
FUNCTION float softplus(float x) { return fmax(x, 0.0f) + log(1 + exp(-fabs(x))); }

/* -log of the share of the like among it and its negatives, each of which stands for items / negatives others. */
FUNCTION float softmax_loss(GLOBAL float *x, uint pairs, uint items, float scale) {
    const float more = log((float)items / (float)(pairs - 1)), own = x[0];
    float most = own, sum = 0;
    for (uint j = 1; j < pairs; j++) most = fmax(most, x[j] + more);
    for (uint j = 0; j < pairs; j++) sum += exp(x[j] + (j ? more : 0) - most);
    for (uint j = 0; j < pairs; j++) x[j] = (exp(x[j] + (j ? more : 0) - most) / sum - (j ? 0 : 1)) * scale;
    return log(sum) + most - own;
}

/* Logits [likes, pairs] become the slopes of the loss times `scale`; losses [likes]. kind: of magpie_ranker_loss. A
 * thread a like. */
KERNEL(neumf_loss, 256)
(GLOBAL float *logits, GLOBAL float *losses, uint likes, uint pairs, uint kind, uint items, float scale) {
    const size_t g = NEUMF_ELEMENT;
    if (g >= likes) return;
    GLOBAL float *x = logits + g * pairs;
    float loss = 0, own = 0;
    if (kind == 0) {
        for (uint j = 0; j < pairs; j++) {
            loss += softplus(j ? x[j] : -x[j]);
            x[j] = (sigmoid_of(x[j]) - (j ? 0 : 1)) * scale;
        }
    } else if (kind == 1) {
        for (uint j = 1; j < pairs; j++) {
            loss += softplus(x[j] - x[0]);
            x[j] = sigmoid_of(x[j] - x[0]) * scale;
            own += x[j];
        }
        x[0] = -own;
    } else {
        loss = softmax_loss(x, pairs, items, scale);
    }
    losses[g] = loss;
}

/* Of rows [.., row] and the slopes of logits: the slopes of both rows' first `gmf` numbers and of their biases, and
 * turned [likes, gmf], whose sum is that of out.gmf. A thread a like and number; number gmf is the bias. */
KERNEL(neumf_gmf, 256)
(GLOBAL const float *users, GLOBAL const float *items, GLOBAL const float *slopes, GLOBAL const float *dense,
 uint out_gmf, GLOBAL float *user_slopes, GLOBAL float *item_slopes, GLOBAL float *turned, uint likes, uint pairs,
 uint gmf, uint row, uint bias) {
    const size_t at = NEUMF_ELEMENT, g = at / (gmf + 1), i = at % (gmf + 1);
    if (g >= likes || (i == gmf && !bias)) return;
    const size_t column = i < gmf ? i : row - 1;
    const float x = i < gmf ? users[g * row + i] : 1, weight = i < gmf ? dense[out_gmf + i] : 1;
    float sum = 0;
    for (size_t slot = g * pairs; slot < (g + 1) * pairs; slot++) {
        sum += slopes[slot] * (i < gmf ? items[slot * row + i] : 1);
        item_slopes[slot * row + column] = slopes[slot] * weight * x;
    }
    user_slopes[g * row + column] = weight * sum;
    if (i < gmf) turned[g * gmf + i] = x * sum;
}

/* out [likes, width]: the sum of each like's rows of x [likes, pairs, width]. */
KERNEL(neumf_user_half, 256)(GLOBAL const float *x, GLOBAL float *out, uint likes, uint pairs, uint width) {
    const size_t i = NEUMF_ELEMENT, g = i / width, c = i % width;
    if (g >= likes) return;
    float sum = 0;
    for (size_t slot = g * pairs; slot < (g + 1) * pairs; slot++) sum += x[slot * width + c];
    out[i] = sum;
}

/* out [count, columns]: row s is the sum of those of x that slots[starts[s]] .. slots[starts[s + 1] - 1] name. */
KERNEL(neumf_scatter, 256)
(GLOBAL const float *x, GLOBAL const uint *slots, GLOBAL const uint *starts, GLOBAL float *out, uint count,
 uint columns) {
    const size_t i = NEUMF_ELEMENT, s = i / columns, c = i % columns;
    if (s >= count) return;
    float sum = 0;
    for (uint k = starts[s]; k < starts[s + 1]; k++) sum += x[(size_t)slots[k] * columns + c];
    out[i] = sum;
}

/* Kingma and Ba 2015, algorithm 1. slopes [slices, elements] are summed up; element i is in row i / columns, and
 * that is rows[..] of the table (NULL: the table is as long as the slopes). rate and correct: with the corrections of
 * the moments; decay: of weights, added to slopes. */
KERNEL(neumf_adam, 256)
(GLOBAL float *values, GLOBAL float *first, GLOBAL float *second, GLOBAL const float *slopes, GLOBAL const uint *rows,
 uint columns, uint elements, uint slices, float rate, float correct, float decay) {
    const size_t i = NEUMF_ELEMENT;
    if (i >= elements) return;
    const size_t at = rows ? (size_t)rows[i / columns] * columns + i % columns : i;
    float slope = 0;
    for (uint s = 0; s < slices; s++) slope += slopes[(size_t)s * elements + i];
    slope += values[at] * decay;
    first[at] = first[at] * 0.9f + slope * 0.1f;
    second[at] = second[at] * 0.999f + slope * slope * 0.001f;
    values[at] -= first[at] * rate / (sqrt(second[at] * correct) + 1e-8f);
}
