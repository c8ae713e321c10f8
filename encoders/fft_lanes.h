/* fft_lanes.h - kissfft with a vector for a number: one transform in every lane, of as many frames at
 * once. Private to spectrogram_kernels.c.
 *
 * kissfft (Mark Borgerding; BSD-3-Clause) is plain C and slow as it is packaged, a frame at a time; but it
 * leaves the type of a number open and does the same steps whatever the numbers are. So its source is
 * compiled here with vf for kiss_fft_scalar: no shuffles, and the speed of hand-written kernels. Of the
 * libraries that are made for speed, FFTW is under the GPL and the others are not in Debian 12. */
#ifndef MAGPIE_FFT_LANES_H
#define MAGPIE_FFT_LANES_H

#include "simd_vectors.h"

#include <stdlib.h>

#define kiss_fft_scalar vf
/* Asked for by lengths with factors above 5 alone. */
#define KISS_FFT_MALLOC(bytes) aligned_alloc(sizeof(vf), ((bytes) + sizeof(vf) - 1) / sizeof(vf) * sizeof(vf))
#define kiss_fft SIMD_LEVEL(kiss_fft)
#define kiss_fft_alloc SIMD_LEVEL(kiss_fft_alloc)
#define kiss_fft_stride SIMD_LEVEL(kiss_fft_stride)
#define kiss_fft_cleanup SIMD_LEVEL(kiss_fft_cleanup)
#define kiss_fft_next_fast_size SIMD_LEVEL(kiss_fft_next_fast_size)

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
#pragma GCC diagnostic ignored "-Wsign-compare"
#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Wmissing-prototypes"
#pragma GCC diagnostic ignored "-Wstrict-prototypes"
#include "_kiss_fft_guts.h"
/* Where kissfft makes a number of its own type out of a double. */
#undef KISS_FFT_COS
#undef KISS_FFT_SIN
#undef HALF_OF
#define KISS_FFT_COS(phase) splat((float)cos(phase))
#define KISS_FFT_SIN(phase) splat((float)sin(phase))
#define HALF_OF(x) ((x)*0.5f)
#include "kiss_fft.c"
#pragma GCC diagnostic pop

#endif
