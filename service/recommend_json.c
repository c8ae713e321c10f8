/* recommend_json.c - see recommend_json.h. */
#include "recommend_json.h"
#include "item.h"

#include <math.h>

static const char *const sources[] = {"content", "model", "popular", "new"}; /* by bit */

const char *recommend_way_name(recommend_way way) {
    static const char *const names[] = {[RECOMMEND_BY_MODEL] = "model",
                                        [RECOMMEND_BY_CONTENT] = "content",
                                        [RECOMMEND_BY_POPULARITY] = "popularity"};
    return names[way];
}

const char *recommend_model(const recommend_answer *answer, const recommender *r) {
    return answer->way == RECOMMEND_BY_MODEL ? r->model : NULL;
}

void recommend_append_sources(magpie_text *out, unsigned from, const char *quote) {
    const char *comma = "";
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
        if (!(from >> i & 1)) continue;
        magpie_text_printf(out, "%s%s%s%s", comma, quote, sources[i], quote);
        comma = ", ";
    }
}

static void append_number(magpie_text *out, float value) {
    if (isnan(value))
        magpie_text_printf(out, "null");
    else
        magpie_text_printf(out, "%.7g", (double)value);
}

static void append_nearest_json(const recommend_answer *a, const recommendation *r, magpie_text *out) {
    const char *comma = "";
    if (!r->nearest.size) {
        magpie_text_printf(out, "null");
        return;
    }
    magpie_text_printf(out, "{\"id\": ");
    magpie_text_json_string(out, r->nearest.data, r->nearest.size);
    magpie_text_printf(out, ", \"cosine\": %.7g, \"%s\": {", (double)r->cosine,
                       a->shares_sum ? "shares" : "cosines");
    for (magpie_modality m = 0; m < MAGPIE_MODALITIES; m++) {
        if (isnan(r->shares[m])) continue;
        magpie_text_printf(out, "%s\"%s\": %.7g", comma, magpie_modality_name(m), (double)r->shares[m]);
        comma = ", ";
    }
    magpie_text_printf(out, "}}");
}

static void append_explanation_json(const recommend_answer *a, const recommendation *r, magpie_text *out) {
    magpie_text_printf(out, ", \"explain\": {\"from\": [");
    recommend_append_sources(out, r->from, "\"");
    magpie_text_printf(out, "], \"nearest\": ");
    append_nearest_json(a, r, out);
    if (isnan(r->behaviour))
        magpie_text_printf(out, ", \"behaviour\": null}");
    else
        magpie_text_printf(out, ", \"behaviour\": {\"score\": %.7g, \"rank\": %zu}}", (double)r->behaviour,
                           r->rank);
}

void recommend_append_json(magpie_text *out, const recommend_answer *a, const recommender *r, bool explain) {
    const char *model = recommend_model(a, r);
    magpie_text_printf(out, "{\"hits\": [");
    for (size_t i = 0; i < a->count; i++) {
        magpie_text_printf(out, "%s{", i ? ", " : "");
        item_append_id(out, &a->items[i].item);
        magpie_text_printf(out, ", \"score\": ");
        append_number(out, a->items[i].score);
        if (explain) append_explanation_json(a, &a->items[i], out);
        item_append_fields(out, &a->items[i].item, ITEM_ALL);
        magpie_text_printf(out, "}");
    }
    magpie_text_printf(out, "], \"by\": \"%s\", \"model\": ", recommend_way_name(a->way));
    if (model)
        magpie_text_printf(out, "\"%s\"", model);
    else
        magpie_text_printf(out, "null");
    magpie_text_printf(out, ", \"unknown\": %zu", a->unknown);
}
