/* faiss_gpu.c - see faiss_gpu.h; compiled where MAGPIE_FAISS_GPU is on. */
#include "faiss_gpu.h"

#include <cuda_runtime_api.h>
#include <faiss/c_api/error_c.h>
#include <faiss/c_api/gpu/GpuAutoTune_c.h>
#include <faiss/c_api/gpu/StandardGpuResources_c.h>
#include <pthread.h>

#include "core.h"

enum {
    DEVICE = 0,
    K_MOST = 2048,              /* GPU_MAX_SELECTION_K of FAISS's DeviceDefs.cuh */
    LEAST_PRODUCTS = 1 << 16,   /* of a query and a vector: some 3 ms of a core's (search.c) */
    WORKSPACE_BYTES = 256 << 20 /* FAISS would take 1.5 GB */
};

/* Held for whatever is done to the workspace or a copy. */
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static FaissStandardGpuResources *workspace; /* to the end of the process */
static bool tried;

/* No search asks the GPU from now on. */
static bool give_up(const char *why) {
    magpie_log(MAGPIE_LOG_WARNING, "FAISS searches on the CPU from here on: %s", why);
    if (workspace) faiss_StandardGpuResources_free(workspace);
    workspace = NULL;
    return false;
}

/* faiss_get_num_gpus would do, but it ends the process where CUDA has no driver. */
static bool has_gpu(void) {
    int count = 0;
    if (tried) return workspace != NULL;
    tried = true;
    cudaError_t error = cudaGetDeviceCount(&count);
    if (error == cudaSuccess && !count) error = cudaErrorNoDevice;
    if (error != cudaSuccess) return give_up(cudaGetErrorString(error));
    if (faiss_StandardGpuResources_new(&workspace) ||
        faiss_StandardGpuResources_setTempMemory(workspace, WORKSPACE_BYTES))
        return give_up(faiss_get_last_error());
    return true;
}

static void drop(FaissIndex **copy) {
    if (*copy) faiss_Index_free(*copy);
    *copy = NULL;
}

static bool search(FaissIndex **copy, const FaissIndex *flat, const magpie_faiss_query *q, float *scores,
                   int64_t *labels) {
    if (!has_gpu()) return false;
    if (!*copy && faiss_index_cpu_to_gpu(workspace, DEVICE, flat, copy))
        return give_up(faiss_get_last_error());
    if (!faiss_Index_search(*copy, (idx_t)q->n, q->queries, (idx_t)q->k, scores, labels)) return true;
    return give_up(faiss_get_last_error());
}

bool magpie_faiss_gpu_search(FaissIndex **copy, const FaissIndex *index, const magpie_faiss_query *query,
                             float *scores, int64_t *labels) {
    const FaissIndex *flat = query->exact ? magpie_faiss_flat(index) : NULL;
    if (!flat || query->members || query->k > K_MOST ||
        query->n * (size_t)faiss_Index_ntotal(flat) < LEAST_PRODUCTS)
        return false;
    pthread_mutex_lock(&turn);
    bool done = search(copy, flat, query, scores, labels);
    pthread_mutex_unlock(&turn);
    return done;
}

void magpie_faiss_gpu_append(FaissIndex **copy, size_t n, const float *vectors) {
    pthread_mutex_lock(&turn);
    if (*copy && faiss_Index_add(*copy, (idx_t)n, vectors)) drop(copy); /* the next search makes another */
    pthread_mutex_unlock(&turn);
}

void magpie_faiss_gpu_free(FaissIndex **copy) {
    pthread_mutex_lock(&turn);
    drop(copy);
    pthread_mutex_unlock(&turn);
}
