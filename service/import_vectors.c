/* import_vectors.c - magpie import-vectors: a store out of vectors that were made elsewhere. */
#include "command.h"
#include "heads.h"
#include "ingest_into.h"
#include "ingest_report.h"
#include "operands.h"
#include "output.h"
#include "storage.h"

#include <limits.h>
#include <string.h>

static struct {
    const char *names[MAGPIE_SPACES], *npy[MAGPIE_SPACES];
    bool normalise;
} given;

/* "text=VALUE", into target[space]. */
static magpie_status parse_by_space(const char *value, void *target) {
    const char **out = target, *equals = strchr(value, '=');
    const size_t size = equals ? (size_t)(equals - value) : 0;
    for (unsigned s = MAGPIE_SPACE_FUSED + 1; s < MAGPIE_SPACES; s++) {
        const char *name = magpie_space_name(s);
        if (strlen(name) != size || memcmp(name, value, size) != 0 || !equals[1]) continue;
        out[s] = equals + 1;
        return MAGPIE_OK;
    }
    return magpie_fail(MAGPIE_E_ARGUMENT, "text=..., image=... or audio=... is wanted, not \"%s\"", value);
}

/* What there would be if they were open. */
static void describe(const magpie_vector_header *header, model_encoder out[SENSES]) {
    for (model_sense sense = SENSE_TEXT; sense < SENSES; sense++) {
        const magpie_vector_source *source = &header->of[magpie_space_of_modality((magpie_modality)sense)];
        if (source->dimension)
            out[sense] = (model_encoder){
                .name = source->model, .fingerprint = source->fingerprint, .dimension = source->dimension};
    }
}

static exit_code run_import_vectors(char **words, int count) {
    operands files = {0};
    magpie_vector_input *input = NULL;
    model_folders folders;
    model_encoder filled[SENSES] = {0};
    magpie_status status = operands_expand(words, count, &files);
    magpie_ingest_options from = {.catalogues = (const char *const *)files.paths,
                                  .catalogue_count = files.count};
    magpie_vector_input_options options = {.from = &from, .normalise = given.normalise};
    memcpy(options.names, given.names, sizeof options.names);
    memcpy(options.npy, given.npy, sizeof options.npy);
    if (status == MAGPIE_OK) status = magpie_ingest_check(&from);
    if (status == MAGPIE_OK) status = model_find_any(&folders);
    if (status == MAGPIE_OK) status = magpie_vector_input_open(&options, &input);
    if (status == MAGPIE_OK) describe(magpie_vector_input_get_header(input), filled);
    from.vectors = input;
    exit_code code =
        status == MAGPIE_OK ? ingest_into(&(ingest_source){&from, &folders, filled}) : print_failure();
    magpie_vector_input_close(input);
    operands_free(&files);
    return code;
}

static const option_row own_options[] = {
    {.name = "model-name",
     .argument = "M=NAME",
     .parse = parse_by_space,
     .target = given.names,
     .help = "text=, image= or audio=: whose the vectors are, of files that do not say it"},
    {.name = "vectors",
     .argument = "M=FILE.npy",
     .parse = parse_by_space,
     .target = given.npy,
     .help = "the same: rows of float32, of which row n is line n's"},
    {.name = "normalise",
     .flag = &given.normalise,
     .help = "make vectors unit length; else those that are not are rejected"},
    {0}};

static const option_row *const tables[] = {storage_options, model_options,  heads_weight_options,
                                           own_options,     ingest_options, ingest_report_options,
                                           json_options,    build_options,  NULL};

const command import_vectors_command = {
    .name = "import-vectors",
    .summary = "a store out of vectors that were made elsewhere",
    .operands = "FILE...",
    .least_operands = 1,
    .most_operands = INT_MAX,
    .tables = tables,
    .details =
        "FILE, or - for standard input, is what magpie encode --items or magpie export writes: a line that\n"
        "names the models, then a catalogue's lines with \"vectors\". Several files are one job. The\n"
        "store is the one that magpie ingest makes of the catalogue with these models, bit for bit; the\n"
        "catalogue may be ingested afterwards, and nothing is encoded again. Of models, the one of\n"
        "fusion alone is looked at. All else is as in magpie ingest.\n"
        "Vectors of others: lines {\"id\", \"text\", \"vectors\": {\"text\": [0.1, ...]}} without a header, "
        "or a\n"
        "catalogue and .npy files, with --model-name. A NaN row is none.\n",
    .run = run_import_vectors};
