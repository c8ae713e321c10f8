/* eval_queries.c - see eval_queries.h. The file is read whole before anything is encoded, so that a bad line
 * costs no waiting. */
#include "eval_queries.h"

#include "ingest.h"
#include "output.h"

#include <stdlib.h>
#include <string.h>

typedef struct query_line {
    magpie_catalogue_line parsed;
    magpie_modality modality;
    char *path; /* of a picture or a sound */
    size_t number, item;
} query_line;

typedef struct reading {
    const char *path;
    const gallery *gallery;
    const features_item **by_id; /* [n], sorted */
    query_line *lines;           /* [n], those whose item is there */
    size_t n, capacity;
    eval_queries *out;
} reading;

/* ---- lines --------------------------------------------------------------------------------------------- */

static int compare_strings(magpie_string a, magpie_string b) {
    const int order = memcmp(a.data, b.data, a.size < b.size ? a.size : b.size);
    return order ? order : (a.size > b.size) - (a.size < b.size);
}

static int compare_ids(const void *a, const void *b) {
    const features_item *const *x = a, *const *y = b;
    return compare_strings((*x)->item.id, (*y)->item.id);
}

static magpie_status sort_ids(reading *r) {
    const features *f = &r->gallery->features;
    r->by_id = magpie_alloc(f->n, sizeof *r->by_id);
    if (!r->by_id) return MAGPIE_E_NO_MEMORY;
    for (size_t i = 0; i < f->n; i++) r->by_id[i] = &f->items[i];
    qsort(r->by_id, f->n, sizeof *r->by_id, compare_ids);
    return MAGPIE_OK;
}

/* The item of that id; false where the gallery has none. */
static bool find_item(const reading *r, magpie_string id, size_t *out) {
    const features_item wanted = {.item.id = id}, *key = &wanted;
    const features_item *const *found =
        bsearch(&key, r->by_id, r->gallery->features.n, sizeof *r->by_id, compare_ids);
    if (found) *out = (size_t)(*found - r->gallery->features.items);
    return found != NULL;
}

static magpie_status choose_modality(const magpie_item *item, magpie_modality *out) {
    const bool has[] = {item->text.data != NULL, item->image.size != 0, item->audio.size != 0};
    unsigned n = 0;
    for (magpie_modality m = 0; m < MAGPIE_MODALITIES; m++)
        if (has[m]) *out = m, n++;
    return n == 1
               ? MAGPIE_OK
               : magpie_fail(MAGPIE_E_INPUT, "one of text, image and audio is wanted, and there are %u", n);
}

static magpie_status parse(const reading *r, const magpie_line *line, query_line *out) {
    if (line->too_long)
        return magpie_fail(MAGPIE_E_INPUT, "the line has %zu bytes; the limit is %d", line->size,
                           MAGPIE_LINE_MAX);
    magpie_status status = magpie_catalogue_parse(line->data, line->size, &out->parsed);
    if (status == MAGPIE_OK) status = choose_modality(&out->parsed.item, &out->modality);
    if (status != MAGPIE_OK || out->modality == MAGPIE_TEXT) return status;
    const magpie_item *item = &out->parsed.item;
    out->path = magpie_catalogue_resolve(r->path, out->modality == MAGPIE_IMAGE ? item->image : item->audio);
    return out->path ? MAGPIE_OK : MAGPIE_E_NO_MEMORY;
}

static void free_line(query_line *line) {
    magpie_catalogue_line_free(&line->parsed);
    free(line->path);
}

static magpie_status take_line(reading *r, const magpie_line *line) {
    query_line query = {.number = line->number};
    magpie_status status = parse(r, line, &query);
    if (status != MAGPIE_OK) {
        free_line(&query);
        return magpie_fail(status, "%s, line %zu: %s", r->path, line->number, magpie_error());
    }
    r->out->lines++;
    const bool there = find_item(r, query.parsed.item.id, &query.item);
    r->out->elsewhere += !there;
    if (there) status = magpie_grow((void **)&r->lines, &r->capacity, r->n + 1, sizeof *r->lines);
    if (there && status == MAGPIE_OK)
        r->lines[r->n++] = query;
    else
        free_line(&query);
    return status;
}

static magpie_status read_lines(reading *r) {
    magpie_lines *lines;
    magpie_line line;
    bool got = true;
    magpie_status status = magpie_lines_open(r->path, MAGPIE_LINE_MAX, 0, 0, &lines);
    if (status != MAGPIE_OK) return status;
    while (status == MAGPIE_OK && got) {
        status = magpie_lines_next(lines, &line, &got);
        if (status == MAGPIE_OK && got && line.size) status = take_line(r, &line);
    }
    magpie_lines_close(lines);
    return status;
}

/* ---- vectors ------------------------------------------------------------------------------------------- */

