/* handlers.h - what answers the routes (routes.c), file by file. Each is documented in openapi.json. */
#ifndef MAGPIE_HANDLERS_H
#define MAGPIE_HANDLERS_H

#include "http.h"

/* search.c */
http_outcome search_post(http_request *r);
http_outcome search_similar(http_request *r);

/* recommend.c */
http_outcome recommend_post(http_request *r);
/* The member "user"; false: it has been answered. */
bool recommend_read_user(http_request *r, json_t *body, magpie_string *out);
/* Waits for the first recommender, on a worker; false: it cannot be opened. */
bool recommend_wait(http_request *r);

/* items.c, items_write.c, item_lines.c, media.c */
http_outcome items_get(http_request *r);
http_outcome items_post(http_request *r);
http_outcome items_patch(http_request *r);
http_outcome items_delete(http_request *r);
http_outcome items_delete_many(http_request *r);
http_outcome item_lines_take(http_request *r); /* of items_post: some lines have come; */
http_outcome item_lines_end(http_request *r);  /* the last ones have */
http_outcome media_image(http_request *r);
http_outcome media_audio(http_request *r);

/* interactions.c, users.c */
http_outcome interactions_post(http_request *r);
http_outcome users_get(http_request *r);
http_outcome users_delete(http_request *r);
/* embeddings.c, rerank.c, models.c */
http_outcome embeddings_post(http_request *r);
http_outcome rerank_post(http_request *r);
http_outcome models_get(http_request *r);
/* attributes.c, map.c */
http_outcome attributes_get(http_request *r);
http_outcome map_get(http_request *r);

/* health.c */
http_outcome health_live(http_request *r);
http_outcome health_ready(http_request *r);
http_outcome health_metrics(http_request *r);
http_outcome health_stats(http_request *r);

/* web.c: the page and its files, and openapi.json */
http_outcome web_page(http_request *r);

#endif
