/* cublaslt.c - matrix products by cuBLASLt.
 *
 * Ours are row-major, the library's column-major; so it is asked for the transposed y^T = W^T x^T, whose
 * matrices are the same memory: W^T [columns, depth] with `padded` between columns, x^T [depth, rows], y^T
 * [columns, rows]. Its bias is one number a row of y^T: a column of y.
 *
 * Sums are f32; CUBLAS_COMPUTE_32F does not turn f32 into TF32. A row of y has the same bits in any number of
 * rows: an algorithm is chosen once, for PLAN_ROWS of them, and none that cuts up a sum. Bias and what is
 * added are of y's type, as cublasLt.h wants it (CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE). */
#include "cublaslt.h"

#include <cublasLt.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>

/* ---- the library ---- */

#define FUNCTIONS(F)                                                                                         \
    F(cublasLtCreate)                                                                                        \
    F(cublasLtDestroy)                                                                                       \
    F(cublasLtGetStatusName)                                                                                 \
    F(cublasLtMatmul)                                                                                        \
    F(cublasLtMatmulAlgoGetHeuristic)                                                                        \
    F(cublasLtMatmulDescCreate)                                                                              \
    F(cublasLtMatmulDescDestroy)                                                                             \
    F(cublasLtMatmulDescSetAttribute)                                                                        \
    F(cublasLtMatmulPreferenceCreate)                                                                        \
    F(cublasLtMatmulPreferenceDestroy)                                                                       \
    F(cublasLtMatmulPreferenceSetAttribute)                                                                  \
    F(cublasLtMatrixLayoutCreate)                                                                            \
    F(cublasLtMatrixLayoutDestroy)                                                                           \
    F(cublasLtMatrixLayoutSetAttribute)

static struct {
#define FUNCTION_POINTER(name) __typeof__(name) *name;
    FUNCTIONS(FUNCTION_POINTER)
} lt;

static struct {
    pthread_once_t once;
    bool there;
} library = {.once = PTHREAD_ONCE_INIT};

#define TEXT(x) #x
#define TEXT_OF(x) TEXT(x)
#define LIBRARY                                                                                              \
    "libcublasLt.so." TEXT_OF(CUBLAS_VER_MAJOR) /* of the headers' version: its interface is theirs */

static void load_library(void) {
    static const gpu_symbol functions[] = {
#define FUNCTION_SYMBOL(name) {#name, &lt.name},
        FUNCTIONS(FUNCTION_SYMBOL)};
    void *handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!handle) handle = dlopen("/usr/local/cuda/lib64/" LIBRARY, RTLD_NOW | RTLD_LOCAL);
    library.there = handle && !gpu_symbols(handle, functions, sizeof functions / sizeof *functions);
}

/* ---- plans ---- */

/* All of a product but its rows. */
typedef struct shape {
    size_t columns, depth, padded;
    bool y_is_sum, has_bias, relu, add;
} shape;

/* What is found out for a shape. */
typedef struct plan {
    shape shape; /* 0 columns: a free place */
    bool fits;   /* the library has an algorithm for it */
    cublasLtMatmulDesc_t operation;
    cublasLtMatrixLayout_t weight, x, y;
    cublasLtMatmulAlgo_t algorithm;
} plan;

enum { PLANS = 64 /* a network has some twenty shapes */, PLAN_ROWS = 16384 };

struct cublaslt {
    cublasLtHandle_t handle;
    magpie_precision precision;
    CUstream stream;
    plan plans[PLANS];
    size_t next; /* to be replaced */
};

static bool fine(cublasStatus_t status) { return status == CUBLAS_STATUS_SUCCESS; }

static shape shape_of(const gpu_product *p) {
    return (shape){.columns = p->columns,
                   .depth = p->depth,
                   .padded = p->padded,
                   .y_is_sum = p->y_is_sum,
                   .has_bias = p->bias.handle != 0,
                   .relu = p->relu,
                   .add = p->add};
}

static bool same(const shape *a, const shape *b) {
    return a->columns == b->columns && a->depth == b->depth && a->padded == b->padded &&
           a->y_is_sum == b->y_is_sum && a->has_bias == b->has_bias && a->relu == b->relu && a->add == b->add;
}

static void plan_free(plan *p) {
    if (p->operation) lt.cublasLtMatmulDescDestroy(p->operation);
    if (p->weight) lt.cublasLtMatrixLayoutDestroy(p->weight);
    if (p->x) lt.cublasLtMatrixLayoutDestroy(p->x);
    if (p->y) lt.cublasLtMatrixLayoutDestroy(p->y);
    *p = (plan){0};
}

static bool set_bias(const plan *p, CUdeviceptr bias) {
    const void *pointer = (const void *)(uintptr_t)bias;
    return fine(lt.cublasLtMatmulDescSetAttribute(p->operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &pointer,
                                                  sizeof pointer));
}

