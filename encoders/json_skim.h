/* json_skim.h - the members of a JSON object, their values as the text they are. Private to encoders/.
 *
 * A tokenizer.json is half a megabyte of vocabulary around one kilobyte of settings. Parsing all of it costs
 * more than the rest of a program's start; stepping over the vocabulary costs a memory scan. What is found
 * this way still goes to a real parser: skimming finds where a value ends, it does not check what is in it.
 */
#ifndef MAGPIE_JSON_SKIM_H
#define MAGPIE_JSON_SKIM_H

#include "core.h"

typedef struct json_skim {
    const char *at, *end;
    bool broken; /* the object does not end where it should: look once json_skim_next is false */
} json_skim;

json_skim json_skim_begin(magpie_string object);

/* The next member: its key without quotes, escapes as they are, and its value. False at the end. */
bool json_skim_next(json_skim *skim, magpie_string *key, magpie_string *value);

#endif
