/* dedup.c - magpie dedup: what is in the catalogue more than once, and if wanted, once from then on. */
#include "command.h"
#include "duplicates.h"
#include "item.h"
#include "output.h"
#include "page.h"
#include "storage.h"
#include "terminal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MARK_COLUMNS = 6, ID_COLUMNS = 48 };

static struct {
    magpie_space space;
    double threshold;
    bool exact, remove;
} given = {.space = MAGPIE_SPACE_IMAGE, .threshold = 0.95};

typedef struct dedup {
    magpie_store *store;
    magpie_index *index;
    magpie_snapshot *snapshot;
    duplicate_groups groups;
    magpie_item *items; /* of groups.members */
    size_t count;       /* of them */
} dedup;

/* ---- finding ------------------------------------------------------------------------------------------- */

static magpie_status fetch_items(dedup *d) {
    magpie_status status = MAGPIE_OK;
    d->count = d->groups.starts[d->groups.count];
    d->items = magpie_alloc(d->count, sizeof *d->items);
    if (!d->items) return MAGPIE_E_NO_MEMORY;
    for (size_t i = 0; i < d->count && status == MAGPIE_OK; i++)
        status = magpie_snapshot_get_row(d->snapshot, d->groups.members[i].row, &d->items[i]);
    return status;
}

static magpie_status find(dedup *d) {
    magpie_space_binding bound;
    magpie_status status = storage_open(given.remove ? STORAGE_WRITE : STORAGE_READ, &d->store);
    if (status == MAGPIE_OK) status = magpie_snapshot_open(d->store, &d->snapshot);
    if (status == MAGPIE_OK) status = magpie_snapshot_get_binding(d->snapshot, given.space, &bound);
    if (status != MAGPIE_OK) return status;
    if (!bound.dimension)
        return magpie_fail(MAGPIE_E_NOT_FOUND, "%s has no vectors in the %s space to compare",
                           storage_directory(), magpie_space_name(given.space));
    status = storage_open_index_to_search(d->store, given.space, &d->index);
    if (status == MAGPIE_OK)
        status = duplicates_find(d->snapshot, d->index, given.space, (float)given.threshold, given.exact,
                                 &d->groups);
    return status == MAGPIE_OK ? fetch_items(d) : status;
}

static bool is_kept(const duplicate *member) { return member->kept_row == member->row; }

/* ---- answering ----------------------------------------------------------------------------------------- */

/* Members stand behind what is kept in their place. Without its end, which tells what was deleted. */
static void append_json(const dedup *d, magpie_text *out) {
    const duplicate_groups *groups = &d->groups;
    magpie_text_printf(out, "{\"space\": \"%s\", \"threshold\": %.9g, \"vectors\": %zu, \"groups\": [",
                       magpie_space_name(given.space), given.threshold, groups->vectors);
    for (size_t g = 0; g < groups->count; g++) {
        const magpie_item *kept = NULL;
        magpie_text_printf(out, "%s[", g ? ", " : "");
        for (size_t i = groups->starts[g]; i < groups->starts[g + 1]; i++) {
            if (is_kept(&groups->members[i])) kept = &d->items[i];
            magpie_text_printf(out, "%s{", i > groups->starts[g] ? ", " : "");
            item_append_id(out, &d->items[i]);
            magpie_text_printf(out, ", \"duplicate_of\": ");
            if (kept == &d->items[i]) {
                magpie_text_printf(out, "null, \"score\": null}");
                continue;
            }
            magpie_text_json_string(out, kept->id.data, kept->id.size);
            magpie_text_printf(out, ", \"score\": %.7g}", (double)groups->members[i].score);
        }
        magpie_text_printf(out, "]");
    }
    magpie_text_printf(out, "], \"duplicates\": %zu", groups->duplicates);
}

static void append_table(const dedup *d, magpie_text *out) {
    const duplicate_groups *groups = &d->groups;
    const size_t text_columns = terminal_columns_left(2 + MARK_COLUMNS + 2 + ID_COLUMNS + 2);
    for (size_t g = 0; g < groups->count; g++) {
        magpie_text_printf(out, "%zu alike\n", groups->starts[g + 1] - groups->starts[g]);
        for (size_t i = groups->starts[g]; i < groups->starts[g + 1]; i++) {
            if (is_kept(&groups->members[i]))
                magpie_text_printf(out, "  %-*s  ", MARK_COLUMNS, "kept");
            else
                magpie_text_printf(out, "  %.4f  ", (double)groups->members[i].score);
            terminal_append_cell(out, d->items[i].id, ID_COLUMNS);
            magpie_text_append(out, "  ", 2);
            terminal_append_cut(out, d->items[i].text, text_columns);
            magpie_text_append(out, "\n", 1);
        }
    }
    magpie_text_printf(out, "%zu of %zu are duplicates, in %zu groups\n", groups->duplicates, groups->vectors,
                       groups->count);
}

typedef struct heading {
    char text[32];
} heading;