static bool describe(plan *p, magpie_precision precision, CUdeviceptr bias) {
    const shape *s = &p->shape;
    const cudaDataType_t stream = precision == MAGPIE_PRECISION_F32    ? CUDA_R_32F
                                  : precision == MAGPIE_PRECISION_BF16 ? CUDA_R_16BF
                                                                       : CUDA_R_16F,
                         y = s->y_is_sum ? CUDA_R_32F : stream;
    const cublasLtEpilogue_t epilogue = s->has_bias
                                            ? (s->relu ? CUBLASLT_EPILOGUE_RELU_BIAS : CUBLASLT_EPILOGUE_BIAS)
                                            : (s->relu ? CUBLASLT_EPILOGUE_RELU : CUBLASLT_EPILOGUE_DEFAULT);
    return fine(lt.cublasLtMatmulDescCreate(&p->operation, CUBLAS_COMPUTE_32F, CUDA_R_32F)) &&
           fine(lt.cublasLtMatmulDescSetAttribute(p->operation, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue,
                                                  sizeof epilogue)) &&
           (!s->has_bias || set_bias(p, bias)) && /* its alignment is looked at */
           fine(
               lt.cublasLtMatrixLayoutCreate(&p->weight, stream, s->columns, s->depth, (int64_t)s->padded)) &&
           fine(lt.cublasLtMatrixLayoutCreate(&p->x, stream, s->depth, PLAN_ROWS, (int64_t)s->depth)) &&
           fine(lt.cublasLtMatrixLayoutCreate(&p->y, y, s->columns, PLAN_ROWS, (int64_t)s->columns));
}

static bool set_rows(const plan *p, uint64_t rows) {
    return fine(lt.cublasLtMatrixLayoutSetAttribute(p->x, CUBLASLT_MATRIX_LAYOUT_COLS, &rows, sizeof rows)) &&
           fine(lt.cublasLtMatrixLayoutSetAttribute(p->y, CUBLASLT_MATRIX_LAYOUT_COLS, &rows, sizeof rows));
}

static bool find_algorithm(const cublaslt *c, plan *p) {
    const uint64_t workspace = CUBLASLT_WORKSPACE;
    const uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_NONE;
    cublasLtMatmulPreference_t preference;
    cublasLtMatmulHeuristicResult_t best;
    int found = 0;
    if (!fine(lt.cublasLtMatmulPreferenceCreate(&preference))) return false;
    const bool asked =
        fine(lt.cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                     &workspace, sizeof workspace)) &&
        fine(lt.cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                                                     &reductions, sizeof reductions)) &&
        fine(lt.cublasLtMatmulAlgoGetHeuristic(c->handle, p->operation, p->weight, p->x, p->y, p->y,
                                               preference, 1, &best, &found));
    lt.cublasLtMatmulPreferenceDestroy(preference);
    if (!asked || found == 0 || !fine(best.state)) return false;
    p->algorithm = best.algo;
    return true;
}

static const plan *plan_for(cublaslt *c, const gpu_product *product) {
    const shape wanted = shape_of(product);
    for (size_t i = 0; i < PLANS; i++)
        if (same(&c->plans[i].shape, &wanted)) return &c->plans[i];
    plan *p = &c->plans[c->next];
    c->next = (c->next + 1) % PLANS;
    plan_free(p);
    p->shape = wanted;
    p->fits = describe(p, c->precision, product->bias.handle) && find_algorithm(c, p);
    return p;
}

/* ---- products ---- */

cublaslt *cublaslt_create(magpie_precision precision, CUstream stream) {
    pthread_once(&library.once, load_library);
    cublaslt *c = library.there ? magpie_alloc(1, sizeof *c) : NULL;
    if (!c) return NULL;
    c->precision = precision;
    c->stream = stream;
    if (fine(lt.cublasLtCreate(&c->handle))) return c;
    free(c);
    return NULL;
}

void cublaslt_free(cublaslt *c) {
    if (!c) return;
    for (size_t i = 0; i < PLANS; i++) plan_free(&c->plans[i]);
    lt.cublasLtDestroy(c->handle);
    free(c);
}

magpie_status cublaslt_product(cublaslt *c, const gpu_product *product, CUdeviceptr workspace) {
    const plan *p = plan_for(c, product);
    if (!p->fits || !set_rows(p, product->rows) || (p->shape.has_bias && !set_bias(p, product->bias.handle)))
        return MAGPIE_E_UNSUPPORTED;
    const float one = 1, kept = product->add ? 1 : 0;
    void *y = (void *)(uintptr_t)product->y.handle;
    const cublasStatus_t status = lt.cublasLtMatmul(
        c->handle, p->operation, &one, (const void *)(uintptr_t)product->weight.handle, p->weight,
        (const void *)(uintptr_t)product->x.handle, p->x, &kept, y, p->y, y, p->y, &p->algorithm,
        (void *)(uintptr_t)workspace, CUBLASLT_WORKSPACE, (cudaStream_t)c->stream);
    if (fine(status)) return MAGPIE_OK;
    if (status == CUBLAS_STATUS_NOT_SUPPORTED) return MAGPIE_E_UNSUPPORTED; /* for so few rows */
    return magpie_fail(MAGPIE_E_INTERNAL, "cuBLASLt: a product of %zu x %zu x %zu: %s", product->rows,
                       product->columns, product->depth, lt.cublasLtGetStatusName(status));
}
