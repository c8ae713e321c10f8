/* text_encoder.c - a sentence encoder of either architecture: how many texts become few batches.
 *
 * Texts are tokenised by all workers, then packed into batches of about BATCH_TOKENS tokens, and the batches
 * are shared out: a worker runs its batch alone, on one thread, so there is not one barrier between the first
 * layer and the last. Where there are too few tokens to go round, one batch is run by all threads together
 * instead. A GPU has two lanes and large batches: one is copied while the other is computed. */
#include "encoders.h"
#include "model_files.h"
#include "model_kind.h"
#include "text_architecture.h"
#include "turns.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    BATCH_TOKENS =
        256, /* of a batch: high enough for full speed, low enough that activations stay in the cache */
    TOGETHER_TOKENS = 48, /* up to this many tokens a worker, all threads compute one batch */
    BLOCK_TEXTS = 1024,   /* encoded in one turn; bounds the memory for ids */
    GPU_LANES = 2,
    GPU_BATCH_TOKENS = 16384,
    GPU_BLOCK_TEXTS = 8192
};

struct magpie_text_encoder {
    turns turns; /* for all that follows the pool */
    magpie_text_encoder_info info;
    char *name, *query_prefix, *passage_prefix;
    bool raw, no_teams; /* as in the options */
    const text_architecture *architecture;
    text_model *model;
    const ops_table *ops;
    ops_device *device;
    bool packed; /* the weights are */
    size_t batch_tokens, block_texts;
    magpie_pool *pool;    /* that tokenises, and packs */
    magpie_pool *runners; /* of batches: the pool itself, or a GPU's lanes */
    unsigned lane_count;  /* threads of the runners */
    text_lane *together;  /* all threads */
    text_lane **lanes;    /* [lane_count]; made when first needed */
    magpie_block block;   /* of the four below */
    int32_t *ids;         /* [block_texts, max_tokens] */
    size_t *counts;       /* [block_texts] */
    size_t *batches;      /* [block_texts + 1]: first text of each batch */
    struct scratch {      /* [lane_count] */
        int32_t *ids;     /* [lane rows], without gaps */
        size_t *starts;   /* [lane rows + 1]: a text has a token at least */
    } * scratch;
};

/* ---- names ---- */

const char *magpie_precision_name(magpie_precision precision) {
    return precision == MAGPIE_PRECISION_F32    ? "f32"
           : precision == MAGPIE_PRECISION_BF16 ? "bf16"
           : precision == MAGPIE_PRECISION_INT8 ? "int8"
           : precision == MAGPIE_PRECISION_F16  ? "f16"
                                                : "auto";
}

magpie_status magpie_precision_parse(const char *name, magpie_precision *out) {
    static const magpie_precision all[] = {MAGPIE_PRECISION_F32, MAGPIE_PRECISION_BF16, MAGPIE_PRECISION_INT8,
                                           MAGPIE_PRECISION_F16, MAGPIE_PRECISION_AUTO};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (strcmp(name, magpie_precision_name(all[i])) == 0) return *out = all[i], MAGPIE_OK;
    return magpie_fail(MAGPIE_E_ARGUMENT, "no precision is called \"%s\": f32, bf16, f16, int8 or auto",
                       name);
}

/* ---- what the folder says ---- */

static magpie_status copy_prefix(const char *given, const json_t *first, const json_t *second, char **out) {
    const json_t *said = json_is_string(first) ? first : second;
    const char *prefix = given ? given : json_is_string(said) ? json_string_value(said) : "";
    *out = strdup(prefix);
    if (!*out) return magpie_fail(MAGPIE_E_NO_MEMORY, "out of memory");
    return magpie_utf8_check((magpie_string){*out, strlen(*out)});
}

static magpie_status read_prefixes(magpie_text_encoder *e, const char *directory,
                                   const magpie_encoder_options *options) {
    model_json file;
    magpie_status status = model_json_open(directory, "config_sentence_transformers.json", true, &file);
    if (status != MAGPIE_OK) return status;
    const json_t *prompts = json_object_get(file.root, "prompts");
    status = copy_prefix(options->query_prefix, json_object_get(prompts, "query"), NULL, &e->query_prefix);
    if (status == MAGPIE_OK)
        status = copy_prefix(options->passage_prefix, json_object_get(prompts, "passage"),
                             json_object_get(prompts, "document"), &e->passage_prefix);
    model_json_close(&file);
    return status;
}

