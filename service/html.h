/* html.h - text and bytes as parts of an HTML page. */
#ifndef MAGPIE_HTML_H
#define MAGPIE_HTML_H

#include "core.h"

/* Appends `text` so that it is text whatever is in it, between tags or in a quoted attribute. What is not
 * UTF-8, and what no page may hold (control characters), becomes U+FFFD. */
void html_append(magpie_text *out, magpie_string text);
/* Appends "data:TYPE;base64,...". */
void html_append_data_uri(magpie_text *out, const char *type, const void *bytes, size_t size);

#endif
