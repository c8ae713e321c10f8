/* json_skim.c - where JSON values end: strings by their quotes, the rest by counting brackets. */
#include "json_skim.h"

#include <string.h>

static bool is_white(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

static void skip_white(json_skim *skim) {
    while (skim->at < skim->end && is_white(*skim->at)) skim->at++;
}

/* Steps over `c`, if it comes next. */
static bool take(json_skim *skim, char c) {
    skip_white(skim);
    if (skim->at == skim->end || *skim->at != c) return false;
    skim->at++;
    return true;
}

/* From behind the opening quote to behind the closing one. */
static bool skip_string(json_skim *skim) {
    while (skim->at < skim->end) {
        char c = *skim->at++;
        if (c == '"') return true;
        if (c == '\\' && skim->at < skim->end) skim->at++;
    }
    return false;
}

static bool skip_brackets(json_skim *skim) {
    size_t depth = 0;
    while (skim->at < skim->end) {
        char c = *skim->at++;
        if (c == '"' && !skip_string(skim)) return false;
        if (c == '{' || c == '[') depth++;
        if ((c == '}' || c == ']') && --depth == 0) return true;
    }
    return false;
}

static bool skip_value(json_skim *skim) {
    const char *begin = skim->at;
    if (skim->at == skim->end) return false;
    if (*skim->at == '{' || *skim->at == '[') return skip_brackets(skim);
    if (take(skim, '"')) return skip_string(skim);
    while (skim->at < skim->end && !is_white(*skim->at) && !strchr(",}]", *skim->at)) skim->at++;
    return skim->at > begin;
}

json_skim json_skim_begin(magpie_string object) {
    if (!object.size) return (json_skim){.broken = true}; /* of an empty file, data is NULL */
    json_skim skim = {object.data, object.data + object.size, false};
    skim.broken = !take(&skim, '{');
    return skim;
}

static bool read_member(json_skim *skim, magpie_string *key, magpie_string *value) {
    if (!take(skim, '"')) return false;
    key->data = skim->at;
    if (!skip_string(skim)) return false;
    key->size = (size_t)(skim->at - key->data) - 1;
    if (!take(skim, ':')) return false;
    skip_white(skim);
    value->data = skim->at;
    if (!skip_value(skim)) return false;
    value->size = (size_t)(skim->at - value->data);
    return true;
}

bool json_skim_next(json_skim *skim, magpie_string *key, magpie_string *value) {
    if (skim->broken) return false;
    if (take(skim, '}')) {
        skip_white(skim);
        skim->broken = skim->at != skim->end;
        return false;
    }
    bool got =
        read_member(skim, key, value) && (take(skim, ',') || (skim->at < skim->end && *skim->at == '}'));
    skim->broken = !got;
    return got;
}
