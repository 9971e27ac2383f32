/* What a version of a model has done. As tvmkd/deploy/serving/statistics.py. */
#ifndef TVMKD_SERVER_STATISTICS_H
#define TVMKD_SERVER_STATISTICS_H

#include <stdint.h>

#include "fault.h"

enum stage { STAGE_QUEUE, STAGE_COPY_IN, STAGE_COMPUTE, STAGE_COPY_OUT, STAGE_TOTAL, STAGES };
enum { BUCKETS = 17 };

struct histogram {
  uint64_t counts[BUCKETS + 1]; /* the last: above all limits */
  int64_t sum_ns;
};

struct server_statistics {
  uint64_t requests, deadline_misses, restarts, errors[FAULT_KINDS];
  struct histogram stages[STAGES];
};

extern const char* const stage_names[STAGES];
extern const char* const bucket_names[BUCKETS]; /* upper limits in seconds */

void histogram_add(struct histogram* histogram, int64_t ns);

#endif
