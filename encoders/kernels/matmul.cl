/* matmul.cl - y = activation(x W^T + b). x [rows, depth] a stream, W packed as [depth, columns padded to eight], y of
 * either storage. Behind product.h. Bytes: x once for every TILE_COLUMNS of y, W once for every TILE_ROWS; flops:
 * 2 rows columns depth. */

/* OPS_IDENTITY, OPS_RELU, OPS_GELU, OPS_QUICK_GELU (ops.h). */
FUNCTION float activate(float x, uint activation) {
    if (activation == 1) return fmax(x, 0.0f);
    if (activation == 2) return x * 0.5f * (1 + erf(x * 0.70710678f));
    if (activation == 3) return x / (1 + exp(-1.702f * x));
    return x;
}

KERNEL(matmul, TILE_THREADS)
(GLOBAL const stream *x, GLOBAL const stream *weight, GLOBAL const float *bias, GLOBAL void *y, uint rows, uint columns,
 uint depth, uint padded, uint activation, uint y_is_sum) {
    LOCAL tile_element a[TILE_STAGES][TILE_ROWS][TILE_A], b[TILE_STAGES][TILE_DEPTH][TILE_B];
    LOCAL float scratch[TILE_SCRATCH];
    const uint top = GROUP(0) * TILE_ROWS, left = GROUP(1) * TILE_COLUMNS;
    tile_sums sums;
    tile_clear(&sums);
    TILE_STEPS(depth, a, b, sums, {
        const uint k = first + TILE_A_DEPTH;
        for (uint i = 0; i < TILE_A_CHUNKS; i++) {
            const uint row = top + TILE_A_ROW(i);
            LOCAL_PTR tile_element *to = &to_a[TILE_A_ROW(i)][TILE_A_DEPTH];
            const size_t at = (size_t)row * depth + k;
            if (row < rows && k + 8 <= depth && depth % 8 == 0) {
                tile_chunk(to, x, at);
            } else {
                tile_chunk_zero(to);
                for (uint j = 0; row < rows && k + j < depth && j < 8; j++) tile_element_put(to + j, x, at + j);
            }
        }
        tile_bring_b(to_b, weight, depth, padded, first, left);
    })
    TILE_PUT(sums, scratch, r, c, value, {
        const uint row = top + r, column = left + c;
        if (row < rows && column < columns)
            store_any(y, (size_t)row * columns + column, y_is_sum, activate(value + bias[column], activation));
    })
}

/* What follows a product that a library made: y = activation(y + bias), in place. A thread has eight elements. Bytes: y
 * twice. */
enum { BIAS_THREADS = 256, BIAS_EACH = 8 };
KERNEL(bias_activate, 256)
(GLOBAL void *y, GLOBAL const float *bias, uint elements, uint columns, uint activation, uint y_is_sum) {
    const size_t first = ((size_t)GROUP(0) * BIAS_THREADS + THREAD) * BIAS_EACH;
    const uint column = (uint)(first % columns);
    float values[BIAS_EACH], biases[BIAS_EACH];
    if (first >= elements) return;
    if (columns % BIAS_EACH == 0) {
        f8_get(load8_any(y, first, y_is_sum), values);
        f8_get(f8_global(bias + column), biases);
        UNROLL for (uint k = 0; k < BIAS_EACH; k++) values[k] = activate(values[k] + biases[k], activation);
        store8_any(y, first, y_is_sum, f8_of(values));
        return;
    }
    for (uint k = 0; k < BIAS_EACH && first + k < elements; k++)
        store_any(y, first + k, y_is_sum,
                  activate(load_any(y, first + k, y_is_sum) + bias[(column + k) % columns], activation));
}
