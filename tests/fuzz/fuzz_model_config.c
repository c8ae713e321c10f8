/* fuzz_model_config.c - any bytes as config.json, preprocessor_config.json and open_clip_config.json: refused in
 * words, or a geometry that a resizer takes, a spectrogram and a network of bounded shape. */
#include "fuzz.h"
#include "audio_architecture.h"
#include "bert.h"
#include "image_preprocess.h"
#include "resnet.h"
#include "spectrogram.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

fuzz_seed fuzz_seeds[] = {
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
    FUZZ_SEED(
        "{\"feature_extractor_type\":\"MagpieSpectrogram\",\"sampling_rate\":16000,\"n_fft\":512,"
        "\"win_length\":400,\"hop_length\":160,\"window\":\"hann\",\"center\":true,\"pad_mode\":\"reflect\","
        "\"power\":2,\"n_mels\":64,\"f_min\":0,\"f_max\":8000,\"mel_scale\":\"slaney\",\"norm\":\"slaney\","
        "\"log\":\"ln\",\"log_floor\":1e-10,\"normalize\":\"fixed\",\"mean\":-4,\"std\":2,\"frames\":101,"
        "\"padding\":\"constant\",\"padding_value\":0}"),
    FUZZ_SEED("{\"feature_extractor_type\":\"ASTFeatureExtractor\",\"num_mel_bins\":128,\"max_length\":1024,"
              "\"mean\":-4.2677393,\"std\":4.5689974,\"sampling_rate\":16000}"),
    FUZZ_SEED("{\"model_type\":\"audio-resnet\",\"depth\":18,\"projection\":[512,512]}"),
    FUZZ_SEED("{\"model_type\":\"musicnn-vgg\",\"num_filters\":128,\"batch_norm_eps\":0.001,"
              "\"id2label\":{\"0\":\"guitar\",\"1\":\"harp\"}}"),
    FUZZ_SEED("{\"model_type\":\"audio-spectrogram-transformer\",\"hidden_size\":64,\"num_hidden_layers\":3,"
              "\"num_attention_heads\":4,\"intermediate_size\":128,\"hidden_act\":\"gelu\",\"patch_size\":16,"
              "\"frequency_stride\":10,\"time_stride\":10,\"num_mel_bins\":64,\"max_length\":128,"
              "\"qkv_bias\":true,\"layer_norm_eps\":1e-12}"),
    FUZZ_SEED("{\"model_type\":\"cifar-resnet\",\"depth\":20}"),
    FUZZ_SEED("{\"model_type\":\"torchvision-resnet\",\"architecture\":\"resnet50\"}"),
    FUZZ_SEED(
        "{\"model_type\":\"resnet\",\"depths\":[3,4,6,3],\"hidden_sizes\":[256,512,1024,2048],"
        "\"embedding_size\":64,\"layer_type\":\"bottleneck\",\"hidden_act\":\"relu\",\"num_channels\":3}"),
    FUZZ_SEED(
        "{\"embed_dim\":1024,\"quick_gelu\":true,\"vision_cfg\":{\"image_size\":224,\"layers\":[3,4,6,3],"
        "\"width\":64,\"patch_size\":null},\"text_cfg\":{\"context_length\":77,\"vocab_size\":49408,"
        "\"width\":512,\"heads\":8,\"layers\":12}}"),
    FUZZ_SEED(
        "{\"model_type\":\"bert\",\"hidden_size\":384,\"num_hidden_layers\":6,\"num_attention_heads\":12,"
        "\"intermediate_size\":1536,\"vocab_size\":30522,\"max_position_embeddings\":512,"
        "\"layer_norm_eps\":1e-12}"),
};
const size_t fuzz_seed_count = sizeof fuzz_seeds / sizeof *fuzz_seeds;

static char folder[] = "/tmp/magpie-fuzz-XXXXXX";
enum { FILES = 3 };
static const char *const names[FILES] = {"preprocessor_config.json", "open_clip_config.json", "config.json"};
static char *links[FILES]; /* in the folder, to a file in memory */

static void remove_links(void) {
    for (size_t i = 0; i < FILES; i++) {
        unlink(links[i]);
        free(links[i]);
    }
    rmdir(folder);
}

