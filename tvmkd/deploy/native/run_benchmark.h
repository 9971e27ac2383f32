/* The benchmark of tvmkd-run: timed runs of one or several instances, and their report. */
#ifndef TVMKD_RUN_BENCHMARK_H
#define TVMKD_RUN_BENCHMARK_H

#include <stddef.h>
#include <stdint.h>

#include "run_options.h"
#include "tvmkd.h"

/* What one instance measured. */
struct lane {
  int64_t* starts; /* nanoseconds since the benchmark's start */
  int64_t* times;  /* nanoseconds of each run */
  int64_t* stages; /* of a frame, STAGES of each run; NULL without frames */
  size_t count, room;
  int64_t warm_up_runs;
  int64_t missed;  /* frames that started late, with --fps */
  int64_t late;    /* runs that ended after their deadline, or were refused for it */
  int64_t* exits;  /* how often each exit was taken */
  int64_t end;     /* nanoseconds since the benchmark's start */
};

struct benchmark {
  const tvmkd_library* library;
  const struct run_options* options;
  struct lane* lanes; /* one for each instance */
  double load_ms, open_ms;
  int64_t resident, peak; /* bytes; -1: unknown */
  double cpu_seconds;     /* of the whole process while runs were timed */
};

/* Opens the instances, warms them up, and times them. The result is freed by benchmark_free. */
struct benchmark benchmark_run(const tvmkd_library* library, const struct run_options* options,
                               double load_ms);
void benchmark_free(struct benchmark* benchmark);

/* Prints the results, and writes --exportTimes. */
void benchmark_report(struct benchmark* benchmark);

#endif
