/* fusion_panels.c - what several products have in common, brought into panels once (dnnl_gemm.h). */
#include "fusion_network.h"

enum { SHARE = 4 /* panels a task */, JOBS_MAX = FUSION_VIEWS * 3 };

typedef struct job {
    gemm_right right;
    uint32_t *out;
    size_t tasks;
} job;

typedef struct jobs {
    job job[JOBS_MAX];
    size_t count, tasks;
} jobs;

static void add_job(jobs *all, gemm_form form, size_t n, size_t k, const float *values, size_t stride,
                    uint32_t *out) {
    size_t panels = (n + GEMM_PANEL - 1) / GEMM_PANEL;
    job *j = &all->job[all->count++];
    *j = (job){{.form = form, .n = n, .k = k, .values = values, .stride = stride},
               out,
               (panels + SHARE - 1) / SHARE};
    all->tasks += j->tasks;
}

static magpie_status pack_task(void *context, size_t task, unsigned worker) {
    (void)worker;
    const job *j = ((const jobs *)context)->job;
    while (task >= j->tasks) task -= j++->tasks;
    size_t panels = (j->right.n + GEMM_PANEL - 1) / GEMM_PANEL, first = task * SHARE;
    gemm_pack(&j->right, first, panels - first < SHARE ? panels - first : SHARE, j->out);
    return MAGPIE_OK;
}

magpie_status fusion_pack_matrices(fusion_network *net) {
    const fusion_layout *l = &net->layout;
    jobs all = {0};
    for (size_t m = 0; m < MAGPIE_MODALITIES && net->bf16; m++)
        if (net->view[m].n)
            add_job(&all, GEMM_NT, l->dimension, l->input[m], net->parameters + l->matrix[m], l->input[m],
                    net->view[m].matrix);
    return magpie_pool_run(net->pool, all.tasks, pack_task, &all);
}

magpie_status fusion_pack_views(fusion_network *net) {
    const fusion_layout *l = &net->layout;
    jobs all = {0};
    for (size_t i = 0; i < FUSION_VIEWS && net->bf16; i++) {
        const fusion_view *v = &net->view[i];
        if (!v->n) continue;
        add_job(&all, GEMM_NT, v->n, l->dimension, v->z, l->dimension, v->z_across);
        add_job(&all, GEMM_NN, l->dimension, v->n, v->z, l->dimension, v->z_along);
        if (i < MAGPIE_MODALITIES) add_job(&all, GEMM_TN, l->input[i], v->n, v->x, l->input[i], v->x_along);
    }
    return magpie_pool_run(net->pool, all.tasks, pack_task, &all);
}
