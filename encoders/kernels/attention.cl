/* attention.cl - softmax(q k^T / sqrt(d)) v of texts of any lengths, without padding. Vaswani et al. 2017, eq. 1; the
 * softmax in one pass (Milakov and Gimelshein 2018): a running maximum, and what was summed up is scaled when it rises.
 *
 * A thread is a row and a head; a group is ATTENTION_ROWS consecutive rows of all texts, so that short texts fill it
 * as long ones do. Keys and values of all texts that it has rows of go through local memory, a tile a time, and each
 * thread looks at those of its own text. -DHEAD: d, rounded up; what is beyond d is zero. Bytes: qkv once, and k and v
 * once more a group; flops: 4 d a pair of row and key. */
enum { ATTENTION_ROWS = 64, ATTENTION_KEYS = 32, ATTENTION_CHUNKS = HEAD / 8, ATTENTION_PITCH = HEAD + 4 };

/* c to c + 7 of a head's d numbers from `at` on, and zeros behind them. Of a multiple of eight, `at` is one. */
FUNCTION f8 load_chunk(GLOBAL const stream *p, size_t at, uint c, uint d) {
    float values[8];
    if (d % 8 == 0 && c < d) return load8(p, at + c);
    UNROLL for (uint k = 0; k < 8; k++) values[k] = c + k < d ? load(p, at + c + k) : 0;
    return f8_of(values);
}

/* qkv [rows, 3 heads d]; y [rows, heads d]; first and end [rows]: of the row's text. */
KERNEL(attention, 64)
(GLOBAL const stream *qkv, GLOBAL const uint *first, GLOBAL const uint *end, GLOBAL stream *y, uint rows, uint heads,
 uint d, uint causal, float scale) {
    LOCAL float keys[ATTENTION_KEYS][ATTENTION_PITCH], values[ATTENTION_KEYS][ATTENTION_PITCH];
    const uint row = GROUP(0) * ATTENTION_ROWS + THREAD, head = GROUP(1), hidden = heads * d, last_row = rows - 1;
    const uint is_row = row < rows;
    const uint group_first = first[GROUP(0) * ATTENTION_ROWS];
    const uint group_last = GROUP(0) * ATTENTION_ROWS + ATTENTION_ROWS - 1;
    const uint group_end = end[group_last < last_row ? group_last : last_row];
    const uint own_first = is_row ? first[row] : 0, own_end = !is_row ? 0 : causal ? row + 1 : end[row];
    float q[HEAD], sum[HEAD], largest = -INFINITY, weight = 0;
    UNROLL for (uint c = 0; c < HEAD; c += 8)
        f8_get(is_row ? load_chunk(qkv, (size_t)row * 3 * hidden + head * d, c, d) : F8_ZERO, q + c);
    UNROLL for (uint c = 0; c < HEAD; c++) {
        q[c] *= scale;
        sum[c] = 0;
    }
    for (uint tile = group_first; tile < group_end; tile += ATTENTION_KEYS) {
        const uint tile_end = tile + ATTENTION_KEYS < group_end ? tile + ATTENTION_KEYS : group_end;
        BARRIER();
        EACH(i, ATTENTION_KEYS * ATTENTION_CHUNKS, ATTENTION_ROWS) {
            const uint r = i / ATTENTION_CHUNKS, c = i % ATTENTION_CHUNKS * 8, key = tile + r;
            const size_t at = (size_t)key * 3 * hidden + hidden + head * d;
            f8_to_local(&keys[r][c], key < tile_end ? load_chunk(qkv, at, c, d) : F8_ZERO);
            f8_to_local(&values[r][c], key < tile_end ? load_chunk(qkv, at + hidden, c, d) : F8_ZERO);
        }
        BARRIER();
        const uint from = own_first > tile ? own_first : tile, to = own_end < tile_end ? own_end : tile_end;
        for (uint key = from; key < to; key++) {
            LOCAL_PTR const float *k = keys[key - tile], *v = values[key - tile];
            float score = 0;
            UNROLL for (uint c = 0; c < HEAD; c++) score += q[c] * k[c];
            if (score > largest) {
                const float smaller = exp(largest - score);
                largest = score;
                weight *= smaller;
                UNROLL for (uint c = 0; c < HEAD; c++) sum[c] *= smaller;
            }
            const float p = exp(score - largest);
            weight += p;
            UNROLL for (uint c = 0; c < HEAD; c++) sum[c] += p * v[c];
        }
    }
    if (!is_row) return;
    const size_t to = (size_t)row * hidden + head * d;
    UNROLL for (uint c = 0; c < HEAD; c++) sum[c] /= weight;
    UNROLL for (uint c = 0; c < HEAD; c += 8) {
        if (d % 8 == 0 && c < d)
            store8(y, to + c, f8_of(sum + c));
        else
            UNROLL for (uint k = 0; k < 8; k++)
                if (c + k < d) store(y, to + c + k, sum[c + k]);
    }
}
