/* What a core can do at most: multiply-adds in registers, and reading memory in order.
 *
 * Compiled for the machine it runs on: see `tvmkd/bench/roofline.py`.
 */
#if defined(__AVX512F__)
#define BYTES 64
#elif defined(__AVX__)
#define BYTES 32
#else
#define BYTES 16
#endif
typedef float vector __attribute__((vector_size(BYTES)));
#define CHAINS 12

long tvmkd_lanes(void) { return BYTES / 4 * CHAINS; }

float tvmkd_multiply_adds(long rounds) {
  vector sums[CHAINS];
  for (int i = 0; i < CHAINS; i++)
    for (int j = 0; j < BYTES / 4; j++) sums[i][j] = (float)(i + j);
  vector a = sums[0] * 1e-6f + 0.999f, b = sums[1] * 1e-6f;
  for (long round = 0; round < rounds; round++)
    for (int i = 0; i < CHAINS; i++) sums[i] = sums[i] * a + b;
  vector total = sums[0];
  for (int i = 1; i < CHAINS; i++) total += sums[i];
  return total[0];
}

float tvmkd_read(const float *values, long count) {
  vector sums[CHAINS] = {{0}};
  const vector *at = (const vector *)values;
  long vectors = count / (BYTES / 4);
  for (long i = 0; i + CHAINS <= vectors; i += CHAINS)
    for (int j = 0; j < CHAINS; j++) sums[j] += at[i + j];
  vector total = sums[0];
  for (int i = 1; i < CHAINS; i++) total += sums[i];
  return total[0];
}
