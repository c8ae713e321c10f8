/* conv.cl - a convolution with what follows it, as a matrix product whose left side is never made: a row is a place of
 * the output, its depth the window over the input, tap by tap, channels-last. Behind product.h.
 *
 * Channels are padded to eight, so eight of the depth are of one tap. Bytes: x once for every TILE_COLUMNS channels of
 * y (its other taps come from the cache), the weights once for every TILE_ROWS places, y once, twice with a residual;
 * flops: 2 places out side^2 in. A 1 x 1 convolution is the product itself. */
enum { CONV_OUTSIDE = -(1 << 24) };

/* x [images, height, width, in]; weight [side^2 in, out]; bias, scale, offset [out]; y [images, out_height, out_width,
 * out]. y = relu(conv(x) + bias), + y before it with a residual, then scale y + offset. rows: places of y. */
KERNEL(conv, TILE_THREADS)
(GLOBAL const stream *x, GLOBAL const stream *weight, GLOBAL const float *bias, GLOBAL const float *scale,
 GLOBAL const float *offset, GLOBAL stream *y, uint rows, uint in, uint out, uint height, uint width, uint out_height,
 uint out_width, uint side, uint stride, uint padding, uint relu, uint residual, uint has_scale) {
    LOCAL tile_element a[TILE_ROWS][TILE_A], b[TILE_DEPTH][TILE_B];
    LOCAL float scratch[TILE_SCRATCH];
    LOCAL int window_top[TILE_ROWS], window_left[TILE_ROWS];
    LOCAL uint picture[TILE_ROWS]; /* its first place in x */
    const uint top = GROUP(0) * TILE_ROWS, left = GROUP(1) * TILE_COLUMNS, depth = side * side * in;
    EACH(r, TILE_ROWS, TILE_THREADS) {
        const uint row = top + r, image = row / (out_height * out_width), place = row % (out_height * out_width);
        window_top[r] = row < rows ? (int)(place / out_width * stride) - (int)padding : CONV_OUTSIDE;
        window_left[r] = (int)(place % out_width * stride) - (int)padding;
        picture[r] = row < rows ? image * height * width : 0;
    }
    BARRIER();
    tile_sums sums;
    tile_clear(&sums);
    for (uint first = 0; first < depth; first += TILE_DEPTH) {
        const uint k = first + TILE_A_DEPTH, tap = k / in, channel = k % in;
        const int down = (int)(tap / side), across = (int)(tap % side);
        for (uint i = 0; i < TILE_A_CHUNKS; i++) {
            const uint r = TILE_A_ROW(i);
            const int h = window_top[r] + down, w = window_left[r] + across;
            if (k < depth && h >= 0 && h < (int)height && w >= 0 && w < (int)width)
                tile_chunk(&a[r][TILE_A_DEPTH], x, ((size_t)picture[r] + (uint)h * width + (uint)w) * in + channel);
            else
                tile_chunk_zero(&a[r][TILE_A_DEPTH]);
        }
        tile_bring_b(b, weight, depth, out, first, left);
        BARRIER();
        tile_multiply(a, b, &sums);
        BARRIER();
    }
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
