/* resnet_config.c - which residual network a model's folder holds. */
#include "clip_config.h"
#include "model_files.h"
#include "resnet.h"

#include <string.h>

/* Bounds on what a config may ask for, far above any ResNet: they keep products of them within size_t. */
enum { CHANNELS_MAX = 16384, BLOCKS_MAX = 1024, SIDE_MAX = 2048 };

/* torchvision's, that is ImageNet's, and OpenAI's for CLIP. */
static const float imagenet_mean[3] = {0.485f, 0.456f, 0.406f}, imagenet_std[3] = {0.229f, 0.224f, 0.225f};
static const float clip_mean[3] = {0.48145466f, 0.4578275f, 0.40821073f};
static const float clip_std[3] = {0.26862954f, 0.26130258f, 0.27577711f};

static void set_preprocess(image_preprocess *p, size_t shortest, size_t side, image_filter filter,
                           const float mean[3], const float std[3]) {
    p->geometry = (image_geometry){shortest, side, filter};
    memcpy(p->mean, mean, sizeof p->mean);
    memcpy(p->std, std, sizeof p->std);
}

/* ---- torchvision and timm ---- */

bool resnet_config_of_depth(size_t depth, resnet_config *c) {
    static const struct {
        size_t depth;
        bool bottleneck;
        size_t blocks[4];
    } known[] = {{18, false, {2, 2, 2, 2}},
                 {34, false, {3, 4, 6, 3}},
                 {50, true, {3, 4, 6, 3}},
                 {101, true, {3, 4, 23, 3}},
                 {152, true, {3, 8, 36, 3}}};
    *c = (resnet_config){.family = RESNET_PLAIN, .naming = RESNET_TORCHVISION, .stem = 64, .stages = 4};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (depth != known[i].depth) continue;
        c->bottleneck = known[i].bottleneck;
        for (size_t s = 0; s < 4; s++) {
            c->blocks[s] = known[i].blocks[s];
            c->channels[s] = ((size_t)64 << s) * (c->bottleneck ? 4 : 1);
        }
        return true;
    }
    return false;
}

static magpie_status read_torchvision(const model_json *file, const char *name, resnet_config *c,
                                      image_preprocess *p) {
    size_t depth;
    int end = 0;
    set_preprocess(p, 256, 224, IMAGE_BILINEAR, imagenet_mean, imagenet_std);
    if (sscanf(name, "resnet%3zu%n", &depth, &end) == 1 && !name[end] && resnet_config_of_depth(depth, c))
        return MAGPIE_OK;
    return magpie_fail(MAGPIE_E_UNSUPPORTED,
                       "%s: \"architecture\" is \"%s\"; resnet18, 34, 50, 101 and 152 are supported",
                       file->path, name);
}

/* ---- CIFAR ---- */

static magpie_status read_cifar(const model_json *file, resnet_config *c, image_preprocess *p) {
    size_t depth;
    magpie_status status = model_json_size(file, "depth", true, 8, BLOCKS_MAX, &depth);
    if (status != MAGPIE_OK) return status;
    if ((depth - 2) % 6)
        return magpie_fail(MAGPIE_E_CORRUPT, "%s: \"depth\" is %zu; it should be 6n + 2, as 20, 32, 44 or 56",
                           file->path, depth);
    *c = (resnet_config){.family = RESNET_CIFAR, .naming = RESNET_TORCHVISION, .stem = 16, .stages = 3};
    for (size_t s = 0; s < 3; s++) c->blocks[s] = (depth - 2) / 6, c->channels[s] = (size_t)16 << s;
    set_preprocess(p, 0, 32, IMAGE_BILINEAR, imagenet_mean, imagenet_std);
    return MAGPIE_OK;
}

/* ---- Hugging Face ---- */

