/* The same sums in AVX2's 16 registers and in AVX-512's 32: see `tvmkd/base/wide_registers.py`. */
typedef float narrow_t __attribute__((vector_size(32), aligned(4)));
typedef float wide_t __attribute__((vector_size(64), aligned(4)));

#define PIXELS_NARROW 4
#define PIXELS_WIDE 8
#define BLOCKS 3

#define TILE(name, vector, pixels)                                                        \
  void name(const float *x, const float *w, float *out, long inner, long rounds) {        \
    const long lanes = sizeof(vector) / 4;                                                \
    for (long round = 0; round < rounds; round++) {                                       \
      vector sums[pixels][BLOCKS] = {{{0}}};                                              \
      for (long k = 0; k < inner; k++) {                                                  \
        const vector *at = (const vector *)(w + k * lanes * BLOCKS);                      \
        _Pragma("GCC unroll 8") for (int p = 0; p < pixels; p++)                          \
            _Pragma("GCC unroll 3") for (int b = 0; b < BLOCKS; b++)                      \
                sums[p][b] += at[b] * x[p * inner + k];                                   \
      }                                                                                   \
      for (int p = 0; p < pixels; p++)                                                    \
        for (int b = 0; b < BLOCKS; b++)                                                  \
          ((vector *)out)[p * BLOCKS + b] = sums[p][b];                                   \
    }                                                                                     \
  }

__attribute__((target("avx2,fma"))) TILE(tvmkd_narrow, narrow_t, PIXELS_NARROW)
__attribute__((target("avx512f,avx512vl,fma"))) TILE(tvmkd_wide, wide_t, PIXELS_WIDE)
