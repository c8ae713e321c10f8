/* norm.cl - layer norm, or division by the length, with what comes before it. A group a row.
 *
 * y = gamma (x - mean) / sqrt(variance + epsilon) + beta (Ba et al. 2016, eq. 4), the variance around the mean that
 * was found first. Bytes: add_norm reads x and residual and writes x and y; a thread keeps to its own columns, so what
 * it reads again comes from the nearest cache. */
enum { NORM_THREADS = 128 };

/* Of a row of `columns` that is in x from `at` on. */
FUNCTION void normalise(GLOBAL const float *x, size_t at, uint columns, GLOBAL const float *gamma,
                        GLOBAL const float *beta, float epsilon, GLOBAL void *y, size_t to, uint y_is_sum, float sum,
                        LOCAL_PTR float *scratch) {
    const float mean = group_sum(scratch, NORM_THREADS, sum) / (float)columns;
    float squares = 0;
    EACH(c, columns, NORM_THREADS) squares += (x[at + c] - mean) * (x[at + c] - mean);
    const float scale = RSQRT(group_sum(scratch, NORM_THREADS, squares) / (float)columns + epsilon);
    EACH(c, columns, NORM_THREADS)
        store_any(y, to + c, y_is_sum, (x[at + c] - mean) * scale * gamma[c] + beta[c]);
}

/* x += residual, then y = norm(x). `has_residual` 0: it is not looked at. y may be the residual. */
KERNEL(add_norm, 128)
(GLOBAL float *x, GLOBAL const void *residual, GLOBAL void *y, GLOBAL const float *gamma, GLOBAL const float *beta,
 float epsilon, uint columns, uint has_residual, uint residual_is_sum, uint y_is_sum) {
    LOCAL float scratch[NORM_THREADS];
    const size_t at = (size_t)GROUP(0) * columns;
    float sum = 0;
    EACH(c, columns, NORM_THREADS) {
        float value = x[at + c];
        if (has_residual) x[at + c] = value += load_any(residual, at + c, residual_is_sum);
        sum += value;
    }
    normalise(x, at, columns, gamma, beta, epsilon, y, at, y_is_sum, sum, scratch);
}

/* y[i] = norm(word[ids[i]] + position[i - first[i]] + type[0]); tables f32, `scratch_rows` as large as y. Without a
 * norm y is a sum. */
KERNEL(embed, 128)
(GLOBAL const float *word, GLOBAL const float *position, GLOBAL const float *type, GLOBAL const int *ids,
 GLOBAL const uint *first, GLOBAL float *sums, GLOBAL void *y, GLOBAL const float *gamma, GLOBAL const float *beta,
 float epsilon, uint columns, uint has_type, uint has_norm, uint y_is_sum) {
    LOCAL float scratch[NORM_THREADS];
    const uint row = GROUP(0);
    const size_t at = (size_t)row * columns, word_at = (size_t)ids[row] * columns,
                 position_at = (size_t)(row - first[row]) * columns;
    float sum = 0;
    EACH(c, columns, NORM_THREADS) {
        float value = word[word_at + c] + position[position_at + c];
        if (has_type) value += type[c];
        sums[at + c] = value;
        sum += value;
    }
    if (has_norm) normalise(sums, at, columns, gamma, beta, epsilon, y, at, y_is_sum, sum, scratch);
}

/* out = (x + residual) / |x + residual|, the length 1e-12 at least (torch.nn.functional.normalize). `has_residual` 0: it
 * is not looked at. All f32. Bytes: each once, and what a thread has itself written again; flops: 4 an element. */
KERNEL(unit_rows, 128)
(GLOBAL const float *x, GLOBAL const float *residual, GLOBAL float *out, uint columns, uint has_residual) {
    LOCAL float scratch[NORM_THREADS];
    const size_t at = (size_t)GROUP(0) * columns;
    float squares = 0;
    EACH(c, columns, NORM_THREADS) {
        float value = x[at + c];
        if (has_residual) value += residual[at + c];
        out[at + c] = value;
        squares += value * value;
    }
    const float length = fmax(sqrt(group_sum(scratch, NORM_THREADS, squares)), 1e-12f);
    EACH(c, columns, NORM_THREADS) out[at + c] /= length;
}