/* Array `key` of RESNET_STAGES_MAX whole numbers at the most. */
static magpie_status read_stages(const model_json *file, const char *key, size_t most, size_t *values,
                                 size_t *count) {
    const json_t *array = json_object_get(file->root, key);
    *count = json_array_size(array);
    bool fine = *count >= 1 && *count <= RESNET_STAGES_MAX;
    for (size_t i = 0; i < *count && fine; i++) {
        json_int_t value = json_integer_value(json_array_get(array, i));
        fine = value >= 1 && (uint64_t)value <= most;
        values[i] = (size_t)value;
    }
    if (fine) return MAGPIE_OK;
    return magpie_fail(MAGPIE_E_CORRUPT, "%s: \"%s\" should be an array of 1 to %d whole numbers of 1 to %zu",
                       file->path, key, RESNET_STAGES_MAX, most);
}

magpie_status resnet_config_read_widths(const model_json *file, resnet_config *c) {
    size_t widths[RESNET_STAGES_MAX], count;
    if (!json_object_get(file->root, "hidden_sizes")) return MAGPIE_OK;
    magpie_status status = read_stages(file, "hidden_sizes", CHANNELS_MAX, widths, &count);
    if (status != MAGPIE_OK) return status;
    bool fine = count == c->stages;
    for (size_t s = 0; s < count && fine && c->bottleneck; s++) fine = widths[s] % 4 == 0;
    if (!fine)
        return magpie_fail(MAGPIE_E_CORRUPT, "%s: \"hidden_sizes\" should be %zu numbers%s", file->path,
                           c->stages, c->bottleneck ? ", multiples of 4" : "");
    memcpy(c->channels, widths, count * sizeof *widths);
    c->stem = c->bottleneck ? widths[0] / 4 : widths[0];
    return MAGPIE_OK;
}

static magpie_status read_hugging_face(const model_json *file, resnet_config *c, image_preprocess *p) {
    const char *kind, *activation;
    size_t widths, picture_channels = 3;
    *c = (resnet_config){.family = RESNET_PLAIN, .naming = RESNET_HUGGING_FACE};
    set_preprocess(p, 256, 224, IMAGE_BICUBIC, imagenet_mean, imagenet_std);
    magpie_status status = model_json_string(file, "layer_type", "bottleneck", &kind);
    if (status == MAGPIE_OK) status = model_json_string(file, "hidden_act", "relu", &activation);
    if (status == MAGPIE_OK) status = model_json_size(file, "num_channels", false, 1, 64, &picture_channels);
    if (status == MAGPIE_OK)
        status = model_json_size(file, "embedding_size", true, 1, CHANNELS_MAX, &c->stem);
    if (status == MAGPIE_OK) status = read_stages(file, "depths", BLOCKS_MAX, c->blocks, &c->stages);
    if (status == MAGPIE_OK) status = read_stages(file, "hidden_sizes", CHANNELS_MAX, c->channels, &widths);
    if (status != MAGPIE_OK) return status;
    c->bottleneck = strcmp(kind, "bottleneck") == 0;
    c->first_stage_halves = model_json_true(file, "downsample_in_first_stage");
    c->stride_in_first = model_json_true(file, "downsample_in_bottleneck");
    if (widths != c->stages)
        return magpie_fail(MAGPIE_E_CORRUPT, "%s: %zu \"depths\" and %zu \"hidden_sizes\"", file->path,
                           c->stages, widths);
    if (!c->bottleneck && strcmp(kind, "basic") != 0)
        return magpie_fail(MAGPIE_E_UNSUPPORTED,
                           "%s: \"layer_type\" is \"%s\"; basic and bottleneck are supported", file->path,
                           kind);
    if (strcmp(activation, "relu") != 0 || picture_channels != 3)
        return magpie_fail(MAGPIE_E_UNSUPPORTED,
                           "%s: \"hidden_act\" should be relu and \"num_channels\" 3; they are %s and %zu",
                           file->path, activation, picture_channels);
    for (size_t s = 0; s < c->stages && c->bottleneck; s++)
        if (c->channels[s] % 4)
            return magpie_fail(MAGPIE_E_CORRUPT,
                               "%s: \"hidden_sizes\" of bottlenecks should be multiples of 4", file->path);
    return MAGPIE_OK;
}

