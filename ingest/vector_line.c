/* vector_line.c - vector lines, read and written.
 *
 * A float is four bytes of base64 and not some digits: what is read is what was written, to the bit, and a
 * line is half as long. Numbers are read too, for vectors of others. */
#include "vector_line.h"
#include "media.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { VERSION = 1 };

static const double LENGTH_ERROR = 1e-3; /* that a store takes for rounding */

/* ---- the header ----------------------------------------------------------------------------------------- */

/* By space; the fused one is made anew by who reads. */
static bool is_modality(unsigned space) { return space != MAGPIE_SPACE_FUSED; }

magpie_status magpie_vector_header_write(const magpie_vector_header *header, magpie_text *out) {
    const char *comma = "";
    magpie_text_printf(out, "{\"magpie\": \"vectors\", \"version\": %d, \"spaces\": {", VERSION);
    for (unsigned s = 0; s < MAGPIE_SPACES; s++) {
        const magpie_vector_source *source = &header->of[s];
        if (!is_modality(s) || !source->dimension) continue;
        magpie_text_printf(out, "%s\"%s\": {\"model\": ", comma, magpie_space_name(s));
        magpie_text_json_string(out, source->model, strlen(source->model));
        magpie_text_printf(out, ", \"fingerprint\": ");
        magpie_text_json_string(out, source->fingerprint, strlen(source->fingerprint));
        magpie_text_printf(out, ", \"dimension\": %zu, \"salt\": \"%016llx\"}", source->dimension,
                           (unsigned long long)source->salt);
        comma = ", ";
    }
    magpie_text_append(out, "}}\n", 3);
    return magpie_text_status(out);
}

static bool read_hash(const char *digits, uint64_t *out) {
    char *end;
    *out = strtoull(digits, &end, 16);
    return strlen(digits) == 16 && !*end && strspn(digits, "0123456789abcdef") == 16;
}

static magpie_status read_source(const char *space, json_t *value, magpie_vector_source *out) {
    const char *model, *fingerprint, *salt;
    json_int_t dimension;
    if (json_unpack(value, "{s:s, s:s, s:I, s:s}", "model", &model, "fingerprint", &fingerprint, "dimension",
                    &dimension, "salt", &salt) ||
        dimension < 1 || dimension > MAGPIE_DIMENSION_MAX || strlen(model) >= sizeof out->model ||
        strlen(fingerprint) >= sizeof out->fingerprint || !*fingerprint || !read_hash(salt, &out->salt))
        return magpie_fail(MAGPIE_E_INPUT,
                           "the header's %.60s should have model, fingerprint, dimension, salt", space);
    strcpy(out->model, model);
    strcpy(out->fingerprint, fingerprint);
    out->dimension = (size_t)dimension;
    return MAGPIE_OK;
}

/* The space of that name; MAGPIE_SPACES: there is none with vectors of its own. */
static unsigned find_space(const char *name) {
    unsigned s = 0;
    while (s < MAGPIE_SPACES && (!is_modality(s) || strcmp(name, magpie_space_name(s)) != 0)) s++;
    return s;
}

static magpie_status read_header(json_t *root, magpie_vector_header *out) {
    const char *what, *name;
    int version;
    json_t *spaces, *value;
    magpie_status status = MAGPIE_OK;
    if (json_unpack(root, "{s:s, s:i, s:o}", "magpie", &what, "version", &version, "spaces", &spaces) ||
        strcmp(what, "vectors") != 0 || version != VERSION || !json_object_size(spaces))
        return magpie_fail(MAGPIE_E_INPUT, "the header is not one of vectors, version %d", VERSION);
    json_object_foreach(spaces, name, value) {
        unsigned s = find_space(name);
        if (s == MAGPIE_SPACES)
            status = magpie_fail(MAGPIE_E_INPUT, "the header has a space \"%.60s\"", name);
        if (status == MAGPIE_OK) status = read_source(name, value, &out->of[s]);
        if (status != MAGPIE_OK) break;
    }
    return status;
}

magpie_status magpie_vector_header_parse(const char *line, size_t size, magpie_vector_header *out,
                                         bool *is_header) {
    static const char start[] = "{\"magpie\"";
    *out = (magpie_vector_header){0};
    *is_header = size >= sizeof start - 1 && memcmp(line, start, sizeof start - 1) == 0;
    if (!*is_header) return MAGPIE_OK;
    json_t *root;
    magpie_status status = magpie_catalogue_load(line, size, MAGPIE_LINE_MAX, &root);
    if (status == MAGPIE_OK) status = read_header(root, out);
    json_decref(root);
    return status;
}

