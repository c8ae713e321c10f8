/* fuzz_image_config.c - any bytes as preprocessor_config.json and as open_clip_config.json: refused in
 * words, or a geometry that a resizer takes. */
#include "fuzz.h"
#include "image_preprocess.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

const fuzz_seed fuzz_seeds[] = {
    FUZZ_SEED("{\"crop_size\":{\"height\":224,\"width\":224},\"do_center_crop\":true,\"resample\":3,"
              "\"image_mean\":[0.48,0.45,0.40],\"image_std\":[0.26,0.26,0.27],\"rescale_factor\":0."
              "00392156862745098,"
              "\"size\":{\"shortest_edge\":224}}"),
    FUZZ_SEED(
        "{\"crop_pct\":0.875,\"do_resize\":true,\"feature_extractor_type\":\"ConvNextFeatureExtractor\","
        "\"resample\":2,\"size\":224}"),
    FUZZ_SEED("{\"do_normalize\":false,\"do_pad\":false,\"size\":{\"height\":384,\"width\":384}}"),
    FUZZ_SEED("{\"model_cfg\":{\"vision_cfg\":{\"image_size\":240}},\"preprocess_cfg\":{\"size\":[224,224],"
              "\"mean\":[0.5,0.5,0.5],\"std\":[0.5,0.5,0.5],\"interpolation\":\"bicubic\",\"resize_mode\":"
              "\"squash\"}}"),
};
const size_t fuzz_seed_count = sizeof fuzz_seeds / sizeof *fuzz_seeds;

static char folder[] = "/tmp/magpie-fuzz-XXXXXX";
static const char *const names[] = {"preprocessor_config.json", "open_clip_config.json"};
static char *links[2]; /* in the folder, to a file in memory */

static void remove_links(void) {
    for (size_t i = 0; i < 2; i++) {
        unlink(links[i]);
        free(links[i]);
    }
    rmdir(folder);
}

static void check(const image_preprocess *p) {
    if (p->geometry.side < 1 || p->geometry.side > IMAGE_GEOMETRY_MAX ||
        p->geometry.shortest > IMAGE_GEOMETRY_MAX || p->geometry.filter > IMAGE_BICUBIC)
        abort();
    for (size_t c = 0; c < 3; c++)
        if (!isfinite(p->mean[c]) || !isfinite(p->std[c]) || !(p->std[c] > 0)) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static int fd = -1;
    char memory[64];
    if (fd < 0) {
        fd = memfd_create("fuzz.json", 0);
        if (fd < 0 || !mkdtemp(folder)) abort();
        for (size_t i = 0; i < 2; i++)
            if (!(links[i] = magpie_path_join(folder, names[i]))) abort();
        atexit(remove_links);
    }
    if (ftruncate(fd, 0) != 0 || pwrite(fd, data, size, 0) != (ssize_t)size) abort();
    snprintf(memory, sizeof memory, "/proc/self/fd/%d", fd);
    for (size_t i = 0; i < 2; i++) {
        image_preprocess out = {{256, 224, IMAGE_BILINEAR}, {0.5f, 0.5f, 0.5f}, {0.5f, 0.5f, 0.5f}};
        if (symlink(memory, links[i]) != 0) abort();
        magpie_status status = image_preprocess_read(folder, &out);
        if (status == MAGPIE_OK)
            check(&out);
        else if (!strstr(magpie_error(), names[i]))
            abort();
        if (unlink(links[i]) != 0) abort();
    }
    return 0;
}
