/* rows.cl - what moves rows: in, about, and out as vectors. Bound by memory: every element is read and written once. */
enum { ROWS_THREADS = 128 };

/* y = values, of either storage. */
KERNEL(rows_load, 128)(GLOBAL const float *values, GLOBAL void *y, uint elements, uint y_is_sum) {
    const size_t i = (size_t)GROUP(0) * ROWS_THREADS + THREAD;
    if (i < elements) store_any(y, i, y_is_sum, values[i]);
}

/* y[i] = x[rows[i]]; a group a row. */
KERNEL(gather, 128)(GLOBAL const void *x, GLOBAL const uint *rows, GLOBAL void *y, uint columns, uint is_sum) {
    const size_t from = (size_t)rows[GROUP(0)] * columns, to = (size_t)GROUP(0) * columns;
    EACH(c, columns, ROWS_THREADS) store_any(y, to + c, is_sum, load_any(x, from + c, is_sum));
}

/* out[t] = the mean of the rows starts[t] .. starts[t + 1] - 1, or the first of them, divided by its Euclidean length
 * where `unit` says so, which is 1e-12 at least (torch.nn.functional.normalize). A group a text. */
KERNEL(pool, 128)
(GLOBAL const void *x, GLOBAL const uint *starts, GLOBAL float *out, uint columns, uint is_sum, uint mean, uint unit) {
    LOCAL float scratch[ROWS_THREADS];
    const uint first = starts[GROUP(0)], count = mean ? starts[GROUP(0) + 1] - first : 1;
    const size_t to = (size_t)GROUP(0) * columns;
    float squares = 0;
    EACH(c, columns, ROWS_THREADS) {
        float sum = 0;
        for (uint r = 0; r < count; r++) sum += load_any(x, (size_t)(first + r) * columns + c, is_sum);
        sum /= (float)count;
        out[to + c] = sum;
        squares += sum * sum;
    }
    if (!unit) return;
    const float length = fmax(sqrt(group_sum(scratch, ROWS_THREADS, squares)), 1e-12f);
    EACH(c, columns, ROWS_THREADS) out[to + c] /= length;
}