bool magpie_vector_header_same(const magpie_vector_header *a, const magpie_vector_header *b) {
    for (unsigned s = 0; s < MAGPIE_SPACES; s++)
        if (a->of[s].dimension != b->of[s].dimension || a->of[s].salt != b->of[s].salt ||
            strcmp(a->of[s].fingerprint, b->of[s].fingerprint) != 0)
            return false;
    return true;
}

/* ---- a line, read --------------------------------------------------------------------------------------- */

magpie_status magpie_line_vectors_reserve(magpie_line_vectors *vectors, const magpie_vector_header *header) {
    size_t numbers = 0;
    for (unsigned s = 0; s < MAGPIE_SPACES; s++) numbers += header->of[s].dimension + 1; /* base64's room */
    if (!vectors->memory && !(vectors->memory = magpie_alloc(numbers, sizeof(float))))
        return MAGPIE_E_NO_MEMORY;
    return MAGPIE_OK;
}

void magpie_line_vectors_clear(magpie_line_vectors *vectors) {
    json_decref(vectors->words);
    *vectors = (magpie_line_vectors){.memory = vectors->memory};
}

void magpie_line_vectors_free(magpie_line_vectors *vectors) {
    magpie_line_vectors_clear(vectors);
    free(vectors->memory);
    *vectors = (magpie_line_vectors){0};
}

magpie_status magpie_vector_check(const char *space, float *vector, size_t dimension, bool normalise) {
    double sum = 0;
    for (size_t i = 0; i < dimension; i++) sum += (double)vector[i] * (double)vector[i];
    double length = sqrt(sum);
    if (!isfinite(length)) return magpie_fail(MAGPIE_E_INPUT, "the %s vector is not finite", space);
    if (!normalise && fabs(length - 1) > LENGTH_ERROR)
        return magpie_fail(MAGPIE_E_INPUT,
                           "the %s vector has the length %.6g, and not 1 (--normalise makes it so)", space,
                           length);
    if (!normalise) return MAGPIE_OK;
    if (length <= 0) return magpie_fail(MAGPIE_E_INPUT, "the %s vector is zero", space);
    for (size_t i = 0; i < dimension; i++) vector[i] = (float)((double)vector[i] / length);
    return MAGPIE_OK;
}

static magpie_status read_base64(const char *space, const json_t *value, float *out, size_t dimension) {
    magpie_string text = {json_string_value(value), json_string_length(value)};
    size_t bytes = dimension * sizeof *out, got;
    if (text.size != (bytes + 2) / 3 * 4)
        return magpie_fail(MAGPIE_E_INPUT, "the %s vector has %zu characters; %zu floats have %zu", space,
                           text.size, dimension, (bytes + 2) / 3 * 4);
    magpie_status status = magpie_base64_decode(text, (unsigned char *)out, &got);
    if (status != MAGPIE_OK) return magpie_fail(status, "the %s vector: %s", space, magpie_error());
    return got == bytes ? MAGPIE_OK
                        : magpie_fail(MAGPIE_E_INPUT, "the %s vector has %zu bytes in place of %zu", space,
                                      got, bytes);
}

static magpie_status read_numbers(const char *space, const json_t *value, float *out, size_t dimension) {
    if (json_array_size(value) != dimension)
        return magpie_fail(MAGPIE_E_INPUT, "the %s vector has %zu numbers in place of %zu", space,
                           json_array_size(value), dimension);
    for (size_t i = 0; i < dimension; i++) {
        const json_t *number = json_array_get(value, i);
        if (!json_is_number(number))
            return magpie_fail(MAGPIE_E_INPUT, "the %s vector should be numbers", space);
        out[i] = (float)json_number_value(number);
    }
    return MAGPIE_OK;
}

/* A line that is being read. */
typedef struct reading {
    const magpie_vector_header *header;
    bool normalise;
    magpie_item *item;
    magpie_line_vectors *vectors;
} reading;

