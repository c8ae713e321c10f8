/* recommend_json.h - an answer of the recommender as machines read it, from the command and from the service. */
#ifndef MAGPIE_RECOMMEND_JSON_H
#define MAGPIE_RECOMMEND_JSON_H

#include "recommender.h"

const char *recommend_way_name(recommend_way way); /* "model", "content", "popularity" */
/* The model that ranked; NULL: none did. */
const char *recommend_model(const recommend_answer *answer, const recommender *r);
/* Where a candidate comes from, "content", "model", "popular", "new", with `quote` around each. */
void recommend_append_sources(magpie_text *out, unsigned from, const char *quote);
/* An object without the brace at its end: {"hits": [...], "by", "model", "unknown". */
void recommend_append_json(magpie_text *out, const recommend_answer *answer, const recommender *r,
                           bool explain);

#endif