static void fill_info(magpie_text_encoder *e, unsigned threads) {
    const text_model *model = e->model;
    uint64_t parameters = 0;
    for (size_t i = 0; i < safetensors_count(model->file); i++)
        if (safetensors_at(model->file, i)->type != TENSOR_OTHER)
            parameters += safetensors_at(model->file, i)->elements;
    e->info = (magpie_text_encoder_info){
        .name = e->name,
        .architecture = e->architecture->name,
        .pooling = model->pooling,
        .dimension = model->dimension,
        .layers = model->layers,
        .heads = model->heads,
        .intermediate = model->intermediate,
        .vocabulary = model->vocabulary,
        .max_tokens = model->max_tokens,
        .parameters = parameters,
        .device = e->info.device,
        .precision = e->ops->device_precision(e->device),
        .threads = threads,
        .query_prefix = e->query_prefix,
        .passage_prefix = e->passage_prefix,
    };
    snprintf(e->info.fingerprint, sizeof e->info.fingerprint, "%016llx",
             (unsigned long long)model->fingerprint);
}

magpie_status text_model_check_ids(const char *directory, size_t tokens, size_t vocabulary) {
    if (tokens <= vocabulary) return MAGPIE_OK;
    return magpie_fail(MAGPIE_E_CORRUPT,
                       "%s: the tokenizer has %zu tokens, the configuration's vocab_size says %zu", directory,
                       tokens, vocabulary);
}

/* ---- opening ---- */

static size_t lane_rows(const magpie_text_encoder *e) {
    return e->info.max_tokens > e->batch_tokens ? e->info.max_tokens : e->batch_tokens;
}

static void layout(magpie_text_encoder *e) {
    e->ids = magpie_carve(&e->block, e->block_texts * e->info.max_tokens, sizeof *e->ids);
    e->counts = magpie_carve(&e->block, e->block_texts, sizeof *e->counts);
    e->batches = magpie_carve(&e->block, e->block_texts + 1, sizeof *e->batches);
    e->scratch = magpie_carve(&e->block, e->lane_count, sizeof *e->scratch);
    for (unsigned i = 0; i < e->lane_count; i++) {
        int32_t *ids = magpie_carve(&e->block, lane_rows(e), sizeof *ids);
        size_t *starts = magpie_carve(&e->block, lane_rows(e) + 1, sizeof *starts);
        if (e->scratch) e->scratch[i] = (struct scratch){ids, starts};
    }
}

/* Who runs batches, and of what size. */
static magpie_status make_lanes(magpie_text_encoder *e) {
    const bool is_gpu = e->ops->driver != NULL;
    e->batch_tokens = is_gpu ? GPU_BATCH_TOKENS : BATCH_TOKENS;
    e->block_texts = is_gpu ? GPU_BLOCK_TEXTS : BLOCK_TEXTS;
    e->runners = e->pool;
    magpie_status status = is_gpu ? magpie_pool_create(GPU_LANES, &e->runners) : MAGPIE_OK;
    if (status != MAGPIE_OK) return e->runners = NULL, status;
    e->lane_count = magpie_pool_threads(e->runners);
    layout(e);
    status = magpie_block_alloc(&e->block);
    if (status != MAGPIE_OK) return status;
    layout(e);
    e->lanes = magpie_alloc(e->lane_count, sizeof(text_lane *));
    return e->lanes ? MAGPIE_OK : MAGPIE_E_NO_MEMORY;
}

static magpie_status open_model(magpie_text_encoder *e, const char *directory) {
    model_kind kind;
    magpie_status status = model_kind_read(directory, &kind);
    if (status != MAGPIE_OK) return status;
    if (kind != MODEL_BERT && kind != MODEL_CLIP)
        return magpie_fail(MAGPIE_E_UNSUPPORTED, "%s: a model of %s alone: it encodes no text", directory,
                           kind == MODEL_AUDIO ? "sounds" : "pictures");
    e->architecture = kind == MODEL_CLIP ? &text_clip : &text_bert;
    return e->architecture->open(directory, &e->model);
}

static magpie_status need_network(magpie_text_encoder *e) {
    if (e->packed) return MAGPIE_OK;
    magpie_status status = e->architecture->pack(e->model, e->ops, e->device, e->pool);
    safetensors_release(e->model->file);
    e->packed = status == MAGPIE_OK;
    return status;
}

