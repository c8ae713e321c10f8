/* fusion_files.c - a fusion model's folder, read and written. */
#include "fusion.h"
#include "trained_files.h"

#include <float.h>
#include <string.h>

static const char model_type[] = "magpie-fusion";

static const char *const kinds[] = {
    [FUSION_IDENTITY] = "identity", [FUSION_LINEAR] = "linear", [FUSION_RESIDUAL] = "residual"};

const char *fusion_kind_name(fusion_kind kind) { return kinds[kind]; }

enum { PARTS = 4, PARTS_MAX = PARTS * MAGPIE_MODALITIES, NAME_BYTES = 32 };

/* A tensor that heads may have. */
typedef struct part {
    const char *of;        /* behind the modality's name */
    float *values;         /* [rows, columns] */
    size_t rows, columns;  /* columns 0: a vector of `rows` numbers */
    char name[NAME_BYTES]; /* in the file */
} part;

/* Those that these heads have, in the order of the file. */
static size_t list_parts(const fusion_heads *heads, part parts[PARTS_MAX]) {
    size_t n = 0, d = heads->dimension;
    for (magpie_modality m = 0; m < MAGPIE_MODALITIES; m++) {
        const fusion_head *h = &heads->head[m];
        const part all[PARTS] = {{"weight", h->matrix, d, h->input, ""},
                                 {"bias", h->bias, d, 0, ""},
                                 {"inner.weight", h->inner, d, d, ""},
                                 {"inner.bias", h->inner_bias, d, 0, ""}};
        for (size_t i = 0; i < PARTS; i++) {
            if (!all[i].values) continue;
            parts[n] = all[i];
            snprintf(parts[n].name, NAME_BYTES, "%s.%s", magpie_modality_name(m), all[i].of);
            n++;
        }
    }
    return n;
}

/* ---- reading ---- */

static magpie_status fail_head(const model_json *file, magpie_modality modality, const char *what) {
    return magpie_fail(MAGPIE_E_CORRUPT, "%s: head \"%s\": %s", file->path, magpie_modality_name(modality),
                       what);
}

/* A number of [least, most]; a missing one is `fallback`. */
static bool read_number(const json_t *object, const char *key, double least, double most, float fallback,
                        float *out) {
    const json_t *value = json_object_get(object, key);
    double number = json_number_value(value);
    *out = value ? (float)number : fallback;
    return !value || (json_is_number(value) && number >= least && number <= most);
}

static magpie_status read_head(const model_json *file, magpie_modality modality, const json_t *object,
                               size_t dimension, fusion_head *out) {
    const char *kind = json_string_value(json_object_get(object, "kind"));
    const json_t *input = json_object_get(object, "input"), *encoder = json_object_get(object, "encoder");
    if (!json_is_object(object)) return fail_head(file, modality, "it is not an object");
    for (fusion_kind k = FUSION_IDENTITY; k <= FUSION_RESIDUAL; k++)
        if (kind && strcmp(kind, kinds[k]) == 0) out->kind = k;
    if (out->kind == FUSION_NONE)
        return fail_head(file, modality, "\"kind\" should be \"linear\", \"residual\" or \"identity\"");
    if (json_integer_value(input) < 1 || json_integer_value(input) > FUSION_DIMENSION_MAX)
        return fail_head(file, modality, "\"input\" should be a whole number from 1 to 16384");
    out->input = (size_t)json_integer_value(input);
    if (out->kind == FUSION_IDENTITY && out->input != dimension)
        return fail_head(file, modality, "an identity's \"input\" is the model's dimension");
    if (!read_number(object, "weight", 0, FLT_MAX, 1, &out->weight))
        return fail_head(file, modality, "\"weight\" should be a number, 0 or more");
    if (!encoder || json_is_null(encoder)) return MAGPIE_OK;
    if (!json_is_string(encoder) || json_string_length(encoder) >= sizeof out->encoder)
        return fail_head(file, modality, "\"encoder\" should be a model's fingerprint");
    strcpy(out->encoder, json_string_value(encoder));
    return MAGPIE_OK;
}

/* A name of none of the modalities would be a head that nothing ever uses. */
static magpie_status check_names(const model_json *file, json_t *heads) {
    const char *name;
    json_t *value;
    json_object_foreach(heads, name, value) {
        magpie_modality m = 0;
        while (m < MAGPIE_MODALITIES && strcmp(name, magpie_modality_name(m)) != 0) m++;
        if (m == MAGPIE_MODALITIES)
            return magpie_fail(MAGPIE_E_CORRUPT,
                               "%s: a head \"%.40s\"; there are \"text\", \"image\" and \"audio\"",
                               file->path, name);
    }
    return MAGPIE_OK;
}

