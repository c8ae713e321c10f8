/* test_source.c - whatever a catalogue is, its items are those of JSON lines that say the same; it can be
 * gone on with behind any of them; and of one that is cut off anywhere, what comes before that place is
 * given out, and nothing else. */
#include "support.h"

#include "ingest.h"
#include "source.h"

#include <archive.h>
#include <archive_entry.h>
#include <sys/stat.h>
#include <zlib.h>

enum { ITEMS = 5 };

/* What is expected, by hand. An item of a folder and a tar has its id for the names of its files. */
static const char *const lines[ITEMS] = {
    "{\"id\": \"a\", \"text\": \"a red kite\", \"attributes\": {\"price\": 12.5, \"code\": \"007\"}}",
    "{\"id\": \"b/\xC3\xBC\", \"text\": \"two\\nlines, \\\"quoted\\\"\", \"image\": \"b/\xC3\xBC.png\"}",
    "{\"id\": \"c\", \"image\": \"c.png\", \"audio\": \"c.wav\", \"attributes\": {\"price\": -3}}",
    "{\"id\": \"d\"}",
    "{\"id\": \"e\", \"text\": \" blank \", \"attributes\": {\"code\": \"1e999\", \"price\": 1e2}}",
};

static const char csv[] = "\xEF\xBB\xBF\"id\",text,image,audio,price,code\r\n"
                          "a,a red kite,,,12.5,007\r\n"
                          "\r\n"
                          "b/\xC3\xBC,\"two\nlines, \"\"quoted\"\"\",b/\xC3\xBC.png,,,\n"
                          "c,,c.png,c.wav,-3,\r\n"
                          "d,,,,,\"\"\r"
                          "e, blank ,,,1e2,1e999";

static const char tsv[] = "sku\tmore\tprice\ttext\tcode\taudio\timage\tunused\t\n"
                          "a\tkite\t12.5\ta red\t007\t\t\tx\ty\n"
                          "b/\xC3\xBC\t\t\t\"two\nlines, \"\"quoted\"\"\"\t\t\tb/\xC3\xBC.png\t\t\n"
                          "c\t\t-3\t\t\tc.wav\tc.png\t\t\n"
                          "d\t\t\t\t\t\t\t\t\n"
                          "e\t\t1e2\t blank \t1e999\t\t\t\t\n";

/* Files of the same; the fourth item has one that says nothing. */
static const struct {
    const char *name, *bytes;
} files[] = {
    {"a.txt", "a red kite\n"},
    {"a.json", "{\"price\": 12.5, \"code\": \"007\", \"url\": null}"},
    {"b/\xC3\xBC.png", "a picture"},
    {"b/\xC3\xBC.json", "{\"caption\": \"two\\nlines, \\\"quoted\\\"\"}"},
    {"c.png", ""},
    {"c.wav", "a sound"},
    {"c.json", "{\"price\": -3}"},
    {"d.txt", ""},
    {"e.TXT", "\xEF\xBB\xBF blank \r\n"},
    {"e.json", "{\"code\": \"1e999\", \"price\": 1e2}"},
};
enum { FILES = sizeof files / sizeof *files };

/* ---- a catalogue of each kind
 * --------------------------------------------------------------------------- */

static char folder[] = "/tmp/magpie-source-XXXXXX";

static char *path_of(const char *name) {
    char *path = magpie_path_join(folder, name);
    assert_non_null(path);
    return path;
}