static void check_preprocess(const char *name) {
    image_preprocess p = {{256, 224, IMAGE_BILINEAR}, {0.5f, 0.5f, 0.5f}, {0.5f, 0.5f, 0.5f}};
    if (image_preprocess_read(folder, &p) != MAGPIE_OK) {
        if (!strstr(magpie_error(), name)) abort();
        return;
    }
    if (p.geometry.side < 1 || p.geometry.side > IMAGE_GEOMETRY_MAX ||
        p.geometry.shortest > IMAGE_GEOMETRY_MAX || p.geometry.filter > IMAGE_BICUBIC)
        abort();
    for (size_t c = 0; c < 3; c++)
        if (!isfinite(p.mean[c]) || !isfinite(p.std[c]) || !(p.std[c] > 0)) abort();
}

static void check_spectrogram(const char *name) {
    spectrogram_config c;
    if (spectrogram_config_read(folder, &c) != MAGPIE_OK) {
        if (!strstr(magpie_error(), "preprocessor_config.json")) abort();
        return;
    }
    if (strcmp(name, "preprocessor_config.json") != 0) abort();
    if (c.n_fft < 4 || c.n_fft > SPECTROGRAM_FFT_MAX || c.n_fft % 2 || c.window < 2 || c.window > c.n_fft ||
        c.hop < 1)
        abort();
    if (c.frames < 1 || c.frames > SPECTROGRAM_FRAMES_MAX || spectrogram_bands(&c) > SPECTROGRAM_FFT_MAX)
        abort();
    if (!isfinite(c.mean) || !(c.deviation > 0) || !isfinite(c.padding)) abort();
}

/* A file without a tensor, which is all that these look at before weights are packed. */
static const safetensors *no_weights(void) {
    static safetensors *file;
    char path[] = "/tmp/magpie-fuzz-weights-XXXXXX";
    static const char empty[] = "\2\0\0\0\0\0\0\0{}";
    if (file) return file;
    int fd = mkstemp(path);
    if (fd < 0 || write(fd, empty, sizeof empty - 1) != sizeof empty - 1 || close(fd) != 0) abort();
    if (safetensors_open(path, &file) != MAGPIE_OK || unlink(path) != 0) abort();
    return file;
}

static void check_sounds(void) {
    static const audio_architecture *const all[] = {&audio_resnet, &audio_vgg, &audio_ast};
    const spectrogram_config c = {.n_fft = 512, .mels = 64, .frames = 128};
    model_json config;
    if (model_json_open(folder, "config.json", true, &config) != MAGPIE_OK) return;
    for (size_t i = 0; i < sizeof all / sizeof *all && config.root; i++) {
        audio_model *model;
        if (all[i]->open(&config, &c, no_weights(), &model) != MAGPIE_OK) continue;
        if (model->dimension < 1 || model->dimension > 1 << 24 || model->layers < 1) abort();
        for (size_t t = 0; t < model->tags; t++)
            if (!model->tag[t]) abort();
        all[i]->close(model);
    }
    model_json_close(&config);
}

static void check_networks(const char *name) {
    resnet_config picture;
    bert_config text;
    image_preprocess preprocess;
    magpie_model_senses senses;
    bool described = strcmp(name, "preprocessor_config.json") != 0; /* else there is no config.json at all */
    if (resnet_config_read(folder, &picture, &preprocess) == MAGPIE_OK) {
        if (!described || picture.stages < 1 || picture.stages > RESNET_STAGES_MAX || picture.height < 32 ||
            picture.width < 32)
            abort();
        for (size_t s = 0; s < picture.stages; s++)
            if (picture.blocks[s] < 1 || picture.channels[s] < 1 || picture.channels[s] > 1 << 24) abort();
        if (resnet_layers(&picture) < 4 || resnet_dimension(&picture) < 1) abort();
    }
    if (bert_config_read(folder, &text) == MAGPIE_OK && (text.hidden % text.heads || !(text.epsilon > 0)))
        abort();
    if (magpie_model_get_senses(folder, &senses) == MAGPIE_OK &&
        !(described && (senses.text || senses.image || senses.audio)))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static int fd = -1;
    char memory[64];
    if (fd < 0) {
        fd = memfd_create("fuzz.json", 0);
        if (fd < 0 || !mkdtemp(folder)) abort();
        for (size_t i = 0; i < FILES; i++)
            if (!(links[i] = magpie_path_join(folder, names[i]))) abort();
        atexit(remove_links);
    }
    if (ftruncate(fd, 0) != 0 || pwrite(fd, data, size, 0) != (ssize_t)size) abort();
    snprintf(memory, sizeof memory, "/proc/self/fd/%d", fd);
    for (size_t i = 0; i < FILES; i++) {
        if (symlink(memory, links[i]) != 0) abort();
        check_preprocess(names[i]);
        check_spectrogram(names[i]);
        check_sounds();
        check_networks(names[i]);
        if (unlink(links[i]) != 0) abort();
    }
    return 0;
}
