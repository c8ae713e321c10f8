/* base64.h - bytes in JSON: RFC 4648's base64, and data: URLs of it (RFC 2397).
 *
 * Strict: the standard alphabet, "=" where it belongs, no white space, no bits left over. So there is one
 * text for some bytes, and what was cut or mangled on its way is refused and not decoded to something else.
 */
#ifndef MAGPIE_HTTP_BASE64_H
#define MAGPIE_HTTP_BASE64_H

#include "core.h"

/* Appends the base64 of these bytes. */
void http_base64_encode(magpie_text *out, const void *bytes, size_t size);

/* Room that decoding needs: that many bytes at most come out of `characters`. */
size_t http_base64_room(size_t characters);

/* `text` is base64 or a data: URL of it ("data:image/png;base64,..."; what it says of its type is not read:
 * media are told apart by their bytes). out [http_base64_room(text.size)], the caller's. MAGPIE_E_INPUT
 * says where. */
MAGPIE_CHECK_RESULT magpie_status http_base64_decode(magpie_string text, unsigned char *out, size_t *size);

#endif
