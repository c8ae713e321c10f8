/* page_style.h - how page.c's pages look. */
#ifndef MAGPIE_PAGE_STYLE_H
#define MAGPIE_PAGE_STYLE_H

/* CSS, in pieces, since ISO C has string literals of 4,095 bytes; ends with NULL. */
extern const char *const page_style[];

#endif
