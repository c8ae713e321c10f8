/* multipart.c - a body is parts between delimiters, a part is header lines, an empty line and bytes; a
 * header is a value and parameters, name=value or name="value". One cursor goes over each. */
#include "multipart.h"

#include <string.h>
#include <strings.h>

static bool equals(magpie_string s, const char *word) {
    return s.size == strlen(word) && strncasecmp(s.data, word, s.size) == 0;
}

static void skip(magpie_string *s, size_t n) {
    s->data += n;
    s->size -= n;
}

/* Takes `word` off the front, or does nothing. */
static bool take(magpie_string *s, const char *word, size_t size) {
    if (s->size < size || memcmp(s->data, word, size) != 0) return false;
    skip(s, size);
    return true;
}

static void skip_blanks(magpie_string *s) {
    while (s->size && (*s->data == ' ' || *s->data == '\t')) skip(s, 1);
}

/* All up to one of `stops`, without the blanks at its end. */
static magpie_string take_until(magpie_string *s, const char *stops) {
    magpie_string taken = {s->data, 0};
    while (s->size && !memchr(stops, *s->data, strlen(stops))) skip(s, 1), taken.size++;
    while (taken.size && (taken.data[taken.size - 1] == ' ' || taken.data[taken.size - 1] == '\t'))
        taken.size--;
    return taken;
}

/* ---- parameters ---- */

/* What stands in quotes; a backslash takes what follows with it. */
static bool take_quoted(magpie_string *s, magpie_string *out) {
    *out = (magpie_string){s->data, 0};
    while (s->size && *s->data != '"') {
        size_t step = *s->data == '\\' && s->size > 1 ? 2 : 1;
        skip(s, step);
        out->size += step;
    }
    return take(s, "\"", 1);
}

/* The next "; name=value". False at the end, and where it is none: then something is left of `s`. */
static bool take_parameter(magpie_string *s, magpie_string *name, magpie_string *value) {
    magpie_string at = *s;
    if (!take(&at, ";", 1)) return false;
    skip_blanks(&at);
    *name = take_until(&at, "=; \t\"");
    if (!name->size || !take(&at, "=", 1)) return false;
    if (!take(&at, "\"", 1))
        *value = take_until(&at, "; \t\"");
    else if (!take_quoted(&at, value))
        return false;
    skip_blanks(&at);
    *s = at;
    return true;
}

/* ---- the whole ---- */

static bool is_boundary(magpie_string b) {
    static const char others[] = "'()+_,-./:=? ";
    for (size_t i = 0; i < b.size; i++) {
        char c = b.data[i];
        bool alphanumeric = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!alphanumeric && !memchr(others, c, sizeof others - 1)) return false;
    }
    return b.size && b.size <= HTTP_BOUNDARY_MAX && b.data[b.size - 1] != ' ';
}

static magpie_status find_boundary(const char *content_type, magpie_string *out) {
    magpie_string rest = magpie_string_of(content_type), name, value;
    skip_blanks(&rest);
    if (!equals(take_until(&rest, "; \t"), "multipart/form-data"))
        return magpie_fail(MAGPIE_E_UNSUPPORTED, "Content-Type: multipart/form-data is wanted");
    skip_blanks(&rest);
    while (take_parameter(&rest, &name, &value))
        if (equals(name, "boundary") && !out->data) *out = value;
    return rest.size == 0 && is_boundary(*out)
               ? MAGPIE_OK
               : magpie_fail(MAGPIE_E_INPUT, "Content-Type: a boundary of 1 to %d characters is wanted",
                             HTTP_BOUNDARY_MAX);
}

magpie_status http_multipart_open(const char *content_type, magpie_string body, http_multipart *out) {
    magpie_string boundary = {0};
    magpie_status status = find_boundary(content_type, &boundary);
    if (status != MAGPIE_OK) return status;
    *out = (http_multipart){.delimiter_size = 4 + boundary.size, .rest = body};
    memcpy(out->delimiter, "\r\n--", 4);
    memcpy(out->delimiter + 4, boundary.data, boundary.size);
    return take(&out->rest, out->delimiter + 2, out->delimiter_size - 2)
               ? MAGPIE_OK
               : magpie_fail(MAGPIE_E_INPUT, "the body does not begin with its boundary");
}

