/* norm.cl - layer norm, or division by the length, with what comes before it. Each 32 threads have a row, so that a warp
 * of CUDA's waits for no other.
 *
 * y = gamma (x - mean) / sqrt(variance + epsilon) + beta (Ba et al. 2016, eq. 4), the variance around the mean that
 * was found first. Bytes: add_norm reads x and residual and writes y, and x if it is kept; a thread keeps to its own
 * columns, so what it reads again comes from the nearest cache. */
enum { NORM_THREADS = 128, NORM_ROWS = NORM_THREADS / LANES };

/* A group that has no row of its own left does the last one's, and writes nothing. */
#define NORM_ROW(rows) (NORM_OWN < (rows) ? NORM_OWN : (rows) - 1)
#define NORM_OWN (GROUP(0) * NORM_ROWS + THREAD / LANES)

/* x or, with a residual, x + residual. */
FUNCTION float norm_value(GLOBAL const float *x, GLOBAL const void *residual, size_t at, uint has_residual,
                          uint residual_is_sum) {
    return has_residual ? x[at] + load_any(residual, at, residual_is_sum) : x[at];
}

/* Of a row of `columns` numbers from `at` on, whose sum is known. y may be the residual. */
FUNCTION void normalise(GLOBAL const float *x, GLOBAL const void *residual, size_t at, uint columns, uint has_residual,
                        uint residual_is_sum, GLOBAL const float *gamma, GLOBAL const float *beta, float epsilon,
                        GLOBAL void *y, uint y_is_sum, float sum, uint is_row, LOCAL_PTR float *scratch) {
    const float mean = lanes_sum(scratch, sum) / (float)columns;
    float squares = 0;
    EACH_LANE(c, columns) {
        const float off = norm_value(x, residual, at + c, has_residual, residual_is_sum) - mean;
        squares += off * off;
    }
    const float scale = RSQRT(lanes_sum(scratch, squares) / (float)columns + epsilon);
    if (!is_row) return;
    EACH_LANE(c, columns)
        store_any(y, at + c, y_is_sum,
                  (norm_value(x, residual, at + c, has_residual, residual_is_sum) - mean) * scale * gamma[c] + beta[c]);
}

/* y = norm(x + residual), and with `keep` x += residual. `has_residual` 0: it is not looked at. y may be the residual. */
KERNEL(add_norm, 128)
(GLOBAL float *x, GLOBAL const void *residual, GLOBAL void *y, GLOBAL const float *gamma, GLOBAL const float *beta,
 float epsilon, uint rows, uint columns, uint has_residual, uint residual_is_sum, uint y_is_sum, uint keep) {
    LOCAL float scratch[NORM_THREADS];
    const uint is_row = NORM_OWN < rows;
    const size_t at = (size_t)NORM_ROW(rows) * columns;
    float sum = 0;
    EACH_LANE(c, columns) {
        const float value = norm_value(x, residual, at + c, has_residual, residual_is_sum);
        if (keep && is_row) x[at + c] = value;
        sum += value;
    }
    normalise(x, residual, at, columns, has_residual && !keep, residual_is_sum, gamma, beta, epsilon, y, y_is_sum, sum,
              is_row, scratch);
}

/* y[i] = norm(word[ids[i]] + position[i - first[i]] + type[0]); tables f32, `sums` as large as y. Without a norm
 * y is a sum. */
KERNEL(embed, 128)
(GLOBAL const float *word, GLOBAL const float *position, GLOBAL const float *type, GLOBAL const int *ids,
 GLOBAL const uint *first, GLOBAL float *sums, GLOBAL void *y, GLOBAL const float *gamma, GLOBAL const float *beta,
 float epsilon, uint rows, uint columns, uint has_type, uint has_norm, uint y_is_sum) {
    LOCAL float scratch[NORM_THREADS];
    const uint row = NORM_ROW(rows), is_row = NORM_OWN < rows;
    const size_t at = (size_t)row * columns, word_at = (size_t)ids[row] * columns,
                 position_at = (size_t)(row - first[row]) * columns;
    float sum = 0;
    EACH_LANE(c, columns) {
        float value = word[word_at + c] + position[position_at + c];
        if (has_type) value += type[c];
        if (is_row) sums[at + c] = value;
        sum += value;
    }
    if (has_norm)
        normalise(sums, sums, at, columns, 0, 1, gamma, beta, epsilon, y, y_is_sum, sum, is_row, scratch);
}

/* out = (x + residual) / |x + residual|, the length 1e-12 at least (torch.nn.functional.normalize). `has_residual` 0: it
 * is not looked at. All f32. Bytes: each once, and what a thread has itself written again; flops: 4 an element. */
KERNEL(unit_rows, 128)
(GLOBAL const float *x, GLOBAL const float *residual, GLOBAL float *out, uint rows, uint columns, uint has_residual) {
    LOCAL float scratch[NORM_THREADS];
    const uint is_row = NORM_OWN < rows;
    const size_t at = (size_t)NORM_ROW(rows) * columns;
    float squares = 0;
    EACH_LANE(c, columns) {
        const float value = norm_value(x, residual, at + c, has_residual, 1);
        squares += value * value;
    }
    const float length = fmax(sqrt(lanes_sum(scratch, squares)), 1e-12f);
    if (!is_row) return;
    EACH_LANE(c, columns) out[at + c] = norm_value(x, residual, at + c, has_residual, 1) / length;
}
