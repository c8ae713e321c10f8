/* devices.c - magpie devices: where encoders can run, and which of them --device auto means. */
#include "command.h"
#include "output.h"

#include "encoders.h"

#include <string.h>

static const magpie_backend gpus[] = {MAGPIE_BACKEND_CUDA, MAGPIE_BACKEND_OPENCL};

static bool is_chosen(magpie_device a, magpie_device b) {
    return a.backend == b.backend && a.index == b.index;
}

static void append_string(magpie_text *out, const char *before, const char *value) {
    magpie_text_printf(out, "%s", before);
    magpie_text_json_string(out, value, strlen(value));
}

static void append_device(magpie_text *out, const magpie_device_info *info, magpie_device chosen) {
    const char *backend = magpie_backend_name(info->device.backend);
    if (!output_json) {
        magpie_text_printf(out, "%c %s:%-6zu  %s, %.1f GiB%s; %s\n",
                           is_chosen(info->device, chosen) ? '*' : ' ', backend, info->device.index,
                           info->name, (double)info->memory / (1 << 30), info->is_cpu ? ", a processor" : "",
                           info->driver);
        return;
    }
    magpie_text_printf(out, ", {\"device\": \"%s:%zu\"", backend, info->device.index);
    append_string(out, ", \"name\": ", info->name);
    append_string(out, ", \"driver\": ", info->driver);
    magpie_text_printf(out, ", \"memory\": %zu, \"is_cpu\": %s, \"chosen\": %s}", info->memory,
                       info->is_cpu ? "true" : "false", is_chosen(info->device, chosen) ? "true" : "false");
}

static void append_missing(magpie_text *out, const char *backend, const char *why) {
    if (!output_json) {
        magpie_text_printf(out, "  %-13s %s\n", backend, why);
        return;
    }
    magpie_text_printf(out, ", {\"device\": \"%s\"", backend);
    append_string(out, ", \"missing\": ", why);
    magpie_text_printf(out, "}");
}

static exit_code run_devices(char **operands, int count) {
    (void)operands;
    (void)count;
    const magpie_device chosen = magpie_device_choose();
    const bool is_cpu = chosen.backend == MAGPIE_BACKEND_CPU;
    magpie_text out = {0};
    if (output_json)
        magpie_text_printf(&out, "{\"devices\": [{\"device\": \"cpu\", \"threads\": %u, \"chosen\": %s}",
                           magpie_cpu_count(), is_cpu ? "true" : "false");
    else
        magpie_text_printf(&out, "%c %-13s %u threads\n", is_cpu ? '*' : ' ', "cpu", magpie_cpu_count());
    for (int b = 0; b < 2; b++) {
        size_t devices;
        magpie_device_info info;
        magpie_status status = magpie_device_count(gpus[b], &devices);
        if (status != MAGPIE_OK || devices == 0)
            append_missing(&out, magpie_backend_name(gpus[b]),
                           status == MAGPIE_OK ? "no device" : magpie_error());
        for (size_t i = 0; i < devices; i++)
            if (magpie_device_describe((magpie_device){gpus[b], i}, &info) == MAGPIE_OK)
                append_device(&out, &info, chosen);
            else
                append_missing(&out, magpie_backend_name(gpus[b]), magpie_error());
    }
    magpie_text_printf(&out, output_json ? "]}\n"
                                         : "* is what --device auto means; without --device it is the cpu\n");
    return output_and_free(&out);
}

static const option_row *const tables[] = {json_options, NULL};

const command devices_command = {
    .name = "devices",
    .summary = "list the processors and GPUs that encoders can run on",
    .operands = "",
    .tables = tables,
    .details = "--json: {\"devices\": [{\"device\", \"name\", \"driver\", \"memory\" (bytes), \"is_cpu\", "
               "\"chosen\"}]}; what is not here has \"missing\", the reason.\n",
    .run = run_devices};
