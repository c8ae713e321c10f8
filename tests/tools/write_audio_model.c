/* write_audio_model.c - models out of nothing, for tests that are scripts: write_audio_model FOLDER SEED
 * [NAME], with NAME of an entry of tests/golden/audio_features.json. */
#include "test_sounds.h"

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    write_seeded_audio_model(argv[1], argc > 3 ? argv[3] : "ast-small", (unsigned)strtoul(argv[2], NULL, 10));
    return 0;
}
