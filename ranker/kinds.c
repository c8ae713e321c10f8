/* kinds.c - the names of the models. */
#include <string.h>

#include "ranker.h"

static const char *const names[MAGPIE_RANKER_KINDS] = {"popularity", "itemknn", "puresvd", "ease",  "mf",
                                                       "ials",       "gmf",     "mlp",     "neumf", "magpie"};

const char *magpie_ranker_kind_name(magpie_ranker_kind kind) { return names[kind]; }

magpie_status magpie_ranker_kind_parse(const char *name, magpie_ranker_kind *out) {
    magpie_text all = {0};
    for (size_t i = 0; i < MAGPIE_RANKER_KINDS; i++) {
        if (strcmp(name, names[i]) == 0) {
            *out = (magpie_ranker_kind)i;
            magpie_text_free(&all);
            return MAGPIE_OK;
        }
        magpie_text_printf(&all, "%s%s", i ? ", " : "", names[i]);
    }
    magpie_status status = magpie_text_status(&all);
    if (status == MAGPIE_OK)
        status = magpie_fail(MAGPIE_E_ARGUMENT, "there is no model \"%s\"; there are %s", name, all.data);
    magpie_text_free(&all);
    return status;
}
