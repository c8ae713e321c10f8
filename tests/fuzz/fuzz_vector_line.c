/* fuzz_vector_line.c - any bytes as a header and a line of vectors. They are refused in words, or the
 * vectors are what a store takes, and the line that is written of them is read as the same. */
#include "fuzz.h"
#include "vector_line.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { DIMENSION = 3 };

fuzz_seed fuzz_seeds[] = {
    FUZZ_SEED("{\"id\":\"a\",\"text\":\"t\",\"image\":\"i.png\",\"vectors\":{\"text\":\"AAAAAAAAgD8AAAAA\","
              "\"image\":[0.6,"
              "0,-0.8]}}"),
    FUZZ_SEED("{\"id\":\"b\",\"audio\":\"a.ogg\",\"refused\":{\"audio\":\"why\"},\"hashes\":{\"audio\":"
              "\"0123456789abcdef\","
              "\"content\":\"0123456789abcdef0123456789abcdef\"}}"),
    FUZZ_SEED("{\"magpie\": \"vectors\", \"version\": 1, \"spaces\": {\"text\": {\"model\": \"m\", "
              "\"fingerprint\": \"f\", "
              "\"dimension\": 3, \"salt\": \"0000000000000001\"}}}"),
};
const size_t fuzz_seed_count = sizeof fuzz_seeds / sizeof *fuzz_seeds;

static void check_vectors(const magpie_line_vectors *vectors) {
    for (unsigned s = 0; s < MAGPIE_SPACES; s++) {
        double sum = 0;
        if (!vectors->values[s]) continue;
        for (size_t i = 0; i < DIMENSION; i++)
            sum += (double)vectors->values[s][i] * (double)vectors->values[s][i];
        if (!(fabs(sqrt(sum) - 1) <= 1e-3)) abort();
    }
}

static void check_again(const magpie_vector_header *header, const magpie_item *item,
                        const magpie_line_vectors *vectors) {
    magpie_text line = {0};
    magpie_catalogue_line again;
    magpie_line_vectors others = {0};
    const float *values[MAGPIE_SPACES];
    for (unsigned s = 0; s < MAGPIE_SPACES; s++) values[s] = vectors->values[s];
    if (magpie_vector_line_write(item, values, header, true, &line) != MAGPIE_OK) abort();
    if (magpie_vector_line_parse(line.data, line.size - 1, header, false, &again, &others) != MAGPIE_OK)
        abort();
    for (unsigned s = 0; s < MAGPIE_SPACES; s++)
        if (!values[s] != !others.values[s] ||
            (values[s] && memcmp(values[s], others.values[s], DIMENSION * sizeof(float)) != 0))
            abort();
    if (memcmp(again.item.content_hash, item->content_hash, sizeof item->content_hash) != 0) abort();
    magpie_catalogue_line_free(&again);
    magpie_line_vectors_free(&others);
    magpie_text_free(&line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    magpie_vector_header header, found;
    magpie_catalogue_line line;
    magpie_line_vectors vectors = {0};
    bool is_header;
    memset(&header, 0, sizeof header);
    for (unsigned s = MAGPIE_SPACE_FUSED + 1; s < MAGPIE_SPACES; s++) header.of[s].dimension = DIMENSION;
    magpie_status status = magpie_vector_header_parse((const char *)data, size, &found, &is_header);
    if (status != MAGPIE_OK && !*magpie_error()) abort();
    status = magpie_vector_line_parse((const char *)data, size, &header, false, &line, &vectors);
    if (status == MAGPIE_OK) {
        check_vectors(&vectors);
        if (magpie_line_vectors_check(&line.item, &vectors) == MAGPIE_OK)
            check_again(&header, &line.item, &vectors);
    } else if ((status != MAGPIE_E_INPUT && status != MAGPIE_E_TOO_LARGE) || !*magpie_error()) {
        abort();
    }
    magpie_catalogue_line_free(&line);
    magpie_line_vectors_free(&vectors);
    return 0;
}
