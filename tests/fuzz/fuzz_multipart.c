/* fuzz_multipart.c - a line, the Content-Type, and any bytes behind it as a body. It is refused in words, or
 * its parts lie within the body, one behind the other, and what is in them may be tried as base64. */
#include "fuzz.h"
#include "multipart.h"

#include <stdlib.h>
#include <string.h>

fuzz_seed fuzz_seeds[] = {
    FUZZ_SEED("multipart/form-data; boundary=b\n--b\r\nContent-Disposition: form-data; "
              "name=\"request\"\r\n\r\n{}\r\n"
              "--b\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a\\\"b.png\"\r\n"
              "Content-Type: image/png\r\nContent-Transfer-Encoding: binary\r\n\r\niVBORw==\r\n--b--\r\n"),
    FUZZ_SEED(
        "multipart/form-data; x=y; boundary=\"b c\"\n--b c\r\ncontent-disposition:form-data;name=a\r\n\r\n"
        "data:image/png;base64,iVBORw0K\r\n--b c--"),
};
const size_t fuzz_seed_count = sizeof fuzz_seeds / sizeof *fuzz_seeds;

static void check_refusal(magpie_status status) {
    if (status != MAGPIE_E_INPUT && status != MAGPIE_E_TOO_LARGE && status != MAGPIE_E_UNSUPPORTED) abort();
    if (!*magpie_error()) abort();
}

/* What is decoded is what it was decoded from. */
static void try_base64(magpie_string bytes) {
    size_t size;
    unsigned char *decoded = malloc(magpie_base64_room(bytes.size) + 1);
    magpie_text again = {0};
    if (!decoded) abort();
    magpie_status status = magpie_base64_decode(bytes, decoded, &size);
    if (status == MAGPIE_OK) {
        magpie_base64_encode(&again, decoded, size);
        if (again.size > bytes.size) abort();
        if (again.size && memcmp(again.data, bytes.data + bytes.size - again.size, again.size) != 0) abort();
    } else {
        check_refusal(status);
    }
    magpie_text_free(&again);
    free(decoded);
}

static void check_within(magpie_string s, const char *from, const char *to) {
    if (s.data && (s.data < from || s.data + s.size > to)) abort();
}

static void read_parts(const char *type, const char *body, size_t size) {
    http_multipart m;
    http_part part;
    bool got = true;
    const char *from = body;
    magpie_status status = http_multipart_open(type, (magpie_string){body, size}, &m);
    while (status == MAGPIE_OK && (status = http_multipart_next(&m, &part, &got)) == MAGPIE_OK && got) {
        if (!part.name.size) abort();
        check_within(part.name, from, part.bytes.data);
        check_within(part.filename, from, part.bytes.data);
        check_within(part.type, from, part.bytes.data);
        check_within(part.bytes, from, body + size);
        from = part.bytes.data + part.bytes.size;
        try_base64(part.bytes);
    }
    if (status != MAGPIE_OK) check_refusal(status);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *line = size ? memchr(data, '\n', size) : NULL;
    size_t before = line ? (size_t)(line - data) : 0, after = line ? size - before - 1 : size;
    char *type = strndup((const char *)data, before), *body = malloc(after + !after);
    if (!type || !body) abort();
    memcpy(body, data + size - after, after); /* a block of its own, so that a sanitizer sees its end */
    read_parts(type, body, after);
    free(type);
    free(body);
    return 0;
}