magpie_status magpie_text_encoder_open(const char *directory, const magpie_encoder_options *options,
                                       magpie_text_encoder **out) {
    static const magpie_encoder_options defaults = {.precision = MAGPIE_PRECISION_AUTO};
    if (!options) options = &defaults;
    if (options->precision == MAGPIE_PRECISION_INT8)
        return magpie_fail(MAGPIE_E_UNSUPPORTED, "%s: int8 is for pictures alone; texts have f32 and bf16",
                           directory);
    magpie_text_encoder *e = magpie_alloc(1, sizeof *e);
    if (!e) return MAGPIE_E_NO_MEMORY;
    turns_init(&e->turns);
    e->raw = options->raw;
    e->no_teams = options->no_teams;
    e->info.device = options->device;
    magpie_status status = open_model(e, directory);
    if (status == MAGPIE_OK) status = read_prefixes(e, directory, options);
    if (status == MAGPIE_OK) status = model_name(directory, &e->name);
    if (status == MAGPIE_OK) status = magpie_pool_create(options->threads, &e->pool);
    if (status == MAGPIE_OK) status = ops_open(&e->info.device, options->precision, &e->ops, &e->device);
    if (status == MAGPIE_OK) {
        fill_info(e, magpie_pool_threads(e->pool));
        status = make_lanes(e);
    }
    if (status == MAGPIE_OK && !options->defer_weights) status = need_network(e);
    if (status == MAGPIE_OK)
        *out = e;
    else
        magpie_text_encoder_close(e);
    return status;
}

void magpie_text_encoder_close(magpie_text_encoder *e) {
    if (!e) return;
    for (unsigned i = 0; e->lanes && i < e->lane_count; i++) e->architecture->lane_free(e->lanes[i]);
    free(e->lanes);
    if (e->together) e->architecture->lane_free(e->together);
    magpie_block_free(&e->block);
    if (e->model) e->architecture->close(e->model);
    if (e->device) e->ops->device_free(e->device);
    if (e->runners != e->pool) magpie_pool_free(e->runners);
    magpie_pool_free(e->pool);
    free(e->name);
    free(e->query_prefix);
    free(e->passage_prefix);
    turns_destroy(&e->turns);
    free(e);
}

const magpie_text_encoder_info *magpie_text_encoder_get_info(const magpie_text_encoder *e) {
    return &e->info;
}

/* ---- encoding ---- */

magpie_status magpie_text_encoder_tokenize(magpie_text_encoder *e, magpie_string text, magpie_text_role role,
                                           int32_t *ids, size_t *count) {
    const char *prefix = role == MAGPIE_QUERY ? e->query_prefix : e->passage_prefix;
    if (text.size > MAGPIE_TEXT_MAX)
        return magpie_fail(MAGPIE_E_TOO_LARGE, "a text of %zu bytes; the limit is %d", text.size,
                           MAGPIE_TEXT_MAX);
    return e->architecture->tokenize(e->model, (magpie_string){prefix, strlen(prefix)}, text,
                                     e->info.max_tokens, ids, count);
}

/* What the tasks of one call share: texts, or texts that are tokens already. */
typedef struct call {
    magpie_text_encoder *encoder;
    const magpie_string *texts;
    magpie_text_role role;
    const int32_t *ids; /* where there are no texts */
    const size_t *starts;
    size_t first, n; /* of this block, in the whole call */
    size_t batches;
    float *out; /* [n, dimension], of this block */
} call;

enum { TEXTS_A_TASK = 32 };

static magpie_status tokenize_task(void *context, size_t task, unsigned worker) {
    (void)worker;
    const call *c = context;
    magpie_text_encoder *e = c->encoder;
    size_t end = (task + 1) * TEXTS_A_TASK < c->n ? (task + 1) * TEXTS_A_TASK : c->n;
    for (size_t i = task * TEXTS_A_TASK; i < end; i++) {
        magpie_status status = magpie_text_encoder_tokenize(e, c->texts[c->first + i], c->role,
                                                            e->ids + i * e->info.max_tokens, &e->counts[i]);
        if (status != MAGPIE_OK) return magpie_fail(status, "text %zu: %s", c->first + i, magpie_error());
    }
    return MAGPIE_OK;
}

static magpie_status check_tokens(const magpie_text_encoder *e, size_t text, const int32_t *ids,
                                  size_t count) {
    if (count == 0) return magpie_fail(MAGPIE_E_INPUT, "text %zu: it has no tokens", text);
    if (count > e->info.max_tokens)
        return magpie_fail(MAGPIE_E_INPUT, "text %zu: %zu tokens; the model takes %zu", text, count,
                           e->info.max_tokens);
    for (size_t i = 0; i < count; i++)
        if (ids[i] < 0 || (size_t)ids[i] >= e->info.vocabulary)
            return magpie_fail(MAGPIE_E_INPUT,
                               "text %zu, token %zu: %" PRId32 " is not among the model's %zu", text, i,
                               ids[i], e->info.vocabulary);
    return MAGPIE_OK;
}

