/* model_senses.c - which kind of model a folder's configuration is of, and so what it can encode. */
#include "clip_config.h"
#include "encoders.h"
#include "model_files.h"
#include "model_kind.h"

#include <string.h>

/* torchvision's and timm's names, "resnet50"; not "resnet50d", which is another network. */
static bool is_resnet_name(const char *name) {
    return strncmp(name, "resnet", 6) == 0 && name[6] && name[6 + strspn(name + 6, "0123456789")] == 0;
}

static magpie_status kind_of(const model_json *file, model_kind *out) {
    const char *type, *architecture;
    magpie_status status = model_json_string(file, "model_type", "", &type);
    if (status == MAGPIE_OK) status = model_json_string(file, "architecture", "", &architecture);
    if (status != MAGPIE_OK) return status;
    static const struct {
        const char *type;
        model_kind kind;
    } known[] = {{"resnet", MODEL_RESNET},
                 {"cifar-resnet", MODEL_RESNET},
                 {"torchvision-resnet", MODEL_RESNET},
                 {"audio-resnet", MODEL_AUDIO},
                 {"musicnn-vgg", MODEL_AUDIO},
                 {"audio-spectrogram-transformer", MODEL_AUDIO},
                 {"bert", MODEL_BERT},
                 {"magpie-fusion", MODEL_FUSION},
                 {"magpie-labels", MODEL_LABELS}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(type, known[i].type) == 0) return *out = known[i].kind, MAGPIE_OK;
    if (!*type && is_resnet_name(architecture)) return *out = MODEL_RESNET, MAGPIE_OK;
    bool bare_bert = !*type && !*architecture && json_object_get(file->root, "hidden_size");
    if (bare_bert) return *out = MODEL_BERT, MAGPIE_OK;
    if (!*type && !*architecture)
        return magpie_fail(MAGPIE_E_UNSUPPORTED,
                           "%s: neither \"model_type\" nor \"architecture\" says what it is", file->path);
    return magpie_fail(MAGPIE_E_UNSUPPORTED,
                       "%s: a model of type \"%s\"; bert, clip, resnet, audio-resnet, musicnn-vgg, "
                       "audio-spectrogram-transformer, magpie-fusion and magpie-labels are supported",
                       file->path, *type ? type : architecture);
}

magpie_status model_kind_read(const char *directory, model_kind *out) {
    bool is_clip;
    model_json file;
    magpie_status status = clip_config_exists(directory, &is_clip);
    if (status != MAGPIE_OK) return status;
    if (is_clip) return *out = MODEL_CLIP, MAGPIE_OK;
    status = model_json_open(directory, "config.json", false, &file);
    if (status != MAGPIE_OK) return status;
    status = kind_of(&file, out);
    model_json_close(&file);
    return status;
}

magpie_status magpie_model_get_senses(const char *directory, magpie_model_senses *out) {
    model_kind kind;
    magpie_status status = model_kind_read(directory, &kind);
    if (status == MAGPIE_OK)
        *out = (magpie_model_senses){.text = kind == MODEL_BERT || kind == MODEL_CLIP,
                                     .image = kind == MODEL_RESNET || kind == MODEL_CLIP,
                                     .audio = kind == MODEL_AUDIO,
                                     .labels = kind == MODEL_LABELS};
    return status;
}
