/* source_columns.c - see source_columns.h. */
#include "source_columns.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum {
    KEY_ID,
    KEY_TEXT,
    KEY_IMAGE,
    KEY_AUDIO,
    KEY_TIMESTAMP,
    KEY_ATTRIBUTES,
    KEYS,
    NUMBER_MAX = 63 /* bytes */
};

static const char *const keys[KEYS] = {"id", "text", "image", "audio", "timestamp", "attributes"};

/* ---- which column is what ------------------------------------------------------------------------------ */

static const char *name_of(const magpie_columns *columns, size_t column) {
    return columns->names.data + columns->starts[column];
}

/* SIZE_MAX: there is none. */
static size_t find_column(const magpie_columns *columns, magpie_string name) {
    for (size_t c = 0; c < columns->count; c++)
        if (strlen(name_of(columns, c)) == name.size &&
            memcmp(name_of(columns, c), name.data, name.size) == 0)
            return c;
    return SIZE_MAX;
}

static bool is_blank(char c) { return c == ' ' || c == '\t'; }

static magpie_status add_name(magpie_columns *columns, magpie_string name) {
    while (name.size && is_blank(name.data[0])) name.data++, name.size--;
    while (name.size && is_blank(name.data[name.size - 1])) name.size--;
    if (name.size && (memchr(name.data, 0, name.size) || find_column(columns, name) != SIZE_MAX))
        return magpie_fail(MAGPIE_E_INPUT, "its header has the column \"%.*s\" twice", (int)name.size,
                           name.data);
    magpie_status status = magpie_grow((void **)&columns->starts, &columns->starts_capacity,
                                       columns->count + 1, sizeof *columns->starts);
    if (status != MAGPIE_OK) return status;
    columns->starts[columns->count++] = columns->names.size;
    magpie_text_append(&columns->names, name.data, name.size);
    magpie_text_append(&columns->names, "", 1);
    return magpie_text_status(&columns->names);
}

static magpie_status add_use(magpie_columns *columns, unsigned key, size_t column) {
    magpie_status status = magpie_grow((void **)&columns->uses, &columns->use_capacity,
                                       columns->use_count + 1, sizeof *columns->uses);
    if (status == MAGPIE_OK) columns->uses[columns->use_count++] = (struct magpie_column_use){key, column};
    return status;
}

static bool is_used(const magpie_columns *columns, size_t column) {
    for (size_t u = 0; u < columns->use_count; u++)
        if (columns->uses[u].column == column) return true;
    return false;
}

/* The piece of *at up to `stop`, which is passed over, or to the end. */
static magpie_string cut(magpie_string *at, char stop) {
    const char *end = at->size ? memchr(at->data, stop, at->size) : NULL;
    const magpie_string piece = {at->data, end ? (size_t)(end - at->data) : at->size};
    const size_t past = piece.size + (end != NULL);
    *at = (magpie_string){at->data + past, at->size - past};
    return piece;
}

static magpie_status map_key(magpie_columns *columns, magpie_string one, bool given[KEYS]) {
    const magpie_string name = cut(&one, '=');
    unsigned key = 0;
    while (key < KEYS && (strlen(keys[key]) != name.size || memcmp(keys[key], name.data, name.size) != 0))
        key++;
    if (key == KEYS || given[key] || !one.size)
        return magpie_fail(
            MAGPIE_E_ARGUMENT,
            "the map should be KEY=COLUMN+COLUMN,... with each of id, text, image, audio, timestamp "
            "and attributes once at most; it has \"%.*s\"",
            (int)name.size, name.data);
    given[key] = true;
    while (one.size) {
        const magpie_string column = cut(&one, '+');
        const size_t found = find_column(columns, column);
        if (found == SIZE_MAX)
            return magpie_fail(MAGPIE_E_ARGUMENT,
                               "the map names the column \"%.*s\", which is not in the header",
                               (int)column.size, column.data);
        magpie_status status = add_use(columns, key, found);
        if (status != MAGPIE_OK) return status;
    }
    return MAGPIE_OK;
}

static magpie_status use_names(magpie_columns *columns, const bool given[KEYS]) {
    magpie_status status = MAGPIE_OK;
    for (unsigned key = 0; key < KEY_ATTRIBUTES && status == MAGPIE_OK; key++) {
        const size_t column = given[key] ? SIZE_MAX : find_column(columns, magpie_string_of(keys[key]));
        if (column != SIZE_MAX) status = add_use(columns, key, column);
    }
    for (size_t c = 0; c < columns->count && status == MAGPIE_OK && !given[KEY_ATTRIBUTES]; c++)
        if (*name_of(columns, c) && !is_used(columns, c)) status = add_use(columns, KEY_ATTRIBUTES, c);
    return status;
}

