/* page.c - see page.h. Cards are made in blocks, their thumbnails by all threads together, and written one
 * block after the other: the memory is that of a block however many there are. */
#include "page.h"
#include "html.h"
#include "page_style.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { BLOCK = 64 /* cards */, LONG_WORDS = 90 /* bytes, from which on words are set smaller */ };

static struct { const char *page, *files; } given;

const option_row page_options[] = {
    {.name = "page",
     .argument = "FILE",
     .string = &given.page,
     .help = "also write what is found as one HTML page, with its pictures and sounds"},
    {.name = "files",
     .argument = "DIR",
     .string = &given.files,
     .help = "where relative paths of items begin, for --page (default: the current folder)"},
    {0}};

const char *page_path(void) { return given.page; }

static void add(magpie_text *out, const char *html) { magpie_text_append(out, html, strlen(html)); }

/* The path of an item's file, to be freed; NULL with the message set. */
static char *resolve(magpie_string reference) {
    magpie_text path = {0};
    if (given.files && reference.size && *reference.data != '/')
        magpie_text_printf(&path, "%s/", given.files);
    magpie_text_append(&path, reference.data, reference.size);
    if (magpie_text_status(&path) == MAGPIE_OK) return path.data;
    magpie_text_free(&path);
    return NULL;
}

/* ---- pictures and sounds ------------------------------------------------------------------------------- */

typedef struct picture {
    bool wanted;
    magpie_thumbnail thumbnail;
    char *problem; /* NULL: none */
} picture;

static void picture_free(picture *p) {
    free(p->thumbnail.bytes);
    free(p->problem);
    *p = (picture){0};
}

/* The last message, without the path that it begins with: a page is shown to others. */
static const char *reason_of(const char *path) {
    const char *message = magpie_error();
    size_t size = strlen(path);
    return strncmp(message, path, size) == 0 && strncmp(message + size, ": ", 2) == 0 ? message + size + 2
                                                                                      : message;
}

static void load_picture(const char *path, picture *out) {
    out->wanted = true;
    if (magpie_image_thumbnail(&(magpie_media){.path = path}, PAGE_THUMBNAIL_SIDE, &out->thumbnail) !=
        MAGPIE_OK)
        out->problem = strdup(reason_of(path));
}

typedef struct loading {
    const page_card *cards;
    picture *pictures;
} loading;

static magpie_status load_task(void *context, size_t task, unsigned worker) {
    (void)worker;
    loading *l = context;
    char *path = resolve(l->cards[task].item->image);
    if (!path) return MAGPIE_E_NO_MEMORY;
    if (*path) load_picture(path, &l->pictures[task]);
    free(path);
    return MAGPIE_OK;
}

static void append_notice(magpie_text *out, const char *what, const char *why) {
    add(out, "<p class=\"notice\">");
    html_append(out, magpie_string_of(what));
    html_append(out, magpie_string_of(why));
    add(out, "</p>");
}

static void append_picture(magpie_text *out, const picture *p, magpie_string alternative) {
    if (!p->thumbnail.bytes) {
        add(out, "<div class=\"picture none\">");
        append_notice(out, "The picture cannot be shown: ", p->problem ? p->problem : "out of memory");
        add(out, "</div>");
        return;
    }
    add(out, "<div class=\"picture\"><img src=\"");
    html_append_data_uri(out, "image/jpeg", p->thumbnail.bytes, p->thumbnail.size);
    magpie_text_printf(out, "\" width=\"%zu\" height=\"%zu\" alt=\"", p->thumbnail.width,
                       p->thumbnail.height);
    html_append(out, alternative);
    add(out, "\"></div>");
}

