/* dnnl_gemm.c - see dnnl_gemm.h. */
#include "dnnl_gemm.h"
#include "onednn.h"

#include <pthread.h>

enum { FORMS = 3 };

/* Made once a process, and never again unmade: they hold no memory of anybody's matrices. */
static struct {
    pthread_once_t once;
    dnnl_status_t status;
    dnnl_engine_t engine;
    dnnl_primitive_t product[FORMS];
} made = {.once = PTHREAD_ONCE_INIT};

bool gemm_has_bf16(void) { return onednn_native_bf16(); }

/* [rows, columns], or what lies in memory as the transpose of that. */
static dnnl_status_t describe(md_t *md, dnnl_dim_t rows, dnnl_dim_t columns, dnnl_dim_t stride, bool turned,
                              dnnl_data_type_t type) {
    const dnnl_dims_t dims = {rows, columns}, strides = {turned ? 1 : stride, turned ? stride : 1};
    return onednn_describe_strides(md, 2, dims, type, strides);
}

static dnnl_status_t compile(gemm_form form) {
    const dnnl_dim_t later = DNNL_RUNTIME_DIM_VAL;
    md_t a = {0}, b = {0}, c = {0};
    dnnl_primitive_desc_t descriptor = NULL;
    dnnl_status_t status = describe(&a, later, later, later, form == GEMM_TN, dnnl_bf16);
    if (status == dnnl_success) status = describe(&b, later, later, later, form == GEMM_NT, dnnl_bf16);
    if (status == dnnl_success) status = describe(&c, later, later, later, false, dnnl_f32);
    if (status == dnnl_success)
        status = onednn_describe_matmul(made.engine, a, b, NULL, c, NULL, &descriptor);
    if (status == dnnl_success) status = dnnl_primitive_create(&made.product[form], descriptor);
    if (descriptor) dnnl_primitive_desc_destroy(descriptor);
    MD_FREE(a);
    MD_FREE(b);
    MD_FREE(c);
    return status;
}

static void make(void) {
    int before = onednn_use_threads(1);
    made.status = dnnl_engine_create(&made.engine, dnnl_cpu, 0);
    for (int form = 0; form < FORMS && made.status == dnnl_success; form++)
        made.status = compile((gemm_form)form);
    (void)onednn_use_threads(before);
}

static dnnl_status_t wrap(const void *values, dnnl_dim_t rows, dnnl_dim_t columns, size_t stride, bool turned,
                          dnnl_data_type_t type, dnnl_memory_t *out) {
    md_t md;
    dnnl_status_t status = describe(&md, rows, columns, (dnnl_dim_t)stride, turned, type);
    if (status != dnnl_success) return status;
    status = dnnl_memory_create(out, MD_ARGUMENT(md), made.engine, (void *)(uintptr_t)values);
    MD_FREE(md);
    return status;
}

static dnnl_status_t multiply(gemm_form form, dnnl_dim_t m, dnnl_dim_t n, dnnl_dim_t k, gemm_matrix a,
                              gemm_matrix b, float *c, size_t stride) {
    dnnl_stream_t stream = NULL;
    dnnl_memory_t x = NULL, w = NULL, y = NULL;
    pthread_once(&made.once, make);
    dnnl_status_t status = made.status;
    if (status == dnnl_success) status = wrap(a.values, m, k, a.stride, form == GEMM_TN, dnnl_bf16, &x);
    if (status == dnnl_success) status = wrap(b.values, k, n, b.stride, form == GEMM_NT, dnnl_bf16, &w);
    if (status == dnnl_success) status = wrap(c, m, n, stride, false, dnnl_f32, &y);
    if (status == dnnl_success) status = dnnl_stream_create(&stream, made.engine, dnnl_stream_default_flags);
    if (status == dnnl_success) {
        const dnnl_exec_arg_t arguments[] = {{DNNL_ARG_SRC, x}, {DNNL_ARG_WEIGHTS, w}, {DNNL_ARG_DST, y}};
        status = dnnl_primitive_execute(made.product[form], stream, 3, arguments);
    }
    if (status == dnnl_success) status = dnnl_stream_wait(stream);
    if (stream) dnnl_stream_destroy(stream);
    if (y) dnnl_memory_destroy(y);
    if (w) dnnl_memory_destroy(w);
    if (x) dnnl_memory_destroy(x);
    return status;
}

magpie_status gemm(gemm_form form, bool bf16, size_t m, size_t n, size_t k, gemm_matrix a, gemm_matrix b,
                   float *c, size_t stride) {
    dnnl_dim_t rows = (dnnl_dim_t)m, columns = (dnnl_dim_t)n, depth = (dnnl_dim_t)k;
    int before = onednn_use_threads(1);
    dnnl_status_t status = bf16 ? multiply(form, rows, columns, depth, a, b, c, stride)
                                : dnnl_sgemm(form == GEMM_TN ? 'T' : 'N', form == GEMM_NT ? 'T' : 'N', rows,
                                             columns, depth, 1, a.values, (dnnl_dim_t)a.stride, b.values,
                                             (dnnl_dim_t)b.stride, 0, c, (dnnl_dim_t)stride);
    (void)onednn_use_threads(before);
    return status == dnnl_success ? MAGPIE_OK : onednn_fail(status, "a matrix product");
}
