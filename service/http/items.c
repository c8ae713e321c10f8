/* items.c - items one by one. */
#include "../item.h"
#include "handlers.h"
#include "server.h"

http_outcome items_get(http_request *r) {
    magpie_snapshot *snapshot;
    magpie_item item;
    magpie_text out = {0};
    magpie_status status = magpie_snapshot_open(r->view.store, &snapshot);
    if (status != MAGPIE_OK) return http_failure(r, status, NULL);
    status = magpie_snapshot_get(snapshot, magpie_string_of(r->parameter), &item);
    if (status == MAGPIE_OK) status = item_append_stored(&out, snapshot, &item);
    magpie_snapshot_close(snapshot);
    if (status == MAGPIE_OK) {
        magpie_text_append(&out, "\n", 1);
        return http_answer_json(r, MHD_HTTP_OK, &out);
    }
    magpie_text_free(&out);
    if (status == MAGPIE_E_NOT_FOUND)
        return http_error(r, MHD_HTTP_NOT_FOUND, NULL, "id", "there is no item \"%.200s\"", r->parameter);
    return http_failure(r, status, "id");
}
