/* write_image_model.c - models out of nothing, for tests that are scripts: write_image_model FOLDER SEED [NAME], with NAME
 * of an entry of tests/golden/image_features.json; without it, the smallest. */
#include "test_pictures.h"

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    write_seeded_model(argv[1], argc > 3 ? argv[3] : "cifar-resnet20", (unsigned)strtoul(argv[2], NULL, 10));
    return 0;
}