static magpie_status read_vector(reading *r, const char *space, const json_t *value) {
    const magpie_vector_header *header = r->header;
    const unsigned s = find_space(space);
    const size_t dimension = s < MAGPIE_SPACES ? header->of[s].dimension : 0;
    float *out = r->vectors->memory;
    if (!dimension)
        return magpie_fail(MAGPIE_E_INPUT, "a vector of \"%.60s\", of which the file's header says nothing",
                           space);
    for (unsigned before = 0; before < s; before++) out += header->of[before].dimension + 1;
    magpie_status status =
        json_is_string(value) ? read_base64(space, value, out, dimension)
        : json_is_array(value)
            ? read_numbers(space, value, out, dimension)
            : magpie_fail(MAGPIE_E_INPUT, "the %s vector should be base64 or an array", space);
    if (status == MAGPIE_OK) status = magpie_vector_check(space, out, dimension, r->normalise);
    r->vectors->values[s] = status == MAGPIE_OK ? out : NULL;
    return status;
}

static magpie_status read_refusal(reading *r, const char *space, const json_t *value) {
    const unsigned s = find_space(space);
    if (s == MAGPIE_SPACES || s == MAGPIE_SPACE_TEXT || !json_is_string(value))
        return magpie_fail(MAGPIE_E_INPUT, "refused should be of image or audio, in words");
    r->vectors->refused[s] = json_string_value(value);
    return MAGPIE_OK;
}

static magpie_status read_hash_of(reading *r, const char *space, const json_t *value) {
    const unsigned s = find_space(space);
    const char *digits = json_is_string(value) ? json_string_value(value) : "";
    char high[17] = {0};
    bool read;
    if (strcmp(space, "content") == 0 && strlen(digits) == 32) {
        memcpy(high, digits, 16);
        read =
            read_hash(high, &r->item->content_hash[0]) && read_hash(digits + 16, &r->item->content_hash[1]);
    } else {
        read = s < MAGPIE_SPACES && read_hash(digits, &r->vectors->hashes[s]);
        if (read) r->vectors->hashed[s] = true;
    }
    return read ? MAGPIE_OK : magpie_fail(MAGPIE_E_INPUT, "hashes: \"%.60s\" is none", space);
}

magpie_status magpie_line_vectors_check(const magpie_item *item, const magpie_line_vectors *vectors) {
    const magpie_string parts[MAGPIE_SPACES] = {[MAGPIE_SPACE_TEXT] = item->text,
                                                [MAGPIE_SPACE_IMAGE] = item->image,
                                                [MAGPIE_SPACE_AUDIO] = item->audio};
    for (unsigned s = 0; s < MAGPIE_SPACES; s++)
        if ((vectors->values[s] || vectors->refused[s]) && !parts[s].size)
            return magpie_fail(MAGPIE_E_INPUT, "there is a vector of its %s, and no \"%s\"",
                               magpie_space_name(s), magpie_space_name(s));
    return MAGPIE_OK;
}

static const struct {
    const char *name;
    magpie_status (*read)(reading *r, const char *space, const json_t *value);
} members[] = {{"vectors", read_vector}, {"refused", read_refusal}, {"hashes", read_hash_of}};

enum { VECTORS, REFUSED, HASHES, MEMBERS };

/* Takes them out of the line, which is then one of a catalogue. NULL: it has none. */
static magpie_status take_members(json_t *root, json_t *out[MEMBERS]) {
    for (unsigned i = 0; i < MEMBERS && json_is_object(root); i++) {
        out[i] = json_incref(json_object_get(root, members[i].name));
        (void)json_object_del(root, members[i].name);
        if (out[i] && !json_is_object(out[i]))
            return magpie_fail(MAGPIE_E_INPUT, "%s should be an object", members[i].name);
    }
    return MAGPIE_OK;
}

static magpie_status read_member(reading *r, unsigned which, json_t *object) {
    const char *name;
    json_t *value;
    magpie_status status = MAGPIE_OK;
    json_object_foreach(object, name, value) {
        status = members[which].read(r, name, value);
        if (status != MAGPIE_OK) break;
    }
    return status;
}

