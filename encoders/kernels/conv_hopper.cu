/* conv_hopper.cu - the convolution of conv.cl for Hopper's tensor cores (compute capability 9.0 alone) and streams of 16
 * bits. CUDA's, behind product.h; arguments are conv.cl's.
 *
 * A group makes CONV_ROWS places x COLUMNS channels, by two warpgroups of 64 places each. A step is CONV_DEPTH of the depth:
 * copies (cp.async) bring it into one of CONV_STAGES of local memory, two steps ahead of wgmma, of which one is always on its
 * way. Both operands lie as wgmma wants them with the swizzle of 128 bytes (PTX ISA, "Asynchronous warpgroup level matrix
 * shared memory layout"): of the input, 64 of a place's window are a row of 128 bytes; of the weights, 64 channels are, and
 * rows go on with the depth; the chunks of 16 bytes of row r are exchanged by xor with r % 8.
 *
 * An element's sum has one order, that of the depth, whatever COLUMNS is: a place gets the same bits in any batch. */
enum { CONV_ROWS = 128, CONV_DEPTH = 64, CONV_STAGES = 4, CONV_THREADS = 256, CONV_ROW_BYTES = 128 };
enum { CONV_OUTSIDE = -(1 << 24) };

#define CONV_REGISTERS_32                                                                                              \
    "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, "  \
    "%24, %25, %26, %27, %28, %29, %30, %31"
#define CONV_REGISTERS_64                                                                                              \
    CONV_REGISTERS_32 ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, "   \
                      "%50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define CONV_REGISTERS_128                                                                                             \
    CONV_REGISTERS_64 ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, "   \
                      "%82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, %96, %97, %98, %99, "     \
                      "%100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, %112, %113, %114, "     \
                      "%115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
#define CONV_F4(d, i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define CONV_F16(d, i) CONV_F4(d, i), CONV_F4(d, i + 4), CONV_F4(d, i + 8), CONV_F4(d, i + 12)
#define CONV_F32(d, i) CONV_F16(d, i), CONV_F16(d, i + 16)
#if STREAM_BITS == 16
#define CONV_TYPES "f32.bf16.bf16 "
#else
#define CONV_TYPES "f32.f16.f16 "
#endif

/* `add` is operand number `add_at`. */
#define CONV_WGMMA(shape, add_at)                                                                                      \
    "{.reg .pred p;\n\tsetp.ne.b32 p, %" #add_at ", 0;\n\twgmma.mma_async.sync.aligned." shape "." CONV_TYPES

/* sums [64, columns] = a b, or with `add` sums + a b, of 16 of the depth: a is places by depth, b depth by channels, which
 * the last of the numbers says. The sums are nobody's until the group of products is waited for. */
FUNCTION void conv_multiply(float (&sums)[32], u64 a, u64 b, uint add) {
    asm volatile(CONV_WGMMA("m64n64k16", 34) CONV_REGISTERS_32 "}, %32, %33, p, 1, 1, 0, 1;}"
                 : CONV_F32(sums, 0)
                 : "l"(a), "l"(b), "r"(add));
}
FUNCTION void conv_multiply(float (&sums)[64], u64 a, u64 b, uint add) {
    asm volatile(CONV_WGMMA("m64n128k16", 66) CONV_REGISTERS_64 "}, %64, %65, p, 1, 1, 0, 1;}"
                 : CONV_F32(sums, 0), CONV_F32(sums, 32)
                 : "l"(a), "l"(b), "r"(add));
}
FUNCTION void conv_multiply(float (&sums)[128], u64 a, u64 b, uint add) {
    asm volatile(CONV_WGMMA("m64n256k16", 130) CONV_REGISTERS_128 "}, %128, %129, p, 1, 1, 0, 1;}"
                 : CONV_F32(sums, 0), CONV_F32(sums, 32), CONV_F32(sums, 64), CONV_F32(sums, 96)
                 : "l"(a), "l"(b), "r"(add));
}

/* Of a matrix in local memory with the swizzle of 128 bytes: `across` bytes to the next 64 of its contiguous dimension, if it
 * is not the depth, and 1024 to the next eight rows. */
