/* batch.c - collecting changes. Everything that can be wrong with a change by itself is found here, before
 * any transaction is open; what depends on the store (does the id exist, is the space bound) is found by the
 * commit. */
#include "batch.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

bool magpie_valid_utf8(magpie_string s) {
    const utf8proc_uint8_t *at = (const utf8proc_uint8_t *)s.data, *end = at + s.size;
    while (at < end) {
        utf8proc_int32_t point;
        if (*at < 0x80) {
            at++;
            continue;
        }
        utf8proc_ssize_t n = utf8proc_iterate(at, end - at, &point);
        if (n < 0) return false;
        at += n;
    }
    return true;
}

static magpie_status validate_id(magpie_string id) {
    if (!id.size) return magpie_fail(MAGPIE_E_INPUT, "the id is empty");
    if (id.size > MAGPIE_ID_MAX)
        return magpie_fail(MAGPIE_E_INPUT, "the id \"%.40s...\" has %zu bytes; the limit is %d", id.data,
                           id.size, MAGPIE_ID_MAX);
    return magpie_valid_utf8(id) ? MAGPIE_OK : magpie_fail(MAGPIE_E_INPUT, "the id is not valid UTF-8");
}

static magpie_status validate_strings(const magpie_item *item) {
    const struct {
        const char *name;
        magpie_string string;
    } parts[] = {{"text", item->text},
                 {"image reference", item->image},
                 {"audio reference", item->audio},
                 {"attributes", item->attributes},
                 {"problems", item->problems}};
    size_t size = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (!magpie_size_add(size, parts[i].string.size, &size) || size > MAGPIE_ITEM_MAX)
            return magpie_fail(MAGPIE_E_TOO_LARGE,
                               "item \"%.*s\" has more than %d bytes of text, references and attributes",
                               (int)item->id.size, item->id.data, MAGPIE_ITEM_MAX);
        if (!magpie_valid_utf8(parts[i].string))
            return magpie_fail(MAGPIE_E_INPUT, "item \"%.*s\": its %s is not valid UTF-8", (int)item->id.size,
                               item->id.data, parts[i].name);
    }
    return MAGPIE_OK;
}

static magpie_status validate_vector(const magpie_item *item, magpie_space space, const float *vector,
                                     size_t dimension) {
    const char *name = magpie_space_name(space);
    if (!dimension || dimension > MAGPIE_DIMENSION_MAX)
        return magpie_fail(MAGPIE_E_ARGUMENT,
                           "item \"%.*s\": its %s vector has %zu dimensions; 1 to %d are possible",
                           (int)item->id.size, item->id.data, name, dimension, MAGPIE_DIMENSION_MAX);
    double square = 0;
    for (size_t i = 0; i < dimension; i++) square += (double)vector[i] * vector[i];
    if (!isfinite(square))
        return magpie_fail(MAGPIE_E_INPUT, "item \"%.*s\": its %s vector is not finite", (int)item->id.size,
                           item->id.data, name);
    if (fabs(sqrt(square) - 1) > 1e-3)
        return magpie_fail(MAGPIE_E_INPUT, "item \"%.*s\": its %s vector has length %g in place of 1",
                           (int)item->id.size, item->id.data, name, sqrt(square));
    return MAGPIE_OK;
}

/* ---- copying ---- */

static void carve_string(magpie_block *memory, magpie_string given, magpie_string *out) {
    char *copy = magpie_carve(memory, given.size, 1);
    if (copy && given.size) memcpy(copy, given.data, given.size);
    *out = (magpie_string){copy, given.size};
}

/* Run twice, as magpie_block wants it: to add up sizes, then to copy. */
static void carve_change(magpie_change *change, const magpie_change *given) {
    magpie_block *memory = &change->memory;
    carve_string(memory, given->item.id, &change->item.id);
    carve_string(memory, given->item.text, &change->item.text);
    carve_string(memory, given->item.image, &change->item.image);
    carve_string(memory, given->item.audio, &change->item.audio);
    carve_string(memory, given->item.attributes, &change->item.attributes);
    carve_string(memory, given->item.problems, &change->item.problems);
    carve_string(memory, given->checkpoint, &change->checkpoint);
    for (unsigned s = 0; s < MAGPIE_SPACES; s++) {
        if (!given->vectors[s]) continue;
        change->vectors[s] = magpie_carve(memory, given->dimensions[s], sizeof(float));
        if (change->vectors[s])
            memcpy(change->vectors[s], given->vectors[s], given->dimensions[s] * sizeof(float));
    }
}