static bool has_id(const magpie_columns *columns) {
    for (size_t u = 0; u < columns->use_count; u++)
        if (columns->uses[u].key == KEY_ID) return true;
    return false;
}

magpie_status magpie_columns_begin(magpie_columns *columns, const magpie_string *names, size_t n,
                                   const char *map) {
    bool given[KEYS] = {false};
    magpie_status status = MAGPIE_OK;
    for (size_t c = 0; c < n && status == MAGPIE_OK; c++) status = add_name(columns, names[c]);
    magpie_string rest = magpie_string_of(map ? map : "");
    while (rest.size && status == MAGPIE_OK) status = map_key(columns, cut(&rest, ','), given);
    if (status == MAGPIE_OK) status = use_names(columns, given);
    if (status == MAGPIE_OK && !has_id(columns))
        status =
            magpie_fail(MAGPIE_E_INPUT, "its header has no column id; a map says which it is: id=COLUMN");
    return status;
}

void magpie_columns_free(magpie_columns *columns) {
    magpie_text_free(&columns->names);
    free(columns->starts);
    free(columns->uses);
}

/* ---- a record ------------------------------------------------------------------------------------------ */

/* As JSON has it, from the first byte to the last, and one that can be stored: 007 is none, nor is 1e999. */
static bool is_number(magpie_string cell) {
    if (!cell.size || cell.size > NUMBER_MAX || !strchr("-0123456789", cell.data[0])) return false;
    if (cell.data[cell.size - 1] < '0' || cell.data[cell.size - 1] > '9') return false;
    json_t *value = json_loadb(cell.data, cell.size, JSON_DECODE_ANY, NULL);
    const bool number = json_is_number(value);
    json_decref(value);
    return number;
}

static void append_value(magpie_text *line, magpie_string cell) {
    if (is_number(cell))
        magpie_text_append(line, cell.data, cell.size);
    else
        magpie_text_json_string(line, cell.data, cell.size);
}

/* The cells of one key, with blanks between them. */
static magpie_status join_cells(const magpie_columns *columns, unsigned key, const magpie_string *cells,
                                magpie_text *out) {
    magpie_text_clear(out);
    for (size_t u = 0; u < columns->use_count; u++) {
        const magpie_string cell = cells[columns->uses[u].column];
        if (columns->uses[u].key != key || !cell.size) continue;
        if (out->size) magpie_text_append(out, " ", 1);
        magpie_text_append(out, cell.data, cell.size);
    }
    return magpie_text_status(out);
}

static void append_attributes(const magpie_columns *columns, const magpie_string *cells, magpie_text *line) {
    const char *before = "";
    magpie_text_printf(line, "\"attributes\": {");
    for (size_t u = 0; u < columns->use_count; u++) {
        const size_t column = columns->uses[u].column;
        if (columns->uses[u].key != KEY_ATTRIBUTES || !cells[column].size) continue;
        magpie_text_printf(line, "%s", before);
        magpie_text_json_string(line, name_of(columns, column), strlen(name_of(columns, column)));
        magpie_text_printf(line, ": ");
        append_value(line, cells[column]);
        before = ", ";
    }
    magpie_text_printf(line, "}");
}

magpie_status magpie_columns_line(const magpie_columns *columns, const magpie_string *cells,
                                  magpie_text *line) {
    magpie_text joined = {0};
    magpie_status status = MAGPIE_OK;
    magpie_text_printf(line, "{");
    for (unsigned key = 0; key < KEY_ATTRIBUTES && status == MAGPIE_OK; key++) {
        status = join_cells(columns, key, cells, &joined);
        if (status != MAGPIE_OK || !joined.size) continue;
        const magpie_string value = {joined.data, joined.size};
        magpie_text_printf(line, "\"%s\": ", keys[key]);
        if (key == KEY_TIMESTAMP)
            append_value(line, value);
        else
            magpie_text_json_string(line, value.data, value.size);
        magpie_text_printf(line, ", ");
    }
    append_attributes(columns, cells, line);
    magpie_text_printf(line, "}");
    magpie_text_free(&joined);
    return status == MAGPIE_OK ? magpie_text_status(line) : status;
}
