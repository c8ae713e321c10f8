/* image_preprocess.c - see image_preprocess.h.
 *
 * transformers has written these files in many ways over the years. What decides is what is there rather
 * than the class's name, but for one case: a size that is a single number means the shorter side where a
 * crop follows it, and both sides where none does. */
#include "image_preprocess.h"
#include "model_files.h"

#include <math.h>
#include <string.h>

static magpie_status wrong(const model_json *file, const char *key, const char *should) {
    return magpie_fail(MAGPIE_E_CORRUPT, "%s: \"%s\" should be %s", file->path, key, should);
}

static magpie_status unsupported(const model_json *file, const char *what) {
    return magpie_fail(MAGPIE_E_UNSUPPORTED, "%s: %s", file->path, what);
}

/* A key's value; null counts as missing. */
static const json_t *find(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return json_is_null(value) ? NULL : value;
}

/* ---- parts ---- */

static magpie_status read_side(const model_json *file, const char *key, const json_t *value, size_t *out) {
    json_int_t side = json_integer_value(value);
    if (!json_is_integer(value) || side < 1 || side > IMAGE_GEOMETRY_MAX)
        return magpie_fail(MAGPIE_E_CORRUPT, "%s: \"%s\" should be a whole number from 1 to %d", file->path,
                           key, IMAGE_GEOMETRY_MAX);
    *out = (size_t)side;
    return MAGPIE_OK;
}

/* Both sides of a square, as {"height": n, "width": n}, [n, n] or n. */
static magpie_status read_square(const model_json *file, const char *key, const json_t *value, size_t *out) {
    const json_t *height = value, *width = value;
    size_t other = 0;
    if (json_is_object(value)) {
        height = find(value, "height");
        width = find(value, "width");
    } else if (json_is_array(value)) {
        if (json_array_size(value) != 2) return wrong(file, key, "one number or two");
        height = json_array_get(value, 0);
        width = json_array_get(value, 1);
    }
    magpie_status status = read_side(file, key, height, out);
    if (status == MAGPIE_OK) status = read_side(file, key, width, &other);
    if (status == MAGPIE_OK && *out != other) status = unsupported(file, "a rectangle is not supported");
    return status;
}

/* What is not said is true unless `fallback` says otherwise. */
static magpie_status read_flag(const model_json *file, const char *key, bool fallback, bool *out) {
    const json_t *value = find(file->root, key);
    *out = value ? json_is_true(value) : fallback;
    return !value || json_is_boolean(value) ? MAGPIE_OK : wrong(file, key, "true or false");
}

static magpie_status read_colours(const model_json *file, const char *key, const json_t *value, bool positive,
                                  float out[3]) {
    if (!value) return MAGPIE_OK;
    if (json_array_size(value) != 3) return wrong(file, key, "three numbers");
    for (size_t c = 0; c < 3; c++) {
        const json_t *entry = json_array_get(value, c);
        double number = json_number_value(entry);
        if (!json_is_number(entry) || fabs(number) > 1e6 || (positive && number < 1e-6))
            return wrong(file, key, positive ? "three positive numbers" : "three numbers");
        out[c] = (float)number;
    }
    return MAGPIE_OK;
}

/* ---- preprocessor_config.json ---- */

static magpie_status read_filter(const model_json *file, image_filter *out) {
    enum { PILLOW_BILINEAR = 2, PILLOW_BICUBIC = 3 };
    const json_t *value = find(file->root, "resample");
    if (!value) return MAGPIE_OK;
    if (!json_is_integer(value)) return wrong(file, "resample", "a whole number");
    json_int_t number = json_integer_value(value);
    if (number != PILLOW_BILINEAR && number != PILLOW_BICUBIC)
        return unsupported(file, "a \"resample\" other than 2 (bilinear) and 3 (bicubic) is not supported");
    *out = number == PILLOW_BICUBIC ? IMAGE_BICUBIC : IMAGE_BILINEAR;
    return MAGPIE_OK;
}

