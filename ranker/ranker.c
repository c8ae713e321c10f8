/* ranker.c - the models by their names; one of them opened and asked. */
#include "model.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    const ranker_model *model;
} kinds[MAGPIE_RANKER_KINDS] = {[MAGPIE_RANKER_POPULARITY] = {"popularity", &ranker_popularity},
                                [MAGPIE_RANKER_ITEMKNN] = {"itemknn", &ranker_itemknn},
                                [MAGPIE_RANKER_PURESVD] = {"puresvd", &ranker_puresvd},
                                [MAGPIE_RANKER_EASE] = {"ease", &ranker_ease},
                                [MAGPIE_RANKER_MF] = {"mf", &ranker_neural},
                                [MAGPIE_RANKER_IALS] = {"ials", &ranker_ials},
                                [MAGPIE_RANKER_GMF] = {"gmf", &ranker_neural},
                                [MAGPIE_RANKER_MLP] = {"mlp", &ranker_neural},
                                [MAGPIE_RANKER_NEUMF] = {"neumf", &ranker_neural},
                                [MAGPIE_RANKER_MAGPIE] = {"magpie", &ranker_neural}};

const char *magpie_ranker_kind_name(magpie_ranker_kind kind) { return kinds[kind].name; }

magpie_status magpie_ranker_kind_parse(const char *name, magpie_ranker_kind *out) {
    magpie_text all = {0};
    for (size_t i = 0; i < MAGPIE_RANKER_KINDS; i++) {
        if (strcmp(name, kinds[i].name) == 0) {
            *out = (magpie_ranker_kind)i;
            magpie_text_free(&all);
            return MAGPIE_OK;
        }
        magpie_text_printf(&all, "%s%s", i ? ", " : "", kinds[i].name);
    }
    magpie_status status = magpie_text_status(&all);
    if (status == MAGPIE_OK)
        status = magpie_fail(MAGPIE_E_ARGUMENT, "there is no model \"%s\"; there are %s", name, all.data);
    magpie_text_free(&all);
    return status;
}

magpie_status ranker_create(const magpie_ranker_info *info, const magpie_ranker_options *options,
                            magpie_ranker **out) {
    ranker_tensor tensors[RANKER_TENSORS_MAX];
    *out = NULL;
    magpie_ranker *ranker = magpie_alloc(1, sizeof *ranker);
    if (!ranker) return MAGPIE_E_NO_MEMORY;
    *ranker = (magpie_ranker){*info, *options, kinds[info->kind].model, NULL};
    ranker->options.from = NULL; /* the caller's, for the training alone */
    magpie_status status = ranker->model->create(ranker);
    if (status != MAGPIE_OK) {
        magpie_ranker_close(ranker);
        return status;
    }
    ranker->info.parameters = 0;
    for (size_t i = ranker->model->tensors(ranker, tensors); i-- > 0;)
        ranker->info.parameters += tensors[i].rows * ranker_columns(&tensors[i]);
    *out = ranker;
    return MAGPIE_OK;
}

magpie_status magpie_ranker_open(const char *directory, const magpie_ranker_content *content,
                                 magpie_ranker **out) {
    magpie_status status = ranker_load(directory, out);
    if (status != MAGPIE_OK) return status;
    const size_t known = (*out)->info.content, given = content ? content->dimension : 0;
    const char *space = (*out)->info.space;
    if (known && given && known != given)
        status = magpie_fail(MAGPIE_E_MISMATCH,
                             "%s: it was trained on content of %zu numbers, and is given %zu: train again",
                             directory, known, given);
    else if (known && given && *space && content->space && strcmp(space, content->space) != 0)
        status =
            magpie_fail(MAGPIE_E_MISMATCH,
                        "%s: it was trained on content vectors of another space: train again", directory);
    if (status == MAGPIE_OK && (*out)->model->prepare)
        status = (*out)->model->prepare(*out, known && given ? content : NULL);
    if (status == MAGPIE_OK) return MAGPIE_OK;
    magpie_ranker_close(*out);
    *out = NULL;
    return status;
}

void magpie_ranker_close(magpie_ranker *ranker) {
    if (!ranker) return;
    ranker->model->free(ranker->state);
    free(ranker);
}

magpie_status magpie_ranker_use_device(magpie_ranker *ranker, magpie_device device) {
    return ranker->model->use_device ? ranker->model->use_device(ranker, device) : MAGPIE_OK;
}

const magpie_ranker_info *magpie_ranker_get_info(const magpie_ranker *ranker) { return &ranker->info; }

magpie_status magpie_ranker_score(const magpie_ranker *ranker, const magpie_ranker_user *user,
                                  const uint32_t *items, size_t n, float *scores) {
    return ranker->model->score(ranker, user, items, n, scores);
}
