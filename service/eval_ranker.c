/* eval_ranker.c - magpie eval ranker: the models of a store against a file, or new ones against a split. */
#include "command.h"
#include "eval_split.h"
#include "output.h"
#include "rankers.h"
#include "storage.h"

#include <stdlib.h>
#include <string.h>

enum { K_MOST = 10000, NEGATIVES_SEED = 1 };

static struct {
    const char *models[EVAL_MODELS_MAX];
    size_t models_n, k, seeds;
    const char *test, *negatives, *train, *settings;
    eval_protocol protocol; /* EVAL_PROTOCOLS: not said */
    magpie_ranker_split split;
    bool splits;
    double share;
} given = {.k = 10, .seeds = 1, .protocol = EVAL_PROTOCOLS, .share = -1};

typedef struct evaluation {
    magpie_store *store;
    likes likes;
    eval_protocol protocol;
    measured models[EVAL_MODELS_MAX];
    size_t n;
} evaluation;

/* ---- the store's models -------------------------------------------------------------------------------- */

static magpie_status measure_model(evaluation *e, const eval_question *question, const char *models,
                                   const char *name, bool named) {
    magpie_ranker *ranker;
    magpie_status status = rankers_open(models, name, named, &e->likes.content, &ranker);
    if (status != MAGPIE_OK || !ranker) return status;
    if (e->n == EVAL_MODELS_MAX)
        status = magpie_fail(MAGPIE_E_ARGUMENT, "%s: %d models at most", name, EVAL_MODELS_MAX);
    if (status == MAGPIE_OK) status = eval_measure(question, ranker, name, 0, &e->models[e->n]);
    if (status == MAGPIE_OK) e->n++;
    magpie_ranker_close(ranker);
    return status;
}

typedef struct measuring {
    evaluation *e;
    const eval_question *question;
    const char *models;
} measuring;

static magpie_status measure_found(void *context, const char *folder, const char *name) {
    (void)folder;
    const measuring *m = context;
    return measure_model(m->e, m->question, m->models, name, false);
}

static magpie_status measure_models(evaluation *e, const eval_question *question) {
    char *models = rankers_folder();
    measuring m = {e, question, models};
    magpie_status status = models ? MAGPIE_OK : MAGPIE_E_NO_MEMORY;
    for (size_t i = 0; i < given.models_n && status == MAGPIE_OK; i++)
        status = measure_model(e, question, models, given.models[i], true);
    if (status == MAGPIE_OK && !given.models_n) status = rankers_each(measure_found, &m);
    if (status == MAGPIE_OK && !e->n)
        status = magpie_fail(MAGPIE_E_NOT_FOUND, "there are no models in %s: magpie train ranker makes them",
                             models);
    free(models);
    return status;
}

static magpie_status measure_on_file(evaluation *e) {
    eval_pairs pairs = {0};
    magpie_likes test = {0};
    magpie_block block = {0};
    magpie_status status = eval_pairs_read(&e->likes, given.test, given.negatives, &pairs);
    if (status == MAGPIE_OK) status = eval_pairs_as_likes(&pairs, &e->likes.all, &test, &block);
    if (status == MAGPIE_OK && e->protocol == EVAL_ONE && !given.negatives)
        status = eval_pairs_draw(&pairs, &e->likes.all, &test, NULL, NEGATIVES_SEED);
    const eval_question question = {e->protocol, given.k, &e->likes.all, &test, &pairs, NULL};
    if (status == MAGPIE_OK) status = measure_models(e, &question);
    magpie_block_free(&block);
    eval_pairs_free(&pairs);
    return status;
}

/* ---- the command --------------------------------------------------------------------------------------- */