static void write_bytes(const char *name, const void *bytes, size_t size) {
    char *path = path_of(name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
    free(path);
}

static void write_gzip(const char *name, const void *bytes, size_t size) {
    char *path = path_of(name);
    gzFile file = gzopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(gzwrite(file, bytes, (unsigned)size), size);
    assert_int_equal(gzclose(file), Z_OK);
    free(path);
}

static void write_tar(const char *name) {
    char *path = path_of(name);
    struct archive *a = archive_write_new();
    archive_write_set_format_ustar(a);
    assert_int_equal(archive_write_open_filename(a, path), ARCHIVE_OK);
    for (size_t i = 0; i < FILES; i++) {
        struct archive_entry *entry = archive_entry_new();
        archive_entry_set_pathname(entry, files[i].name);
        archive_entry_set_size(entry, (la_int64_t)strlen(files[i].bytes));
        archive_entry_set_filetype(entry, AE_IFREG);
        archive_entry_set_perm(entry, 0644);
        assert_int_equal(archive_write_header(a, entry), ARCHIVE_OK);
        assert_int_equal(archive_write_data(a, files[i].bytes, strlen(files[i].bytes)),
                         strlen(files[i].bytes));
        archive_entry_free(entry);
    }
    assert_int_equal(archive_write_close(a), ARCHIVE_OK);
    archive_write_free(a);
    free(path);
}

static void write_folder(const char *name) {
    char *path = path_of(name), *below = magpie_path_join(path, "b");
    assert_int_equal(mkdir(path, 0755) + mkdir(below, 0755), 0);
    for (size_t i = 0; i < FILES; i++) {
        char *file = magpie_path_join(name, files[i].name);
        write_bytes(file, files[i].bytes, strlen(files[i].bytes));
        free(file);
    }
    free(below);
    free(path);
}

/* The bytes of a file of the folder, to be freed. */
static char *read_bytes(const char *name, size_t *size) {
    char *path = path_of(name), *bytes;
    assert_ok(magpie_file_read(path, 1 << 20, &bytes, size));
    free(path);
    return bytes;
}

static void compress_file(const char *name, const char *to) {
    size_t size;
    char *bytes = read_bytes(name, &size);
    write_gzip(to, bytes, size);
    free(bytes);
}

static const struct {
    const char *name, *map;
} kinds[] = {{"lines.jsonl", NULL},
             {"lines.jsonl.gz", NULL},
             {"table.csv", NULL},
             {"table.csv.gz", NULL},
             {"table.tsv", "id=sku,text=text+more,attributes=price+code"},
             {"folder", NULL},
             {"shard.tar", NULL},
             {"shard.tar.gz", NULL}};
enum { KINDS = sizeof kinds / sizeof *kinds };

static int write_all(void **state) {
    (void)state;
    magpie_text text = {0};
    assert_non_null(mkdtemp(folder));
    char *cut = path_of("cut");
    assert_int_equal(mkdir(cut, 0755), 0);
    free(cut);
    for (size_t i = 0; i < ITEMS; i++) magpie_text_printf(&text, "%s\n", lines[i]);
    write_bytes("lines.jsonl", text.data, text.size);
    write_bytes("table.csv", csv, sizeof csv - 1);
    write_bytes("table.tsv", tsv, sizeof tsv - 1);
    write_folder("folder");
    write_tar("shard.tar");
    compress_file("lines.jsonl", "lines.jsonl.gz");
    compress_file("table.csv", "table.csv.gz");
    compress_file("shard.tar", "shard.tar.gz");
    magpie_text_free(&text);
    return 0;
}

static int remove_all(void **state) {
    char command[128];
    (void)state;
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

/* ---- what is to hold of an item
 * ------------------------------------------------------------------------- */

static void assert_equal_strings(magpie_string got, magpie_string expected) {
    assert_int_equal(got.size, expected.size);
    if (got.size) assert_memory_equal(got.data, expected.data, got.size);
}

/* A reference of the archive's ends with the file's name, and the file's bytes are there. */
static void assert_member(const magpie_entry *entry, unsigned which, magpie_string got,
                          magpie_string expected) {
    static const char shard[] = "shard.tar!/";
    const magpie_member *member = &entry->origin.members[which];
    assert_int_equal(magpie_member_is_there(member), expected.size > 0);
    assert_int_equal(got.size > 0, expected.size > 0);
    if (!expected.size) return;
    assert_true(magpie_catalogue_is_archived(got));
    assert_memory_equal(got.data, shard, sizeof shard - 1);
    assert_equal_strings((magpie_string){got.data + sizeof shard - 1, got.size - (sizeof shard - 1)},
                         expected);
    for (size_t i = 0; i < FILES; i++)
        if (strcmp(files[i].name, expected.data) == 0)
            assert_equal_strings((magpie_string){member->bytes, member->size},
                                 magpie_string_of(files[i].bytes));
}

static void assert_item(const magpie_entry *entry, size_t i) {
    magpie_catalogue_line got, expected;
    if (entry->bad) fail_msg("item %zu is bad: %s", i, entry->bad);
    assert_true(i < ITEMS);
    assert_ok(magpie_catalogue_parse(entry->line.data, entry->line.size, &got));
    assert_ok(magpie_catalogue_parse(lines[i], strlen(lines[i]), &expected));
    assert_equal_strings(got.item.id, expected.item.id);
    assert_equal_strings(got.item.text, expected.item.text);
    assert_equal_strings(got.item.attributes, expected.item.attributes);
    if (entry->origin.members) {
        assert_member(entry, MAGPIE_MEDIUM_IMAGE, got.item.image, expected.item.image);
        assert_member(entry, MAGPIE_MEDIUM_AUDIO, got.item.audio, expected.item.audio);
    } else {
        assert_memory_equal(got.item.content_hash, expected.item.content_hash, sizeof got.item.content_hash);
    }
    magpie_catalogue_line_free(&got);
    magpie_catalogue_line_free(&expected);
}

/* Reads up to the end, or to where it fails; *count is how many there were, each as it should be. */
static magpie_status read_items(const char *name, const char *map, size_t after, uint64_t offset, bool check,
                                size_t *count) {
    char *path = path_of(name);
    const char *const catalogue = path;
    const magpie_ingest_options options = {.catalogues = &catalogue, .catalogue_count = 1, .map = map};
    magpie_sources *sources;
    magpie_entry entry;
    bool got = true;
    *count = 0;
    assert_ok(magpie_sources_open(&options, 0, offset, after, &sources));
    magpie_status status;
    while ((status = magpie_sources_next(sources, &entry, &got)) == MAGPIE_OK && got) {
        if (check) assert_item(&entry, after + *count);
        if (check) assert_int_equal(entry.line.number, after + *count + 1);
        ++*count;
    }
    magpie_sources_close(sources);
    if (status == MAGPIE_E_CORRUPT) assert_non_null(strstr(magpie_error(), path));
    free(path);
    return status;
}

/* ---- tests
 * ---------------------------------------------------------------------------------------------- */

static void test_every_kind_is_what_its_lines_are(void **state) {
    (void)state;
    for (size_t k = 0; k < KINDS; k++) {
        size_t count;
        assert_ok(read_items(kinds[k].name, kinds[k].map, 0, 0, true, &count));
        assert_int_equal(count, ITEMS);
    }
}

/* Where a file of lines goes on at a byte, nobody else looks at it. */
static void test_goes_on_behind_any_item(void **state) {
    (void)state;
    for (size_t k = 0; k < KINDS; k++)
        for (size_t after = 0, offset = 0; after <= ITEMS; offset += strlen(lines[after]) + 1, after++) {
            size_t count;
            assert_ok(read_items(kinds[k].name, kinds[k].map, after, offset, true, &count));
            assert_int_equal(count, ITEMS - after);
            if (after == ITEMS) break;
        }
}

/* Several are read as if they were one, a damaged one ends them. */
static void test_several(void **state) {
    (void)state;
    char *paths[KINDS];
    size_t offset = 0; /* behind the first, which goes on at a byte */
    for (size_t i = 0; i < ITEMS; i++) offset += strlen(lines[i]) + 1;
    for (size_t k = 0; k < KINDS; k++) paths[k] = path_of(kinds[k].map ? "folder" : kinds[k].name);
    for (size_t from = 0; from < KINDS; from++) {
        const magpie_ingest_options options = {.catalogues = (const char *const *)paths,
                                               .catalogue_count = KINDS};
        magpie_sources *sources;
        magpie_entry entry;
        bool got;
        size_t count = 0;
        assert_ok(magpie_ingest_check(&options));
        assert_ok(magpie_sources_open(&options, from, from ? 0 : offset, ITEMS, &sources));
        assert_int_equal(magpie_sources_total_bytes(sources), 0); /* there is a folder */
        for (;;) {
            assert_ok(magpie_sources_next(sources, &entry, &got));
            if (!got) break;
            assert_int_equal(entry.file, from + 1 + count / ITEMS);
            assert_item(&entry, count++ % ITEMS);
        }
        assert_int_equal(count, ITEMS * (KINDS - 1 - from));
        magpie_sources_close(sources);
    }
    for (size_t k = 0; k < KINDS; k++) free(paths[k]);
}

static const char *const cuttable[] = {"lines.jsonl.gz", "table.csv.gz", "shard.tar.gz", "shard.tar"};
enum { CUTTABLE = sizeof cuttable / sizeof *cuttable };

static void test_cut_off_anywhere(void **state) {
    (void)state;
    for (size_t k = 0; k < CUTTABLE; k++) {
        size_t size, count, most = 0;
        char *bytes = read_bytes(cuttable[k], &size), name[64];
        snprintf(name, sizeof name, "cut/%s", cuttable[k]);
        for (size_t n = 1; n < size; n += 1 + (n > 4096) * 61) {
            write_bytes(name, bytes, n);
            magpie_status status = read_items(name, NULL, 0, 0, true, &count);
            if (status == MAGPIE_OK) assert_int_equal(count, ITEMS);
            if (status == MAGPIE_OK)
                assert_string_equal(cuttable[k], "shard.tar"); /* in the zeros at its end */
            if (status != MAGPIE_OK && status != MAGPIE_E_CORRUPT) assert_int_equal(status, MAGPIE_E_INPUT);
            assert_true(count >= most || strstr(cuttable[k], ".gz"));
            most = count > most ? count : most;
        }
        free(bytes);
    }
}

/* A checksum tells; where there is none, whatever is read, it is read safely. */
static void test_a_byte_that_is_another(void **state) {
    (void)state;
    static const char *const names[] = {"lines.jsonl.gz", "table.csv.gz", "shard.tar.gz", "shard.tar",
                                        "table.csv"};
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        size_t size, count;
        char *bytes = read_bytes(names[k], &size), name[64];
        snprintf(name, sizeof name, "cut/%s", names[k]);
        const bool checked = strstr(names[k], ".gz");
        for (size_t n = 0; n < size && n < 8192; n++) {
            bytes[n] ^= 1 << n % 8;
            write_bytes(name, bytes, size);
            magpie_status status = read_items(name, NULL, 0, 0, false, &count);
            if (checked && status == MAGPIE_OK) {
                assert_ok(read_items(name, NULL, 0, 0, true, &count));
                assert_int_equal(count, ITEMS);
            }
            bytes[n] ^= 1 << n % 8;
        }
        free(bytes);
    }
}

static void assert_refused(const char *name, const char *bytes, const char *map, magpie_status expected,
                           const char *words) {
    char *path = path_of(name);
    const char *const catalogue = path;
    const magpie_ingest_options options = {.catalogues = &catalogue, .catalogue_count = 1, .map = map};
    write_bytes(name, bytes, strlen(bytes));
    assert_int_equal(magpie_ingest_check(&options), expected);
    if (!strstr(magpie_error(), words)) fail_msg("\"%s\" is not in: %s", words, magpie_error());
    free(path);
}

static void test_headers_and_maps(void **state) {
    (void)state;
    assert_refused("x.csv", "", NULL, MAGPIE_E_INPUT, "there is no header");
    assert_refused("x.csv", "name,text\n", NULL, MAGPIE_E_INPUT, "no column id");
    assert_refused("x.csv", "id,a, a \n", NULL, MAGPIE_E_INPUT, "the column \"a\" twice");
    assert_refused("x.csv", "id,\"a\n", NULL, MAGPIE_E_INPUT, "a quoted field does not end");
    assert_refused("x.csv", "id\n", "id=sku", MAGPIE_E_ARGUMENT, "\"sku\", which is not in the header");
    assert_refused("x.csv", "id\n", "name=id", MAGPIE_E_ARGUMENT, "the map should be");
    assert_refused("x.csv", "id\n", "id=id,id=id", MAGPIE_E_ARGUMENT, "the map should be");
    assert_refused("x.csv", "id\n", "id", MAGPIE_E_ARGUMENT, "the map should be");
    assert_refused("x.jsonl", "", "id=id", MAGPIE_E_ARGUMENT, "has no columns");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_kind_is_what_its_lines_are),
        cmocka_unit_test(test_goes_on_behind_any_item),
        cmocka_unit_test(test_several),
        cmocka_unit_test(test_cut_off_anywhere),
        cmocka_unit_test(test_a_byte_that_is_another),
        cmocka_unit_test(test_headers_and_maps),
    };
    return cmocka_run_group_tests_name("source", tests, write_all, remove_all);
}