/* ---- CLIP ---- */

static magpie_status read_clip(const char *directory, resnet_config *c, image_preprocess *p) {
    clip_config clip;
    magpie_status status = clip_config_read(directory, &clip);
    if (status != MAGPIE_OK) return status;
    const clip_vision_config *v = &clip.vision;
    if (!v->is_resnet)
        return magpie_fail(MAGPIE_E_UNSUPPORTED,
                           "%s: CLIP's image side is a vision transformer; its ResNets are supported",
                           directory);
    *c = (resnet_config){.family = RESNET_CLIP,
                         .naming = RESNET_TORCHVISION,
                         .bottleneck = true,
                         .stem = v->width,
                         .stages = 4,
                         .heads = v->heads,
                         .embed = clip.embed};
    for (size_t s = 0; s < 4; s++) c->blocks[s] = v->layers[s], c->channels[s] = 4 * v->width << s;
    if (v->width % 2 || v->heads == 0 || c->channels[3] % v->heads)
        return magpie_fail(MAGPIE_E_CORRUPT, "%s: a ResNet %zu channels wide cannot have %zu heads",
                           directory, v->width, v->heads);
    set_preprocess(p, v->image_size, v->image_size, IMAGE_BICUBIC, clip_mean, clip_std);
    return MAGPIE_OK;
}

static magpie_status read_config_json(const char *directory, resnet_config *out,
                                      image_preprocess *preprocess) {
    model_json file;
    const char *type, *architecture = "";
    magpie_status status = model_json_open(directory, "config.json", false, &file);
    if (status != MAGPIE_OK) return status;
    status = model_json_string(&file, "model_type", "", &type);
    if (status == MAGPIE_OK && strcmp(type, "resnet") != 0 && strcmp(type, "cifar-resnet") != 0)
        status = model_json_string(&file, "architecture", "", &architecture);
    if (status != MAGPIE_OK) {
        model_json_close(&file);
        return status;
    }
    if (strcmp(type, "cifar-resnet") == 0)
        status = read_cifar(&file, out, preprocess);
    else if (strcmp(type, "resnet") == 0)
        status = read_hugging_face(&file, out, preprocess);
    else if (*architecture)
        status = read_torchvision(&file, architecture, out, preprocess);
    else if (strcmp(type, "torchvision-resnet") == 0)
        status =
            magpie_fail(MAGPIE_E_CORRUPT, "%s: \"architecture\" is missing: \"resnet50\", say", file.path);
    else
        status = magpie_fail(
            MAGPIE_E_UNSUPPORTED,
            "%s: neither a \"model_type\" (it is \"%s\") nor an \"architecture\" of a picture encoder "
            "that is supported",
            file.path, type);
    model_json_close(&file);
    return status;
}

magpie_status resnet_config_read(const char *directory, resnet_config *out, image_preprocess *preprocess) {
    bool is_clip;
    magpie_status status = clip_config_exists(directory, &is_clip);
    if (status == MAGPIE_OK)
        status =
            is_clip ? read_clip(directory, out, preprocess) : read_config_json(directory, out, preprocess);
    if (status == MAGPIE_OK) status = image_preprocess_read(directory, preprocess);
    if (status != MAGPIE_OK) return status;
    size_t side = preprocess->geometry.side;
    out->inputs = 3;
    out->height = out->width = side;
    if (side < 32 || side > SIDE_MAX)
        return magpie_fail(MAGPIE_E_UNSUPPORTED, "%s: an input of %zu x %zu pixels; 32 to %d are supported",
                           directory, side, side, SIDE_MAX);
    return MAGPIE_OK;
}
