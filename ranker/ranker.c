/* ranker.c - a trained model, opened and asked. */
#include "model.h"

#include <stdlib.h>

static const ranker_model *const models[MAGPIE_RANKER_KINDS] = {[MAGPIE_RANKER_POPULARITY] =
                                                                    &ranker_popularity,
                                                                [MAGPIE_RANKER_ITEMKNN] = &ranker_itemknn,
                                                                [MAGPIE_RANKER_PURESVD] = &ranker_puresvd,
                                                                [MAGPIE_RANKER_EASE] = &ranker_ease,
                                                                [MAGPIE_RANKER_MF] = &ranker_neural,
                                                                [MAGPIE_RANKER_IALS] = &ranker_ials,
                                                                [MAGPIE_RANKER_GMF] = &ranker_neural,
                                                                [MAGPIE_RANKER_MLP] = &ranker_neural,
                                                                [MAGPIE_RANKER_NEUMF] = &ranker_neural,
                                                                [MAGPIE_RANKER_MAGPIE] = &ranker_neural};

magpie_status ranker_create(const magpie_ranker_info *info, const magpie_ranker_options *options,
                            magpie_ranker **out) {
    ranker_tensor tensors[RANKER_TENSORS_MAX];
    const ranker_model *model = models[info->kind];
    *out = NULL;
    if (!model)
        return magpie_fail(MAGPIE_E_UNSUPPORTED, "this build has no %s", magpie_ranker_kind_name(info->kind));
    magpie_ranker *ranker = magpie_alloc(1, sizeof *ranker);
    if (!ranker) return MAGPIE_E_NO_MEMORY;
    *ranker = (magpie_ranker){*info, *options, model, NULL};
    ranker->options.from = NULL; /* the caller's, for the training alone */
    magpie_status status = model->create(ranker);
    if (status != MAGPIE_OK) {
        magpie_ranker_close(ranker);
        return status;
    }
    ranker->info.parameters = 0;
    for (size_t i = model->tensors(ranker, tensors); i-- > 0;)
        ranker->info.parameters += tensors[i].rows * (tensors[i].columns ? tensors[i].columns : 1);
    *out = ranker;
    return MAGPIE_OK;
}

magpie_status magpie_ranker_open(const char *directory, const magpie_ranker_content *content,
                                 magpie_ranker **out) {
    magpie_status status = ranker_load(directory, out);
    if (status != MAGPIE_OK) return status;
    const size_t known = (*out)->info.content, given = content ? content->dimension : 0;
    if (known && given && known != given)
        status = magpie_fail(MAGPIE_E_MISMATCH,
                             "%s: it was trained on content of %zu numbers, and is given %zu: train again",
                             directory, known, given);
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

const magpie_ranker_info *magpie_ranker_get_info(const magpie_ranker *ranker) { return &ranker->info; }

magpie_status magpie_ranker_score(const magpie_ranker *ranker, const magpie_ranker_user *user,
                                  const uint32_t *items, size_t n, float *scores) {
    return ranker->model->score(ranker, user, items, n, scores);
}