/* ---- a part ---- */

static magpie_status read_disposition(magpie_string value, http_part *part) {
    magpie_string parameter, content;
    if (!equals(take_until(&value, "; \t"), "form-data"))
        return magpie_fail(MAGPIE_E_INPUT, "Content-Disposition: form-data is wanted");
    skip_blanks(&value);
    while (take_parameter(&value, &parameter, &content)) {
        if (equals(parameter, "name") && !part->name.data) part->name = content;
        if (equals(parameter, "filename") && !part->filename.data) part->filename = content;
    }
    return value.size ? magpie_fail(MAGPIE_E_INPUT, "Content-Disposition: a parameter is malformed")
                      : MAGPIE_OK;
}

static bool is_plain_encoding(magpie_string value) {
    return equals(value, "binary") || equals(value, "8bit") || equals(value, "7bit");
}

/* Other headers are allowed and say nothing here. */
static magpie_status read_header(magpie_string line, http_part *part) {
    magpie_string name = take_until(&line, ":");
    if (!name.size || !take(&line, ":", 1)) return magpie_fail(MAGPIE_E_INPUT, "a header line has no name");
    skip_blanks(&line);
    if (equals(name, "content-disposition")) return read_disposition(line, part);
    if (equals(name, "content-type")) part->type = take_until(&line, "");
    if (equals(name, "content-transfer-encoding") && !is_plain_encoding(take_until(&line, "")))
        return magpie_fail(MAGPIE_E_INPUT, "a Content-Transfer-Encoding is not taken");
    return MAGPIE_OK;
}

/* The header lines, and the empty one behind them. */
static magpie_status read_head(magpie_string *rest, http_part *part) {
    const char *start = rest->data;
    *part = (http_part){0};
    for (;;) {
        const char *end = rest->size ? memmem(rest->data, rest->size, "\r\n", 2) : NULL;
        if (!end) return magpie_fail(MAGPIE_E_INPUT, "it ends in its headers");
        if (end - start > HTTP_PART_HEAD_MAX)
            return magpie_fail(MAGPIE_E_TOO_LARGE, "its headers have more than %d bytes", HTTP_PART_HEAD_MAX);
        const magpie_string line = {rest->data, (size_t)(end - rest->data)};
        skip(rest, line.size + 2);
        if (!line.size) break;
        magpie_status status = read_header(line, part);
        if (status != MAGPIE_OK) return status;
    }
    return part->name.size ? MAGPIE_OK : magpie_fail(MAGPIE_E_INPUT, "it has no name");
}

/* The bytes up to the next delimiter, which is taken too. */
static magpie_status read_bytes(http_multipart *m, http_part *part) {
    const char *end =
        m->rest.size ? memmem(m->rest.data, m->rest.size, m->delimiter, m->delimiter_size) : NULL;
    if (!end) return magpie_fail(MAGPIE_E_INPUT, "no boundary behind it");
    part->bytes = (magpie_string){m->rest.data, (size_t)(end - m->rest.data)};
    skip(&m->rest, part->bytes.size + m->delimiter_size);
    return MAGPIE_OK;
}

magpie_status http_multipart_next(http_multipart *m, http_part *part, bool *got) {
    *got = false;
    if (take(&m->rest, "--", 2)) {
        take(&m->rest, "\r\n", 2);
        return m->rest.size ? magpie_fail(MAGPIE_E_INPUT, "something follows the last boundary") : MAGPIE_OK;
    }
    if (m->parts == HTTP_PARTS_MAX)
        return magpie_fail(MAGPIE_E_TOO_LARGE, "more than %d parts", HTTP_PARTS_MAX);
    m->parts++;
    magpie_status status = take(&m->rest, "\r\n", 2)
                               ? MAGPIE_OK
                               : magpie_fail(MAGPIE_E_INPUT, "no line's end behind the boundary before it");
    if (status == MAGPIE_OK) status = read_head(&m->rest, part);
    if (status == MAGPIE_OK) status = read_bytes(m, part);
    if (status != MAGPIE_OK) return magpie_fail(status, "part %zu: %s", m->parts, magpie_error());
    *got = true;
    return MAGPIE_OK;
}