magpie_status magpie_change_copy(const magpie_change *given, magpie_change *out) {
    *out = *given;
    carve_change(out, given);
    magpie_status status = magpie_block_alloc(&out->memory);
    if (status == MAGPIE_OK) carve_change(out, given);
    return status;
}

/* Appends a copy of `given`, and takes over its postings. */
static magpie_status append_change(magpie_batch *batch, const magpie_change *given) {
    magpie_status status =
        magpie_grow((void **)&batch->changes, &batch->capacity, batch->count + 1, sizeof *batch->changes);
    if (status == MAGPIE_OK) status = magpie_change_copy(given, &batch->changes[batch->count]);
    if (status != MAGPIE_OK) return status;
    batch->count++;
    batch->checkpoints += given->kind == MAGPIE_CHANGE_CHECKPOINT;
    return MAGPIE_OK;
}

/* ---- the public part ---- */

magpie_status magpie_batch_create(magpie_batch **out) {
    *out = magpie_alloc(1, sizeof **out);
    return *out ? MAGPIE_OK : MAGPIE_E_NO_MEMORY;
}

void magpie_batch_clear(magpie_batch *batch) {
    for (size_t i = 0; i < batch->count; i++) {
        magpie_posting_set_free(&batch->changes[i].postings);
        magpie_interaction_group_free(batch->changes[i].group);
        magpie_block_free(&batch->changes[i].memory);
    }
    batch->count = batch->checkpoints = batch->groups = batch->interactions = 0;
    memset(batch->expected, 0, sizeof batch->expected);
}

void magpie_batch_free(magpie_batch *batch) {
    if (!batch) return;
    magpie_batch_clear(batch);
    free(batch->changes);
    free(batch);
}

size_t magpie_batch_count(const magpie_batch *batch) {
    return batch->count - batch->checkpoints - batch->groups + batch->interactions;
}

magpie_status magpie_batch_put(magpie_batch *batch, const magpie_item *item,
                               const float *const vectors[MAGPIE_SPACES],
                               const size_t dimensions[MAGPIE_SPACES]) {
    magpie_change change = {.kind = MAGPIE_CHANGE_PUT, .item = *item, .keep_vectors = vectors == NULL};
    magpie_status status = validate_id(item->id);
    if (status == MAGPIE_OK) status = validate_strings(item);
    for (unsigned s = 0; vectors && s < MAGPIE_SPACES && status == MAGPIE_OK; s++) {
        if (!vectors[s]) continue;
        change.vectors[s] = (float *)(uintptr_t)vectors[s]; /* only read: append_change copies it */
        change.dimensions[s] = dimensions[s];
        status = validate_vector(item, s, vectors[s], dimensions[s]);
    }
    if (status != MAGPIE_OK) return status;
    status = magpie_posting_set_make(item->attributes, &change.postings);
    if (status != MAGPIE_OK)
        return magpie_fail(status, "item \"%.*s\": %s", (int)item->id.size, item->id.data, magpie_error());
    status = append_change(batch, &change);
    if (status != MAGPIE_OK) magpie_posting_set_free(&change.postings);
    return status;
}

static magpie_status validate_space(magpie_space space) {
    return (unsigned)space < MAGPIE_SPACES
               ? MAGPIE_OK
               : magpie_fail(MAGPIE_E_ARGUMENT, "there is no space %d", (int)space);
}

