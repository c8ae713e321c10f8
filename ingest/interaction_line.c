/* interaction_line.c - lines of six formats to interactions. Those with columns are one code: what differs is
 * the separator, whether fields may be quoted, and whether the first line names the columns. */
#include "interaction_line.h"
#include "timestamp.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { NUMBER_MAX = 63 /* bytes */ };
static const double MILLISECONDS_FROM = 1e11; /* as seconds that is the year 5138, as milliseconds 1973 */

static const struct {
    const char *name, *endings[4];
    char separator; /* 0: no columns */
    bool header, quotes, rated;
} formats[] = {
    [MAGPIE_IMPORT_CSV] = {"csv", {".csv"}, ',', true, true, false},
    [MAGPIE_IMPORT_TSV] = {"tsv", {".tsv"}, '\t', true, true, false},
    [MAGPIE_IMPORT_JSONL] = {"jsonl", {".jsonl", ".ndjson", ".json"}, 0, false, false, false},
    [MAGPIE_IMPORT_INTER] = {"inter", {".inter"}, '\t', true, false, false},
    [MAGPIE_IMPORT_RATING] = {"rating", {".rating"}, '\t', false, false, true},
    [MAGPIE_IMPORT_NEGATIVE] = {"negative", {".negative"}, 0, false, false, true},
};

static const struct {
    const char *name;
    magpie_interaction_role role;
} names[] = {
    {"user", MAGPIE_ROLE_USER}, {"user_id", MAGPIE_ROLE_USER},   {"userid", MAGPIE_ROLE_USER},
    {"item", MAGPIE_ROLE_ITEM}, {"item_id", MAGPIE_ROLE_ITEM},   {"itemid", MAGPIE_ROLE_ITEM},
    {"kind", MAGPIE_ROLE_KIND}, {"weight", MAGPIE_ROLE_WEIGHT},  {"rating", MAGPIE_ROLE_WEIGHT},
    {"time", MAGPIE_ROLE_TIME}, {"timestamp", MAGPIE_ROLE_TIME},
};

/* What a column or a key is; MAGPIE_ROLES: nothing of ours. */
static magpie_interaction_role find_role(magpie_string name, bool *rated) {
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strlen(names[i].name) == name.size && strncasecmp(names[i].name, name.data, name.size) == 0) {
            *rated |= strcmp(names[i].name, "rating") == 0;
            return names[i].role;
        }
    return MAGPIE_ROLES;
}

magpie_status magpie_import_format_parse(const char *name, magpie_import_format *out) {
    for (unsigned f = MAGPIE_IMPORT_CSV; f <= MAGPIE_IMPORT_NEGATIVE; f++)
        if (strcmp(formats[f].name, name) == 0) return *out = (magpie_import_format)f, MAGPIE_OK;
    return magpie_fail(MAGPIE_E_ARGUMENT, "csv, tsv, jsonl, inter, rating or negative is wanted, not \"%s\"",
                       name);
}

static magpie_status find_by_name(const char *path, magpie_import_format *out) {
    size_t size = strlen(path);
    for (unsigned f = MAGPIE_IMPORT_CSV; f <= MAGPIE_IMPORT_NEGATIVE; f++)
        for (const char *const *ending = formats[f].endings; *ending; ending++)
            if (size >= strlen(*ending) && strcmp(path + size - strlen(*ending), *ending) == 0)
                return *out = (magpie_import_format)f, MAGPIE_OK;
    return magpie_fail(MAGPIE_E_ARGUMENT,
                       "the name %s does not tell its format: say csv, tsv, jsonl, inter, rating or negative",
                       path);
}

magpie_status magpie_interaction_reader_begin(magpie_interaction_reader *reader,
                                              const magpie_import_options *options) {
    *reader = (magpie_interaction_reader){.format = options->format, .kind = options->kind};
    magpie_status status = MAGPIE_OK;
    if (reader->format == MAGPIE_IMPORT_BY_NAME) status = find_by_name(options->path, &reader->format);
    if (status != MAGPIE_OK) return status;
    reader->rated = formats[reader->format].rated;
    /* the columns of a .rating; where there is a header it says better */
    const size_t columns[MAGPIE_ROLES] = {0, 1, SIZE_MAX, 2, 3};
    memcpy(reader->column, columns, sizeof columns);
    reader->columns = 4;
    return MAGPIE_OK;
}

