/* clip_config.c - open_clip's and Hugging Face's configurations of CLIP, read into one. */
#include "clip_config.h"
#include "model_files.h"

#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

/* Bounds on what a config may ask for, far above any CLIP: they keep products of them within size_t. */
enum {
    WIDTH_MAX = 16384,
    LAYERS_MAX = 1024,
    CLIP_VOCABULARY_MAX = 1 << 24,
    CONTEXT_MAX = 1 << 16,
    IMAGE_SIZE_MAX = 8192,
    STAGES = 4
};

/* ---- open_clip ---- */

/* Switches of open_clip's text tower: whatever sets one makes another network of it. */
static const char *const text_switches[] = {"hf_model_name",    "embed_cls",          "no_causal_mask",
                                            "proj_bias",        "act_kwargs",         "norm_kwargs",
                                            "ls_init_value",    "block_type",         "qk_norm",
                                            "scale_attn_inner", "scale_attn",         "scale_fc",
                                            "tokenizer_kwargs", "scaled_cosine_attn", "scale_heads"};

static magpie_status expect_string(const model_json *file, const char *key, const char *wanted) {
    const char *value;
    magpie_status status = model_json_string(file, key, wanted, &value);
    if (status == MAGPIE_OK && strcmp(value, wanted) != 0)
        status = magpie_fail(MAGPIE_E_UNSUPPORTED, "%s: \"%s\" is \"%s\"; only \"%s\" is supported",
                             file->path, key, value, wanted);
    return status;
}

/* An object inside of `file`, borrowed: not to be closed. */
static magpie_status member(const model_json *file, const char *key, model_json *out) {
    *out = (model_json){json_object_get(file->root, key), file->path};
    if (json_is_object(out->root)) return MAGPIE_OK;
    return magpie_fail(MAGPIE_E_CORRUPT, "%s: \"%s\" should be an object", file->path, key);
}

static magpie_status check_heads(const model_json *file, size_t width, size_t heads) {
    if (width % heads == 0) return MAGPIE_OK;
    return magpie_fail(MAGPIE_E_CORRUPT, "%s: a width of %zu is not a multiple of %zu heads", file->path,
                       width, heads);
}

static magpie_status read_open_clip_text(const model_json *file, clip_text_config *c) {
    *c = (clip_text_config){
        .context = 77, .vocabulary = 49408, .width = 512, .heads = 8, .layers = 12, .epsilon = 1e-5f};
    for (size_t i = 0; i < sizeof text_switches / sizeof *text_switches; i++) {
        const json_t *value = json_object_get(file->root, text_switches[i]);
        if (value && !json_is_null(value) && !json_is_false(value))
            return magpie_fail(MAGPIE_E_UNSUPPORTED, "%s: \"%s\" of the text tower is not supported",
                               file->path, text_switches[i]);
    }
    magpie_status status = expect_string(file, "pool_type", "argmax");
    if (status == MAGPIE_OK) status = expect_string(file, "proj_type", "linear");
    if (status == MAGPIE_OK)
        status = model_json_size(file, "context_length", false, 2, CONTEXT_MAX, &c->context);
    if (status == MAGPIE_OK)
        status = model_json_size(file, "vocab_size", false, 1, CLIP_VOCABULARY_MAX, &c->vocabulary);
    if (status == MAGPIE_OK) status = model_json_size(file, "width", false, 1, WIDTH_MAX, &c->width);
    if (status == MAGPIE_OK) status = model_json_size(file, "heads", false, 1, WIDTH_MAX, &c->heads);
    if (status == MAGPIE_OK) status = model_json_size(file, "layers", false, 1, LAYERS_MAX, &c->layers);
    if (status == MAGPIE_OK) status = check_heads(file, c->width, c->heads);
    const json_t *ratio = json_object_get(file->root, "mlp_ratio");
    double intermediate = (double)c->width * (ratio ? json_number_value(ratio) : 4);
    if (status == MAGPIE_OK && !(intermediate >= 1 && intermediate <= 16.0 * WIDTH_MAX))
        status = magpie_fail(MAGPIE_E_CORRUPT, "%s: \"mlp_ratio\" should be a number around 4", file->path);
    else if (status == MAGPIE_OK)
        c->intermediate = (size_t)intermediate;
    return status;
}