/* By its first bytes; NULL: no sound that encoders.h knows. */
static const char *type_of_sound(const unsigned char *bytes, size_t size) {
    static const struct {
        const char *type;
        unsigned char at, size;
        const char *magic;
    } known[] = {{"audio/wav", 8, 4, "WAVE"},  {"audio/flac", 0, 4, "fLaC"}, {"audio/ogg", 0, 4, "OggS"},
                 {"audio/aiff", 8, 4, "AIFF"}, {"audio/aiff", 8, 4, "AIFC"}, {"audio/mpeg", 0, 3, "ID3"}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (size >= (size_t)known[i].at + known[i].size &&
            memcmp(bytes + known[i].at, known[i].magic, known[i].size) == 0)
            return known[i].type;
    return size > 2 && bytes[0] == 0xFF && (bytes[1] & 0xE0) == 0xE0 && (bytes[1] & 6) ? "audio/mpeg" : NULL;
}

/* Only a regular file is opened: to open a pipe may be to wait for ever. */
static magpie_status read_sound(const char *path, char **bytes, size_t *size) {
    struct stat st;
    if (stat(path, &st) != 0) return magpie_fail_errno(errno, "%s", path);
    if (!S_ISREG(st.st_mode)) return magpie_fail(MAGPIE_E_INPUT, "not a regular file");
    if (st.st_size > PAGE_SOUND_MAX)
        return magpie_fail(MAGPIE_E_TOO_LARGE, "it has %.1f MiB, and a page takes %d KiB",
                           (double)st.st_size / (1 << 20), PAGE_SOUND_MAX >> 10);
    return magpie_file_read(path, PAGE_SOUND_MAX, bytes, size);
}

static void append_sound(magpie_text *out, const char *path) {
    char *bytes = NULL;
    size_t size = 0;
    const char *type;
    if (read_sound(path, &bytes, &size) != MAGPIE_OK) {
        append_notice(out, "The sound is not in this page: ", reason_of(path));
    } else if ((type = type_of_sound((const unsigned char *)bytes, size)) == NULL) {
        append_notice(out, "The sound is not in this page: ", "it is neither WAV, FLAC, Ogg, MP3 nor AIFF");
    } else {
        add(out, "<audio controls preload=\"metadata\" src=\"");
        html_append_data_uri(out, type, bytes, size);
        add(out, "\"></audio>");
    }
    free(bytes);
}

/* ---- what an item is called ---------------------------------------------------------------------------- */

typedef struct naming {
    json_t *attributes; /* owns title and category */
    magpie_string title, text, category;
} naming;

static magpie_string string_member(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return json_is_string(value) ? (magpie_string){json_string_value(value), json_string_length(value)}
                                 : (magpie_string){0};
}

/* A text that begins with its title goes on behind it. */
static magpie_string without_title(magpie_string text, magpie_string title) {
    if (text.size < title.size || !title.size || memcmp(text.data, title.data, title.size) != 0) return text;
    size_t at = title.size;
    while (at < text.size && strchr(".,:; \n", text.data[at])) at++;
    if (at == title.size && at < text.size) return text; /* in the middle of a word */
    return (magpie_string){text.data + at, text.size - at};
}

static void name_item(const magpie_item *item, naming *out) {
    *out = (naming){.attributes = json_loadb(item->attributes.data ? item->attributes.data : "",
                                             item->attributes.size, 0, NULL)};
    out->title = string_member(out->attributes, "title");
    out->category = string_member(out->attributes, "category");
    if (out->title.size)
        out->text = without_title(item->text, out->title);
    else
        out->title = item->text.size ? item->text : item->id;
}

/* ---- cards --------------------------------------------------------------------------------------------- */

/* Percent of a bar's length, which stands for 1. */
static double percent(float value) { return value > 0 ? fmin((double)value, 1) * 100 : 0; }

static void append_shares(magpie_text *out, const float *shares) {
    add(out, "<ul class=\"shares\">");
    for (magpie_modality m = 0; m < MAGPIE_MODALITIES; m++) {
        const char *name = magpie_modality_name(m);
        if (!isnan(shares[m]))
            magpie_text_printf(out, "<li class=\"%s\">%s %.3f</li>", name, name, (double)shares[m]);
    }
    add(out, "</ul>");
}

static void append_bar(magpie_text *out, const page_card *card) {
    if (!card->shares) magpie_text_printf(out, "<i style=\"width:%.1f%%\"></i>", percent(card->score));
    for (magpie_modality m = 0; m < MAGPIE_MODALITIES && card->shares; m++)
        magpie_text_printf(out, "<i class=\"%s\" style=\"width:%.1f%%\"></i>", magpie_modality_name(m),
                           percent(card->shares[m]));
}

static void append_score(magpie_text *out, const page_card *card) {
    if (!card->rank && isnan(card->score)) return;
    add(out, "<div class=\"score\">");
    if (card->rank) magpie_text_printf(out, "<b>%zu</b>", card->rank);
    if (!isnan(card->score)) {
        magpie_text_printf(out, "<span>%.4f</span><span class=\"bar\">", (double)card->score);
        append_bar(out, card);
        add(out, "</span>");
    }
    add(out, "</div>");
    if (card->shares) append_shares(out, card->shares);
}

static void append_element(magpie_text *out, const char *open, magpie_string text, const char *close) {
    if (!text.size) return;
    add(out, open);
    html_append(out, text);
    add(out, close);
}

/* A path that is long may be broken behind its slashes. */
static void append_path(magpie_text *out, const char *open, magpie_string path, const char *close) {
    if (!path.size) return;
    add(out, open);
    while (path.size) {
        const char *slash = memchr(path.data, '/', path.size);
        size_t size = slash ? (size_t)(slash - path.data) + 1 : path.size;
        html_append(out, (magpie_string){path.data, size});
        path = (magpie_string){path.data + size, path.size - size};
        if (path.size) add(out, "<wbr>");
    }
    add(out, close);
}

static magpie_status append_card(magpie_text *out, const page_card *card, const picture *p) {
    const magpie_item *item = card->item;
    naming name;
    name_item(item, &name);
    magpie_text_printf(out, "<li class=\"card%s\" data-id=\"", card->label ? " marked" : "");
    html_append(out, item->id);
    add(out, "\">");
    if (p->wanted)
        append_picture(out, p, name.title);
    else
        magpie_text_printf(out, "<div class=\"picture none\" aria-hidden=\"true\">%s</div>",
                           item->audio.size ? "&#9834;" : "&#8220;&#8221;");
    if (card->label) append_element(out, "<span class=\"badge\">", magpie_string_of(card->label), "</span>");
    add(out, "<div class=\"about\">");
    append_score(out, card);
    append_element(out, "<h3 dir=\"auto\">", name.title, "</h3>");
    append_element(out, "<p class=\"text-of\" dir=\"auto\">", name.text, "</p>");
    char *path = resolve(item->audio);
    if (path && *path) append_sound(out, path);
    free(path);
    add(out, "<div class=\"foot\">");
    append_path(out, "<span class=\"category\" dir=\"auto\">", name.category, "</span>");
    append_path(out, "<code dir=\"auto\">", item->id, "</code>");
    add(out, "</div></div></li>\n");
    json_decref(name.attributes);
    return path ? magpie_text_status(out) : MAGPIE_E_NO_MEMORY;
}

/* Ends what is written, so that memory does not grow with the page. Whether it arrived is asked when
 * the file is committed. */
static void flush(magpie_text *out, FILE *stream) {
    fwrite(out->data, 1, out->size, stream);
    magpie_text_clear(out);
}

static magpie_status append_block(magpie_text *out, magpie_pool *pool, const page_card *cards, size_t count) {
    picture pictures[BLOCK] = {0};
    loading l = {cards, pictures};
    magpie_status status = magpie_pool_run(pool, count, load_task, &l);
    for (size_t i = 0; i < count; i++) {
        if (status == MAGPIE_OK) status = append_card(out, &cards[i], &pictures[i]);
        picture_free(&pictures[i]);
    }
    return status;
}

static magpie_status append_section(magpie_text *out, magpie_pool *pool, const page_section *section,
                                    FILE *stream) {
    magpie_status status = MAGPIE_OK;
    add(out, "<section>");
    if (section->heading) append_element(out, "<h2>", magpie_string_of(section->heading), "</h2>");
    add(out, section->count ? "<ol class=\"grid\">\n" : "<p class=\"empty\">Nothing was found.</p>");
    for (size_t at = 0; at < section->count && status == MAGPIE_OK; at += BLOCK) {
        size_t left = section->count - at;
        status = append_block(out, pool, section->cards + at, left < BLOCK ? left : BLOCK);
        if (status == MAGPIE_OK) flush(out, stream);
    }
    add(out, section->count ? "</ol></section>\n" : "</section>\n");
    return status;
}

/* ---- the head ------------------------------------------------------------------------------------------ */

static void append_words(magpie_text *out, magpie_string text) {
    if (!text.size) return;
    magpie_text_printf(out, "<p class=\"words%s\" dir=\"auto\">", text.size >= LONG_WORDS ? " long" : "");
    html_append(out, text);
    add(out, "</p>");
}

/* What of the part is to be seen and heard: `image` and `audio` are paths; NULL or empty: none. */
static magpie_status append_asked(magpie_text *out, const page_part *part, magpie_string text,
                                  const char *image, const char *audio) {
    add(out, part->aside ? "<div class=\"part aside\">" : "<div class=\"part\">");
    if (part->label) append_element(out, "<span class=\"label\">", magpie_string_of(part->label), "</span>");
    if (image && *image) {
        picture p = {0};
        load_picture(image, &p);
        append_picture(out, &p, magpie_string_of("the picture that was asked for"));
        picture_free(&p);
    }
    append_words(out, text);
    if (audio && *audio) append_sound(out, audio);
    if (part->weight != 0 && part->weight != 1)
        magpie_text_printf(out, "<span class=\"weight\">&times;&nbsp;%.3g</span>", (double)part->weight);
    add(out, "</div>");
    return magpie_text_status(out);
}

static magpie_status append_part(magpie_text *out, const page_part *part) {
    const magpie_item *item = part->item;
    if (!item) return append_asked(out, part, part->words, part->image, part->audio);
    naming name;
    name_item(item, &name);
    char *image = resolve(item->image), *audio = resolve(item->audio);
    magpie_status status =
        image && audio ? append_asked(out, part, name.title, image, audio) : MAGPIE_E_NO_MEMORY;
    json_decref(name.attributes);
    free(image);
    free(audio);
    return status;
}

/* Of the window: what was asked in words. */
static void append_title(magpie_text *out, const page *p) {
    const char *before = ": ";
    html_append(out, magpie_string_of(p->title));
    for (size_t i = 0; i < p->part_count; i++) {
        const page_part *part = &p->parts[i];
        magpie_string asked = part->item ? part->item->id : part->words;
        if (!asked.size) continue;
        add(out, before);
        if (part->label) append_element(out, "", magpie_string_of(part->label), " ");
        html_append(out, asked);
        before = " ";
    }
}

static magpie_status append_head(magpie_text *out, const page *p) {
    magpie_status status = MAGPIE_OK;
    add(out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
             "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; "
             "media-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'\">\n"
             "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
             "<meta name=\"color-scheme\" content=\"light dark\">\n<title>");
    append_title(out, p);
    add(out, "</title>\n<style>\n");
    for (size_t i = 0; page_style[i]; i++) add(out, page_style[i]);
    add(out, "</style>\n</head>\n<body>\n<header>\n");
    append_element(out, "<h1>", magpie_string_of(p->title), "</h1>\n");
    if (p->part_count) add(out, "<div class=\"parts\">");
    for (size_t i = 0; i < p->part_count && status == MAGPIE_OK; i++) status = append_part(out, &p->parts[i]);
    if (p->part_count) add(out, "</div>\n");
    append_element(out, "<p class=\"summary\">", magpie_string_of(p->summary), "</p>\n");
    add(out, "</header>\n<main>\n");
    return status;
}

static magpie_status write_to(FILE *stream, const page *p, magpie_pool *pool) {
    magpie_text out = {0};
    magpie_status status = append_head(&out, p);
    for (size_t s = 0; s < p->section_count && status == MAGPIE_OK; s++)
        status = append_section(&out, pool, &p->sections[s], stream);
    add(&out, "</main>\n<footer>Made by magpie " MAGPIE_VERSION ".</footer>\n</body>\n</html>\n");
    if (status == MAGPIE_OK) status = magpie_text_status(&out);
    if (status == MAGPIE_OK) flush(&out, stream);
    magpie_text_free(&out);
    return status;
}

magpie_status page_write(const page *p, const char *path) {
    magpie_atomic_file *file;
    magpie_pool *pool;
    magpie_status status = magpie_pool_create(0, &pool);
    if (status != MAGPIE_OK) return status;
    status = magpie_atomic_open(path, &file);
    if (status == MAGPIE_OK) {
        status = write_to(magpie_atomic_stream(file), p, pool);
        if (status == MAGPIE_OK)
            status = magpie_atomic_commit(file);
        else
            magpie_atomic_abort(file);
    }
    magpie_pool_free(pool);
    return status;
}
