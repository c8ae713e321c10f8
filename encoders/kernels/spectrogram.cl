/* spectrogram.cl - samples to frames of bands, as encoders/spectrogram.h defines them and its spectrogram_reference has
 * it: a window, |DFT|^2 or its root, weighted sums of bins, a logarithm. A group a frame, frames side by side.
 *
 * spectrum_fft takes a power of two: the n real samples are n / 2 complex ones, whose transform is made in local memory
 * (radix 2, decimation in time), and unravelled as encoders/spectrogram_kernels.c says. spectrum_sum is the sum itself,
 * for any length. Both write bins to global memory, since bands overlap; gather_bands makes bands of them. Bytes: the
 * samples once (neighbouring frames share them in the cache), the bins twice, the bands once; flops of a frame:
 * 2.5 n log2 n, or 4 window bins, and 4 a bin for bands.
 *
 * turns [n, 2]: cos and -sin of 2 pi k / n. */
enum { FRAME_THREADS = 128, FFT_POINTS = 2048 /* complex, at most */, SUM_BLOCK = 1024 /* samples */ };

FUNCTION float mean_of_frame(GLOBAL const float *samples, uint window, LOCAL_PTR float *scratch) {
    float sum = 0;
    EACH(i, window, FRAME_THREADS) sum += samples[i];
    return group_sum(scratch, FRAME_THREADS, sum) / (float)window;
}

/* Sample i of a frame under the window; 0 behind it. */
FUNCTION float windowed(GLOBAL const float *samples, GLOBAL const float *weights, uint window, uint i, float mean,
                        float preemphasis) {
    if (i >= window) return 0;
    const float before = samples[i ? i - 1 : 0] - mean;
    return (samples[i] - mean - preemphasis * before) * weights[i];
}

FUNCTION float bin_of(float re, float im, uint magnitude) {
    const float power = re * re + im * im;
    return magnitude ? sqrt(power) : power;
}

/* bins [frames, n / 2 + 1] of frames that are `hop` samples apart; n = 2^log_n, 4 to 2 FFT_POINTS. */
KERNEL(spectrum_fft, 128)
(GLOBAL const float *samples, GLOBAL const float *weights, GLOBAL const float *turns, GLOBAL float *bins, uint hop,
 uint window, uint log_n, uint remove_dc, float preemphasis, uint magnitude) {
    LOCAL float re[FFT_POINTS], im[FFT_POINTS], scratch[FRAME_THREADS];
    GLOBAL const float *frame = samples + (size_t)GROUP(0) * hop;
    const uint log_points = log_n - 1, points = 1u << log_points;
    const float mean = remove_dc ? mean_of_frame(frame, window, scratch) : 0;
    EACH(i, points, FRAME_THREADS) {
        uint place = 0; /* i, its bits in reverse */
        for (uint b = 0; b < log_points; b++) place |= (i >> b & 1) << (log_points - 1 - b);
        re[place] = windowed(frame, weights, window, 2 * i, mean, preemphasis);
        im[place] = windowed(frame, weights, window, 2 * i + 1, mean, preemphasis);
    }
    for (uint b = 0; b < log_points; b++) {
        const uint half_way = 1u << b;
        BARRIER();
        EACH(i, points / 2, FRAME_THREADS) {
            const uint k = i % half_way, low = 2 * (i - k) + k, high = low + half_way;
            const size_t turn = (size_t)k << (log_n - b); /* of 2 half_way points: k n / half_way / 2, times two */
            const float c = turns[turn], s = turns[turn + 1];
            const float other_re = re[high] * c - im[high] * s, other_im = re[high] * s + im[high] * c;
            re[high] = re[low] - other_re;
            im[high] = im[low] - other_im;
            re[low] += other_re;
            im[low] += other_im;
        }
    }
    BARRIER();
    GLOBAL float *out = bins + (size_t)GROUP(0) * (points + 1);
    EACH(k, points + 1, FRAME_THREADS) {
        const uint a = k % points, b = (points - k) % points;
        const float even_re = (re[a] + re[b]) / 2, even_im = (im[a] - im[b]) / 2;
        const float odd_re = (im[a] + im[b]) / 2, odd_im = (re[b] - re[a]) / 2;
        const float c = turns[2 * k], s = turns[2 * k + 1];
        out[k] = bin_of(even_re + odd_re * c - odd_im * s, even_im + odd_re * s + odd_im * c, magnitude);
    }
}

/* The same of any even n. */
KERNEL(spectrum_sum, 128)
(GLOBAL const float *samples, GLOBAL const float *weights, GLOBAL const float *turns, GLOBAL float *bins, uint hop,
 uint window, uint n, uint remove_dc, float preemphasis, uint magnitude) {
    LOCAL float block[SUM_BLOCK], scratch[FRAME_THREADS];
    GLOBAL const float *frame = samples + (size_t)GROUP(0) * hop;
    const uint count = n / 2 + 1, k = GROUP(1) * FRAME_THREADS + THREAD;
    const float mean = remove_dc ? mean_of_frame(frame, window, scratch) : 0;
    const uint step = k < count ? k : 0;
    float re = 0, im = 0;
    uint turn = 0; /* i k mod n */
    for (uint first = 0; first < window; first += SUM_BLOCK) {
        BARRIER();
        EACH(i, SUM_BLOCK, FRAME_THREADS)
            block[i] = windowed(frame, weights, window, first + i, mean, preemphasis);
        BARRIER();
        float block_re = 0, block_im = 0;
        for (uint i = 0; i < SUM_BLOCK && first + i < window; i++) {
            block_re += block[i] * turns[2 * turn];
            block_im += block[i] * turns[2 * turn + 1];
            turn += step;
            if (turn >= n) turn -= n;
        }
        re += block_re;
        im += block_im;
    }
    if (k < count) bins[(size_t)GROUP(0) * count + k] = bin_of(re, im, magnitude);
}

/* out [frames, bands]; elements: of it. filters [bands, 3]: of each band the first bin, how many, and where its weights
 * begin; without `has_filters` the bins are the bands. With `has_log` then factor ln(max(scale x + offset, least)). */
KERNEL(gather_bands, 128)
(GLOBAL const float *bins, GLOBAL const uint *filters, GLOBAL const float *weights, GLOBAL float *out, uint elements,
 uint bands, uint bin_count, uint has_filters, uint has_log, float scale, float offset, float least, float factor) {
    const size_t i = (size_t)GROUP(0) * FRAME_THREADS + THREAD;
    if (i >= elements) return;
    const uint band = i % bands;
    GLOBAL const float *frame = bins + i / bands * bin_count;
    float value = has_filters ? 0 : frame[band];
    if (has_filters) {
        GLOBAL const uint *filter = filters + 3 * band;
        for (uint k = 0; k < filter[1]; k++) value += frame[filter[0] + k] * weights[filter[2] + k];
    }
    out[i] = has_log ? log(fmax(value * scale + offset, least)) * factor : value;
}