static magpie_status read_stages(const model_json *file, clip_vision_config *c) {
    const json_t *layers = json_object_get(file->root, "layers");
    c->is_resnet = json_is_array(layers);
    if (!c->is_resnet) return MAGPIE_OK;
    for (size_t i = 0; i < STAGES; i++) {
        json_int_t blocks = json_integer_value(json_array_get(layers, i));
        if (json_array_size(layers) != STAGES || blocks < 1 || blocks > LAYERS_MAX)
            return magpie_fail(MAGPIE_E_CORRUPT,
                               "%s: \"layers\" should be %d numbers of blocks, or one of layers", file->path,
                               STAGES);
        c->layers[i] = (size_t)blocks;
    }
    return MAGPIE_OK;
}

static magpie_status read_open_clip_vision(const model_json *file, clip_vision_config *c) {
    size_t head_width = 64;
    *c = (clip_vision_config){.image_size = 224, .width = 768};
    if (json_is_string(json_object_get(file->root, "timm_model_name")))
        return MAGPIE_OK; /* another network */
    magpie_status status = read_stages(file, c);
    if (status == MAGPIE_OK)
        status = model_json_size(file, "image_size", false, 1, IMAGE_SIZE_MAX, &c->image_size);
    if (status == MAGPIE_OK) status = model_json_size(file, "width", false, 1, WIDTH_MAX, &c->width);
    if (status == MAGPIE_OK) status = model_json_size(file, "head_width", false, 1, WIDTH_MAX, &head_width);
    if (status != MAGPIE_OK || !c->is_resnet) return status;
    c->heads = c->width * 32 / head_width; /* the last stage puts out 32 times the width */
    if (!c->heads || c->width * 32 % head_width)
        return magpie_fail(MAGPIE_E_CORRUPT,
                           "%s: 32 times a \"width\" of %zu is not a multiple of \"head_width\" %zu",
                           file->path, c->width, head_width);
    return MAGPIE_OK;
}

static magpie_status read_open_clip(const model_json *file, clip_config *c) {
    model_json text, vision;
    if (json_is_object(json_object_get(file->root, "multimodal_cfg")))
        return magpie_fail(MAGPIE_E_UNSUPPORTED, "%s: \"multimodal_cfg\": CoCa is not supported", file->path);
    magpie_status status = model_json_size(file, "embed_dim", true, 1, WIDTH_MAX, &c->embed);
    if (status == MAGPIE_OK) status = member(file, "text_cfg", &text);
    if (status == MAGPIE_OK) status = read_open_clip_text(&text, &c->text);
    if (status == MAGPIE_OK) status = member(file, "vision_cfg", &vision);
    if (status == MAGPIE_OK) status = read_open_clip_vision(&vision, &c->vision);
    c->quick_gelu = model_json_true(file, "quick_gelu");
    return status;
}

/* ---- Hugging Face ---- */

static magpie_status read_activation(const model_json *file, bool *quick) {
    const char *name;
    magpie_status status = model_json_string(file, "hidden_act", "quick_gelu", &name);
    *quick = status == MAGPIE_OK && strcmp(name, "quick_gelu") == 0;
    if (status == MAGPIE_OK && !*quick && strcmp(name, "gelu") != 0)
        status =
            magpie_fail(MAGPIE_E_UNSUPPORTED,
                        "%s: \"hidden_act\" is \"%s\"; quick_gelu and gelu are supported", file->path, name);
    return status;
}

static magpie_status read_epsilon(const model_json *file, float *out) {
    const json_t *epsilon = json_object_get(file->root, "layer_norm_eps");
    *out = epsilon ? (float)json_number_value(epsilon) : 1e-5f;
    if (*out > 0 && *out < 1) return MAGPIE_OK;
    return magpie_fail(MAGPIE_E_CORRUPT, "%s: \"layer_norm_eps\" should be a number between 0 and 1",
                       file->path);
}

static magpie_status read_hugging_face_text(const model_json *file, clip_text_config *c) {
    *c = (clip_text_config){
        .context = 77, .vocabulary = 49408, .width = 512, .heads = 8, .layers = 12, .intermediate = 2048};
    magpie_status status = read_epsilon(file, &c->epsilon);
    if (status == MAGPIE_OK)
        status = model_json_size(file, "max_position_embeddings", false, 2, CONTEXT_MAX, &c->context);
    if (status == MAGPIE_OK)
        status = model_json_size(file, "vocab_size", false, 1, CLIP_VOCABULARY_MAX, &c->vocabulary);
    if (status == MAGPIE_OK) status = model_json_size(file, "hidden_size", false, 1, WIDTH_MAX, &c->width);
    if (status == MAGPIE_OK)
        status = model_json_size(file, "num_attention_heads", false, 1, WIDTH_MAX, &c->heads);
    if (status == MAGPIE_OK)
        status = model_json_size(file, "num_hidden_layers", false, 1, LAYERS_MAX, &c->layers);
    if (status == MAGPIE_OK)
        status =
            model_json_size(file, "intermediate_size", false, 1, (size_t)16 * WIDTH_MAX, &c->intermediate);
    return status == MAGPIE_OK ? check_heads(file, c->width, c->heads) : status;
}