void magpie_interaction_reader_free(magpie_interaction_reader *reader) {
    free(reader->scratch);
    json_decref(reader->root);
    *reader = (magpie_interaction_reader){0};
}

bool magpie_interaction_reader_has_header(const magpie_interaction_reader *reader) {
    return formats[reader->format].header;
}

/* ---- fields -------------------------------------------------------------------------------------------- */

/* Reads a quoted field into the scratch, where there is room for a whole line. */
static magpie_status read_quoted(magpie_interaction_reader *reader, const char **at, const char *end,
                                 magpie_string *out) {
    char *to = reader->scratch + reader->scratch_used;
    *out = (magpie_string){to, 0};
    for (++*at; *at < end; ++*at) {
        if (**at == '"' && (*at + 1 == end || (*at)[1] != '"')) {
            ++*at;
            out->size = (size_t)(to - out->data);
            reader->scratch_used += out->size;
            return MAGPIE_OK;
        }
        *at += **at == '"';
        *to++ = **at;
    }
    return magpie_fail(MAGPIE_E_INPUT, "a quoted field does not end on its line");
}

/* The field at *at, which is moved to the next one's beginning; NULL behind the last. */
static magpie_status read_field(magpie_interaction_reader *reader, const char **at, const char *end,
                                magpie_string *out) {
    char separator = formats[reader->format].separator;
    if (formats[reader->format].quotes && *at < end && **at == '"') {
        magpie_status status = read_quoted(reader, at, end, out);
        if (status != MAGPIE_OK) return status;
        if (*at < end && **at != separator)
            return magpie_fail(MAGPIE_E_INPUT, "there is something behind a quoted field");
    } else {
        const char *stop = memchr(*at, separator, (size_t)(end - *at));
        if (!stop) stop = end;
        *out = (magpie_string){*at, (size_t)(stop - *at)};
        *at = stop;
    }
    *at = *at < end ? *at + 1 : NULL;
    return MAGPIE_OK;
}

/* Without what Windows begins files and ends lines with. */
static magpie_string trimmed(magpie_string line) {
    if (line.size >= 3 && memcmp(line.data, "\xEF\xBB\xBF", 3) == 0) line.data += 3, line.size -= 3;
    if (line.size && line.data[line.size - 1] == '\r') line.size--;
    return line;
}

static magpie_status make_room(magpie_interaction_reader *reader, size_t size) {
    reader->scratch_used = 0;
    return magpie_grow((void **)&reader->scratch, &reader->scratch_capacity, size + 64, 1);
}

magpie_status magpie_interaction_reader_header(magpie_interaction_reader *reader, magpie_string line) {
    for (unsigned r = 0; r < MAGPIE_ROLES; r++) reader->column[r] = SIZE_MAX;
    reader->columns = 0;
    line = trimmed(line);
    magpie_status status = make_room(reader, line.size);
    const char *at = line.data, *end = line.data + line.size;
    for (size_t c = 0; at && status == MAGPIE_OK; c++) {
        magpie_string name;
        status = read_field(reader, &at, end, &name);
        if (status != MAGPIE_OK) break;
        const char *type = name.size ? memchr(name.data, ':', name.size) : NULL;
        if (type) name.size = (size_t)(type - name.data);
        magpie_interaction_role role = find_role(name, &reader->rated);
        if (role == MAGPIE_ROLES) continue;
        if (reader->column[role] != SIZE_MAX)
            return magpie_fail(MAGPIE_E_INPUT, "columns %zu and %zu are named alike",
                               reader->column[role] + 1, c + 1);
        reader->column[role] = c;
        reader->columns = c + 1;
    }
    if (status != MAGPIE_OK) return status;
    if (reader->column[MAGPIE_ROLE_USER] == SIZE_MAX || reader->column[MAGPIE_ROLE_ITEM] == SIZE_MAX)
        return magpie_fail(MAGPIE_E_INPUT,
                           "its first line should name the columns, user and item at least, not be \"%.*s\"",
                           (int)(line.size < 60 ? line.size : 60), line.data);
    return MAGPIE_OK;
}

/* ---- values -------------------------------------------------------------------------------------------- */

