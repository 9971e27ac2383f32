#include "server_statistics.h"

const char* const stage_names[STAGES] = {"queue", "copy_in", "compute", "copy_out", "total"};
const char* const bucket_names[BUCKETS] = {
    "5e-05", "0.0001", "0.00025", "0.0005", "0.001", "0.0025", "0.005", "0.01", "0.025",
    "0.05",  "0.1",    "0.25",    "0.5",    "1.0",   "2.5",    "5.0",   "10.0"};
static const int64_t limits[BUCKETS] = {
    50000,    100000,    250000,    500000,    1000000,    2500000,    5000000,    10000000, 25000000,
    50000000, 100000000, 250000000, 500000000, 1000000000, 2500000000, 5000000000, 10000000000};

void histogram_add(struct histogram* histogram, int64_t ns) {
  int bucket = 0;
  while (bucket < BUCKETS && ns > limits[bucket]) ++bucket;
  ++histogram->counts[bucket];
  histogram->sum_ns += ns;
}