/* ConvNext's, and ResNet's with it: below 384 the shorter side to size / crop_pct and the centre cut out;
 * from there on, both sides to size. */
static magpie_status read_convnext(const model_json *file, const json_t *share, size_t size,
                                   image_geometry *out) {
    enum { WARPED_FROM = 384 };
    double crop = share ? json_number_value(share) : 224.0 / 256;
    if (share && !json_is_number(share)) return wrong(file, "crop_pct", "a number");
    if (!(crop > 0 && crop <= 1) || (double)size / crop > IMAGE_GEOMETRY_MAX)
        return wrong(file, "crop_pct", "a share, over 0 and up to 1");
    out->side = size;
    out->shortest = size >= WARPED_FROM ? 0 : (size_t)((double)size / crop);
    return MAGPIE_OK;
}

static magpie_status read_convnext_size(const model_json *file, const json_t *share, image_geometry *out) {
    const json_t *value = find(file->root, "size");
    const json_t *edge = json_is_object(value) ? find(value, "shortest_edge") : NULL;
    size_t size = out->side;
    magpie_status status = MAGPIE_OK;
    if (value) status = edge ? read_side(file, "size", edge, &size) : read_square(file, "size", value, &size);
    return status == MAGPIE_OK ? read_convnext(file, share, size, out) : status;
}

/* A size, then perhaps a crop. */
static magpie_status read_size(const model_json *file, image_geometry *out) {
    const json_t *size = find(file->root, "size"), *crop_size = find(file->root, "crop_size");
    const json_t *edge = json_is_object(size) ? find(size, "shortest_edge") : NULL;
    bool crop, by_edge = json_is_integer(size) || edge;
    size_t side = out->side;
    magpie_status status =
        read_flag(file, "do_center_crop", crop_size || edge || (!size && out->shortest), &crop);
    if (status == MAGPIE_OK && crop && crop_size) status = read_square(file, "crop_size", crop_size, &side);
    if (status == MAGPIE_OK && json_is_object(size) && find(size, "longest_edge"))
        status = unsupported(file, "a \"size\" by its \"longest_edge\" is not supported");
    if (status != MAGPIE_OK) return status;
    if (!size) {
        if (!crop && out->shortest) return unsupported(file, "resizing without a crop is not supported");
        out->side = side;
        return MAGPIE_OK;
    }
    if (crop && by_edge) {
        out->side = side;
        return read_side(file, "size", edge ? edge : size, &out->shortest);
    }
    if (edge)
        return unsupported(file,
                           "\"shortest_edge\" without a crop gives a rectangle, which is not supported");
    size_t square = 0;
    status = read_square(file, "size", size, &square);
    if (status == MAGPIE_OK && crop && crop_size && square != side)
        status = unsupported(file, "a crop of what was resized to a square is not supported");
    if (status == MAGPIE_OK) *out = (image_geometry){.side = square, .filter = out->filter};
    return status;
}

/* What would change pixels and is not done here has to be off. */
static magpie_status read_steps(const model_json *file, bool *normalise) {
    static const char *const always[] = {"do_resize", "do_rescale"};
    static const char *const never[] = {"do_pad", "do_flip_channel_order", "do_thumbnail",
                                        "do_align_long_axis", "do_reduce_labels"};
    bool on;
    magpie_status status = read_flag(file, "do_normalize", true, normalise);
    for (size_t i = 0; i < sizeof always / sizeof *always && status == MAGPIE_OK; i++) {
        status = read_flag(file, always[i], true, &on);
        if (status == MAGPIE_OK && !on)
            status = magpie_fail(MAGPIE_E_UNSUPPORTED, "%s: \"%s\": false is not supported", file->path,
                                 always[i]);
    }
    for (size_t i = 0; i < sizeof never / sizeof *never && status == MAGPIE_OK; i++) {
        status = read_flag(file, never[i], false, &on);
        if (status == MAGPIE_OK && on)
            status = magpie_fail(MAGPIE_E_UNSUPPORTED, "%s: \"%s\" is not supported", file->path, never[i]);
    }
    const json_t *factor = find(file->root, "rescale_factor");
    if (status == MAGPIE_OK && factor && fabs(json_number_value(factor) * 255 - 1) > 1e-6)
        status = unsupported(file, "a \"rescale_factor\" other than 1/255 is not supported");
    return status;
}