static magpie_status measure(evaluation *e) {
    const bool halves = given.split == MAGPIE_SPLIT_RANDOM || given.split == MAGPIE_SPLIT_TIME;
    const eval_split_options split = {.split = given.split,
                                      .share = given.share >= 0 ? given.share
                                               : halves         ? 0.25
                                                                : 0.1,
                                      .seeds = given.seeds,
                                      .models = given.train,
                                      .settings = given.settings,
                                      .protocol = e->protocol,
                                      .k = given.k};
    magpie_status status = storage_open(STORAGE_READ, &e->store);
    if (status == MAGPIE_OK) status = likes_open(e->store, storage_directory(), &e->likes);
    if (status != MAGPIE_OK) return status;
    return given.splits ? eval_split_run(&e->likes, storage_directory(), &split, e->models, &e->n)
                        : measure_on_file(e);
}

static exit_code answer(const evaluation *e) {
    magpie_text out = {0};
    (output_json ? eval_measure_append_json : eval_measure_append_table)(&out, e->protocol, given.k,
                                                                         e->models, e->n);
    return output_and_free(&out);
}

/* Which options go together; NULL: these do. */
static const char *misuse(eval_protocol protocol) {
    if (given.splits == (given.test != NULL)) return "either --test FILE or --split S is wanted";
    if (given.splits && !given.train) return "--split wants --train MODEL,...";
    if (given.splits && (given.negatives || given.models_n)) return "--negatives and --model go with --test";
    if (given.splits && rankers_device.backend != MAGPIE_BACKEND_CPU) return "--device goes with --test";
    if (!given.splits && (given.train || given.settings || given.seeds > 1 || given.share >= 0))
        return "--train, --settings, --seeds and --share go with --split";
    if (given.negatives && protocol == EVAL_ALL) return "--negatives go with --protocol one";
    return NULL;
}

static exit_code run_ranker(char **operands, int count) {
    (void)operands;
    (void)count;
    const bool leaves_one = !given.splits || given.split == MAGPIE_SPLIT_LAST;
    const eval_protocol protocol = given.protocol != EVAL_PROTOCOLS ? given.protocol
                                   : leaves_one                     ? EVAL_ONE
                                                                    : EVAL_ALL;
    if (misuse(protocol)) {
        print_error("%s", misuse(protocol));
        return EXIT_USAGE;
    }
    evaluation *e = magpie_alloc(1, sizeof *e);
    if (!e) return print_failure();
    e->protocol = protocol;
    magpie_status status = measure(e);
    exit_code code = status == MAGPIE_OK ? answer(e) : print_failure();
    likes_close(&e->likes);
    magpie_store_close(e->store);
    free(e);
    return status == MAGPIE_E_CANCELLED ? EXIT_INTERRUPTED : code;
}

/* ---- options ------------------------------------------------------------------------------------------- */

static magpie_status parse_model(const char *value, void *target) {
    (void)target;
    if (given.models_n == EVAL_MODELS_MAX)
        return magpie_fail(MAGPIE_E_ARGUMENT, "%d models at most", EVAL_MODELS_MAX);
    given.models[given.models_n++] = value;
    return MAGPIE_OK;
}

static magpie_status parse_protocol(const char *value, void *target) {
    const bool all = strcmp(value, "all") == 0;
    *(eval_protocol *)target = all ? EVAL_ALL : EVAL_ONE;
    if (all || strcmp(value, "one") == 0) return MAGPIE_OK;
    return magpie_fail(MAGPIE_E_ARGUMENT, "one or all is wanted, not \"%s\"", value);
}

static magpie_status parse_split(const char *value, void *target) {
    static const char *const names[] = {[MAGPIE_SPLIT_LAST] = "last",
                                        [MAGPIE_SPLIT_RANDOM] = "random",
                                        [MAGPIE_SPLIT_TIME] = "time",
                                        [MAGPIE_SPLIT_COLD_ITEMS] = "cold-items",
                                        [MAGPIE_SPLIT_COLD_USERS] = "cold-users"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(value, names[i]) == 0) {
            *(magpie_ranker_split *)target = (magpie_ranker_split)i;
            given.splits = true;
            return MAGPIE_OK;
        }
    return magpie_fail(MAGPIE_E_ARGUMENT,
                       "last, random, time, cold-items or cold-users is wanted, not \"%s\"", value);
}