static bool read_digits(magpie_string s, double *out) {
    uint64_t value = 0;
    if (!s.size || s.size > 15) return false; /* as many as a double has */
    for (size_t i = 0; i < s.size; i++) {
        if (s.data[i] < '0' || s.data[i] > '9') return false;
        value = value * 10 + (uint64_t)(s.data[i] - '0');
    }
    *out = (double)value;
    return true;
}

/* strtod alone takes "inf", "0x1p4" and spaces, too. */
static bool read_real(magpie_string s, double *out) {
    char text[NUMBER_MAX + 1], *end;
    if (read_digits(s, out)) return true;
    if (!s.size || s.size > NUMBER_MAX) return false;
    memcpy(text, s.data, s.size);
    text[s.size] = 0;
    *out = strtod(text, &end);
    return end == text + s.size && strspn(text, "+-.0123456789eE") == s.size && isfinite(*out);
}

static magpie_status set_weight(magpie_interaction_line *out, double weight) {
    out->weight = (float)weight;
    return isfinite(out->weight) ? MAGPIE_OK : magpie_fail(MAGPIE_E_INPUT, "weight %g is too large", weight);
}

magpie_status magpie_import_time(double time, int64_t *millis) {
    const double rounded = time > MILLISECONDS_FROM ? time : round(time * 1000);
    if (!(time >= 0 && rounded <= (double)MAGPIE_TIMESTAMP_MAX))
        return magpie_fail(MAGPIE_E_INPUT, "time %.17g is not in the years 1970 to 9999", time);
    *millis = (int64_t)rounded;
    return MAGPIE_OK;
}

magpie_status magpie_import_time_parse(magpie_string words, int64_t *millis) {
    char text[NUMBER_MAX + 1];
    double number;
    if (read_real(words, &number)) return magpie_import_time(number, millis);
    snprintf(text, sizeof text, "%.*s", (int)(words.size < NUMBER_MAX ? words.size : NUMBER_MAX), words.data);
    magpie_status status = magpie_timestamp_parse(text, millis);
    if (status == MAGPIE_OK && *millis < 0)
        return magpie_fail(MAGPIE_E_INPUT, "time %s is before 1970", text);
    return status;
}

/* A field that has something in it. */
static magpie_status set_field(magpie_interaction_line *out, magpie_interaction_role role, magpie_string s) {
    double number;
    switch (role) {
    case MAGPIE_ROLE_USER: out->user = s; return MAGPIE_OK;
    case MAGPIE_ROLE_ITEM: out->item = s; return MAGPIE_OK;
    case MAGPIE_ROLE_KIND: return magpie_interaction_kind_parse(s, &out->kind);
    case MAGPIE_ROLE_TIME: return magpie_import_time_parse(s, &out->time);
    default: break;
    }
    if (read_real(s, &number)) return set_weight(out, number);
    return magpie_fail(MAGPIE_E_INPUT, "weight \"%.*s\" is no number", (int)(s.size < 40 ? s.size : 40),
                       s.data);
}

/* ---- lines --------------------------------------------------------------------------------------------- */

static magpie_status parse_columns(magpie_interaction_reader *reader, magpie_string line,
                                   magpie_interaction_line *out) {
    magpie_string fields[MAGPIE_ROLES] = {0};
    const char *at = line.data, *end = line.data + line.size;
    magpie_status status = MAGPIE_OK;
    for (size_t c = 0; c < reader->columns && status == MAGPIE_OK; c++) {
        magpie_string field;
        if (!at)
            return magpie_fail(MAGPIE_E_INPUT, "the line has %zu columns; at least %zu are wanted", c,
                               reader->columns);
        status = read_field(reader, &at, end, &field);
        for (unsigned r = 0; r < MAGPIE_ROLES; r++)
            if (reader->column[r] == c) fields[r] = field;
    }
    for (unsigned r = 0; r < MAGPIE_ROLES && status == MAGPIE_OK; r++)
        if (fields[r].size) status = set_field(out, r, fields[r]);
    return status;
}

