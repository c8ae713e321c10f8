/* neural_kernels.c - see neural.h; compiled for each level of the instruction set. */
#include "simd_vectors.h"
typedef vf vector_of_this_level;