static magpie_status read_heads(const model_json *file, fusion_heads *out) {
    json_t *heads = json_object_get(file->root, "heads");
    bool counts = false;
    magpie_status status = check_names(file, heads);
    for (magpie_modality m = 0; m < MAGPIE_MODALITIES && status == MAGPIE_OK; m++) {
        const json_t *object = json_object_get(heads, magpie_modality_name(m));
        if (!object) continue;
        status = read_head(file, m, object, out->dimension, &out->head[m]);
        counts = counts || out->head[m].weight > 0;
    }
    if (status == MAGPIE_OK && !counts)
        status = magpie_fail(MAGPIE_E_CORRUPT, "%s: \"heads\" should have one at least of a weight above 0",
                             file->path);
    return status;
}

static magpie_status read_config(const model_json *file, fusion_heads *out) {
    magpie_status status = model_json_size(file, "dimension", true, 1, FUSION_DIMENSION_MAX, &out->dimension);
    if (status == MAGPIE_OK &&
        !read_number(file->root, "temperature", FLT_MIN, FLT_MAX, 1, &out->temperature))
        status = magpie_fail(MAGPIE_E_CORRUPT, "%s: \"temperature\" should be a number above 0", file->path);
    return status == MAGPIE_OK ? read_heads(file, out) : status;
}

static magpie_status read_weights(const char *directory, const model_json *config, fusion_heads *out) {
    part parts[PARTS_MAX];
    magpie_status status = fusion_heads_alloc(out);
    if (status != MAGPIE_OK) return status;
    size_t n = list_parts(out, parts);
    if (!n) return MAGPIE_OK;
    safetensors *file;
    status = trained_open_weights(directory, config, &file);
    for (size_t i = 0; i < n && status == MAGPIE_OK; i++)
        status = trained_read_tensor(file, parts[i].name, parts[i].rows, parts[i].columns, parts[i].values);
    safetensors_close(file);
    return status;
}

magpie_status fusion_files_read(const char *directory, fusion_heads *out) {
    model_json file;
    *out = (fusion_heads){0};
    magpie_status status = trained_open_config(directory, model_type, &file);
    if (status != MAGPIE_OK) return status;
    status = read_config(&file, out);
    if (status == MAGPIE_OK) status = read_weights(directory, &file, out);
    model_json_close(&file);
    return status;
}

/* ---- writing ---- */

/* *fingerprint stays empty where all heads are identities, and there is no file. */
static magpie_status write_weights(const char *directory, const fusion_heads *heads, bool half,
                                   char fingerprint[MAGPIE_FINGERPRINT_MAX]) {
    part parts[PARTS_MAX];
    tensor_values tensors[PARTS_MAX];
    const size_t n = list_parts(heads, parts);
    if (!n) return MAGPIE_OK;
    for (size_t i = 0; i < n; i++)
        tensors[i] = (tensor_values){parts[i].name, parts[i].rows, parts[i].columns, parts[i].values, 0};
    return trained_write_weights(directory, tensors, n, half, fingerprint);
}

static void print_head(FILE *stream, magpie_modality modality, const fusion_head *head) {
    fprintf(stream, "    \"%s\": {\"kind\": \"%s\", \"input\": %zu, \"weight\": %.9g",
            magpie_modality_name(modality), kinds[head->kind], head->input, (double)head->weight);
    if (*head->encoder) fprintf(stream, ", \"encoder\": \"%s\"", head->encoder);
    fprintf(stream, "}");
}

static magpie_status write_config(const char *directory, const fusion_heads *heads, const char *fingerprint) {
    magpie_atomic_file *file;
    magpie_status status = trained_begin_config(directory, &file);
    if (status != MAGPIE_OK) return status;
    FILE *stream = magpie_atomic_stream(file);
    fprintf(stream, "{\n  \"model_type\": \"%s\",\n  \"dimension\": %zu,\n  \"temperature\": %.9g,\n",
            model_type, heads->dimension, (double)heads->temperature);
    if (*fingerprint) fprintf(stream, "  \"weights\": \"%s\",\n", fingerprint);
    fprintf(stream, "  \"heads\": {");
    for (magpie_modality m = 0, printed = 0; m < MAGPIE_MODALITIES; m++) {
        if (heads->head[m].kind == FUSION_NONE) continue;
        fprintf(stream, printed++ ? ",\n" : "\n");
        print_head(stream, m, &heads->head[m]);
    }
    fprintf(stream, "\n  }\n}\n");
    return magpie_atomic_commit(file);
}

magpie_status fusion_files_write(const char *directory, const fusion_heads *heads, bool half) {
    char fingerprint[MAGPIE_FINGERPRINT_MAX] = "";
    magpie_status status = trained_make_folder(directory);
    if (status == MAGPIE_OK) status = write_weights(directory, heads, half, fingerprint);
    return status == MAGPIE_OK ? write_config(directory, heads, fingerprint) : status;
}