static magpie_status parse_negative(magpie_string line, magpie_interaction_line *out) {
    const char *end = memchr(line.data, '\t', line.size);
    if (!end) end = line.data + line.size;
    const char *comma = memchr(line.data, ',', (size_t)(end - line.data));
    if (!comma || *line.data != '(' || end[-1] != ')' || end - 1 <= comma)
        return magpie_fail(MAGPIE_E_INPUT, "the line should begin with (user,item) and a tab");
    out->user = (magpie_string){line.data + 1, (size_t)(comma - line.data - 1)};
    out->item = (magpie_string){comma + 1, (size_t)(end - 1 - (comma + 1))};
    return MAGPIE_OK;
}

static magpie_status set_json(magpie_interaction_reader *reader, magpie_interaction_line *out,
                              magpie_interaction_role role, const char *key, const json_t *value) {
    bool is_id = role == MAGPIE_ROLE_USER || role == MAGPIE_ROLE_ITEM;
    if (json_is_string(value))
        return set_field(out, role, (magpie_string){json_string_value(value), json_string_length(value)});
    if (json_is_null(value)) return MAGPIE_OK;
    if (role == MAGPIE_ROLE_WEIGHT && json_is_number(value)) return set_weight(out, json_number_value(value));
    if (role == MAGPIE_ROLE_TIME && json_is_number(value))
        return magpie_import_time(json_number_value(value), &out->time);
    if (!is_id || !json_is_integer(value))
        return magpie_fail(MAGPIE_E_INPUT, "%s should be a %s", key,
                           is_id                      ? "string or a whole number"
                           : role == MAGPIE_ROLE_KIND ? "string"
                                                      : "number");
    char *text = reader->scratch + reader->scratch_used;
    int size = snprintf(text, 24, "%lld", (long long)json_integer_value(value));
    reader->scratch_used += (size_t)size;
    return set_field(out, role, (magpie_string){text, (size_t)size});
}

static magpie_status parse_json(magpie_interaction_reader *reader, magpie_string line,
                                magpie_interaction_line *out, bool *rated) {
    json_error_t error;
    const char *key;
    json_t *value;
    unsigned seen = 0;
    json_decref(reader->root);
    reader->root = json_loadb(line.data, line.size, JSON_REJECT_DUPLICATES, &error);
    if (!reader->root)
        return magpie_fail(MAGPIE_E_INPUT, "broken JSON at byte %d: %s", error.position, error.text);
    if (!json_is_object(reader->root))
        return magpie_fail(MAGPIE_E_INPUT, "the line should be an object: {\"user\": ..., \"item\": ...}");
    json_object_foreach(reader->root, key, value) {
        magpie_interaction_role role = find_role(magpie_string_of(key), rated);
        if (role == MAGPIE_ROLES)
            return magpie_fail(MAGPIE_E_INPUT,
                               "unknown key \"%.60s\"; the keys are user, item, kind, weight, time", key);
        if (seen & 1u << role) return magpie_fail(MAGPIE_E_INPUT, "%s is there by another name, too", key);
        seen |= 1u << role;
        magpie_status status = set_json(reader, out, role, key, value);
        if (status != MAGPIE_OK) return status;
    }
    return MAGPIE_OK;
}

magpie_status magpie_interaction_reader_parse(magpie_interaction_reader *reader, magpie_string line,
                                              magpie_interaction_line *out) {
    bool rated = reader->rated;
    *out = (magpie_interaction_line){.kind = MAGPIE_INTERACTION_KINDS, .weight = 1};
    line = trimmed(line);
    magpie_status status = make_room(reader, line.size);
    if (status != MAGPIE_OK) return status;
    if (reader->format == MAGPIE_IMPORT_JSONL)
        status = parse_json(reader, line, out, &rated);
    else if (reader->format == MAGPIE_IMPORT_NEGATIVE)
        status = parse_negative(line, out);
    else
        status = parse_columns(reader, line, out);
    if (status != MAGPIE_OK) return status;
    if (!out->user.size) return magpie_fail(MAGPIE_E_INPUT, "there is no user");
    if (!out->item.size) return magpie_fail(MAGPIE_E_INPUT, "there is no item");
    if (out->kind == MAGPIE_INTERACTION_KINDS) out->kind = reader->kind;
    if (out->kind == MAGPIE_INTERACTION_KINDS) out->kind = rated ? MAGPIE_RATING : MAGPIE_VIEW;
    return MAGPIE_OK;
}
