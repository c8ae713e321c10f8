/* multipart.h - the parts of a multipart/form-data body (RFC 7578), where they lie in it.
 *
 * libmicrohttpd's MHD_PostProcessor was tried and is not used: it hands a value out in pieces of its
 * buffer, so a picture would be copied twice; it takes a body that is no multipart at all for one without
 * parts, and one that ends in the middle of a value for whole; its time grows with its buffer times the
 * parts; and it wants a live connection, so it could not be fuzzed by itself.
 *
 * Strict, as clients write it: nothing before the first boundary, nothing but a line's end behind the
 * last, every part with a name, no transfer encodings. Backslashes and %22 in names are left as they are. */
#ifndef MAGPIE_HTTP_MULTIPART_H
#define MAGPIE_HTTP_MULTIPART_H

#include "core.h"

enum {
    HTTP_PARTS_MAX = 128,
    HTTP_PART_HEAD_MAX = 4096, /* bytes of a part's header lines */
    HTTP_BOUNDARY_MAX = 70     /* RFC 2046 */
};

typedef struct http_part {
    magpie_string name;     /* of the field, 1 byte at least */
    magpie_string filename; /* data NULL: it has none */
    magpie_string type;     /* Content-Type as it stands; data NULL: it has none */
    magpie_string bytes;
} http_part; /* all of it points into the body */

typedef struct http_multipart {
    char delimiter[4 + HTTP_BOUNDARY_MAX]; /* CR LF - - boundary */
    size_t delimiter_size;
    magpie_string rest; /* of the body, behind the last delimiter */
    size_t parts;
} http_multipart; /* owns nothing */

/* `content_type` as the request has it. MAGPIE_E_UNSUPPORTED: it is not multipart/form-data;
 * MAGPIE_E_INPUT: it has no boundary, or the body does not begin with it. */
MAGPIE_CHECK_RESULT magpie_status http_multipart_open(const char *content_type, magpie_string body,
                                                      http_multipart *out);
/* MAGPIE_OK with *got false behind the last part. MAGPIE_E_INPUT names the part, from 1;
 * MAGPIE_E_TOO_LARGE: more parts or longer header lines than above. */
MAGPIE_CHECK_RESULT magpie_status http_multipart_next(http_multipart *multipart, http_part *part, bool *got);

#endif
