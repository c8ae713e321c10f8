/* ops.h - the small table of operations that every network is written against. Private to encoders/.
 *
 * A network (bert.c) knows layers, shapes and names of tensors; a backend knows memory and arithmetic.
 * Between them stands this table, and nothing above it knows where or in which precision it runs. A
 * backend is one `ops_table`.
 *
 * A device holds what outlives a batch (packed weights). A lane is one place of execution, a worker thread
 * or a queue, with its own scratch: two lanes of a device may run at once, one lane is one thread's at a
 * time. Tensors belong to a lane; their handle means something to the backend alone. The rows of a tensor
 * are tokens (or places of a picture), those of all texts of a batch one after another; starts[i] is the
 * first row of text i and starts[texts] the number of rows. */
#ifndef MAGPIE_OPS_H
#define MAGPIE_OPS_H

#include "encoders.h"
#include "safetensors.h"

typedef struct ops_table ops_table;
typedef struct ops_device ops_device; /* begins with a const ops_table * */
typedef struct ops_lane ops_lane;     /* begins with an ops_device * */
typedef struct ops_linear ops_linear; /* weights of x W^T + b, as the backend wants them */
typedef struct ops_norm ops_norm;     /* gamma, beta, epsilon */

typedef struct ops_conv ops_conv; /* weights of a convolution */

struct image_packed;

typedef enum ops_activation {
    OPS_IDENTITY,
    OPS_RELU,
    OPS_GELU,      /* x Phi(x), by erf */
    OPS_QUICK_GELU /* x sigmoid(1.702 x): what CLIP was trained with */
} ops_activation;
typedef enum ops_pooling { OPS_POOL_MEAN, OPS_POOL_FIRST } ops_pooling;

/* What a tensor is for decides how the backend stores it. */
typedef enum ops_storage {
    OPS_STREAM, /* goes into matrix products: the precision of the device */
    OPS_SUM     /* comes out of one to be added up and normalised: f32 */
} ops_storage;

typedef struct ops_tensor {
    void *handle;
    size_t rows, columns; /* rows: room for */
    ops_storage storage;
} ops_tensor;

/* A linear layer as the model's file has it: `parts` weights [columns_out_i, columns_in] with their biases
 * [columns_out_i], stacked (query, key and value become one product). A bias may be NULL: none. */
enum { OPS_PARTS_MAX = 3 };
typedef struct ops_linear_source {
    size_t parts;
    const tensor *weight[OPS_PARTS_MAX], *bias[OPS_PARTS_MAX];
    bool transposed; /* one part, weight [columns_in, columns_out]: CLIP keeps its projections so */
    ops_activation activation;
    ops_storage output;
} ops_linear_source;

/* Embedding tables as the model's file has them: rows are read out of the map, not copied. */
typedef struct ops_embedding {
    const tensor *word, *position,
        *type;            /* [vocabulary, hidden], [positions, hidden], [types, hidden] or NULL */
    const ops_norm *norm; /* NULL: none; then y is an OPS_SUM */
} ops_embedding;

/* How far the values of a map reach: 0 to largest, or -largest to largest. A device of int8 stores value /
 * step in u8 or s8; to others this says nothing. */
typedef struct ops_range {
    float largest;
    bool negative;
} ops_range;

/* Of a map that is as good as zero, any. */
static inline float ops_range_step(ops_range range) {
    return range.largest > 1e-30f ? range.largest / (range.negative ? 127 : 255) : 1;
}

/* Of what image_load makes, whatever the picture. */
static inline ops_range ops_picture_range(const float mean[3], const float std[3]) {
    ops_range range = {.negative = true};
    for (int c = 0; c < 3; c++) {
        float reach = (mean[c] > 0.5f ? mean[c] : 1 - mean[c]) / std[c];
        if (reach > range.largest) range.largest = reach;
    }
    return range;
}

/* Feature maps of a batch of pictures (or spectrograms): images x channels x height x width, in the layout
 * and precision that the backend likes. A map is memory that takes the shape of what is written into it,
 * as far as there is room. */
typedef struct ops_map {
    void *handle;
    size_t channels, height, width;
    ops_range range;
} ops_map;

