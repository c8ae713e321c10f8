/* write_image_model.c - the small image model of test_pictures.h, for tests that are scripts:
 * write_image_model FOLDER SEED */
#include "test_pictures.h"

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    write_image_model(argv[1], (unsigned)strtoul(argv[2], NULL, 10));
    return 0;
}
