/* gpu.c - what the drivers share: the list of kernels, functions of libraries, and arenas. */
#include "gpu.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name, *file;
    size_t threads;
} kernels[GPU_KERNEL_COUNT] = {
#define GPU_KERNEL_ROW(name, file, threads) {#name, #file, threads},
    GPU_KERNELS(GPU_KERNEL_ROW)
#undef GPU_KERNEL_ROW
};

const char *gpu_kernel_name(gpu_kernel kernel) { return kernels[kernel].name; }

const char *gpu_kernel_file(gpu_kernel kernel) { return kernels[kernel].file; }

size_t gpu_kernel_threads(const gpu *g, gpu_kernel kernel) {
    return kernels[kernel].threads ? kernels[kernel].threads : ((const gpu_base *)g)->tile.threads;
}

unsigned gpu_stream_bits(magpie_precision precision) {
    return precision == MAGPIE_PRECISION_F32 ? 32 : precision == MAGPIE_PRECISION_BF16 ? 16 : 17;
}

size_t gpu_stream_bytes(magpie_precision precision) { return precision == MAGPIE_PRECISION_F32 ? 4 : 2; }

const char *gpu_symbols(void *handle, const gpu_symbol *symbols, size_t count) {
    for (size_t i = 0; i < count; i++) {
        void *found = dlsym(handle, symbols[i].name);
        if (!found) return symbols[i].name;
        memcpy(symbols[i].to, &found, sizeof found); /* ISO C has no cast from data to function */
    }
    return NULL;
}

/* ---- arenas ---- */

/* What is larger has a block of its own; so has all where MAGPIE_GPU_BLOCK=0, for memory checkers: they know where
 * blocks end, not where parts do. */
static size_t block_bytes(void) {
    const char *given = getenv("MAGPIE_GPU_BLOCK");
    return given ? strtoul(given, NULL, 10) : (size_t)16 << 20;
}

/* The last block with room for `bytes`, else a new one. */
static magpie_status find_block(gpu_arena *arena, size_t bytes, struct gpu_arena_block **out) {
    const gpu_driver *driver = gpu_base_of(arena->device)->driver;
    struct gpu_arena_block *last = arena->count ? &arena->blocks[arena->count - 1] : NULL;
    if (last && last->used <= last->block.bytes && bytes <= last->block.bytes - last->used)
        return *out = last, MAGPIE_OK;
    magpie_status status =
        magpie_grow((void **)&arena->blocks, &arena->capacity, arena->count + 1, sizeof *arena->blocks);
    if (status != MAGPIE_OK) return status;
    last = &arena->blocks[arena->count];
    *last = (struct gpu_arena_block){0};
    const size_t least = block_bytes();
    status = driver->block_create(arena->device, bytes > least ? bytes : least, &last->block);
    if (status == MAGPIE_OK) arena->count++;
    *out = last;
    return status;
}

magpie_status gpu_arena_take(gpu_arena *arena, size_t bytes, gpu_buffer *out) {
    const gpu_base *base = gpu_base_of(arena->device);
    struct gpu_arena_block *block;
    if (bytes == 0) bytes = 1;
    magpie_status status = magpie_grow((void **)&arena->parts, &arena->part_capacity, arena->part_count + 1,
                                       sizeof *arena->parts);
    if (status == MAGPIE_OK) status = find_block(arena, bytes, &block);
    if (status == MAGPIE_OK)
        status = base->driver->block_part(arena->device, block->block, block->used, bytes, out);
    if (status != MAGPIE_OK) return status;
    arena->parts[arena->part_count++] = *out;
    block->used += (bytes + base->alignment - 1) / base->alignment * base->alignment;
    return MAGPIE_OK;
}

void gpu_arena_free(gpu_arena *arena) {
    for (size_t i = 0; i < arena->part_count; i++)
        gpu_base_of(arena->device)->driver->buffer_free(arena->device, arena->parts[i], true);
    for (size_t i = 0; i < arena->count; i++)
        gpu_base_of(arena->device)->driver->buffer_free(arena->device, arena->blocks[i].block, false);
    free(arena->parts);
    free(arena->blocks);
    *arena = (gpu_arena){.device = arena->device};
}
