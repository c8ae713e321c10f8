/* source_group.h - files that are one item together: a picture, a sound, a text, attributes, told by their
 * endings. What a folder and a tar of such files share. Private to ingest/. */
#ifndef MAGPIE_SOURCE_GROUP_H
#define MAGPIE_SOURCE_GROUP_H

#include "source.h"

typedef enum magpie_part {
    MAGPIE_PART_IMAGE, /* these two in the order of media */
    MAGPIE_PART_AUDIO,
    MAGPIE_PART_TEXT,
    MAGPIE_PART_ATTRIBUTES,
    MAGPIE_PARTS /* of no kind of ours: to be passed over */
} magpie_part;

/* What a file with this ending ("jpg", in any case) is. */
magpie_part magpie_part_of(magpie_string ending);

typedef struct magpie_group {
    magpie_text name;                /* the item's id */
    magpie_text files[MAGPIE_PARTS]; /* a picture's and a sound's name, a text's and attributes' content */
    bool has[MAGPIE_PARTS];
    magpie_text bad; /* why it is no item; empty: it is one */
    magpie_text line;
} magpie_group;

void magpie_group_begin(magpie_group *group, magpie_string name);
/* Marks that there is this part, and says where its bytes are to be appended; a second one makes the group
 * bad. */
magpie_text *magpie_group_add(magpie_group *group, magpie_part part);
/* Makes it bad, unless it is. */
void magpie_group_refuse(magpie_group *group, const char *words);
/* The line that a catalogue would have for it, in out->line, or out->bad. */
MAGPIE_CHECK_RESULT magpie_status magpie_group_end(magpie_group *group, magpie_entry *out);
void magpie_group_free(magpie_group *group);

#endif
