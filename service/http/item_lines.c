/* item_lines.c - POST /v1/items with lines: items of any number, taken in block by block as they come.
 *
 * A block is what came while the one before was written, so a client that is faster than the encoders is
 * held up by its connection, and what waits here stays small. Answers gather until the last line has come,
 * for HTTP has them behind the body; that bounds how many lines one request may have, for they may have a
 * part of what all bodies may. */
#include "handlers.h"
#include "item_json.h"
#include "server.h"

#include <stdlib.h>
#include <string.h>

enum { LINES_MOST = 10000000, ANSWERS_PART = 4 };

typedef struct item_lines {
    write_task task; /* of the block at hand */
    magpie_text answers;
    size_t lines;    /* that were read */
    size_t searched; /* bytes of what came, in which no line ends */
    bool too_long;   /* the rest of this one is to be passed over */
    bool begun, wait;
} item_lines;

static void free_lines(void *state) {
    item_lines *l = state;
    write_task_free(&l->task);
    magpie_text_free(&l->answers);
    free(l);
}

static item_lines *lines_of(http_request *r) {
    if (r->state) return r->state;
    item_lines *l = magpie_alloc(1, sizeof *l);
    if (!l) return http_failure(r, MAGPIE_E_NO_MEMORY, NULL), NULL;
    r->state = l;
    r->free_state = free_lines;
    return item_json_wants_wait(r, &l->wait) ? l : NULL;
}

/* ---- lines --------------------------------------------------------------------------------------------- */

static bool is_blank(magpie_string line) {
    for (size_t i = 0; i < line.size; i++)
        if (!strchr(" \t\r", line.data[i])) return false;
    return true;
}

static void read_line(http_request *r, magpie_string line, write_one *one) {
    json_error_t error;
    const size_t held = r->held;
    json_t *item = http_parse(r, line, &error);
    if (!item)
        write_one_fail(one,
                       magpie_fail(MAGPIE_E_INPUT, "broken JSON at byte %d: %s", error.position, error.text));
    else if (!json_is_object(item))
        write_one_fail(one, magpie_fail(MAGPIE_E_INPUT, "the line should be an object: {\"id\": ...}"));
    else
        item_json_read(r, item, one);
    json_decref(item);
    http_trim(r->held - held);
    http_release(r, r->held - held);
}

static bool add_line(http_request *r, item_lines *l, magpie_string line) {
    l->lines++;
    if (is_blank(line)) return true;
    write_one *one = write_task_add(&l->task);
    if (!one) return http_failure(r, MAGPIE_E_NO_MEMORY, NULL), false;
    one->number = l->lines;
    if (line.size > r->server->options.media_body)
        write_one_fail(one, magpie_fail(MAGPIE_E_TOO_LARGE, "the line is larger than %zu bytes",
                                        r->server->options.media_body));
    else
        read_line(r, line, one);
    l->task.bytes += one->line.size;
    return !r->answered;
}

/* Of a line that has not ended yet. */
static bool take_rest(http_request *r, item_lines *l, magpie_string rest, bool last, size_t *taken) {
    const bool too_long = rest.size > r->server->options.media_body;
    if (l->too_long || too_long || last) *taken += rest.size;
    const bool adds = !l->too_long && (too_long || (last && rest.size));
    l->too_long |= too_long;
    return !adds || add_line(r, l, rest);
}

/* Takes the lines off the body that have come; false: an error has been answered. */
static bool take_lines(http_request *r, item_lines *l, bool last) {
    size_t taken = 0;
    bool fine = true;
    for (const char *end; fine && (end = memchr(r->body.data + taken + l->searched, '\n',
                                                r->body.size - taken - l->searched));) {
        const magpie_string line = {r->body.data + taken, (size_t)(end - r->body.data) - taken};
        if (!l->too_long) fine = add_line(r, l, line);
        l->too_long = false;
        l->searched = 0;
        taken += line.size + 1;
    }
    if (fine)
        fine = take_rest(r, l, (magpie_string){r->body.data + taken, r->body.size - taken}, last, &taken);
    r->body.size -= taken;
    memmove(r->body.data, r->body.data + taken, r->body.size);
    l->searched = r->body.size;
    return fine;
}

/* ---- blocks -------------------------------------------------------------------------------------------- */

/* What became of the block before. */
static bool take_answers(http_request *r, item_lines *l) {
    const size_t had = l->answers.size;
    for (size_t i = 0; i < l->task.count; i++) {
        item_json_append(r, &l->answers, &l->task.ones[i], l->task.ones[i].number);
        magpie_text_append(&l->answers, "\n", 1);
    }
    write_task_clear(&l->task);
    if (magpie_text_status(&l->answers) != MAGPIE_OK) return http_failure(r, MAGPIE_E_NO_MEMORY, NULL), false;
    if (l->lines <= LINES_MOST && l->answers.size <= r->server->options.bodies / ANSWERS_PART)
        return http_hold(r, l->answers.size - had);
    http_error(r, MHD_HTTP_CONTENT_TOO_LARGE, NULL, NULL,
               "too many lines: the first %zu were taken in; send the others by another request", l->lines);
    return false;
}

/* HTTP_DONE: there was nothing to write. */
static http_outcome take_block(http_request *r, item_lines *l, bool last) {
    if (!take_answers(r, l) || (r->body.size && !take_lines(r, l, last)) || !l->task.count) return HTTP_DONE;
    l->task.goes_on = l->begun;
    l->begun = true;
    return writer_wait(r, &l->task);
}

http_outcome item_lines_take(http_request *r) {
    item_lines *l = lines_of(r);
    return l ? take_block(r, l, false) : HTTP_DONE;
}

http_outcome item_lines_end(http_request *r) {
    item_lines *l = lines_of(r);
    if (!l || take_block(r, l, true) == HTTP_WAIT) return l ? HTTP_WAIT : HTTP_DONE;
    if (r->answered || (l->wait && !item_json_wait(r))) return HTTP_DONE;
    return http_answer(r, MHD_HTTP_OK, "application/x-ndjson", &l->answers);
}