static magpie_status read_hugging_face(const model_json *file, clip_config *c) {
    model_json text, vision;
    c->embed = 512;
    c->vision = (clip_vision_config){.image_size = 224, .width = 768};
    magpie_status status = model_json_size(file, "projection_dim", false, 1, WIDTH_MAX, &c->embed);
    if (status == MAGPIE_OK) status = member(file, "text_config", &text);
    if (status == MAGPIE_OK) status = read_activation(&text, &c->quick_gelu);
    if (status == MAGPIE_OK) status = read_hugging_face_text(&text, &c->text);
    if (status == MAGPIE_OK) status = member(file, "vision_config", &vision);
    if (status == MAGPIE_OK)
        status = model_json_size(&vision, "image_size", false, 1, IMAGE_SIZE_MAX, &c->vision.image_size);
    return status == MAGPIE_OK
               ? model_json_size(&vision, "hidden_size", false, 1, WIDTH_MAX, &c->vision.width)
               : status;
}

/* ---- which of them ---- */

typedef enum notation { NONE, OPEN_CLIP, OPEN_CLIP_BARE, HUGGING_FACE } notation;

static notation notation_of(const model_json *config) {
    const char *type = json_string_value(json_object_get(config->root, "model_type"));
    if (json_object_get(config->root, "text_cfg")) return OPEN_CLIP_BARE;
    return type && strcmp(type, "clip") == 0 ? HUGGING_FACE : NONE;
}

/* The file that has the say, open; with NONE there is nothing to close. */
static magpie_status open_config(const char *directory, model_json *file, notation *out) {
    *out = OPEN_CLIP;
    magpie_status status = model_json_open(directory, "open_clip_config.json", true, file);
    if (status != MAGPIE_OK || file->root) return status;
    model_json_close(file);
    *out = NONE;
    status = model_json_open(directory, "config.json", true, file);
    if (status != MAGPIE_OK) return status;
    *out = notation_of(file);
    if (*out == NONE) model_json_close(file);
    return MAGPIE_OK;
}

magpie_status clip_config_exists(const char *directory, bool *out) {
    model_json file;
    notation notation;
    magpie_status status = open_config(directory, &file, &notation);
    if (status != MAGPIE_OK) return status;
    *out = notation != NONE;
    if (*out) model_json_close(&file);
    return MAGPIE_OK;
}

magpie_status clip_config_read(const char *directory, clip_config *out) {
    model_json file, inner;
    notation notation;
    *out = (clip_config){0};
    magpie_status status = open_config(directory, &file, &notation);
    if (status != MAGPIE_OK) return status;
    switch (notation) {
    case NONE: return magpie_fail(MAGPIE_E_NOT_FOUND, "%s: no configuration of a CLIP model", directory);
    case HUGGING_FACE: status = read_hugging_face(&file, out); break;
    case OPEN_CLIP_BARE: status = read_open_clip(&file, out); break;
    case OPEN_CLIP:
        status = member(&file, "model_cfg", &inner);
        if (status == MAGPIE_OK) status = read_open_clip(&inner, out);
    }
    model_json_close(&file);
    return status;
}

/* ---- weights ---- */

uint64_t clip_fingerprint(const safetensors *file, const clip_config *config) {
    const clip_text_config *t = &config->text;
    const clip_vision_config *v = &config->vision;
    const uint64_t parts[] = {safetensors_fingerprint(file),
                              config->embed,
                              config->quick_gelu,
                              t->context,
                              t->heads,
                              (uint64_t)((double)t->epsilon * 1e12),
                              v->is_resnet,
                              v->image_size,
                              v->layers[0],
                              v->layers[1],
                              v->layers[2],
                              v->layers[3],
                              v->heads};
    return XXH3_64bits(parts, sizeof parts);
}

magpie_status clip_weights_open(const char *directory, safetensors **out) {
    static const char *const names[] = {"open_clip_model.safetensors", "open_clip_pytorch_model.safetensors",
                                        "model.safetensors"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *path = magpie_path_join(directory, names[i]);
        if (!path) return MAGPIE_E_NO_MEMORY;
        bool exists = magpie_path_exists(path);
        magpie_status status = exists ? safetensors_open(path, out) : MAGPIE_OK;
        free(path);
        if (exists) return status;
    }
    return magpie_fail(MAGPIE_E_NOT_FOUND,
                       "%s: there is neither model.safetensors nor open_clip_model.safetensors", directory);
}