magpie_status magpie_vector_line_parse(const char *line, size_t size, const magpie_vector_header *header,
                                       bool normalise, magpie_catalogue_line *out,
                                       magpie_line_vectors *vectors) {
    json_t *parts[MEMBERS] = {0}, *root = NULL;
    reading r = {header, normalise, &out->item, vectors};
    *out = (magpie_catalogue_line){0};
    magpie_line_vectors_clear(vectors);
    magpie_status status = magpie_line_vectors_reserve(vectors, header);
    if (status == MAGPIE_OK) status = magpie_catalogue_load(line, size, MAGPIE_DATA_LINE_MAX, &root);
    if (status == MAGPIE_OK) status = take_members(root, parts);
    if (status == MAGPIE_OK) status = magpie_catalogue_take(root, out);
    for (unsigned i = 0; i < MEMBERS && status == MAGPIE_OK; i++) status = read_member(&r, i, parts[i]);
    json_decref(root);
    json_decref(parts[VECTORS]);
    json_decref(parts[HASHES]);
    vectors->words = parts[REFUSED];
    return status;
}

/* ---- a line, written ------------------------------------------------------------------------------------ */

static void append_vectors(const float *const vectors[MAGPIE_SPACES], const magpie_vector_header *header,
                           magpie_text *out) {
    const char *comma = "";
    magpie_text_printf(out, ",\"vectors\":{");
    for (unsigned s = 0; s < MAGPIE_SPACES; s++) {
        if (!is_modality(s) || !vectors[s]) continue;
        magpie_text_printf(out, "%s\"%s\":\"", comma, magpie_space_name(s));
        magpie_base64_encode(out, vectors[s], header->of[s].dimension * sizeof(float));
        magpie_text_append(out, "\"", 1);
        comma = ",";
    }
    magpie_text_append(out, "}", 1);
}

static void append_refusals(const magpie_item *item, const magpie_medium media[MAGPIE_MEDIA],
                            magpie_text *out) {
    const char *comma = "";
    if (!item->problems.size) return;
    magpie_text_printf(out, ",\"refused\":{");
    for (unsigned m = 0; m < MAGPIE_MEDIA; m++) {
        magpie_string line = magpie_problem_line(item->problems, &media[m]);
        size_t prefix = strlen(media[m].problem);
        if (!line.size) continue;
        magpie_text_printf(out, "%s\"%s\":", comma, magpie_space_name(media[m].space));
        magpie_text_json_string(out, line.data + prefix, line.size - prefix);
        comma = ",";
    }
    magpie_text_append(out, "}", 1);
}

static void append_hash(magpie_text *out, const char *name, const uint64_t *words, size_t n) {
    magpie_text_printf(out, "\"%s\":\"", name);
    for (size_t i = 0; i < n; i++) magpie_text_printf(out, "%016llx", (unsigned long long)words[i]);
    magpie_text_append(out, "\"", 1);
}

/* All, or those of files that are to be tried again, and of what is none. */
static void append_hashes(const magpie_item *item, const magpie_medium media[MAGPIE_MEDIA], bool all,
                          magpie_text *out) {
    const char *before = ",\"hashes\":{";
    if (all) {
        magpie_text_printf(out, "%s", before);
        append_hash(out, "content", item->content_hash, 2);
        magpie_text_append(out, ",", 1);
        append_hash(out, "text", &item->encoded_hash[MAGPIE_SPACE_TEXT], 1);
        before = ",";
    }
    for (unsigned m = 0; m < MAGPIE_MEDIA; m++) {
        const uint64_t *hash = &item->encoded_hash[media[m].space];
        const bool again =
            *hash != MAGPIE_HASH_OF_FILE && magpie_problem_line(item->problems, &media[m]).size;
        if (!all && !again && !magpie_catalogue_is_archived(magpie_medium_reference(&media[m], item)))
            continue;
        magpie_text_printf(out, "%s", before);
        append_hash(out, magpie_space_name(media[m].space), hash, 1);
        before = ",";
    }
    if (*before == ',' && !before[1]) magpie_text_append(out, "}", 1);
}

magpie_status magpie_vector_line_write(const magpie_item *item, const float *const vectors[MAGPIE_SPACES],
                                       const magpie_vector_header *header, bool with_hashes,
                                       magpie_text *out) {
    magpie_medium media[MAGPIE_MEDIA];
    magpie_media_describe(&(magpie_ingest_encoders){0}, media);
    magpie_catalogue_append(item, out);
    if (vectors) {
        append_vectors(vectors, header, out);
        append_refusals(item, media, out);
        append_hashes(item, media, with_hashes, out);
    }
    magpie_text_append(out, "}\n", 2);
    return magpie_text_status(out);
}
