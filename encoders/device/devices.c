/* devices.c - which devices there are, by name, and the table of operations that goes with each. */
#include "gpu.h"
#include "ops.h"

#include <stdlib.h>
#include <string.h>

static const char *const names[] = {[MAGPIE_BACKEND_CPU] = "cpu",
                                    [MAGPIE_BACKEND_REFERENCE] = "reference",
                                    [MAGPIE_BACKEND_OPENCL] = "opencl",
                                    [MAGPIE_BACKEND_CUDA] = "cuda",
                                    [MAGPIE_BACKEND_AUTO] = "auto"};
enum { BACKENDS = sizeof names / sizeof *names };

const char *magpie_backend_name(magpie_backend backend) { return names[backend]; }

static magpie_status table_of(magpie_backend backend, const ops_table **out) {
    *out = backend == MAGPIE_BACKEND_REFERENCE ? &ops_reference
           : backend == MAGPIE_BACKEND_OPENCL  ? &ops_opencl
                                               : &ops_cpu;
#ifdef MAGPIE_CUDA
    if (backend == MAGPIE_BACKEND_CUDA) *out = &ops_cuda;
#else
    if (backend == MAGPIE_BACKEND_CUDA)
        return magpie_fail(MAGPIE_E_UNSUPPORTED, "cuda: this magpie was built without nvcc");
#endif
    return MAGPIE_OK;
}

/* "name" or "name:index" */
magpie_status magpie_device_parse(const char *text, magpie_device *out) {
    const size_t length = strcspn(text, ":");
    for (int b = 0; b < BACKENDS; b++) {
        if (strlen(names[b]) != length || strncmp(text, names[b], length) != 0) continue;
        const bool numbered = text[length] == ':',
                   is_gpu = b == MAGPIE_BACKEND_OPENCL || b == MAGPIE_BACKEND_CUDA;
        char *end = NULL;
        const unsigned long index = numbered ? strtoul(text + length + 1, &end, 10) : 0;
        if (numbered && (!is_gpu || *end || end == text + length + 1 || index > 1024)) break;
        return *out = (magpie_device){(magpie_backend)b, index}, MAGPIE_OK;
    }
    return magpie_fail(MAGPIE_E_ARGUMENT,
                       "no device is called \"%s\": cpu, reference, opencl, opencl:N, cuda, cuda:N or auto "
                       "(magpie devices lists them)",
                       text);
}

magpie_status magpie_device_count(magpie_backend backend, size_t *count) {
    const ops_table *table;
    *count = 0;
    magpie_status status = table_of(backend, &table);
    if (status != MAGPIE_OK) return status;
    if (!table->driver) return *count = 1, MAGPIE_OK;
    return table->driver->count(count);
}

magpie_status magpie_device_describe(magpie_device device, magpie_device_info *out) {
    const ops_table *table;
    gpu_about about;
    *out = (magpie_device_info){.device = device};
    magpie_status status = table_of(device.backend, &table);
    if (status == MAGPIE_OK && !table->driver)
        status = magpie_fail(MAGPIE_E_ARGUMENT, "%s is no GPU", names[device.backend]);
    if (status == MAGPIE_OK) status = table->driver->about(device.index, &about);
    if (status != MAGPIE_OK) return status;
    memcpy(out->name, about.name, sizeof out->name);
    memcpy(out->driver, about.driver, sizeof out->driver);
    out->memory = about.memory;
    out->is_cpu = about.is_cpu;
    return MAGPIE_OK;
}

magpie_device magpie_device_choose(void) {
    static const magpie_backend gpus[] = {MAGPIE_BACKEND_CUDA, MAGPIE_BACKEND_OPENCL};
    for (int b = 0; b < 2; b++) {
        size_t count;
        magpie_device_info info;
        if (magpie_device_count(gpus[b], &count) != MAGPIE_OK) continue;
        for (size_t i = 0; i < count; i++)
            if (magpie_device_describe((magpie_device){gpus[b], i}, &info) == MAGPIE_OK && !info.is_cpu)
                return info.device;
    }
    return (magpie_device){MAGPIE_BACKEND_CPU, 0};
}

magpie_status ops_open(magpie_device *device, magpie_precision precision, const ops_table **ops,
                       ops_device **out) {
    if (device->backend == MAGPIE_BACKEND_AUTO) *device = magpie_device_choose();
    magpie_status status = table_of(device->backend, ops);
    return status == MAGPIE_OK ? (*ops)->device_create(*ops, precision, device->index, out) : status;
}

magpie_status gpu_open(magpie_device device, magpie_precision precision, gpu **out) {
    const ops_table *table;
    *out = NULL;
    if (device.backend == MAGPIE_BACKEND_AUTO) device = magpie_device_choose();
    magpie_status status = table_of(device.backend, &table);
    return status == MAGPIE_OK && table->driver ? table->driver->open(device.index, precision, out) : status;
}
