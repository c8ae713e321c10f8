/* conv.cl - a convolution with what follows it, as a matrix product whose left side is never made: a row is a place of
 * the output, its depth the window over the input, tap by tap, channels-last. Behind product.h.
 *
 * Channels are padded to eight, so eight of the depth are of one tap. Bytes: x once for every TILE_COLUMNS channels of
 * y (its other taps come from the cache), the weights once for every TILE_ROWS places, y once, twice with a residual;
 * flops: 2 places out side^2 in. A 1 x 1 convolution is the product itself. */
enum { CONV_OUTSIDE = -(1 << 24) };

/* A place of y: the corner of its window in the picture, and the picture's first place in x. */
typedef struct conv_place {
    int top, left;
    uint picture;
} conv_place;

/* x [images, height, width, in]; weight [side^2 in, out]; bias, scale, offset [out]; y [images, out_height, out_width,
 * out]. y = relu(conv(x) + bias), + y before it with a residual, then scale y + offset. rows: places of y. */
KERNEL(conv, TILE_THREADS)
(GLOBAL const stream *x, GLOBAL const stream *weight, GLOBAL const float *bias, GLOBAL const float *scale,
 GLOBAL const float *offset, GLOBAL stream *y, uint rows, uint in, uint out, uint height, uint width, uint out_height,
 uint out_width, uint side, uint stride, uint padding, uint relu, uint residual, uint has_scale) {
    LOCAL tile_element a[TILE_STAGES][TILE_ROWS][TILE_A], b[TILE_STAGES][TILE_DEPTH][TILE_B];
    LOCAL float scratch[TILE_SCRATCH];
    const uint top = GROUP(0) * TILE_ROWS, left = GROUP(1) * TILE_COLUMNS, depth = side * side * in;
    conv_place places[TILE_A_CHUNKS];
    UNROLL for (uint i = 0; i < TILE_A_CHUNKS; i++) {
        const uint row = top + TILE_A_ROW(i), place = row % (out_height * out_width);
        places[i].top = row < rows ? (int)(place / out_width * stride) - (int)padding : CONV_OUTSIDE;
        places[i].left = (int)(place % out_width * stride) - (int)padding;
        places[i].picture = row / (out_height * out_width) * height * width;
    }
    /* Where this thread's part of the depth is: of which tap, and from which channel on. */
    uint channel = TILE_A_DEPTH % in, down = TILE_A_DEPTH / in / side, across = TILE_A_DEPTH / in % side;
    tile_sums sums;
    tile_clear(&sums);
    TILE_STEPS(depth, a, b, sums, {
        UNROLL for (uint i = 0; i < TILE_A_CHUNKS; i++) {
            LOCAL_PTR tile_element *to = &to_a[TILE_A_ROW(i)][TILE_A_DEPTH];
            const int h = places[i].top + (int)down, w = places[i].left + (int)across;
            if (down < side && h >= 0 && h < (int)height && w >= 0 && w < (int)width)
                tile_chunk(to, x, ((size_t)places[i].picture + (uint)h * width + (uint)w) * in + channel);
            else
                tile_chunk_zero(to);
        }
        for (channel += TILE_DEPTH; channel >= in; channel -= in)
            if (++across == side) {
                across = 0;
                down++;
            }
        tile_bring_b(to_b, weight, depth, out, first, left);
    })
    TILE_PUT(sums, scratch, r, c, value, {
        const uint row = top + r, column = left + c;
        if (row < rows && column < out) {
            const size_t at = (size_t)row * out + column;
            value += bias[column];
            if (residual) value += load(y, at);
            if (relu) value = fmax(value, 0.0f);
            if (has_scale) value = scale[column] * value + offset[column];
            store(y, at, value);
        }
    })
}