/* The block's tokens to where tokenizing would have put them. */
static magpie_status take_tokens(const call *c) {
    magpie_text_encoder *e = c->encoder;
    for (size_t i = 0; i < c->n; i++) {
        const size_t *start = &c->starts[c->first + i];
        const int32_t *ids = c->ids + start[0];
        size_t count = start[1] - start[0];
        magpie_status status = check_tokens(e, c->first + i, ids, count);
        if (status != MAGPIE_OK) return status;
        memcpy(e->ids + i * e->info.max_tokens, ids, count * sizeof *ids);
        e->counts[i] = count;
    }
    return MAGPIE_OK;
}

/* Texts first .. end-1 as one batch in `lane`. */
static magpie_status run_batch(const call *c, text_lane *lane, struct scratch *scratch, size_t first,
                               size_t end) {
    const magpie_text_encoder *e = c->encoder;
    size_t rows = 0;
    for (size_t i = first; i < end; i++) {
        scratch->starts[i - first] = rows;
        memcpy(scratch->ids + rows, e->ids + i * e->info.max_tokens, e->counts[i] * sizeof *scratch->ids);
        rows += e->counts[i];
    }
    scratch->starts[end - first] = rows;
    return e->architecture->run(lane, scratch->ids, scratch->starts, end - first, !e->raw,
                                c->out + first * e->info.dimension);
}

static magpie_status batch_task(void *context, size_t task, unsigned worker) {
    const call *c = context;
    magpie_text_encoder *e = c->encoder;
    magpie_status status = MAGPIE_OK;
    if (!e->lanes[worker])
        status = e->architecture->lane_create(e->model, 1, lane_rows(e), &e->lanes[worker]);
    if (status != MAGPIE_OK) return status;
    return run_batch(c, e->lanes[worker], &e->scratch[worker], e->batches[task], e->batches[task + 1]);
}

static magpie_status run_together(const call *c) {
    magpie_text_encoder *e = c->encoder;
    magpie_status status = MAGPIE_OK;
    if (!e->together)
        status = e->architecture->lane_create(e->model, e->info.threads, lane_rows(e), &e->together);
    return status == MAGPIE_OK ? run_batch(c, e->together, &e->scratch[0], 0, c->n) : status;
}

/* Consecutive texts of `all` tokens: one batch a lane, alike, where that is no more than batch_tokens each; a little
 * one left over would take as long as they do. */
static size_t cut_batches(const magpie_text_encoder *e, size_t n, size_t all) {
    const size_t lanes = e->lane_count;
    const bool few = all <= lanes * e->batch_tokens;
    size_t batches = 0, seen = 0, tokens = 0;
    for (size_t i = 0; i < n; i++) {
        const bool has_share = few && (2 * seen + e->counts[i]) * lanes >= 2 * batches * all;
        if (i == 0 || has_share || tokens + e->counts[i] > e->batch_tokens) {
            e->batches[batches++] = i;
            tokens = 0;
        }
        seen += e->counts[i];
        tokens += e->counts[i];
    }
    e->batches[batches] = n;
    return batches;
}

static magpie_status encode_block(call *c) {
    magpie_text_encoder *e = c->encoder;
    size_t tokens = 0;
    magpie_status status =
        c->texts ? magpie_pool_run(e->pool, (c->n + TEXTS_A_TASK - 1) / TEXTS_A_TASK, tokenize_task, c)
                 : take_tokens(c);
    if (status != MAGPIE_OK) return status;
    for (size_t i = 0; i < c->n; i++) tokens += e->counts[i];
    if (!e->no_teams && !e->ops->driver && tokens <= lane_rows(e) &&
        (c->n == 1 || tokens <= TOGETHER_TOKENS * e->lane_count))
        return run_together(c);
    c->batches = cut_batches(e, c->n, tokens);
    return magpie_pool_run(e->runners, c->batches, batch_task, c);
}

static magpie_status encode_blocks(call c, size_t n, float *out) {
    magpie_text_encoder *e = c.encoder;
    magpie_status status = MAGPIE_OK;
    for (; c.first < n && status == MAGPIE_OK; c.first += e->block_texts) {
        c.n = n - c.first < e->block_texts ? n - c.first : e->block_texts;
        c.out = out + c.first * e->info.dimension;
        turns_take(&e->turns);
        status = need_network(e);
        if (status == MAGPIE_OK) status = encode_block(&c);
        turns_give(&e->turns);
    }
    return status;
}

magpie_status magpie_text_encoder_encode(magpie_text_encoder *e, const magpie_string *texts, size_t n,
                                         magpie_text_role role, float *out) {
    return encode_blocks((call){.encoder = e, .texts = texts, .role = role}, n, out);
}

magpie_status magpie_text_encoder_encode_tokens(magpie_text_encoder *e, const int32_t *ids,
                                                const size_t *starts, size_t n, float *out) {
    return encode_blocks((call){.encoder = e, .ids = ids, .starts = starts}, n, out);
}
