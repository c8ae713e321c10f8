/* resize.cl - decoded pictures of any sizes to what a network looks at: Pillow's antialiased resize, of the part that a
 * crop keeps, as encoders/image_resize.c has it and equal to it to the byte (coefficients in fixed point, made on the
 * host; 8-bit pixels between the passes), then (pixel / 255 - mean) / std into a map. Pictures are packed as
 * image_resize.h says, dimension 1 of the grid counts them.
 *
 * Bytes: the source pixels that count once (each is asked for by two or four taps, which meet in the cache), what is
 * between the passes twice, the map once; 6 taps flops a pixel in each pass, all of whole numbers. */
enum { RESIZE_BITS = 22, RESIZE_THREADS = 256 };
enum { WIDTH, ROWS, X_TAPS, X_COUNT, X_PLACE, Y_TAPS, Y_COUNT, Y_PLACE, HEADER };

FUNCTION int resize_byte(int sum) {
    sum >>= RESIZE_BITS;
    return sum < 0 ? 0 : sum > 255 ? 255 : sum;
}

/* The sum over `taps` pixels, `step` bytes apart, of a line of `length` pixels that begins at `line`, from pixel
 * `first` on. Past the end coefficients are 0. */
FUNCTION void resize_pixel(GLOBAL const u8 *line, uint first, uint length, uint step, GLOBAL const int *coefficients,
                           uint taps, int *rgb) {
    int red = 1 << (RESIZE_BITS - 1), green = red, blue = red;
    for (uint t = 0; t < taps && first + t < length; t++) {
        GLOBAL const u8 *pixel = line + (size_t)(first + t) * step;
        const int k = coefficients[t];
        red += pixel[0] * k;
        green += pixel[1] * k;
        blue += pixel[2] * k;
    }
    rgb[0] = resize_byte(red);
    rgb[1] = resize_byte(green);
    rgb[2] = resize_byte(blue);
}

/* between [rows, X_COUNT, 3]. starts [images, 2]: the first word of a picture, the first of its pixels in `between`. */
KERNEL(resize_across, 256)(GLOBAL const uint *pictures, GLOBAL const uint *starts, GLOBAL u8 *between) {
    GLOBAL const uint *picture = pictures + starts[2 * GROUP(1)];
    const uint count = picture[X_COUNT], taps = picture[X_TAPS], i = GROUP(0) * RESIZE_THREADS + THREAD;
    if (i >= picture[ROWS] * count) return;
    const uint x = i % count, row = i / count;
    GLOBAL const uint *first = picture + HEADER;
    GLOBAL const u8 *pixels =
        (GLOBAL const u8 *)(first + count * (1 + taps) + picture[Y_COUNT] * (1 + picture[Y_TAPS]));
    GLOBAL u8 *to = between + 3 * ((size_t)starts[2 * GROUP(1) + 1] + i);
    int rgb[3];
    resize_pixel(pixels + (size_t)row * picture[WIDTH] * 3, first[x], picture[WIDTH], 3,
                 (GLOBAL const int *)(first + count) + x * taps, taps, rgb);
    for (uint c = 0; c < 3; c++) to[c] = (u8)rgb[c];
}

/* y [images, side, side, 8]; outside of what was resized black. */
KERNEL(resize_down, 256)
(GLOBAL const uint *pictures, GLOBAL const uint *starts, GLOBAL const u8 *between, GLOBAL stream *y, uint side,
 float mean_r, float mean_g, float mean_b, float std_r, float std_g, float std_b) {
    GLOBAL const uint *picture = pictures + starts[2 * GROUP(1)];
    const uint count = picture[X_COUNT], taps = picture[Y_TAPS], place = GROUP(0) * RESIZE_THREADS + THREAD;
    if (place >= side * side) return;
    const uint column = place % side - picture[X_PLACE], row = place / side - picture[Y_PLACE]; /* huge: outside */
    GLOBAL const uint *first = picture + HEADER + count * (1 + picture[X_TAPS]);
    int rgb[3] = {0, 0, 0};
    if (column < count && row < picture[Y_COUNT])
        resize_pixel(between + 3 * ((size_t)starts[2 * GROUP(1) + 1] + column), first[row], picture[ROWS], 3 * count,
                     (GLOBAL const int *)(first + picture[Y_COUNT]) + row * taps, taps, rgb);
    const size_t to = ((size_t)GROUP(1) * side * side + place) * 8;
    store(y, to, ((float)rgb[0] / 255 - mean_r) / std_r);
    store(y, to + 1, ((float)rgb[1] / 255 - mean_g) / std_g);
    store(y, to + 2, ((float)rgb[2] / 255 - mean_b) / std_b);
    for (uint c = 3; c < 8; c++) store(y, to + c, 0);
}
