#include "statistics.h"

#include <stdlib.h>

static int by_size(const void* left, const void* right) {
  int64_t a = *(const int64_t*)left, b = *(const int64_t*)right;
  return (a > b) - (a < b);
}

double percentile_of(const int64_t* sorted, size_t count, double q) {
  if (count == 0) return 0;
  double place = q / 100 * (double)(count - 1);
  size_t low = (size_t)place;
  if (low + 1 >= count) return (double)sorted[count - 1];
  return (double)sorted[low] + (place - (double)low) * (double)(sorted[low + 1] - sorted[low]);
}

struct statistics statistics_of(int64_t* samples, size_t count) {
  struct statistics found = {0};
  if (count == 0) return found;
  qsort(samples, count, sizeof *samples, by_size);
  double sum = 0;
  for (size_t i = 0; i < count; ++i) sum += (double)samples[i];
  found.min = (double)samples[0];
  found.max = (double)samples[count - 1];
  found.mean = sum / (double)count;
  found.median = percentile_of(samples, count, 50);
  return found;
}