static magpie_status read_transformers(const model_json *file, image_preprocess *out) {
    const char *type, *older;
    bool normalise;
    magpie_status status = model_json_string(file, "feature_extractor_type", "", &older);
    if (status == MAGPIE_OK) status = model_json_string(file, "image_processor_type", older, &type);
    if (status == MAGPIE_OK) status = read_steps(file, &normalise);
    if (status == MAGPIE_OK) status = read_filter(file, &out->geometry.filter);
    if (status != MAGPIE_OK) return status;
    const json_t *share = find(file->root, "crop_pct");
    status = share || strncmp(type, "ConvNext", 8) == 0 ? read_convnext_size(file, share, &out->geometry)
                                                        : read_size(file, &out->geometry);
    if (status == MAGPIE_OK && !normalise) {
        for (size_t c = 0; c < 3; c++) {
            out->mean[c] = 0;
            out->std[c] = 1;
        }
        return MAGPIE_OK;
    }
    if (status == MAGPIE_OK)
        status = read_colours(file, "image_mean", find(file->root, "image_mean"), false, out->mean);
    if (status == MAGPIE_OK)
        status = read_colours(file, "image_std", find(file->root, "image_std"), true, out->std);
    return status;
}

/* ---- open_clip_config.json ---- */

static magpie_status read_open_clip(const model_json *file, image_preprocess *out) {
    const json_t *config = find(file->root, "preprocess_cfg");
    const json_t *tower = find(find(file->root, "model_cfg"), "vision_cfg");
    const json_t *size = find(config, "size"), *filter = find(config, "interpolation");
    const json_t *mode = find(config, "resize_mode");
    image_geometry *geometry = &out->geometry;
    magpie_status status = MAGPIE_OK;
    if (!size) size = find(tower, "image_size");
    if (size) status = read_square(file, "size", size, &geometry->side);
    if (status != MAGPIE_OK) return status;
    if (filter) {
        const char *name = json_is_string(filter) ? json_string_value(filter) : "";
        if (strcmp(name, "bicubic") != 0 && strcmp(name, "bilinear") != 0)
            return unsupported(file, "an \"interpolation\" other than bilinear and bicubic is not supported");
        geometry->filter = name[2] == 'c' ? IMAGE_BICUBIC : IMAGE_BILINEAR;
    }
    const char *how = mode ? json_is_string(mode) ? json_string_value(mode) : "" : "shortest";
    if (strcmp(how, "shortest") != 0 && strcmp(how, "squash") != 0)
        return unsupported(file, "a \"resize_mode\" other than shortest and squash is not supported");
    if (size || mode) geometry->shortest = how[1] == 'h' ? geometry->side : 0;
    status = read_colours(file, "mean", find(config, "mean"), false, out->mean);
    return status == MAGPIE_OK ? read_colours(file, "std", find(config, "std"), true, out->std) : status;
}

magpie_status image_preprocess_read(const char *directory, image_preprocess *out) {
    static const struct {
        const char *name;
        magpie_status (*read)(const model_json *file, image_preprocess *out);
    } files[] = {{"preprocessor_config.json", read_transformers}, {"open_clip_config.json", read_open_clip}};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        model_json file;
        magpie_status status = model_json_open(directory, files[i].name, true, &file);
        if (status != MAGPIE_OK) return status;
        bool there = file.root != NULL;
        image_preprocess read = *out; /* so that a failure changes nothing */
        if (there) status = files[i].read(&file, &read);
        model_json_close(&file);
        if (status != MAGPIE_OK) return status;
        *out = read;
        if (there) return MAGPIE_OK;
    }
    return MAGPIE_OK;
}