static magpie_status fill_and_write_page(const dedup *d, page_card *cards, page_section *sections,
                                         heading *headings) {
    const duplicate_groups *groups = &d->groups;
    char summary[160];
    for (size_t i = 0; i < d->count; i++) {
        const duplicate *member = &groups->members[i];
        bool kept = is_kept(member);
        cards[i] = (page_card){
            .item = &d->items[i], .label = kept ? "kept" : NULL, .score = kept ? NAN : member->score};
    }
    for (size_t g = 0; g < groups->count; g++) {
        size_t start = groups->starts[g], count = groups->starts[g + 1] - start;
        snprintf(headings[g].text, sizeof headings[g].text, "%zu alike", count);
        sections[g] = (page_section){headings[g].text, cards + start, count};
    }
    snprintf(summary, sizeof summary,
             "%zu of %zu are duplicates, in %zu groups, by the %s space from a cosine of %g",
             groups->duplicates, groups->vectors, groups->count, magpie_space_name(given.space),
             given.threshold);
    static const page_section nothing = {0};
    const page p = {"magpie dedup",
                    summary,
                    NULL,
                    0,
                    groups->count ? sections : &nothing,
                    groups->count ? groups->count : 1};
    return page_write(&p, page_path());
}

static magpie_status write_page(const dedup *d) {
    page_card *cards = magpie_alloc(d->count, sizeof *cards);
    page_section *sections = magpie_alloc(d->groups.count, sizeof *sections);
    heading *headings = magpie_alloc(d->groups.count, sizeof *headings);
    magpie_status status = cards && sections && headings ? fill_and_write_page(d, cards, sections, headings)
                                                         : MAGPIE_E_NO_MEMORY;
    free(cards);
    free(sections);
    free(headings);
    return status;
}

/* ---- deleting ------------------------------------------------------------------------------------------ */

/* Closes the snapshot, which a commit may have to wait for, and the items with it. */
static magpie_status delete_duplicates(dedup *d, magpie_commit *commit) {
    magpie_batch *batch;
    magpie_status status = magpie_batch_create(&batch);
    if (status != MAGPIE_OK) return status;
    for (size_t i = 0; i < d->count && status == MAGPIE_OK; i++)
        if (!is_kept(&d->groups.members[i])) status = magpie_batch_delete(batch, d->items[i].id);
    magpie_snapshot_close(d->snapshot);
    d->snapshot = NULL;
    if (status == MAGPIE_OK && magpie_batch_count(batch)) {
        status = magpie_store_commit(d->store, batch, commit);
        if (status == MAGPIE_OK) status = storage_update_indexes(d->store);
    }
    magpie_batch_free(batch);
    return status;
}

/* What was found is told first, then deleted. */
static exit_code answer(dedup *d) {
    magpie_commit commit = {0};
    magpie_text out = {0};
    exit_code code = EXIT_FINE;
    if (output_json)
        append_json(d, &out);
    else
        append_table(d, &out);
    if (!output_json) code = output_text(&out);
    if (code == EXIT_FINE && given.remove && delete_duplicates(d, &commit) != MAGPIE_OK)
        code = print_failure();
    if (output_json)
        magpie_text_printf(&out, ", \"deleted\": %zu}\n", commit.deleted);
    else if (given.remove)
        magpie_text_printf(&out, "%zu deleted\n", commit.deleted);
    if (code == EXIT_FINE && out.size) code = output_text(&out);
    magpie_text_free(&out);
    return code == EXIT_FINE && commit.missing ? EXIT_MISSING : code;
}

static exit_code run_dedup(char **operands, int count) {
    (void)operands;
    (void)count;
    dedup d = {0};
    magpie_status status = find(&d);
    bool empty = status == MAGPIE_E_NOT_FOUND && d.snapshot;
    if (status == MAGPIE_OK && page_path()) status = write_page(&d);
    exit_code code = status == MAGPIE_OK ? answer(&d) : print_failure();
    duplicates_free(&d.groups);
    free(d.items);
    magpie_snapshot_close(d.snapshot);
    magpie_index_close(d.index);
    magpie_store_close(d.store);
    return empty ? EXIT_MISSING : code;
}

static magpie_status parse_threshold(const char *value, void *target) {
    double *number = target;
    if (option_read_real(value, number) && *number > 0 && *number <= 1) return MAGPIE_OK;
    return magpie_fail(MAGPIE_E_ARGUMENT, "a number over 0 and up to 1 is wanted, not \"%s\"", value);
}

static const option_row own_options[] = {
    {.name = "space",
     .argument = "S",
     .parse = storage_parse_space,
     .target = &given.space,
     .help = "whose vectors: image, text, audio or fused (default: image)"},
    {.name = "threshold",
     .argument = "X",
     .parse = parse_threshold,
     .target = &given.threshold,
     .help = "the cosine from which on two are duplicates (default: 0.95)"},
    {.name = "exact", .flag = &given.exact, .help = "compare every pair; hnsw and ivf may miss some"},
    {.name = "delete",
     .flag = &given.remove,
     .help = "delete the duplicates, not what is kept in their place"},
    {0}};

static const option_row *const tables[] = {storage_options, own_options, page_options, json_options, NULL};

const command dedup_command = {
    .name = "dedup",
    .summary = "find items that are nearly the same, and delete them if wanted",
    .operands = "",
    .tables = tables,
    .details =
        "Items that are joined by pairs from the threshold on are a group, the largest comes first. Of a\n"
        "group that with the longest text is kept, of equals the oldest; a member that is not near to it\n"
        "itself, only by way of others, is kept too. Without --delete, nothing is changed.\n\n"
        "--json: {\"space\", \"threshold\", \"vectors\", \"groups\": [[{\"id\", \"duplicate_of\", "
        "\"score\"}]],\n"
        "\"duplicates\", \"deleted\"}; duplicate_of is null for what is kept, which stands before its\n"
        "duplicates.\n",
    .run = run_dedup};