static magpie_status parse_share(const char *value, void *target) {
    double share;
    if (option_read_real(value, &share) && share > 0 && share < 1)
        return *(double *)target = share, MAGPIE_OK;
    return magpie_fail(MAGPIE_E_ARGUMENT, "a number between 0 and 1 is wanted, not \"%s\"", value);
}

static const option_row own_options[] = {
    {.name = "test",
     .argument = "FILE",
     .string = &given.test,
     .help = "what users came to like: lines of user and item, with tabs (F.test.rating)"},
    {.name = "negatives",
     .argument = "FILE",
     .string = &given.negatives,
     .help = "line by line what to rank it among (F.test.negative); without, 99 items are drawn"},
    {.name = "model",
     .argument = "M",
     .parse = parse_model,
     .help = "one of the store's models, may be given again (default: all that are trained)"},
    {.name = "protocol",
     .argument = "P",
     .parse = parse_protocol,
     .target = &given.protocol,
     .help =
         "one: the right item among negatives (default for --test and --split last); all: all items ranked"},
    {.letter = 'k',
     .name = "count",
     .argument = "N",
     .number = &given.k,
     .least = 1,
     .most = K_MOST,
     .help = "how many first places count (default: 10)"},
    {.name = "split",
     .argument = "S",
     .parse = parse_split,
     .target = &given.split,
     .help =
         "last, random, time, cold-items or cold-users: train on a part of the store's likes instead, test "
         "on the rest"},
    {.name = "share",
     .argument = "X",
     .parse = parse_share,
     .target = &given.share,
     .help = "of likes, items or users for the test (default: 0.25, of cold ones 0.1)"},
    {.name = "seeds",
     .argument = "N",
     .number = &given.seeds,
     .least = 1,
     .most = EVAL_SEEDS_MAX,
     .help = "rounds, each with a split and a training of its own (default: 1)"},
    {.name = "train",
     .argument = "M,...",
     .string = &given.train,
     .help = "the models to train, names with commas between; random is guessing"},
    {.name = "settings",
     .argument = "FILE",
     .string = &given.settings,
     .help = "parameters for these: {\"neumf\": {\"factors\": 16}, ...}"},
    {0}};

static const option_row *const tables[] = {storage_options, own_options, rankers_device_options, json_options,
                                           NULL};

extern const command eval_ranker_command;
const command eval_ranker_command = {
    .name = "eval ranker",
    .summary = "how well models rank what users come to like",
    .operands = "",
    .tables = tables,
    .details =
        "With --test, the models in STORE/ranker/ are measured; what they know of a user's past is what the\n"
        "store has. With --split, models are trained on a part of it, into a folder that is removed.\n\n"
        "one: HR@k is the share of lines whose item comes among the first k, NDCG@k the mean of\n"
        "1/log2(rank + 1) for these. Equal scores count against the model.\n"
        "all: all items that the user has not in the store are ranked; the means over users of recall,\n"
        "precision, NDCG, MAP (divided by the number of right ones), MRR, and HR of the first k. Coverage is "
        "the\n"
        "share of items that somebody is shown, novelty the mean of -log2(share of users who have it),\n"
        "popularity how many have what is shown over how many have what is right. Cold items are ranked\n"
        "among themselves.\n\n"
        "Whom a model knows nothing of counts as a miss, and not as served. Intervals hold 95%: by "
        "bootstrap\n"
        "over users, or with --seeds by Student's t over rounds.\n\n"
        "--json: {MODEL: {\"hr@10\", \"hr@10_interval\": [low, high], \"ndcg@10\", ..., \"cases\" or "
        "\"users\",\n"
        "\"served\"}}.\n",
    .run = run_ranker};