/* The queries of one modality, as their encoder wants them. */
typedef struct selection {
    const query_line **lines; /* [n] */
    magpie_string *texts;
    magpie_media *files;
    magpie_outcome *outcomes;
    float *features;
    size_t n;
} selection;

static void free_selection(selection *s) {
    free(s->lines);
    free(s->texts);
    free(s->files);
    free(s->outcomes);
    free(s->features);
}

static magpie_status select_lines(const reading *r, magpie_modality modality, size_t dimension,
                                  selection *s) {
    s->lines = magpie_alloc(r->n, sizeof *s->lines);
    s->texts = magpie_alloc(r->n, sizeof *s->texts);
    s->files = magpie_alloc(r->n, sizeof *s->files);
    s->outcomes = magpie_alloc(r->n, sizeof *s->outcomes);
    s->features = magpie_alloc(r->n, dimension * sizeof *s->features);
    if (!s->lines || !s->texts || !s->files || !s->outcomes || !s->features) return MAGPIE_E_NO_MEMORY;
    for (size_t i = 0; i < r->n; i++) {
        if (r->lines[i].modality != modality) continue;
        s->lines[s->n] = &r->lines[i];
        s->texts[s->n] = r->lines[i].parsed.item.text;
        s->files[s->n++].path = r->lines[i].path;
    }
    return MAGPIE_OK;
}

/* Puts those that were encoded side by side, and says of the others why not. */
static void drop_refused(const reading *r, selection *s, size_t dimension) {
    size_t kept = 0;
    for (size_t i = 0; i < s->n; i++) {
        if (s->outcomes[i].status != MAGPIE_OK) {
            print_error("%s, line %zu: %s; left out", r->path, s->lines[i]->number, s->outcomes[i].reason);
            r->out->refused++;
            continue;
        }
        s->lines[kept] = s->lines[i];
        memmove(s->features + kept++ * dimension, s->features + i * dimension, dimension * sizeof(float));
    }
    s->n = kept;
}

static magpie_status project(const reading *r, magpie_modality modality, const selection *s) {
    eval_query_set *set = &r->out->of[modality];
    set->vectors = magpie_alloc(s->n, r->gallery->dimension * sizeof *set->vectors);
    set->items = magpie_alloc(s->n, sizeof *set->items);
    if (!set->vectors || !set->items) return MAGPIE_E_NO_MEMORY;
    for (size_t i = 0; i < s->n; i++) set->items[i] = s->lines[i]->item;
    set->n = s->n;
    return magpie_fusion_project(r->gallery->fusion, modality, s->features, s->n, set->vectors);
}

static magpie_status encode_with(const reading *r, magpie_modality modality, const model_encoder *encoder) {
    const magpie_modality_source source = {encoder->dimension, encoder->fingerprint};
    selection s = {0};
    magpie_status status = magpie_fusion_check(r->gallery->fusion, modality, &source);
    if (status == MAGPIE_OK) status = select_lines(r, modality, encoder->dimension, &s);
    if (status == MAGPIE_OK)
        status = encoder->text
                     ? magpie_text_encoder_encode(encoder->text, s.texts, s.n, MAGPIE_QUERY, s.features)
                     : model_encode_files(encoder, s.files, s.n, s.features, s.outcomes);
    if (status == MAGPIE_OK) {
        drop_refused(r, &s, encoder->dimension);
        status = project(r, modality, &s);
    }
    free_selection(&s);
    return status;
}

static magpie_status encode(const reading *r, magpie_modality modality, const model_folders *folders) {
    const model_sense sense = (model_sense)modality; /* heads.c sees to it that they are alike */
    model_encoder encoder = {0};
    const char *folder;
    size_t n = 0;
    for (size_t i = 0; i < r->n; i++) n += r->lines[i].modality == modality;
    if (!n) return MAGPIE_OK;
    magpie_status status = model_require(folders, sense, &folder);
    if (status == MAGPIE_OK) status = model_open(folder, sense, false, &encoder);
    if (status == MAGPIE_OK) status = encode_with(r, modality, &encoder);
    model_close(&encoder);
    return status;
}

magpie_status eval_queries_read(const char *path, const gallery *gallery, const model_folders *folders,
                                eval_queries *out) {
    *out = (eval_queries){0};
    reading r = {.path = path, .gallery = gallery, .out = out};
    magpie_status status = sort_ids(&r);
    if (status == MAGPIE_OK) status = read_lines(&r);
    for (magpie_modality m = 0; m < MAGPIE_MODALITIES && status == MAGPIE_OK; m++)
        status = encode(&r, m, folders);
    for (size_t i = 0; i < r.n; i++) free_line(&r.lines[i]);
    free(r.lines);
    free(r.by_id);
    return status;
}

void eval_queries_free(eval_queries *queries) {
    for (magpie_modality m = 0; m < MAGPIE_MODALITIES; m++) {
        free(queries->of[m].vectors);
        free(queries->of[m].items);
    }
    *queries = (eval_queries){0};
}