magpie_status magpie_batch_put_vector(magpie_batch *batch, magpie_string id, uint64_t row, magpie_space space,
                                      const float *vector, size_t dimension, uint64_t encoded_hash) {
    magpie_change change = {.kind = MAGPIE_CHANGE_VECTOR, .item = {.id = id, .row = row}, .space = space};
    magpie_status status = validate_id(id);
    if (status == MAGPIE_OK) status = validate_space(space);
    if (status == MAGPIE_OK && vector) status = validate_vector(&change.item, space, vector, dimension);
    if (status != MAGPIE_OK) return status;
    change.item.encoded_hash[space] = encoded_hash;
    change.vectors[space] = (float *)(uintptr_t)vector; /* only read: append_change copies it */
    change.dimensions[space] = dimension;
    return append_change(batch, &change);
}

magpie_status magpie_batch_expect(magpie_batch *batch, magpie_space space, const char *fingerprint) {
    magpie_status status = validate_space(space);
    if (status != MAGPIE_OK) return status;
    if (!*fingerprint || strlen(fingerprint) >= sizeof batch->expected[space])
        return magpie_fail(MAGPIE_E_ARGUMENT, "\"%s\" is no fingerprint of a model", fingerprint);
    strcpy(batch->expected[space], fingerprint);
    return MAGPIE_OK;
}

static magpie_status append_delete(magpie_batch *batch, magpie_change_kind kind, magpie_string id) {
    magpie_status status = validate_id(id);
    return status == MAGPIE_OK ? append_change(batch, &(magpie_change){.kind = kind, .item.id = id}) : status;
}

magpie_status magpie_batch_delete(magpie_batch *batch, magpie_string id) {
    return append_delete(batch, MAGPIE_CHANGE_DELETE, id);
}

magpie_status magpie_batch_checkpoint(magpie_batch *batch, const char *job, magpie_string checkpoint) {
    magpie_string name = magpie_string_of(job);
    if (!name.size || name.size > MAGPIE_ID_MAX)
        return magpie_fail(MAGPIE_E_ARGUMENT, "a job's name has 1 to %d bytes, not %zu", MAGPIE_ID_MAX,
                           name.size);
    return append_change(
        batch, &(magpie_change){.kind = MAGPIE_CHANGE_CHECKPOINT, .item.id = name, .checkpoint = checkpoint});
}

/* ---- interactions ---- */

/* The group that the batch ends with; a new one where it ends with something else. */
static magpie_status last_group(magpie_batch *batch, magpie_interaction_group **out) {
    const magpie_change *last = batch->count ? &batch->changes[batch->count - 1] : NULL;
    if (last && last->kind == MAGPIE_CHANGE_INTERACTIONS) return *out = last->group, MAGPIE_OK;
    *out = magpie_alloc(1, sizeof **out);
    if (!*out) return MAGPIE_E_NO_MEMORY;
    magpie_status status =
        append_change(batch, &(magpie_change){.kind = MAGPIE_CHANGE_INTERACTIONS, .group = *out});
    if (status == MAGPIE_OK)
        batch->groups++;
    else
        free(*out);
    return status;
}

magpie_status magpie_batch_put_interaction(magpie_batch *batch, magpie_string user, magpie_string item,
                                           magpie_interaction_kind kind, float weight, int64_t time) {
    magpie_interaction_group *group;
    magpie_status status = validate_id(user);
    if (status != MAGPIE_OK) return magpie_fail(status, "user: %s", magpie_error());
    status = validate_id(item);
    if (status != MAGPIE_OK) return magpie_fail(status, "item: %s", magpie_error());
    if ((unsigned)kind >= MAGPIE_INTERACTION_KINDS)
        return magpie_fail(MAGPIE_E_INPUT, "there is no kind %d of interactions", (int)kind);
    if (!isfinite(weight)) return magpie_fail(MAGPIE_E_INPUT, "the weight is not finite");
    if (time < 0) return magpie_fail(MAGPIE_E_INPUT, "the time %lld is before 1970", (long long)time);
    status = last_group(batch, &group);
    if (status == MAGPIE_OK)
        status = magpie_interaction_group_add(
            group, user, item, &(magpie_interaction){.kind = kind, .weight = weight, .time = time});
    batch->interactions += status == MAGPIE_OK;
    return status;
}

magpie_status magpie_batch_delete_user(magpie_batch *batch, magpie_string user) {
    return append_delete(batch, MAGPIE_CHANGE_DELETE_USER, user);
}
