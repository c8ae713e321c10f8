/* handlers.h - what answers the routes (routes.c), file by file. Each is documented in openapi.json. */
#ifndef MAGPIE_HANDLERS_H
#define MAGPIE_HANDLERS_H

#include "http.h"

/* search.c */
http_outcome search_post(http_request *r);
http_outcome search_similar(http_request *r);

/* recommend.c */
http_outcome recommend_post(http_request *r);

/* items.c, media.c */
http_outcome items_get(http_request *r);
http_outcome media_image(http_request *r);
http_outcome media_audio(http_request *r);

/* health.c */
http_outcome health_live(http_request *r);
http_outcome health_ready(http_request *r);
http_outcome health_metrics(http_request *r);
http_outcome health_stats(http_request *r);

/* web.c: the page and its files, and openapi.json */
http_outcome web_page(http_request *r);

#endif
