/* What a list of times comes to. Percentiles are linear between samples, as numpy's. */
#ifndef TVMKD_STATISTICS_H
#define TVMKD_STATISTICS_H

#include <stddef.h>
#include <stdint.h>

struct statistics {
  double min, max, mean, median; /* in the samples' unit; zero if there are none */
};

/* Sorts the samples and summarises them. */
struct statistics statistics_of(int64_t* samples, size_t count);

/* The q-th percentile (0 to 100) of sorted samples. */
double percentile_of(const int64_t* sorted, size_t count, double q);

#endif
