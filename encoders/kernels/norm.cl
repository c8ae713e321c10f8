/* norm.cl - layer norm, or division by the length, with what comes before it. Each 32 threads have a row, so that a warp
 * of CUDA's waits for no other.
 *
 * y = gamma (x - mean) / sqrt(variance + epsilon) + beta (Ba et al. 2016, eq. 4), the variance around the mean that
 * was found first. Bytes: add_norm reads x and residual and writes y, and x if it is kept; a thread keeps to its own
 * columns, so what it reads again comes from the nearest cache. */
enum { NORM_THREADS = 128, NORM_ROWS = NORM_THREADS / LANES };

/* Behind the last row there is one of no columns: its threads are there for the barriers alone. */
#define NORM_ROW (GROUP(0) * NORM_ROWS + THREAD / LANES)
#define NORM_COLUMNS(rows, columns) (NORM_ROW < (rows) ? (columns) : 0)

/* Eight of a row of `columns` from column c on, zeros behind it: x or, with a residual, x + residual. */
FUNCTION void norm_values(GLOBAL const float *x, GLOBAL const void *residual, size_t at, uint c, uint columns,
                          uint has_residual, uint residual_is_sum, float *values) {
    if (columns % 8 == 0) {
        f8 sum = f8_global(x + at + c);
        if (has_residual) sum = f8_madd(sum, 1, load8_any(residual, at + c, residual_is_sum));
        f8_get(sum, values);
        return;
    }
    UNROLL for (uint k = 0; k < 8; k++) {
        values[k] = c + k < columns ? x[at + c + k] : 0;
        if (has_residual && c + k < columns) values[k] += load_any(residual, at + c + k, residual_is_sum);
    }
}

FUNCTION void norm_store(GLOBAL void *y, size_t at, uint c, uint columns, uint is_sum, const float *values) {
    if (columns % 8 == 0) {
        store8_any(y, at + c, is_sum, f8_of(values));
        return;
    }
    UNROLL for (uint k = 0; k < 8; k++)
        if (c + k < columns) store_any(y, at + c + k, is_sum, values[k]);
}

/* Of a row of `columns` numbers from `at` on, whose sum is known. y may be the residual. */
FUNCTION void normalise(GLOBAL const float *x, GLOBAL const void *residual, size_t at, uint columns, uint has_residual,
                        uint residual_is_sum, GLOBAL const float *gamma, GLOBAL const float *beta, float epsilon,
                        GLOBAL void *y, uint y_is_sum, float sum, LOCAL_PTR float *scratch) {
    const float mean = lanes_sum(scratch, sum) / (float)columns;
    float squares = 0, values[8];
    EACH_LANE(i, (columns + 7) / 8) {
        norm_values(x, residual, at, 8 * i, columns, has_residual, residual_is_sum, values);
        UNROLL for (uint k = 0; k < 8; k++)
            if (8 * i + k < columns) squares += (values[k] - mean) * (values[k] - mean);
    }
    const float scale = RSQRT(lanes_sum(scratch, squares) / (float)columns + epsilon);
    EACH_LANE(i, (columns + 7) / 8) {
        norm_values(x, residual, at, 8 * i, columns, has_residual, residual_is_sum, values);
        UNROLL for (uint k = 0; k < 8; k++)
            if (8 * i + k < columns) values[k] = (values[k] - mean) * scale * gamma[8 * i + k] + beta[8 * i + k];
        norm_store(y, at, 8 * i, columns, y_is_sum, values);
    }
}

/* y = norm(x + residual), and with `keep` x += residual. `has_residual` 0: it is not looked at. y may be the residual. */
KERNEL(add_norm, 128)
(GLOBAL float *x, GLOBAL const void *residual, GLOBAL void *y, GLOBAL const float *gamma, GLOBAL const float *beta,
 float epsilon, uint rows, uint width, uint has_residual, uint residual_is_sum, uint y_is_sum, uint keep) {
    LOCAL float scratch[NORM_THREADS];
    const uint columns = NORM_COLUMNS(rows, width);
    const size_t at = (size_t)NORM_ROW * width;
    float sum = 0, values[8];
    EACH_LANE(i, (columns + 7) / 8) {
        norm_values(x, residual, at, 8 * i, columns, has_residual, residual_is_sum, values);
        if (keep) norm_store(x, at, 8 * i, columns, 1, values);
        UNROLL for (uint k = 0; k < 8; k++) sum += values[k];
    }
    normalise(x, residual, at, columns, has_residual && !keep, residual_is_sum, gamma, beta, epsilon, y, y_is_sum, sum,
              scratch);
}

/* y[i] = norm(word[ids[i]] + position[i - first[i]] + type[0]); tables f32, `sums` as large as y. Without a norm
 * y is a sum. */
KERNEL(embed, 128)
(GLOBAL const float *word, GLOBAL const float *position, GLOBAL const float *type, GLOBAL const int *ids,
 GLOBAL const uint *first, GLOBAL float *sums, GLOBAL void *y, GLOBAL const float *gamma, GLOBAL const float *beta,
 float epsilon, uint rows, uint width, uint has_type, uint has_norm, uint y_is_sum) {
    LOCAL float scratch[NORM_THREADS];
    const uint columns = NORM_COLUMNS(rows, width), row = columns ? NORM_ROW : 0;
    const size_t at = (size_t)row * width, word_at = (size_t)ids[row] * width,
                 position_at = (size_t)(row - first[row]) * width;
    float sum = 0, values[8];
    EACH_LANE(i, (columns + 7) / 8) {
        norm_values(word + word_at, position + position_at, 0, 8 * i, columns, 1, 1, values);
        UNROLL for (uint k = 0; k < 8; k++) {
            if (has_type && 8 * i + k < columns) values[k] += type[8 * i + k];
            sum += values[k];
        }
        norm_store(sums, at, 8 * i, columns, 1, values);
    }
    if (has_norm)
        normalise(sums, sums, at, columns, 0, 1, gamma, beta, epsilon, y, y_is_sum, sum, scratch);
}

/* out = (x + residual) / |x + residual|, the length 1e-12 at least (torch.nn.functional.normalize). `has_residual` 0: it
 * is not looked at. All f32. Bytes: each once, and what a thread has itself written again; flops: 4 an element. */
KERNEL(unit_rows, 128)
(GLOBAL const float *x, GLOBAL const float *residual, GLOBAL float *out, uint rows, uint width, uint has_residual) {
    LOCAL float scratch[NORM_THREADS];
    const uint columns = NORM_COLUMNS(rows, width);
    const size_t at = (size_t)NORM_ROW * width;
    float squares = 0, values[8];
    EACH_LANE(i, (columns + 7) / 8) {
        norm_values(x, residual, at, 8 * i, columns, has_residual, 1, values);
        UNROLL for (uint k = 0; k < 8; k++) squares += values[k] * values[k];
    }
    const float length = fmax(sqrt(lanes_sum(scratch, squares)), 1e-12f);
    EACH_LANE(i, (columns + 7) / 8) {
        norm_values(x, residual, at, 8 * i, columns, has_residual, 1, values);
        UNROLL for (uint k = 0; k < 8; k++) values[k] /= length;
        norm_store(out, at, 8 * i, columns, 1, values);
    }
}