static inline void ops_map_shape(ops_map *map, size_t channels, size_t height, size_t width) {
    map->channels = channels, map->height = height, map->width = width;
}

/* Room that a map takes: backends may keep channels in blocks of up to 16. */
static inline size_t ops_map_elements(size_t images, size_t channels, size_t height, size_t width) {
    return images * ((channels + 15) / 16 * 16) * height * width;
}

/* How many windows of `kernel` places, `stride` apart, fit into a side with a border of `padding`. */
static inline size_t ops_windows(size_t side, size_t kernel, size_t stride, size_t padding) {
    return (side + 2 * padding - kernel) / stride + 1;
}

/* A convolution with what follows it: y = relu(conv(x) + bias), or y = relu(y + conv(x) + bias) with
 * `residual`. Batch norm is folded into weights and bias by the network; one that comes behind the ReLU
 * cannot be, and is `scale` and `offset`: y = scale relu(...) + offset. */
typedef struct ops_conv_source {
    const float *weight;         /* [out, in, kernel, kernel]; copied */
    const float *bias;           /* [out]; copied */
    const float *scale, *offset; /* [out] each, copied; NULL: none. Not with int8. */
    size_t in, out, kernel, stride, padding;
    size_t height, width; /* of the input that it is to be fast for; others work, too */
    bool relu, residual;
    ops_range range_in, range_out; /* int8: of x and of y */
    ops_range range_residual;      /* int8: of the y that is added to */
} ops_conv_source;

/* What a pooling looks at: windows of height x width, stride_down and stride_across apart, with a border. */
typedef struct ops_pool_window {
    size_t height, width, stride_down, stride_across, border;
} ops_pool_window;

struct ops_table {
    const struct gpu_driver *driver; /* of a GPU; else NULL */
    /* `index`: which of the devices that there are. */
    magpie_status (*device_create)(const ops_table *table, magpie_precision precision, size_t index,
                                   ops_device **out);
    void (*device_free)(ops_device *device);
    magpie_precision (*device_precision)(const ops_device *device);

    /* Thread-safe: a model's layers are packed in parallel. */
    magpie_status (*linear_create)(ops_device *device, const ops_linear_source *source, ops_linear **out);
    void (*linear_free)(ops_linear *linear);
    magpie_status (*norm_create)(ops_device *device, const tensor *gamma, const tensor *beta, float epsilon,
                                 ops_norm **out);
    void (*norm_free)(ops_norm *norm);

    /* `threads`: how many threads one operation of this lane may use. */
    magpie_status (*lane_create)(ops_device *device, unsigned threads, ops_lane **out);
    void (*lane_free)(ops_lane *lane); /* and its tensors */
    magpie_status (*tensor_create)(ops_lane *lane, size_t rows, size_t columns, ops_storage storage,
                                   ops_tensor *out);

    /* Thread-safe as well. */
    magpie_status (*conv_create)(ops_device *device, const ops_conv_source *source, ops_conv **out);
    void (*conv_free)(ops_conv *conv);
    /* Room for maps of up to `elements` by ops_map_elements. Owned by the lane, as tensors are. */
    magpie_status (*map_create)(ops_lane *lane, size_t elements, ops_map *out);

