/* fuzz_interaction_line.c - any bytes as a file of interactions: the first says which format, then lines. A
 * line is refused in words, or what is read of it lies within it and can be stored. */
#include "fuzz.h"
#include "interaction_line.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

fuzz_seed fuzz_seeds[] = {
    FUZZ_SEED("1time,\"item\",user_id,kind,rating\r\n7.5,\"a \"\"b\"\", c\",\xC3\xBC,buy,-1e3\r\n,i,u,,\n"),
    FUZZ_SEED("2user\titem\tweight\ttime\nu\ti\t1\t2024-02-29T12:30:00+01:00\n\"u\"\ti\t\t1700000000123"),
    FUZZ_SEED(
        "3{\"user\": 12, \"item\": \"\\u00fc\", \"kind\": \"like\", \"weight\": 1.5, \"time\": 1e9}\n{}"),
    FUZZ_SEED("4user_id:token\titem_id:token\trating:float\ttimestamp:float\n196\t242\t3\t881250949"),
    FUZZ_SEED("5196\t242\t3\t881250949\n1\t2\n"),
    FUZZ_SEED("6(196,242)\t1\t2\t3\n(1,2)\n"),
};
const size_t fuzz_seed_count = sizeof fuzz_seeds / sizeof *fuzz_seeds;

static void check_line(const magpie_interaction_line *one, size_t size) {
    magpie_batch *batch;
    if (one->user.size > size || one->item.size > size || !isfinite(one->weight) || one->time < 0 ||
        (unsigned)one->kind >= MAGPIE_INTERACTION_KINDS)
        abort();
    if (magpie_batch_create(&batch) != MAGPIE_OK) abort();
    magpie_status status =
        magpie_batch_put_interaction(batch, one->user, one->item, one->kind, one->weight, one->time);
    if (status != MAGPIE_OK && status != MAGPIE_E_INPUT) abort(); /* an id may be too long, or no UTF-8 */
    magpie_batch_free(batch);
}

/* In memory of its own, of just its size and the NUL that lines have, so that no read beyond goes unseen. */
static void read_line(magpie_interaction_reader *reader, const char *data, size_t size, bool header) {
    magpie_interaction_line one;
    char *line = malloc(size + 1);
    if (!line) abort();
    memcpy(line, data, size);
    line[size] = 0;
    magpie_status status = header
                               ? magpie_interaction_reader_header(reader, (magpie_string){line, size})
                               : magpie_interaction_reader_parse(reader, (magpie_string){line, size}, &one);
    if (status != MAGPIE_OK && (status != MAGPIE_E_INPUT || !*magpie_error())) abort();
    if (status == MAGPIE_OK && !header) check_line(&one, size + 24); /* digits of a number may be more */
    free(line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    magpie_interaction_reader reader;
    if (!size) return 0;
    const magpie_import_format format =
        MAGPIE_IMPORT_CSV + (data[0] + 5) % MAGPIE_IMPORT_NEGATIVE; /* '1'.. */
    const magpie_import_options options = {.format = format, .kind = MAGPIE_INTERACTION_KINDS};
    if (magpie_interaction_reader_begin(&reader, &options) != MAGPIE_OK) abort();
    bool header = magpie_interaction_reader_has_header(&reader);
    const char *at = (const char *)data + 1, *end = (const char *)data + size;
    while (at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        if (!stop) stop = end;
        read_line(&reader, at, (size_t)(stop - at), header);
        header = false;
        at = stop + 1;
    }
    magpie_interaction_reader_free(&reader);
    return 0;
}
