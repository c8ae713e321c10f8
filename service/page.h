/* page.h - a contact sheet: items with their pictures and sounds as one HTML page, for people to look at.
 *
 * The page is one file that needs no other and no network: pictures are in it as thumbnails, sounds as they
 * are where they are short. It has no script, and its policy forbids any; what comes from a catalogue is
 * text in it whatever it holds. A file that is named as a sound and does not begin like one is not taken in:
 * a catalogue from elsewhere must not make a page carry off files of this machine. A picture or sound that
 * cannot be shown costs its card a notice and the page nothing. */
#ifndef MAGPIE_PAGE_H
#define MAGPIE_PAGE_H

#include "encoders.h"
#include "index.h"
#include "options.h"

enum {
    PAGE_THUMBNAIL_SIDE = 240, /* pixels of the longer side */
    PAGE_SOUND_MAX = 512 << 10 /* bytes of a sound that is put into the page */
};

extern const option_row page_options[]; /* --page, --files */

/* What --page says; NULL: no page is wanted. */
const char *page_path(void);

/* Something that was asked for, shown on top. Paths are relative to the current folder. */
typedef struct page_part {
    const char *label;         /* how it counts: "and", "not", "like"; NULL: it is all that is said */
    float weight;              /* shown where it is neither 0 nor 1 */
    magpie_string words;       /* empty: none */
    const char *image, *audio; /* NULL: none */
    const magpie_item *item;   /* an item of the store, in place of all that; NULL: none */
    bool aside;                /* set smaller: what was asked with, not what was asked */
} page_part;

typedef struct page_card {
    const magpie_item *item; /* its paths are relative to --files */
    size_t rank;             /* 0: none is shown */
    const char *label;       /* marks it: "kept"; NULL: nothing does */
    float score;             /* NAN: none */
    const float *shares;     /* [MAGPIE_MODALITIES], of the score, NAN: none; NULL: not known */
} page_card;

typedef struct page_section {
    const char *heading; /* NULL: none */
    const page_card *cards;
    size_t count;
} page_section;

typedef struct page {
    const char *title;   /* of the window: "magpie search" */
    const char *summary; /* a line under what was asked */
    const page_part *parts;
    size_t part_count;
    const page_section *sections;
    size_t section_count;
} page;

/* Writes the page, all or nothing. */
MAGPIE_CHECK_RESULT magpie_status page_write(const page *p, const char *path);

#endif
