/* page_search.h - the page of a search. */
#ifndef MAGPIE_PAGE_SEARCH_H
#define MAGPIE_PAGE_SEARCH_H

#include "page.h"
#include "query.h"

/* Where --page is given: what the query found, best first; nothing else. hits [count], items [count],
 * shares [count, q->count, MAGPIE_MODALITIES] as query_explain gives them, or NULL; `took` in seconds. */
MAGPIE_CHECK_RESULT magpie_status page_write_search(const query *q, magpie_snapshot *snapshot,
                                                    const magpie_hit *hits, const magpie_item *items,
                                                    const float *shares, size_t count, double took);

#endif