    /* y = values [count, columns of y], host memory. */
    magpie_status (*rows_load)(ops_lane *lane, const float *values, size_t count, ops_tensor *y);
    /* y[i] = norm(word[ids[i]] + position[i - start of its text] + type[0]) */
    magpie_status (*embed)(ops_lane *lane, const ops_embedding *embedding, const int32_t *ids,
                           const size_t *starts, size_t texts, ops_tensor *y);
    /* y = activation(x W^T + b), of the first `rows` rows; x [rows, in], y [rows, out] */
    magpie_status (*linear)(ops_lane *lane, const ops_linear *linear, const ops_tensor *x, size_t rows,
                            ops_tensor *y);
    /* x += residual, then y = norm(x), of the first `rows` rows. x is an OPS_SUM, residual (NULL: none) and y
     * of any storage; y may be residual, and then nobody looks at x again; it may not be x. */
    magpie_status (*add_norm)(ops_lane *lane, const ops_norm *norm, ops_tensor *x, const ops_tensor *residual,
                              size_t rows, ops_tensor *y);
    /* Per text and head: softmax(q k^T / sqrt(d)) v. qkv [rows, 3 hidden] as query | key | value, each the
     * heads one after another; y [rows, hidden]. Vaswani et al. 2017, eq. 1. `causal`: a row attends to
     * itself and those before it. */
    magpie_status (*attention)(ops_lane *lane, const ops_tensor *qkv, const size_t *starts, size_t texts,
                               size_t heads, bool causal, ops_tensor *y);
    /* y[i] = x[rows[i]], i below `count`; both of one storage */
    magpie_status (*gather)(ops_lane *lane, const ops_tensor *x, const size_t *rows, size_t count,
                            ops_tensor *y);
    /* out [texts, columns of x], host memory: mean or first row of each text, divided by its Euclidean
     * length where `unit` says so. */
    magpie_status (*pool)(ops_lane *lane, const ops_tensor *x, const size_t *starts, size_t texts,
                          ops_pooling pooling, bool unit, float *out);
    /* out [rows, columns of x], host memory: x + residual (NULL: none), both OPS_SUMs, each row divided by its
     * Euclidean length. GPUs' and the reference's, else NULL. */
    magpie_status (*unit_rows)(ops_lane *lane, const ops_tensor *x, const ops_tensor *residual, size_t rows,
                               float *out);

    /* y = (pixels / 255 - mean) / std; pixels [images, height, width, 3] of uint8, RGB, host memory. This and
     * the next five work on the first `images` and set the shape of y. */
    magpie_status (*image_load)(ops_lane *lane, const uint8_t *pixels, size_t images, size_t height,
                                size_t width, const float mean[3], const float std[3], ops_map *y);
    /* The same of pictures [images] as image_pack (image_resize.h) makes them, which are resized to side x
     * side first; GPUs' alone, else NULL. */
    magpie_status (*pictures_load)(ops_lane *lane, const struct image_packed *pictures, size_t images,
                                   size_t side, const float mean[3], const float std[3], ops_map *y);
    /* y = values, one channel; values [images, height, width], host memory. */
    magpie_status (*map_load)(ops_lane *lane, const float *values, size_t images, size_t height, size_t width,
                              ops_map *y);
    magpie_status (*conv)(ops_lane *lane, const ops_conv *conv, const ops_map *x, size_t images, ops_map *y);
    /* Largest of each window; the border is never it. */
    magpie_status (*max_pool)(ops_lane *lane, const ops_pool_window *window, const ops_map *x, size_t images,
                              ops_map *y);
    /* Mean of each 2 x 2. */
    magpie_status (*average_pool)(ops_lane *lane, const ops_map *x, size_t images, ops_map *y);
    /* out [images, channels], host memory: mean over the map, divided by its Euclidean length where `unit`
     * says so. */
    magpie_status (*global_pool)(ops_lane *lane, const ops_map *x, size_t images, bool unit, float *out);
    /* Attention pooling's rows, 1 + height x width for each picture: the mean over the map, then its places
     * row by row, each plus its row of position [1 + height x width, channels]. y is an OPS_STREAM. */
    magpie_status (*map_rows)(ops_lane *lane, const ops_map *x, size_t images, const tensor *position,
                              ops_tensor *y);
    /* out [images, height x width, channels], host memory: the map itself. */
    magpie_status (*map_read)(ops_lane *lane, const ops_map *x, size_t images, float *out);
    /* The largest absolute value in the map; infinite where one is not a number. */
    magpie_status (*map_largest)(ops_lane *lane, const ops_map *x, size_t images, float *largest);
};

/* Opens a device; of AUTO it becomes the one that was chosen. */
MAGPIE_CHECK_RESULT magpie_status ops_open(magpie_device *device, magpie_precision precision,
                                           const ops_table **ops, ops_device **out);

extern const ops_table ops_reference; /* plain C that reads like the formula; f32 */
extern const ops_table ops_cpu;       /* oneDNN and SIMD; f32, bf16 and, of maps, int8 */
extern const ops_table ops_opencl;    /* device/ops_gpu.h; f32, bf16, f16 */
#ifdef MAGPIE_CUDA
extern const ops_table ops_cuda; /* likewise */
#endif

#endif