FUNCTION u64 conv_matrix(uint local, uint across) {
    return (u64)1 << 62 | (u64)(1024 / 16) << 32 | (u64)(across / 16) << 16 | (local & 0x3ffff) / 16;
}

/* Sixteen bytes, zeros where `is_there` is not. */
FUNCTION void conv_copy(uint to, const stream *from, uint is_there) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(is_there ? 16 : 0) : "memory");
}

typedef struct conv_shape {
    uint rows, in, out, height, width, out_height, out_width, side, stride, padding, relu, residual, has_scale;
} conv_shape;

typedef struct conv_place {
    int top, left;
    uint picture;
} conv_place;

template <uint COLUMNS>
FUNCTION void conv_hopper(const stream *x, const stream *weight, const float *bias, const float *scale,
                          const float *offset, stream *y, const conv_shape s) {
    constexpr uint A_BYTES = CONV_ROWS * CONV_ROW_BYTES, B_BYTES = CONV_DEPTH * COLUMNS * 2, STAGE = A_BYTES + B_BYTES;
    constexpr uint B_EACH = CONV_DEPTH * COLUMNS / 8 / CONV_THREADS, B_ROWS = CONV_THREADS / (COLUMNS / 8);
    extern __shared__ __align__(1024) u8 local[];
    const uint base = (uint)__cvta_generic_to_shared(local);
    const uint top = GROUP(0) * CONV_ROWS, left = GROUP(1) * COLUMNS;
    const uint taps = s.side * s.side, depth = taps * s.in, steps = (depth + CONV_DEPTH - 1) / CONV_DEPTH;
    /* Eight of the depth, and four places. */
    const uint chunk = THREAD % 8;
    conv_place places[4];
    UNROLL for (uint i = 0; i < 4; i++) {
        const uint row = top + THREAD / 8 + 32 * i, place = row % (s.out_height * s.out_width);
        places[i].top = row < s.rows ? (int)(place / s.out_width * s.stride) - (int)s.padding : CONV_OUTSIDE;
        places[i].left = (int)(place % s.out_width * s.stride) - (int)s.padding;
        places[i].picture = row / (s.out_height * s.out_width) * s.height * s.width;
    }
    const uint a_to = THREAD / 8 * CONV_ROW_BYTES + (chunk ^ THREAD / 8 % 8) * 16;
    /* Eight channels of every B_ROWS-th of the depth. */
    const uint b_column = THREAD % (COLUMNS / 8), b_row = THREAD / (COLUMNS / 8);
    const uint b_there = left + b_column * 8 < s.out;
    const uint b_to = A_BYTES + b_column / 8 * (CONV_DEPTH * CONV_ROW_BYTES);
    const stream *b_from = weight + left + b_column * 8;
    /* Channels in steps, taps within them, so that taps find their places in the nearest cache; or all in one. */
    const uint is_cut = s.in % CONV_DEPTH == 0;
    uint channel = is_cut ? chunk * 8 : chunk * 8 % s.in, tap = is_cut ? 0 : chunk * 8 / s.in;
    uint down = tap / s.side, across = tap % s.side, first = 0, brought = 0;
    auto bring = [&]() {
        if (brought < steps) {
            const uint to = base + brought % CONV_STAGES * STAGE;
            UNROLL for (uint i = 0; i < 4; i++) {
                const int h = places[i].top + (int)down, w = places[i].left + (int)across;
                const uint is_there = down < s.side && h >= 0 && h < (int)s.height && w >= 0 && w < (int)s.width;
                const uint place = is_there ? places[i].picture + (uint)h * s.width + (uint)w : 0;
                conv_copy(to + a_to + i * 32 * CONV_ROW_BYTES, x + (size_t)place * s.in + channel, is_there);
            }
            UNROLL for (uint i = 0; i < B_EACH; i++) {
                const uint r = b_row + i * B_ROWS, is_there = b_there && first + r < depth;
                conv_copy(to + b_to + r * CONV_ROW_BYTES + (b_column % 8 ^ r % 8) * 16,
                          is_there ? b_from + (size_t)(first + r) * s.out : weight, is_there);
            }
            if (is_cut) {
                first += s.in;
                if (++across == s.side) {
                    across = 0;
                    if (++down == s.side) {
                        down = 0;
                        channel += CONV_DEPTH;
                        first += CONV_DEPTH - depth;
                    }
                }
            } else {
                first += CONV_DEPTH;
                for (channel += CONV_DEPTH; channel >= s.in; channel -= s.in)
                    if (++across == s.side) {
                        across = 0;
                        down++;
                    }
            }
        }
        brought++;
        asm volatile("cp.async.commit_group;");
    };
    float sums[COLUMNS / 2];
    for (uint i = 0; i < CONV_STAGES - 2; i++) bring();
    for (uint step = 0; step < steps; step++) {
        asm volatile("cp.async.wait_group %0;\n\tfence.proxy.async.shared::cta;" ::"n"(CONV_STAGES - 3) : "memory");
        BARRIER();
        const uint from = base + step % CONV_STAGES * STAGE;
        const u64 a = conv_matrix(from + THREAD / 128 * 64 * CONV_ROW_BYTES, 0);
        const u64 b = conv_matrix(from + A_BYTES, CONV_DEPTH * CONV_ROW_BYTES);
        asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
        UNROLL for (uint k = 0; k < CONV_DEPTH / 16; k++)
            conv_multiply(sums, a + k * 32 / 16, b + k * 16 * CONV_ROW_BYTES / 16, step | k);
        asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
        bring();
        /* The one before is over: behind the next barrier its stage is free. */
        asm volatile("wgmma.wait_group.sync.aligned 1;" ::: "memory");
    }
    asm volatile("wgmma.wait_group.sync.aligned 0;\n\tcp.async.wait_group 0;" ::: "memory");
    BARRIER();
    /* Through local memory, so that a thread has eight channels of a place. */
    constexpr uint PITCH = COLUMNS + 4;
    float *tile = (float *)local;
    const uint r0 = THREAD / 128 * 64 + THREAD / 32 % 4 * 16 + THREAD % 32 / 4, c0 = THREAD % 4 * 2;
    UNROLL for (uint j = 0; j < COLUMNS / 8; j++) {
        float *to = tile + r0 * PITCH + c0 + 8 * j;
        *(float2 *)to = make_float2(sums[4 * j], sums[4 * j + 1]);
        *(float2 *)(to + 8 * PITCH) = make_float2(sums[4 * j + 2], sums[4 * j + 3]);
    }
    BARRIER();
    EACH(i, CONV_ROWS * COLUMNS / 8, CONV_THREADS) {
        const uint r = i / (COLUMNS / 8), c = i % (COLUMNS / 8) * 8, row = top + r, column = left + c;
        if (row >= s.rows || column >= s.out) continue;
        const size_t at = (size_t)row * s.out + column;
        float values[8], others[8];
        f8_get(f8_global(tile + r * PITCH + c), values);
        f8_get(f8_global(bias + column), others);
        UNROLL for (uint k = 0; k < 8; k++) values[k] += others[k];
        if (s.residual) {
            f8_get(load8(y, at), others);
            UNROLL for (uint k = 0; k < 8; k++) values[k] += others[k];
        }
        UNROLL for (uint k = 0; k < 8; k++) if (s.relu) values[k] = fmax(values[k], 0.0f);
        if (s.has_scale)
            UNROLL for (uint k = 0; k < 8; k++) values[k] = scale[column + k] * values[k] + offset[column + k];
        store8(y, at, f8_of(values));
    }
}

#define CONV_HOPPER(columns)                                                                                           \
    KERNEL(conv_hopper_##columns, CONV_THREADS)                                                                        \
    (const stream *x, const stream *weight, const float *bias, const float *scale, const float *offset, stream *y,     \
     uint rows, uint in, uint out, uint height, uint width, uint out_height, uint out_width, uint side, uint stride,   \
     uint padding, uint relu, uint residual, uint has_scale) {                                                         \
        conv_hopper<columns>(x, weight, bias, scale, offset, y,                                                        \
                             {rows, in, out, height, width, out_height, out_width, side, stride, padding, relu,        \
                              residual, has_scale});                                                                   \
    }
CONV_HOPPER(64)
CONV_HOPPER(128)
CONV_HOPPER(256)
